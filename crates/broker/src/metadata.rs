//! The log of topics: `__cluster_metadata-0`, a record for each change, replayed when the folder is opened.
//!
//! Key: `topic:NAME`. Value: JSON with `version` 1, `id`, `partitions` and `configs`; null when the topic is deleted. The key
//! `producer-ids` has the first number that was given to no block of producers, as `version` 1 and `next`. The keys `settings:brokers`,
//! `settings:broker`, `settings:group:NAME` and `settings:metrics:NAME` have what was changed of the settings of all brokers, of this
//! one, of a group, and of a subscription to metrics of clients, as `version` 1 and `configs`; null for nothing.

use std::collections::BTreeMap;
use std::ops::Range;
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
const PRODUCER_IDS: &str = "producer-ids";
/// So many numbers of producers are taken at once; what is left of them when a process ends is not given.
const PRODUCER_ID_BLOCK: i64 = 1000;

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

/// The first number that no block of producers has.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct ProducerIdsRecord {
    version: u32,
    next: i64,
}

/// Whose settings change while the broker runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SettingsOwner {
    /// All brokers.
    Brokers,
    /// This one.
    Broker,
    Group(String),
    /// A subscription to metrics of clients.
    Metrics(String),
}

impl SettingsOwner {
    fn key(&self) -> String {
        match self {
            SettingsOwner::Brokers => "settings:brokers".to_owned(),
            SettingsOwner::Broker => "settings:broker".to_owned(),
            SettingsOwner::Group(name) => format!("settings:group:{name}"),
            SettingsOwner::Metrics(name) => format!("settings:metrics:{name}"),
        }
    }

