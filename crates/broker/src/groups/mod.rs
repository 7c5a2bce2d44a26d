//! The groups of consumers: who is in them, who has which partitions, and what they have committed.
//!
//! All of it is a state machine over the records of `__consumer_offsets`. It reads no clock and touches no disk: it is told the time, and
//! given a [`Journal`] to write to. What it decides is in the journal before it is told to anybody.

mod assign;
mod classic;
mod consumer;
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
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use tidewater_protocol::messages::describe_groups_response::DescribedGroup;
use tidewater_protocol::messages::leave_group_request::MemberIdentity;
use tidewater_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, StreamsGroupHeartbeatRequest, StreamsGroupHeartbeatResponse, SyncGroupRequest,
    SyncGroupResponse, consumer_group_describe_response, streams_group_describe_response,
};
use tidewater_protocol::{ControlKind, ResponseError, StrBytes};
use tidewater_types::{Timestamp, TopicPartition};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::journal::{Journal, Producer, Record};
use crate::timers::Timers;
use assign::Assignor;
use classic::{CONSUMER, ClassicGroup, ID_BEFORE_JOIN, refused_join, refused_sync};
use consumer::{ConsumerGroup, JOINS, LEAVES, LEAVES_FOR_NOW, Refusal};
pub use migration::MigrationPolicy;
pub(crate) use offsets::{Committed, GroupOffsets, METADATA_LIMIT_BYTES};
pub(crate) use records::OFFSETS_TOPIC;
use records::{
    Change, GROUP_LIMIT_BYTES, Key, Part, group_key, offset_key, offset_value, read_change, read_group_value, read_key,
    read_offset_value,
};
use settings::ConsumerTimes;
pub(crate) use settings::{GROUP_SETTINGS, GroupSetting, OwnSettings, check_group_setting};
use streams::StreamsGroup;
pub(crate) use streams::{InternalTopic, MISSING_INTERNAL_TOPICS, named_topics};

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
    /// `group.consumer.session.timeout.ms`: of the consumer protocol. Default 45 s.
    pub consumer_session_timeout: Duration,
    /// `group.consumer.heartbeat.interval.ms`. Default 5 s.
    pub consumer_heartbeat_interval: Duration,
    /// What a group may set for itself: `group.consumer.min.session.timeout.ms` to `…max…`. Default 45 s to 60 s.
    pub consumer_session_bounds: RangeInclusive<Duration>,
    /// `group.consumer.min.heartbeat.interval.ms` to `…max…`. Default 5 s to 15 s.
    pub consumer_heartbeat_bounds: RangeInclusive<Duration>,
    /// `group.consumer.max.size`. Default as many as there are.
    pub consumer_max_size: usize,
    /// `group.consumer.migration.policy`: which way groups with members may change their protocol. Default both.
    pub migration: MigrationPolicy,
    /// Of the streams protocol.
    pub streams: StreamsGroupSettings,
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
            consumer_session_timeout: Duration::from_secs(45),
            consumer_heartbeat_interval: Duration::from_secs(5),
            consumer_session_bounds: Duration::from_secs(45)..=Duration::from_secs(60),
            consumer_heartbeat_bounds: Duration::from_secs(5)..=Duration::from_secs(15),
            consumer_max_size: i32::MAX as usize,
            migration: MigrationPolicy::default(),
            streams: StreamsGroupSettings::default(),
            offsets_retention: Duration::from_secs(7 * 24 * 3600),
            offsets_check_interval: Duration::from_secs(600),
        }
    }
}

/// What groups of the streams protocol may be like.
#[derive(Clone, Debug)]
pub struct StreamsGroupSettings {
    /// `group.streams.session.timeout.ms`. Default 45 s.
    pub session_timeout: Duration,
    /// `group.streams.heartbeat.interval.ms`. Default 5 s.
    pub heartbeat_interval: Duration,
    /// `group.streams.initial.rebalance.delay.ms`: how long the first member waits for more. Default 3 s.
    pub initial_rebalance_delay: Duration,
    /// `group.streams.assignment.interval.ms`: tasks are shared out no more often. Default 1 s.
    pub assignment_interval: Duration,
    /// `group.streams.num.standby.replicas`: of each task with state. Default 0.
    pub standby_replicas: usize,
    /// What a group may set for itself: `group.streams.min.session.timeout.ms` to `…max…`. Default 45 s to 60 s.
    pub session_bounds: RangeInclusive<Duration>,
    /// `group.streams.min.heartbeat.interval.ms` to `…max…`. Default 5 s to 15 s.
    pub heartbeat_bounds: RangeInclusive<Duration>,
    /// `group.streams.min.assignment.interval.ms` to `…max…`. Default 0 s to 15 s.
    pub assignment_bounds: RangeInclusive<Duration>,
    /// `group.streams.max.standby.replicas`. Default 2.
    pub max_standby_replicas: usize,
    /// `group.streams.max.size`. Default as many as there are.
    pub max_size: usize,
}

