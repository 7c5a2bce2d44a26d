//! The groups of consumers: who is in them, who has which partitions, and what they have committed.
//!
//! All of it is a state machine over the records of `__consumer_offsets`. It reads no clock and touches no disk: it is told the time, and
//! given a [`Journal`] to write to. What it decides is in the journal before it is told to anybody.

mod assign;
mod classic;
mod commits;
mod consumer;
mod describe;
mod embedded;
mod migration;
mod offsets;
mod records;
mod settings;
mod streams;
mod topic_hash;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tidewater_protocol::messages::leave_group_request::MemberIdentity;
use tidewater_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, StreamsGroupHeartbeatRequest, StreamsGroupHeartbeatResponse, SyncGroupRequest,
    SyncGroupResponse,
};
use tidewater_protocol::{ControlKind, ResponseError};
use tidewater_types::Timestamp;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::journal::{Journal, Record};
use crate::timers::Timers;
pub use assign::Assignor;
use classic::{CONSUMER, ClassicGroup, ID_BEFORE_JOIN, refused_join, refused_sync};
use consumer::{ConsumerGroup, JOINS, LEAVES, LEAVES_FOR_NOW, Refusal};
pub use migration::MigrationPolicy;
pub(crate) use offsets::{Committed, GroupOffsets};
pub(crate) use records::OFFSETS_TOPIC;
use records::{
    Change, GROUP_LIMIT_BYTES, Key, Part, group_key, read_change, read_group_value, read_key, read_offset_value,
};
use settings::ConsumerTimes;
pub(crate) use settings::{GROUP_SETTINGS, GroupSetting, OwnSettings};
pub use settings::{GroupSettings, StreamsGroupSettings};
use streams::StreamsGroup;
pub(crate) use streams::{InternalTopic, MISSING_INTERNAL_TOPICS, named_topics};

/// The topics that there are.
pub(crate) trait Topics {
    /// Another one whenever they change.
    fn version(&self) -> u64;

    /// A topic's id, and how many partitions it has.
    fn find(&self, name: &str) -> Option<(Uuid, i32)>;

    fn name_of(&self, id: Uuid) -> Option<String>;

    fn names(&self) -> Vec<String>;
}

/// What groups are told of the world.
pub(crate) struct Outside<'a> {
    /// Since some fixed moment.
    pub now: Duration,
    pub wall: Timestamp,
    pub settings: &'a GroupSettings,
    /// What was set for groups since.
    pub own_settings: &'a OwnSettings,
    pub journal: &'a mut dyn Journal,
    pub topics: &'a dyn Topics,
    /// Makes the end of a new member's id.
    pub new_id: &'a mut dyn FnMut() -> Uuid,
}

impl Outside<'_> {
    /// The times that hold for a group's members of the consumer protocol.
    fn times_of(&self, group: &str) -> ConsumerTimes {
        self.own_settings.consumer_of(group, self.settings)
    }
}

/// Who commits offsets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Committer<'a> {
    /// A member's id, or nothing.
    pub member: &'a str,
    pub instance: Option<&'a str>,
    /// Its generation, or its epoch; −1 for one that is no member.
    pub generation: i32,
    /// Whether the commit is a part of a transaction.
    pub in_transaction: bool,
    /// Of the request.
    pub version: i16,
}

impl Committer<'_> {
    /// Whether it says nothing of itself.
    fn is_nobody(&self) -> bool {
        self.generation < 0 && self.member.is_empty() && self.instance.is_none()
    }
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
    /// A member has kept partitions or tasks that it must give up.
    Revocation(Arc<str>, Arc<str>),
    /// A member of the classic protocol, in a group of the consumer protocol, was told to join again, and has not.
    Rejoin(Arc<str>, Arc<str>),
    /// Such a member has joined, and not asked for its share.
    Share(Arc<str>, Arc<str>),
    /// The time in which the first members of a group of the streams protocol come is over.
    FirstAssignment(Arc<str>),
    /// Old offsets are looked for.
    Expire,
}

