//! What a runtime needs of a log.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tidewater_protocol::Wake;
use tidewater_types::{Offset, Partition, TaskId, Timestamp, TopicPartition};

use crate::ClientError;

/// Kafka's default of `max.message.bytes`.
const DEFAULT_MAX_BATCH_BYTES: usize = 1_048_588;

/// What a fetch found.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Whole batches; the first may begin before the offset that was asked for.
    pub records: Bytes,
    /// The offset behind the last record that may be seen.
    pub high_watermark: Offset,
}

/// Reads records.
pub trait Consumer: Send + Sync {
    /// Batches from an offset on: at most so many bytes, but at least one batch. Empty at the end.
    fn fetch(&self, place: &TopicPartition, offset: Offset, max_bytes: usize) -> Result<Fetched, ClientError>;

    /// The first offset of a partition.
    fn earliest(&self, place: &TopicPartition) -> Result<Offset, ClientError>;

    /// The offset behind the last record of a partition.
    fn latest(&self, place: &TopicPartition) -> Result<Offset, ClientError>;

    /// The offset of the first record of at least a time; `None` if there is none.
    fn at_time(&self, place: &TopicPartition, time: Timestamp) -> Result<Option<Offset>, ClientError>;

    /// Has `wake` called whenever there may be more to fetch, as long as somebody holds it.
    fn watch(&self, wake: &Wake);
}

/// Writes records.
pub trait Producer: Send + Sync {
    /// Appends a batch; gives the offset of its first record. What returns is in the log.
    fn send(&self, place: &TopicPartition, batch: Bytes) -> Result<Offset, ClientError>;
}

/// Looks after topics.
pub trait Admin: Send + Sync {
    /// How many partitions a topic has; `None` if there is no such topic.
    fn partitions(&self, topic: &str) -> Result<Option<Partition>, ClientError>;

    /// All topics with their partitions, by name.
    fn topics(&self) -> Result<BTreeMap<String, Partition>, ClientError>;

    /// The settings that a topic has of its own, by Kafka's names.
    fn settings(&self, topic: &str) -> Result<BTreeMap<String, String>, ClientError>;

    /// The largest batch that a topic takes, in bytes (`max.message.bytes`).
    fn max_batch_bytes(&self, topic: &str) -> Result<usize, ClientError> {
        let own = self.settings(topic)?.get("max.message.bytes").and_then(|bytes| bytes.parse().ok());
        Ok(own.unwrap_or(DEFAULT_MAX_BATCH_BYTES))
    }

    /// Changes settings of a topic, all together or none; `None` puts one back to its default.
    fn alter_settings(&self, topic: &str, changes: &BTreeMap<String, Option<String>>) -> Result<(), ClientError>;

    /// Gives a topic more partitions, so that it has `count` of them.
    fn add_partitions(&self, topic: &str, count: Partition) -> Result<(), ClientError>;

    /// Deletes the records of partitions before an offset each.
    fn delete_records(&self, before: &BTreeMap<TopicPartition, Offset>) -> Result<(), ClientError>;

    /// Deletes a topic.
    fn delete_topic(&self, topic: &str) -> Result<(), ClientError>;

    /// Makes a topic. One that exists already is no error.
    fn create_topic(
        &self,
        topic: &str,
        partitions: Partition,
        configs: &BTreeMap<String, String>,
    ) -> Result<(), ClientError>;
}

/// An offset with what was noted beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset behind the last record that was worked through.
    pub offset: Offset,
    /// A note; Kafka Streams keeps the partition's time there.
    pub metadata: String,
}

/// Takes part in a group: which tasks are ours, and how far they are.
pub trait GroupMember: Send + Sync {
    /// Deals the tasks out to the threads of this member.
    fn assign(&self, tasks: &[TaskId], threads: usize) -> Vec<Vec<TaskId>>;

    /// Commits offsets, all together or not at all.
    fn commit(&self, offsets: &BTreeMap<TopicPartition, CommittedOffset>) -> Result<(), ClientError>;

    /// What was committed for these partitions.
    fn committed(&self, places: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, CommittedOffset>, ClientError>;
}

/// The four ports of one application.
#[derive(Clone)]
pub struct Ports {
    /// Reads records.
    pub consumer: Arc<dyn Consumer>,
    /// Writes records.
    pub producer: Arc<dyn Producer>,
    /// Looks after topics.
    pub admin: Arc<dyn Admin>,
    /// Takes part in the application's group.
    pub group: Arc<dyn GroupMember>,
}
