//! At which times a key has windows: an exact index in memory of the latest windows of a store that lies on disk.
//!
//! A join, a sliding window or a de-duplication asks for the windows of one key in a stretch of time with each record. Looking
//! for them in RocksDB takes an iterator over all its tables; with their times known, each is one get, mostly of a row that is
//! still in memory, and most often there is none. What the index does not reach back to is looked for as ever.

use std::collections::BTreeMap;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use smallvec::SmallVec;

/// Memory of a window, about.
pub(crate) const WINDOW_BYTES: usize = 28;
/// So many windows of one key are indexed; those of a key with more are looked for as ever.
const KEY_WINDOWS: usize = 64;
/// Windows beyond those that are left by a purge, before the next one looks for old ones.
const PURGE_STEP: usize = 1024;

/// While nobody has asked, so many windows are kept at most.
const UNASKED_WINDOWS: usize = 1024;

/// A window. A key is told by its hash; another one of the same hash costs a look for a row that is not there.
#[derive(Clone, Copy, Debug)]
struct Window {
    start: i64,
    sequence: u32,
    key_hash: u32,
    slot: u32,
}

impl Window {
    /// The hash of its place in the table, made of the one it keeps.
    fn place(key_hash: u32) -> u64 {
        u64::from(key_hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

/// Start and sequence number of windows, and where their rows were; most often there are few.
pub(crate) type Found = SmallVec<[(i64, u32, u32); 4]>;

/// The index of one store.
#[derive(Debug)]
pub(crate) struct WindowTimes {
    hasher: DefaultHashBuilder,
    /// Whether anybody has asked yet.
    is_asked: bool,
    /// The latest start of a window.
    newest: i64,
    /// All windows that begin here or later are in the index.
    known_from: i64,
    windows: HashTable<Window>,
    /// Keys with more windows than are indexed, by their hashes, and the latest start of each.
    crowded: BTreeMap<u32, i64>,
    /// With so many windows, the old ones go.
    purge_at: usize,
    /// If there are as many, the later half of the time is kept.
    limit: usize,
}

impl WindowTimes {
    /// For a store whose windows at opening began no later than `until`; `None` if it had none. At most `limit` windows
    /// are indexed.
    pub fn new(until: Option<i64>, limit: usize) -> Self {
        WindowTimes {
            hasher: DefaultHashBuilder::default(),
            is_asked: false,
            newest: i64::MIN,
            known_from: until.map_or(i64::MIN, |until| until.saturating_add(1)),
            windows: HashTable::new(),
            crowded: BTreeMap::new(),
            purge_at: PURGE_STEP.min(limit),
            limit,
        }
    }

    fn key_hash(&self, key: &[u8]) -> u32 {
        (self.hasher.hash_one(key) >> 32) as u32
    }

    /// All windows of a key that begin between two times (both included), in order; `None` if the
    /// index does not reach back that far. Some of them may have been deleted, or be another key's.
    pub fn find(&mut self, key: &[u8], from: i64, to: i64) -> Option<Found> {
        if !std::mem::replace(&mut self.is_asked, true) && self.known_from == i64::MAX {
            self.known_from = self.newest.saturating_add(1);
        }
        if from < self.known_from {
            return None;
        }
        let key_hash = self.key_hash(key);
        if self.crowded.contains_key(&key_hash) {
            return None;
        }
        let windows = self.of_key(key_hash).filter(|window| (from..=to).contains(&window.start));
        let mut found: Found = windows.map(|window| (window.start, window.sequence, window.slot)).collect();
        found.sort_unstable();
        Some(found)
    }

    fn of_key(&self, key_hash: u32) -> impl Iterator<Item = &Window> {
        self.windows.iter_hash(Window::place(key_hash)).filter(move |window| window.key_hash == key_hash)
    }

    /// Notes a window whose row is at `slot`, for now. Those before `dead_before` need not be found.
    pub fn add(&mut self, key: &[u8], start: i64, sequence: u32, slot: u32, dead_before: i64) {
        self.newest = self.newest.max(start);
        if !self.is_asked && self.windows.len() >= UNASKED_WINDOWS {
            (self.windows, self.known_from) = (HashTable::new(), i64::MAX);
            self.crowded.clear();
        }
        if start < self.known_from {
            return;
        }
        let window = Window { start, sequence, key_hash: self.key_hash(key), slot };
        let place = Window::place(window.key_hash);
        if let Some(latest) = self.crowded.get_mut(&window.key_hash) {
            *latest = start.max(*latest);
            return;
        }
        let mut others = 0;
        for other in self.windows.iter_hash_mut(place).filter(|other| other.key_hash == window.key_hash) {
            if (other.start, other.sequence) == (start, sequence) {
                other.slot = slot;
                return;
            }
            others += 1;
        }
        if others == KEY_WINDOWS {
            self.crowded.insert(window.key_hash, self.newest);
            return;
        }
        if self.windows.len() >= self.purge_at {
            self.purge(dead_before);
        }
        if start >= self.known_from {
            self.windows.insert_unique(place, window, |window| Window::place(window.key_hash));
        }
    }

    fn purge(&mut self, dead_before: i64) {
        self.forget_before(dead_before);
        while self.windows.len() >= self.limit {
            // At least the windows of one millisecond go each time.
            let oldest = self.windows.iter().map(|window| window.start).min().unwrap_or(self.newest);
            self.forget_before(self.newest - (self.newest - oldest) / 2 + i64::from(self.newest == oldest));
        }
        self.purge_at = (self.windows.len() + self.windows.len() / 4 + PURGE_STEP).min(self.limit);
    }

    fn forget_before(&mut self, time: i64) {
        self.known_from = self.known_from.max(time);
        self.windows.retain(|window| window.start >= time);
        self.crowded.retain(|_, latest| *latest >= time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smallvec::smallvec;

    #[test]
    fn finds_what_was_added_by_time_and_number() {
        let mut times = WindowTimes::new(None, 10_000);
        assert_eq!(times.find(b"a", 0, 9), Some(smallvec![]));
        for (key, start, sequence) in
            [(b"a", 5, 2), (b"a", 5, 1), (b"b", 5, 0), (b"a", 3, 0), (b"a", 5, 2), (b"a", 7, 0)]
        {
            times.add(key, start, sequence, 1, i64::MIN);
        }
        assert_eq!(times.find(b"a", 3, 5), Some(smallvec![(3, 0, 1), (5, 1, 1), (5, 2, 1)]));
        assert_eq!(times.find(b"b", 0, 9), Some(smallvec![(5, 0, 1)]));
    }

    #[test]
    fn what_was_there_before_is_unknown() {
        let mut times = WindowTimes::new(Some(10), 10_000);
        times.add(b"a", 10, 0, 1, i64::MIN);
        times.add(b"a", 20, 0, 1, i64::MIN);
        assert_eq!(times.find(b"a", 10, 30), None);
        assert_eq!(times.find(b"a", 11, 30), Some(smallvec![(20, 0, 1)]));
    }

    #[test]
    fn many_windows_that_nobody_asks_for_are_not_kept() {
        let mut times = WindowTimes::new(None, 10_000);
        for start in 0..=UNASKED_WINDOWS as i64 {
            times.add(&start.to_be_bytes(), start, 0, 1, i64::MIN);
        }
        assert_eq!(times.windows.capacity(), 0);
        assert_eq!(times.find(b"a", UNASKED_WINDOWS as i64, 3000), None);
        times.add(b"a", 2000, 0, 1, i64::MIN);
        assert_eq!(times.find(b"a", 2000, 3000), Some(smallvec![(2000, 0, 1)]));
    }

    #[test]
    fn old_windows_go_and_so_do_those_that_are_too_many() {
        let mut times = WindowTimes::new(None, 10_000);
        assert!(times.find(b"a", 0, 0).is_some());
        let key = |n: i64| (n % 1000).to_be_bytes();
        for start in 0..100_000 {
            times.add(&key(start), start, 0, 1, start - 5000);
        }
        assert!(times.windows.len() < 5000 * 5 / 4 + 2 * PURGE_STEP);
        let expected = Found::from([96_159, 97_159, 98_159, 99_159].map(|start| (start, 0, 1)));
        assert_eq!(times.find(&key(159), 96_000, 100_000), Some(expected));
        assert_eq!(times.find(&key(159), 90_000, 100_000), None);
        for start in 100_000..150_000 {
            times.add(&key(start), start, 0, 1, 0);
        }
        assert!(times.windows.len() <= times.limit);
        assert_eq!(times.find(&key(159), 149_000, 150_000), Some(smallvec![(149_159, 0, 1)]));
        for other in 0..50_000i64 {
            times.add(&other.to_le_bytes(), 150_000, 0, 1, 0);
        }
        assert!(times.windows.len() <= times.limit);
        assert_eq!(times.find(&key(159), 150_000, 150_000), None, "all are of one time");
    }

    #[test]
    fn a_key_of_many_windows_is_left_out_until_they_are_gone() {
        let mut times = WindowTimes::new(None, 100_000);
        for start in 0..1000 {
            times.add(b"crowded", start, 0, 1, 0);
            times.add(b"other", start / 100, 0, 1, 0);
        }
        assert_eq!(times.find(b"crowded", 990, 999), None);
        assert_eq!(times.find(b"other", 0, 999).map(|found| found.len()), Some(10));
        assert!(times.windows.len() <= KEY_WINDOWS + 10);
        times.forget_before(2000);
        times.add(b"crowded", 2000, 0, 1, 0);
        assert_eq!(times.find(b"crowded", 2000, 2000), Some(smallvec![(2000, 0, 1)]));
    }
}
