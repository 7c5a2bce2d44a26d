//! Members of the classic protocol in a group of the consumer protocol: they join, ask for their share, and are told by their heartbeats
//! to join again when there is another one. So consumers can change their protocol one by one.
//!
//! As in Apache Kafka's `GroupMetadataManager.classicGroupJoinToConsumerGroup` and its like (KIP-848).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidewater_protocol::messages::leave_group_request::MemberIdentity;
use tidewater_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use tidewater_protocol::{ResponseError, StrBytes};

use super::super::assign::Partitions;
use super::super::classic::ClassicMember;
use super::super::embedded::{by_id, read_subscription, version_of, write_assignment};
use super::super::migration::assignment_for;
use super::super::records::{ClassicMetadata, Current, MemberState, Metadata, consumer_record};
use super::super::topic_hash::metadata_hash;
use super::super::{CONSUMER, Client, ID_BEFORE_JOIN, MigrationPolicy, Outside, Record, Timer, Timers, Topics};
use super::{Change, ConsumerGroup, JOINS, Member, MemberId, keys, text};

/// A member that has joined, and whether it has taken the place of one of the consumer protocol.
pub(in super::super) struct Joined {
    pub response: JoinGroupResponse,
    pub replaces_consumer: bool,
}

/// Why a member cannot join, and the id that it is told.
pub(in super::super) type RefusedJoin = (ResponseError, String);

impl ConsumerGroup {
    /// A member of the classic protocol joins; it is not made to wait.
    pub fn join(
        &mut self,
        outside: &mut Outside<'_>,
        timers: &mut Timers<Timer>,
        request: &JoinGroupRequest,
        (version, client): (i16, Client),
    ) -> Result<Joined, RefusedJoin> {
        let refused = |error: ResponseError| (error, String::new());
        if outside.settings.migration == MigrationPolicy::Disabled {
            return Err(refused(ResponseError::InconsistentGroupProtocol));
        }
        let is_unknown = request.member_id.is_empty();
        let id: MemberId = match &*request.member_id {
            "" => crate::folder::kafka_id((outside.new_id)()).into(),
            id => id.into(),
        };
        if self.members.len() >= outside.settings.consumer_max_size && !self.members.contains_key(&id) {
            return Err(refused(ResponseError::GroupMaxSizeReached));
        }
        if !self.supports(request) {
            return Err(refused(ResponseError::InconsistentGroupProtocol));
        }
        let instance = request.group_instance_id.as_deref();
        if instance.is_none() && is_unknown && version >= ID_BEFORE_JOIN {
            return Err((ResponseError::MemberIdRequired, id.to_string()));
        }
        let mut changes = Vec::new();
        let (before, replaced) = self.find_for_join(&id, instance, is_unknown, &mut changes).map_err(refused)?;
        let replaces_consumer = replaced.is_some() && before.metadata.classic.is_none();
        // All its protocols have the same subscription.
        let protocols: Vec<(String, Bytes)> = request
            .protocols
            .iter()
            .map(|protocol| (protocol.name.to_string(), Bytes::copy_from_slice(&protocol.metadata)))
            .collect();
        let (protocol, subscription) =
            protocols.first().cloned().ok_or_else(|| refused(ResponseError::InconsistentGroupProtocol))?;
        let subscription =
            read_subscription(&subscription).ok_or_else(|| refused(ResponseError::UnknownServerError))?;
        let rebalance_timeout_ms = match request.rebalance_timeout_ms {
            ..0 => request.session_timeout_ms,
            given => given,
        };
        let metadata = Metadata {
            instance: instance.map(str::to_owned).or_else(|| before.metadata.instance.clone()),
            rack: subscription.rack.or_else(|| before.metadata.rack.clone()),
            client,
            topics: subscription.topics,
            regex: String::new(),
            rebalance_timeout_ms,
            assignor: before.metadata.assignor.clone(),
            classic: Some(ClassicMetadata { session_timeout_ms: request.session_timeout_ms, protocols }),
        };
        let owned = by_id(&subscription.owned, outside.topics);
        let owned: BTreeSet<_> =
            owned.iter().flat_map(|(topic, numbers)| numbers.iter().map(|number| (*topic, *number))).collect();
        let member = self
            .advance(outside, timers, &id, (before, replaced.as_ref()), metadata, Some(owned), changes)
            .map_err(|(error, _)| refused(error))?;
        timers.cancel(&self.rejoin_timer(&id));
        self.expect_classic_heartbeat(&id, &member, outside.now, timers);
        timers.set(self.sync_timer(&id), outside.now + millis(rebalance_timeout_ms));
        let response = JoinGroupResponse::default()
            .with_member_id(text(&id))
            .with_generation_id(member.current.epoch)
            .with_protocol_type(Some(text(CONSUMER)))
            .with_protocol_name(Some(text(&protocol)))
            .with_leader(StrBytes::default());
        Ok(Joined { response, replaces_consumer })
    }

