//! The topic settings that a partition's log acts on, under Kafka's names and with Kafka's defaults.

use std::time::Duration;

use tidewater_protocol::Compression;
use tidewater_types::Timestamp;

/// What happens to old records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Whole segments are dropped by age and size.
    pub delete: bool,
    /// Of each key only the last record is kept.
    pub compact: bool,
}

/// Whose clock a record's timestamp is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's, when it appends.
    LogAppendTime,
}

/// What the age of records is measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetentionClock {
    /// The wall clock, as in Kafka.
    Wall,
    /// The partition's own newest record: event time may be decades old, and the changelog of a windowed store must keep
    /// the windows that the store has.
    Records,
}

/// Settings of one partition's log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment that would grow beyond this is closed. Default 1 GiB.
    pub segment_bytes: u64,
    /// `segment.ms`: a segment whose first record is this much older than the new one is closed. Default 7 days.
    pub segment_age: Duration,
    /// `index.interval.bytes`: bytes of log between two index entries. Default 4,096.
    pub index_interval_bytes: u64,
    /// `max.message.bytes`: the largest batch. Default 1,048,588.
    pub max_message_bytes: usize,
    /// `retention.ms`; `None` (−1) keeps records for ever. Default 7 days.
    pub retention: Option<Duration>,
    /// `tidewater.retention.clock`. Default wall.
    pub retention_clock: RetentionClock,
    /// `retention.bytes`; `None` (−1) does not limit. Default none.
    pub retention_bytes: Option<u64>,
    /// `cleanup.policy`. Default delete.
    pub cleanup: CleanupPolicy,
    /// `delete.retention.ms`: how long a tombstone is kept once compaction has met it. Default 24 hours.
    pub delete_retention: Duration,
    /// `min.compaction.lag.ms`: records younger than this are not compacted. Default 0.
    pub min_compaction_lag: Duration,
    /// `min.cleanable.dirty.ratio`: the uncompacted part at which compaction starts. Default 0.5.
    pub min_dirty_ratio: f64,
    /// `flush.messages`: appends between two fsyncs, in records; `None` leaves it to the system. Default none.
    pub flush_messages: Option<u64>,
    /// `message.timestamp.type`. Default CreateTime.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far behind the broker's clock producers' timestamps may be; `None` for ever. Default none.
    pub timestamp_before: Option<Duration>,
    /// `message.timestamp.after.max.ms`: how far ahead of it. Default 1 hour.
    pub timestamp_after: Option<Duration>,
    /// `max.compaction.lag.ms`: records are compacted when they are this old, however few; `None` for never. Default none.
    pub max_compaction_lag: Option<Duration>,
    /// `compression.type`: how batches are packed in the log; `None` (`producer`) as they come. Default none.
    pub compression: Option<Compression>,
}

impl LogConfig {
    /// Whether a producer may give a record this timestamp at a time.
    pub fn allows_timestamp(&self, timestamp: Timestamp, now: Timestamp) -> bool {
        let exceeds =
            |distance: i64, limit: Option<Duration>| limit.is_some_and(|limit| distance > Timestamp::from(limit).0);
        let behind = now.0.saturating_sub(timestamp.0);
        timestamp == Timestamp::NONE
            || !(exceeds(behind, self.timestamp_before) || exceeds(behind.saturating_neg(), self.timestamp_after))
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        LogConfig {
            segment_bytes: 1 << 30,
            segment_age: Duration::from_secs(7 * DAY),
            index_interval_bytes: 4096,
            max_message_bytes: 1_048_588,
            retention: Some(Duration::from_secs(7 * DAY)),
            retention_clock: RetentionClock::Wall,
            retention_bytes: None,
            cleanup: CleanupPolicy { delete: true, compact: false },
            delete_retention: Duration::from_secs(DAY),
            min_compaction_lag: Duration::ZERO,
            min_dirty_ratio: 0.5,
            flush_messages: None,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before: None,
            timestamp_after: Some(Duration::from_secs(3600)),
            max_compaction_lag: None,
            compression: None,
        }
    }
}
