//! Typed handles on the stores of a task: those that operators use, and those that users' processors open.

use std::any::Any;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tidewater_state::{KeyRange, Logging, StoreHeaders, StoreKind, StoreSpec, Version, VersionPut, WindowEntry};
use tidewater_types::{Headers, Timestamp};

use super::context::AsCore;
use super::core::{Core, DropReason, StoreId};
use crate::codec::{CodecError, Data, Serde, Window};
use crate::error::TaskError;
use crate::graph::OpId;

/// The bytes of a key, made once per record and used for every step that needs them.
pub(crate) type Bytes = Vec<u8>;

/// A store with the codecs of its keys and values.
pub(crate) struct StoreAccess<K, V> {
    pub id: StoreId,
    pub key: Serde<K>,
    pub value: Serde<V>,
    /// Whether the store's values begin with their timestamps.
    pub stamped: bool,
    /// Whether headers come next.
    pub with_headers: bool,
    /// Values this much older than stream time are not shown.
    pub ttl_ms: Option<i64>,
}

impl<K, V> Clone for StoreAccess<K, V> {
    fn clone(&self) -> Self {
        StoreAccess {
            id: self.id,
            key: self.key.clone(),
            value: self.value.clone(),
            stamped: self.stamped,
            with_headers: self.with_headers,
            ttl_ms: self.ttl_ms,
        }
    }
}

/// A value and its timestamp.
pub(crate) type Stamped<V> = (V, Timestamp);

impl<K, V> StoreAccess<K, V> {
    /// To a store whose values stand alone, and for ever.
    pub fn plain(id: StoreId, key: Serde<K>, value: Serde<V>) -> Self {
        StoreAccess { id, key, value, stamped: false, with_headers: false, ttl_ms: None }
    }

    pub fn key_bytes(&self, key: &K) -> Result<Bytes, TaskError> {
        Ok(self.key.to_bytes(key)?)
    }

    /// Reads a value and its timestamp, which is unknown in stores without them.
    pub fn read_stamped(&self, raw: &[u8]) -> Result<Stamped<V>, CodecError> {
        if !self.stamped {
            return Ok((self.read_plain(raw)?, Timestamp::NONE));
        }
        let (timestamp, plain) =
            raw.split_first_chunk::<8>().ok_or_else(|| CodecError::new("timestamped value", "shorter than 8 bytes"))?;
        Ok((self.read_plain(plain)?, Timestamp(i64::from_be_bytes(*timestamp))))
    }

    /// Reads a value that no timestamp stands before.
    pub fn read_plain(&self, raw: &[u8]) -> Result<V, CodecError> {
        if !self.with_headers {
            return self.value.read(raw);
        }
        let malformed = || CodecError::new("value with headers", "not in its layout");
        self.value.read(tidewater_state::split_headers(raw).ok_or_else(malformed)?.1)
    }

    /// The bytes of a value that no timestamp stands before. Aggregates have no headers of their own.
    pub fn write_plain(&self, value: &V) -> Result<Vec<u8>, CodecError> {
        let mut raw = Vec::with_capacity(32);
        if self.with_headers {
            tidewater_state::write_headers(&Headers::EMPTY, &mut raw);
        }
        self.value.write(value, &mut raw)?;
        Ok(raw)
    }

    fn write_stamped(&self, value: Option<&V>, timestamp: Timestamp) -> Result<Option<Bytes>, TaskError> {
        let Some(value) = value else { return Ok(None) };
        let mut raw = Vec::with_capacity(32);
        if self.stamped {
            raw.extend_from_slice(&timestamp.0.to_be_bytes());
        }
        if self.with_headers {
            tidewater_state::write_headers(&Headers::EMPTY, &mut raw);
        }
        self.value.write(value, &mut raw)?;
        Ok(Some(raw))
    }

    /// The timestamped value of a key: of a versioned store the newest.
    pub fn get(&self, core: &mut Core, key: &[u8]) -> Result<Option<Stamped<V>>, TaskError> {
        if let StoreKind::Versioned { .. } = core.stores[self.id].spec().kind {
            let found = core.stores[self.id].get_latest(key)?;
            return Ok(found.map(|version| self.read_version(&version)).transpose()?);
        }
        Ok(core.stores[self.id].get(key, |raw| self.read_stamped(raw))?.transpose()?)
    }

