//! What can go wrong with a store.

use thiserror::Error;

/// Why a store could not be opened, read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateError {
    /// The engine refused.
    #[error("store {store}: cannot {action}: {reason}")]
    Engine {
        /// The store, or the task's folder.
        store: String,
        /// What was tried.
        action: &'static str,
        /// What the engine said.
        reason: String,
    },
    /// An entry does not have the layout of its store.
    #[error(
        "store {store} holds an entry of {length} bytes that is not in its layout; was the folder written by another program? Remove it, and the store is restored from its changelog"
    )]
    Malformed {
        /// The store.
        store: String,
        /// Length of the entry.
        length: usize,
    },
    /// The folder has a newer format than this program knows.
    #[error(
        "the state folder {folder} has format {found}, newer than {known}, the newest that this version reads. Use a newer version, or remove the folder to restore from the changelogs"
    )]
    NewerFormat {
        /// The folder.
        folder: String,
        /// The format found.
        found: u32,
        /// The newest format known.
        known: u32,
    },
    /// A write to a store that this task only reads.
    #[error(
        "store {store} is global: only the processor that fills it from its topic may write to it. Write to the topic instead"
    )]
    ReadOnly {
        /// The store.
        store: String,
    },
}
