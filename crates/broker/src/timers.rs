//! Deadlines, in the order in which they come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Deadlines by what they are for; each has at most one.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    by_key: BTreeMap<K, Duration>,
    by_time: BTreeSet<(Duration, K)>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Timers { by_key: BTreeMap::new(), by_time: BTreeSet::new() }
    }
}

impl<K: Ord + Clone> Timers<K> {
    /// Sets a deadline, in place of an earlier one for the same.
    pub fn set(&mut self, key: K, at: Duration) {
        self.cancel(&key);
        self.by_key.insert(key.clone(), at);
        self.by_time.insert((at, key));
    }

    /// Sets a deadline, unless there is one for the same.
    pub fn set_if_absent(&mut self, key: K, at: Duration) {
        if !self.is_set(&key) {
            self.set(key, at);
        }
    }

    pub fn is_set(&self, key: &K) -> bool {
        self.by_key.contains_key(key)
    }

    pub fn cancel(&mut self, key: &K) {
        if let Some((key, at)) = self.by_key.remove_entry(key) {
            self.by_time.remove(&(at, key));
        }
    }

    /// The next deadline.
    pub fn next(&self) -> Option<Duration> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes the earliest of those that have come.
    pub fn take_due(&mut self, now: Duration) -> Option<K> {
        let (at, _) = self.by_time.first()?;
        if *at > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_and_the_last_word_counts() {
        let at = Duration::from_millis;
        let mut timers = Timers::default();
        timers.set("a", at(5));
        timers.set("b", at(3));
        timers.set("c", at(4));
        timers.set("b", at(9));
        timers.cancel(&"c");
        timers.cancel(&"d");
        assert_eq!(timers.next(), Some(at(5)));
        assert_eq!(timers.take_due(at(4)), None);
        assert_eq!(timers.take_due(at(20)), Some("a"));
        assert_eq!(timers.take_due(at(20)), Some("b"));
        assert_eq!(timers.take_due(at(20)), None);
        assert_eq!(timers.next(), None);
    }
}
