//! What is particular to window stores: sequence numbers, retention, and the order of their entries.
//!
//! A store remembers the largest window start it was given. What lies `retention` or more behind it is not found any more,
//! at once; the space comes back in sweeps of a store in memory, and when RocksDB compacts.

use smallvec::SmallVec;
use tidewater_types::RecordContext;

use crate::filter::KeyFilters;
use crate::rows::Known;
use crate::schema::split_history_key;
use crate::store::Entries;
use crate::times::{Found, WindowTimes};
use crate::{
    ChangelogSink, Engine, KeyRange, NewestTime, Retention, StateError, Store, StoreKind, StoreSpec, WINDOW_SUFFIX,
    split_session_key, split_window_key, window_key,
};

/// Kafka Streams' smallest segment of a persistent window store.
const MIN_SEGMENT_MS: i64 = 60_000;

/// An entry of a window store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowEntry {
    /// The key's bytes.
    pub key: Vec<u8>,
    /// Start of the window.
    pub start: i64,
    /// The value in the store's layout.
    pub value: Vec<u8>,
}

/// Starts of windows, and what was read of their values; most often there are few.
pub type Windows<R> = SmallVec<[(i64, R); 2]>;

/// Which times a store still answers for.
#[derive(Debug)]
pub(crate) struct Expiry {
    retention_ms: i64,
    segment_ms: i64,
    by_segment: bool,
    /// The largest time the store was given.
    observed: i64,
    swept_to: i64,
    /// Of whole keys.
    full_keys: KeyFilters,
    /// Of keys without their times.
    keys: KeyFilters,
    /// Of the latest windows, if the store is one of windows on disk.
    times: Option<WindowTimes>,
}

impl Expiry {
    /// For a store whose entries leave as time goes on.
    pub fn of(spec: &StoreSpec, newest: NewestTime) -> Option<Self> {
        match spec.kind {
            StoreKind::Versioned { history, segment_ms } => Some(Self::new(history, segment_ms.max(1), true, newest)),
            _ => spec.retention().map(|retention| {
                let segment_ms = (retention.ms / 2).max(MIN_SEGMENT_MS);
                Self::new(retention, segment_ms, !spec.in_memory, newest)
            }),
        }
    }

    fn new(retention: Retention, segment_ms: i64, by_segment: bool, newest: NewestTime) -> Self {
        let (observed, until) = match newest {
            NewestTime::Empty => (-1, None),
            NewestTime::At(time) => (time, Some(time)),
            NewestTime::Unknown => (-1, Some(i64::MAX - segment_ms)),
        };
        Expiry {
            retention_ms: retention.ms,
            segment_ms,
            by_segment,
            observed,
            swept_to: i64::MIN,
            full_keys: KeyFilters::new(segment_ms, until),
            keys: KeyFilters::new(segment_ms, until),
            times: None,
        }
    }

    /// Indexes the latest windows of each key, so many of all, for those who ask for several at once.
    pub fn with_times(mut self, newest: NewestTime, windows: usize) -> Self {
        self.times = match newest {
            NewestTime::Empty => Some(WindowTimes::new(None, windows)),
            NewestTime::At(time) => Some(WindowTimes::new(Some(time), windows)),
            NewestTime::Unknown => None,
        };
        self
    }

    /// The largest time the store was given.
    pub fn observed(&self) -> i64 {
        self.observed
    }

    /// Notes that there is an entry, whose row is at `slot`.
    pub fn add(&mut self, full: &[u8], slot: u32, kind: &StoreKind) {
        if let Some((key, time)) = split(full, kind) {
            self.full_keys.add(full, time);
            self.keys.add(key, time);
        }
        // Whoever asks back a little further than retention goes is answered, too.
        let dead_before = self.live_from().saturating_sub(self.retention_ms / 8 + 2);
        if let (Some(times), Some((key, start, sequence))) = (&mut self.times, split_window_key(full)) {
            times.add(key, start, sequence, slot, dead_before);
        }
    }

