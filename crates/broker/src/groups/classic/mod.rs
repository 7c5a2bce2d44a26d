//! A group of the classic protocol: members join, the one that leads assigns, all fetch their share, and send heartbeats.
//!
//! ```text
//!              join                 all have joined            the leader assigns
//!   Empty ------------> Preparing ------------------> Completing ----------------> Stable
//!     ^                  |  ^                           |                            |
//!     '------------------'  '---------------------------'----------------------------'
//!       nobody is left           a member joins, leaves, or is not heard of
//! ```
//!
//! As in Apache Kafka's `ClassicGroup` and `GroupMetadataManager`.

mod join;
mod migrate;
mod sync;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidewater_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use tidewater_protocol::messages::leave_group_request::MemberIdentity;
use tidewater_protocol::messages::{GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, SyncGroupResponse};
use tidewater_protocol::{ResponseError, StrBytes};
use tidewater_types::Timestamp;

use super::embedded::subscribed_topics;
use super::records::{GroupValue, MemberValue, group_key, group_value};
use super::{Client, Committer, Outside, Record, Reply, Timer, Timers};

/// The protocol type of consumers.
pub(super) const CONSUMER: &str = "consumer";

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Empty,
    Preparing,
    Completing,
    Stable,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::Preparing => "PreparingRebalance",
            State::Completing => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

type MemberId = Arc<str>;

#[derive(Debug)]
struct Member {
    instance: Option<String>,
    client: Client,
    rebalance_timeout: Duration,
    session_timeout: Duration,
    /// By preference.
    protocols: Vec<(String, Bytes)>,
    assignment: Bytes,
    join: Option<Reply<JoinGroupResponse>>,
    sync: Option<Reply<SyncGroupResponse>>,
    /// Whether it has joined no generation yet.
    is_new: bool,
}

impl Member {
    fn metadata(&self, protocol: Option<&str>) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| Some(name.as_str()) == protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    /// Whether it need not be heard of.
    fn is_waiting(&self) -> bool {
        !self.is_new && (self.join.is_some() || self.sync.is_some())
    }
}

/// A group.
#[derive(Debug)]
pub(super) struct ClassicGroup {
    name: Arc<str>,
    state: State,
    previous: Option<State>,
    since: Timestamp,
    protocol_type: Option<String>,
    protocol: Option<String>,
    generation: i32,
    leader: Option<MemberId>,
    members: BTreeMap<MemberId, Member>,
    instances: BTreeMap<String, MemberId>,
    /// New members that were given an id, and have not joined with it.
    pending: BTreeSet<MemberId>,
    /// Members that have joined the generation, and not asked for their share.
    unsynced: BTreeSet<MemberId>,
    /// How many members have each protocol.
    supported: BTreeMap<String, usize>,
    /// Topics of all members, as far as that is known.
    subscribed: Option<BTreeSet<String>>,
    /// While an empty group gathers its first members: how long the round under way is, and how long it may go on after.
    gathering: Option<(Duration, Duration)>,
    /// Whether somebody has come since the round began.
    has_new_member: bool,
}

impl ClassicGroup {
    pub fn new(name: Arc<str>, now: Timestamp) -> Self {
        ClassicGroup {
            name,
            state: State::Empty,
            previous: None,
            since: now,
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeSet::new(),
            unsynced: BTreeSet::new(),
            supported: BTreeMap::new(),
            subscribed: None,
            gathering: None,
            has_new_member: false,
        }
    }

    /// The group as a record has it.
    pub fn of(name: Arc<str>, value: GroupValue) -> Self {
        let mut group = ClassicGroup::new(name, Timestamp(value.since));
        group.protocol_type = Some(value.protocol_type).filter(|kind| !kind.is_empty());
        (group.protocol, group.generation) = (value.protocol, value.generation);
        for member in value.members {
            let protocol = group.protocol.clone().unwrap_or_default();
            let client = Client { id: member.client_id, host: member.client_host };
            let loaded = Member {
                instance: member.instance,
                client,
                rebalance_timeout: millis(member.rebalance_timeout_ms),
                session_timeout: millis(member.session_timeout_ms),
                protocols: vec![(protocol, member.subscription)],
                assignment: member.assignment,
                join: None,
                sync: None,
                is_new: false,
            };
            group.add(member.id.into(), loaded);
        }
        group.leader = value.leader.map(Arc::from).filter(|leader| group.members.contains_key(leader)).or(group.leader);
        group.state = if group.members.is_empty() { State::Empty } else { State::Stable };
        group.subscribed = group.subscriptions();
        group
    }

