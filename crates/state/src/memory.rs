//! A store's engine in memory. Its writes are there at once; after a roll-back it is restored from the changelog.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::{KeyRange, StateError, Visit};

/// A sorted map.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl MemoryEngine {
    pub(crate) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.entries.get(key).map(Vec::as_slice)
    }

    pub(crate) fn count(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(crate) fn put(&mut self, key: &[u8], value: Option<&[u8]>) {
        match value {
            None => {
                self.entries.remove(key);
            }
            Some(value) => match self.entries.get_mut(key) {
                Some(old) => {
                    old.clear();
                    old.extend_from_slice(value);
                }
                None => {
                    self.entries.insert(key.to_vec(), value.to_vec());
                }
            },
        }
    }

    pub(crate) fn scan(&self, range: &KeyRange, reverse: bool, visit: Visit<'_>) -> Result<(), StateError> {
        if range.is_empty() {
            return Ok(());
        }
        let to = range.to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.entries.range::<[u8], _>((Bound::Included(range.from.as_slice()), to));
        let mut visit = |(key, value): (&Vec<u8>, &Vec<u8>)| visit(key, value).is_continue();
        if reverse {
            let _ = entries.rev().all(&mut visit);
        } else {
            let mut entries = entries;
            let _ = entries.all(&mut visit);
        }
        Ok(())
    }
}
