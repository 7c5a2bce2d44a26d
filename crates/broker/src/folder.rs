//! The data folder: who it belongs to, whether it was closed in good order, and how far each log is known to be whole.
//!
//! | file | what it holds |
//! |---|---|
//! | `.lock` | held by the process that has the folder open |
//! | `meta.properties` | Kafka's: version, cluster id, node id; and the layout's version |
//! | `.kafka_cleanshutdown` | there if the last process closed all logs |
//! | `recovery-point-offset-checkpoint`, `cleaner-offset-checkpoint`, `log-start-offset-checkpoint` | version, count, then a line of topic, partition and offset each |

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tidewater_env::{Disk, FolderLock, random_id};
use tidewater_types::{Offset, Partition, TopicPartition};
use uuid::Uuid;

use crate::BrokerError;

/// Version of the folder's layout.
const LAYOUT: u32 = 1;
/// The number of a node that is given none.
const FIRST_NODE: i32 = 1;
const META: &str = "meta.properties";
/// Ending of a folder that is on its way out.
const DELETED: &str = "deleted";

/// What a partition's folder is called while its topic is deleted: by the topic's id, since its name may be as long as a
/// folder's can be.
pub(crate) fn deleted_folder(data: &Path, topic: Uuid, number: Partition) -> PathBuf {
    data.join(format!("{}-{number}.{DELETED}", kafka_id(topic)))
}

const CLEAN: &str = ".kafka_cleanshutdown";
pub(crate) const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
pub(crate) const CLEANER_POINTS: &str = "cleaner-offset-checkpoint";
pub(crate) const LOG_STARTS: &str = "log-start-offset-checkpoint";
/// All of them.
pub(crate) const POINTS: [&str; 3] = [RECOVERY_POINTS, CLEANER_POINTS, LOG_STARTS];

/// An open data folder.
#[derive(Debug)]
pub(crate) struct DataFolder {
    pub disk: Disk,
    pub path: PathBuf,
    pub cluster_id: String,
    pub node_id: i32,
    /// Whether the last process closed all logs.
    pub was_clean: bool,
    /// Held while a checkpoint file is changed.
    points: Mutex<()>,
    _lock: FolderLock,
}

/// A UUID as Kafka writes it: 22 letters of URL-safe base 64.
pub(crate) fn kafka_id(id: Uuid) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(id.as_bytes())
}

impl DataFolder {
    /// Opens a folder, which is made if it is absent, for a node of that number or of whichever it has been so far: 1 for a new one.
    pub fn open(disk: Disk, path: &Path, node_id: Option<i32>) -> Result<Self, BrokerError> {
        disk.create_folder(path).map_err(BrokerError::io("create", path))?;
        let lock = disk.lock_folder(path).map_err(BrokerError::io("lock", path))?;
        let lock = lock.ok_or_else(|| BrokerError::InUse(path.to_owned()))?;
        let meta = path.join(META);
        let (cluster_id, node_id) = if disk.exists(&meta) {
            let text = disk.read(&meta).map_err(BrokerError::io("read", &meta))?;
            let text = String::from_utf8_lossy(&text).into_owned();
            let value = |name: &str| {
                text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
            };
            let layout = value("tidewater.layout").and_then(|layout| layout.parse().ok());
            match layout {
                Some(found) if found > LAYOUT => {
                    return Err(BrokerError::NewerLayout { folder: path.to_owned(), found, known: LAYOUT });
                }
                Some(_) => {}
                None => return Err(BrokerError::Foreign(meta)),
            }
            let stored: Option<i32> = value("node.id").and_then(|stored| stored.parse().ok());
            if let (Some(stored), Some(wanted)) = (stored, node_id)
                && stored != wanted
            {
                let what = format!("is {wanted}, and the data in {} is that of node {stored}", path.display());
                return Err(BrokerError::setting("node.id", what));
            }
            (value("cluster.id").unwrap_or_default(), stored.or(node_id).unwrap_or(FIRST_NODE))
        } else {
            // A process that was killed here once left this.
            let unfinished = path.join(format!("{META}.tmp"));
            if let Some(foreign) = disk
                .list(path)
                .map_err(BrokerError::io("list", path))?
                .into_iter()
                .find(|entry| !entry.ends_with(".lock") && *entry != unfinished)
            {
                return Err(BrokerError::Foreign(foreign));
            }
            let (cluster_id, directory_id) = (kafka_id(random_id()), kafka_id(random_id()));
            let node_id = node_id.unwrap_or(FIRST_NODE);
            let text = format!(
                "version=1\ncluster.id={cluster_id}\nnode.id={node_id}\ndirectory.id={directory_id}\ntidewater.layout={LAYOUT}\n"
            );
            disk.write_atomically(&meta, text.as_bytes()).map_err(BrokerError::io("write", &meta))?;
            (cluster_id, node_id)
        };
        let clean = path.join(CLEAN);
        let was_clean = disk.exists(&clean);
        let path = path.to_owned();
        Ok(DataFolder { disk, path, cluster_id, node_id, was_clean, points: Mutex::default(), _lock: lock })
    }