    fn of(key: &str) -> Option<Self> {
        match key.strip_prefix("settings:")? {
            "brokers" => Some(SettingsOwner::Brokers),
            "broker" => Some(SettingsOwner::Broker),
            other => match other.split_once(':')? {
                ("group", name) => Some(SettingsOwner::Group(name.to_owned())),
                ("metrics", name) => Some(SettingsOwner::Metrics(name.to_owned())),
                _ => None,
            },
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct SettingsRecord {
    version: u32,
    configs: BTreeMap<String, String>,
}

/// What stands in the log.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub topics: BTreeMap<String, TopicRecord>,
    pub settings: BTreeMap<SettingsOwner, BTreeMap<String, String>>,
    next_producer_id: i64,
}

impl Stored {
    /// Takes a record in; says what is wrong with one that is none.
    fn take(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(), String> {
        let key = key.and_then(|key| std::str::from_utf8(key).ok()).ok_or("its key is no text")?;
        let malformed = |error: serde_json::Error| error.to_string();
        if key == PRODUCER_IDS {
            let ids: ProducerIdsRecord = serde_json::from_slice(value.unwrap_or_default()).map_err(malformed)?;
            self.next_producer_id = ids.next;
        } else if let Some(owner) = SettingsOwner::of(key) {
            match value {
                None => drop(self.settings.remove(&owner)),
                Some(value) => {
                    let record: SettingsRecord = serde_json::from_slice(value).map_err(malformed)?;
                    check_version(record.version)?;
                    self.settings.insert(owner, record.configs);
                }
            }
        } else {
            let name = key.strip_prefix(PREFIX).ok_or("its key is not topic:NAME")?;
            match value {
                None => drop(self.topics.remove(name)),
                Some(value) => {
                    let topic: TopicRecord = serde_json::from_slice(value).map_err(malformed)?;
                    check_version(topic.version)?;
                    self.topics.insert(name.to_owned(), topic);
                }
            }
        }
        Ok(())
    }
}

fn check_version(version: u32) -> Result<(), String> {
    if version > VERSION { Err(format!("version {version} is newer than {VERSION}")) } else { Ok(()) }
}

/// The open log.
#[derive(Debug)]
pub(crate) struct MetadataLog {
    log: PartitionLog,
    /// The numbers of producers that may be given without a write.
    producer_ids: Range<i64>,
}

impl MetadataLog {
    /// Opens the log, and gives what stands in it. All of it is read and checked, also if it was closed in good order.
    pub fn open(disk: &Disk, folder: &Path, was_clean: bool) -> Result<(Self, Stored), BrokerError> {
        let config = LogConfig { retention: None, flush_messages: Some(1), ..LogConfig::default() };
        let recovery_point = if was_clean { OpenOptions::WHOLE } else { OpenOptions::ALL_DURABLE };
        let options = OpenOptions { config, clean_shutdown: false, recovery_point, log_start: Offset::ZERO };
        let (mut log, recovered) = PartitionLog::open(disk, &folder.join(METADATA_FOLDER), options)?;
        if let Some(reason) = recovered.reason {
            tracing::warn!(bytes = recovered.cut_bytes, reason, "cut a torn tail of the log of topics");
        }
        let mut stored = Stored::default();
        let mut next = log.log_start();
        while next < log.log_end() {
            let mut chunk = log.read(next, READ_BYTES)?;
            while !chunk.is_empty() {
                let batch = Batch::parse(&chunk).map_err(tidewater_log::LogError::from)?;
                batch.check_crc().map_err(tidewater_log::LogError::from)?;
                for record in batch.records(READ_BYTES).map_err(tidewater_log::LogError::from)?.iter() {
                    let record = record.map_err(tidewater_log::LogError::from)?;
                    stored.take(record.key, record.value).map_err(|reason| BrokerError::Malformed {
                        what: format!("record {} of {METADATA_FOLDER}", record.offset),
                        reason,
                    })?;
                }
                next = batch.next_offset();
                chunk = chunk.slice(batch.len()..);
            }
        }
        if log.log_end() > Offset::ZERO {
            // What a killed process had written may not be durable yet, and the next write counts on it.
            log.begin_sync().and_then(|work| work.run())?;
        }
        let next = stored.next_producer_id;
        Ok((MetadataLog { log, producer_ids: next..next }, stored))
    }

    /// Writes a topic, or its deletion.
    pub fn write(&mut self, name: &str, topic: Option<&TopicRecord>, now: Timestamp) -> Result<(), BrokerError> {
        let value = topic.map(serde_json::to_vec).transpose();
        let value =
            value.map_err(|error| BrokerError::Malformed { what: name.to_owned(), reason: error.to_string() })?;
        self.append(&format!("{PREFIX}{name}"), value.as_deref(), now)
    }

    /// Writes what was changed of somebody's settings; nothing if there are none.
    pub fn write_settings(
        &mut self,
        owner: &SettingsOwner,
        settings: Option<&BTreeMap<String, String>>,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        let key = owner.key();
        let record = settings.map(|configs| SettingsRecord { version: VERSION, configs: configs.clone() });
        let value = record.as_ref().map(serde_json::to_vec).transpose();
        let value = value.map_err(|error| BrokerError::Malformed { what: key.clone(), reason: error.to_string() })?;
        self.append(&key, value.as_deref(), now)
    }

    /// A number that no producer has had.
    pub fn next_producer_id(&mut self, now: Timestamp) -> Result<i64, BrokerError> {
        if self.producer_ids.is_empty() {
            let first = self.producer_ids.end;
            let record = ProducerIdsRecord { version: VERSION, next: first + PRODUCER_ID_BLOCK };
            let value = serde_json::to_vec(&record)
                .map_err(|error| BrokerError::Malformed { what: PRODUCER_IDS.to_owned(), reason: error.to_string() })?;
            self.append(PRODUCER_IDS, Some(&value), now)?;
            self.producer_ids = first..record.next;
        }
        Ok(self.producer_ids.next().unwrap_or(self.producer_ids.start))
    }

    fn append(&mut self, key: &str, value: Option<&[u8]>, now: Timestamp) -> Result<(), BrokerError> {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(now, Some(key.as_bytes()), value, &Headers::EMPTY);
        let batch = builder.finish().map_err(|error| tidewater_log::LogError::Batch(error.into()))?;
        let appended = self.log.append(batch, now)?;
        if appended.sync_is_due
            && let Err(error) = self.log.begin_sync().and_then(|work| work.run())
        {
            self.log.stop(&error);
            return Err(error.into());
        }
        self.log.raise_high_watermark(appended.next);
        Ok(())
    }

    /// Where the next record goes.
    pub fn end(&self) -> Offset {
        self.log.log_end()
    }

    pub fn close(&mut self) -> Result<(), BrokerError> {
        self.log.close()?;
        Ok(())
    }
}
