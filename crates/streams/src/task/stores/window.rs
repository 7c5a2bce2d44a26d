//! Stores of keys and window starts.

use std::sync::Arc;
use std::time::Duration;

use tidewater_state::{StoreHeaders, StoreKind, StoreSpec, WindowEntry, push_window_suffix};
use tidewater_types::Timestamp;

use super::values::InStore;
use super::{StoreAccess, StoreDefinition, ValueAndTimestamp, ValueTimestampHeaders};
use crate::codec::{Data, Serde};
use crate::error::TaskError;
use crate::task::context::AsCore;

/// Keys and window starts with values, for as long as the retention says.
pub struct WindowStore<K, V>(StoreAccess<K, V>);

impl<K: Data, V: Data> WindowStore<K, V> {
    /// A persistent, logged store of that name that keeps windows of `size` for `retention`.
    pub fn define(name: impl Into<String>, retention: Duration, size: Duration) -> StoreDefinition<Self> {
        Self::define_with(name, retention, size, Serde::default(), Serde::default())
    }

    /// The same with serdes of its own.
    pub fn define_with(
        name: impl Into<String>,
        retention: Duration,
        size: Duration,
        key: Serde<K>,
        value: Serde<V>,
    ) -> StoreDefinition<Self> {
        let kind = StoreKind::Window {
            timestamped: false,
            retention: retention.into(),
            size_ms: Timestamp::from(size).0,
            duplicates: false,
        };
        let open = move |id| WindowStore(StoreAccess::plain(id, key.clone(), value.clone()));
        StoreDefinition { spec: StoreSpec::new(name, kind), open: Arc::new(open) }
    }

    /// The value of the window that begins at `start`.
    pub fn get(&self, ctx: &mut impl AsCore, key: &K, start: impl Into<Timestamp>) -> Result<Option<V>, TaskError> {
        let raw = self.0.key_bytes(key)?;
        let store = &mut ctx.core().stores[self.0.id];
        Ok(store.get_window(&raw, start.into().0, |value| self.0.value.read(value))?.transpose()?)
    }

    /// Puts the value of the window that begins at `start`.
    pub fn put(&self, ctx: &mut impl AsCore, key: &K, value: &V, start: impl Into<Timestamp>) -> Result<(), TaskError> {
        let (mut full, value) = (self.0.key_bytes(key)?, self.0.value.to_bytes(value)?);
        let core = ctx.core();
        let number = core.stores[self.0.id].next_window_number();
        push_window_suffix(&mut full, start.into().0, number);
        self.0.put_raw(core, &full, Some(&value))
    }

    /// Deletes the window that begins at `start`; where duplicates are kept it deletes nothing, as in Kafka Streams.
    pub fn delete(&self, ctx: &mut impl AsCore, key: &K, start: impl Into<Timestamp>) -> Result<(), TaskError> {
        let (core, mut full) = (ctx.core(), self.0.key_bytes(key)?);
        if let StoreKind::Window { duplicates: true, .. } = core.stores[self.0.id].spec().kind {
            return Ok(());
        }
        push_window_suffix(&mut full, start.into().0, 0);
        self.0.put_raw(core, &full, None)
    }

    /// The windows of a key that begin between two times, both included, by time.
    pub fn fetch(
        &self,
        ctx: &mut impl AsCore,
        key: &K,
        from: impl Into<Timestamp>,
        to: impl Into<Timestamp>,
    ) -> Result<Vec<(Timestamp, V)>, TaskError> {
        self.fetch_in_order(ctx, key, from.into(), to.into(), false)
    }

    /// The same, the latest first.
    pub fn fetch_reversed(
        &self,
        ctx: &mut impl AsCore,
        key: &K,
        from: impl Into<Timestamp>,
        to: impl Into<Timestamp>,
    ) -> Result<Vec<(Timestamp, V)>, TaskError> {
        self.fetch_in_order(ctx, key, from.into(), to.into(), true)
    }

    fn fetch_in_order(
        &self,
        ctx: &mut impl AsCore,
        key: &K,
        from: Timestamp,
        to: Timestamp,
        reverse: bool,
    ) -> Result<Vec<(Timestamp, V)>, TaskError> {
        let raw = self.0.key_bytes(key)?;
        let store = &mut ctx.core().stores[self.0.id];
        let found = store.fetch(&raw, from.0, to.0, reverse, |value| self.0.value.read(value))?;
        found.into_iter().map(|(start, value)| Ok((Timestamp(start), value?))).collect()
    }

