//! Running a topology: topics are made, tasks are dealt out to stream threads, and these work until they are told to stop.
//!
//! A commit of a task goes in four steps, so that local state never runs ahead of the changelog: record caches are flushed
//! downstream and into the changelog; sink and changelog records are acknowledged; offsets are committed; then the stores'
//! writes last, with the changelog offsets that they reach. A crash between any two of them repeats records, and loses none.

mod app;
mod collector;
mod global;
mod offsets;
mod plan;
mod properties;
mod restore;
mod settings;
mod state;
mod thread;

pub use app::{App, StartError};
pub use properties::SettingError;
pub use settings::{AppSettings, StateMemory};