    /// Whether all members of the classic protocol have one of a member's protocols.
    fn supports(&self, request: &JoinGroupRequest) -> bool {
        let classic: Vec<&ClassicMetadata> =
            self.members.values().filter_map(|member| member.metadata.classic.as_ref()).collect();
        let is_common =
            |name: &str| classic.iter().all(|member| member.protocols.iter().any(|(known, _)| known == name));
        &*request.protocol_type == CONSUMER && request.protocols.iter().any(|protocol| is_common(&protocol.name))
    }

    /// The member as it was, and whom it replaces. Unlike one of the consumer protocol, it takes the place of an instance at once.
    fn find_for_join(
        &self,
        id: &MemberId,
        instance: Option<&str>,
        is_unknown: bool,
        changes: &mut Vec<Change>,
    ) -> Result<(Member, Option<MemberId>), ResponseError> {
        match (instance, instance.and_then(|instance| self.instances.get(instance))) {
            (Some(_), Some(holder)) if is_unknown => Ok((self.replace(holder, id, changes), Some(holder.clone()))),
            (Some(_), None) if !is_unknown => Err(ResponseError::UnknownMemberId),
            (Some(_), Some(holder)) if holder != id => Err(ResponseError::FencedInstanceId),
            _ => Ok((self.members.get(id).cloned().unwrap_or_default(), None)),
        }
    }