impl Default for StreamsGroupSettings {
    fn default() -> Self {
        StreamsGroupSettings {
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(5),
            initial_rebalance_delay: Duration::from_secs(3),
            assignment_interval: Duration::from_secs(1),
            standby_replicas: 0,
            session_bounds: Duration::from_secs(45)..=Duration::from_secs(60),
            heartbeat_bounds: Duration::from_secs(5)..=Duration::from_secs(15),
            assignment_bounds: Duration::ZERO..=Duration::from_secs(15),
            max_standby_replicas: 2,
            max_size: i32::MAX as usize,
        }
    }
}

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
    /// What groups have set for themselves.
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
            tracing::warn!(group = &**group, member = &**member, %error, reason, "a member could not be removed; it is tried again");
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
        check_consumer_heartbeat(request)?;
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

    /// Whether a commit is taken.
    pub fn check_commit(
        &self,
        group: &str,
        committer: &Committer<'_>,
        commits: &[(TopicPartition, Committed)],
        unknown: ResponseError,
    ) -> Result<(), ResponseError> {
        if group.len() > GROUP_LIMIT_BYTES {
            return Err(ResponseError::InvalidGroupId);
        }
        match self.groups.get(group) {
            Some(Group::Classic(group)) => group.check_commit(committer),
            Some(Group::Consumer(group)) => {
                let places = commits.iter().map(|(place, commit)| (commit.topic_id, place.partition));
                group.check_commit(committer, places)
            }
            Some(Group::Streams(group)) => {
                let places = commits.iter().map(|(place, _)| (&*place.topic, place.partition));
                group.check_commit(committer, places)
            }
            None if committer.generation < 0 => Ok(()),
            None => Err(unknown),
        }
    }

    /// Writes offsets of a group, and takes them in; those of a producer's transaction count when it is committed.
    pub fn commit(
        &mut self,
        outside: &mut Outside<'_>,
        group: &str,
        producer: Option<Producer>,
        commits: Vec<(TopicPartition, Committed)>,
    ) -> Result<(), ResponseError> {
        if commits.is_empty() {
            return Ok(());
        }
        let records = commits.iter().map(|(place, commit)| (offset_key(group, place), Some(offset_value(commit))));
        outside.journal.append_as(group, producer, records.collect())?;
        if !self.groups.contains_key(group) {
            self.put(outside, group, Group::Classic(ClassicGroup::new(group.into(), outside.wall)));
        }
        for (place, commit) in commits {
            self.offsets.set(producer.map(|producer| producer.id), group, place, commit);
        }
        Ok(())
    }

    pub fn offsets(&self) -> &GroupOffsets {
        &self.offsets
    }

    /// Whether a member may read a group's offsets; −1 for one that does not say its epoch.
    pub fn check_fetch(&self, group: &str, member: Option<&str>, epoch: i32) -> Result<(), ResponseError> {
        match self.groups.get(group) {
            Some(Group::Consumer(group)) => group.check_fetch(member, epoch),
            Some(Group::Streams(group)) => group.check_fetch(member, epoch),
            Some(Group::Classic(_)) | None => Ok(()),
        }
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
        places.iter().for_each(|place| self.offsets.remove(group, place));
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
        if let Group::Classic(found) = found {
            found.check_offset_delete()?;
        }
        let check = |place: &TopicPartition| match found.is_subscribed(&place.topic) {
            true => Err(ResponseError::GroupSubscribedToTopic),
            false => Ok(()),
        };
        let checks: Vec<_> = places.iter().map(check).collect();
        let free = places.iter().zip(&checks).filter(|(_, check)| check.is_ok()).map(|(place, _)| place);
        let there = free.filter(|place| self.offsets.knows(group, place)).cloned().collect();
        self.delete_offsets(outside, group, there)?;
        Ok(checks)
    }

    /// Deletes a group without members, with its offsets.
    pub fn delete(&mut self, outside: &mut Outside<'_>, group: &str) -> Result<(), ResponseError> {
        let found = self.groups.get(group).ok_or(ResponseError::GroupIdNotFound)?;
        if !found.is_empty() {
            return Err(ResponseError::NonEmptyGroup);
        }
        let places = self.offsets.known(group);
        let mut records: Vec<Record> = places.iter().map(|place| (offset_key(group, place), None)).collect();
        records.extend(found.tombstones(group));
        outside.journal.append(group, records)?;
        places.iter().for_each(|place| self.offsets.remove(group, place));
        self.timers.cancel(&Timer::FirstAssignment(group.into()));
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
                is_old && !group.is_subscribed(&place.topic) && !self.offsets.is_open(name, place)
            };
            let (old, kept): (Vec<_>, Vec<_>) = self.offsets.all(name).partition(|(place, at)| is_old(place, at));
            let is_over = kept.is_empty() && group.is_empty() && !self.offsets.has_open(name);
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

    /// A group of the classic protocol, for administrators.
    pub fn describe(&self, group: &str) -> Option<DescribedGroup> {
        match self.groups.get(group)? {
            Group::Classic(group) => Some(group.describe()),
            Group::Consumer(_) | Group::Streams(_) => None,
        }
    }

    /// A group of the consumer protocol, for administrators.
    pub fn describe_consumer(
        &self,
        group: &str,
        topics: &dyn Topics,
    ) -> Result<consumer_group_describe_response::DescribedGroup, Refusal> {
        match self.groups.get(group) {
            Some(Group::Consumer(group)) => Ok(group.describe(topics)),
            Some(Group::Classic(_) | Group::Streams(_)) => {
                Err((ResponseError::GroupIdNotFound, format!("Group {group} is not a consumer group.")))
            }
            None => Err((ResponseError::GroupIdNotFound, format!("Group {group} not found."))),
        }
    }

    /// A group of the streams protocol, for administrators.
    pub fn describe_streams(&self, group: &str) -> Result<streams_group_describe_response::DescribedGroup, Refusal> {
        match self.groups.get(group) {
            Some(Group::Streams(found)) => found
                .describe()
                .ok_or_else(|| (ResponseError::UnknownServerError, format!("Group {group} has no topology."))),
            Some(_) => Err((ResponseError::GroupIdNotFound, format!("Group {group} is not a streams group."))),
            None => Err((ResponseError::GroupIdNotFound, format!("Group {group} not found."))),
        }
    }

    /// All groups.
    pub fn list(&self) -> impl Iterator<Item = Listed<'_>> {
        self.groups.iter().map(|(name, group)| match group {
            Group::Classic(group) => {
                Listed { name, kind: "classic", protocol_type: group.protocol_type(), state: group.state().name() }
            }
            Group::Consumer(group) => {
                Listed { name, kind: "consumer", protocol_type: "consumer", state: group.state() }
            }
            Group::Streams(group) => Listed { name, kind: "streams", protocol_type: "streams", state: group.state() },
        })
    }
}

