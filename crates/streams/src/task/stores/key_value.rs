//! Stores of keys with one value each.

use std::sync::Arc;
use std::time::Duration;

use tidewater_state::{KeyRange, StoreHeaders, StoreKind, StoreSpec};
use tidewater_types::Timestamp;

use super::values::InStore;
use super::{StoreAccess, StoreDefinition, ValueTimestampHeaders};
use crate::codec::{Data, Serde};
use crate::error::TaskError;
use crate::task::context::AsCore;
use crate::task::{Core, StoreId};

/// Keys with values.
pub struct KeyValueStore<K, V>(StoreAccess<K, V>);

impl<K: Data, V: Data> KeyValueStore<K, V> {
    /// A persistent, logged store of that name.
    pub fn define(name: impl Into<String>) -> StoreDefinition<Self> {
        Self::define_with(name, Serde::default(), Serde::default())
    }

    /// The same with serdes of its own.
    pub fn define_with(name: impl Into<String>, key: Serde<K>, value: Serde<V>) -> StoreDefinition<Self> {
        let spec = StoreSpec::new(name, StoreKind::KeyValue { timestamped: false });
        let open = move |id| KeyValueStore(StoreAccess::plain(id, key.clone(), value.clone()));
        StoreDefinition { spec, open: Arc::new(open) }
    }

    /// The value of a key.
    pub fn get(&self, ctx: &mut impl AsCore, key: &K) -> Result<Option<V>, TaskError> {
        let raw = self.0.key_bytes(key)?;
        Ok(self.0.get_shown(ctx.core(), &raw)?.map(|(value, _)| value))
    }

    /// Puts a value.
    pub fn put(&self, ctx: &mut impl AsCore, key: &K, value: &V) -> Result<(), TaskError> {
        let (core, key) = (ctx.core(), self.0.key_bytes(key)?);
        self.0.put(core, &key, Some(value), core.context.timestamp).map(drop)
    }

    /// Puts entries one after another.
    pub fn put_all<'a>(
        &self,
        ctx: &mut impl AsCore,
        entries: impl IntoIterator<Item = (&'a K, &'a V)>,
    ) -> Result<(), TaskError> {
        entries.into_iter().try_for_each(|(key, value)| self.put(ctx, key, value))
    }

    /// Puts a value if the key has none; gives the one that it has.
    pub fn put_if_absent(&self, ctx: &mut impl AsCore, key: &K, value: &V) -> Result<Option<V>, TaskError> {
        let found = self.get(ctx, key)?;
        if found.is_none() {
            self.put(ctx, key, value)?;
        }
        Ok(found)
    }

    /// Deletes a key; gives the value that it had.
    pub fn delete(&self, ctx: &mut impl AsCore, key: &K) -> Result<Option<V>, TaskError> {
        let found = self.get(ctx, key)?;
        self.0.put_raw(ctx.core(), &self.0.key_bytes(key)?, None)?;
        Ok(found)
    }

    /// All entries, in the order of their keys' bytes.
    pub fn all(&self, ctx: &mut impl AsCore) -> Result<Vec<(K, V)>, TaskError> {
        self.scan(ctx, &KeyRange::all(), false)
    }

    /// All entries, the last key first.
    pub fn all_reversed(&self, ctx: &mut impl AsCore) -> Result<Vec<(K, V)>, TaskError> {
        self.scan(ctx, &KeyRange::all(), true)
    }

    /// The entries of a range of keys, both ends included where they are given, in the order of their bytes.
    pub fn range<'a>(
        &self,
        ctx: &mut impl AsCore,
        from: impl Into<Option<&'a K>>,
        to: impl Into<Option<&'a K>>,
    ) -> Result<Vec<(K, V)>, TaskError> {
        self.scan(ctx, &self.0.key_range(from.into(), to.into())?, false)
    }

    /// The same, the last key first.
    pub fn range_reversed<'a>(
        &self,
        ctx: &mut impl AsCore,
        from: impl Into<Option<&'a K>>,
        to: impl Into<Option<&'a K>>,
    ) -> Result<Vec<(K, V)>, TaskError> {
        self.scan(ctx, &self.0.key_range(from.into(), to.into())?, true)
    }

    /// How many entries there are, about; one that was written lately may count twice.
    pub fn approximate_count(&self, ctx: &mut impl AsCore) -> Result<u64, TaskError> {
        self.0.approximate_count(ctx.core())
    }

    /// The entries whose keys' bytes begin with some, in their order.
    pub fn prefix_scan(&self, ctx: &mut impl AsCore, prefix: &[u8]) -> Result<Vec<(K, V)>, TaskError> {
        self.scan(ctx, &KeyRange::with_prefix(prefix), false)
    }

    fn scan(&self, ctx: &mut impl AsCore, range: &KeyRange, reverse: bool) -> Result<Vec<(K, V)>, TaskError> {
        let shown = self.0.scan_shown(ctx.core(), range, reverse)?;
        Ok(shown.into_iter().map(|(key, value, _)| (key, value)).collect())
    }
}

