//! Where the engines of one task come from, and how their writes are made to last together.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewater_types::Offset;

use crate::{Committed, Engine, StateError, StoreSpec};

/// What a commit makes last of one store.
#[derive(Debug, Default)]
pub struct StoreWrites<'a> {
    /// The store's name.
    pub store: &'a str,
    /// Keys with values or deletions, in the order of the keys.
    pub entries: Vec<(&'a [u8], Option<&'a [u8]>)>,
    /// For stores with a retention, the newest time that they were given.
    pub newest_time: Option<i64>,
    /// For stores with a retention, the time before which entries may be removed.
    pub dead_before: Option<i64>,
}

/// The engines of one task.
pub trait Backend: Send {
    /// Opens the engine of a store.
    fn open(&mut self, spec: &StoreSpec) -> Result<Engine, StateError>;

    /// Makes writes last together with the changelog offsets up to which they reach, all or nothing.
    fn commit(&mut self, writes: Vec<StoreWrites<'_>>, offsets: &BTreeMap<String, Offset>) -> Result<(), StateError>;

    /// The changelog offset that a store's lasting contents reach; `None` if it has none and must be restored from the start.
    fn offset(&self, store: &str) -> Result<Option<Offset>, StateError>;

    /// What other tasks read of a store of this one: all that is committed, as soon as it is.
    fn reader(&self, store: &str) -> Result<Arc<dyn Committed>, StateError>;

    /// Has what was committed outlast a crash of the process.
    fn flush(&mut self) -> Result<(), StateError>;

    /// Closes the engines in good order.
    fn close(&mut self) -> Result<(), StateError>;
}

/// Stores are in memory: nothing lasts.
#[derive(Debug, Default)]
pub struct MemoryBackend;

impl Backend for MemoryBackend {
    fn open(&mut self, _: &StoreSpec) -> Result<Engine, StateError> {
        Ok(Engine::Memory)
    }

    fn commit(&mut self, _: Vec<StoreWrites<'_>>, _: &BTreeMap<String, Offset>) -> Result<(), StateError> {
        Ok(())
    }

    fn offset(&self, _: &str) -> Result<Option<Offset>, StateError> {
        Ok(None)
    }

    fn reader(&self, store: &str) -> Result<Arc<dyn Committed>, StateError> {
        Err(StateError::Engine {
            store: store.to_owned(),
            action: "share",
            reason: "it belongs to one task alone".to_owned(),
        })
    }

    fn flush(&mut self) -> Result<(), StateError> {
        Ok(())
    }

    fn close(&mut self) -> Result<(), StateError> {
        Ok(())
    }
}
