//! One member's way: what a heartbeat says is new, whether it may say so, and the next step to its target.

use std::collections::{BTreeMap, BTreeSet};

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::ConsumerGroupHeartbeatRequest;
use uuid::Uuid;

use super::super::Client;
use super::super::assign::Partitions;
use super::super::records::{Current, MemberState, Metadata};
use super::{JOINS, Member, Refusal, keys};

/// A member's metadata with what its heartbeat says is new.
pub(super) fn updated(before: &Metadata, request: &ConsumerGroupHeartbeatRequest, client: Client) -> Metadata {
    let mut metadata = Metadata { client, classic: None, ..before.clone() };
    if let Some(instance) = &request.instance_id {
        metadata.instance = Some(instance.to_string());
    }
    if let Some(rack) = &request.rack_id {
        metadata.rack = Some(rack.to_string());
    }
    if request.rebalance_timeout_ms != -1 {
        metadata.rebalance_timeout_ms = request.rebalance_timeout_ms;
    }
    if let Some(topics) = &request.subscribed_topic_names {
        metadata.topics = topics.iter().map(|topic| topic.to_string()).collect();
    }
    if let Some(regex) = &request.subscribed_topic_regex {
        metadata.regex = Some(regex.to_string());
    }
    if let Some(assignor) = &request.server_assignor {
        metadata.assignor = Some(assignor.to_string());
    }
    metadata
}

/// A member of an earlier epoch has missed an answer, if it has nothing that is not its own.
pub(super) fn check_epoch(member: &Member, request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
    let (received, current) = (request.member_epoch, &member.current);
    if received == JOINS {
        return Ok(());
    }
    let own = keys(&current.assigned);
    let is_own = |topic: &tidewater_protocol::messages::consumer_group_heartbeat_request::TopicPartitions| {
        own.get(&topic.topic_id).is_some_and(|own| topic.partitions.iter().all(|partition| own.contains(partition)))
    };
    let missed_one = received == current.previous_epoch
        && request.topic_partitions.as_ref().is_some_and(|topics| topics.iter().all(is_own));
    if received == current.epoch || received < current.epoch && missed_one {
        return Ok(());
    }
    let how = if received > current.epoch { "greater" } else { "smaller" };
    let text = format!(
        "The consumer group member has a {how} member epoch ({received}) than the one known by the group coordinator ({}). \
         The member must abandon all its partitions and rejoin.",
        current.epoch
    );
    Err((ResponseError::FencedMemberEpoch, text))
}

/// A member's next step to its target.
pub(super) fn reconcile(
    current: &Current,
    target_epoch: i32,
    target: &Partitions,
    owned: Option<&BTreeSet<(Uuid, i32)>>,
    is_held: impl Fn((Uuid, i32)) -> bool,
) -> Current {
    let still_owns = |places: &BTreeMap<Uuid, BTreeMap<i32, i32>>| match owned {
        // It does not say.
        None => true,
        Some(owned) => owned
            .iter()
            .any(|(topic, partition)| places.get(topic).is_some_and(|partitions| partitions.contains_key(partition))),
    };
    let epoch = match current.state {
        MemberState::Stable if current.epoch == target_epoch => return current.clone(),
        MemberState::Unrevoked if still_owns(&current.revoking) => return current.clone(),
        // It has given up what it had to.
        MemberState::Unrevoked => current.epoch + 1,
        MemberState::Stable | MemberState::Unreleased => current.epoch,
    };
    let (mut assigned, mut revoking) = (BTreeMap::new(), BTreeMap::new());
    for (topic, partitions) in &current.assigned {
        for (partition, since) in partitions {
            let keeps = target.get(topic).is_some_and(|target| target.contains(partition));
            let places: &mut BTreeMap<Uuid, BTreeMap<i32, i32>> = if keeps { &mut assigned } else { &mut revoking };
            places.entry(*topic).or_default().insert(*partition, *since);
        }
    }
    let next = |state: MemberState, epoch: i32, assigned, revoking| Current {
        epoch,
        previous_epoch: current.epoch,
        state,
        assigned,
        revoking,
    };
    if !revoking.is_empty() && still_owns(&revoking) {
        return next(MemberState::Unrevoked, epoch, assigned, revoking);
    }
    let mut waits = false;
    for (topic, partitions) in target {
        for partition in partitions {
            let has = assigned.get(topic).is_some_and(|own| own.contains_key(partition));
            if has {
                continue;
            }
            if is_held((*topic, *partition)) {
                waits = true;
            } else {
                assigned.entry(*topic).or_default().insert(*partition, target_epoch);
            }
        }
    }
    let state = if waits { MemberState::Unreleased } else { MemberState::Stable };
    next(state, target_epoch, assigned, BTreeMap::new())
}