    /// Whether a value of this time has outlived the store's time to live.
    fn is_expired(&self, core: &Core, timestamp: Timestamp) -> bool {
        self.ttl_ms.is_some_and(|ttl_ms| timestamp.0.saturating_add(ttl_ms) <= core.stream_time.0)
    }

    /// The timestamped value of a key, unless it has outlived the store's time to live.
    fn get_shown(&self, core: &mut Core, key: &[u8]) -> Result<Option<Stamped<V>>, TaskError> {
        let found = core.stores[self.id].get(key, |raw| self.read_stamped(raw))?.transpose()?;
        Ok(found.filter(|(_, timestamp)| !self.is_expired(core, *timestamp)))
    }

    /// The entries of a range that have not outlived the store's time to live.
    fn scan_shown(&self, core: &mut Core, range: &KeyRange) -> Result<Vec<(K, V, Timestamp)>, TaskError> {
        let mut shown = Vec::new();
        for (key, raw) in core.stores[self.id].scan(range, false)? {
            let (value, timestamp) = self.read_stamped(&raw)?;
            if !self.is_expired(core, timestamp) {
                shown.push((self.key.read(&key)?, value, timestamp));
            }
        }
        Ok(shown)
    }

    fn read_version(&self, version: &Version) -> Result<Stamped<V>, CodecError> {
        Ok((self.value.read(&version.value)?, Timestamp(version.valid_from)))
    }

    /// The value of a key as it was at a time, if the store is versioned, else as it is.
    pub fn get_as_of(&self, core: &mut Core, key: &[u8], at: Timestamp) -> Result<Option<Stamped<V>>, TaskError> {
        let StoreKind::Versioned { .. } = core.stores[self.id].spec().kind else { return self.get(core, key) };
        let found = core.stores[self.id].get_as_of(key, at.0)?;
        Ok(found.map(|version| self.read_version(&version)).transpose()?)
    }

    /// Puts a timestamped value, or deletes it; says what it is among the versions of its key, if there are any.
    pub fn put(
        &self,
        core: &mut Core,
        key: &[u8],
        value: Option<&V>,
        timestamp: Timestamp,
    ) -> Result<VersionPut, TaskError> {
        let StoreKind::Versioned { .. } = core.stores[self.id].spec().kind else {
            let raw = self.write_stamped(value, timestamp)?;
            self.put_raw(core, key, raw.as_deref())?;
            return Ok(VersionPut::Latest);
        };
        let raw = value.map(|value| self.value.to_bytes(value)).transpose()?;
        let put = core.stores[self.id].put_version(key, raw.as_deref(), timestamp.0, &mut core.outbox)?;
        if put == VersionPut::TooOld {
            core.drop_record(DropReason::Expired);
        }
        core.check_changelog()?;
        Ok(put)
    }

    /// Puts a timestamped value under a full key.
    pub fn put_stamped(
        &self,
        core: &mut Core,
        full: &[u8],
        value: Option<&V>,
        timestamp: Timestamp,
    ) -> Result<(), TaskError> {
        let raw = self.write_stamped(value, timestamp)?;
        self.put_raw(core, full, raw.as_deref())
    }

    /// Puts bytes in the store's layout under a full key.
    pub fn put_raw(&self, core: &mut Core, key: &[u8], raw: Option<&[u8]>) -> Result<(), TaskError> {
        let store = &mut core.stores[self.id];
        let kept = store.put(key, raw, &core.context, &mut core.outbox)?;
        // Kafka Streams counts an expired put only for stores in memory.
        let full = store.is_over_budget();
        if !kept {
            core.drop_record(DropReason::Expired);
        }
        if full {
            core.flush_cache(self.id)?;
        }
        core.check_changelog()
    }
}

/// A store that was added to a builder, to be opened by the processors that are given it.
pub struct StoreHandle<S> {
    pub(crate) index: usize,
    pub(crate) builder: u64,
    pub(crate) types: PhantomData<fn() -> S>,
}

impl<S> Clone for StoreHandle<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for StoreHandle<S> {}

/// How a typed store is made from its place in a task.
pub(crate) type OpenStore<S> = Arc<dyn Fn(StoreId) -> S + Send + Sync>;

/// A store as a program defines it, before it is added to a builder.
pub struct StoreDefinition<S> {
    pub(crate) spec: StoreSpec,
    pub(crate) open: OpenStore<S>,
}