    /// Waits for the heartbeats of members that were read from the log.
    pub fn start(&self, now: Duration, timers: &mut Timers<Timer>) {
        for (id, member) in &self.members {
            timers.set(self.heartbeat_timer(id), now + member.session_timeout);
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    pub fn protocol_type(&self) -> &str {
        self.protocol_type.as_deref().unwrap_or_default()
    }

    pub fn generation(&self) -> i32 {
        self.generation
    }

    #[cfg(test)]
    pub fn has_member(&self, id: &str) -> bool {
        self.members.contains_key(id)
    }

    /// What a record of the group says.
    fn value(&self) -> GroupValue {
        let members = self.members.iter().map(|(id, member)| MemberValue {
            id: id.to_string(),
            instance: member.instance.clone(),
            client_id: member.client.id.clone(),
            client_host: member.client.host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout.as_millis() as i32,
            session_timeout_ms: member.session_timeout.as_millis() as i32,
            subscription: member.metadata(self.protocol.as_deref()),
            assignment: member.assignment.clone(),
        });
        GroupValue {
            protocol_type: self.protocol_type().to_owned(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.as_deref().map(str::to_owned),
            since: self.since.0,
            members: members.collect(),
        }
    }

    fn write(&self, outside: &mut Outside<'_>) -> Result<(), ResponseError> {
        outside.journal.append(&self.name, vec![self.record()])
    }

    /// The group as a record.
    pub fn record(&self) -> Record {
        (group_key(&self.name), Some(group_value(&self.value())))
    }

    /// The record of a new group, so that it is there again after a restart.
    pub fn empty_record(&self) -> Record {
        let empty = GroupValue { since: self.since.0, ..GroupValue::default() };
        (group_key(&self.name), Some(group_value(&empty)))
    }

    fn heartbeat_timer(&self, member: &MemberId) -> Timer {
        Timer::Heartbeat(self.name.clone(), member.clone())
    }

    fn expect_heartbeat(&self, id: &MemberId, outside: &Outside<'_>, timers: &mut Timers<Timer>) {
        if let Some(member) = self.members.get(id) {
            timers.set(self.heartbeat_timer(id), outside.now + member.session_timeout);
        }
    }

    fn enter(&mut self, state: State, outside: &Outside<'_>) {
        self.previous = Some(self.state);
        (self.state, self.since) = (state, outside.wall);
    }

    // Members.

    fn count_protocols(&mut self, id: &str, up: bool) {
        let Some(member) = self.members.get(id) else { return };
        for (name, _) in &member.protocols {
            let count = self.supported.entry(name.clone()).or_default();
            *count = if up { *count + 1 } else { count.saturating_sub(1) };
        }
        self.supported.retain(|_, count| *count > 0);
    }

    fn add(&mut self, id: MemberId, member: Member) {
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.pending.remove(&id);
        self.leader.get_or_insert_with(|| id.clone());
        self.members.insert(id.clone(), member);
        self.count_protocols(&id, true);
    }

    fn remove(&mut self, id: &str, timers: &mut Timers<Timer>) {
        self.count_protocols(id, false);
        if let Some((id, member)) = self.members.remove_entry(id) {
            if let Some(instance) = &member.instance
                && self.instances.get(instance) == Some(&id)
            {
                self.instances.remove(instance);
            }
            timers.cancel(&self.heartbeat_timer(&id));
        }
        if let Some(id) = self.pending.take(id) {
            timers.cancel(&self.heartbeat_timer(&id));
        }
        self.unsynced.remove(id);
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    fn update(&mut self, id: &MemberId, request: &JoinGroupRequest, reply: Reply<JoinGroupResponse>) {
        self.count_protocols(id, false);
        if let Some(member) = self.members.get_mut(id) {
            member.protocols = protocols_of(request);
            (member.rebalance_timeout, member.session_timeout) = timeouts_of(request);
            // An answer that is waited for elsewhere is none any more.
            member.join = Some(reply);
        }
        self.count_protocols(id, true);
    }

    fn joining(&self) -> usize {
        self.members.values().filter(|member| member.join.is_some()).count()
    }

    fn have_all_joined(&self) -> bool {
        self.pending.is_empty() && self.members.values().all(|member| member.join.is_some())
    }

    fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    fn find(&self, id: &str) -> Option<MemberId> {
        self.members.get_key_value(id).map(|(id, _)| id.clone())
    }

    /// The member that a request names.
    fn check_member(&self, id: &str, instance: Option<&str>) -> Result<MemberId, ResponseError> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(ResponseError::UnknownMemberId),
                Some(known) if **known != *id => return Err(ResponseError::FencedInstanceId),
                Some(_) => {}
            }
        }
        self.find(id).ok_or(ResponseError::UnknownMemberId)
    }

    // Staying and leaving.

    pub fn heartbeat(
        &mut self,
        outside: &Outside<'_>,
        timers: &mut Timers<Timer>,
        request: &HeartbeatRequest,
    ) -> Result<(), ResponseError> {
        let id = self.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        self.expect_heartbeat(&id, outside, timers);
        match self.state {
            State::Empty => Err(ResponseError::UnknownMemberId),
            State::Preparing => Err(ResponseError::RebalanceInProgress),
            State::Completing | State::Stable => Ok(()),
        }
    }

    /// Members leave; each is told whether it was there.
    pub fn leave(
        &mut self,
        outside: &mut Outside<'_>,
        timers: &mut Timers<Timer>,
        leaving: &[MemberIdentity],
    ) -> Vec<Result<(), ResponseError>> {
        let results: Vec<_> = leaving.iter().map(|member| self.leave_one(timers, member)).collect();
        if results.iter().any(Result::is_ok) {
            match self.state {
                State::Stable | State::Completing => self.rebalance(outside, timers),
                State::Preparing => self.complete_if_joined(outside, timers),
                State::Empty => {}
            }
        }
        results
    }

    fn leave_one(&mut self, timers: &mut Timers<Timer>, member: &MemberIdentity) -> Result<(), ResponseError> {
        let (id, instance) = (&*member.member_id, member.group_instance_id.as_deref());
        let id = match instance {
            // An administrator names the instance alone.
            Some(instance) if id.is_empty() => {
                self.instances.get(instance).cloned().ok_or(ResponseError::UnknownMemberId)?
            }
            _ if self.pending.contains(id) => {
                self.remove(id, timers);
                return Ok(());
            }
            _ => self.check_member(id, instance)?,
        };
        self.dismiss(&id, timers);
        Ok(())
    }

    /// Removes a member. One that waits to join is told to come again, if it is still there.
    fn dismiss(&mut self, id: &MemberId, timers: &mut Timers<Timer>) {
        if let Some(reply) = self.members.get_mut(id).and_then(|member| member.join.take()) {
            answer(reply, refused_join("", ResponseError::UnknownMemberId));
        }
        self.remove(id, timers);
    }

    /// A member was not heard of for as long as its session.
    pub fn heartbeat_is_due(&mut self, id: &MemberId, outside: &mut Outside<'_>, timers: &mut Timers<Timer>) {
        if self.pending.contains(id) {
            self.remove(id, timers);
            if self.state == State::Preparing && self.have_all_joined() {
                self.complete_join(outside, timers);
            }
            return;
        }
        if self.members.get(id).is_none_or(Member::is_waiting) {
            return;
        }
        tracing::info!(group = &*self.name, member = &**id, "a member was not heard of");
        self.dismiss(id, timers);
        match self.state {
            State::Stable | State::Completing => self.rebalance(outside, timers),
            State::Preparing if self.have_all_joined() => self.complete_join(outside, timers),
            State::Preparing | State::Empty => {}
        }
    }

    // Offsets.

    /// Whether a commit is taken. One of a transaction may be anybody's, since the first clients to have them did not say who they are.
    pub fn check_commit(&self, committer: &Committer<'_>) -> Result<(), ResponseError> {
        let Committer { member, instance, generation, in_transaction, .. } = *committer;
        if generation < 0 && self.is_empty() {
            return Ok(());
        }
        if committer.is_nobody() {
            return if in_transaction { Ok(()) } else { Err(ResponseError::UnknownMemberId) };
        }
        self.check_member(member, instance)?;
        match self.state {
            _ if generation != self.generation => Err(ResponseError::IllegalGeneration),
            State::Completing if !in_transaction => Err(ResponseError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// Whether offsets may be deleted, as far as nobody has subscribed to their topics.
    pub fn check_offset_delete(&self) -> Result<(), ResponseError> {
        if self.is_empty() || self.is_of_consumers() { Ok(()) } else { Err(ResponseError::NonEmptyGroup) }
    }

    fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    pub fn is_subscribed(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.is_of_consumers(),
        }
    }

    /// From when on the age of an offset counts that was committed at some time; `None` while offsets are kept.
    pub fn offset_age_from(&self, committed: Timestamp) -> Option<Timestamp> {
        match self.state {
            _ if self.protocol_type.is_none() => Some(committed),
            State::Empty => Some(if self.since.0 < 0 { committed } else { self.since }),
            State::Stable if self.is_of_consumers() && self.subscribed.is_some() => Some(committed),
            _ => None,
        }
    }

    /// The topics that all members have subscribed to; `None` if that cannot be told.
    fn subscriptions(&self) -> Option<BTreeSet<String>> {
        if !self.is_of_consumers() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        self.protocol.as_ref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(subscribed_topics(&member.metadata(self.protocol.as_deref()))?);
        }
        Some(topics)
    }

    // Description.

    pub fn describe(&self) -> DescribedGroup {
        let is_stable = self.state == State::Stable;
        let members = self.members.iter().map(|(id, member)| {
            let metadata = if is_stable { member.metadata(self.protocol.as_deref()) } else { Bytes::new() };
            DescribedGroupMember::default()
                .with_member_id(text(id))
                .with_group_instance_id(member.instance.as_deref().map(text))
                .with_client_id(text(&member.client.id))
                .with_client_host(text(&member.client.host))
                .with_member_metadata(metadata)
                .with_member_assignment(member.assignment.clone())
        });
        let protocol = self.protocol.as_deref().filter(|_| is_stable).unwrap_or_default();
        DescribedGroup::default()
            .with_group_id(GroupId(text(&self.name)))
            .with_group_state(text(self.state.name()))
            .with_protocol_type(text(self.protocol_type()))
            .with_protocol_data(text(protocol))
            .with_members(members.collect())
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn millis(count: i32) -> Duration {
    Duration::from_millis(u64::try_from(count).unwrap_or(0))
}

/// Answers one who waits, if they still do.
fn answer<T>(reply: Reply<T>, response: T) {
    let _ = reply.send(response);
}

pub(super) use join::ID_BEFORE_JOIN;
pub(super) use migrate::ClassicMember;

pub(super) fn refused_join(member: &str, error: ResponseError) -> JoinGroupResponse {
    JoinGroupResponse::default().with_member_id(text(member)).with_error_code(error.code())
}

pub(super) fn refused_sync(error: ResponseError) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(error.code())
}

/// Copies, so that they do not keep the whole request.
fn protocols_of(request: &JoinGroupRequest) -> Vec<(String, Bytes)> {
    let copy = |protocol: &tidewater_protocol::messages::join_group_request::JoinGroupRequestProtocol| {
        (protocol.name.to_string(), Bytes::copy_from_slice(&protocol.metadata))
    };
    request.protocols.iter().map(copy).collect()
}

/// Rebalance timeout, which version 0 does not have, and session timeout.
fn timeouts_of(request: &JoinGroupRequest) -> (Duration, Duration) {
    let rebalance =
        if request.rebalance_timeout_ms < 0 { request.session_timeout_ms } else { request.rebalance_timeout_ms };
    (millis(rebalance), millis(request.session_timeout_ms))
}
