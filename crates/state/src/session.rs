//! What is particular to session stores: finding the sessions that a time range touches.

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
        &self,
        key: &[u8],
        earliest_end: i64,
        latest_start: i64,
    ) -> Result<Vec<SessionEntry>, StateError> {
        let earliest_end = earliest_end.max(0);
        let range = KeyRange::inclusive(session_key(key, 0, earliest_end), session_key(key, i64::MAX, i64::MAX));
        let length = key.len();
        let mut found = self.session_entries(&range)?;
        found.retain(|entry| entry.key.len() == length && entry.end >= earliest_end && entry.start <= latest_start);
        Ok(found)
    }

    /// All sessions, by key and end.
    pub fn all_sessions(&self) -> Result<Vec<SessionEntry>, StateError> {
        self.session_entries(&KeyRange::all())
    }

    fn session_entries(&self, range: &KeyRange) -> Result<Vec<SessionEntry>, StateError> {
        let live_from = self.live_from(i64::MIN);
        let is_live = |key: &[u8]| split_session_key(key).is_none_or(|(_, _, end)| end >= live_from);
        self.scan_live(range, false, is_live)?
            .into_iter()
            .map(|(full, value)| {
                let (key, start, end) = split_session_key(&full).ok_or_else(|| self.malformed(&full))?;
                Ok(SessionEntry { key: key.to_vec(), start, end, value })
            })
            .collect()
    }
}
