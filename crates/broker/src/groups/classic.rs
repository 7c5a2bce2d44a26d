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

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidewater_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use tidewater_protocol::messages::join_group_response::JoinGroupResponseMember;
use tidewater_protocol::messages::leave_group_request::MemberIdentity;
use tidewater_protocol::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use tidewater_protocol::{ResponseError, StrBytes};
use tidewater_types::Timestamp;

use super::records::{GroupValue, MemberValue, Record, group_key, group_value};
use super::{Client, Outside, Reply, Timer, Timers};
use crate::wire::Reader;

/// The protocol type of consumers.
const CONSUMER: &str = "consumer";
/// From this version on, a new member joins twice: first for its id.
const ID_BEFORE_JOIN: i16 = 4;
/// From this version on, a leader that comes back can be told to leave the assignment as it is.
const SKIP_ASSIGNMENT: i16 = 9;
/// How long a new member may wait to join: it cannot send heartbeats, and is not heard of if it goes away.
const NEW_MEMBER_JOIN_TIMEOUT: Duration = Duration::from_secs(300);

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

    #[cfg(test)]
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
        outside.journal.append(&self.name, vec![(group_key(&self.name), Some(group_value(&self.value())))])
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

    // Joining.

    fn supports(&self, request: &JoinGroupRequest) -> bool {
        if self.state == State::Empty {
            return !request.protocol_type.is_empty() && !request.protocols.is_empty();
        }
        let is_common = |name: &str| self.supported.get(name).copied().unwrap_or(0) == self.members.len();
        self.protocol_type.as_deref() == Some(&*request.protocol_type)
            && request.protocols.iter().any(|protocol| is_common(&protocol.name))
    }

    fn has_room(&self, id: &str, outside: &Outside<'_>) -> bool {
        let most = outside.settings.max_size;
        match self.state {
            State::Empty => true,
            // Those who come back last have no place, if there are too many.
            State::Preparing => {
                self.members.get(id).is_some_and(|member| member.join.is_some()) || self.joining() < most
            }
            State::Completing | State::Stable => self.members.contains_key(id) || self.members.len() < most,
        }
    }

    /// A member joins, or joins again; it is answered when all have.
    pub fn join(
        &mut self,
        outside: &mut Outside<'_>,
        timers: &mut Timers<Timer>,
        request: &JoinGroupRequest,
        (version, client): (i16, Client),
        reply: Reply<JoinGroupResponse>,
    ) {
        let id = &*request.member_id;
        if !self.has_room(id, outside) {
            self.remove(id, timers);
            return answer(reply, refused_join("", ResponseError::GroupMaxSizeReached));
        }
        if !self.supports(request) {
            return answer(reply, refused_join(id, ResponseError::InconsistentGroupProtocol));
        }
        let instance = request.group_instance_id.as_deref();
        if !id.is_empty() {
            return self.join_again(outside, timers, request, client, reply);
        }
        let stem = instance.unwrap_or(&client.id);
        let id: MemberId = format!("{stem}-{}", (outside.new_id)()).into();
        match instance {
            Some(instance) => match self.instances.get(instance).cloned() {
                Some(old) => self.replace(outside, timers, request, (version, old, id), reply),
                None => self.join_new(outside, timers, request, (id, client), reply),
            },
            None if version >= ID_BEFORE_JOIN => {
                timers.set(self.heartbeat_timer(&id), outside.now + millis(request.session_timeout_ms));
                answer(reply, refused_join(&id, ResponseError::MemberIdRequired));
                self.pending.insert(id);
            }
            None => self.join_new(outside, timers, request, (id, client), reply),
        }
    }

    fn join_new(
        &mut self,
        outside: &mut Outside<'_>,
        timers: &mut Timers<Timer>,
        request: &JoinGroupRequest,
        (id, client): (MemberId, Client),
        reply: Reply<JoinGroupResponse>,
    ) {
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.to_string());
        }
        let (rebalance_timeout, session_timeout) = timeouts_of(request);
        let member = Member {
            instance: request.group_instance_id.as_ref().map(ToString::to_string),
            client,
            rebalance_timeout,
            session_timeout,
            protocols: protocols_of(request),
            assignment: Bytes::new(),
            join: Some(reply),
            sync: None,
            is_new: true,
        };
        self.has_new_member |= self.gathering.is_some();
        self.add(id.clone(), member);
        timers.set(self.heartbeat_timer(&id), outside.now + NEW_MEMBER_JOIN_TIMEOUT);
        self.rebalance(outside, timers);
    }

    fn join_again(
        &mut self,
        outside: &mut Outside<'_>,
        timers: &mut Timers<Timer>,
        request: &JoinGroupRequest,
        client: Client,
        reply: Reply<JoinGroupResponse>,
    ) {
        let id = &*request.member_id;
        let instance = request.group_instance_id.as_deref();
        if let Some(pending) = self.pending.get(id).cloned() {
            return match instance {
                // Members with an instance are given no id before they join.
                Some(_) => answer(reply, refused_join(id, ResponseError::UnknownServerError)),
                None => self.join_new(outside, timers, request, (pending, client), reply),
            };
        }
        let id = match self.check_member(id, instance) {
            Ok(id) => id,
            Err(error) => {
                return answer(reply, refused_join(id, error).with_protocol_name(None));
            }
        };
        let is_changed = self.members.get(&id).is_none_or(|member| member.protocols != protocols_of(request));
        let is_leader = self.leader.as_ref() == Some(&id);
        match self.state {
            State::Empty => answer(reply, refused_join(&id, ResponseError::UnknownMemberId)),
            // The answer was lost; or nothing has changed for one that does not lead.
            State::Completing if !is_changed => answer(reply, self.joined(&id)),
            State::Stable if !is_changed && !is_leader => answer(reply, self.joined(&id).with_members(Vec::new())),
            // A leader that joins has seen topics change.
            State::Preparing | State::Completing | State::Stable => {
                self.update(&id, request, reply);
                self.rebalance(outside, timers);
            }
        }
    }

    /// An instance comes back under a new id, and the old one is fenced.
    fn replace(
        &mut self,
        outside: &mut Outside<'_>,
        timers: &mut Timers<Timer>,
        request: &JoinGroupRequest,
        (version, old, new): (i16, MemberId, MemberId),
        reply: Reply<JoinGroupResponse>,
    ) {
        let led = self.leader.clone();
        let Some(mut member) = self.members.remove(&old) else {
            return answer(reply, refused_join("", ResponseError::UnknownMemberId));
        };
        let fenced = ResponseError::FencedInstanceId;
        if let Some(waiting) = member.join.take() {
            answer(waiting, refused_join(&old, fenced).with_protocol_name(None));
        }
        if let Some(waiting) = member.sync.take() {
            answer(waiting, SyncGroupResponse::default().with_protocol_name(None).with_error_code(fenced.code()));
        }
        timers.cancel(&self.heartbeat_timer(&old));
        let instance = member.instance.clone().unwrap_or_default();
        let (protocols, timeouts) = (member.protocols.clone(), (member.rebalance_timeout, member.session_timeout));
        self.members.insert(new.clone(), member);
        self.instances.insert(instance.clone(), new.clone());
        if self.unsynced.remove(&old) {
            self.unsynced.insert(new.clone());
        }
        if self.leader.as_ref() == Some(&old) {
            self.leader = Some(new.clone());
        }
        self.update(&new, request, reply);
        self.expect_heartbeat(&new, outside, timers);
        match self.state {
            State::Stable if self.protocol == self.select_protocol() => {
                let written = self.write(outside);
                let Some(reply) = self.members.get_mut(&new).and_then(|member| member.join.take()) else { return };
                let led = text(led.as_deref().unwrap_or_default());
                match written {
                    Err(error) => {
                        answer(
                            reply,
                            self.joined(&new)
                                .with_members(Vec::new())
                                .with_leader(led)
                                .with_member_id(text(""))
                                .with_error_code(error.code()),
                        );
                        self.restore_instance(&instance, (&new, &old), protocols, timeouts);
                        timers.cancel(&self.heartbeat_timer(&new));
                        self.expect_heartbeat(&old, outside, timers);
                    }
                    Ok(()) if version >= SKIP_ASSIGNMENT => {
                        let joined = self.joined(&new);
                        let is_leader = self.leader.as_ref() == Some(&new);
                        answer(reply, joined.with_skip_assignment(is_leader));
                    }
                    // It must not take itself for the leader, and assign.
                    Ok(()) => answer(reply, self.joined(&new).with_members(Vec::new()).with_leader(led)),
                }
            }
            State::Stable => self.rebalance(outside, timers),
            // The leader may have assigned something to the old id already.
            State::Completing => self.prepare(outside, timers),
            State::Preparing | State::Empty => self.complete_if_joined(outside, timers),
        }
    }

    /// The new id of an instance could not be written.
    fn restore_instance(
        &mut self,
        instance: &str,
        (new, old): (&MemberId, &MemberId),
        protocols: Vec<(String, Bytes)>,
        (rebalance_timeout, session_timeout): (Duration, Duration),
    ) {
        self.count_protocols(new, false);
        let Some(member) = self.members.remove(new) else { return };
        let member = Member { protocols, rebalance_timeout, session_timeout, ..member };
        self.members.insert(old.clone(), member);
        self.count_protocols(old, true);
        self.instances.insert(instance.to_owned(), old.clone());
        if self.leader.as_ref() == Some(new) {
            self.leader = Some(old.clone());
        }
    }

    // Rebalancing.

    /// Begins a rebalance, unless one has begun, which may be over with this member.
    fn rebalance(&mut self, outside: &mut Outside<'_>, timers: &mut Timers<Timer>) {
        match self.state {
            State::Empty | State::Completing | State::Stable => self.prepare(outside, timers),
            State::Preparing => self.complete_if_joined(outside, timers),
        }
    }

    fn prepare(&mut self, outside: &mut Outside<'_>, timers: &mut Timers<Timer>) {
        if self.state == State::Completing {
            self.fail_syncs(ResponseError::RebalanceInProgress, outside, timers);
        }
        self.unsynced.clear();
        timers.cancel(&Timer::Sync(self.name.clone()));
        let is_first = self.state == State::Empty;
        self.enter(State::Preparing, outside);
        tracing::info!(group = &*self.name, generation = self.generation, "a rebalance begins");
        if is_first {
            // More members will come: give them time.
            let delay = outside.settings.initial_rebalance_delay;
            self.gathering = Some((delay, self.rebalance_timeout().saturating_sub(delay)));
            self.has_new_member = false;
            timers.set(Timer::Join(self.name.clone()), outside.now + delay);
        } else if self.have_all_joined() {
            self.complete_join(outside, timers);
        } else {
            timers.set(Timer::Join(self.name.clone()), outside.now + self.rebalance_timeout());
        }
    }

    fn complete_if_joined(&mut self, outside: &mut Outside<'_>, timers: &mut Timers<Timer>) {
        if self.state == State::Preparing && self.previous != Some(State::Empty) && self.have_all_joined() {
            self.complete_join(outside, timers);
        }
    }

    /// The time to join is over, or that of the round in which an empty group gathers members.
    pub fn join_is_due(&mut self, outside: &mut Outside<'_>, timers: &mut Timers<Timer>) {
        match self.gathering {
            Some((delay, remaining)) if self.has_new_member && !remaining.is_zero() => {
                self.has_new_member = false;
                let next = outside.settings.initial_rebalance_delay.min(remaining);
                self.gathering = Some((next, remaining.saturating_sub(delay)));
                timers.set(Timer::Join(self.name.clone()), outside.now + next);
            }
            _ if self.state == State::Preparing => self.complete_join(outside, timers),
            _ => {}
        }
    }

    fn complete_join(&mut self, outside: &mut Outside<'_>, timers: &mut Timers<Timer>) {
        self.gathering = None;
        timers.cancel(&Timer::Join(self.name.clone()));
        let is_gone = |member: &Member| member.join.is_none() && member.instance.is_none();
        let gone: Vec<_> =
            self.members.iter().filter(|(_, member)| is_gone(member)).map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.remove(&id, timers);
        }
        if !self.members.is_empty() && !self.elect_joined_leader() {
            // Nobody has come: those with an instance are waited for until their sessions end.
            timers.set(Timer::Join(self.name.clone()), outside.now + self.rebalance_timeout());
            return;
        }
        self.generation = self.generation.wrapping_add(1).max(0);
        self.unsynced.clear();
        if self.members.is_empty() {
            self.protocol = None;
            self.subscribed = self.subscriptions();
            self.enter(State::Empty, outside);
            if let Err(error) = self.write(outside) {
                tracing::warn!(group = &*self.name, %error, "an empty group could not be written");
            }
            return;
        }
        self.protocol = self.select_protocol();
        self.subscribed = self.subscriptions();
        self.enter(State::Completing, outside);
        tracing::info!(
            group = &*self.name,
            generation = self.generation,
            members = self.members.len(),
            "all have joined"
        );
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            let response = self.joined(&id);
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.is_new = false;
            if let Some(reply) = member.join.take() {
                answer(reply, response);
            }
            self.expect_heartbeat(&id, outside, timers);
            self.unsynced.insert(id);
        }
        timers.set(Timer::Sync(self.name.clone()), outside.now + self.rebalance_timeout());
    }

    /// Whether one leads who has joined.
    fn elect_joined_leader(&mut self) -> bool {
        let has_joined = |id: &MemberId| self.members.get(id).is_some_and(|member| member.join.is_some());
        if self.leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        let joined = self.members.keys().find(|id| has_joined(id)).cloned();
        match joined {
            Some(id) => {
                self.leader = Some(id);
                true
            }
            None => false,
        }
    }

    /// The protocol that all have and most prefer.
    fn select_protocol(&self) -> Option<String> {
        let is_common = |name: &str| self.supported.get(name).copied().unwrap_or(0) == self.members.len();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| is_common(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name.to_owned())
    }

    /// What a member that has joined is told.
    fn joined(&self, id: &str) -> JoinGroupResponse {
        let is_leader = self.leader.as_deref() == Some(id);
        let members = self.members.iter().filter(|_| is_leader).map(|(id, member)| {
            JoinGroupResponseMember::default()
                .with_member_id(text(id))
                .with_group_instance_id(member.instance.as_deref().map(text))
                .with_metadata(member.metadata(self.protocol.as_deref()))
        });
        JoinGroupResponse::default()
            .with_member_id(text(id))
            .with_generation_id(self.generation)
            .with_protocol_type(self.protocol_type.as_deref().map(text))
            .with_protocol_name(self.protocol.as_deref().map(text))
            .with_leader(text(self.leader.as_deref().unwrap_or_default()))
            .with_members(members.collect())
    }

    // Assignments.

    /// A member asks for its share, and the leader says what it is.
    pub fn sync(
        &mut self,
        outside: &mut Outside<'_>,
        timers: &mut Timers<Timer>,
        request: &SyncGroupRequest,
        reply: Reply<SyncGroupResponse>,
    ) {
        let id = match self.check_sync(request) {
            Ok(id) => id,
            Err(error) => return answer(reply, refused_sync(error)),
        };
        match self.state {
            State::Empty => answer(reply, refused_sync(ResponseError::UnknownMemberId)),
            State::Preparing => answer(reply, refused_sync(ResponseError::RebalanceInProgress)),
            State::Stable => {
                self.synced(&id, timers);
                answer(reply, self.share(&id));
            }
            State::Completing => {
                self.synced(&id, timers);
                if let Some(member) = self.members.get_mut(&id) {
                    member.sync = Some(reply);
                }
                if self.leader.as_ref() == Some(&id) {
                    self.assign(outside, timers, request);
                }
            }
        }
    }

    fn check_sync(&self, request: &SyncGroupRequest) -> Result<MemberId, ResponseError> {
        let id = self.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        let differs = |asked: &Option<StrBytes>, own: &Option<String>| matches!((asked, own), (Some(asked), Some(own)) if **asked != **own);
        if request.generation_id != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol_name, &self.protocol) {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        Ok(id)
    }

    fn synced(&mut self, id: &MemberId, timers: &mut Timers<Timer>) {
        self.unsynced.remove(id);
        if self.unsynced.is_empty() {
            timers.cancel(&Timer::Sync(self.name.clone()));
        }
    }

    fn share(&self, id: &MemberId) -> SyncGroupResponse {
        SyncGroupResponse::default()
            .with_protocol_type(self.protocol_type.as_deref().map(text))
            .with_protocol_name(self.protocol.as_deref().map(text))
            .with_assignment(self.members.get(id).map(|member| member.assignment.clone()).unwrap_or_default())
    }

    /// The leader's assignment is written, and then handed out.
    fn assign(&mut self, outside: &mut Outside<'_>, timers: &mut Timers<Timer>, request: &SyncGroupRequest) {
        for (id, member) in &mut self.members {
            let share = request.assignments.iter().find(|share| *share.member_id == **id);
            // Of its own, so that it does not keep the whole request.
            member.assignment = share.map(|share| Bytes::copy_from_slice(&share.assignment)).unwrap_or_default();
        }
        if let Err(error) = self.write(outside) {
            self.fail_syncs(error, outside, timers);
            return self.rebalance(outside, timers);
        }
        self.enter(State::Stable, outside);
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            let share = self.share(&id);
            if let Some(reply) = self.members.get_mut(&id).and_then(|member| member.sync.take()) {
                answer(reply, share);
                self.expect_heartbeat(&id, outside, timers);
            }
        }
    }

    fn fail_syncs(&mut self, error: ResponseError, outside: &Outside<'_>, timers: &mut Timers<Timer>) {
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.assignment = Bytes::new();
            if let Some(reply) = member.sync.take() {
                answer(reply, refused_sync(error));
                self.expect_heartbeat(&id, outside, timers);
            }
        }
    }

    /// The time to ask for shares is over: those who have not are gone.
    pub fn sync_is_due(&mut self, outside: &mut Outside<'_>, timers: &mut Timers<Timer>) {
        if matches!(self.state, State::Completing | State::Stable) && !self.unsynced.is_empty() {
            for id in std::mem::take(&mut self.unsynced) {
                self.remove(&id, timers);
            }
            self.prepare(outside, timers);
        }
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

    /// Whether a commit by this member, in this generation, is taken.
    pub fn check_commit(&self, id: &str, instance: Option<&str>, generation: i32) -> Result<(), ResponseError> {
        if generation < 0 && self.is_empty() {
            return Ok(());
        }
        if generation < 0 && id.is_empty() && instance.is_none() {
            return Err(ResponseError::UnknownMemberId);
        }
        self.check_member(id, instance)?;
        match self.state {
            _ if generation != self.generation => Err(ResponseError::IllegalGeneration),
            State::Completing => Err(ResponseError::RebalanceInProgress),
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

/// The topics in a consumer's subscription: `ConsumerProtocolSubscription`, of any version.
fn subscribed_topics(metadata: &[u8]) -> Option<Vec<String>> {
    let mut metadata = Reader::new(metadata);
    let _version = metadata.i16()?;
    let count = metadata.i32()?;
    (0..count).map(|_| metadata.text().map(str::to_owned)).collect()
}
