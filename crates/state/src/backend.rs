//! Where the engines of one task come from, and how their writes are made to last together.

use std::collections::BTreeMap;

use tidewater_types::Offset;

use crate::{Engine, MemoryEngine, StateError, StoreSpec};

/// Writes of one store that a commit makes last: the store's name, then keys with values or deletions.
pub type StoreWrites = (String, Vec<(Vec<u8>, Option<Vec<u8>>)>);

/// The engines of one task.
pub trait Backend: Send {
    /// Opens the engine of a store.
    fn open(&mut self, spec: &StoreSpec) -> Result<Box<dyn Engine>, StateError>;

    /// Makes writes last together with the changelog offsets up to which they reach, all or nothing.
    fn commit(&mut self, writes: Vec<StoreWrites>, offsets: &BTreeMap<String, Offset>) -> Result<(), StateError>;

    /// The changelog offset that a store's lasting contents reach; `None` if it has none and must be restored from the start.
    fn offset(&self, store: &str) -> Result<Option<Offset>, StateError>;

    /// Closes the engines in good order.
    fn close(&mut self) -> Result<(), StateError>;
}

/// Engines in memory: nothing lasts.
#[derive(Debug, Default)]
pub struct MemoryBackend;

impl Backend for MemoryBackend {
    fn open(&mut self, _: &StoreSpec) -> Result<Box<dyn Engine>, StateError> {
        Ok(Box::new(MemoryEngine::default()))
    }

    fn commit(&mut self, _: Vec<StoreWrites>, _: &BTreeMap<String, Offset>) -> Result<(), StateError> {
        Ok(())
    }

    fn offset(&self, _: &str) -> Result<Option<Offset>, StateError> {
        Ok(None)
    }

    fn close(&mut self) -> Result<(), StateError> {
        Ok(())
    }
}
