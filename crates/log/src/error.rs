//! What can go wrong with one partition's log.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use tidewater_protocol::BatchError;
use tidewater_types::Offset;

use crate::ProducerError;

/// Why a log could not be opened, written or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogError {
    /// The disk or the file system refused. A log that could not write takes no more appends until it is opened again, unless there was
    /// only no room: then it does once there is.
    #[error("cannot {action} {path}: {source}. {remedy}", path = path.display(), remedy = remedy(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier write failed, and the log takes no more appends.
    #[error("the log in {path} stopped after a write failed: {reason}. Make room or mend the disk, then start again", path = path.display())]
    Stopped {
        /// The partition's folder.
        path: PathBuf,
        /// The first failure.
        reason: String,
    },
    /// The bytes are no valid batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A compaction was to stop before it was done.
    #[error("the compaction was interrupted; it begins anew another time")]
    Interrupted,
    /// A batch is larger than the topic takes.
    #[error("a batch of {size} bytes is larger than max.message.bytes = {limit}")]
    BatchTooLarge {
        /// Its size in bytes.
        size: usize,
        /// The topic's limit.
        limit: usize,
    },
    /// A record has a null key in a compacted topic.
    #[error("a record without a key cannot go to a compacted topic")]
    KeysRequired {
        /// Where they stand in the batch, the first at 0.
        records: Vec<i32>,
    },
    /// An idempotent producer's batch does not follow its last one.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// The offset is not in this log.
    #[error("offset {offset} is not in the log, which holds {start} to {end}")]
    OffsetOutOfRange {
        /// The offset asked for.
        offset: Offset,
        /// The first offset.
        start: Offset,
        /// The offset behind the last.
        end: Offset,
    },
    /// A stored segment is damaged before the recovery point, where no crash can have cut it.
    #[error("segment {path} is damaged at byte {position}: {source}. Restore the file from a copy, or remove the partition", path = path.display())]
    Damaged {
        /// The segment's file.
        path: PathBuf,
        /// Where in the file.
        position: u64,
        /// What is wrong there.
        source: BatchError,
    },
    /// A file does not belong here.
    #[error("{path} is not a file of a log. Move it out of the data folder", path = path.display())]
    ForeignFile {
        /// The file.
        path: PathBuf,
    },
}

/// The system's number for too many open files in this process.
const TOO_MANY_OPEN_FILES: i32 = 24;

fn remedy(error: &io::Error) -> &'static str {
    match (error.kind(), error.raw_os_error()) {
        (_, Some(TOO_MANY_OPEN_FILES)) => "Raise the limit of open files (ulimit -n), then start again",
        (io::ErrorKind::NotFound, _) => "Check the folder's name, then start again",
        (io::ErrorKind::PermissionDenied, _) => "Check whose the folder is, then start again",
        (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, _) => "Make room on the disk",
        _ => "Check the disk's free space and health, then start again",
    }
}

impl LogError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> LogError {
        let path = path.into();
        move |source| LogError::Io { action, path, source }
    }

    /// Whether a write found no room. Nothing is lost by that, but if it was to make something durable: then it is not known what is.
    pub(crate) fn is_full_disk(&self) -> bool {
        let is_full =
            |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        matches!(self, LogError::Io { action, source, .. } if *action != "sync" && is_full(source))
    }
}
