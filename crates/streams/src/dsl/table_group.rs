//! Grouped tables, and their aggregation.

use std::marker::PhantomData;
use std::sync::Arc;

use super::Topic;
use super::builder::source_maker;
use super::group::user_aggregate;
use super::handle::{Handle, SerdeSlot, lock, maker};
use super::sink::sink_maker;
use super::table::{KTable, store_getter};
use crate::codec::{Data, Field, Serde};
use crate::error::UserError;
use crate::graph::{GroupedTableOp, OpKind};
use crate::node::aggregate::{Add, Init};
use crate::node::change::{Change, ChangeCodec};
use crate::node::sink::Routing;
use crate::node::source::TimestampExtractor;
use crate::node::table::TableStore;
use crate::node::table_aggregate::TableAggregate;

/// A table grouped by another key, to be aggregated: a row's old value is subtracted, its new one added.
pub struct GroupedTable<K, V> {
    handle: Handle,
    key: SerdeSlot,
    value: SerdeSlot,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> GroupedTable<K, V> {
    pub(crate) fn new(handle: Handle) -> Self {
        GroupedTable { handle, key: SerdeSlot::default(), value: SerdeSlot::default(), types: PhantomData }
    }

    /// Names the grouping, and with it the repartition topic.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        self.handle.set_name(name.into());
        self
    }
}

impl<K: Data, V: Data> GroupedTable<K, V> {
    /// The same grouping with other serdes.
    #[must_use]
    pub fn serdes(mut self, key: Serde<K>, value: Serde<V>) -> Self {
        self.handle.set_serdes(Some(Arc::new(key.clone())), None);
        (self.key, self.value) = (SerdeSlot::of(key), SerdeSlot::of(value));
        self
    }

    /// How many rows each group has.
    ///
    /// Keeps the count of each group in a store with a record cache and a changelog, and always goes through a repartition topic, with
    /// the old row, which is subtracted, and the new one, which is added. Rows without a group or value are left out.
    pub fn count(&self) -> KTable<K, i64> {
        let add: Add<K, V, i64> = Arc::new(|_, _, count| Ok(Some(count.unwrap_or(0) + 1)));
        let subtract: Add<K, V, i64> = Arc::new(|_, _, count| Ok(Some(count.unwrap_or(0) - 1)));
        self.aggregated("KTABLE-AGGREGATE-", Arc::new(|| Some(0)), add, subtract, SerdeSlot::default())
    }

    /// Combines the values of each group; the first one stands for itself. `None` deletes the row.
    ///
    /// State, repartition and nulls as with [`GroupedTable::count`].
    pub fn reduce<R: Into<Option<V>>>(
        &self,
        add: impl Fn(V, V) -> R + Send + Sync + 'static,
        subtract: impl Fn(V, V) -> R + Send + Sync + 'static,
    ) -> KTable<K, V> {
        self.try_reduce(move |sum, value| Ok(add(sum, value)), move |sum, value| Ok(subtract(sum, value)))
    }

    /// [`GroupedTable::reduce`] with closures that may fail.
    pub fn try_reduce<R: Into<Option<V>>>(
        &self,
        add: impl Fn(V, V) -> Result<R, UserError> + Send + Sync + 'static,
        subtract: impl Fn(V, V) -> Result<R, UserError> + Send + Sync + 'static,
    ) -> KTable<K, V> {
        let reduced = |reduce: Arc<dyn Fn(V, V) -> Result<Option<V>, UserError> + Send + Sync>| -> Add<K, V, V> {
            Arc::new(move |_, value, old| match old {
                None => Ok(Some(value)),
                Some(old) => reduce(old, value),
            })
        };
        let add = reduced(Arc::new(move |old, new| add(old, new).map(Into::into)));
        let subtract = reduced(Arc::new(move |old, new| subtract(old, new).map(Into::into)));
        self.aggregated("KTABLE-REDUCE-", Arc::new(|| None), add, subtract, self.value.clone())
    }