    /// A member asks for its share.
    pub fn sync(
        &mut self,
        topics: &dyn Topics,
        now: Duration,
        timers: &mut Timers<Timer>,
        request: &SyncGroupRequest,
    ) -> Result<SyncGroupResponse, ResponseError> {
        let instance = request.group_instance_id.as_deref();
        let (id, member, classic) = self.check_classic(&request.member_id, instance, request.generation_id)?;
        let (protocol, subscription) = classic.protocols.first().ok_or(ResponseError::UnknownServerError)?;
        let differs = |asked: &Option<StrBytes>, own: &str| asked.as_ref().is_some_and(|asked| **asked != *own);
        if differs(&request.protocol_type, CONSUMER) || differs(&request.protocol_name, protocol) {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        if self.target_epoch > member.current.epoch && member.current.state != MemberState::Unrevoked {
            timers.set_if_absent(self.rejoin_timer(&id), now + millis(member.metadata.rebalance_timeout_ms));
            return Err(ResponseError::RebalanceInProgress);
        }
        let version = version_of(subscription).ok_or(ResponseError::UnknownServerError)?;
        let assignment = write_assignment(version, &keys(&member.current.assigned), topics);
        timers.cancel(&self.sync_timer(&id));
        self.expect_classic_heartbeat(&id, member, now, timers);
        Ok(SyncGroupResponse::default()
            .with_protocol_type(request.protocol_type.clone())
            .with_protocol_name(request.protocol_name.clone())
            .with_assignment(assignment.into()))
    }

    /// A member is there; it is told to join again if there is something to give up, or to get.
    pub fn classic_heartbeat(
        &mut self,
        now: Duration,
        timers: &mut Timers<Timer>,
        request: &HeartbeatRequest,
    ) -> Result<(), ResponseError> {
        let instance = request.group_instance_id.as_deref();
        let (id, member, _) = self.check_classic(&request.member_id, instance, request.generation_id)?;
        self.expect_classic_heartbeat(&id, member, now, timers);
        let must_rejoin = match member.current.state {
            _ if member.current.epoch < self.target_epoch => true,
            MemberState::Unrevoked => true,
            MemberState::Unreleased => !self.waits_for_others(&id, &member.current),
            MemberState::Stable => false,
        };
        if must_rejoin {
            timers.set_if_absent(self.rejoin_timer(&id), now + millis(member.metadata.rebalance_timeout_ms));
            return Err(ResponseError::RebalanceInProgress);
        }
        Ok(())
    }

    /// Whether something of a member's target is still with somebody.
    fn waits_for_others(&self, id: &str, current: &Current) -> bool {
        let has = keys(&current.assigned);
        let target = self.target.get(id).into_iter().flatten();
        let mut missing = target.flat_map(|(topic, numbers)| numbers.iter().map(move |number| (*topic, *number)));
        missing.any(|(topic, number)| {
            let is_own = has.get(&topic).is_some_and(|numbers| numbers.contains(&number));
            !is_own && self.owners.contains_key(&(topic, number))
        })
    }

    /// The members that leave, each with its id or why there is none such.
    pub fn leaving(&self, leaving: &[MemberIdentity]) -> Vec<Result<MemberId, ResponseError>> {
        let find = |member: &MemberIdentity| match member.group_instance_id.as_deref() {
            None => self.members.get_key_value(&*member.member_id).map(|(id, _)| id.clone()),
            // An administrator names the instance alone.
            Some(instance) => self.instances.get(instance).cloned(),
        };
        let check = |member: &MemberIdentity| {
            let id = find(member).ok_or(ResponseError::UnknownMemberId)?;
            match member.group_instance_id.is_some() && !member.member_id.is_empty() && *member.member_id != *id {
                true => Err(ResponseError::FencedInstanceId),
                false => Ok(id),
            }
        };
        leaving.iter().map(check).collect()
    }

    /// The member of the classic protocol that a request names, in its generation.
    fn check_classic(
        &self,
        id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(MemberId, &Member, &ClassicMetadata), ResponseError> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(ResponseError::UnknownMemberId),
                Some(holder) if **holder != *id => return Err(ResponseError::FencedInstanceId),
                Some(_) => {}
            }
        }
        let (id, member) = self.members.get_key_value(id).ok_or(ResponseError::UnknownMemberId)?;
        let classic = member.metadata.classic.as_ref().ok_or(ResponseError::UnknownMemberId)?;
        match generation == member.current.epoch {
            true => Ok((id.clone(), member, classic)),
            false => Err(ResponseError::IllegalGeneration),
        }
    }

    pub(super) fn expect_classic_heartbeat(
        &self,
        id: &MemberId,
        member: &Member,
        now: Duration,
        timers: &mut Timers<Timer>,
    ) {
        if let Some(classic) = &member.metadata.classic {
            timers.set(Timer::Heartbeat(self.name.clone(), id.clone()), now + millis(classic.session_timeout_ms));
        }
    }

    pub(super) fn rejoin_timer(&self, id: &MemberId) -> Timer {
        Timer::Rejoin(self.name.clone(), id.clone())
    }

    pub(super) fn sync_timer(&self, id: &MemberId) -> Timer {
        Timer::Share(self.name.clone(), id.clone())
    }
}

