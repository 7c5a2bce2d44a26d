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
        metadata.regex = regex.to_string();
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

/// What a member subscribes to.
pub(super) struct Subscribed {
    /// The topics that there are.
    pub topics: BTreeSet<Uuid>,
    /// Whether it has just said so: then it gives up the others at once, whatever its target is.
    pub is_new: bool,
}

/// A member's next step to its target. As in Apache Kafka's `CurrentAssignmentBuilder`.
pub(super) fn reconcile(
    current: &Current,
    target_epoch: i32,
    target: &Partitions,
    subscribed: &Subscribed,
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
    let stays = match current.state {
        MemberState::Stable => current.epoch == target_epoch,
        MemberState::Unrevoked => still_owns(&current.revoking),
        MemberState::Unreleased => false,
    };
    if stays {
        return if subscribed.is_new {
            without_others(current, &subscribed.topics, still_owns)
        } else {
            current.clone()
        };
    }
    let is_wanted = |topic: &Uuid| subscribed.topics.contains(topic);
    let (mut assigned, mut revoking) = (BTreeMap::new(), BTreeMap::new());
    for (topic, partitions) in &current.assigned {
        for (partition, since) in partitions {
            let keeps = is_wanted(topic) && target.get(topic).is_some_and(|target| target.contains(partition));
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
        return next(MemberState::Unrevoked, current.epoch, assigned, revoking);
    }
    let mut waits = false;
    for (topic, partitions) in target.iter().filter(|(topic, _)| is_wanted(topic)) {
        for partition in partitions {
            let has = assigned.get(topic).is_some_and(|own| own.contains_key(partition));
            if has {
                continue;
            }
            // What it gives up itself is no other's.
            let was_own = current.revoking.get(topic).is_some_and(|own| own.contains_key(partition));
            if !was_own && is_held((*topic, *partition)) {
                waits = true;
            } else {
                assigned.entry(*topic).or_default().insert(*partition, target_epoch);
            }
        }
    }
    let state = if waits { MemberState::Unreleased } else { MemberState::Stable };
    next(state, target_epoch, assigned, BTreeMap::new())
}

/// A member that goes nowhere, without what it does not subscribe to any more.
fn without_others(
    current: &Current,
    topics: &BTreeSet<Uuid>,
    still_owns: impl Fn(&BTreeMap<Uuid, BTreeMap<i32, i32>>) -> bool,
) -> Current {
    let (assigned, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
        current.assigned.clone().into_iter().partition(|(topic, _)| topics.contains(topic));
    if others.is_empty() {
        return current.clone();
    }
    let mut revoking = current.revoking.clone();
    for (topic, partitions) in others {
        revoking.entry(topic).or_default().extend(partitions);
    }
    let next = Current { previous_epoch: current.epoch, assigned, ..current.clone() };
    match still_owns(&revoking) {
        true => Current { state: MemberState::Unrevoked, revoking, ..next },
        // It has given them up already.
        false => next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Uuid = Uuid::from_u128(1);
    const B: Uuid = Uuid::from_u128(2);

    fn subscribed(topics: &[Uuid], is_new: bool) -> Subscribed {
        Subscribed { topics: topics.iter().copied().collect(), is_new }
    }

    fn of(topic: Uuid, partitions: &[i32]) -> BTreeMap<Uuid, BTreeMap<i32, i32>> {
        [(topic, partitions.iter().map(|partition| (*partition, 1)).collect())].into()
    }

    fn current(state: MemberState, epoch: i32, assigned: &[i32], revoking: &[i32]) -> Current {
        let some = |partitions: &[i32]| if partitions.is_empty() { BTreeMap::new() } else { of(A, partitions) };
        Current { epoch, previous_epoch: 0, state, assigned: some(assigned), revoking: some(revoking) }
    }

    fn target(topic: Uuid, partitions: &[i32]) -> Partitions {
        [(topic, partitions.iter().copied().collect())].into()
    }

    #[test]
    fn what_is_not_subscribed_to_any_more_is_given_up_before_there_is_another_target() {
        let now = current(MemberState::Stable, 3, &[0, 1], &[]);
        let owned = [(A, 0), (A, 1)].into();
        let next = reconcile(&now, 3, &target(A, &[0, 1]), &subscribed(&[B], true), Some(&owned), |_| true);
        assert_eq!((next.state, next.epoch, next.previous_epoch), (MemberState::Unrevoked, 3, 3));
        assert_eq!((next.assigned, next.revoking), (BTreeMap::new(), of(A, &[0, 1])));
        // The old target has nothing for it either.
        let next = reconcile(&now, 4, &target(A, &[0, 1]), &subscribed(&[B], false), Some(&BTreeSet::new()), |_| true);
        assert_eq!((next.state, next.epoch, next.assigned), (MemberState::Stable, 4, BTreeMap::new()));
        let same = reconcile(&now, 3, &target(A, &[0, 1]), &subscribed(&[A], true), Some(&owned), |_| true);
        assert_eq!(same, now);
    }

    #[test]
    fn what_comes_back_to_who_gives_it_up_is_not_waited_for() {
        let now = current(MemberState::Unrevoked, 3, &[0], &[1]);
        let owned = [(A, 0)].into();
        let next = reconcile(&now, 5, &target(A, &[0, 1]), &subscribed(&[A], false), Some(&owned), |_| true);
        assert_eq!((next.state, next.epoch), (MemberState::Stable, 5));
        assert_eq!(next.assigned[&A].keys().copied().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn a_member_keeps_its_epoch_from_one_revocation_to_the_next() {
        let now = current(MemberState::Unrevoked, 3, &[0, 1], &[2]);
        let owned = [(A, 0), (A, 1)].into();
        let next = reconcile(&now, 5, &target(A, &[0]), &subscribed(&[A], false), Some(&owned), |_| true);
        assert_eq!((next.state, next.epoch, next.previous_epoch), (MemberState::Unrevoked, 3, 3));
    }
}
