//! Stores of keys and sessions.

use std::sync::Arc;
use std::time::Duration;

use tidewater_state::{StoreHeaders, StoreKind, StoreSpec, session_key};
use tidewater_types::Timestamp;

use super::values::InStore;
use super::{AggregationWithHeaders, StoreAccess, StoreDefinition};
use crate::codec::{Data, Serde, Window};
use crate::error::TaskError;
use crate::task::context::AsCore;

/// Keys and sessions with values, for as long as the retention says.
pub struct SessionStore<K, V>(StoreAccess<K, V>);

impl<K: Data, V: Data> SessionStore<K, V> {
    /// A persistent, logged store of that name.
    pub fn define(name: impl Into<String>, retention: Duration) -> StoreDefinition<Self> {
        Self::define_with(name, retention, Serde::default(), Serde::default())
    }

    /// The same with serdes of its own.
    pub fn define_with(
        name: impl Into<String>,
        retention: Duration,
        key: Serde<K>,
        value: Serde<V>,
    ) -> StoreDefinition<Self> {
        let spec = StoreSpec::new(name, StoreKind::Session { retention: retention.into() });
        let open = move |id| SessionStore(StoreAccess::plain(id, key.clone(), value.clone()));
        StoreDefinition { spec, open: Arc::new(open) }
    }

    /// The value of a session.
    pub fn get(&self, ctx: &mut impl AsCore, key: &K, session: Window) -> Result<Option<V>, TaskError> {
        let full = session_key(&self.0.key_bytes(key)?, session.start, session.end);
        Ok(ctx.core().stores[self.0.id].get(&full, |value| self.0.value.read(value))?.transpose()?)
    }

    /// The sessions of a key that end at or after `earliest_end` and begin at or before `latest_start`, by their ends.
    pub fn find(
        &self,
        ctx: &mut impl AsCore,
        key: &K,
        earliest_end: impl Into<Timestamp>,
        latest_start: impl Into<Timestamp>,
    ) -> Result<Vec<(Window, V)>, TaskError> {
        let raw = self.0.key_bytes(key)?;
        let entries = ctx.core().stores[self.0.id].find_sessions(&raw, earliest_end.into().0, latest_start.into().0)?;
        entries
            .into_iter()
            .map(|entry| Ok((Window { start: entry.start, end: entry.end }, self.0.value.read(&entry.value)?)))
            .collect()
    }

    /// All sessions of a key, by their ends.
    pub fn fetch(&self, ctx: &mut impl AsCore, key: &K) -> Result<Vec<(Window, V)>, TaskError> {
        self.find(ctx, key, Timestamp(0), Timestamp(i64::MAX))
    }

    /// The sessions of a range of keys, both ends included where they are given, that end at or after `earliest_end` and begin at
    /// or before `latest_start`: one stretch of time after another, each by the bytes of its keys.
    pub fn find_range<'a>(
        &self,
        ctx: &mut impl AsCore,
        from_key: impl Into<Option<&'a K>>,
        to_key: impl Into<Option<&'a K>>,
        earliest_end: impl Into<Timestamp>,
        latest_start: impl Into<Timestamp>,
    ) -> Result<Vec<(K, Window, V)>, TaskError> {
        let keys = self.0.key_range(from_key.into(), to_key.into())?;
        let store = &mut ctx.core().stores[self.0.id];
        let mut found = store.find_all_sessions(earliest_end.into().0, latest_start.into().0)?;
        found.retain(|entry| keys.contains(&entry.key));
        let read = |entry: tidewater_state::SessionEntry| {
            let session = Window { start: entry.start, end: entry.end };
            Ok((self.0.key.read(&entry.key)?, session, self.0.value.read(&entry.value)?))
        };
        found.into_iter().map(read).collect()
    }

    /// Puts a session's value, or deletes the session.
    pub fn put(&self, ctx: &mut impl AsCore, key: &K, session: Window, value: Option<&V>) -> Result<(), TaskError> {
        let full = session_key(&self.0.key_bytes(key)?, session.start, session.end);
        let value = value.map(|value| self.0.value.to_bytes(value)).transpose()?;
        self.0.put_raw(ctx.core(), &full, value.as_deref())
    }
}

impl<K: Data, V: Data> SessionStore<K, AggregationWithHeaders<V>> {
    /// A persistent, logged store of that name whose values have headers: those of the changelog's records (KIP-1271).
    pub fn define_with_headers(name: impl Into<String>, retention: Duration) -> StoreDefinition<Self> {
        Self::define_with_headers_with(name, retention, Serde::default(), Serde::default())
    }

    /// The same with serdes of its own.
    pub fn define_with_headers_with(
        name: impl Into<String>,
        retention: Duration,
        key: Serde<K>,
        value: Serde<V>,
    ) -> StoreDefinition<Self> {
        let mut definition = Self::define_with(name, retention, key, Serde::new(InStore(value)));
        definition.spec.headers = StoreHeaders::Kept;
        definition
    }
}
