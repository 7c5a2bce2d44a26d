//! The topics of a broker: each a row of partition logs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidewater_log::{LogConfig, OpenOptions, PartitionLog};
use tidewater_types::{Offset, Partition, TopicPartition};

use crate::BrokerError;
use crate::folder::{DataFolder, kafka_id};
use crate::metadata::TopicRecord;

/// A partition, shared by all who serve it. The lock is held for an append, or to find where to read, never while reading.
#[derive(Debug)]
pub(crate) struct SharedPartition(Mutex<PartitionLog>);

impl SharedPartition {
    pub fn lock(&self) -> MutexGuard<'_, PartitionLog> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A topic with its open partitions.
#[derive(Debug)]
pub(crate) struct OpenTopic {
    pub record: TopicRecord,
    pub partitions: Vec<Arc<SharedPartition>>,
}

impl OpenTopic {
    pub fn partition(&self, partition: Partition) -> Option<&Arc<SharedPartition>> {
        self.partitions.get(usize::try_from(partition).ok()?)
    }

    /// Opens, or makes, the partitions of a topic.
    pub fn open(
        folder: &DataFolder,
        name: &str,
        record: TopicRecord,
        config: &LogConfig,
        recovery_points: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<Self, BrokerError> {
        let mut partitions = Vec::new();
        for partition in 0..record.partitions {
            let place = TopicPartition::new(name, partition);
            let path = folder.path.join(place.to_string());
            let options = OpenOptions {
                config: config.clone(),
                clean_shutdown: folder.was_clean,
                recovery_point: recovery_points.get(&place).copied().unwrap_or_default(),
            };
            let (log, recovered) = PartitionLog::open(&folder.disk, &path, options)?;
            if let Some(reason) = recovered.reason {
                tracing::warn!(%place, bytes = recovered.cut_bytes, reason, "cut a torn tail");
            }
            let metadata = path.join("partition.metadata");
            if !folder.disk.exists(&metadata) {
                let text = format!("version: 0\ntopic_id: {}", kafka_id(record.id));
                let file = folder.disk.open(&metadata).map_err(BrokerError::io("create", &metadata))?;
                file.write_at(text.as_bytes(), 0).map_err(BrokerError::io("write", &metadata))?;
            }
            partitions.push(Arc::new(SharedPartition(Mutex::new(log))));
        }
        Ok(OpenTopic { record, partitions })
    }
}

/// Whether a topic may have that name: Kafka's rule.
pub(crate) fn is_legal_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty() && name.len() <= 249 && name != "." && name != ".." && name.bytes().all(legal)
}
