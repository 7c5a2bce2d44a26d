//! Tables: their sources, what is derived from them, and how others look a row up.

use std::marker::PhantomData;
use std::sync::Arc;

use tidewater_state::VersionPut;
use tidewater_types::{Record, Timestamp};

use super::change::{Change, change_listener};
use super::{Boxed, user};
use crate::codec::{Data, Field};
use crate::error::{TaskError, UserError};
use crate::task::{Core, DropReason, FlushListener, Node, NodeId, StoreAccess, TaskBuild, take_record};

/// Looks up a table's row: from a store, or worked out from the tables below.
pub(crate) trait ValueGetter<K, V>: Send {
    fn get(&self, core: &mut Core, key: &K) -> Result<Option<(V, Timestamp)>, TaskError>;

    /// The row as it was at a time, of a versioned table; of another one as it is.
    fn get_as_of(&self, core: &mut Core, key: &K, _at: Timestamp) -> Result<Option<(V, Timestamp)>, TaskError> {
        self.get(core, key)
    }
}

/// Makes a table's getter when a task is built.
pub(crate) type GetterMaker<K, V> = Arc<dyn Fn(&TaskBuild<'_>) -> Box<dyn ValueGetter<K, V>> + Send + Sync>;

/// Looks up rows of a key-value store.
pub(crate) struct StoreGetter<K, V>(pub StoreAccess<K, V>);

impl<K: Data, V: Data> ValueGetter<K, V> for StoreGetter<K, V> {
    fn get(&self, core: &mut Core, key: &K) -> Result<Option<(V, Timestamp)>, TaskError> {
        let raw = self.0.key_bytes(key)?;
        self.0.get(core, &raw)
    }

    fn get_as_of(&self, core: &mut Core, key: &K, at: Timestamp) -> Result<Option<(V, Timestamp)>, TaskError> {
        let raw = self.0.key_bytes(key)?;
        self.0.get_as_of(core, &raw, at)
    }
}

/// What a table that keeps rows in a store does with an update.
pub(crate) struct TableStore<K, V> {
    pub access: StoreAccess<K, V>,
    pub send_old: bool,
}

impl<K: Data, V: Data> TableStore<K, V> {
    /// Opens the store; if it is cached, updates are sent on from `node` when they leave the cache.
    pub fn open(build: &mut TaskBuild<'_>, access: StoreAccess<K, V>, send_old: bool) -> Self {
        build.listen(access.id, flush_listener(build.node, access.clone(), send_old));
        TableStore { access, send_old }
    }

    /// Writes a row and sends the change on, or leaves both to the cache.
    pub fn update(
        &self,
        core: &mut Core,
        node: NodeId,
        key_bytes: &[u8],
        record: Record<K, Change<V>>,
    ) -> Result<(), TaskError> {
        let put = self.access.put(core, key_bytes, record.value.new.as_ref(), record.timestamp)?;
        if core.stores[self.access.id].is_cached() {
            return Ok(());
        }
        let mut record = record;
        match put {
            VersionPut::TooOld => return Ok(()),
            VersionPut::Latest => record.value.is_latest = true,
            VersionPut::Until(_) => record.value.is_latest = false,
        }
        if !self.send_old {
            record.value.old = None;
        }
        core.forward(node, record)
    }
}

/// Sends on what leaves the cache of a key-value store: the change against what the store holds.
fn flush_listener<K: Data, V: Data>(node: NodeId, access: StoreAccess<K, V>, send_old: bool) -> FlushListener {
    let (store, values) = (access.id, access.clone());
    let read = move |raw: &[u8]| {
        values.read_stamped(raw).map(|(value, timestamp)| (value, values.stamped.then_some(timestamp)))
    };
    change_listener(store, send_old, read, move |core, key, change, timestamp| {
        let (key, headers) = (access.key.read(key)?, core.context.headers.clone());
        core.forward(node, Record { key, value: change, timestamp, headers })
    })
}

/// A table read from a topic, or made of a stream: keeps rows if somebody needs them.
pub(crate) struct TableSource<K, V, KIn, VIn> {
    pub id: NodeId,
    pub store: Option<TableStore<K, V>>,
    pub types: PhantomData<fn(KIn, VIn)>,
}

impl<KIn, VIn> Node for TableSource<KIn::Some, VIn::Some, KIn, VIn>
where
    KIn: Field,
    VIn: Field,
{
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value, timestamp, headers } = take_record::<KIn, VIn>(record);
        let Some(key) = key.into_some() else {
            core.drop_record(DropReason::NullKey);
            return Ok(());
        };
        let mut change = Change::new(value.into_some(), None);
        match &self.store {
            None => core.forward(self.id, Record { key, value: change, timestamp, headers }),
            Some(store) => {
                let raw = store.access.key_bytes(&key)?;
                change.old = store.access.get(core, &raw)?.map(|(old, _)| old);
                store.update(core, self.id, &raw, Record { key, value: change, timestamp, headers })
            }
        }
    }
}

