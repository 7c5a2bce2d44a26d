//! A store: an engine with a record cache before it and a changelog beside it. What is particular to windows and sessions
//! stands in their files.

use std::ops::ControlFlow;

use tidewater_types::{Headers, RecordContext, Timestamp};

use crate::headers::{split_headers, write_headers};
use crate::recency::Recency;
use crate::rows::{Known, RowRef, Rows};
use crate::schema::{SESSION_SUFFIX, WINDOW_SUFFIX};
use crate::times::WINDOW_BYTES;
use crate::ttl::Sweep;
use crate::window::Expiry;
use crate::{
    DirtyEntry, Engine, KeyRange, NewestTime, RowBytes, StateError, StoreHeaders, StoreKind, StoreSpec, StoreWrites,
    Visit,
};

/// Takes the changes of the stores of one task, in order.
pub trait ChangelogSink {
    /// Writes a change of the store with this number: the key and value as they stand in Kafka Streams' changelog.
    fn log(&mut self, store: usize, key: &[u8], value: Option<&[u8]>, timestamp: Timestamp, headers: &Headers);
}

/// The part of a window store's row memory that goes to the index of its windows.
const INDEX_SHARE: usize = 4;
/// Windows that are indexed at least.
const MIN_WINDOWS: usize = 1024;
/// Windows that are indexed at most: about 4 MiB.
const MAX_WINDOWS: usize = 7 << 15;

/// What a store may keep in memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreMemory {
    /// Of a record cache, if the store asks for one.
    pub cache_bytes: usize,
    /// Of rows that were read or written lately; for a store that is not all in memory.
    pub row_bytes: usize,
}

