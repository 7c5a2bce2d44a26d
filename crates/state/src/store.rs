//! A store: an engine with a record cache before it and a changelog beside it. What is particular to windows and sessions
//! stands in their files.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use tidewater_types::{Headers, RecordContext, Timestamp};

use crate::cache::RecordCache;
use crate::window::Expiry;
use crate::{DirtyEntry, Engine, KeyRange, StateError, StoreKind, StoreSpec};

/// Takes the changes of the stores of one task, in order.
pub trait ChangelogSink {
    /// Writes a change of the store with this number: the key and value as they stand in Kafka Streams' changelog.
    fn log(&mut self, store: usize, key: &[u8], value: Option<&[u8]>, timestamp: Timestamp, headers: &Headers);
}

/// A store of one task, in bytes.
pub struct Store {
    spec: StoreSpec,
    number: usize,
    engine: Box<dyn Engine>,
    cache: Option<RecordCache>,
    pub(crate) expiry: Option<Expiry>,
    pub(crate) next_sequence: u32,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("spec", &self.spec).field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl Store {
    /// A store over an engine. `number` is what the changelog sink knows it by; `cache_bytes` counts if the spec asks for
    /// a cache.
    pub fn new(spec: StoreSpec, number: usize, engine: Box<dyn Engine>, cache_bytes: usize) -> Self {
        let sorted = !matches!(spec.kind, StoreKind::KeyValue { .. });
        let cache = (spec.cached && cache_bytes > 0).then(|| RecordCache::new(cache_bytes, sorted));
        let expiry = spec.retention().map(|retention| Expiry::new(retention, spec.in_memory));
        Store { spec, number, engine, cache, expiry, next_sequence: 0 }
    }

    /// What the store is.
    pub fn spec(&self) -> &StoreSpec {
        &self.spec
    }

    /// Whether updates wait in a record cache for the next flush.
    pub fn is_cached(&self) -> bool {
        self.cache.is_some()
    }

    /// Reads the value of a key in the store's own layout.
    pub fn get<R>(&mut self, key: &[u8], read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, StateError> {
        let is_live = self.is_live(key);
        let Some(cache) = &mut self.cache else {
            return if is_live { engine_get(&*self.engine, key, read) } else { Ok(None) };
        };
        if let Some(cached) = cache.get(key) {
            return Ok(cached.map(read));
        }
        let mut found = None;
        if is_live {
            self.engine.get(key, &mut |value| found = Some(value.to_vec()))?;
        }
        cache.remember(key, found.as_deref());
        Ok(found.as_deref().map(read))
    }

    /// Reads past the record cache.
    pub fn get_flushed<R>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, StateError> {
        if self.is_live(key) { engine_get(&*self.engine, key, read) } else { Ok(None) }
    }

    /// Puts a value in the store's own layout, or deletes it: into the cache if there is one, else into changelog and engine.
    ///
    /// Says whether the entry was kept; a window or session past retention is not, though its change is logged.
    pub fn put(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        context: &RecordContext,
        changelog: &mut dyn ChangelogSink,
    ) -> Result<bool, StateError> {
        match &mut self.cache {
            Some(cache) => {
                cache.put(key, value, context.clone());
                Ok(true)
            }
            None => self.write_through(key, value, context, changelog),
        }
    }

    /// Writes to changelog and engine: what [`Store::put`] does without a cache, and a flush does with one.
    pub fn write_through(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        context: &RecordContext,
        changelog: &mut dyn ChangelogSink,
    ) -> Result<bool, StateError> {
        if self.spec.is_logged() {
            let (timestamp, plain) = self.split(value, context.timestamp)?;
            let headers = match self.spec.kind {
                StoreKind::Window { duplicates: true, .. } => &context.headers,
                _ => &Headers::EMPTY,
            };
            changelog.log(self.number, key, plain, timestamp, headers);
        }
        self.write_engine(key, value)
    }

    /// Puts a record of the changelog into the engine, as restoring does.
    pub fn restore(&mut self, key: &[u8], value: Option<&[u8]>, timestamp: Timestamp) -> Result<(), StateError> {
        let mut local = Vec::new();
        let value = match value {
            Some(value) if self.spec.is_timestamped() => {
                local.extend_from_slice(&timestamp.0.to_be_bytes());
                local.extend_from_slice(value);
                Some(local.as_slice())
            }
            other => other,
        };
        if let StoreKind::Window { duplicates: true, .. } = self.spec.kind
            && let Some((_, _, sequence)) = crate::split_window_key(key)
        {
            self.next_sequence = self.next_sequence.max(sequence);
        }
        self.write_engine(key, value).map(drop)
    }

    fn write_engine(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<bool, StateError> {
        if value.is_none() && matches!(self.spec.kind, StoreKind::Window { duplicates: true, .. }) {
            // Deletes nothing; in Kafka Streams it moves the time of a store in memory, not that of a persistent one.
            return if self.spec.in_memory { self.note_time(key).map(|_| true) } else { Ok(true) };
        }
        if !self.note_time(key)? {
            return Ok(false);
        }
        self.engine.put(key, value)?;
        Ok(true)
    }

    /// Timestamp and plain value of a value in the store's layout.
    fn split<'a>(
        &self,
        value: Option<&'a [u8]>,
        otherwise: Timestamp,
    ) -> Result<(Timestamp, Option<&'a [u8]>), StateError> {
        match value {
            Some(value) if self.spec.is_timestamped() => {
                let (timestamp, plain) = value.split_first_chunk::<8>().ok_or_else(|| self.malformed(value))?;
                Ok((Timestamp(i64::from_be_bytes(*timestamp)), Some(plain)))
            }
            other => Ok((otherwise, other)),
        }
    }

    pub(crate) fn malformed(&self, bytes: &[u8]) -> StateError {
        StateError::Malformed { store: self.spec.name.clone(), length: bytes.len() }
    }

    /// The entries of a range in the order of their keys' bytes, or backwards, with what waits in the cache.
    pub fn scan(&self, range: &KeyRange, reverse: bool) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StateError> {
        self.scan_live(range, reverse, |_| true)
    }

    /// A scan that leaves out entries of the engine whose keys are not live. What the record cache still has is found.
    pub(crate) fn scan_live(
        &self,
        range: &KeyRange,
        reverse: bool,
        is_live: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StateError> {
        let cached = self.cache.as_ref().map(|cache| cache.range(range)).unwrap_or_default();
        if cached.is_empty() {
            let mut found = Vec::new();
            self.engine.scan(range, reverse, &mut |key, value| {
                if is_live(key) {
                    found.push((key.to_vec(), value.to_vec()));
                }
                ControlFlow::Continue(())
            })?;
            return Ok(found);
        }
        let mut merged: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        self.engine.scan(range, false, &mut |key, value| {
            if is_live(key) {
                merged.insert(key.to_vec(), value.to_vec());
            }
            ControlFlow::Continue(())
        })?;
        for (key, value) in cached {
            match value {
                Some(value) => merged.insert(key.to_vec(), value.to_vec()),
                None => merged.remove(key),
            };
        }
        let found = merged.into_iter();
        Ok(if reverse { found.rev().collect() } else { found.collect() })
    }

    /// Visits the entries of a range without collecting them, as long as nothing waits in a cache: for stores without one.
    pub fn visit(&self, range: &KeyRange, visit: crate::Visit<'_>) -> Result<(), StateError> {
        debug_assert!(self.cache.is_none(), "a cached store must be scanned");
        self.engine.scan(range, false, visit)
    }

    /// Takes the updates that wait in the cache, in order. Each is to be written through and sent on.
    pub fn take_dirty(&mut self) -> Vec<DirtyEntry> {
        self.cache.as_mut().map(RecordCache::take_dirty).unwrap_or_default()
    }

    /// Whether the cache wants to be flushed before the next commit.
    pub fn is_over_budget(&self) -> bool {
        self.cache.as_ref().is_some_and(RecordCache::is_over_budget)
    }

    /// The engine's writes since the last commit; see [`Engine::take_uncommitted`].
    pub fn take_uncommitted(&mut self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        self.engine.take_uncommitted()
    }

    /// Bytes that wait for a commit.
    pub fn uncommitted_bytes(&self) -> usize {
        self.engine.uncommitted_bytes()
    }

    /// Drops what was not committed, cache included.
    pub fn roll_back(&mut self) {
        if let Some(cache) = &mut self.cache {
            cache.clear();
        }
        self.engine.roll_back();
    }

    pub(crate) fn engine(&mut self) -> &mut dyn Engine {
        &mut *self.engine
    }
}

fn engine_get<R>(engine: &dyn Engine, key: &[u8], read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, StateError> {
    let mut read = Some(read);
    let mut result = None;
    engine.get(key, &mut |value| result = read.take().map(|read| read(value)))?;
    Ok(result)
}
