//! Records that leave a task, gathered into batches by partition, and handed to the log when a batch is full or at a commit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidewater_client::{ClientError, Ports, partition_of};
use tidewater_protocol::{BatchBuilder, Compression, HEADER_LENGTH, record_bytes};
use tidewater_types::{Offset, Partition, Timestamp, Topic, TopicPartition};

use crate::error::UserError;
use crate::task::{Collector, OutRecord, PartitionBy};

/// A batch of this size is sent without waiting for the commit.
const BATCH_BYTES: usize = 256 * 1024;
/// A record that is larger is not sent: `max.request.size`, Kafka's default.
const MAX_REQUEST_BYTES: usize = 1_048_576;

struct TopicBatches {
    topic: Topic,
    partitions: Vec<Option<BatchBuilder>>,
    /// The largest batch that the topic takes.
    max_batch_bytes: usize,
    /// Where the next record without a key goes.
    next_keyless: Partition,
}

/// The batches of one task.
pub(crate) struct Batches {
    ports: Ports,
    topics: Vec<TopicBatches>,
    /// Offsets behind what was acknowledged.
    ends: BTreeMap<TopicPartition, Offset>,
    /// The time of the last commit, for records that are given none.
    wall_clock: Timestamp,
}

/// The batches, shared by a task and the thread that commits it: the same thread, so nobody ever waits.
#[derive(Clone)]
pub(crate) struct SharedBatches(Arc<Mutex<Batches>>);

impl SharedBatches {
    pub fn new(ports: Ports, wall_clock: Timestamp) -> Self {
        let batches = Batches { ports, topics: Vec::new(), ends: BTreeMap::new(), wall_clock };
        SharedBatches(Arc::new(Mutex::new(batches)))
    }

    fn lock(&self) -> MutexGuard<'_, Batches> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends everything that waits. When this returns, it is in the log.
    pub fn flush(&self, wall_clock: Timestamp) -> Result<(), ClientError> {
        let mut batches = self.lock();
        batches.wall_clock = wall_clock;
        for topic in 0..batches.topics.len() {
            for partition in 0..batches.topics[topic].partitions.len() {
                batches.send(topic, partition)?;
            }
        }
        Ok(())
    }

    /// The offset behind what was acknowledged for a partition, if anything was.
    pub fn end(&self, place: &TopicPartition) -> Option<Offset> {
        self.lock().ends.get(place).copied()
    }
}

impl Batches {
    fn topic(&mut self, topic: &Topic) -> Result<usize, UserError> {
        let known = self.topics.iter().position(|known| Arc::ptr_eq(&known.topic, topic) || known.topic == *topic);
        if let Some(index) = known {
            return Ok(index);
        }
        let Some(count) = self.ports.admin.partitions(topic)? else {
            return Err(format!("topic {topic} does not exist; create it, then start again").into());
        };
        let partitions = (0..count).map(|_| None).collect();
        let max_batch_bytes = self.ports.admin.max_batch_bytes(topic)?;
        self.topics.push(TopicBatches { topic: topic.clone(), partitions, max_batch_bytes, next_keyless: 0 });
        Ok(self.topics.len() - 1)
    }

    fn send(&mut self, topic: usize, partition: usize) -> Result<(), ClientError> {
        // If this fails the task fails: no handler is asked, since the records in it have gone past theirs.
        let Some(batch) = self.topics[topic].partitions[partition].take() else { return Ok(()) };
        let place = TopicPartition { topic: self.topics[topic].topic.clone(), partition: partition as Partition };
        let count = batch.count() as i64;
        let Ok(bytes) = batch.finish() else { unreachable!("a batch that is not packed has no codec that could fail") };
        let first = self.ports.producer.send(&place, bytes)?;
        self.ends.insert(place, Offset(first.0 + count));
        Ok(())
    }
}

impl Collector for SharedBatches {
    fn partitions(&mut self, topic: &Topic) -> Result<Partition, UserError> {
        let mut batches = self.lock();
        let index = batches.topic(topic)?;
        Ok(batches.topics[index].partitions.len() as Partition)
    }

    fn send(&mut self, record: OutRecord<'_>) -> Result<(), UserError> {
        let mut batches = self.lock();
        let index = batches.topic(record.topic)?;
        let now = batches.wall_clock;
        let topic = &mut batches.topics[index];
        let count = topic.partitions.len() as Partition;
        let partition = match (record.partition, record.key) {
            (PartitionBy::Fixed(partition), _) => partition,
            (PartitionBy::Bytes(bytes), _) => partition_of(bytes, count),
            (PartitionBy::Key, Some(key)) => partition_of(key, count),
            (PartitionBy::Key, None) => {
                topic.next_keyless = (topic.next_keyless + 1) % count.max(1);
                topic.next_keyless
            }
        } as usize;
        let Some(slot) = topic.partitions.get_mut(partition) else {
            return Err(format!("topic {} has {count} partitions, but {partition} is wanted", record.topic).into());
        };
        let size = record_bytes(record.key, record.value, record.headers);
        if size > MAX_REQUEST_BYTES {
            let limit = format!("more than max.request.size = {MAX_REQUEST_BYTES}");
            return Err(
                format!("a record of {size} bytes for topic {} is {limit}; make it smaller", record.topic).into()
            );
        }
        let max_batch_bytes = topic.max_batch_bytes;
        if size + HEADER_LENGTH > max_batch_bytes {
            let limit = format!("with its batch more than max.message.bytes = {max_batch_bytes}");
            return Err(format!(
                "a record of {size} bytes for topic {} is {limit}; make it smaller, or raise the topic's setting",
                record.topic
            )
            .into());
        }
        let full = BATCH_BYTES.min(max_batch_bytes);
        if slot.as_ref().is_some_and(|waiting| waiting.size() + size > full) {
            batches.send(index, partition)?;
        }
        let slot = &mut batches.topics[index].partitions[partition];
        let batch = slot.get_or_insert_with(|| BatchBuilder::with_capacity(Compression::None, BATCH_BYTES / 4));
        batch.push(record.timestamp.unwrap_or(now), record.key, record.value, record.headers);
        Ok(())
    }
}
