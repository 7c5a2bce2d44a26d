//! The rows of one store that are in memory: the record cache, the unwritten buffer, and lately read rows, in one slab.
//!
//! ```text
//!            remember                  put                    next_dirty, then write
//!   (none) ----------> clean  --------------------> dirty  ---------------------------> unwritten
//!                        ^                            ^                                  |   |
//!                        |                            '----------------------------------'   |
//!                        '--------------------------- all_written --------------------------'
//! ```
//!
//! - A *clean* row is as the engine has it. It may go at any time; a clock hand (CLOCK: a row that was read since the hand came
//!   by is spared once) makes room for others.
//! - A *dirty* row waits in the record cache to go downstream and into the changelog; dirty rows leave in the order of their
//!   last writes.
//! - An *unwritten* row is in the changelog, and not yet in the engine.
//!
//! A row that is dirty over an unwritten value keeps that value below, for those who read past the record cache.
//!
//! For a store in memory there is no engine: its rows are all there is. A clean row stays until it is deleted, and one that is dirty
//! keeps what it was below. A *shadow* is a row that the store has let go, for its age or for want of room, and that the record cache
//! still has; it goes when the cache is full.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher;
use std::ops::Bound;

use hashbrown::{DefaultHashBuilder, HashTable};
use smallvec::SmallVec;
use tidewater_types::RecordContext;

use crate::KeyRange;

/// Bytes of a key or value; short ones take no memory of their own.
pub type RowBytes = SmallVec<[u8; INLINE_BYTES]>;

/// A key or value of so many bytes lies in its row.
const INLINE_BYTES: usize = 24;
/// Memory of a row's place in the index.
const INDEX_BYTES: usize = 8;
/// Rows that the clock hand looks at for each new row while there is no room.
const CLOCK_STEPS: usize = 16;
/// Stale entries in the order of dirty rows, beyond one for each dirty row, before they are weeded out.
const STALE_LIMIT: usize = 4096;

#[derive(Debug)]
struct Row {
    key: RowBytes,
    value: RowBytes,
    /// The flushed value under a dirty one, if the engine does not have it.
    below: Option<Box<Option<RowBytes>>>,
    /// Number of the last write in the order of dirty rows; 0 if the row is not dirty.
    dirty: u32,
    is_deleted: bool,
    /// Whether the row was taken by `next_dirty` and not written since.
    is_leaving: bool,
    is_unwritten: bool,
    was_read: bool,
}

impl Row {
    fn value(&self) -> Option<&[u8]> {
        (!self.is_deleted).then_some(&*self.value)
    }

    fn set(&mut self, value: Option<&[u8]>) {
        self.is_deleted = value.is_none();
        let value = value.unwrap_or_default();
        if self.value.len() == value.len() {
            self.value.copy_from_slice(value);
        } else {
            self.value = SmallVec::from_slice(value);
        }
    }

    fn is_clean(&self) -> bool {
        self.dirty == 0 && !self.is_leaving && !self.is_unwritten
    }

    /// Whether there is nothing below, and nothing to be written either.
    fn is_shadow(&self) -> bool {
        self.is_clean() && self.below.as_deref().is_some_and(Option::is_none)
    }

    fn bytes(&self) -> usize {
        let heap = |bytes: &RowBytes| if bytes.spilled() { bytes.capacity() } else { 0 };
        size_of::<Row>() + INDEX_BYTES + heap(&self.key) + heap(&self.value)
    }
}

/// An update that leaves the record cache.
#[derive(Clone, Debug)]
pub struct DirtyEntry {
    /// The key's bytes, in the store's layout.
    pub key: RowBytes,
    /// The newest value in the store's layout; `None` for a deletion.
    pub value: Option<RowBytes>,
    /// The record that wrote it last.
    pub context: RecordContext,
}

/// What the rows know of a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known<'a> {
    /// Nothing: the engine must be asked.
    Nothing,
    /// Its value, or that it has none.
    Value(Option<&'a [u8]>),
}

/// A row, as a scan finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowRef<'a> {
    pub key: &'a [u8],
    /// `None` if it is deleted.
    pub value: Option<&'a [u8]>,
    pub is_in_cache: bool,
}

