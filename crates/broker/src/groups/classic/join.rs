//! Joining: members come, and once all have, a generation begins.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::join_group_response::JoinGroupResponseMember;
use tidewater_protocol::messages::{JoinGroupRequest, JoinGroupResponse, SyncGroupResponse};

use super::super::{Client, Outside, Reply, Timer, Timers};
use super::{ClassicGroup, Member, MemberId, State, answer, millis, protocols_of, refused_join, text, timeouts_of};

/// From this version on, a new member joins twice: first for its id.
pub(in super::super) const ID_BEFORE_JOIN: i16 = 4;
/// From this version on, a leader that comes back can be told to leave the assignment as it is.
const SKIP_ASSIGNMENT: i16 = 9;
/// How long a new member may wait to join: it cannot send heartbeats, and is not heard of if it goes away.
const NEW_MEMBER_JOIN_TIMEOUT: Duration = Duration::from_secs(300);

impl ClassicGroup {
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
    pub(super) fn rebalance(&mut self, outside: &mut Outside<'_>, timers: &mut Timers<Timer>) {
        match self.state {
            State::Empty | State::Completing | State::Stable => self.prepare(outside, timers),
            State::Preparing => self.complete_if_joined(outside, timers),
        }
    }

    pub fn prepare(&mut self, outside: &mut Outside<'_>, timers: &mut Timers<Timer>) {
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

    pub(super) fn complete_if_joined(&mut self, outside: &mut Outside<'_>, timers: &mut Timers<Timer>) {
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

    pub(super) fn complete_join(&mut self, outside: &mut Outside<'_>, timers: &mut Timers<Timer>) {
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
                tracing::debug!(group = &*self.name, %error, "an empty group could not be written");
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
    pub(super) fn select_protocol(&self) -> Option<String> {
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
}
