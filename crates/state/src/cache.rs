//! The record cache: holds the newest value of each key, so that several updates between two commits go on as one.
//!
//! Entries leave in the order in which they became dirty; a key written again moves to the end. Flushed entries stay as
//! clean ones, so that the next read finds them. When the cache is over its budget, everything is flushed, as Kafka Streams
//! does, and the clean entries make room.

use std::collections::BTreeMap;
use std::ops::Bound;

use hashbrown::HashMap;
use tidewater_types::RecordContext;

use crate::KeyRange;

/// Memory of an entry beyond its key and value.
const ENTRY_OVERHEAD_BYTES: usize = 96;

#[derive(Debug)]
struct Slot {
    value: Option<Vec<u8>>,
    /// Place in the order of dirty entries, and the context of the last write; `None` for a clean entry.
    dirty: Option<(u64, RecordContext)>,
}

/// An update that leaves the cache.
#[derive(Clone, Debug)]
pub struct DirtyEntry {
    /// The key's bytes, in the store's layout.
    pub key: Vec<u8>,
    /// The newest value in the store's layout; `None` for a deletion.
    pub value: Option<Vec<u8>>,
    /// The record that wrote it last.
    pub context: RecordContext,
}

/// The entries by key: hashed where single reads count, sorted where each record scans a range.
///
/// No order of the hash map is ever seen: dirty entries leave in the order of their writes, ranges are sorted.
#[derive(Debug)]
enum Slots {
    Hashed(HashMap<Vec<u8>, Slot>),
    Sorted(BTreeMap<Vec<u8>, Slot>),
}

impl Slots {
    fn get(&self, key: &[u8]) -> Option<&Slot> {
        match self {
            Slots::Hashed(slots) => slots.get(key),
            Slots::Sorted(slots) => slots.get(key),
        }
    }

    fn get_mut(&mut self, key: &[u8]) -> Option<&mut Slot> {
        match self {
            Slots::Hashed(slots) => slots.get_mut(key),
            Slots::Sorted(slots) => slots.get_mut(key),
        }
    }

    fn insert(&mut self, key: Vec<u8>, slot: Slot) {
        match self {
            Slots::Hashed(slots) => drop(slots.insert(key, slot)),
            Slots::Sorted(slots) => drop(slots.insert(key, slot)),
        }
    }

    fn clear(&mut self) {
        match self {
            Slots::Hashed(slots) => slots.clear(),
            Slots::Sorted(slots) => slots.clear(),
        }
    }

    /// The entries of a range, in key order.
    fn range(&self, range: &KeyRange) -> Vec<(&[u8], Option<&[u8]>)> {
        match self {
            Slots::Hashed(slots) => {
                let inside = slots.iter().filter(|(key, _)| range.contains(key));
                let mut found: Vec<_> = inside.map(|(key, slot)| (key.as_slice(), slot.value.as_deref())).collect();
                found.sort_unstable_by_key(|(key, _)| *key);
                found
            }
            Slots::Sorted(slots) => slots
                .range::<[u8], _>((Bound::Included(range.from.as_slice()), Bound::Unbounded))
                .take_while(|(key, _)| range.contains(key))
                .map(|(key, slot)| (key.as_slice(), slot.value.as_deref()))
                .collect(),
        }
    }

    /// Drops clean entries until so many bytes are free, or none is left. Gives the bytes.
    fn drop_clean(&mut self, wanted: usize, hand: &mut Vec<u8>) -> usize {
        let mut freed = 0;
        let size = |key: &[u8], slot: &Slot| key.len() + ENTRY_OVERHEAD_BYTES + slot.value.as_ref().map_or(0, Vec::len);
        match self {
            Slots::Hashed(slots) => slots.retain(|key, slot| {
                let goes = freed < wanted && slot.dirty.is_none();
                freed += if goes { size(key, slot) } else { 0 };
                !goes
            }),
            Slots::Sorted(slots) => {
                // Goes round the keys, so that each stays about equally long.
                let from = std::mem::take(hand);
                let mut victims = Vec::new();
                let after = slots.range::<[u8], _>((Bound::Included(from.as_slice()), Bound::Unbounded));
                let before = slots.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(from.as_slice())));
                for (key, slot) in after.chain(before) {
                    if freed >= wanted {
                        hand.clone_from(key);
                        break;
                    }
                    if slot.dirty.is_none() {
                        freed += size(key, slot);
                        victims.push(key.clone());
                    }
                }
                for key in victims {
                    slots.remove(&key);
                }
            }
        }
        freed
    }
}

