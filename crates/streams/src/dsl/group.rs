//! Grouped streams, and their aggregation without windows.

use std::marker::PhantomData;
use std::sync::Arc;

use super::cogroup::CogroupedStream;
use super::handle::{Handle, SerdeSlot, lock, maker};
use super::stream::repartition_maker;
use super::table::{KTable, store_getter};
use super::window::{Windows, user_functions};
use crate::codec::{Data, Field, Serde};
use crate::error::UserError;
use crate::graph::{AggregateOp, OpId, OpKind, RepartitionMaker, StoreTemplate};
use crate::node::aggregate::{Add, Aggregate, Init};
use crate::node::table::TableStore;

/// A stream grouped by key, to be aggregated.
///
/// Aggregations without windows leave out records whose key or value is null; those in windows leave out null keys only.
pub struct GroupedStream<K, V> {
    pub(crate) handle: Handle,
    pub(crate) key: SerdeSlot,
    pub(crate) value: SerdeSlot,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for GroupedStream<K, V> {
    fn clone(&self) -> Self {
        Self::new(self.handle.clone(), self.key.clone(), self.value.clone())
    }
}

/// The aggregate as the user's closures see it, from what the store has.
pub(crate) fn user_aggregate<A: Field>(stored: Option<A::Some>, init: &(impl Fn() -> A + ?Sized)) -> A {
    A::from_option(stored).unwrap_or_else(init)
}

impl<K, V> GroupedStream<K, V> {
    pub(crate) fn new(handle: Handle, key: SerdeSlot, value: SerdeSlot) -> Self {
        GroupedStream { handle, key, value, types: PhantomData }
    }

    /// Names the grouping, and with it the repartition topic if there is one.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        self.handle.set_name(name.into());
        self
    }
}

impl<K: Field, V: Field> GroupedStream<K, V> {
    /// The same grouping with other serdes for the repartition topic and the keys of stores.
    #[must_use]
    pub fn serdes(mut self, key: Serde<K::Some>, value: Serde<V::Some>) -> Self {
        (self.key, self.value) = (SerdeSlot::of(key), SerdeSlot::of(value));
        self
    }

    pub(crate) fn repartition(&self) -> RepartitionMaker {
        repartition_maker::<K, V>(self.key.get::<K>(), self.value.get::<V>())
    }

    /// How many records each key has.
    ///
    /// Keeps the count of each key in a store with a record cache and a changelog, and repartitions if the key may have changed.
    /// Records without a key or value are dropped; records in any order of time count, and a row has the latest time.
    pub fn count(&self) -> KTable<K::Some, i64> {
        let add: Add<K::Some, V::Some, i64> = Arc::new(|_, _, count| Ok(Some(count.unwrap_or(0) + 1)));
        self.aggregated("KSTREAM-AGGREGATE-", true, Arc::new(|| Some(0)), add, SerdeSlot::default())
    }

    /// Combines the values of each key, two at a time; the first one stands for itself. `None` deletes the row.
    ///
    /// State, repartition, nulls and late records as with [`GroupedStream::count`].
    pub fn reduce<R: Into<Option<V::Some>>>(
        &self,
        reduce: impl Fn(V::Some, V::Some) -> R + Send + Sync + 'static,
    ) -> KTable<K::Some, V::Some> {
        self.try_reduce(move |old, new| Ok(reduce(old, new)))
    }

    /// [`GroupedStream::reduce`] with a reducer that may fail.
    pub fn try_reduce<R: Into<Option<V::Some>>>(
        &self,
        reduce: impl Fn(V::Some, V::Some) -> Result<R, UserError> + Send + Sync + 'static,
    ) -> KTable<K::Some, V::Some> {
        let add: Add<K::Some, V::Some, V::Some> = Arc::new(move |_, value, old| match old {
            None => Ok(Some(value)),
            Some(old) => reduce(old, value).map(Into::into),
        });
        self.aggregated("KSTREAM-REDUCE-", false, Arc::new(|| None), add, self.value.clone())
    }

