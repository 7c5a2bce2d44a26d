//! What the outside world gives a program: the time, threads, randomness, files and signals.
//!
//! Every other crate takes these from here, so that a test can put its own in their place: a [`Clock`] that a test moves,
//! a [`Disk`] that is full. A lint forbids the direct calls elsewhere.

#![allow(clippy::disallowed_methods, reason = "this crate is where the outside world comes in")]

mod clock;
mod disk;
mod signal;

use std::io;
use std::thread::JoinHandle;

pub use clock::{Clock, ManualClock, SystemClock};
pub use disk::{Disk, DiskFile, FolderLock};
pub use signal::asked_to_end;

/// Starts an operating system thread under a name that shows in debuggers and panics.
///
/// # Errors
/// When the system gives no more threads.
pub fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// 128 random bits, for cluster ids, topic ids and the like; never for decisions that a simulation must repeat.
pub fn random_id() -> uuid::Uuid {
    uuid::Uuid::new_v4()
}