/// A group, of one of the protocols.
#[derive(Debug)]
enum Group {
    Classic(ClassicGroup),
    Consumer(ConsumerGroup),
    Streams(StreamsGroup),
}

impl Group {
    fn is_empty(&self) -> bool {
        match self {
            Group::Classic(group) => group.is_empty(),
            Group::Consumer(group) => group.is_empty(),
            Group::Streams(group) => group.is_empty(),
        }
    }

    fn is_subscribed(&self, topic: &str) -> bool {
        match self {
            Group::Classic(group) => group.is_subscribed(topic),
            Group::Consumer(group) => group.is_subscribed(topic),
            Group::Streams(group) => group.is_subscribed(topic),
        }
    }

    /// From when on the age of an offset counts that was committed at some time; `None` while offsets are kept.
    fn offset_age_from(&self, committed: Timestamp) -> Option<Timestamp> {
        match self {
            Group::Classic(group) => group.offset_age_from(committed),
            Group::Consumer(_) | Group::Streams(_) => Some(committed),
        }
    }

    /// The records that delete it.
    fn tombstones(&self, name: &str) -> Vec<Record> {
        match self {
            Group::Classic(_) => vec![(group_key(name), None)],
            Group::Consumer(group) => group.tombstones(),
            Group::Streams(group) => group.tombstones(),
        }
    }
}

/// All groups.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: BTreeMap<Arc<str>, Group>,
    offsets: GroupOffsets,
    timers: Timers<Timer>,
}

impl Groups {
    /// Takes a record of `__consumer_offsets` in, of a producer's transaction if there is one; those of other kinds are passed over.
    pub fn replay(&mut self, producer: Option<i64>, key: &[u8], value: Option<&[u8]>) {
        match read_key(key) {
            Some(Key::Offset(group, place)) => {
                let committed = value.map(read_offset_value);
                match committed {
                    Some(None) => tracing::warn!(group, %place, "an offset in the log cannot be read"),
                    None => self.offsets.remove(&group, &place),
                    Some(Some(committed)) => {
                        self.get_or_make(&group, Timestamp(-1));
                        self.offsets.set(producer, &group, place, committed);
                    }
                }
            }
            Some(Key::Group(group)) => {
                let name: Arc<str> = group.into();
                match value.map(read_group_value) {
                    Some(None) => tracing::warn!(group = &*name, "a group in the log cannot be read"),
                    None => drop(self.groups.remove(&name)),
                    Some(Some(value)) => {
                        self.groups.insert(name.clone(), Group::Classic(ClassicGroup::of(name, value)));
                    }
                }
            }
            Some(Key::Consumer(group, part)) => self.replay_consumer(&group, part, value),
            Some(Key::Streams(group, part)) => self.replay_streams(&group, part, value),
            None => {}
        }
    }

    /// A producer's transaction has ended in the partition of some groups: what it has committed for them counts now, or never.
    pub fn end_transaction(&mut self, producer: i64, kind: ControlKind, is_there: impl Fn(&str) -> bool) {
        self.offsets.end_transaction(producer, kind, is_there);
    }

    /// All records were replayed: time begins to count.
    pub fn start(&mut self, now: Duration, settings: &GroupSettings, own: &OwnSettings) {
        for (name, group) in &self.groups {
            match group {
                Group::Classic(group) => group.start(now, &mut self.timers),
                Group::Consumer(group) => {
                    group.start(now, own.consumer_of(name, settings).session_timeout, &mut self.timers);
                }
                Group::Streams(group) => {
                    group.start(now, own.streams_of(name, settings).session_timeout, &mut self.timers);
                }
            }
        }
        self.expire_later(now, settings);
    }

    /// Looks for old offsets after a while, as long as there are groups.
    fn expire_later(&mut self, now: Duration, settings: &GroupSettings) {
        if !self.groups.is_empty() {
            self.timers.set(Timer::Expire, now + settings.offsets_check_interval);
        }
    }