/// The rows of one store. No order of a hash table is ever seen.
#[derive(Debug)]
pub(crate) struct Rows {
    hasher: DefaultHashBuilder,
    slots: Vec<Option<Row>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    /// The length of the times at the ends of keys, if there are any.
    suffix: Option<usize>,
    /// Rows by the part of their key before its time, in the order of their times; made when they are asked for, and kept until
    /// a commit finds them unused.
    by_prefix: Option<Prefixes>,
    is_prefix_used: bool,
    /// Rows by key; made when a range is asked for, and kept until a commit finds it unused.
    sorted: Option<BTreeMap<RowBytes, u32>>,
    is_sorted_used: bool,
    /// Dirty rows in the order of their writes; one whose number is not its row's is stale.
    order: Vec<(u32, u32, Option<RecordContext>)>,
    /// How many of them have left.
    left: usize,
    /// The row that left last.
    leaving: Option<u32>,
    /// The row that was found last: mostly it is asked for again, to be written.
    found: u32,
    dirty_rows: usize,
    unwritten: Vec<u32>,
    bytes: usize,
    dirty_bytes: usize,
    unwritten_bytes: usize,
    /// Dirty rows of more bytes are to be flushed.
    cache_bytes: usize,
    /// Clean rows go while all are of more bytes.
    budget_bytes: usize,
    /// Whether there is an engine that has what the rows do not.
    has_engine: bool,
    shadows: usize,
    hand: usize,
}

#[derive(Debug)]
struct Prefixes {
    suffix: usize,
    chains: HashTable<Chain>,
}

/// The rows of one prefix by their times; at least one.
#[derive(Debug)]
enum Chain {
    /// Many keys have one row only, which takes no memory of its own.
    One(u32),
    /// Rows leave mostly from the front, as times go on.
    Many(VecDeque<u32>),
}

impl Chain {
    fn first(&self) -> u32 {
        match self {
            Chain::One(slot) => *slot,
            Chain::Many(slots) => slots[0],
        }
    }

    /// The rows behind those of which `is_before` holds.
    fn from(&self, is_before: impl Fn(u32) -> bool) -> impl Iterator<Item = u32> {
        let (one, many) = match self {
            Chain::One(slot) => (Some(*slot).filter(|slot| !is_before(*slot)), None),
            Chain::Many(slots) => (None, Some(slots.range(slots.partition_point(|slot| is_before(*slot))..))),
        };
        one.into_iter().chain(many.into_iter().flatten().copied())
    }

    /// Puts a row behind those of which `is_before` holds.
    fn insert(&mut self, slot: u32, is_before: impl Fn(u32) -> bool) {
        if let Chain::One(first) = *self {
            *self = Chain::Many([first].into());
        }
        if let Chain::Many(slots) = self {
            slots.insert(slots.partition_point(|slot| is_before(*slot)), slot);
        }
    }

    /// Takes the row behind those of which `is_before` holds out; says whether it was the last one.
    fn remove(&mut self, is_before: impl Fn(u32) -> bool) -> bool {
        match self {
            Chain::One(_) => true,
            Chain::Many(slots) => {
                slots.remove(slots.partition_point(|slot| is_before(*slot)));
                slots.is_empty()
            }
        }
    }
}

impl Prefixes {
    /// Takes a row in, given the keys of all rows by slot.
    fn insert<'a>(&mut self, slot: u32, key_of: impl Fn(u32) -> &'a [u8], hasher: &DefaultHashBuilder) {
        let prefix = |slot: u32| prefix(key_of(slot), self.suffix);
        let own = prefix(slot);
        let entry = self.chains.entry(
            hasher.hash_one(own),
            |chain| prefix(chain.first()) == own,
            |chain| hasher.hash_one(prefix(chain.first())),
        );
        entry
            .and_modify(|chain| chain.insert(slot, |other| key_of(other) < key_of(slot)))
            .or_insert_with(|| Chain::One(slot));
    }
}

impl Rows {
    /// Rows of at most so many bytes that are dirty, and so many more for others, but for those that must not go. `suffix` is
    /// the length of the times at the ends of keys, if there are any.
    pub fn new(cache_bytes: usize, row_bytes: usize, suffix: Option<usize>) -> Self {
        Rows {
            hasher: DefaultHashBuilder::default(),
            slots: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            suffix,
            by_prefix: None,
            is_prefix_used: false,
            sorted: None,
            is_sorted_used: false,
            order: Vec::new(),
            left: 0,
            leaving: None,
            found: 0,
            dirty_rows: 0,
            unwritten: Vec::new(),
            bytes: 0,
            dirty_bytes: 0,
            unwritten_bytes: 0,
            cache_bytes,
            budget_bytes: cache_bytes + row_bytes,
            has_engine: true,
            shadows: 0,
            hand: 0,
        }
    }

