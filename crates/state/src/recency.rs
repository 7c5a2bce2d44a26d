//! Which keys of a bounded store in memory were used least recently.

use std::collections::{BTreeMap, HashMap};

/// The keys of a store by their last use.
#[derive(Debug)]
pub(crate) struct Recency {
    max_keys: usize,
    uses: u64,
    by_key: HashMap<Vec<u8>, u64>,
    by_use: BTreeMap<u64, Vec<u8>>,
}

impl Recency {
    pub fn new(max_keys: usize) -> Self {
        Recency { max_keys, uses: 0, by_key: HashMap::new(), by_use: BTreeMap::new() }
    }

    /// A key was read.
    pub fn used(&mut self, key: &[u8]) {
        if let Some(last) = self.by_key.get_mut(key)
            && let Some(owned) = self.by_use.remove(last)
        {
            self.uses += 1;
            *last = self.uses;
            self.by_use.insert(self.uses, owned);
        }
    }

    /// A key was written, or deleted; gives the keys that have to leave for it.
    pub fn written(&mut self, key: &[u8], is_there: bool) -> Vec<Vec<u8>> {
        if let Some(last) = self.by_key.remove(key) {
            self.by_use.remove(&last);
        }
        if is_there {
            self.uses += 1;
            self.by_key.insert(key.to_vec(), self.uses);
            self.by_use.insert(self.uses, key.to_vec());
        }
        let mut dropped = Vec::new();
        while self.by_key.len() > self.max_keys
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.by_key.remove(&oldest);
            dropped.push(oldest);
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_leaves() {
        let mut recency = Recency::new(2);
        assert!(recency.written(b"a", true).is_empty());
        assert!(recency.written(b"b", true).is_empty());
        recency.used(b"a");
        assert_eq!(recency.written(b"c", true), [b"b"]);
        assert!(recency.written(b"a", false).is_empty());
        assert!(recency.written(b"d", true).is_empty());
        assert_eq!(recency.written(b"e", true), [b"c"]);
    }
}