/// A store of one task, in bytes.
pub struct Store {
    pub(crate) spec: StoreSpec,
    number: usize,
    pub(crate) engine: Engine,
    /// The rows in memory; none for a store that another task writes.
    pub(crate) rows: Option<Rows>,
    is_cached: bool,
    pub(crate) expiry: Option<Expiry>,
    pub(crate) next_sequence: u32,
    recency: Option<Recency>,
    pub(crate) sweep: Option<Sweep>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("spec", &self.spec).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Store {
    /// A store over an engine. `number` is what the changelog sink knows it by.
    pub fn new(spec: StoreSpec, number: usize, engine: Engine, memory: StoreMemory) -> Self {
        // A cache has room for one value of a key.
        let is_cached = spec.cached && memory.cache_bytes > 0 && !spec.has_duplicates();
        let newest = match &engine {
            Engine::Memory => NewestTime::Empty,
            Engine::Committed(engine) => engine.newest_time(),
            Engine::ReadOnly(engine) => engine.newest_time(),
        };
        let is_in_memory = matches!(engine, Engine::Memory);
        let cache_bytes = if is_cached { memory.cache_bytes } else { 0 };
        let mut row_bytes = memory.row_bytes;
        let mut expiry = Expiry::of(&spec, newest);
        if matches!(spec.kind, StoreKind::Window { .. }) {
            let index_bytes = if is_in_memory { usize::MAX } else { memory.row_bytes / INDEX_SHARE };
            let windows = (index_bytes / WINDOW_BYTES).clamp(MIN_WINDOWS, MAX_WINDOWS);
            row_bytes = row_bytes.saturating_sub(windows * WINDOW_BYTES);
            expiry = expiry.map(|expiry| expiry.with_times(newest, windows));
        }
        let rows = match &engine {
            Engine::Memory => Some(Rows::without_engine(cache_bytes, time_suffix(&spec.kind))),
            Engine::Committed(_) => Some(Rows::new(cache_bytes, row_bytes, time_suffix(&spec.kind))),
            Engine::ReadOnly(_) => None,
        };
        let writes = !matches!(engine, Engine::ReadOnly(_));
        let recency = spec.max_keys.filter(|_| writes).map(Recency::new);
        let sweep = spec.ttl_ms.filter(|_| writes).map(|ttl_ms| Sweep::new(ttl_ms, is_in_memory));
        Store { spec, number, engine, rows, is_cached, expiry, next_sequence: 0, recency, sweep }
    }

    /// What the store is.
    pub fn spec(&self) -> &StoreSpec {
        &self.spec
    }

    /// Whether updates wait in a record cache for the next flush.
    pub fn is_cached(&self) -> bool {
        self.is_cached
    }

    /// Reads the value of a key in the store's own layout.
    pub fn get<R>(&mut self, key: &[u8], read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, StateError> {
        // What the record cache answers is no use of the store.
        if let Some(recency) = self.recency.as_mut().filter(|_| !self.is_cached) {
            recency.used(key);
        }
        let is_live = self.is_live(key);
        let Some(rows) = &mut self.rows else {
            return if is_live { self.engine.get(key, read) } else { Ok(None) };
        };
        // What the record cache has is found, live or not.
        if (is_live || self.is_cached)
            && let Known::Value(value) = rows.get(key)
        {
            let found = value.map(read);
            return Ok(found.filter(|_| is_live || rows.is_found_in_cache()));
        }
        if !is_live || self.expiry.as_mut().is_some_and(|expiry| !expiry.may_have(key, &self.spec.kind)) {
            return Ok(None);
        }
        let mut found: Option<RowBytes> = None;
        self.engine.get(key, |value| found = Some(RowBytes::from_slice(value)))?;
        rows.remember(key, found.as_deref());
        Ok(found.as_deref().map(read))
    }

    /// Reads past the record cache.
    pub fn get_flushed<R>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, StateError> {
        if !self.is_live(key) {
            return Ok(None);
        }
        match self.rows.as_ref().map(|rows| rows.get_flushed(key)) {
            Some(Known::Value(value)) => Ok(value.map(read)),
            _ => self.engine.get(key, read),
        }
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
        match &mut self.rows {
            Some(rows) if self.is_cached => {
                let is_new = rows.put(key, value, context.clone());
                if let Some(expiry) = self.expiry.as_mut().filter(|_| is_new) {
                    expiry.add(key, rows.found(), &self.spec.kind);
                }
                Ok(true)
            }
            _ => self.write_through(key, value, context, changelog),
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
            match (self.spec.headers, plain) {
                (StoreHeaders::Dropped, plain) => {
                    changelog.log(self.number, key, plain, timestamp, &Headers::EMPTY);
                }
                (StoreHeaders::Kept, Some(raw)) => {
                    let (headers, plain) = split_headers(raw).ok_or_else(|| self.malformed(raw))?;
                    changelog.log(self.number, key, Some(plain), timestamp, &headers);
                }
                (StoreHeaders::Logged | StoreHeaders::Kept, plain) => {
                    changelog.log(self.number, key, plain, timestamp, &context.headers);
                }
            }
        }
        // What leaves the record cache was noted when it was put there.
        self.write_engine(key, value, self.is_cached)
    }

    /// Puts a record of the changelog into the engine, as restoring does.
    pub fn restore(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        timestamp: Timestamp,
        headers: &Headers,
    ) -> Result<(), StateError> {
        if let StoreKind::Versioned { .. } = self.spec.kind {
            return self.put_version_here(key, value, timestamp.0).map(drop);
        }
        let mut local = Vec::new();
        let keeps_headers = self.spec.headers == StoreHeaders::Kept;
        let value = match value {
            Some(value) if self.spec.is_timestamped() || keeps_headers => {
                if self.spec.is_timestamped() {
                    local.extend_from_slice(&timestamp.0.to_be_bytes());
                }
                if keeps_headers {
                    write_headers(headers, &mut local);
                }
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
        self.write_engine(key, value, false).map(drop)
    }

    /// Writes an entry that its operator logs itself.
    pub fn write_unlogged(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        self.write_engine(key, value, false).map(drop)
    }

    pub(crate) fn log_change(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        timestamp: Timestamp,
        changelog: &mut dyn ChangelogSink,
    ) {
        if self.spec.is_logged() {
            changelog.log(self.number, key, value, timestamp, &Headers::EMPTY);
        }
    }

    pub(crate) fn write_engine(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        is_noted: bool,
    ) -> Result<bool, StateError> {
        if value.is_none() && matches!(self.spec.kind, StoreKind::Window { duplicates: true, .. }) {
            // Deletes nothing; in Kafka Streams it moves the time of a store in memory, not that of a persistent one.
            return if self.spec.in_memory { self.note_time(key) } else { Ok(true) };
        }
        if !matches!(self.spec.kind, StoreKind::Versioned { .. }) && !self.note_time(key)? {
            return Ok(false);
        }
        if let (Some(sweep), Some(value)) = (&mut self.sweep, value) {
            sweep.written(value);
        }
        let Some(rows) = &mut self.rows else {
            return Err(StateError::ReadOnly { store: self.spec.name.clone() });
        };
        rows.write(key, value);
        if let Some(expiry) = self.expiry.as_mut().filter(|_| !is_noted) {
            expiry.add(key, rows.found(), &self.spec.kind);
        }
        if let Some(recency) = &mut self.recency {
            // What leaves for want of room is not logged: a restore brings it back.
            for dropped in recency.written(key, value.is_some()) {
                rows.let_go(&dropped);
            }
        }
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
    pub fn scan(&mut self, range: &KeyRange, reverse: bool) -> Result<Entries, StateError> {
        let rows = self.rows.iter_mut().flat_map(|rows| rows.range(range));
        merge(&self.engine, rows, range, reverse, |_| true)
    }

    /// The entries of one key of a window or session store in a range of full keys. Entries of the engine that are not live are
    /// left out; what the record cache still has is found.
    pub(crate) fn scan_key(
        &mut self,
        key: &[u8],
        range: &KeyRange,
        reverse: bool,
        is_live: impl Fn(&[u8]) -> bool,
    ) -> Result<Entries, StateError> {
        let mut rows = self.rows.as_mut().map(|rows| rows.chain(key, range)).unwrap_or_default();
        rows.retain(|row| row.is_in_cache || is_live(row.key));
        merge(&self.engine, rows.into_iter(), range, reverse, is_live)
    }

    /// Whether a live entry of one key of a window or session store in a range of full keys is in memory.
    pub(crate) fn has_row(&mut self, key: &[u8], range: &KeyRange, is_live: impl Fn(&[u8]) -> bool) -> bool {
        let of_key = |found: &[u8]| found.len() == range.from.len() && is_live(found);
        let rows = self.rows.as_mut().map(|rows| rows.chain(key, range)).unwrap_or_default();
        rows.iter().any(|row| row.value.is_some() && of_key(row.key))
    }

    /// The entries of all keys of a window or session store, with those left out that are not live.
    pub(crate) fn scan_all(&mut self, is_live: impl Fn(&[u8]) -> bool) -> Result<Entries, StateError> {
        let range = KeyRange::all();
        let rows = self.rows.iter_mut().flat_map(|rows| rows.range(&range));
        merge(&self.engine, rows.filter(|row| row.is_in_cache || is_live(row.key)), &range, false, &is_live)
    }

    /// Visits the entries of a range in the order of their keys' bytes until told to stop, with what waits in the cache.
    pub fn visit(&mut self, range: &KeyRange, visit: Visit<'_>) -> Result<(), StateError> {
        let rows = self.rows.iter_mut().flat_map(|rows| rows.range(range));
        merge_into(&self.engine, rows, range, false, |_| true, visit)
    }

    /// Visits what the engine has of a range, or what the rows have if there is none.
    pub(crate) fn scan_written(&mut self, range: &KeyRange, visit: Visit<'_>) -> Result<(), StateError> {
        match self.engine {
            Engine::Memory => self.visit(range, visit),
            Engine::Committed(_) | Engine::ReadOnly(_) => self.engine.scan(range, false, visit),
        }
    }

    /// How many entries there are, about: one that was written lately may count twice, and the record cache is not looked at.
    pub fn approximate_count(&self) -> Result<u64, StateError> {
        Ok(self.engine.approximate_count()? + self.rows.as_ref().map_or(0, Rows::unwritten_values))
    }

    /// Visits the keys of all entries, in no order; one that was deleted and one that is written may come as well, and twice.
    pub fn visit_keys(&mut self, visit: &mut dyn FnMut(&[u8])) -> Result<(), StateError> {
        let range = KeyRange::all();
        for row in self.rows.iter_mut().flat_map(|rows| rows.range(&range)) {
            visit(row.key);
        }
        self.engine.scan(&range, false, &mut |key, _| {
            visit(key);
            ControlFlow::Continue(())
        })
    }

    /// Reads the value of a window or session that has closed, and so may be just past retention. A persistent store of Kafka
    /// Streams, asked by time, has windows for 1 ms longer, and sessions for as long as their segment.
    pub fn get_kept<R>(&mut self, key: &[u8], read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, StateError> {
        if self.spec.in_memory || self.is_live(key) {
            return self.get(key, read);
        }
        if !self.is_kept(key) {
            return Ok(None);
        }
        match self.rows.as_mut().map(|rows| rows.get(key)) {
            Some(Known::Value(value)) => Ok(value.map(read)),
            _ => self.engine.get(key, read),
        }
    }

    /// Takes the update that waits longest in the cache, until none does. It is to be written through and sent on.
    pub fn next_dirty(&mut self) -> Option<DirtyEntry> {
        self.rows.as_mut().and_then(Rows::next_dirty)
    }

    /// Whether the cache wants to be flushed before the next commit.
    pub fn is_over_budget(&self) -> bool {
        self.is_cached && self.rows.as_ref().is_some_and(Rows::is_over_budget)
    }

    /// The writes that the engine does not have yet, for [`crate::Backend::commit`].
    pub fn unwritten(&self) -> StoreWrites<'_> {
        let entries = match (&self.engine, &self.rows) {
            (Engine::Committed(_), Some(rows)) => rows.unwritten(),
            _ => Vec::new(),
        };
        StoreWrites {
            store: &self.spec.name,
            entries,
            newest_time: self.expiry.as_ref().map(Expiry::observed),
            dead_before: self.expiry.as_ref().map(Expiry::dead_before),
        }
    }

    /// Notes that the engine has all that was [`Store::unwritten`].
    pub fn all_written(&mut self) {
        if let Some(sweep) = &mut self.sweep {
            sweep.committed();
        }
        self.rows.iter_mut().for_each(Rows::all_written);
    }

    /// A commit is over: what was written is in the changelog, though it may not be in the engine yet.
    pub fn committed(&mut self) {
        if let (Engine::Memory, Some(sweep)) = (&self.engine, &mut self.sweep) {
            sweep.committed();
        }
        self.rows.iter_mut().for_each(Rows::committed);
    }

    /// Bytes of writes that the engine does not have yet.
    pub fn unwritten_bytes(&self) -> usize {
        self.rows.as_ref().map_or(0, Rows::unwritten_bytes)
    }
}

/// Keys with values, in order.
pub(crate) type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// The rows and the engine's live entries of a range as one; rows hide what the engine has.
fn merge<'a>(
    engine: &Engine,
    rows: impl DoubleEndedIterator<Item = RowRef<'a>>,
    range: &KeyRange,
    reverse: bool,
    is_live: impl Fn(&[u8]) -> bool,
) -> Result<Entries, StateError> {
    let mut found: Entries = Vec::new();
    merge_into(engine, rows, range, reverse, is_live, &mut |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// Visits the rows and the engine's live entries of a range as one, until told to stop.
fn merge_into<'a>(
    engine: &Engine,
    rows: impl DoubleEndedIterator<Item = RowRef<'a>>,
    range: &KeyRange,
    reverse: bool,
    is_live: impl Fn(&[u8]) -> bool,
    visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
) -> Result<(), StateError> {
    if range.is_empty() {
        return Ok(());
    }
    let mut rows: Box<dyn Iterator<Item = _>> = if reverse { Box::new(rows.rev()) } else { Box::new(rows) };
    let mut next = rows.next();
    let mut flow = ControlFlow::Continue(());
    engine.scan(range, reverse, &mut |key, value| {
        while let Some(row) = next {
            let order = if reverse { key.cmp(row.key) } else { row.key.cmp(key) };
            if order.is_gt() {
                break;
            }
            if let Some(content) = row.value {
                flow = visit(row.key, content);
                if flow.is_break() {
                    return flow;
                }
            }
            next = rows.next();
            if order.is_eq() {
                return ControlFlow::Continue(());
            }
        }
        if is_live(key) {
            flow = visit(key, value);
        }
        flow
    })?;
    if flow.is_break() {
        return Ok(());
    }
    for row in next.into_iter().chain(rows) {
        if let Some(value) = row.value
            && visit(row.key, value).is_break()
        {
            break;
        }
    }
    Ok(())
}

/// The length of the time at the end of a store's keys.
pub(crate) fn time_suffix(kind: &StoreKind) -> Option<usize> {
    match kind {
        StoreKind::Window { .. } => Some(WINDOW_SUFFIX),
        StoreKind::Session { .. } => Some(SESSION_SUFFIX),
        StoreKind::KeyValue { .. } | StoreKind::Versioned { .. } | StoreKind::Internal => None,
    }
}
