//! The log of topics: `__cluster_metadata-0`, a record for each change, replayed when the folder is opened.
//!
//! Key: `topic:NAME`. Value: JSON with `version` 1, `id`, `partitions` and `configs`; null when the topic is deleted.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tidewater_env::Disk;
use tidewater_log::{LogConfig, OpenOptions, PartitionLog};
use tidewater_protocol::{Batch, BatchBuilder, Compression};
use tidewater_types::{Headers, Offset, Timestamp};
use uuid::Uuid;

use crate::BrokerError;

/// The topic of that log, which is nobody else's to make.
pub(crate) const METADATA_TOPIC: &str = "__cluster_metadata";
/// The folder of the log.
pub(crate) const METADATA_FOLDER: &str = "__cluster_metadata-0";
const VERSION: u32 = 1;
const READ_BYTES: usize = 1 << 20;
const PREFIX: &str = "topic:";

/// What is known of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TopicRecord {
    version: u32,
    pub id: Uuid,
    pub partitions: i32,
    pub configs: BTreeMap<String, String>,
}

impl TopicRecord {
    pub fn new(id: Uuid, partitions: i32, configs: BTreeMap<String, String>) -> Self {
        TopicRecord { version: VERSION, id, partitions, configs }
    }
}

/// The open log.
#[derive(Debug)]
pub(crate) struct MetadataLog(PartitionLog);

impl MetadataLog {
    /// Opens the log, and gives all topics.
    pub fn open(disk: &Disk, folder: &Path) -> Result<(Self, BTreeMap<String, TopicRecord>), BrokerError> {
        let config = LogConfig { retention: None, flush_messages: Some(1), ..LogConfig::default() };
        let options =
            OpenOptions { config, clean_shutdown: false, recovery_point: Offset::ZERO, log_start: Offset::ZERO };
        let (log, _) = PartitionLog::open(disk, &folder.join(METADATA_FOLDER), options)?;
        let mut topics = BTreeMap::new();
        let mut next = log.log_start();
        while next < log.log_end() {
            let mut chunk = log.read(next, READ_BYTES)?;
            while !chunk.is_empty() {
                let batch = Batch::parse(&chunk).map_err(tidewater_log::LogError::from)?;
                for record in batch.records(READ_BYTES).map_err(tidewater_log::LogError::from)?.iter() {
                    let record = record.map_err(tidewater_log::LogError::from)?;
                    let malformed = |reason: String| BrokerError::Malformed {
                        what: format!("record {} of {METADATA_FOLDER}", record.offset),
                        reason,
                    };
                    let key = record.key.and_then(|key| std::str::from_utf8(key).ok()?.strip_prefix(PREFIX));
                    let name = key.ok_or_else(|| malformed("its key is not topic:NAME".to_owned()))?;
                    match record.value {
                        None => topics.remove(name),
                        Some(value) => {
                            let topic: TopicRecord =
                                serde_json::from_slice(value).map_err(|error| malformed(error.to_string()))?;
                            if topic.version > VERSION {
                                return Err(malformed(format!("version {} is newer than {VERSION}", topic.version)));
                            }
                            topics.insert(name.to_owned(), topic)
                        }
                    };
                }
                next = batch.next_offset();
                chunk = chunk.slice(batch.len()..);
            }
        }
        Ok((MetadataLog(log), topics))
    }

    /// Writes a topic, or its deletion.
    pub fn write(&mut self, name: &str, topic: Option<&TopicRecord>, now: Timestamp) -> Result<(), BrokerError> {
        let value = topic.map(serde_json::to_vec).transpose();
        let value =
            value.map_err(|error| BrokerError::Malformed { what: name.to_owned(), reason: error.to_string() })?;
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(now, Some(format!("{PREFIX}{name}").as_bytes()), value.as_deref(), &Headers::EMPTY);
        let batch = builder.finish().map_err(|error| tidewater_log::LogError::Batch(error.into()))?;
        let appended = self.0.append(batch, now)?;
        self.0.raise_high_watermark(appended.next);
        Ok(())
    }

    pub fn close(&mut self) -> Result<(), BrokerError> {
        self.0.close()?;
        Ok(())
    }
}