    /// Aggregates the values of each group, beginning with `init`. An aggregate of `None` deletes the row.
    ///
    /// State, repartition and nulls as with [`GroupedTable::count`].
    pub fn aggregate<A: Field>(
        &self,
        init: impl Fn() -> A + Send + Sync + 'static,
        add: impl Fn(&K, V, A) -> A + Send + Sync + 'static,
        subtract: impl Fn(&K, V, A) -> A + Send + Sync + 'static,
    ) -> KTable<K, A::Some> {
        let add = move |key: &K, value, aggregate| Ok(add(key, value, aggregate));
        self.try_aggregate(init, add, move |key, value, aggregate| Ok(subtract(key, value, aggregate)))
    }

    /// [`GroupedTable::aggregate`] with functions that may fail.
    pub fn try_aggregate<A: Field>(
        &self,
        init: impl Fn() -> A + Send + Sync + 'static,
        add: impl Fn(&K, V, A) -> Result<A, UserError> + Send + Sync + 'static,
        subtract: impl Fn(&K, V, A) -> Result<A, UserError> + Send + Sync + 'static,
    ) -> KTable<K, A::Some> {
        let init = Arc::new(init);
        let first: Init<A::Some> = {
            let init = init.clone();
            Arc::new(move || init().into_some())
        };
        let other_init = init.clone();
        let add: Add<K, V, A::Some> = Arc::new(move |key, value, aggregate| {
            add(key, value, user_aggregate(aggregate, &*init)).map(Field::into_some)
        });
        let subtract: Add<K, V, A::Some> = Arc::new(move |key, value, aggregate| {
            subtract(key, value, user_aggregate(aggregate, &*other_init)).map(Field::into_some)
        });
        self.aggregated("KTABLE-AGGREGATE-", first, add, subtract, SerdeSlot::default())
    }

    fn aggregated<A: Data>(
        &self,
        prefix: &'static str,
        init: Init<A>,
        add: Add<K, V, A>,
        subtract: Add<K, V, A>,
        value: SerdeSlot,
    ) -> KTable<K, A> {
        let op = lock(&self.handle.plan).ops.len();
        let (key, aggregate) = (self.key.get::<K>(), value.get::<A>());
        let getter = store_getter(op, key.clone(), aggregate.clone());
        let store_key = key.clone();
        let node = maker(move |build| {
            let facts = build.facts(op);
            let (store, send_old) = (facts.store.clone().unwrap_or_default(), facts.send_old);
            let access = build.access_of(op, &store, &store_key, &aggregate);
            TableAggregate::<K, V, A> {
                id: build.node,
                store: TableStore::open(build, access, send_old),
                init: init.clone(),
                add: add.clone(),
                subtract: subtract.clone(),
                types: PhantomData,
            }
        });
        // Changes have a codec of their own, so `Change` needs no bytes by itself.
        let changes = Serde::new(ChangeCodec(self.value.get::<V>()));
        let topic = Topic::<K, Change<V>>::named("").with_serdes(key.clone(), changes.clone());
        let kind = OpKind::TableAggregate(GroupedTableOp {
            prefix,
            node,
            sink: sink_maker::<K, Change<V>, K, Change<V>>(key, changes, Routing::default()),
            source: source_maker(&topic, TimestampExtractor::FailOnInvalid),
        });
        KTable::new(self.handle.then(kind), self.key.clone(), value, getter)
    }
}

/// Always written by [`ChangeCodec`]; these would be those of a value alone.
impl<V: Data> Data for Change<V> {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), crate::CodecError> {
        crate::codec::Codec::write(&ChangeCodec(Serde::<V>::default()), self, out)
    }

    fn read(bytes: &[u8]) -> Result<Self, crate::CodecError> {
        crate::codec::Codec::read(&ChangeCodec(Serde::<V>::default()), bytes)
    }
}