impl<S> StoreDefinition<S> {
    /// In memory, not in RocksDB.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.spec.in_memory = true;
        self
    }

    /// With or without a record cache before it. Default: without.
    #[must_use]
    pub fn cached(mut self, cached: bool) -> Self {
        self.spec.cached = cached;
        self
    }

    /// Without a changelog: what it holds is gone with its folder.
    #[must_use]
    pub fn without_changelog(mut self) -> Self {
        self.spec.logging = Logging::Off;
        self
    }

    /// With this setting for its changelog topic.
    #[must_use]
    pub fn changelog_setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if let Logging::On(settings) = &mut self.spec.logging {
            settings.push((name.into(), value.into()));
        }
        self
    }
}

/// Gives processors their stores; see `KStream::process`.
pub struct Stores<'a> {
    pub(crate) builder: u64,
    pub(crate) opened: Vec<usize>,
    pub(crate) defined: &'a [DefinedStore],
    pub(crate) ids: Option<&'a BTreeMap<String, StoreId>>,
}

/// What unwinds from a processor's making when it opens a store of another builder.
pub(crate) struct ForeignStore;

/// A store of a builder: its spec, and an [`OpenStore`] of its type.
#[derive(Clone)]
pub(crate) struct DefinedStore {
    pub spec: StoreSpec,
    pub open: Arc<dyn Any + Send + Sync>,
    /// Whether it is filled from a topic, for all tasks to read.
    pub is_global: bool,
    /// The table whose rows it keeps, which gives it its name and kind.
    pub of_table: Option<OpId>,
}

impl Stores<'_> {
    /// Opens a store for this processor, which thereby is connected to it. With the handle of another builder the call does
    /// not return, and the builder's `build` gives an error.
    pub fn open<S: 'static>(&mut self, handle: &StoreHandle<S>) -> S {
        if handle.builder != self.builder {
            // There is no store to give. This ends the dry run, which is where it shows first, without a panic's message.
            std::panic::resume_unwind(Box::new(ForeignStore));
        }
        self.opened.push(handle.index);
        let defined = &self.defined[handle.index];
        let id = self.ids.and_then(|ids| ids.get(&defined.spec.name)).copied().unwrap_or(usize::MAX);
        match defined.open.downcast_ref::<OpenStore<S>>() {
            Some(open) => open(id),
            None => unreachable!("a handle and its definition are made together"),
        }
    }
}

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

    /// Deletes a key.
    pub fn delete(&self, ctx: &mut impl AsCore, key: &K) -> Result<(), TaskError> {
        let key = self.0.key_bytes(key)?;
        self.0.put_raw(ctx.core(), &key, None)
    }

    /// All entries, in the order of their keys' bytes.
    pub fn all(&self, ctx: &mut impl AsCore) -> Result<Vec<(K, V)>, TaskError> {
        self.read_range(ctx, &KeyRange::all())
    }

    /// The entries between two keys, both included, in the order of their bytes.
    pub fn range(&self, ctx: &mut impl AsCore, from: &K, to: &K) -> Result<Vec<(K, V)>, TaskError> {
        let range = KeyRange::inclusive(self.0.key_bytes(from)?, self.0.key_bytes(to)?);
        self.read_range(ctx, &range)
    }

    fn read_range(&self, ctx: &mut impl AsCore, range: &KeyRange) -> Result<Vec<(K, V)>, TaskError> {
        let shown = self.0.scan_shown(ctx.core(), range)?;
        Ok(shown.into_iter().map(|(key, value, _)| (key, value)).collect())
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
        self.spec.kind = StoreKind::KeyValue { timestamped: true };
        let open = self.open;
        let open = move |id| KeyValueStore(StoreAccess { stamped: true, ttl_ms, ..open(id).0 });
        StoreDefinition { open: Arc::new(open), ..self }
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

    /// Deletes a key.
    pub fn delete(&self, ctx: &mut impl AsCore, key: &K) -> Result<(), TaskError> {
        let key = self.0.key_bytes(key)?;
        self.0.put_raw(ctx.core(), &key, None)
    }

    /// All entries, in the order of their keys' bytes.
    pub fn all(&self, ctx: &mut impl AsCore) -> Result<Vec<(K, V, Timestamp)>, TaskError> {
        self.0.scan_shown(ctx.core(), &KeyRange::all())
    }
}

/// Keys with the versions of their values, each from a time on.
pub struct VersionedStore<K, V>(StoreAccess<K, V>);

