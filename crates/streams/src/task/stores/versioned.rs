//! Stores that keep the versions of a value.

use std::sync::Arc;
use std::time::Duration;

use tidewater_state::{StoreKind, StoreSpec, VersionPut};
use tidewater_types::Timestamp;

use super::{StoreAccess, StoreDefinition};
use crate::codec::{Data, Serde};
use crate::error::TaskError;
use crate::task::StoreId;
use crate::task::context::AsCore;

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

impl<K: Data, V: Data> StoreDefinition<VersionedStore<K, V>> {
    /// Has versions leave in steps of this length. Default: a third of the history or less, as in Kafka Streams.
    #[must_use]
    pub fn segments(mut self, length: Duration) -> Self {
        if let StoreKind::Versioned { segment_ms, .. } = &mut self.spec.kind {
            *segment_ms = Timestamp::from(length).0;
        }
        self
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