    /// Takes a change of a group of the consumer protocol in.
    fn replay_consumer(&mut self, name: &str, part: Part, value: Option<&[u8]>) {
        let Some(change) = read_change(part, value) else {
            tracing::warn!(group = name, "a part of a group in the log cannot be read");
            return;
        };
        let is_end = matches!(change, Change::Epoch(None));
        let name: Arc<str> = name.into();
        // A group's first record is its epoch, or a member: a group of the classic protocol that offsets have made gives way.
        let is_consumer = matches!(self.groups.get(&name), Some(Group::Consumer(_)));
        if !is_consumer && value.is_some() {
            self.groups.insert(name.clone(), Group::Consumer(ConsumerGroup::new(name.clone(), Vec::new())));
        }
        if let Some(Group::Consumer(group)) = self.groups.get_mut(&name) {
            group.apply(change);
            if is_end {
                self.groups.remove(&name);
            }
        }
    }

    /// Takes a change of a group of the streams protocol in.
    fn replay_streams(&mut self, name: &str, part: streams::Part, value: Option<&[u8]>) {
        let Some(change) = streams::read_change(part, value) else {
            tracing::warn!(group = name, "a part of a group in the log cannot be read");
            return;
        };
        let is_end = matches!(change, streams::Change::Epoch(None));
        let name: Arc<str> = name.into();
        let is_streams = matches!(self.groups.get(&name), Some(Group::Streams(_)));
        if !is_streams && value.is_some() {
            self.groups.insert(name.clone(), Group::Streams(StreamsGroup::new(name.clone(), Vec::new())));
        }
        if let Some(Group::Streams(group)) = self.groups.get_mut(&name) {
            group.apply(change);
            if is_end {
                self.groups.remove(&name);
            }
        }
    }

    /// Has a group of that name, if only for its offsets.
    fn get_or_make(&mut self, name: &str, since: Timestamp) {
        let name: Arc<str> = name.into();
        self.groups.entry(name.clone()).or_insert_with(|| Group::Classic(ClassicGroup::new(name, since)));
    }

