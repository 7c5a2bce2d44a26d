//! A group changes its protocol while it has members: to the consumer protocol with its first member of that, and back when only members
//! of the classic one are left.
//!
//! As in Apache Kafka's `ConsumerGroup.fromClassicGroup` and `ClassicGroup.fromConsumerGroup` (KIP-848).

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::assign::Partitions;
use super::classic::{CONSUMER, ClassicGroup, ClassicMember, State};
use super::consumer::{ConsumerGroup, Refusal};
use super::embedded::{by_id, read_assignment, read_subscription, version_of, write_assignment};
use super::records::{ClassicMetadata, Metadata, group_key};
use super::{Client, Group, Groups, Outside, Record, Timer};

/// `group.consumer.migration.policy`: which way groups with members may change their protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// Both.
    #[default]
    Bidirectional,
    /// From the classic protocol to the consumer protocol.
    Upgrade,
    /// From the consumer protocol to the classic protocol.
    Downgrade,
    /// None.
    Disabled,
}

impl MigrationPolicy {
    fn upgrades(self) -> bool {
        matches!(self, MigrationPolicy::Bidirectional | MigrationPolicy::Upgrade)
    }

    fn downgrades(self) -> bool {
        matches!(self, MigrationPolicy::Bidirectional | MigrationPolicy::Downgrade)
    }
}

impl std::str::FromStr for MigrationPolicy {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name.to_ascii_lowercase().as_str() {
            "bidirectional" => Ok(MigrationPolicy::Bidirectional),
            "upgrade" => Ok(MigrationPolicy::Upgrade),
            "downgrade" => Ok(MigrationPolicy::Downgrade),
            "disabled" => Ok(MigrationPolicy::Disabled),
            _ => Err(format!("{name:?} is none of bidirectional, upgrade, downgrade, disabled")),
        }
    }
}

impl Groups {
    /// Makes a group of the classic protocol that has members one of the consumer protocol, with its first member of that.
    pub(super) fn upgrade(
        &mut self,
        outside: &mut Outside<'_>,
        request: &ConsumerGroupHeartbeatRequest,
        client: Client,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let name = &*request.group_id.to_string();
        let unknown = || (ResponseError::GroupIdNotFound, format!("Consumer group {name} not found."));
        let Some(Group::Classic(classic)) = self.groups.get_mut(name) else { return Err(unknown()) };
        let mut group = upgraded(outside, name, classic)?;
        let response = group.heartbeat(outside, &mut self.timers, request, client)?;
        // Only now is it in the log.
        classic.fail_waiting(ResponseError::RebalanceInProgress);
        self.timers.cancel(&Timer::Join(name.into()));
        self.timers.cancel(&Timer::Sync(name.into()));
        group.start_classic(outside.now, &mut self.timers);
        tracing::info!(group = name, "a group goes from the classic to the consumer protocol");
        self.groups.insert(name.into(), Group::Consumer(group));
        Ok(response)
    }

    /// Removes members of a group of the consumer protocol, which becomes one of the classic protocol if only such members are left.
    pub(super) fn dismiss_consumers(
        &mut self,
        outside: &mut Outside<'_>,
        name: &str,
        leaving: &[Arc<str>],
    ) -> Result<(), Refusal> {
        let Some(Group::Consumer(group)) = self.groups.get_mut(name) else { return Ok(()) };
        if may_downgrade(outside, group, leaving) {
            self.downgrade(outside, name, leaving, true).map_err(|error| (error, String::new()))
        } else {
            group.dismiss(outside, &mut self.timers, leaving)
        }
    }

    /// The last member of the consumer protocol has become one of the classic protocol.
    pub(super) fn downgrade_if_classic(&mut self, outside: &mut Outside<'_>, name: &str) {
        let Some(Group::Consumer(group)) = self.groups.get(name) else { return };
        if may_downgrade(outside, group, &[]) {
            let rebalances = group.state() != "Stable";
            if let Err(error) = self.downgrade(outside, name, &[], rebalances) {
                tracing::debug!(group = name, %error, "a group could not go back to the classic protocol; it is tried again when a member leaves");
            }
        }
    }