    /// The windows of a key that may begin between two times (both included), if they are known.
    pub fn windows(&mut self, key: &[u8], from: i64, to: i64) -> Option<Found> {
        self.times.as_mut()?.find(key, from, to)
    }

    /// Whether there may be an entry of this full key.
    pub fn may_have(&mut self, full: &[u8], kind: &StoreKind) -> bool {
        split(full, kind).is_none_or(|(_, time)| self.full_keys.may_have(full, time, time))
    }

    /// Whether there may be an entry of this key proper with a time between two, both included.
    pub fn may_have_key(&mut self, key: &[u8], from: i64, to: i64) -> bool {
        self.keys.may_have(key, from, to)
    }

    /// The earliest time that is still found.
    pub fn live_from(&self) -> i64 {
        self.observed.saturating_sub(self.retention_ms).saturating_add(1)
    }

    /// Takes notice of a time; says whether an entry of that time is to be kept.
    ///
    /// A persistent store of Kafka Streams drops whole segments, so it takes a late entry as long as its segment lives.
    pub(crate) fn note(&mut self, time: i64) -> bool {
        self.observed = self.observed.max(time);
        if self.by_segment {
            let oldest = self.observed.saturating_sub(self.retention_ms);
            time.div_euclid(self.segment_ms) >= oldest.div_euclid(self.segment_ms)
        } else {
            time >= self.live_from()
        }
    }

    pub(crate) fn segment(&self, time: i64) -> i64 {
        if self.by_segment { time.div_euclid(self.segment_ms) } else { time }
    }

    /// The time before which entries may be removed.
    pub fn dead_before(&self) -> i64 {
        if self.by_segment {
            self.observed.saturating_sub(self.retention_ms).div_euclid(self.segment_ms).saturating_mul(self.segment_ms)
        } else {
            self.live_from()
        }
    }

    /// The time before which entries are to be removed, if it is worth a sweep.
    pub(crate) fn sweep_due(&mut self) -> Option<i64> {
        let dead = self.dead_before();
        let due = dead >= self.swept_to.saturating_add(self.segment_ms);
        due.then(|| {
            self.swept_to = dead;
            self.full_keys.forget_before(dead);
            self.keys.forget_before(dead);
            dead
        })
    }
}

/// The key proper of a full key, and the time that retention goes by.
pub(crate) fn split<'a>(full: &'a [u8], kind: &StoreKind) -> Option<(&'a [u8], i64)> {
    match kind {
        StoreKind::Session { .. } => split_session_key(full).map(|(key, _, end)| (key, end)),
        StoreKind::Versioned { .. } => split_history_key(full),
        _ => split_window_key(full).map(|(key, start, _)| (key, start)),
    }
}

impl Store {
    /// The time in a window or session key, which retention goes by.
    fn time_of(&self, key: &[u8]) -> Option<i64> {
        split(key, &self.spec().kind).map(|(_, time)| time)
    }

    /// Whether the store still answers for a key.
    pub(crate) fn is_live(&self, key: &[u8]) -> bool {
        match &self.expiry {
            None => true,
            // A version lives as long as nothing later is asked for.
            Some(_) if matches!(self.spec().kind, StoreKind::Versioned { .. }) => true,
            Some(expiry) => self.time_of(key).is_none_or(|time| time >= expiry.live_from()),
        }
    }

    /// Whether an entry of a persistent store is found by its time.
    pub(crate) fn is_kept(&self, key: &[u8]) -> bool {
        let Some(expiry) = &self.expiry else { return true };
        let kept_from = match self.spec().kind {
            StoreKind::Session { .. } => expiry.dead_before(),
            _ => expiry.live_from().saturating_sub(1),
        };
        self.time_of(key).is_none_or(|time| time >= kept_from)
    }

