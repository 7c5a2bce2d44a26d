//! Where records leave a task: typed records become bytes on a topic.

use std::marker::PhantomData;
use std::sync::Arc;

use tidewater_types::{Partition, Record, RecordContext, Topic};

use super::{Boxed, user};
use crate::codec::{Field, Fits, Serde};
use crate::error::{FailureKind, TaskError, UserError};
use crate::task::{Core, DropReason, Node, OutRecord, PartitionBy, take_record};

/// Names the topic of a record, given where the record at work came from.
pub(crate) type ChooseTopic<K, V> = Arc<dyn Fn(&Record<K, V>, &RecordContext) -> String + Send + Sync>;
/// Names the partitions of a record in a topic, among so many; `None` for those of its key.
pub(crate) type ChoosePartitions<K, V> = Arc<dyn Fn(&str, &K, &V, Partition) -> Option<Vec<Partition>> + Send + Sync>;

/// Where a sink's records go, if not all to one topic by the hash of their keys.
pub(crate) struct Routing<K, V> {
    pub topic: Option<ChooseTopic<K, V>>,
    pub partitions: Option<ChoosePartitions<K, V>>,
}

impl<K, V> Default for Routing<K, V> {
    fn default() -> Self {
        Routing { topic: None, partitions: None }
    }
}

impl<K, V> Clone for Routing<K, V> {
    fn clone(&self) -> Self {
        Routing { topic: self.topic.clone(), partitions: self.partitions.clone() }
    }
}

pub(crate) struct Sink<K, V, K2: Field, V2: Field> {
    topic: Topic,
    key: Serde<K2::Some>,
    value: Serde<V2::Some>,
    routing: Routing<K, V>,
    key_buffer: Vec<u8>,
    value_buffer: Vec<u8>,
}

impl<K, V, K2: Field, V2: Field> Sink<K, V, K2, V2> {
    pub fn new(topic: Topic, key: Serde<K2::Some>, value: Serde<V2::Some>, routing: Routing<K, V>) -> Self {
        Sink { topic, key, value, routing, key_buffer: Vec::new(), value_buffer: Vec::new() }
    }
}

impl<K: Fits<K2>, V: Fits<V2>, K2: Field, V2: Field> Node for Sink<K, V, K2, V2> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let record = take_record::<K, V>(record);
        if record.timestamp.0 < 0 {
            let what = format!("timestamp {} is negative, and cannot be sent to {}", record.timestamp, self.topic);
            return Err(TaskError::new(FailureKind::Timestamp, what));
        }
        if let Some(choose) = &self.routing.topic {
            let chosen = choose(&record, &core.context);
            if *self.topic != *chosen {
                self.topic = chosen.into();
            }
        }
        let unsent = |error| TaskError::new(FailureKind::Production, error);
        let partitions = match &self.routing.partitions {
            Some(choose) => {
                let count = core.outbox.collector.partitions(&self.topic).map_err(unsent)?;
                choose(&self.topic, &record.key, &record.value, count)
            }
            None => None,
        };
        let (key, value) = (record.key.fit(), record.value.fit());
        self.key_buffer.clear();
        self.value_buffer.clear();
        let suffix = key.as_some().map_or(0, |key| self.key.partition_suffix(key));
        let key = key.as_some().map(|key| self.key.write(key, &mut self.key_buffer)).transpose()?;
        let value = value.as_some().map(|value| self.value.write(value, &mut self.value_buffer)).transpose()?;
        let partition = match suffix {
            0 => PartitionBy::Key,
            suffix => PartitionBy::Bytes(&self.key_buffer[..self.key_buffer.len().saturating_sub(suffix)]),
        };
        let out = OutRecord {
            topic: &self.topic,
            partition,
            key: key.map(|()| self.key_buffer.as_slice()),
            value: value.map(|()| self.value_buffer.as_slice()),
            timestamp: Some(record.timestamp),
            headers: &record.headers,
        };
        let Some(partitions) = partitions else { return core.outbox.collector.send(out).map_err(unsent) };
        if partitions.is_empty() {
            core.drop_record(DropReason::NoPartition);
        }
        for partition in partitions {
            let out = OutRecord { partition: PartitionBy::Fixed(partition), ..out };
            core.outbox.collector.send(out).map_err(unsent)?;
        }
        Ok(())
    }
}

/// A record that the null-key check of a repartition let through, or not.
pub(crate) struct DropNullKeys<K, V> {
    pub id: usize,
    pub types: PhantomData<fn(K, V)>,
}

impl<K: Field, V: Clone + Send + 'static> Node for DropNullKeys<K, V> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let record: Record<K, V> = take_record(record);
        if record.key.as_some().is_none() {
            return Ok(());
        }
        core.forward(self.id, record)
    }
}

/// Runs a closure for its effect.
pub(crate) struct ForEach<K, V, F> {
    pub id: usize,
    pub action: Arc<F>,
    pub forward: bool,
    pub types: PhantomData<fn(K, V)>,
}

impl<K, V, F> Node for ForEach<K, V, F>
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
    F: Fn(&K, &V) -> Result<(), UserError> + Send + Sync + 'static,
{
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let record: Record<K, V> = take_record(record);
        (self.action)(&record.key, &record.value).map_err(user)?;
        if self.forward { core.forward(self.id, record) } else { Ok(()) }
    }
}

/// Drops records without a value, and takes the `Option` away.
pub(crate) struct FilterSome<K, V> {
    pub id: usize,
    pub types: PhantomData<fn(K, V)>,
}

impl<K: Clone + Send + 'static, V: Clone + Send + 'static> Node for FilterSome<K, V> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value, timestamp, headers } = take_record::<K, Option<V>>(record);
        match value {
            Some(value) => core.forward(self.id, Record { key, value, timestamp, headers }),
            None => {
                core.drop_record(DropReason::NullValue);
                Ok(())
            }
        }
    }
}
