//! The edge of the groups: their topic, and the topics that they read.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use tidewater_env::random_id;
use tidewater_protocol::{RequestContext, ResponseError, UNPACK_LIMIT_BYTES};
use uuid::Uuid;

use super::TopicJournal;
use crate::BrokerError;
use crate::api::explain;
use crate::broker::Shared;
use crate::groups::{Client, Groups, OFFSETS_TOPIC, Outside, Topics};
use crate::journal::partition_of;
use crate::topics::OpenTopic;

/// The topics as groups see them.
pub(crate) struct TopicsNow<'a> {
    pub shared: &'a Shared,
    pub topics: &'a BTreeMap<String, Arc<OpenTopic>>,
}

impl Topics for TopicsNow<'_> {
    fn version(&self) -> u64 {
        self.shared.topics_version.load(Ordering::Acquire)
    }

    fn find(&self, name: &str) -> Option<(Uuid, i32)> {
        self.topics.get(name).map(|topic| (topic.record.id, topic.record.partitions))
    }

    fn name_of(&self, id: Uuid) -> Option<String> {
        self.shared.topic_names.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.topics.keys().cloned().collect()
    }
}

impl Shared {
    /// The groups, to look at.
    pub fn groups(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the groups do something. They are given the topics, which stay as they are meanwhile.
    ///
    /// # Errors
    /// When there is no topic to write to, and none can be made.
    pub fn change_groups<R>(
        &self,
        change: impl FnOnce(&mut Groups, &mut Outside<'_>, &BTreeMap<String, Arc<OpenTopic>>) -> R,
    ) -> Result<R, ResponseError> {
        let topic = self.offsets_topic().map_err(|error| {
            let (code, reason) = explain(OFFSETS_TOPIC, error);
            self.complain(OFFSETS_TOPIC, |left_out| {
                tracing::error!(?code, reason, left_out, "the topic of groups cannot be made");
            });
            ResponseError::CoordinatorNotAvailable
        })?;
        let topics = self.topics();
        Ok(self.change_groups_over(&topic, &topics, |groups, outside| change(groups, outside, &topics)))
    }

    /// Has the groups do something, for one who has locked the topics.
    pub fn change_groups_over<R>(
        &self,
        topic: &OpenTopic,
        topics: &BTreeMap<String, Arc<OpenTopic>>,
        change: impl FnOnce(&mut Groups, &mut Outside<'_>) -> R,
    ) -> R {
        let own_settings = self.group_settings.read().unwrap_or_else(PoisonError::into_inner);
        let mut groups = self.groups();
        let before = groups.next_deadline();
        let mut journal = TopicJournal { shared: self, topic, base_sequence: 0 };
        let mut outside = Outside {
            now: self.settings.clock.monotonic(),
            wall: self.now(),
            settings: &self.settings.groups,
            own_settings: &own_settings,
            journal: &mut journal,
            topics: &TopicsNow { shared: self, topics },
            new_id: &mut random_id,
        };
        let result = change(&mut groups, &mut outside);
        self.note_deadline(before, groups.next_deadline());
        result
    }
}

/// Who asks, as it is shown to administrators.
pub(crate) fn client_of(context: &RequestContext) -> Client {
    let id = context.client_id.as_ref().map(ToString::to_string).unwrap_or_default();
    let host = context.caller.peer.map(|peer| format!("/{}", peer.ip())).unwrap_or_default();
    Client { id, host }
}

/// Reads the groups from their topic.
pub(crate) fn replay_groups(topic: &OpenTopic, groups: &mut Groups) -> Result<(), BrokerError> {
    for (number, partition) in topic.partitions.iter().enumerate() {
        let is_there = |group: &str| partition_of(group, topic.record.partitions) == number as i32;
        super::replay(&partition.lock(), |batch| {
            if batch.is_control() {
                if let Some(end) = batch.transaction_end() {
                    groups.end_transaction(batch.producer_id(), end.kind, is_there);
                }
                return Ok(());
            }
            let producer = batch.is_transactional().then(|| batch.producer_id());
            for record in batch.records(UNPACK_LIMIT_BYTES)?.iter() {
                let record = record?;
                if let Some(key) = record.key {
                    groups.replay(producer, key, record.value);
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}
