//! Which keys a window store cannot have: Bloom filters in memory, one series for each stretch of time. A store has two sets
//! of them, for whole keys and for keys without their times; one that was never asked costs nothing.
//!
//! Most windows that are asked for are new, and finding nothing costs RocksDB more than finding something. A stretch whose
//! every entry was written by this process is known wholly: what its filters have not seen is not there. A stretch that had
//! entries when the store was opened is unknown, and so is one that has grown past its bound.
//!
//! A series of Bloom filters of doubling size keeps the rate of false hits bounded without knowing the number of keys
//! beforehand: Almeida et al., "Scalable Bloom Filters", 2007.

use std::collections::BTreeMap;
use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

/// Bits for each key: one false hit in about a hundred.
const BITS_PER_KEY: usize = 10;
/// Probes for each key.
const PROBES: u64 = 7;
/// Words of the first filter of a series.
const FIRST_WORDS: usize = 256;
/// Memory of one set of filters; a stretch that would take more is unknown from then on.
const FILTER_BYTES_LIMIT: usize = 4 << 20;

#[derive(Debug, Default)]
struct Bloom {
    words: Vec<u64>,
    room: usize,
}

impl Bloom {
    fn new(words: usize) -> Self {
        Bloom { words: vec![0; words], room: words * 64 / BITS_PER_KEY }
    }

    fn contains(&self, hash: u64) -> bool {
        bits(hash, self.words.len()).all(|(word, bit)| self.words[word] & bit != 0)
    }

    fn add(&mut self, hash: u64) {
        for (word, bit) in bits(hash, self.words.len()) {
            self.words[word] |= bit;
        }
        self.room -= 1;
    }
}

/// The bits of a hash, as words and masks. The number of words is a power of two.
fn bits(hash: u64, words: usize) -> impl Iterator<Item = (usize, u64)> {
    // Two halves of one hash make as many as are needed: Kirsch and Mitzenmacher, 2006.
    let (mask, step) = (words as u64 * 64 - 1, (hash >> 32) | 1);
    (0..PROBES).map(move |probe| {
        let bit = hash.wrapping_add(probe.wrapping_mul(step)) & mask;
        ((bit / 64) as usize, 1 << (bit % 64))
    })
}

/// The filters of one store, for one kind of keys.
#[derive(Debug)]
pub(crate) struct KeyFilters {
    hasher: DefaultHashBuilder,
    stretch_ms: i64,
    /// Whether anybody has asked yet; if not, nothing is kept.
    is_asked: bool,
    /// The latest time of an entry.
    newest: i64,
    /// Stretches from this one on are known, but for those that have grown too large.
    known_from: i64,
    /// The largest first, as most keys are in it; `None` for a stretch that has grown too large.
    stretches: BTreeMap<i64, Option<Vec<Bloom>>>,
    bytes: usize,
    limit_bytes: usize,
}

impl KeyFilters {
    /// For a store whose entries at opening were no later than `until`; `None` if it had none.
    pub fn new(stretch_ms: i64, until: Option<i64>) -> Self {
        let known_from = until.map_or(i64::MIN, |until| until.div_euclid(stretch_ms) + 1);
        let hasher = DefaultHashBuilder::default();
        KeyFilters {
            hasher,
            stretch_ms,
            is_asked: false,
            newest: i64::MIN,
            known_from,
            stretches: BTreeMap::new(),
            bytes: 0,
            limit_bytes: FILTER_BYTES_LIMIT,
        }
    }

    /// Whether the time between two times (both included) may have entries of a key.
    pub fn may_have(&mut self, key: &[u8], from: i64, to: i64) -> bool {
        if !std::mem::replace(&mut self.is_asked, true) && self.newest > i64::MIN {
            self.known_from = self.known_from.max(self.newest.div_euclid(self.stretch_ms) + 1);
        }
        let (from, to) = (from.div_euclid(self.stretch_ms), to.div_euclid(self.stretch_ms));
        if from < self.known_from {
            return true;
        }
        let hash = self.hasher.hash_one(key);
        self.stretches.range(from..=to).any(|(_, series)| match series {
            None => true,
            Some(series) => series.iter().any(|bloom| bloom.contains(hash)),
        })
    }

    /// Notes an entry.
    pub fn add(&mut self, key: &[u8], time: i64) {
        self.newest = self.newest.max(time);
        let stretch = time.div_euclid(self.stretch_ms);
        if !self.is_asked || stretch < self.known_from {
            return;
        }
        let hash = self.hasher.hash_one(key);
        let series = self.stretches.entry(stretch).or_insert_with(|| Some(Vec::new()));
        let Some(blooms) = series else { return };
        if blooms.iter().any(|bloom| bloom.contains(hash)) {
            return;
        }
        if blooms.first().is_none_or(|bloom| bloom.room == 0) {
            let words = blooms.first().map_or(FIRST_WORDS, |bloom| bloom.words.len() * 2);
            if self.bytes + words * 8 > self.limit_bytes {
                self.bytes -= blooms.iter().map(|bloom| bloom.words.len() * 8).sum::<usize>();
                *series = None;
                return;
            }
            self.bytes += words * 8;
            blooms.insert(0, Bloom::new(words));
        }
        blooms[0].add(hash);
    }

    /// Forgets the stretches before a time.
    pub fn forget_before(&mut self, time: i64) {
        let kept = self.stretches.split_off(&time.div_euclid(self.stretch_ms));
        for series in std::mem::replace(&mut self.stretches, kept).into_values().flatten() {
            self.bytes -= series.iter().map(|bloom| bloom.words.len() * 8).sum::<usize>();
        }
        self.known_from = self.known_from.max(time.div_euclid(self.stretch_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_found_and_little_else() {
        let mut filters = KeyFilters::new(1000, None);
        assert!(!filters.may_have(b"a", 0, 5000));
        let key = |n: u32| n.to_be_bytes();
        for n in 0..20_000 {
            filters.add(&key(n), 500);
        }
        assert!((0..20_000).all(|n| filters.may_have(&key(n), 0, 999)));
        assert!(!filters.may_have(&key(7), 1000, 5000), "another stretch");
        let hits = (100_000..120_000).filter(|&n| filters.may_have(&key(n), 0, 999)).count();
        assert!(hits < 1500, "{hits} false hits of 20000");
    }

    #[test]
    fn what_was_there_before_is_unknown_and_so_is_what_grew_too_large() {
        let mut filters = KeyFilters { limit_bytes: 64 << 10, ..KeyFilters::new(1000, Some(2500)) };
        assert!(filters.may_have(b"a", 2000, 4000), "the stretch of 2000 had entries");
        assert!(!filters.may_have(b"a", 3000, 4000));
        for n in 0..60_000u32 {
            filters.add(&n.to_be_bytes(), 3000);
        }
        assert!(filters.bytes <= filters.limit_bytes);
        assert!(filters.may_have(b"a", 3000, 4000));
        filters.forget_before(4000);
        assert_eq!(filters.bytes, 0);
        assert!(filters.may_have(b"a", 3000, 3500), "what was forgotten is not known to be absent");
        assert!(!filters.may_have(b"a", 4000, 4500));
    }

    #[test]
    fn what_came_before_anybody_asked_is_unknown() {
        let mut filters = KeyFilters::new(1000, None);
        filters.add(b"a", 1500);
        assert_eq!(filters.bytes, 0);
        assert!(filters.may_have(b"b", 1000, 1999));
        assert!(!filters.may_have(b"a", 2000, 9000));
        filters.add(b"a", 2500);
        assert!(filters.may_have(b"a", 2000, 2999) && !filters.may_have(b"b", 2000, 2999));
    }
}
