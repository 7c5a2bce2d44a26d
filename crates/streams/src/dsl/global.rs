//! Global tables and stores: in one place for all tasks, filled from a topic as a whole.

use std::any::TypeId;
use std::marker::PhantomData;
use std::sync::Arc;

use super::KStream;
use super::handle::{Handle, SerdeSlot, maker};
use crate::codec::{Data, Field};
use crate::error::UserError;
use crate::graph::{OpKind, StoreOptions};
use crate::node::global_join::{GlobalJoin, SelectKey};
use crate::node::stream_table_join::JoinRow;
use crate::node::table::GetterMaker;
use crate::task::StoreHandle;

/// A table that every task has as a whole; see [`StreamsBuilder::global_table`](super::StreamsBuilder::global_table).
///
/// Keeps all rows of all partitions, once a process.
pub struct GlobalKTable<K, V> {
    pub(crate) handle: Handle,
    pub(crate) getter: GetterMaker<K, V>,
}

impl<K, V> Clone for GlobalKTable<K, V> {
    fn clone(&self) -> Self {
        GlobalKTable { handle: self.handle.clone(), getter: self.getter.clone() }
    }
}

impl<K, V> GlobalKTable<K, V> {
    /// Names the table's source.
    pub fn named(self, name: impl Into<String>) -> Self {
        self.handle.set_name(name.into());
        self
    }

    fn option(self, set: impl FnOnce(&mut StoreOptions)) -> Self {
        self.handle.store(set);
        self
    }

    /// Names the store of the rows.
    pub fn store(self, name: impl Into<String>) -> Self {
        self.option(|store| store.name = Some(name.into()))
    }

    /// Keeps the rows in memory, not in RocksDB.
    pub fn in_memory(self) -> Self {
        self.option(|store| store.in_memory = Some(true))
    }

    /// Keeps the rows in RocksDB, whatever [`BuildSettings::in_memory_stores`](crate::BuildSettings) says.
    pub fn on_disk(self) -> Self {
        self.option(|store| store.in_memory = Some(false))
    }
}

/// A store for all tasks to read; see [`StreamsBuilder::global_store`](super::StreamsBuilder::global_store).
pub struct GlobalStore<S> {
    pub(crate) handle: Handle,
    pub(crate) store: StoreHandle<S>,
}

impl<S> GlobalStore<S> {
    /// Names the processor that fills the store, and begins the name of its source.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        self.handle.set_name(name.into());
        self
    }

    /// What processors open the store by.
    pub fn handle(&self) -> StoreHandle<S> {
        self.store
    }
}

impl<K: Field, V: Field> KStream<K, V> {
    /// Joins each record with the row of a global table that `select` finds by key and value. Records for which there is no
    /// row, no key, or that have no value are left out. Needs no repartition, and no equal partitions.
    pub fn join_global<GK: Data, G: Data, K2: Field<Some = GK>, R: Clone + Send + 'static>(
        &self,
        table: &GlobalKTable<GK, G>,
        select: impl Fn(&K, &V::Some) -> K2 + Send + Sync + 'static,
        join: impl Fn(&V::Some, &G) -> R + Send + Sync + 'static,
    ) -> KStream<K, R> {
        let select = move |key: &K, value: &V::Some| Ok(select(key, value));
        self.try_join_global_any(table, false, select, move |_, value, row| match row {
            Some(row) => Ok(join(value, row)),
            None => unreachable!("an inner join has both sides"),
        })
    }

    /// The same, with `None` where there is no row, or no key to look for. Records without a value are left out. Keeps nothing of
    /// its own, and repartitions nothing.
    pub fn left_join_global<GK: Data, G: Data, K2: Field<Some = GK>, R: Clone + Send + 'static>(
        &self,
        table: &GlobalKTable<GK, G>,
        select: impl Fn(&K, &V::Some) -> K2 + Send + Sync + 'static,
        join: impl Fn(&V::Some, Option<&G>) -> R + Send + Sync + 'static,
    ) -> KStream<K, R> {
        let select = move |key: &K, value: &V::Some| Ok(select(key, value));
        self.try_join_global_any(table, true, select, move |_, value, row| Ok(join(value, row)))
    }

    /// A join with a global table of either kind, with closures that may fail, and a joiner that sees the stream's key.
    pub fn try_join_global_any<GK: Data, G: Data, K2: Field<Some = GK>, R: Clone + Send + 'static>(
        &self,
        table: &GlobalKTable<GK, G>,
        left: bool,
        select: impl Fn(&K, &V::Some) -> Result<K2, UserError> + Send + Sync + 'static,
        join: impl Fn(&K, &V::Some, Option<&G>) -> Result<R, UserError> + Send + Sync + 'static,
    ) -> KStream<K, R> {
        let select: SelectKey<K, V::Some, GK> = Arc::new(move |key, value| select(key, value).map(Field::into_some));
        let join: JoinRow<K, V::Some, G, R> = Arc::new(join);
        let getter = table.getter.clone();
        let node = maker(move |build| GlobalJoin::<K, V, GK, G, R> {
            id: build.node,
            table: getter(build),
            select: select.clone(),
            join: join.clone(),
            left,
            types: PhantomData,
        });
        // Kafka Streams has one name for both kinds.
        let kind = OpKind::Process {
            prefix: "KSTREAM-LEFTJOIN-",
            node,
            key_changing: false,
            value_changing: TypeId::of::<V>() != TypeId::of::<R>(),
            repartitions: false,
            stores: vec![],
            relaxed_null_keys: left,
        };
        KStream::new(self.handle.then_beside(&table.handle, kind), self.key.clone(), SerdeSlot::default())
    }
}