/// Turns a table's changes into a stream of new values.
pub(crate) struct ToStream<K, V> {
    pub id: NodeId,
    pub types: PhantomData<fn(K, V)>,
}

impl<K: Data, V: Data> Node for ToStream<K, V> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value, timestamp, headers } = take_record::<K, Change<V>>(record);
        core.forward(self.id, Record { key, value: value.new, timestamp, headers })
    }
}

/// What a derived table makes of a row: another value, or none.
pub(crate) type Derive<K, V, V2> = Arc<dyn Fn(&K, V) -> Result<Option<V2>, UserError> + Send + Sync>;

/// A filtered or mapped table.
pub(crate) struct DerivedTable<K, V, V2> {
    pub id: NodeId,
    pub derive: Derive<K, V, V2>,
    pub store: Option<TableStore<K, V2>>,
    pub send_old: bool,
    /// Filters leave out deletes of rows that were not there, where they know; those of versioned tables do not.
    pub skip_absent: bool,
}

impl<K: Data, V: Data, V2: Data> Node for DerivedTable<K, V, V2> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value, timestamp, headers } = take_record::<K, Change<V>>(record);
        let derive = |value: Option<V>| -> Result<Option<V2>, TaskError> {
            value.map(|value| (self.derive)(&key, value)).transpose().map(Option::flatten).map_err(user)
        };
        let is_latest = value.is_latest;
        let new = derive(value.new)?;
        let old = match &self.store {
            // With a store, the old value is what the store has.
            Some(store) if self.send_old => {
                let raw = store.access.key_bytes(&key)?;
                store.access.get(core, &raw)?.map(|(old, _)| old)
            }
            Some(_) => None,
            None if self.send_old => derive(value.old)?,
            None => None,
        };
        if self.skip_absent && self.send_old && old.is_none() && new.is_none() {
            return Ok(());
        }
        let record = |key| Record { key, value: Change { new, old, is_latest }, timestamp, headers };
        match &self.store {
            None => core.forward(self.id, record(key)),
            Some(store) => {
                let raw = store.access.key_bytes(&key)?;
                store.update(core, self.id, &raw, record(key))
            }
        }
    }
}

/// Looks up a derived row by deriving it again.
pub(crate) struct DerivedGetter<K, V, V2> {
    pub parent: Box<dyn ValueGetter<K, V>>,
    pub derive: Derive<K, V, V2>,
}

impl<K: Data, V: Data, V2: Data> ValueGetter<K, V2> for DerivedGetter<K, V, V2> {
    fn get(&self, core: &mut Core, key: &K) -> Result<Option<(V2, Timestamp)>, TaskError> {
        let Some((value, timestamp)) = self.parent.get(core, key)? else { return Ok(None) };
        let derived = (self.derive)(key, value).map_err(user)?;
        Ok(derived.map(|value| (value, timestamp)))
    }

    fn get_as_of(&self, core: &mut Core, key: &K, at: Timestamp) -> Result<Option<(V2, Timestamp)>, TaskError> {
        let Some((value, timestamp)) = self.parent.get_as_of(core, key, at)? else { return Ok(None) };
        let derived = (self.derive)(key, value).map_err(user)?;
        Ok(derived.map(|value| (value, timestamp)))
    }
}

/// Passes changes on under another type of values.
pub(crate) struct RetypeTable<K, V, V2> {
    pub id: NodeId,
    pub derive: Derive<K, V, V2>,
}

impl<K: Data, V: Data, V2: Data> Node for RetypeTable<K, V, V2> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value, timestamp, headers } = take_record::<K, Change<V>>(record);
        let derive = |value: Option<V>| -> Result<Option<V2>, TaskError> {
            value.map(|value| (self.derive)(&key, value)).transpose().map(Option::flatten).map_err(user)
        };
        let change = Change { new: derive(value.new)?, old: derive(value.old)?, is_latest: value.is_latest };
        core.forward(self.id, Record { key, value: change, timestamp, headers })
    }
}