    /// Rows that have no engine below.
    pub fn without_engine(cache_bytes: usize, suffix: Option<usize>) -> Self {
        Rows { has_engine: false, ..Rows::new(cache_bytes, 0, suffix) }
    }

    /// What is known of a key that has no row.
    fn absent(&self) -> Known<'static> {
        if self.has_engine { Known::Nothing } else { Known::Value(None) }
    }

    fn row(&self, slot: u32) -> &Row {
        match &self.slots[slot as usize] {
            Some(row) => row,
            None => unreachable!("indexes name rows that are there"),
        }
    }

    fn row_mut(&mut self, slot: u32) -> &mut Row {
        match &mut self.slots[slot as usize] {
            Some(row) => row,
            None => unreachable!("indexes name rows that are there"),
        }
    }

    fn find(&mut self, key: &[u8]) -> Option<u32> {
        if let Some(Some(row)) = self.slots.get(self.found as usize)
            && *row.key == *key
        {
            return Some(self.found);
        }
        let found = self.look_up(key)?;
        self.found = found;
        Some(found)
    }

    fn look_up(&self, key: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        self.index.find(hash, |&slot| *self.row(slot).key == *key).copied()
    }

    /// The newest value.
    pub fn get(&mut self, key: &[u8]) -> Known<'_> {
        match self.find(key) {
            None => self.absent(),
            Some(slot) => {
                let row = self.row_mut(slot);
                row.was_read = true;
                Known::Value(row.value())
            }
        }
    }

    /// The newest value of a key whose row was at a slot; it may be another key's now.
    pub fn get_at(&mut self, slot: u32, key: &[u8]) -> Known<'_> {
        self.found = slot;
        self.get(key)
    }

    /// Where the row is that was found or written last.
    pub fn found(&self) -> u32 {
        self.found
    }

    /// The value as it went downstream last.
    pub fn get_flushed(&self, key: &[u8]) -> Known<'_> {
        let Some(slot) = self.look_up(key) else { return self.absent() };
        let row = self.row(slot);
        match &row.below {
            Some(below) => Known::Value(below.as_deref()),
            None if row.dirty != 0 || row.is_leaving => self.absent(),
            None => Known::Value(row.value()),
        }
    }

    /// Keeps what a read found in the engine.
    pub fn remember(&mut self, key: &[u8], value: Option<&[u8]>) {
        if self.budget_bytes > 0 {
            let slot = self.insert(key);
            self.change(slot, value);
        }
    }

    /// Writes a value into the record cache. Says whether the key had no value in memory before.
    pub fn put(&mut self, key: &[u8], value: Option<&[u8]>, context: RecordContext) -> bool {
        let slot = self.find(key).unwrap_or_else(|| self.insert(key));
        let is_new = self.row(slot).is_deleted;
        let number = match self.order.last() {
            Some((_, number, _)) => number + 1,
            None => 1,
        };
        let is_only_here = !is_new && !self.has_engine;
        let was_dirty = self.with(slot, |row| {
            let was_dirty = row.dirty != 0;
            if (row.is_unwritten || is_only_here && !row.is_leaving) && !was_dirty && row.below.is_none() {
                row.below = Some(Box::new(row.value().map(SmallVec::from_slice)));
            }
            row.dirty = number;
            was_dirty
        });
        if !was_dirty {
            self.dirty_rows += 1;
            self.dirty_bytes += self.row(slot).bytes();
        }
        self.change(slot, value);
        self.order.push((slot, number, Some(context)));
        if self.order.len() > 2 * self.dirty_rows + STALE_LIMIT {
            self.order.drain(..std::mem::take(&mut self.left));
            let slots = &self.slots;
            self.order
                .retain(|(slot, number, _)| slots[*slot as usize].as_ref().is_some_and(|row| row.dirty == *number));
        }
        is_new
    }

    /// Writes a value that is in the changelog, and is to be written into the engine if there is one.
    pub fn write(&mut self, key: &[u8], value: Option<&[u8]>) {
        let found = self.find(key);
        if !self.has_engine && value.is_none() {
            return found.into_iter().for_each(|slot| self.delete(slot));
        }
        let slot = found.unwrap_or_else(|| self.insert(key));
        let (was_unwritten, is_dirty) = self.with(slot, |row| {
            row.is_leaving = false;
            // It may have been written again meanwhile.
            row.below = (row.dirty != 0).then(|| Box::new(value.map(SmallVec::from_slice)));
            (row.is_unwritten, row.dirty != 0)
        });
        if !is_dirty {
            self.change(slot, value);
        }
        if !was_unwritten && self.has_engine {
            self.row_mut(slot).is_unwritten = true;
            self.unwritten.push(slot);
            self.unwritten_bytes += self.row(slot).bytes();
        }
    }

    /// Deletes what a row has below the record cache; there is no engine.
    fn delete(&mut self, slot: u32) {
        let is_dirty = self.with(slot, |row| {
            (row.below, row.is_leaving) = (None, false);
            row.dirty != 0
        });
        if !is_dirty {
            self.remove(slot);
        }
    }

    /// Lets a key go that the store has no more, but for the record cache.
    pub fn let_go(&mut self, key: &[u8]) {
        if self.has_engine {
            self.write(key, None);
        } else if let Some(slot) = self.look_up(key) {
            self.let_go_at(slot);
        }
    }

    fn let_go_at(&mut self, slot: u32) {
        if self.cache_bytes == 0 {
            return self.remove(slot);
        }
        self.with(slot, |row| row.below = Some(Box::new(None)));
        self.make_room(CLOCK_STEPS);
    }

    /// Changes a row, and keeps count of shadows.
    fn with<R>(&mut self, slot: u32, change: impl FnOnce(&mut Row) -> R) -> R {
        let row = self.row_mut(slot);
        let before = row.is_shadow();
        let result = change(row);
        let after = row.is_shadow();
        self.shadows = self.shadows + usize::from(after) - usize::from(before);
        result
    }

    /// Whether a row is in the record cache: one that waits to leave it, and others while all have room there.
    fn is_in_cache(&self, row: &Row) -> bool {
        self.cache_bytes > 0 && (row.dirty != 0 || row.is_leaving || self.bytes <= self.cache_bytes)
    }

    /// Whether the row that was found last is in the record cache.
    pub fn is_found_in_cache(&self) -> bool {
        self.slots.get(self.found as usize).is_some_and(|row| row.as_ref().is_some_and(|row| self.is_in_cache(row)))
    }

    /// Lets the keys go of which a rule holds; there is no engine.
    pub fn sweep(&mut self, is_dead: impl Fn(&[u8]) -> bool) {
        for slot in 0..self.slots.len() {
            if self.slots[slot].as_ref().is_some_and(|row| is_dead(&row.key)) {
                self.let_go_at(slot as u32);
            }
        }
    }

    fn change(&mut self, slot: u32, value: Option<&[u8]>) {
        let row = self.row_mut(slot);
        let before = row.bytes();
        row.set(value);
        let (after, is_dirty, is_unwritten) = (row.bytes(), row.dirty != 0, row.is_unwritten);
        self.bytes = self.bytes + after - before;
        if is_unwritten {
            self.unwritten_bytes = (self.unwritten_bytes + after).saturating_sub(before);
        }
        if is_dirty {
            self.dirty_bytes = self.dirty_bytes + after - before;
        }
    }

    /// A new row without a value.
    fn insert(&mut self, key: &[u8]) -> u32 {
        self.make_room(CLOCK_STEPS);
        let row = Row {
            key: SmallVec::from_slice(key),
            value: SmallVec::new(),
            below: None,
            dirty: 0,
            is_deleted: true,
            is_leaving: false,
            is_unwritten: false,
            was_read: false,
        };
        self.bytes += row.bytes();
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(row);
                slot
            }
            None => {
                self.slots.push(Some(row));
                (self.slots.len() - 1) as u32
            }
        };
        let (hasher, slots) = (&self.hasher, &self.slots);
        let key_of = |slot: u32| slots[slot as usize].as_ref().map_or(&[][..], |row| &row.key);
        self.index.insert_unique(hasher.hash_one(key), slot, |&slot| hasher.hash_one(key_of(slot)));
        if let Some(prefixes) = &mut self.by_prefix {
            prefixes.insert(slot, key_of, hasher);
        }
        if let Some(sorted) = &mut self.sorted {
            sorted.insert(SmallVec::from_slice(key), slot);
        }
        self.found = slot;
        slot
    }

    fn remove(&mut self, slot: u32) {
        let (hasher, slots) = (&self.hasher, &self.slots);
        let key_of = |slot: u32| slots[slot as usize].as_ref().map_or(&[][..], |row| &row.key);
        let key = key_of(slot);
        if let Ok(entry) = self.index.find_entry(hasher.hash_one(key), |&other| other == slot) {
            entry.remove();
        }
        if let Some(Prefixes { suffix, chains }) = &mut self.by_prefix {
            let own = prefix(key, *suffix);
            if let Ok(mut entry) =
                chains.find_entry(hasher.hash_one(own), |chain| prefix(key_of(chain.first()), *suffix) == own)
                && entry.get_mut().remove(|other| key_of(other) < key)
            {
                entry.remove();
            }
        }
        if let Some(sorted) = &mut self.sorted {
            sorted.remove(key);
        }
        if let Some(row) = self.slots[slot as usize].take() {
            self.shadows -= usize::from(row.is_shadow());
            self.bytes -= row.bytes();
        }
        self.free.push(slot);
    }

    /// Lets clean rows go until the budget holds, or the hand has made so many steps; without an engine, shadows.
    fn make_room(&mut self, steps: usize) {
        for _ in 0..steps {
            if !self.has_engine && self.shadows == 0 || self.bytes <= self.budget_bytes || self.slots.is_empty() {
                return;
            }
            self.hand = (self.hand + 1) % self.slots.len();
            let Some(row) = &mut self.slots[self.hand] else { continue };
            if !row.is_clean() || !self.has_engine && !row.is_shadow() {
                continue;
            }
            if !std::mem::take(&mut row.was_read) || self.budget_bytes == 0 {
                self.remove(self.hand as u32);
            }
        }
    }

    /// Whether the dirty rows take more than they should.
    pub fn is_over_budget(&self) -> bool {
        self.dirty_bytes > self.cache_bytes
    }

    /// Takes the dirty row that was written first; `None` if there is none. It is to be written, or all rolled back.
    pub fn next_dirty(&mut self) -> Option<DirtyEntry> {
        // One that was not written deletes what is not there, or comes too late for the store: the record cache has it still.
        if let Some(slot) = self.leaving.take()
            && self.slots[slot as usize].as_ref().is_some_and(|row| row.is_leaving)
        {
            let has_engine = self.has_engine;
            let is_gone = self.with(slot, |row| {
                row.is_leaving = false;
                if !has_engine && row.dirty == 0 {
                    row.below.get_or_insert_with(|| Box::new(None));
                }
                row.is_deleted && row.dirty == 0 && !has_engine
            });
            if is_gone {
                self.remove(slot);
            }
        }
        while let Some((slot, number, context)) = self.order.get_mut(self.left) {
            self.left += 1;
            let Some(row) = &mut self.slots[*slot as usize] else { continue };
            if row.dirty != *number {
                continue;
            }
            self.dirty_rows -= 1;
            self.dirty_bytes -= row.bytes();
            row.dirty = 0;
            row.is_leaving = true;
            self.leaving = Some(*slot);
            self.found = *slot;
            let (key, value) = (SmallVec::from_slice(&row.key), row.value().map(SmallVec::from_slice));
            if let Some(context) = context.take() {
                return Some(DirtyEntry { key, value, context });
            }
        }
        self.order.clear();
        self.left = 0;
        None
    }

    /// Bytes of the unwritten rows.
    pub fn unwritten_bytes(&self) -> usize {
        self.unwritten_bytes
    }

    /// How many values the engine does not have, those left out that wait in the record cache alone.
    pub fn unwritten_values(&self) -> u64 {
        if self.has_engine {
            return self.unwritten.iter().filter(|&&slot| !self.row(slot).is_deleted).count() as u64;
        }
        let dirty = self.order[self.left..].iter().filter_map(|(slot, number, _)| {
            let row = self.slots[*slot as usize].as_ref().filter(|row| row.dirty == *number)?;
            row.below.as_deref().is_none_or(Option::is_none).then_some(row)
        });
        (self.index.len() - self.shadows - dirty.count()) as u64
    }

    /// What the engine does not have, in the order of the keys.
    pub fn unwritten(&self) -> Vec<(&[u8], Option<&[u8]>)> {
        let rows = self.unwritten.iter().map(|&slot| {
            let row = self.row(slot);
            let value = match &row.below {
                Some(below) => below.as_deref(),
                None => row.value(),
            };
            (first_bytes(&row.key), &*row.key, value)
        });
        let mut rows: Vec<_> = rows.collect();
        // The first bytes mostly decide, without a look at the row.
        rows.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.cmp(b.1)));
        rows.into_iter().map(|(_, key, value)| (key, value)).collect()
    }

    /// Notes that the engine has all that was [`Rows::unwritten`].
    pub fn all_written(&mut self) {
        for slot in std::mem::take(&mut self.unwritten) {
            let row = self.row_mut(slot);
            row.is_unwritten = false;
            row.below = None;
        }
        self.unwritten_bytes = 0;
        if self.has_engine {
            self.make_room(2 * self.slots.len());
        }
    }

    /// Lets the orders of rows go that nobody has asked for since the last commit.
    pub fn committed(&mut self) {
        if !std::mem::take(&mut self.is_sorted_used) {
            self.sorted = None;
        }
        if !std::mem::take(&mut self.is_prefix_used) {
            self.by_prefix = None;
        }
    }

    /// The rows of a range in the order of their keys; `None` values hide what the engine has.
    pub fn range<'a>(&'a mut self, range: &'a KeyRange) -> impl DoubleEndedIterator<Item = RowRef<'a>> {
        self.is_sorted_used = true;
        let slots = &self.slots;
        self.sorted.get_or_insert_with(|| {
            let rows =
                slots.iter().enumerate().filter_map(|(slot, row)| Some((row.as_ref()?.key.clone(), slot as u32)));
            rows.collect()
        });
        // An empty range may not be asked of a map.
        let from = if range.is_empty() { Bound::Unbounded } else { Bound::Included(&*range.from) };
        let to = match (&range.to, range.is_empty()) {
            (_, true) => Bound::Excluded(&[][..]),
            (Some(to), _) => Bound::Excluded(&**to),
            (None, _) => Bound::Unbounded,
        };
        let this = &*self;
        let sorted = this.sorted.iter().flat_map(move |sorted| sorted.range::<[u8], _>((from, to)));
        sorted.filter_map(|(_, slot)| Some(this.row_ref(this.slots[*slot as usize].as_ref()?)))
    }

    /// The rows of a range whose keys begin with `prefix` and end in a time behind it, in order.
    pub fn chain(&mut self, prefix_bytes: &[u8], range: &KeyRange) -> Vec<RowRef<'_>> {
        let Some(suffix) = self.suffix else { return Vec::new() };
        self.is_prefix_used = true;
        if self.by_prefix.is_none() {
            let mut prefixes = Prefixes { suffix, chains: HashTable::new() };
            let slots = &self.slots;
            let key_of = |slot: u32| slots[slot as usize].as_ref().map_or(&[][..], |row| &row.key);
            for (slot, _) in slots.iter().enumerate().filter(|(_, row)| row.is_some()) {
                prefixes.insert(slot as u32, key_of, &self.hasher);
            }
            self.by_prefix = Some(prefixes);
        }
        let Some(Prefixes { suffix, chains }) = &self.by_prefix else { return Vec::new() };
        let of = |slot: u32| prefix(&self.row(slot).key, *suffix);
        let chain = chains.find(self.hasher.hash_one(prefix_bytes), |chain| of(chain.first()) == prefix_bytes);
        let Some(chain) = chain else { return Vec::new() };
        let rows = chain.from(|slot| *self.row(slot).key < *range.from).map(|slot| self.row(slot));
        rows.take_while(|row| range.contains(&row.key)).map(|row| self.row_ref(row)).collect()
    }

    fn row_ref<'a>(&self, row: &'a Row) -> RowRef<'a> {
        RowRef { key: &row.key, value: row.value(), is_in_cache: self.is_in_cache(row) }
    }
}

/// The first bytes of a key as a number, in whose order keys are as far as it goes.
fn first_bytes(key: &[u8]) -> u128 {
    let mut first = [0; 16];
    let length = key.len().min(16);
    first[..length].copy_from_slice(&key[..length]);
    u128::from_be_bytes(first)
}

/// A key without the time at its end.
fn prefix(key: &[u8], suffix: usize) -> &[u8] {
    &key[..key.len().saturating_sub(suffix)]
}