    /// Aggregates the values of each key, beginning with `init`. An aggregate of `None` deletes the row.
    ///
    /// State, repartition, nulls and late records as with [`GroupedStream::count`].
    pub fn aggregate<A: Field>(
        &self,
        init: impl Fn() -> A + Send + Sync + 'static,
        add: impl Fn(&K::Some, V::Some, A) -> A + Send + Sync + 'static,
    ) -> KTable<K::Some, A::Some> {
        self.try_aggregate(init, move |key, value, aggregate| Ok(add(key, value, aggregate)))
    }

    /// [`GroupedStream::aggregate`] with an aggregator that may fail.
    pub fn try_aggregate<A: Field>(
        &self,
        init: impl Fn() -> A + Send + Sync + 'static,
        add: impl Fn(&K::Some, V::Some, A) -> Result<A, UserError> + Send + Sync + 'static,
    ) -> KTable<K::Some, A::Some> {
        let (first, add) = user_functions(init, add);
        self.aggregated("KSTREAM-AGGREGATE-", false, first, add, SerdeSlot::default())
    }

    fn aggregated<A: Data>(
        &self,
        prefix: &'static str,
        is_count: bool,
        init: Init<A>,
        add: Add<K::Some, V::Some, A>,
        value: SerdeSlot,
    ) -> KTable<K::Some, A> {
        let op = lock(&self.handle.plan).ops.len();
        let table_value = value.clone();
        let aggregate = aggregate_op::<K, V, A>(op, self, prefix, is_count, init, add, value);
        let getter = store_getter(op, self.key.get::<K>(), table_value.get::<A>());
        KTable::new(self.handle.then(OpKind::Aggregate(aggregate)), self.key.clone(), table_value, getter)
    }

    /// Aggregates in windows.
    pub fn windowed_by<W: Windows>(&self, windows: W) -> W::Stream<K, V> {
        windows.apply(self)
    }

    /// Begins to aggregate this grouping together with others of the same key.
    pub fn cogroup<A: Field>(
        &self,
        add: impl Fn(&K::Some, V, A) -> A + Send + Sync + 'static,
    ) -> CogroupedStream<K, A> {
        self.try_cogroup(move |key, value, aggregate| Ok(add(key, value, aggregate)))
    }

    /// [`GroupedStream::cogroup`] with an aggregator that may fail.
    pub fn try_cogroup<A: Field>(
        &self,
        add: impl Fn(&K::Some, V, A) -> Result<A, UserError> + Send + Sync + 'static,
    ) -> CogroupedStream<K, A> {
        let handle = self.handle.then(OpKind::Cogroup);
        CogroupedStream::new(handle, self.key.clone()).try_cogroup(self, add)
    }
}

/// The operator that aggregates a grouped stream without windows.
pub(crate) fn aggregate_op<K: Field, V: Field, A: Data>(
    op: OpId,
    group: &GroupedStream<K, V>,
    prefix: &'static str,
    is_count: bool,
    init: Init<A>,
    add: Add<K::Some, V::Some, A>,
    value: SerdeSlot,
) -> AggregateOp {
    let (key, value) = (group.key.get::<K>(), value.get::<A>());
    let node = maker(move |build| {
        let facts = build.facts(op);
        let (store, send_old) = (facts.store.clone().unwrap_or_default(), facts.send_old);
        let access = build.access_of(op, &store, &key, &value);
        let store = TableStore::open(build, access, send_old);
        Aggregate::<K, V, A> { id: build.node, store, init: init.clone(), add: add.clone(), types: PhantomData }
    });
    let template = StoreTemplate::KeyValue;
    let repartition = group.repartition();
    AggregateOp { prefix, is_count, cacheable: true, time_ordered: false, node, template, repartition }
}
