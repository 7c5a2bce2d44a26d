//! Engines in memory that one task writes and others read: global stores.
//!
//! Writes wait in the writing store until its commit puts them into the shared map, under a lock that readers share.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use tidewater_types::Offset;

use crate::backend::StoreWrites;
use crate::{Backend, Committed, Engine, KeyRange, NewestTime, StateError, StoreSpec, Visit};

type Shared = Arc<RwLock<BTreeMap<Vec<u8>, Vec<u8>>>>;

/// Shared engines in memory, beside those of another backend for stores that last.
pub struct SharedBackend {
    lasting: Option<Box<dyn Backend>>,
    in_memory: BTreeMap<String, Shared>,
}

impl SharedBackend {
    /// Stores in memory are shared here, the others by `lasting`; without it all are in memory.
    pub fn new(lasting: Option<Box<dyn Backend>>) -> Self {
        SharedBackend { lasting, in_memory: BTreeMap::new() }
    }
}

impl Backend for SharedBackend {
    fn open(&mut self, spec: &StoreSpec) -> Result<Engine, StateError> {
        if let Some(lasting) = self.lasting.as_mut().filter(|_| !spec.in_memory) {
            return lasting.open(spec);
        }
        let shared = Shared::default();
        self.in_memory.insert(spec.name.clone(), shared.clone());
        Ok(Engine::Committed(Box::new(SharedMap(shared))))
    }

    fn commit(&mut self, writes: Vec<StoreWrites<'_>>, offsets: &BTreeMap<String, Offset>) -> Result<(), StateError> {
        let (in_memory, lasting): (Vec<_>, Vec<_>) =
            writes.into_iter().partition(|writes| self.in_memory.contains_key(writes.store));
        for writes in in_memory {
            let mut map = self.in_memory[writes.store].write().unwrap_or_else(PoisonError::into_inner);
            for (key, value) in writes.entries {
                match value {
                    Some(value) => map.insert(key.to_vec(), value.to_vec()),
                    None => map.remove(key),
                };
            }
        }
        match &mut self.lasting {
            Some(backend) => backend.commit(lasting, offsets),
            None => Ok(()),
        }
    }

    fn offset(&self, store: &str) -> Result<Option<Offset>, StateError> {
        self.lasting.as_ref().map_or(Ok(None), |backend| backend.offset(store))
    }

    fn reader(&self, store: &str) -> Result<Arc<dyn Committed>, StateError> {
        match (self.in_memory.get(store), &self.lasting) {
            (Some(shared), _) => Ok(Arc::new(SharedMap(shared.clone()))),
            (None, Some(backend)) => backend.reader(store),
            (None, None) => Err(StateError::Engine {
                store: store.to_owned(),
                action: "share",
                reason: "it was not opened".to_owned(),
            }),
        }
    }

    fn flush(&mut self) -> Result<(), StateError> {
        self.lasting.as_mut().map_or(Ok(()), |backend| backend.flush())
    }

    fn close(&mut self) -> Result<(), StateError> {
        self.lasting.as_mut().map_or(Ok(()), |backend| backend.close())
    }
}

struct SharedMap(Shared);

impl Committed for SharedMap {
    fn get(&self, key: &[u8], read: &mut dyn FnMut(&[u8])) -> Result<(), StateError> {
        if let Some(value) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(key) {
            read(value);
        }
        Ok(())
    }

    fn scan(&self, range: &KeyRange, reverse: bool, visit: Visit<'_>) -> Result<(), StateError> {
        if range.is_empty() {
            return Ok(());
        }
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let to = range.to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut entries = map.range::<[u8], _>((Bound::Included(range.from.as_slice()), to));
        let mut visit = |(key, value): (&Vec<u8>, &Vec<u8>)| visit(key, value).is_continue();
        let _ = if reverse { entries.rev().all(&mut visit) } else { entries.all(&mut visit) };
        Ok(())
    }

    fn approximate_count(&self) -> Result<u64, StateError> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).len() as u64)
    }

    fn newest_time(&self) -> NewestTime {
        NewestTime::Unknown
    }
}
