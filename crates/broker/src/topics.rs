//! The topics of a broker: each a row of partition logs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidewater_log::{Appended, LogConfig, LogError, OpenOptions, PartitionLog};
use tidewater_types::{Offset, Partition, TopicPartition};
use tokio::runtime::RuntimeFlavor;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::BrokerError;
use crate::folder::{DataFolder, kafka_id};
use crate::groups::OFFSETS_TOPIC;
use crate::metadata::TopicRecord;
use crate::transactions::TRANSACTIONS_TOPIC;

/// A partition, shared by all who serve it. The lock is held for an append, or to find where to read, never while reading.
#[derive(Debug)]
pub(crate) struct SharedPartition {
    log: Mutex<PartitionLog>,
    /// Everything before was made durable. Whoever is at it holds this, and takes along what others append meanwhile.
    durable: Mutex<Offset>,
    /// Those who wait for more records.
    watching: Mutex<Vec<Arc<Notify>>>,
}

impl SharedPartition {
    fn new(log: PartitionLog) -> Self {
        SharedPartition { log: Mutex::new(log), durable: Mutex::default(), watching: Mutex::new(Vec::new()) }
    }

    pub fn lock(&self) -> MutexGuard<'_, PartitionLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends something, makes it durable if that is due, and lets those see it who read and wait.
    pub fn append(
        &self,
        append: impl FnOnce(&mut PartitionLog) -> Result<Appended, LogError>,
    ) -> Result<Appended, LogError> {
        let mut log = self.lock();
        let appended = append(&mut log)?;
        if appended.sync_is_due {
            drop(log);
            while_others_go_on(|| self.make_durable(appended.next))?;
            log = self.lock();
        }
        log.raise_high_watermark(appended.next);
        drop(log);
        self.wake();
        Ok(appended)
    }

    /// Waits until everything before `next` is durable. The log is not locked meanwhile, so that one sync serves all who append during the
    /// one before.
    fn make_durable(&self, next: Offset) -> Result<(), LogError> {
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if *durable >= next {
            return Ok(());
        }
        // Whoever came before may have failed, and then nothing is known of what is durable.
        let work = self.lock().begin_sync()?;
        if let Err(error) = work.run() {
            self.lock().stop(&error);
            return Err(error);
        }
        *durable = work.end;
        Ok(())
    }

    /// Makes closed segments durable; gives the offset up to which the log is, if that is news.
    pub fn sync_closed(&self) -> Result<Option<Offset>, LogError> {
        // Held to the end: whoever has to wait for one of them waits.
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(work) = self.lock().begin_sync_of_closed()? else { return Ok(None) };
        work.run().inspect_err(|error| self.lock().stop(error))?;
        *durable = work.end.max(*durable);
        drop(durable);
        work.run_indexes().inspect_err(|_| self.lock().put_back(&work))?;
        Ok(Some(work.end))
    }

    /// Has `wake` notified whenever the high watermark rises.
    pub fn watch(&self, wake: &Arc<Notify>) {
        self.watching().push(wake.clone());
    }

    pub fn unwatch(&self, wake: &Arc<Notify>) {
        self.watching().retain(|other| !Arc::ptr_eq(other, wake));
    }

    /// Tells those who wait that there is more.
    pub fn wake(&self) {
        self.watching().iter().for_each(|wake| wake.notify_one());
    }

    fn watching(&self) -> MutexGuard<'_, Vec<Arc<Notify>>> {
        self.watching.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the disk. On a thread of the network, others serve its connections meanwhile.
fn while_others_go_on<T>(wait: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
        _ => wait(),
    }
}

/// What checkpoint files know of partitions; nothing of new ones.
#[derive(Debug, Default)]
pub(crate) struct KnownPoints {
    /// Everything before is on disk whole.
    pub recovery: BTreeMap<TopicPartition, Offset>,
    /// Everything before was deleted.
    pub starts: BTreeMap<TopicPartition, Offset>,
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
        points: &KnownPoints,
    ) -> Result<Self, BrokerError> {
        let mut topic = OpenTopic { partitions: Vec::new(), record };
        for number in 0..topic.record.partitions {
            topic.open_partition(folder, name, number, config, points)?;
        }
        Ok(topic)
    }

    /// Opens, or makes, the next partition.
    pub fn open_partition(
        &mut self,
        folder: &DataFolder,
        name: &str,
        number: Partition,
        config: &LogConfig,
        points: &KnownPoints,
    ) -> Result<(), BrokerError> {
        let place = TopicPartition::new(name, number);
        let path = folder.path.join(place.to_string());
        check_topic_id(folder, &path, self.record.id)?;
        let options = OpenOptions {
            config: config.clone(),
            clean_shutdown: folder.was_clean,
            recovery_point: points.recovery.get(&place).copied().unwrap_or_default(),
            log_start: points.starts.get(&place).copied().unwrap_or_default(),
        };
        let (log, recovered) = PartitionLog::open(&folder.disk, &path, options)?;
        if let Some(reason) = recovered.reason {
            tracing::warn!(%place, bytes = recovered.cut_bytes, reason, "cut what a crash had torn, and all behind it");
        }
        let metadata = path.join(PARTITION_METADATA);
        if !folder.disk.exists(&metadata) {
            let text = format!("version: 0\n{TOPIC_ID}{}", kafka_id(self.record.id));
            let file = folder.disk.open(&metadata).map_err(BrokerError::io("create", &metadata))?;
            file.write_at(text.as_bytes(), 0).map_err(BrokerError::io("write", &metadata))?;
        }
        self.partitions.push(Arc::new(SharedPartition::new(log)));
        Ok(())
    }
}