impl<K: Data, V: Data> KeyValueStore<K, ValueTimestampHeaders<V>> {
    /// A persistent, logged store of that name, whose values have timestamps and headers: those of the changelog's records
    /// (KIP-1271).
    pub fn define_with_headers(name: impl Into<String>) -> StoreDefinition<Self> {
        Self::define_with_headers_with(name, Serde::default(), Serde::default())
    }

    /// The same with serdes of its own.
    pub fn define_with_headers_with(name: impl Into<String>, key: Serde<K>, value: Serde<V>) -> StoreDefinition<Self> {
        let mut definition = Self::define_with(name, key, Serde::new(InStore(value)));
        definition.spec.kind = StoreKind::KeyValue { timestamped: true };
        definition.spec.headers = StoreHeaders::Kept;
        definition
    }
}

impl<K: Data, V: Data> StoreDefinition<KeyValueStore<K, V>> {
    /// Lets an entry live for this long in event time after the record that put it: an addition to Kafka Streams. What is older
    /// is not found any more, and is deleted from the store and from its changelog by the commits that follow, a large store
    /// in parts. The store keeps the time of each entry.
    #[must_use]
    pub fn ttl(mut self, lifetime: Duration) -> Self {
        let ttl_ms = Some(Timestamp::from(lifetime).0);
        self.spec.ttl_ms = ttl_ms;
        // In one with headers the times are the values' own: what is old is deleted, and found until then.
        let stamped = self.spec.headers != StoreHeaders::Kept;
        self.spec.kind = StoreKind::KeyValue { timestamped: true };
        let open = self.open;
        let open = move |id| KeyValueStore(StoreAccess { stamped, ttl_ms: ttl_ms.filter(|_| stamped), ..open(id).0 });
        StoreDefinition { open: Arc::new(open), ..self }
    }

    /// In memory, with at most this many keys: the one that was used longest ago leaves for a new one, and stays in the
    /// changelog, as with Kafka Streams' `lruMap`.
    #[must_use]
    pub fn least_recently_used(mut self, max_keys: usize) -> Self {
        self.spec.in_memory = true;
        self.spec.max_keys = Some(max_keys);
        self
    }
}

impl<K: Data, V: Data> StoreDefinition<TimestampedStore<K, V>> {
    /// Lets an entry live for this long in event time after its timestamp: an addition to Kafka Streams. What is older is not
    /// found any more, and is deleted from the store and from its changelog by the commits that follow, a large store in parts.
    #[must_use]
    pub fn ttl(mut self, lifetime: Duration) -> Self {
        let ttl_ms = Some(Timestamp::from(lifetime).0);
        self.spec.ttl_ms = ttl_ms;
        let open = self.open;
        let open = move |id| TimestampedStore(StoreAccess { ttl_ms, ..open(id).0 });
        StoreDefinition { open: Arc::new(open), ..self }
    }
}

/// Keys with values and their timestamps: the store behind tables.
pub struct TimestampedStore<K, V>(StoreAccess<K, V>);

impl<K: Data, V: Data> TimestampedStore<K, V> {
    /// Over a table's rows.
    pub(crate) fn over(id: StoreId, key: Serde<K>, value: Serde<V>) -> Self {
        TimestampedStore(StoreAccess { stamped: true, ..StoreAccess::plain(id, key, value) })
    }

    /// A persistent, logged store of that name.
    pub fn define(name: impl Into<String>) -> StoreDefinition<Self> {
        Self::define_with(name, Serde::default(), Serde::default())
    }