    /// Takes notice of the time in a window or session key; says whether the entry is to be kept.
    pub(crate) fn note_time(&mut self, key: &[u8]) -> Result<bool, StateError> {
        if self.expiry.is_none() {
            return Ok(true);
        }
        let time = self.time_of(key).ok_or_else(|| self.malformed(key))?;
        let Some(expiry) = self.expiry.as_mut() else { return Ok(true) };
        let live = expiry.note(time);
        if let Some(dead_before) = expiry.sweep_due() {
            self.sweep(dead_before);
        }
        Ok(live)
    }

    /// Removes the entries before a time, of a store in memory; others do so themselves, with a commit.
    pub(crate) fn sweep(&mut self, dead_before: i64) {
        let Engine::Memory = self.engine else { return };
        if let Some(rows) = &mut self.rows {
            rows.sweep(|key| split(key, &self.spec.kind).is_some_and(|(_, time)| time < dead_before));
        }
    }

    /// The full key of a put at a window start: with the next sequence number where duplicates are kept, else with 0.
    pub fn next_window_key(&mut self, key: &[u8], start: i64) -> Vec<u8> {
        window_key(key, start, self.next_window_number())
    }

    /// The sequence number of a put: the next one where duplicates are kept, else 0.
    pub fn next_window_number(&mut self) -> u32 {
        if matches!(self.spec().kind, StoreKind::Window { duplicates: true, .. }) {
            self.next_sequence = (self.next_sequence + 1) & 0x7fff_ffff;
        }
        self.next_sequence
    }

    /// Puts a window's value; see [`Store::put`]. Deleting is without effect where duplicates are kept.
    pub fn put_window(
        &mut self,
        key: &[u8],
        start: i64,
        value: Option<&[u8]>,
        context: &RecordContext,
        changelog: &mut dyn ChangelogSink,
    ) -> Result<bool, StateError> {
        let duplicates = matches!(self.spec().kind, StoreKind::Window { duplicates: true, .. });
        if duplicates && value.is_none() {
            return Ok(true);
        }
        let full = self.next_window_key(key, start);
        self.put(&full, value, context, changelog)
    }

