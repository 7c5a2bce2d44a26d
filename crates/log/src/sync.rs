//! Making a log durable, while others append to it.

use std::path::PathBuf;
use std::sync::Arc;

use tidewater_env::{Disk, DiskFile};
use tidewater_types::Offset;

use crate::segment::Segment;
use crate::{LogError, PartitionLog};

/// What is made durable without the log, so that others append meanwhile; see [`PartitionLog::begin_sync`].
#[derive(Debug)]
pub struct SyncWork {
    logs: Vec<(Arc<DiskFile>, PathBuf)>,
    /// Closed segments whose indexes are meant, too.
    closed: Vec<Arc<Segment>>,
    /// The log's folder, if there are new files in it.
    folder: Option<(Disk, PathBuf)>,
    /// Everything before is durable when it is done.
    pub end: Offset,
}

impl SyncWork {
    /// Does it for the records.
    ///
    /// # Errors
    /// When the disk refuses. What is durable then is not known, so the log has to be stopped: [`PartitionLog::stop`].
    pub fn run(&self) -> Result<(), LogError> {
        for (log, path) in &self.logs {
            log.sync().map_err(LogError::io("sync", path))?;
        }
        let Some((disk, folder)) = &self.folder else { return Ok(()) };
        for folder in [Some(folder.as_path()), folder.parent()].into_iter().flatten() {
            disk.sync_folder(folder).map_err(LogError::io("sync", folder))?;
        }
        Ok(())
    }

    /// Does it for the indexes of closed segments.
    ///
    /// # Errors
    /// When the disk refuses: then they may have to be made anew, and no recovery point must be behind them; see
    /// [`PartitionLog::put_back`].
    pub fn run_indexes(&self) -> Result<(), LogError> {
        self.closed.iter().try_for_each(|segment| segment.sync_indexes())
    }
}

impl PartitionLog {
    /// Takes what was appended and is not durable yet, to be made so: the records, from which the indexes can be made anew, and the
    /// names of their files. Several appends have one sync.
    ///
    /// # Errors
    /// When the log was stopped: what it has may be lost.
    pub fn begin_sync(&mut self) -> Result<SyncWork, LogError> {
        self.check_in_service()?;
        self.records_since_sync = 0;
        Ok(self.sync_work())
    }

    /// The same of closed segments alone, their indexes too: what is before [`SyncWork::end`] need not be looked at after a crash. `None`
    /// if all are durable.
    ///
    /// # Errors
    /// As [`PartitionLog::begin_sync`].
    pub fn begin_sync_of_closed(&mut self) -> Result<Option<SyncWork>, LogError> {
        self.check_in_service()?;
        if self.unsynced == 0 {
            return Ok(None);
        }
        let first = self.closed.len().saturating_sub(std::mem::take(&mut self.unsynced));
        let closed = self.closed[first..].to_vec();
        let logs = closed.iter().map(|segment| (segment.log.clone(), segment.files.log())).collect();
        self.unsynced_logs = 0;
        Ok(Some(SyncWork { logs, closed, folder: self.folder_to_sync(), end: self.active.base }))
    }

    /// Notes that the indexes of closed segments could not be made durable, so that it is tried again.
    pub fn put_back(&mut self, work: &SyncWork) {
        let first = work.closed.first();
        let at = self.closed.iter().position(|segment| first.is_some_and(|first| segment.base >= first.base));
        self.unsynced = at.map_or(self.unsynced, |at| self.closed.len() - at);
    }

    fn sync_work(&mut self) -> SyncWork {
        let first = self.closed.len().saturating_sub(std::mem::take(&mut self.unsynced_logs));
        let closed = self.closed[first..].iter().map(|segment| &**segment);
        let logs = closed.chain([&self.active]).map(|segment| (segment.log.clone(), segment.files.log()));
        SyncWork { logs: logs.collect(), closed: Vec::new(), folder: self.folder_to_sync(), end: self.log_end() }
    }

    /// The folder, if there are files in it whose names are not durable.
    fn folder_to_sync(&mut self) -> Option<(Disk, PathBuf)> {
        let is_new = !std::mem::replace(&mut self.folder_is_synced, true);
        is_new.then(|| (self.disk.clone(), self.folder.clone()))
    }

    /// Makes everything durable, the indexes too.
    pub(crate) fn sync(&mut self) -> Result<(), LogError> {
        self.sync_work().run()?;
        let first = self.closed.len().saturating_sub(std::mem::take(&mut self.unsynced));
        self.closed[first..].iter().try_for_each(|segment| segment.sync_indexes())?;
        self.active.flush_indexes()?;
        self.active.sync_indexes()
    }
}