    /// Whether the key has a window that begins between two times, both included.
    pub fn contains(
        &self,
        ctx: &mut impl AsCore,
        key: &K,
        from: impl Into<Timestamp>,
        to: impl Into<Timestamp>,
    ) -> Result<bool, TaskError> {
        let raw = self.0.key_bytes(key)?;
        Ok(ctx.core().stores[self.0.id].has_window(&raw, from.into().0, to.into().0)?)
    }

    /// The windows of a range of keys, both ends included where they are given, that begin between two times: one stretch of
    /// time after another, each by the bytes of its keys.
    pub fn fetch_range<'a>(
        &self,
        ctx: &mut impl AsCore,
        from_key: impl Into<Option<&'a K>>,
        to_key: impl Into<Option<&'a K>>,
        from: impl Into<Timestamp>,
        to: impl Into<Timestamp>,
    ) -> Result<Vec<(K, Timestamp, V)>, TaskError> {
        let keys = self.0.key_range(from_key.into(), to_key.into())?;
        let mut found = ctx.core().stores[self.0.id].fetch_all(from.into().0, to.into().0)?;
        found.retain(|entry| keys.contains(&entry.key));
        found.into_iter().map(|entry| self.read(&entry)).collect()
    }

    /// The windows of all keys that begin between two times, both included, in the order of [`WindowStore::fetch_range`].
    pub fn fetch_all(
        &self,
        ctx: &mut impl AsCore,
        from: impl Into<Timestamp>,
        to: impl Into<Timestamp>,
    ) -> Result<Vec<(K, Timestamp, V)>, TaskError> {
        self.fetch_range(ctx, None, None, from, to)
    }

    /// All windows that the store still answers for, in the order of [`WindowStore::fetch_range`].
    pub fn all(&self, ctx: &mut impl AsCore) -> Result<Vec<(K, Timestamp, V)>, TaskError> {
        self.fetch_all(ctx, Timestamp(i64::MIN), Timestamp(i64::MAX))
    }

    fn read(&self, entry: &WindowEntry) -> Result<(K, Timestamp, V), TaskError> {
        Ok((self.0.key.read(&entry.key)?, Timestamp(entry.start), self.0.value.read(&entry.value)?))
    }
}

impl<K: Data, V: Data> WindowStore<K, ValueAndTimestamp<V>> {
    /// A persistent, logged store of that name whose values have timestamps: those of the changelog's records.
    pub fn define_timestamped(name: impl Into<String>, retention: Duration, size: Duration) -> StoreDefinition<Self> {
        Self::define_timestamped_with(name, retention, size, Serde::default(), Serde::default())
    }

    /// The same with serdes of its own.
    pub fn define_timestamped_with(
        name: impl Into<String>,
        retention: Duration,
        size: Duration,
        key: Serde<K>,
        value: Serde<V>,
    ) -> StoreDefinition<Self> {
        Self::define_with(name, retention, size, key, Serde::new(InStore(value))).timestamped()
    }
}

impl<K: Data, V: Data> WindowStore<K, ValueTimestampHeaders<V>> {
    /// A persistent, logged store of that name whose values have timestamps and headers: those of the changelog's records
    /// (KIP-1271).
    pub fn define_with_headers(name: impl Into<String>, retention: Duration, size: Duration) -> StoreDefinition<Self> {
        Self::define_with_headers_with(name, retention, size, Serde::default(), Serde::default())
    }

    /// The same with serdes of its own.
    pub fn define_with_headers_with(
        name: impl Into<String>,
        retention: Duration,
        size: Duration,
        key: Serde<K>,
        value: Serde<V>,
    ) -> StoreDefinition<Self> {
        let value = Serde::new(InStore(value));
        let mut definition = Self::define_with(name, retention, size, key, value).timestamped();
        definition.spec.headers = StoreHeaders::Kept;
        definition
    }
}

impl<K: Data, V: Data> StoreDefinition<WindowStore<K, V>> {
    /// Keeps all values that are put for a key and window start, in the order of the puts, and without a record cache.
    /// [`WindowStore::fetch`] finds them; what [`WindowStore::get`] finds is, as in Kafka Streams, by chance.
    #[must_use]
    pub fn duplicates(mut self) -> Self {
        if let StoreKind::Window { duplicates, .. } = &mut self.spec.kind {
            *duplicates = true;
        }
        self
    }

    fn timestamped(mut self) -> Self {
        if let StoreKind::Window { timestamped, .. } = &mut self.spec.kind {
            *timestamped = true;
        }
        self
    }
}