/// A version of a value in a [`VersionedStore`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<V> {
    /// The value.
    pub value: V,
    /// The time from which it holds.
    pub valid_from: Timestamp,
    /// The time from which another one holds; `None` for the newest.
    pub valid_to: Option<Timestamp>,
}

impl<K: Data, V: Data> VersionedStore<K, V> {
    /// Over a table's rows.
    pub(crate) fn over(id: StoreId, key: Serde<K>, value: Serde<V>) -> Self {
        VersionedStore(StoreAccess::plain(id, key, value))
    }

    /// A persistent, logged store of that name that keeps versions for `history` after others have replaced them.
    pub fn define(name: impl Into<String>, history: Duration) -> StoreDefinition<Self> {
        Self::define_with(name, history, Serde::default(), Serde::default())
    }

    /// The same with serdes of its own.
    pub fn define_with(
        name: impl Into<String>,
        history: Duration,
        key: Serde<K>,
        value: Serde<V>,
    ) -> StoreDefinition<Self> {
        let kind = versioned_kind(history.into(), None);
        let open = move |id| VersionedStore(StoreAccess::plain(id, key.clone(), value.clone()));
        StoreDefinition { spec: StoreSpec::new(name, kind), open: Arc::new(open) }
    }

    fn read(&self, version: tidewater_state::Version) -> Result<Versioned<V>, TaskError> {
        Ok(Versioned {
            value: self.0.value.read(&version.value)?,
            valid_from: Timestamp(version.valid_from),
            valid_to: version.valid_to.map(Timestamp),
        })
    }

    /// The newest version of a key.
    pub fn get(&self, ctx: &mut impl AsCore, key: &K) -> Result<Option<Versioned<V>>, TaskError> {
        let key = self.0.key_bytes(key)?;
        ctx.core().stores[self.0.id].get_latest(&key)?.map(|version| self.read(version)).transpose()
    }

    /// The version of a key that holds at a time within the history. Before that only the newest one is found, if it holds
    /// since then.
    pub fn get_as_of(
        &self,
        ctx: &mut impl AsCore,
        key: &K,
        at: impl Into<Timestamp>,
    ) -> Result<Option<Versioned<V>>, TaskError> {
        let key = self.0.key_bytes(key)?;
        ctx.core().stores[self.0.id].get_as_of(&key, at.into().0)?.map(|version| self.read(version)).transpose()
    }

    /// Puts a version that holds from a time on, or `None` for a deletion, and says what became of it.
    pub fn put(
        &self,
        ctx: &mut impl AsCore,
        key: &K,
        value: Option<&V>,
        from: impl Into<Timestamp>,
    ) -> Result<VersionPut, TaskError> {
        let key = self.0.key_bytes(key)?;
        self.0.put(ctx.core(), &key, value, from.into())
    }

    /// Ends a key's value at a time; gives the version that held there.
    pub fn delete(
        &self,
        ctx: &mut impl AsCore,
        key: &K,
        at: impl Into<Timestamp>,
    ) -> Result<Option<Versioned<V>>, TaskError> {
        let at = at.into();
        let held = self.get_as_of(ctx, key, at)?;
        match self.put(ctx, key, None, at)? {
            VersionPut::TooOld => Ok(None),
            VersionPut::Latest | VersionPut::Until(_) => Ok(held),
        }
    }
}

/// The kind of a versioned store, with Kafka Streams' lengths of segments where none is given.
pub(crate) fn versioned_kind(history: tidewater_state::Retention, segment_ms: Option<i64>) -> StoreKind {
    let segment_ms = segment_ms.unwrap_or(match history.ms {
        ..=60_000 => (history.ms / 3).max(2_000),
        60_001..=3_600_000 => (history.ms / 5).max(20_000),
        _ => history.ms / 24,
    });
    StoreKind::Versioned { history, segment_ms }
}

/// Keys with values, their timestamps, and headers (KIP-1271), which are those of the changelog's records.
pub struct HeadersStore<K, V>(StoreAccess<K, V>);

impl<K: Data, V: Data> HeadersStore<K, V> {
    /// A persistent, logged store of that name.
    pub fn define(name: impl Into<String>) -> StoreDefinition<Self> {
        let mut spec = StoreSpec::new(name, StoreKind::KeyValue { timestamped: true });
        spec.headers = StoreHeaders::Kept;
        let open = |id| {
            let (key, value) = (Serde::default(), Serde::default());
            HeadersStore(StoreAccess { stamped: true, with_headers: true, ..StoreAccess::plain(id, key, value) })
        };
        StoreDefinition { spec, open: Arc::new(open) }
    }