    /// The value of the window of `key` that begins at `start`. Where duplicates are kept it finds, as in Kafka Streams, only the
    /// value of the last put of all, and nothing in memory.
    pub fn get_window<R>(
        &mut self,
        key: &[u8],
        start: i64,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, StateError> {
        let sequence = if self.spec().in_memory { 0 } else { self.next_sequence };
        self.get(&window_key(key, start, sequence), read)
    }

    /// The windows of `key` that begin between two times (both included), by time: their starts, and what `read` makes of their
    /// values in the store's layout.
    pub fn fetch<R>(
        &mut self,
        key: &[u8],
        from: i64,
        to: i64,
        reverse: bool,
        mut read: impl FnMut(&[u8]) -> R,
    ) -> Result<Windows<R>, StateError> {
        let from = from.max(0);
        if to < from {
            return Ok(Windows::new());
        }
        if let Some(windows) = self.expiry.as_mut().and_then(|expiry| expiry.windows(key, from, to)) {
            return self.fetch_known(key, windows, reverse, read);
        }
        if self.expiry.as_mut().is_some_and(|expiry| !expiry.may_have_key(key, from, to)) {
            return Ok(Windows::new());
        }
        let range = KeyRange::inclusive(window_key(key, from, 0), window_key(key, to, u32::MAX >> 1));
        let length = key.len();
        let live_from = self.windows_from();
        let found = self.scan_key(key, &range, reverse, |key| is_window_live(key, live_from))?;
        let mut windows = Windows::with_capacity(found.len());
        for (full, value) in found {
            let (key, start, _) = split_window_key(&full).ok_or_else(|| self.malformed(&full))?;
            // Longer keys may lie between; their own key part differs in length.
            if key.len() == length && (from..=to).contains(&start) {
                windows.push((start, read(&value)));
            }
        }
        Ok(windows)
    }

    /// Those of some windows of `key` that are there: rows first, live or not while a record cache has them.
    fn fetch_known<R>(
        &mut self,
        key: &[u8],
        mut windows: Found,
        reverse: bool,
        mut read: impl FnMut(&[u8]) -> R,
    ) -> Result<Windows<R>, StateError> {
        if reverse {
            windows.reverse();
        }
        let live_from = self.windows_from();
        let mut found = Windows::with_capacity(windows.len());
        let mut full = SmallVec::<[u8; 64]>::with_capacity(key.len() + WINDOW_SUFFIX);
        for (start, sequence, slot) in windows {
            full.clear();
            full.extend_from_slice(key);
            full.extend_from_slice(&start.to_be_bytes());
            full.extend_from_slice(&sequence.to_be_bytes());
            let is_live = start >= live_from;
            let value = match &mut self.rows {
                Some(rows) => match rows.get_at(slot, &full) {
                    Known::Value(value) => Some(value.map(&mut read)),
                    Known::Nothing => None,
                }
                .map(|value| value.filter(|_| is_live || rows.is_found_in_cache())),
                None => None,
            };
            let value = match value {
                Some(value) => value,
                None if is_live => self.engine.get(&full, &mut read)?,
                None => None,
            };
            found.extend(value.map(|value| (start, value)));
        }
        Ok(found)
    }

    /// Whether `key` has a window that begins between two times (both included).
    pub fn has_window(&mut self, key: &[u8], from: i64, to: i64) -> Result<bool, StateError> {
        let from = from.max(0);
        if to < from {
            return Ok(false);
        }
        if let Some(windows) = self.expiry.as_mut().and_then(|expiry| expiry.windows(key, from, to)) {
            return Ok(!self.fetch_known(key, windows, false, |_| ())?.is_empty());
        }
        if self.expiry.as_mut().is_some_and(|expiry| !expiry.may_have_key(key, from, to)) {
            return Ok(false);
        }
        let range = KeyRange::inclusive(window_key(key, from, 0), window_key(key, to, u32::MAX >> 1));
        let live_from = self.windows_from();
        if self.has_row(key, &range, |key| is_window_live(key, live_from)) {
            return Ok(true);
        }
        Ok(!self.fetch(key, from, to, false, |_| ())?.is_empty())
    }

    /// The windows of all keys that begin between two times (both included), in the store's order.
    pub fn fetch_all(&mut self, from: i64, to: i64) -> Result<Vec<WindowEntry>, StateError> {
        let from = from.max(0);
        let live_from = self.windows_from();
        let found = self.scan_all(|key| is_window_live(key, live_from))?;
        let mut found = self.window_entries(found)?;
        found.retain(|entry| (from..=to).contains(&entry.start));
        // What the merge gave is in the order of keys; that of Kafka Streams has the stretches of time one after another.
        if self.spec().time_ordered {
            found.sort_by_key(|entry| entry.start);
        } else if let Some(expiry) = &self.expiry {
            found.sort_by_key(|entry| expiry.segment(entry.start));
        }
        Ok(found)
    }

    pub(crate) fn live_from(&self, from: i64) -> i64 {
        self.expiry.as_ref().map_or(from, |expiry| from.max(expiry.live_from()))
    }

    /// The earliest start of windows that are found by time. A persistent store that Kafka Streams keeps in the order of time has
    /// them for 1 ms longer.
    fn windows_from(&self) -> i64 {
        let live_from = self.live_from(i64::MIN);
        let spec = self.spec();
        if spec.time_ordered && !spec.in_memory { live_from.saturating_sub(1) } else { live_from }
    }

    fn window_entries(&self, found: Entries) -> Result<Vec<WindowEntry>, StateError> {
        let entry = |(full, value): (Vec<u8>, Vec<u8>)| {
            let (key, start, _) = split_window_key(&full).ok_or_else(|| self.malformed(&full))?;
            Ok(WindowEntry { key: key.to_vec(), start, value })
        };
        found.into_iter().map(entry).collect()
    }
}

fn is_window_live(full: &[u8], live_from: i64) -> bool {
    split_window_key(full).is_none_or(|(_, start, _)| start >= live_from)
}
