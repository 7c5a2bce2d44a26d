//! Typed handles on the stores of a task: those that operators use, and those that users' processors open.

mod key_value;
mod session;
mod values;
mod versioned;
mod window;

use std::any::Any;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

pub use key_value::{KeyValueStore, TimestampedStore};
pub use session::SessionStore;
use tidewater_state::{KeyRange, Logging, StoreKind, StoreSpec, Version, VersionPut};
use tidewater_types::{Headers, Timestamp};

pub use values::{AggregationWithHeaders, ValueAndTimestamp, ValueTimestampHeaders};
pub(crate) use versioned::versioned_kind;
pub use versioned::{Versioned, VersionedStore};
pub use window::WindowStore;

use super::core::{Core, DropReason, StoreId};
use crate::codec::{CodecError, Serde};
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
    fn scan_shown(
        &self,
        core: &mut Core,
        range: &KeyRange,
        reverse: bool,
    ) -> Result<Vec<(K, V, Timestamp)>, TaskError> {
        let mut shown = Vec::new();
        for (key, raw) in core.stores[self.id].scan(range, reverse)? {
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
