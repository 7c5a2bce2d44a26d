//! What is particular to session stores: finding the sessions that a time range touches.

use crate::store::Entries;
use crate::{KeyRange, StateError, Store, session_key, split_session_key};

/// An entry of a session store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEntry {
    /// The key's bytes.
    pub key: Vec<u8>,
    /// Start of the session.
    pub start: i64,
    /// End of the session, included.
    pub end: i64,
    /// The value in the store's layout.
    pub value: Vec<u8>,
}

impl Store {
    /// The sessions of `key` that end at or after `earliest_end` and begin at or before `latest_start`, by their ends.
    pub fn find_sessions(
        &mut self,
        key: &[u8],
        earliest_end: i64,
        latest_start: i64,
    ) -> Result<Vec<SessionEntry>, StateError> {
        let earliest_end = earliest_end.max(0);
        if self.expiry.as_mut().is_some_and(|expiry| !expiry.may_have_key(key, earliest_end, i64::MAX)) {
            return Ok(Vec::new());
        }
        let range = KeyRange::inclusive(session_key(key, 0, earliest_end), session_key(key, i64::MAX, i64::MAX));
        let length = key.len();
        let live_from = self.live_from(i64::MIN);
        let found = self.scan_key(key, &range, false, |key| is_session_live(key, live_from))?;
        let mut found = self.session_entries(found)?;
        found.retain(|entry| entry.key.len() == length && entry.end >= earliest_end && entry.start <= latest_start);
        Ok(found)
    }

    /// All sessions, by key and end.
    pub fn all_sessions(&mut self) -> Result<Vec<SessionEntry>, StateError> {
        let live_from = self.live_from(i64::MIN);
        let found = self.scan_all(|key| is_session_live(key, live_from))?;
        self.session_entries(found)
    }

    /// The sessions of all keys that end at or after `earliest_end` and begin at or before `latest_start`: one stretch of time after
    /// another, each by key and end; in memory by their ends.
    pub fn find_all_sessions(&mut self, earliest_end: i64, latest_start: i64) -> Result<Vec<SessionEntry>, StateError> {
        let mut found = self.all_sessions()?;
        found.retain(|entry| entry.end >= earliest_end && entry.start <= latest_start);
        if self.spec().in_memory {
            found.sort_by_key(|entry| entry.end);
        } else if let Some(expiry) = &self.expiry {
            found.sort_by_key(|entry| expiry.segment(entry.end));
        }
        Ok(found)
    }

    fn session_entries(&self, found: Entries) -> Result<Vec<SessionEntry>, StateError> {
        let entry = |(full, value): (Vec<u8>, Vec<u8>)| {
            let (key, start, end) = split_session_key(&full).ok_or_else(|| self.malformed(&full))?;
            Ok(SessionEntry { key: key.to_vec(), start, end, value })
        };
        found.into_iter().map(entry).collect()
    }
}

fn is_session_live(full: &[u8], live_from: i64) -> bool {
    split_session_key(full).is_none_or(|(_, _, end)| end >= live_from)
}