    /// Puts a group in, in place of one that has no members.
    fn put(&mut self, outside: &Outside<'_>, name: &str, group: Group) {
        let is_first = self.groups.is_empty();
        self.groups.insert(name.into(), group);
        if is_first {
            self.expire_later(outside.now, outside.settings);
        }
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
                    if let Some(Group::Classic(group)) = self.groups.get_mut(&group) {
                        group.join_is_due(outside, &mut self.timers);
                    }
                }
                Timer::Sync(group) => {
                    if let Some(Group::Classic(group)) = self.groups.get_mut(&group) {
                        group.sync_is_due(outside, &mut self.timers);
                    }
                }
                Timer::Rejoin(group, member) | Timer::Share(group, member) => {
                    self.consumer_is_due(outside, &group, &member);
                }
                Timer::Heartbeat(group, member) | Timer::Revocation(group, member) => {
                    match self.groups.get_mut(&group) {
                        Some(Group::Classic(group)) => group.heartbeat_is_due(&member, outside, &mut self.timers),
                        Some(Group::Consumer(_)) => self.consumer_is_due(outside, &group, &member),
                        Some(Group::Streams(group)) => group.member_is_due(outside, &mut self.timers, &member),
                        None => {}
                    }
                }
                Timer::FirstAssignment(group) => {
                    if let Some(Group::Streams(group)) = self.groups.get_mut(&group) {
                        group.first_assignment_is_due(outside, &mut self.timers);
                    }
                }
                Timer::Expire => {
                    self.expire_offsets(outside);
                    self.expire_later(outside.now, outside.settings);
                }
            }
        }
    }

    /// A member of a group of the consumer protocol was not heard of, or has not done in time what it must.
    fn consumer_is_due(&mut self, outside: &mut Outside<'_>, group: &Arc<str>, member: &Arc<str>) {
        let Some(Group::Consumer(found)) = self.groups.get(group) else { return };
        if !found.has_member(member) {
            return;
        }
        tracing::info!(
            group = &**group,
            member = &**member,
            "a member was not heard of, or has not done in time what it must"
        );
        if let Err((error, reason)) = self.dismiss_consumers(outside, group, std::slice::from_ref(member)) {
            tracing::debug!(group = &**group, member = &**member, %error, reason, "a member could not be removed; it is tried again");
            let retry = outside.times_of(group).heartbeat_interval;
            self.timers.set(Timer::Heartbeat(group.clone(), member.clone()), outside.now + retry);
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
        if let Some(error) = self.make_classic(outside, name).err() {
            let _ = reply.send(refused_join(id, error));
            return;
        }
        match self.groups.get_mut(name) {
            Some(Group::Classic(group)) => group.join(outside, &mut self.timers, request, (version, client), reply),
            Some(Group::Consumer(group)) => {
                let response = match group.join(outside, &mut self.timers, request, (version, client)) {
                    Ok(joined) => {
                        if joined.replaces_consumer {
                            self.downgrade_if_classic(outside, name);
                        }
                        joined.response
                    }
                    Err((error, id)) => refused_join(&id, error).with_protocol_name(None),
                };
                let _ = reply.send(response);
            }
            _ => drop(reply.send(refused_join(id, ResponseError::InconsistentGroupProtocol))),
        }
    }

    /// Makes a group of the classic protocol, unless there is one, or one of another protocol with members.
    fn make_classic(&mut self, outside: &mut Outside<'_>, name: &str) -> Result<(), ResponseError> {
        let mut records = match self.groups.get(name) {
            Some(Group::Consumer(group)) if group.is_empty() => group.tombstones(),
            Some(Group::Streams(group)) if group.is_empty() => group.tombstones(),
            Some(_) => return Ok(()),
            None => Vec::new(),
        };
        let group = ClassicGroup::new(name.into(), outside.wall);
        records.push(group.empty_record());
        outside.journal.append(name, records)?;
        self.timers.cancel(&Timer::FirstAssignment(name.into()));
        self.put(outside, name, Group::Classic(group));
        Ok(())
    }

    /// A member of a group of the consumer protocol is there, joins, or leaves.
    pub fn consumer_heartbeat(
        &mut self,
        outside: &mut Outside<'_>,
        request: &ConsumerGroupHeartbeatRequest,
        client: Client,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        consumer::check_heartbeat(request, &outside.settings.assignors)?;
        let name = &*request.group_id.to_string();
        let joins = request.member_epoch == JOINS;
        let new = match self.groups.get(name) {
            Some(Group::Classic(group)) if joins && group.is_empty() => {
                Some(ConsumerGroup::new(name.into(), vec![(group_key(name), None)]))
            }
            Some(Group::Classic(_)) if joins => return self.upgrade(outside, request, client),
            None if joins => Some(ConsumerGroup::new(name.into(), Vec::new())),
            _ => None,
        };
        if let Some(mut group) = new {
            let response = group.heartbeat(outside, &mut self.timers, request, client)?;
            // Only now is it in the log.
            self.put(outside, name, Group::Consumer(group));
            return Ok(response);
        }
        match self.groups.get_mut(name) {
            Some(Group::Consumer(group)) if matches!(request.member_epoch, LEAVES | LEAVES_FOR_NOW) => {
                let (response, leaving) = group.leave(outside, request)?;
                self.dismiss_consumers(outside, name, &leaving)?;
                Ok(response)
            }
            Some(Group::Consumer(group)) => group.heartbeat(outside, &mut self.timers, request, client),
            Some(Group::Classic(_) | Group::Streams(_)) => {
                Err((ResponseError::GroupIdNotFound, format!("Group {name} is not a consumer group.")))
            }
            None => Err((ResponseError::GroupIdNotFound, format!("Consumer group {name} not found."))),
        }
    }

    /// A member of a group of the streams protocol is there, joins, or leaves. Gives the topics, too, that have yet to be made for it.
    pub fn streams_heartbeat(
        &mut self,
        outside: &mut Outside<'_>,
        request: &StreamsGroupHeartbeatRequest,
        client: Client,
    ) -> Result<(StreamsGroupHeartbeatResponse, Vec<InternalTopic>), Refusal> {
        streams::check_heartbeat(request)?;
        let name = &*request.group_id.to_string();
        let records = match self.groups.get(name) {
            Some(Group::Classic(group)) if request.member_epoch == JOINS && group.is_empty() => {
                vec![(group_key(name), None)]
            }
            None if request.member_epoch == JOINS => Vec::new(),
            Some(Group::Streams(_)) => return self.known_streams_heartbeat(outside, request, client),
            Some(_) => {
                return Err((ResponseError::GroupIdNotFound, format!("Group {name} is not a streams group.")));
            }
            None if request.member_epoch > JOINS => {
                return Err((ResponseError::GroupIdNotFound, format!("Streams group {name} not found.")));
            }
            None => return Err((ResponseError::GroupIdNotFound, format!("Group {name} not found."))),
        };
        let mut group = StreamsGroup::new(name.into(), records);
        let heard = group.heartbeat(outside, &mut self.timers, request, client)?;
        // Only now is it in the log.
        self.put(outside, name, Group::Streams(group));
        Ok(heard)
    }

    fn known_streams_heartbeat(
        &mut self,
        outside: &mut Outside<'_>,
        request: &StreamsGroupHeartbeatRequest,
        client: Client,
    ) -> Result<(StreamsGroupHeartbeatResponse, Vec<InternalTopic>), Refusal> {
        let Some(Group::Streams(group)) = self.groups.get_mut(&**request.group_id) else {
            return Err((ResponseError::GroupIdNotFound, String::new()));
        };
        match request.member_epoch {
            LEAVES => Ok((group.leave(outside, &mut self.timers, request)?, Vec::new())),
            _ => group.heartbeat(outside, &mut self.timers, request, client),
        }
    }

    /// A member asks for its share of what the leader assigns.
    pub fn sync(&mut self, outside: &mut Outside<'_>, request: &SyncGroupRequest, reply: Reply<SyncGroupResponse>) {
        let error = match self.groups.get_mut(&**request.group_id) {
            _ if !is_group_name(&request.group_id) => ResponseError::InvalidGroupId,
            Some(Group::Classic(group)) if !group.is_empty() => {
                return group.sync(outside, &mut self.timers, request, reply);
            }
            Some(Group::Consumer(group)) if !group.is_empty() => {
                let synced = group.sync(outside.topics, outside.now, &mut self.timers, request);
                let _ = reply.send(synced.unwrap_or_else(refused_sync));
                return;
            }
            _ => ResponseError::UnknownMemberId,
        };
        let _ = reply.send(refused_sync(error));
    }

    pub fn heartbeat(&mut self, outside: &Outside<'_>, request: &HeartbeatRequest) -> Result<(), ResponseError> {
        if !is_group_name(&request.group_id) {
            return Err(ResponseError::InvalidGroupId);
        }
        match self.groups.get_mut(&**request.group_id) {
            Some(Group::Classic(group)) => group.heartbeat(outside, &mut self.timers, request),
            Some(Group::Consumer(group)) => group.classic_heartbeat(outside.now, &mut self.timers, request),
            _ => Err(ResponseError::UnknownMemberId),
        }
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
            Some(Group::Classic(group)) => Ok(group.leave(outside, &mut self.timers, leaving)),
            Some(Group::Consumer(found)) => {
                let leaving = found.leaving(leaving);
                let ids: BTreeSet<Arc<str>> = leaving.iter().filter_map(|id| id.as_ref().ok().cloned()).collect();
                let ids: Vec<Arc<str>> = ids.into_iter().collect();
                self.dismiss_consumers(outside, group, &ids).map_err(|(error, _)| error)?;
                Ok(leaving.into_iter().map(|id| id.map(drop)).collect())
            }
            _ => Ok(leaving.iter().map(|_| Err(ResponseError::UnknownMemberId)).collect()),
        }
    }
}

/// Whether members may join a group of that name.
fn is_group_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= GROUP_LIMIT_BYTES
}