/// Members that come and go with the whole group.
impl ConsumerGroup {
    /// A group that was one of the classic protocol, with the epochs that it and its target have, and what its members have.
    /// `tombstone` deletes what it was; nothing is written before the group's first change.
    pub fn of_classic(
        name: Arc<str>,
        (epoch, generation): (i32, i32),
        members: Vec<(MemberId, Metadata, Partitions)>,
        topics: &dyn Topics,
        tombstone: Record,
    ) -> Self {
        let mut group = ConsumerGroup::new(name, vec![tombstone]);
        let subscribed = members.iter().flat_map(|(_, metadata, _)| metadata.topics.iter().cloned()).collect();
        let hash = metadata_hash(&subscribed, topics);
        let current = |partitions: &Partitions| {
            let since = |numbers: &BTreeSet<i32>| numbers.iter().map(|number| (*number, generation)).collect();
            let assigned = partitions.iter().map(|(topic, numbers)| (*topic, since(numbers))).collect();
            let state = MemberState::Stable;
            Current { epoch: generation, previous_epoch: generation, state, assigned, revoking: BTreeMap::new() }
        };
        let of_members = |change: fn(String, &Metadata, &Partitions) -> Change| {
            members.iter().map(move |(id, metadata, partitions)| change(id.to_string(), metadata, partitions))
        };
        let mut changes: Vec<Change> =
            of_members(|id, metadata, _| Change::Member(id, Some(metadata.clone()))).collect();
        changes.push(Change::Epoch(Some((epoch, hash))));
        changes.extend(of_members(|id, _, partitions| Change::Target(id, Some(partitions.clone()))));
        changes.push(Change::TargetEpoch(Some((generation, 0))));
        changes.extend(
            members.iter().map(|(id, _, partitions)| Change::Current(id.to_string(), Some(current(partitions)))),
        );
        let records: Vec<Record> = changes.iter().map(|change| consumer_record(&group.name, change)).collect();
        group.replaces.extend(records);
        changes.into_iter().for_each(|change| group.apply(change));
        group
    }

    /// Waits for the heartbeats of members of the classic protocol.
    pub fn start_classic(&self, now: Duration, timers: &mut Timers<Timer>) {
        self.members.iter().for_each(|(id, member)| self.expect_classic_heartbeat(id, member, now, timers));
    }

    /// How many members are left without some, if all of them speak the classic protocol.
    pub fn left_if_classic(&self, leaving: &[MemberId]) -> Option<usize> {
        let mut left = self.members.iter().filter(|(id, _)| !leaving.contains(id));
        let is_classic = |(_, member): (&MemberId, &Member)| member.metadata.classic.is_some();
        let count = left.clone().count();
        left.all(is_classic).then_some(count)
    }

    /// Those members, with their targets as they are told them.
    pub fn classic_members(&self, leaving: &[MemberId], topics: &dyn Topics) -> Vec<ClassicMember> {
        let left = self.members.iter().filter(|(id, _)| !leaving.contains(id));
        let member = |(id, member): (&MemberId, &Member)| {
            let classic = member.metadata.classic.as_ref()?;
            Some(ClassicMember {
                id: id.clone(),
                instance: member.metadata.instance.clone(),
                client: member.metadata.client.clone(),
                rebalance_timeout: millis(member.metadata.rebalance_timeout_ms),
                session_timeout: millis(classic.session_timeout_ms),
                protocols: classic.protocols.clone(),
                subscription: Bytes::new(),
                assignment: assignment_for(classic, self.target.get(id).unwrap_or(&Partitions::new()), topics),
            })
        };
        left.filter_map(member).collect()
    }
}

fn millis(count: i32) -> Duration {
    Duration::from_millis(u64::try_from(count).unwrap_or(0))
}

/// The epoch in which one starts that takes another one's place.
pub(super) fn replacing(old: &Current) -> Current {
    Current { epoch: JOINS, previous_epoch: JOINS, ..old.clone() }
}