/// A group, in a list of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed<'a> {
    pub name: &'a str,
    /// Its protocol.
    pub kind: &'static str,
    /// What its members are.
    pub protocol_type: &'a str,
    pub state: &'static str,
}

/// Whether a heartbeat of the consumer protocol is one, with Apache Kafka's words for what is not.
fn check_consumer_heartbeat(request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
    let invalid = |text: &str| Err((ResponseError::InvalidRequest, text.to_owned()));
    let is_blank = |text: &Option<StrBytes>| text.as_ref().is_some_and(|text| text.trim().is_empty());
    if request.group_id.trim().is_empty() || request.group_id.len() > GROUP_LIMIT_BYTES {
        return invalid("GroupId can't be empty.");
    }
    if is_blank(&request.instance_id) {
        return invalid("InstanceId can't be empty.");
    }
    if is_blank(&request.rack_id) {
        return invalid("RackId can't be empty.");
    }
    match request.member_epoch {
        JOINS => {
            if request.rebalance_timeout_ms == -1 {
                return invalid("RebalanceTimeoutMs must be provided in first request.");
            }
            if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
                return invalid("TopicPartitions must be empty when (re-)joining.");
            }
            // The former has an empty list for no topics, and one that is not there means that it is as before.
            if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
                return invalid(
                    "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
                );
            }
        }
        1.. | LEAVES if request.member_id.trim().is_empty() => return invalid("MemberId can't be empty."),
        1.. | LEAVES => {}
        LEAVES_FOR_NOW => {
            if request.member_id.trim().is_empty() {
                return invalid("MemberId can't be empty.");
            }
            if request.instance_id.is_none() {
                return invalid("InstanceId can't be null.");
            }
        }
        _ => return invalid("MemberEpoch is invalid."),
    }
    match &request.server_assignor {
        Some(name) if Assignor::of(name).is_none() => {
            let known: Vec<&str> = Assignor::ALL.iter().map(|assignor| assignor.name()).collect();
            let text =
                format!("ServerAssignor {} is not supported. Supported assignors: {}.", &**name, known.join(", "));
            Err((ResponseError::UnsupportedAssignor, text))
        }
        _ => Ok(()),
    }
}

/// Whether members may join a group of that name.
fn is_group_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= GROUP_LIMIT_BYTES
}
