//! Why a broker could not be opened.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use tidewater_log::LogError;

/// Why a data folder could not be opened or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// Another process has the folder open.
    #[error("{} is in use by another process. Stop it, or give another folder", .0.display())]
    InUse(PathBuf),
    /// The folder was written by a newer version.
    #[error("{} has layout {found}, newer than {known}, the newest that this version reads. Use a newer version", folder.display())]
    NewerLayout {
        /// The folder.
        folder: PathBuf,
        /// The layout found.
        found: u32,
        /// The newest layout known.
        known: u32,
    },
    /// Something in the folder does not belong there.
    #[error("{} does not belong into a data folder. Move it elsewhere", .0.display())]
    Foreign(PathBuf),
    /// A partition's folder is of another topic that had the same name.
    #[error("{} belongs to a topic with the id {found}, not {expected}. Move it elsewhere", folder.display())]
    OtherTopic {
        /// The folder.
        folder: PathBuf,
        /// The id in its `partition.metadata`.
        found: String,
        /// The topic's id.
        expected: String,
    },
    /// A record of the metadata or offsets log is malformed.
    #[error("{what} cannot be read: {reason}. Was the folder written by another program?")]
    Malformed {
        /// Which record.
        what: String,
        /// Why.
        reason: String,
    },
    /// A topic setting is unknown or has a value that is not allowed.
    #[error("setting {name}: {what}")]
    Setting {
        /// Its name.
        name: String,
        /// What is wrong, and what is allowed.
        what: String,
    },
    /// The disk refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A listener's address is taken, or not this machine's.
    #[error(
        "cannot listen at {listener}: {source}. {}",
        match source.kind() {
            io::ErrorKind::AddrInUse => "Is another broker running there? Give another port, or 0 for any that is free",
            _ => "Give an address of this machine, or none for all of them",
        }
    )]
    Bind {
        /// The listener.
        listener: String,
        /// What the system said.
        source: io::Error,
    },
    /// A partition's log failed.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl BrokerError {
    pub(crate) fn setting(name: &str, what: impl Into<String>) -> Self {
        BrokerError::Setting { name: name.to_owned(), what: what.into() }
    }

    /// What is told to a client: of a setting, what is wrong with it, in Apache Kafka's words.
    pub(crate) fn words(&self) -> String {
        match self {
            BrokerError::Setting { what, .. } => what.clone(),
            other => other.to_string(),
        }
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| BrokerError::Io { action, path, source }
    }
}
