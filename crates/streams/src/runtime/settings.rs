//! How an application is run.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidewater_env::{Clock, SystemClock};

use crate::task::Handlers;

/// Memory of all state stores of a process together.
#[derive(Clone, Debug)]
pub struct StateMemory {
    /// For rows that were read or written lately: cheaper to find than in RocksDB.
    #[cfg_attr(not(feature = "rocksdb"), allow(dead_code))]
    pub(crate) row_bytes: usize,
    #[cfg(feature = "rocksdb")]
    pub(crate) rocks: tidewater_state::RocksMemory,
}

impl StateMemory {
    /// A budget in bytes: half for rows in memory, the rest for RocksDB's block cache and write buffers.
    pub fn new(bytes: usize) -> Self {
        let row_bytes = bytes / 2;
        StateMemory {
            row_bytes,
            #[cfg(feature = "rocksdb")]
            rocks: tidewater_state::RocksMemory::new(bytes - row_bytes),
        }
    }
}

/// Settings of an application; each names Kafka's setting where there is one.
#[derive(Clone)]
pub struct AppSettings {
    /// `application.id`: the group, and the beginning of internal topics' names.
    pub application_id: String,
    /// `num.stream.threads`. Default 1.
    pub threads: usize,
    /// `commit.interval.ms`. Default 100 ms.
    pub commit_interval: Duration,
    /// `repartition.purge.interval.ms`: how often records of repartition topics that are worked through are deleted. Default
    /// 30 s.
    pub purge_interval: Duration,
    /// `statestore.cache.max.bytes`: record caches of all threads together. Default 10 MiB.
    pub cache_bytes: usize,
    /// `statestore.uncommitted.max.bytes`: a task with more uncommitted state commits early. Default 64 MiB.
    pub uncommitted_bytes: usize,
    /// `state.dir`: folders of persistent stores. `None` keeps all state in memory.
    pub state_folder: Option<PathBuf>,
    /// Memory of persistent stores. Default 192 MiB.
    pub state_memory: StateMemory,
    /// What happens to records that fail. Default: the application stops.
    pub handlers: Handlers,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl AppSettings {
    /// The defaults, for an application of this id.
    pub fn new(application_id: impl Into<String>) -> Self {
        AppSettings {
            application_id: application_id.into(),
            threads: 1,
            commit_interval: Duration::from_millis(100),
            purge_interval: Duration::from_secs(30),
            cache_bytes: 10 << 20,
            uncommitted_bytes: 64 << 20,
            state_folder: None,
            state_memory: StateMemory::new(192 << 20),
            handlers: Handlers::default(),
            clock: Arc::new(SystemClock::new()),
        }
    }
}