/// The cache of one store.
#[derive(Debug)]
pub(crate) struct RecordCache {
    slots: Slots,
    /// Keys in the order of their writes; those whose number is not their slot's are stale.
    order: Vec<(u64, Vec<u8>)>,
    next_number: u64,
    bytes: usize,
    budget_bytes: usize,
    /// Where making room goes on.
    hand: Vec<u8>,
}

impl RecordCache {
    /// A cache of so many bytes; `sorted` for stores that scan ranges at each record.
    pub fn new(budget_bytes: usize, sorted: bool) -> Self {
        RecordCache {
            slots: if sorted { Slots::Sorted(BTreeMap::new()) } else { Slots::Hashed(HashMap::new()) },
            order: Vec::new(),
            next_number: 0,
            bytes: 0,
            budget_bytes,
            hand: Vec::new(),
        }
    }

    /// The cached value: `None` if the cache knows nothing of the key, `Some(None)` if it knows of a deletion.
    pub fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        self.slots.get(key).map(|slot| slot.value.as_deref())
    }

    /// Writes an entry.
    pub fn put(&mut self, key: &[u8], value: Option<&[u8]>, context: RecordContext) {
        let number = self.next_number;
        self.next_number += 1;
        self.order.push((number, key.to_vec()));
        self.set(key, value, Some((number, context)));
    }

    /// Remembers what a read found below.
    pub fn remember(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.set(key, value, None);
    }

    fn set(&mut self, key: &[u8], value: Option<&[u8]>, dirty: Option<(u64, RecordContext)>) {
        self.bytes += value.map_or(0, <[u8]>::len);
        match self.slots.get_mut(key) {
            Some(slot) => {
                self.bytes -= slot.value.as_ref().map_or(0, Vec::len);
                slot.value = value.map(<[u8]>::to_vec);
                slot.dirty = dirty;
            }
            None => {
                self.bytes += key.len() + ENTRY_OVERHEAD_BYTES;
                self.slots.insert(key.to_vec(), Slot { value: value.map(<[u8]>::to_vec), dirty });
            }
        }
    }

    /// Whether the cache must be flushed to keep its budget.
    pub fn is_over_budget(&self) -> bool {
        self.bytes > self.budget_bytes
    }

    /// Takes the dirty entries in order; they stay as clean ones, unless the cache is over its budget.
    pub fn take_dirty(&mut self) -> Vec<DirtyEntry> {
        let mut taken = Vec::new();
        for (number, key) in std::mem::take(&mut self.order) {
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            if slot.dirty.as_ref().is_some_and(|(current, _)| *current == number)
                && let Some((_, context)) = slot.dirty.take()
            {
                taken.push(DirtyEntry { key, value: slot.value.clone(), context });
            }
        }
        self.make_room();
        taken
    }

    /// Drops clean entries until there is some room again.
    fn make_room(&mut self) {
        if self.is_over_budget() {
            let wanted = self.bytes - self.budget_bytes / 4 * 3;
            self.bytes -= self.slots.drop_clean(wanted, &mut self.hand);
        }
    }

    /// The cached entries of a range, in key order; `None` values hide what is below.
    pub fn range(&self, range: &KeyRange) -> Vec<(&[u8], Option<&[u8]>)> {
        if range.is_empty() {
            return Vec::new();
        }
        self.slots.range(range)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.order.clear();
        self.hand.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewater_types::{Headers, Timestamp};

    fn context(timestamp: i64) -> RecordContext {
        RecordContext { place: None, timestamp: Timestamp(timestamp), headers: Headers::EMPTY }
    }

    #[test]
    fn a_key_written_again_moves_to_the_end() {
        let mut cache = RecordCache::new(1000, false);
        cache.put(b"a", Some(b"1"), context(1));
        cache.put(b"b", Some(b"2"), context(2));
        cache.put(b"a", None, context(3));
        let taken = cache.take_dirty();
        let keys: Vec<_> = taken.iter().map(|entry| (&entry.key[..], entry.context.timestamp.0)).collect();
        assert_eq!(keys, [(&b"b"[..], 2), (b"a", 3)]);
        assert_eq!(cache.get(b"a"), Some(None));
        assert!(cache.take_dirty().is_empty());
    }

    #[test]
    fn over_budget_the_clean_entries_go() {
        let mut cache = RecordCache::new(150, true);
        cache.put(b"a", Some(b"1"), context(1));
        assert!(!cache.is_over_budget());
        cache.put(b"b", Some(b"2"), context(2));
        assert!(cache.is_over_budget());
        assert_eq!(cache.take_dirty().len(), 2);
        assert!(!cache.is_over_budget());
        assert_eq!(cache.get(b"a"), None);
        assert_eq!(cache.get(b"b"), Some(Some(&b"2"[..])));
    }
}