    /// The same with serdes of its own.
    pub fn define_with(name: impl Into<String>, key: Serde<K>, value: Serde<V>) -> StoreDefinition<Self> {
        let spec = StoreSpec::new(name, StoreKind::KeyValue { timestamped: true });
        let open = move |id| {
            TimestampedStore(StoreAccess { stamped: true, ..StoreAccess::plain(id, key.clone(), value.clone()) })
        };
        StoreDefinition { spec, open: Arc::new(open) }
    }

    /// The value of a key and its timestamp.
    pub fn get(&self, ctx: &mut impl AsCore, key: &K) -> Result<Option<(V, Timestamp)>, TaskError> {
        let raw = self.0.key_bytes(key)?;
        self.0.get_shown(ctx.core(), &raw)
    }

    /// Puts a value with its timestamp.
    pub fn put(
        &self,
        ctx: &mut impl AsCore,
        key: &K,
        value: &V,
        timestamp: impl Into<Timestamp>,
    ) -> Result<(), TaskError> {
        let key = self.0.key_bytes(key)?;
        self.0.put(ctx.core(), &key, Some(value), timestamp.into()).map(drop)
    }

    /// Puts a value if the key has none; gives the one that it has.
    pub fn put_if_absent(
        &self,
        ctx: &mut impl AsCore,
        key: &K,
        value: &V,
        timestamp: impl Into<Timestamp>,
    ) -> Result<Option<(V, Timestamp)>, TaskError> {
        let found = self.get(ctx, key)?;
        if found.is_none() {
            self.put(ctx, key, value, timestamp)?;
        }
        Ok(found)
    }

    /// Deletes a key; gives the value that it had.
    pub fn delete(&self, ctx: &mut impl AsCore, key: &K) -> Result<Option<(V, Timestamp)>, TaskError> {
        let found = self.get(ctx, key)?;
        self.0.put_raw(ctx.core(), &self.0.key_bytes(key)?, None)?;
        Ok(found)
    }

    /// All entries, in the order of their keys' bytes.
    pub fn all(&self, ctx: &mut impl AsCore) -> Result<Vec<(K, V, Timestamp)>, TaskError> {
        self.0.scan_shown(ctx.core(), &KeyRange::all(), false)
    }

    /// All entries, the last key first.
    pub fn all_reversed(&self, ctx: &mut impl AsCore) -> Result<Vec<(K, V, Timestamp)>, TaskError> {
        self.0.scan_shown(ctx.core(), &KeyRange::all(), true)
    }

    /// The entries of a range of keys, both ends included where they are given, in the order of their bytes.
    pub fn range<'a>(
        &self,
        ctx: &mut impl AsCore,
        from: impl Into<Option<&'a K>>,
        to: impl Into<Option<&'a K>>,
    ) -> Result<Vec<(K, V, Timestamp)>, TaskError> {
        self.0.scan_shown(ctx.core(), &self.0.key_range(from.into(), to.into())?, false)
    }

    /// The same, the last key first.
    pub fn range_reversed<'a>(
        &self,
        ctx: &mut impl AsCore,
        from: impl Into<Option<&'a K>>,
        to: impl Into<Option<&'a K>>,
    ) -> Result<Vec<(K, V, Timestamp)>, TaskError> {
        self.0.scan_shown(ctx.core(), &self.0.key_range(from.into(), to.into())?, true)
    }

    /// How many entries there are, about; one that was written lately may count twice.
    pub fn approximate_count(&self, ctx: &mut impl AsCore) -> Result<u64, TaskError> {
        self.0.approximate_count(ctx.core())
    }

    /// The entries whose keys' bytes begin with some, in their order.
    pub fn prefix_scan(&self, ctx: &mut impl AsCore, prefix: &[u8]) -> Result<Vec<(K, V, Timestamp)>, TaskError> {
        self.0.scan_shown(ctx.core(), &KeyRange::with_prefix(prefix), false)
    }
}

impl<K, V> StoreAccess<K, V> {
    fn approximate_count(&self, core: &mut Core) -> Result<u64, TaskError> {
        Ok(core.stores[self.id].approximate_count()?)
    }

    /// From one key to another, both included; without one to that end.
    pub(super) fn key_range(&self, from: Option<&K>, to: Option<&K>) -> Result<KeyRange, TaskError> {
        let from = from.map(|key| self.key_bytes(key)).transpose()?.unwrap_or_default();
        Ok(match to {
            Some(key) => KeyRange::inclusive(from, self.key_bytes(key)?),
            None => KeyRange { from, to: None },
        })
    }
}
