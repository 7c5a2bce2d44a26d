//! Where records enter a task: bytes become typed records, with a timestamp.

use std::sync::Arc;

use tidewater_types::{Record, RecordPlace, Timestamp};

use super::super::task::{Core, DropReason, NodeId, RawRecord};
use crate::codec::{CodecError, Field, Serde};
use crate::config::DefaultTimestamps;
use crate::error::{FailureKind, TaskError};

/// A source of a task.
pub(crate) trait Source: Send {
    /// The node whose children get the records.
    fn node(&self) -> NodeId;

    /// The record's event time; `None` to skip it.
    fn timestamp(
        &self,
        raw: &RawRecord,
        place: &dyn Fn() -> RecordPlace,
        partition_time: Timestamp,
        wall_clock: Timestamp,
    ) -> Result<Option<Timestamp>, TaskError>;

    /// Reads a record and sends it on.
    fn process(&self, core: &mut Core, raw: &RawRecord, timestamp: Timestamp) -> Result<(), TaskError>;
}

/// Where a record's event time comes from.
pub enum TimestampExtractor<K, V> {
    /// As the builder's settings say; the log's timestamp, if they say nothing.
    Default,
    /// The wall clock as the record is taken up.
    WallClock,
    /// The log's timestamp; one that is negative stops the task.
    FailOnInvalid,
    /// The log's timestamp; a record with a negative one is skipped.
    SkipOnInvalid,
    /// The log's timestamp; in place of a negative one, the largest of the partition so far.
    PartitionTimeOnInvalid,
    /// From the record itself, given where it came from and the largest of the partition so far (−1 at first). A record with a
    /// negative one is skipped.
    By(Arc<dyn Fn(&Record<K, V>, &RecordPlace, Timestamp) -> Timestamp + Send + Sync>),
}

impl<K, V> Clone for TimestampExtractor<K, V> {
    fn clone(&self) -> Self {
        match self {
            TimestampExtractor::Default => TimestampExtractor::Default,
            TimestampExtractor::WallClock => TimestampExtractor::WallClock,
            TimestampExtractor::FailOnInvalid => TimestampExtractor::FailOnInvalid,
            TimestampExtractor::SkipOnInvalid => TimestampExtractor::SkipOnInvalid,
            TimestampExtractor::PartitionTimeOnInvalid => TimestampExtractor::PartitionTimeOnInvalid,
            TimestampExtractor::By(extract) => TimestampExtractor::By(extract.clone()),
        }
    }
}

impl<K, V> TimestampExtractor<K, V> {
    /// This one, or what stands for none.
    pub(crate) fn or(&self, default: DefaultTimestamps) -> Self {
        match (self, default) {
            (TimestampExtractor::Default, DefaultTimestamps::FailOnInvalid) => TimestampExtractor::FailOnInvalid,
            (TimestampExtractor::Default, DefaultTimestamps::SkipOnInvalid) => TimestampExtractor::SkipOnInvalid,
            (TimestampExtractor::Default, DefaultTimestamps::PartitionTimeOnInvalid) => {
                TimestampExtractor::PartitionTimeOnInvalid
            }
            (TimestampExtractor::Default, DefaultTimestamps::WallClock) => TimestampExtractor::WallClock,
            (own, _) => own.clone(),
        }
    }
}

pub(crate) struct TypedSource<K: Field, V: Field> {
    pub node: NodeId,
    pub key: Serde<K::Some>,
    pub value: Serde<V::Some>,
    pub extractor: TimestampExtractor<K, V>,
}

impl<K: Field, V: Field> TypedSource<K, V> {
    /// The typed record; the inner error tells which side is null where the type has no place for it.
    fn read(&self, raw: &RawRecord, timestamp: Timestamp) -> Result<Result<Record<K, V>, DropReason>, TaskError> {
        let undecodable =
            |side: &str, error: CodecError| TaskError::new(FailureKind::Deserialization, format!("{side}: {error}"));
        let key = raw.key.as_deref().map(|key| self.key.read(key)).transpose().map_err(|e| undecodable("key", e))?;
        let value = raw.value.as_deref().map(|value| self.value.read(value)).transpose();
        let value = value.map_err(|error| undecodable("value", error))?;
        let (Some(key), value) = (K::from_option(key), V::from_option(value)) else {
            return Ok(Err(DropReason::NullKey));
        };
        let Some(value) = value else { return Ok(Err(DropReason::NullValue)) };
        Ok(Ok(Record { key, value, timestamp, headers: raw.headers.clone() }))
    }
}

impl<K: Field, V: Field> Source for TypedSource<K, V> {
    fn node(&self) -> NodeId {
        self.node
    }

    fn timestamp(
        &self,
        raw: &RawRecord,
        place: &dyn Fn() -> RecordPlace,
        partition_time: Timestamp,
        wall_clock: Timestamp,
    ) -> Result<Option<Timestamp>, TaskError> {
        let valid = raw.timestamp.0 >= 0;
        match &self.extractor {
            TimestampExtractor::WallClock => Ok(Some(wall_clock)),
            TimestampExtractor::FailOnInvalid | TimestampExtractor::Default if valid => Ok(Some(raw.timestamp)),
            TimestampExtractor::FailOnInvalid | TimestampExtractor::Default => Err(TaskError::new(
                FailureKind::Timestamp,
                format!(
                    "timestamp {} is negative. Use .timestamps(TimestampExtractor::SkipOnInvalid), or take the time from the record",
                    raw.timestamp
                ),
            )),
            TimestampExtractor::SkipOnInvalid => Ok(valid.then_some(raw.timestamp)),
            TimestampExtractor::PartitionTimeOnInvalid => {
                let timestamp = if valid { raw.timestamp } else { partition_time };
                if timestamp.0 < 0 {
                    let what = format!("timestamp {} is negative, and its partition has had no other", raw.timestamp);
                    return Err(TaskError::new(FailureKind::Timestamp, what));
                }
                Ok(Some(timestamp))
            }
            TimestampExtractor::By(extract) => match self.read(raw, raw.timestamp)? {
                Ok(record) => {
                    let timestamp = extract(&record, &place(), partition_time);
                    Ok((timestamp.0 >= 0).then_some(timestamp))
                }
                Err(_) => Ok(Some(partition_time.max(Timestamp(0)))),
            },
        }
    }

    fn process(&self, core: &mut Core, raw: &RawRecord, timestamp: Timestamp) -> Result<(), TaskError> {
        match self.read(raw, timestamp)? {
            Ok(record) => core.forward(self.node, record),
            Err(reason) => {
                core.drop_record(reason);
                Ok(())
            }
        }
    }
}