    /// The value of a key, its timestamp and headers.
    pub fn get(&self, ctx: &mut impl AsCore, key: &K) -> Result<Option<(V, Timestamp, Headers)>, TaskError> {
        let key = self.0.key_bytes(key)?;
        let read = |raw: &[u8]| {
            let malformed = || CodecError::new("value with headers", "not in its layout");
            let (timestamp, rest) = raw.split_first_chunk::<8>().ok_or_else(malformed)?;
            let (headers, plain) = tidewater_state::split_headers(rest).ok_or_else(malformed)?;
            Ok::<_, CodecError>((self.0.value.read(plain)?, Timestamp(i64::from_be_bytes(*timestamp)), headers))
        };
        Ok(ctx.core().stores[self.0.id].get(&key, read)?.transpose()?)
    }

    /// Puts a value with its timestamp and headers.
    pub fn put(
        &self,
        ctx: &mut impl AsCore,
        key: &K,
        value: &V,
        timestamp: impl Into<Timestamp>,
        headers: &Headers,
    ) -> Result<(), TaskError> {
        let key = self.0.key_bytes(key)?;
        let mut raw = timestamp.into().0.to_be_bytes().to_vec();
        tidewater_state::write_headers(headers, &mut raw);
        self.0.value.write(value, &mut raw)?;
        self.0.put_raw(ctx.core(), &key, Some(&raw))
    }

    /// Deletes a key.
    pub fn delete(&self, ctx: &mut impl AsCore, key: &K) -> Result<(), TaskError> {
        let key = self.0.key_bytes(key)?;
        self.0.put_raw(ctx.core(), &key, None)
    }
}

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
        let (key, value) = (self.0.key_bytes(key)?, self.0.value.to_bytes(value)?);
        let core = ctx.core();
        let full = core.stores[self.0.id].next_window_key(&key, start.into().0);
        self.0.put_raw(core, &full, Some(&value))
    }

    /// The windows of a key that begin between two times, both included, by time.
    pub fn fetch(
        &self,
        ctx: &mut impl AsCore,
        key: &K,
        from: impl Into<Timestamp>,
        to: impl Into<Timestamp>,
    ) -> Result<Vec<(Timestamp, V)>, TaskError> {
        let raw = self.0.key_bytes(key)?;
        let entries = ctx.core().stores[self.0.id].fetch(&raw, from.into().0, to.into().0, false)?;
        let read = |entry: WindowEntry| Ok((Timestamp(entry.start), self.0.value.read(&entry.value)?));
        entries.into_iter().map(read).collect()
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

    /// All windows that the store still answers for.
    pub fn all(&self, ctx: &mut impl AsCore) -> Result<Vec<(K, Timestamp, V)>, TaskError> {
        let entries = ctx.core().stores[self.0.id].fetch_all(i64::MIN, i64::MAX)?;
        let read = |entry: WindowEntry| {
            Ok((self.0.key.read(&entry.key)?, Timestamp(entry.start), self.0.value.read(&entry.value)?))
        };
        entries.into_iter().map(read).collect()
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
}

/// Keys and sessions with values, for as long as the retention says.
pub struct SessionStore<K, V>(StoreAccess<K, V>);

impl<K: Data, V: Data> SessionStore<K, V> {
    /// A persistent, logged store of that name.
    pub fn define(name: impl Into<String>, retention: Duration) -> StoreDefinition<Self> {
        let spec = StoreSpec::new(name, StoreKind::Session { retention: retention.into() });
        let open = move |id| SessionStore(StoreAccess::plain(id, Serde::default(), Serde::default()));
        StoreDefinition { spec, open: Arc::new(open) }
    }

    /// The sessions of a key that end at or after `earliest_end` and begin at or before `latest_start`.
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

    /// Puts a session's value, or deletes the session.
    pub fn put(&self, ctx: &mut impl AsCore, key: &K, session: Window, value: Option<&V>) -> Result<(), TaskError> {
        let full = tidewater_state::session_key(&self.0.key_bytes(key)?, session.start, session.end);
        let value = value.map(|value| self.0.value.to_bytes(value)).transpose()?;
        self.0.put_raw(ctx.core(), &full, value.as_deref())
    }
}
