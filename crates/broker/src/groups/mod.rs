//! The groups of consumers: who is in them, who has which partitions, and what they have committed.
//!
//! All of it is a state machine over the records of `__consumer_offsets`. It reads no clock and touches no disk: it is told the time, and
//! given a [`Journal`] to write to. What it decides is in the journal before it is told to anybody.

mod classic;
mod offsets;
mod records;
mod timers;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::describe_groups_response::DescribedGroup;
use tidewater_protocol::messages::leave_group_request::MemberIdentity;
use tidewater_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use tidewater_types::{Timestamp, TopicPartition};
use tokio::sync::oneshot;
use uuid::Uuid;

use classic::{ClassicGroup, refused_join, refused_sync};
pub(crate) use offsets::{Committed, GroupOffsets, METADATA_LIMIT_BYTES};
use records::{
    GROUP_LIMIT_BYTES, Key, group_key, offset_key, offset_value, read_group_value, read_key, read_offset_value,
};
pub(crate) use records::{OFFSETS_TOPIC, Record, partition_of};
use timers::Timers;

/// What groups may be like, by the broker's settings for them.
#[derive(Clone, Debug)]
pub struct GroupSettings {
    /// `group.min.session.timeout.ms`. Default 6 s.
    pub min_session_timeout: Duration,
    /// `group.max.session.timeout.ms`. Default 30 minutes.
    pub max_session_timeout: Duration,
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members. Default 3 s.
    pub initial_rebalance_delay: Duration,
    /// `group.max.size`: members of a group. Default as many as there are.
    pub max_size: usize,
    /// `offsets.retention.minutes`: how long offsets of nobody are kept. Default 7 days.
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`. Default 10 minutes.
    pub offsets_check_interval: Duration,
}

impl Default for GroupSettings {
    fn default() -> Self {
        GroupSettings {
            min_session_timeout: Duration::from_secs(6),
            max_session_timeout: Duration::from_secs(1800),
            initial_rebalance_delay: Duration::from_secs(3),
            max_size: i32::MAX as usize,
            offsets_retention: Duration::from_secs(7 * 24 * 3600),
            offsets_check_interval: Duration::from_secs(600),
        }
    }
}

/// Where records of groups are written.
pub(crate) trait Journal {
    /// Writes records of a group, all or none.
    fn append(&mut self, group: &str, records: Vec<Record>) -> Result<(), ResponseError>;
}

/// What groups are told of the world.
pub(crate) struct Outside<'a> {
    /// Since some fixed moment.
    pub now: Duration,
    pub wall: Timestamp,
    pub settings: &'a GroupSettings,
    pub journal: &'a mut dyn Journal,
    /// Makes the end of a new member's id.
    pub new_id: &'a mut dyn FnMut() -> Uuid,
}

/// Where an answer goes that may have to wait.
pub(crate) type Reply<T> = oneshot::Sender<T>;

/// Who asks, as it is shown to administrators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Client {
    pub id: String,
    /// With a `/` before it, as in Apache Kafka.
    pub host: String,
}

/// What happens when time has passed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A group's time to join is over.
    Join(Arc<str>),
    /// A group's time to ask for shares is over.
    Sync(Arc<str>),
    /// A member was not heard of.
    Heartbeat(Arc<str>, Arc<str>),
    /// Old offsets are looked for.
    Expire,
}

/// All groups.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: BTreeMap<Arc<str>, ClassicGroup>,
    offsets: GroupOffsets,
    timers: Timers<Timer>,
}

impl Groups {
    /// Takes a record of `__consumer_offsets` in; those of other kinds are passed over.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) {
        match read_key(key) {
            Some(Key::Offset(group, place)) => {
                let committed = value.map(read_offset_value);
                match committed {
                    Some(None) => tracing::warn!(group, %place, "an offset in the log cannot be read"),
                    None => self.offsets.set(&group, place, None),
                    Some(committed) => {
                        self.get_or_make(&group, Timestamp(-1));
                        self.offsets.set(&group, place, committed);
                    }
                }
            }
            Some(Key::Group(group)) => {
                let name: Arc<str> = group.into();
                match value.map(read_group_value) {
                    Some(None) => tracing::warn!(group = &*name, "a group in the log cannot be read"),
                    None => drop(self.groups.remove(&name)),
                    Some(Some(value)) => drop(self.groups.insert(name.clone(), ClassicGroup::of(name, value))),
                }
            }
            None => {}
        }
    }

    /// All records were replayed: time begins to count.
    pub fn start(&mut self, now: Duration, settings: &GroupSettings) {
        for group in self.groups.values() {
            group.start(now, &mut self.timers);
        }
        self.expire_later(now, settings);
    }

    /// Looks for old offsets after a while, as long as there are groups.
    fn expire_later(&mut self, now: Duration, settings: &GroupSettings) {
        if !self.groups.is_empty() {
            self.timers.set(Timer::Expire, now + settings.offsets_check_interval);
        }
    }

    fn get_or_make(&mut self, name: &str, since: Timestamp) -> &mut ClassicGroup {
        let name: Arc<str> = name.into();
        self.groups.entry(name.clone()).or_insert_with(|| ClassicGroup::new(name, since))
    }

    /// The group of that name, which is made if there is none.
    fn group(&mut self, outside: &Outside<'_>, name: &str) -> &mut ClassicGroup {
        let is_first = self.groups.is_empty();
        self.get_or_make(name, outside.wall);
        if is_first {
            self.expire_later(outside.now, outside.settings);
        }
        self.get_or_make(name, outside.wall)
    }

    /// When the next deadline is.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// Does what has become due.
    pub fn pass_time(&mut self, outside: &mut Outside<'_>) {
        while let Some(due) = self.timers.take_due(outside.now) {
            match due {
                Timer::Join(group) => {
                    if let Some(group) = self.groups.get_mut(&group) {
                        group.join_is_due(outside, &mut self.timers);
                    }
                }
                Timer::Sync(group) => {
                    if let Some(group) = self.groups.get_mut(&group) {
                        group.sync_is_due(outside, &mut self.timers);
                    }
                }
                Timer::Heartbeat(group, member) => {
                    if let Some(group) = self.groups.get_mut(&group) {
                        group.heartbeat_is_due(&member, outside, &mut self.timers);
                    }
                }
                Timer::Expire => {
                    self.expire_offsets(outside);
                    self.expire_later(outside.now, outside.settings);
                }
            }
        }
    }

    /// A member joins a group, which is made for the first one.
    pub fn join(
        &mut self,
        outside: &mut Outside<'_>,
        request: &JoinGroupRequest,
        (version, client): (i16, Client),
        reply: Reply<JoinGroupResponse>,
    ) {
        let (name, id): (&str, &str) = (&request.group_id, &request.member_id);
        let session = Duration::from_millis(u64::try_from(request.session_timeout_ms).unwrap_or(0));
        let settings = outside.settings;
        let refusal = if !is_group_name(name) {
            Some(ResponseError::InvalidGroupId)
        } else if !(settings.min_session_timeout..=settings.max_session_timeout).contains(&session) {
            Some(ResponseError::InvalidSessionTimeout)
        } else if !self.groups.contains_key(name) && !id.is_empty() {
            Some(ResponseError::UnknownMemberId)
        } else {
            None
        };
        if let Some(error) = refusal {
            let _ = reply.send(refused_join(id, error));
            return;
        }
        if !self.groups.contains_key(name) {
            let group = self.group(outside, name);
            if let Err(error) = group.write_empty(outside) {
                self.groups.remove(name);
                let _ = reply.send(refused_join(id, error));
                return;
            }
        }
        if let Some(group) = self.groups.get_mut(name) {
            group.join(outside, &mut self.timers, request, (version, client), reply);
        }
    }

    /// A member asks for its share of what the leader assigns.
    pub fn sync(&mut self, outside: &mut Outside<'_>, request: &SyncGroupRequest, reply: Reply<SyncGroupResponse>) {
        let error = match self.groups.get_mut(&**request.group_id) {
            _ if !is_group_name(&request.group_id) => ResponseError::InvalidGroupId,
            Some(group) if !group.is_empty() => return group.sync(outside, &mut self.timers, request, reply),
            _ => ResponseError::UnknownMemberId,
        };
        let _ = reply.send(refused_sync(error));
    }

    pub fn heartbeat(&mut self, outside: &Outside<'_>, request: &HeartbeatRequest) -> Result<(), ResponseError> {
        if !is_group_name(&request.group_id) {
            return Err(ResponseError::InvalidGroupId);
        }
        let group = self.groups.get_mut(&**request.group_id).ok_or(ResponseError::UnknownMemberId)?;
        group.heartbeat(outside, &mut self.timers, request)
    }

    /// Members leave; each is told whether it was there.
    pub fn leave(
        &mut self,
        outside: &mut Outside<'_>,
        group: &str,
        leaving: &[MemberIdentity],
    ) -> Result<Vec<Result<(), ResponseError>>, ResponseError> {
        if !is_group_name(group) {
            return Err(ResponseError::InvalidGroupId);
        }
        match self.groups.get_mut(group) {
            Some(group) => Ok(group.leave(outside, &mut self.timers, leaving)),
            None => Ok(leaving.iter().map(|_| Err(ResponseError::UnknownMemberId)).collect()),
        }
    }

    /// Whether a commit by a member, in a generation, is taken; −1 is none.
    pub fn check_commit(
        &self,
        group: &str,
        (member, instance, generation): (&str, Option<&str>, i32),
        unknown: ResponseError,
    ) -> Result<(), ResponseError> {
        if group.len() > GROUP_LIMIT_BYTES {
            return Err(ResponseError::InvalidGroupId);
        }
        match self.groups.get(group) {
            Some(group) => group.check_commit(member, instance, generation),
            None if generation < 0 => Ok(()),
            None => Err(unknown),
        }
    }

    /// Writes offsets of a group, and takes them in.
    pub fn commit(
        &mut self,
        outside: &mut Outside<'_>,
        group: &str,
        commits: Vec<(TopicPartition, Committed)>,
    ) -> Result<(), ResponseError> {
        if commits.is_empty() {
            return Ok(());
        }
        let records = commits.iter().map(|(place, commit)| (offset_key(group, place), Some(offset_value(commit))));
        outside.journal.append(group, records.collect())?;
        self.group(outside, group);
        for (place, commit) in commits {
            self.offsets.set(group, place, Some(commit));
        }
        Ok(())
    }

    pub fn offsets(&self) -> &GroupOffsets {
        &self.offsets
    }

    /// Forgets the offsets in topics that are not there, or that are others of the same names.
    pub fn retain_topics(&mut self, id_of: impl Fn(&str) -> Option<Uuid>) {
        self.offsets.retain_topics(id_of);
    }

    /// Deletes what all groups have committed for a topic.
    pub fn forget_topic(&mut self, outside: &mut Outside<'_>, topic: &str) -> Result<(), ResponseError> {
        for (group, places) in self.offsets.of_topic(topic) {
            self.delete_offsets(outside, &group, places)?;
        }
        Ok(())
    }

    fn delete_offsets(
        &mut self,
        outside: &mut Outside<'_>,
        group: &str,
        places: Vec<TopicPartition>,
    ) -> Result<(), ResponseError> {
        if places.is_empty() {
            return Ok(());
        }
        outside.journal.append(group, places.iter().map(|place| (offset_key(group, place), None)).collect())?;
        places.into_iter().for_each(|place| self.offsets.set(group, place, None));
        Ok(())
    }

    /// Deletes offsets at an administrator's word; each is told whether somebody has subscribed to its topic.
    pub fn delete_offsets_of(
        &mut self,
        outside: &mut Outside<'_>,
        group: &str,
        places: &[TopicPartition],
    ) -> Result<Vec<Result<(), ResponseError>>, ResponseError> {
        let found = self.groups.get(group).ok_or(ResponseError::GroupIdNotFound)?;
        found.check_offset_delete()?;
        let check = |place: &TopicPartition| match found.is_subscribed(&place.topic) {
            true => Err(ResponseError::GroupSubscribedToTopic),
            false => Ok(()),
        };
        let checks: Vec<_> = places.iter().map(check).collect();
        let free = places.iter().zip(&checks).filter(|(_, check)| check.is_ok()).map(|(place, _)| place);
        let there = free.filter(|place| self.offsets.get(group, place).is_some()).cloned().collect();
        self.delete_offsets(outside, group, there)?;
        Ok(checks)
    }

    /// Deletes a group without members, with its offsets.
    pub fn delete(&mut self, outside: &mut Outside<'_>, group: &str) -> Result<(), ResponseError> {
        let found = self.groups.get(group).ok_or(ResponseError::GroupIdNotFound)?;
        if !found.is_empty() {
            return Err(ResponseError::NonEmptyGroup);
        }
        let places: Vec<TopicPartition> = self.offsets.all(group).map(|(place, _)| place.clone()).collect();
        let mut records: Vec<Record> = places.iter().map(|place| (offset_key(group, place), None)).collect();
        records.push((group_key(group), None));
        outside.journal.append(group, records)?;
        places.into_iter().for_each(|place| self.offsets.set(group, place, None));
        self.groups.remove(group);
        Ok(())
    }

    /// Deletes the offsets that nobody has needed for long, and groups that have none left, nor members.
    fn expire_offsets(&mut self, outside: &mut Outside<'_>) {
        let retention_ms = i64::try_from(outside.settings.offsets_retention.as_millis()).unwrap_or(i64::MAX);
        let mut expired: Vec<(Arc<str>, Vec<TopicPartition>, bool)> = Vec::new();
        for (name, group) in &self.groups {
            let is_old = |place: &TopicPartition, committed: &Committed| {
                let age_from = group.offset_age_from(committed.at);
                let is_old = age_from.is_some_and(|from| outside.wall.0.saturating_sub(from.0) >= retention_ms);
                is_old && !group.is_subscribed(&place.topic)
            };
            let (old, kept): (Vec<_>, Vec<_>) = self.offsets.all(name).partition(|(place, at)| is_old(place, at));
            let is_over = kept.is_empty() && group.is_empty();
            let old: Vec<_> = old.into_iter().map(|(place, _)| place.clone()).collect();
            if is_over || !old.is_empty() {
                expired.push((name.clone(), old, is_over));
            }
        }
        for (group, places, is_over) in expired {
            let done =
                if is_over { self.delete(outside, &group) } else { self.delete_offsets(outside, &group, places) };
            if let Err(error) = done {
                tracing::warn!(group = &*group, %error, "old offsets could not be deleted; it is tried again");
            }
        }
    }

    /// A group, for administrators.
    pub fn describe(&self, group: &str) -> Option<DescribedGroup> {
        self.groups.get(group).map(ClassicGroup::describe)
    }

    /// The names of all groups, with their protocol types and states.
    pub fn list(&self) -> impl Iterator<Item = (&str, &str, &'static str)> {
        self.groups.iter().map(|(name, group)| (&**name, group.protocol_type(), group.state().name()))
    }
}

/// Whether members may join a group of that name.
fn is_group_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= GROUP_LIMIT_BYTES
}