/// Names the topic that a partition's folder belongs to.
const PARTITION_METADATA: &str = "partition.metadata";
const TOPIC_ID: &str = "topic_id: ";

/// A folder of another topic of that name, as one copied from elsewhere, is not taken for this one's.
fn check_topic_id(folder: &DataFolder, path: &Path, id: Uuid) -> Result<(), BrokerError> {
    let metadata = path.join(PARTITION_METADATA);
    if !folder.disk.exists(&metadata) {
        return Ok(());
    }
    let text = folder.disk.read(&metadata).map_err(BrokerError::io("read", &metadata))?;
    let text = String::from_utf8_lossy(&text).into_owned();
    match text.lines().find_map(|line| line.strip_prefix(TOPIC_ID)) {
        Some(found) if found != kafka_id(id) => {
            let (found, expected) = (found.to_owned(), kafka_id(id));
            Err(BrokerError::OtherTopic { folder: path.to_owned(), found, expected })
        }
        // What a process that was killed here left is written anew.
        None => folder.disk.remove_file(&metadata).map_err(BrokerError::io("remove", metadata)),
        Some(_) => Ok(()),
    }
}

/// Whether a topic is the broker's own.
pub(crate) fn is_internal(name: &str) -> bool {
    name == OFFSETS_TOPIC || name == TRANSACTIONS_TOPIC
}

/// Bytes of the longest name that a topic can have.
pub(crate) const NAME_LIMIT: usize = 249;

/// Whether a topic may have that name: Kafka's rule.
pub(crate) fn is_legal_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty() && name.len() <= NAME_LIMIT && name != "." && name != ".." && name.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidewater_env::Disk;
    use tidewater_protocol::{BatchBuilder, Compression};
    use tidewater_types::{Headers, Timestamp};

    use super::*;

    fn batch() -> Bytes {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(Timestamp(1), None, Some(b"v"), &Headers::EMPTY);
        builder.finish().unwrap()
    }

    fn partition(disk: &Disk, folder: &Path) -> SharedPartition {
        let config = LogConfig { flush_messages: Some(1), ..LogConfig::default() };
        let options =
            OpenOptions { config, clean_shutdown: false, recovery_point: Offset::ZERO, log_start: Offset::ZERO };
        SharedPartition::new(PartitionLog::open(disk, folder, options).unwrap().0)
    }

    #[test]
    fn one_sync_serves_all_who_have_appended_before_it() {
        let (folder, disk) = (tempfile::tempdir().unwrap(), Disk::new());
        let partition = partition(&disk, folder.path());
        let mut nexts = Vec::new();
        for _ in 0..3 {
            let appended = partition.lock().append(batch(), Timestamp(1)).unwrap();
            assert!(appended.sync_is_due);
            nexts.push(appended.next);
        }
        let before = disk.syncs();
        for next in nexts {
            partition.make_durable(next).unwrap();
            assert_eq!(disk.syncs() - before, 1);
        }
        partition.append(|log| log.append(batch(), Timestamp(1))).unwrap();
        assert_eq!((disk.syncs() - before, partition.lock().high_watermark()), (2, Offset(4)));
    }

    #[test]
    fn who_waits_for_a_sync_that_fails_is_not_told_that_it_did_not() {
        let (folder, disk) = (tempfile::tempdir().unwrap(), Disk::new());
        let partition = partition(&disk, folder.path());
        let appended = partition.lock().append(batch(), Timestamp(1)).unwrap();
        // As the one before does, when the disk refuses.
        partition.lock().stop(&LogError::Interrupted);
        assert!(matches!(partition.make_durable(appended.next), Err(LogError::Stopped { .. })));
    }

    #[test]
    fn many_who_append_at_once_are_all_seen_and_durable() {
        let (folder, disk) = (tempfile::tempdir().unwrap(), Disk::new());
        let partition = partition(&disk, folder.path());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        let appended = partition.append(|log| log.append(batch(), Timestamp(1))).unwrap();
                        assert!(partition.lock().high_watermark() >= appended.next);
                        assert!(*partition.durable.lock().unwrap() >= appended.next);
                    }
                });
            }
        });
        assert_eq!(partition.lock().high_watermark(), Offset(100));
    }
}