    /// Removes the mark of a clean close, before the first of the logs is written: a kill amid that leaves what would be damage behind
    /// the mark. It does not come back with a power cut, after which they are not as it says.
    pub fn mark_in_use(&self) -> Result<(), BrokerError> {
        if !self.was_clean {
            return Ok(());
        }
        let path = self.path.join(CLEAN);
        self.disk.remove_file(&path).map_err(BrokerError::io("remove", path))?;
        self.disk.sync_folder(&self.path).map_err(BrokerError::io("sync", &self.path))
    }

    /// The folders of topics whose deletion a crash interrupted.
    pub fn deleted(&self) -> Result<Vec<PathBuf>, BrokerError> {
        let mut all = self.disk.list(&self.path).map_err(BrokerError::io("list", &self.path))?;
        all.retain(|path| path.extension().is_some_and(|extension| extension == DELETED));
        Ok(all)
    }

    /// Says that all logs were closed in good order.
    pub fn mark_clean(&self) -> Result<(), BrokerError> {
        let path = self.path.join(CLEAN);
        self.disk.write_atomically(&path, b"{\"version\":0}").map_err(BrokerError::io("write", path))
    }

    /// Reads a checkpoint file; one that is absent or malformed is empty, since it only saves work.
    pub fn read_points(&self, name: &str) -> BTreeMap<TopicPartition, Offset> {
        let text = self.disk.read(&self.path.join(name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = |line: &str| {
            let mut parts = line.split(' ');
            let (topic, partition, offset) = (parts.next()?, parts.next()?, parts.next()?);
            Some((TopicPartition::new(topic, partition.parse().ok()?), Offset(offset.parse().ok()?)))
        };
        text.lines().skip(2).filter_map(line).collect()
    }

    /// Takes a topic out of all checkpoint files: before it is known as deleted, so that none of its name begins with its marks.
    pub fn forget_points(&self, topic: &str) -> Result<(), BrokerError> {
        for name in POINTS {
            if self.read_points(name).keys().any(|place| *place.topic == *topic) {
                self.change_points(name, |points| points.retain(|place, _| *place.topic != *topic))?;
            }
        }
        Ok(())
    }

    /// Changes a checkpoint file. Whoever also needs the topics has locked them before.
    pub fn change_points(
        &self,
        name: &str,
        change: impl FnOnce(&mut BTreeMap<TopicPartition, Offset>),
    ) -> Result<(), BrokerError> {
        let _alone = self.points.lock().unwrap_or_else(PoisonError::into_inner);
        let mut points = self.read_points(name);
        change(&mut points);
        self.write_points(name, &points)
    }

    pub fn write_points(&self, name: &str, points: &BTreeMap<TopicPartition, Offset>) -> Result<(), BrokerError> {
        let mut text = format!("0\n{}\n", points.len());
        for (place, offset) in points {
            text.push_str(&format!("{} {} {offset}\n", place.topic, place.partition));
        }
        let path = self.path.join(name);
        self.disk.write_atomically(&path, text.as_bytes()).map_err(BrokerError::io("write", path))
    }
}