    fn downgrade(
        &mut self,
        outside: &mut Outside<'_>,
        name: &str,
        leaving: &[Arc<str>],
        rebalances: bool,
    ) -> Result<(), ResponseError> {
        let Some(Group::Consumer(group)) = self.groups.get(name) else { return Ok(()) };
        let members = group.classic_members(leaving, outside.topics);
        let mut classic = ClassicGroup::stable(name.into(), outside.wall, group.epoch(), members);
        let mut records: Vec<Record> = group.tombstones();
        records.push(classic.record());
        outside.journal.append(name, records)?;
        group.forget_all_timers(&mut self.timers);
        classic.start(outside.now, &mut self.timers);
        tracing::info!(group = name, "a group goes from the consumer to the classic protocol");
        if rebalances {
            classic.prepare(outside, &mut self.timers);
        }
        self.groups.insert(name.into(), Group::Classic(classic));
        Ok(())
    }
}

/// A group of the classic protocol as one of the consumer protocol, with its members.
fn upgraded(outside: &Outside<'_>, name: &str, classic: &ClassicGroup) -> Result<ConsumerGroup, Refusal> {
    let refused = |what: &str| {
        let text = format!("Cannot upgrade classic group {name} to consumer group because {what}");
        Err((ResponseError::GroupIdNotFound, text))
    };
    if !outside.settings.migration.upgrades() {
        return refused("online upgrade is disabled.");
    }
    if classic.protocol_type() != CONSUMER {
        return refused("the group does not use the consumer embedded protocol.");
    }
    let classic_members = classic.members();
    if classic_members.len() > outside.settings.consumer_max_size {
        return refused("the group size exceeds the consumer group maximum size.");
    }
    let mut members = Vec::new();
    let mut owned = BTreeSet::new();
    for member in classic_members {
        let Some((metadata, assignment)) = as_consumer(&member) else {
            return refused("the embedded consumer protocol is malformed.");
        };
        let partitions = by_id(&assignment.partitions, outside.topics);
        let mut places = partitions.iter().flat_map(|(topic, numbers)| numbers.iter().map(|number| (*topic, *number)));
        if assignment.has_user_data || !places.all(|place| owned.insert(place)) {
            return refused(
                "an unsupported custom assignor is in use. Please refer to the documentation or switch to a default assignor before re-attempting the upgrade.",
            );
        }
        members.push((member.id, metadata, partitions));
    }
    // Partitions are shared out anew at once if that was under way; Apache Kafka waits for the next change.
    let generation = classic.generation();
    let epochs = match classic.state() {
        State::Stable => (generation, generation),
        _ => (generation.saturating_add(1), generation),
    };
    let tombstone = (group_key(name), None);
    Ok(ConsumerGroup::of_classic(name.into(), epochs, members, outside.topics, tombstone))
}

fn may_downgrade(outside: &Outside<'_>, group: &ConsumerGroup, leaving: &[Arc<str>]) -> bool {
    let left = group.left_if_classic(leaving);
    outside.settings.migration.downgrades() && left.is_some_and(|left| left > 0 && left <= outside.settings.max_size)
}

/// A member of the classic protocol as one of the consumer protocol, and what it was assigned; `None` if its bytes are none.
fn as_consumer(member: &ClassicMember) -> Option<(Metadata, super::embedded::Assignment)> {
    let subscription = read_subscription(&member.subscription)?;
    let metadata = Metadata {
        instance: member.instance.clone(),
        rack: subscription.rack,
        client: member.client.clone(),
        topics: subscription.topics,
        regex: String::new(),
        rebalance_timeout_ms: member.rebalance_timeout.as_millis() as i32,
        assignor: None,
        classic: Some(ClassicMetadata {
            session_timeout_ms: member.session_timeout.as_millis() as i32,
            protocols: member.protocols.clone(),
        }),
    };
    Some((metadata, read_assignment(&member.assignment)?))
}

/// What a member of the classic protocol is told that it has, in the version that it speaks.
pub(super) fn assignment_for(classic: &ClassicMetadata, target: &Partitions, topics: &dyn super::Topics) -> Bytes {
    let subscription = classic.protocols.first().map(|(_, subscription)| subscription.clone()).unwrap_or_default();
    write_assignment(version_of(&subscription).unwrap_or(0), target, topics).into()
}
