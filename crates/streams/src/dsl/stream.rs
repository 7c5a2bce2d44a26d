//! Streams: every record stands for itself.

use std::any::TypeId;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use tidewater_types::Partition;

use super::builder::source_maker;
use super::handle::{Handle, SerdeSlot, SharedPlan, lock, maker};
use super::sink::{Terminal, sink_maker};
use super::table::{KTable, source_getter};
use super::{GroupedStream, Topic};
use crate::codec::{Field, Fits, Serde};
use crate::dsl::Printed;
use crate::error::{BuildError, UserError};
use crate::graph::{NodeMaker, OpKind, RepartitionMaker};
use crate::node::sink::{DropNullKeys, FilterSome, ForEach, Routing};
use crate::node::source::TimestampExtractor;
use crate::node::stateless::{Branch, BranchTest, Filter, FlatMap, Map, Pass};
use crate::node::table::{TableSource, TableStore};
use crate::task::context::{FixedKeyNode, ProcessorNode};
use crate::task::stores::ForeignStore;
use crate::task::{FixedKeyProcessor, Processor, Stores, TaskBuild};
use crate::topology::OffsetReset;

/// A stream of records. `K` or `V` is an `Option` where keys or values may be null.
pub struct KStream<K, V> {
    pub(crate) handle: Handle,
    pub(crate) key: SerdeSlot,
    pub(crate) value: SerdeSlot,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for KStream<K, V> {
    fn clone(&self) -> Self {
        Self::new(self.handle.clone(), self.key.clone(), self.value.clone())
    }
}

/// What an operator means for keys, values and repartitioning.
pub(super) struct Effect {
    prefix: &'static str,
    key_changing: bool,
    value_changing: bool,
    repartitions: bool,
}

fn infallible<K, V>(action: impl Fn(&K, &V)) -> impl Fn(&K, &V) -> Result<(), UserError> {
    move |key, value| {
        action(key, value);
        Ok(())
    }
}

pub(super) const fn keeps(prefix: &'static str) -> Effect {
    Effect { prefix, key_changing: false, value_changing: false, repartitions: false }
}

const fn changes_values(prefix: &'static str) -> Effect {
    Effect { value_changing: true, ..keeps(prefix) }
}

const fn changes_keys(prefix: &'static str) -> Effect {
    Effect { key_changing: true, repartitions: true, ..keeps(prefix) }
}

impl<K, V> KStream<K, V> {
    pub(crate) fn new(handle: Handle, key: SerdeSlot, value: SerdeSlot) -> Self {
        KStream { handle, key, value, types: PhantomData }
    }

    /// Names the operator that made this stream. Generated names elsewhere stay what they were.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        self.handle.set_name(name.into());
        self
    }
}

impl<K, V> KStream<K, V>
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    pub(super) fn op<K2: 'static, V2: 'static>(
        &self,
        effect: Effect,
        key: SerdeSlot,
        value: SerdeSlot,
        stores: Vec<usize>,
        node: NodeMaker,
    ) -> KStream<K2, V2> {
        let Effect { prefix, key_changing, value_changing, repartitions } = effect;
        let value_changing = value_changing || TypeId::of::<(K, V)>() != TypeId::of::<(K2, V2)>();
        let relaxed_null_keys = false;
        let kind =
            OpKind::Process { prefix, node, key_changing, value_changing, repartitions, stores, relaxed_null_keys };
        KStream::new(self.handle.then(kind), key, value)
    }

    /// Keeps the records for which the predicate holds.
    ///
    /// Keeps nothing, repartitions nothing; the predicate sees null keys and values where the types have them.
    pub fn filter(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filtered(true, move |key, value| Ok(predicate(key, value)))
    }

    /// [`KStream::filter`] with a predicate that may fail.
    pub fn try_filter(&self, predicate: impl Fn(&K, &V) -> Result<bool, UserError> + Send + Sync + 'static) -> Self {
        self.filtered(true, predicate)
    }

    /// Keeps the records for which the predicate does not hold.
    pub fn filter_not(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filtered(false, move |key, value| Ok(predicate(key, value)))
    }

    /// [`KStream::filter_not`] with a predicate that may fail.
    pub fn try_filter_not(
        &self,
        predicate: impl Fn(&K, &V) -> Result<bool, UserError> + Send + Sync + 'static,
    ) -> Self {
        self.filtered(false, predicate)
    }

    fn filtered<F>(&self, keep: bool, predicate: F) -> Self
    where
        F: Fn(&K, &V) -> Result<bool, UserError> + Send + Sync + 'static,
    {
        let predicate = Arc::new(predicate);
        let node =
            maker(move |build| Filter { id: build.node, predicate: predicate.clone(), keep, types: PhantomData });
        self.op(keeps("KSTREAM-FILTER-"), self.key.clone(), self.value.clone(), vec![], node)
    }

    /// Makes another value of each value.
    ///
    /// Keeps nothing and repartitions nothing; nulls go through as far as the types allow them.
    pub fn map_values<V2>(&self, map: impl Fn(V) -> V2 + Send + Sync + 'static) -> KStream<K, V2>
    where
        V2: Clone + Send + 'static,
    {
        self.mapped_values(move |_, value| Ok(map(value)))
    }

    /// [`KStream::map_values`] with a mapper that may fail.
    pub fn try_map_values<V2>(&self, map: impl Fn(V) -> Result<V2, UserError> + Send + Sync + 'static) -> KStream<K, V2>
    where
        V2: Clone + Send + 'static,
    {
        self.mapped_values(move |_, value| map(value))
    }

    /// Makes another value of each key and value.
    ///
    /// Keeps nothing and repartitions nothing; nulls go through as far as the types allow them.
    pub fn map_values_with_key<V2>(&self, map: impl Fn(&K, V) -> V2 + Send + Sync + 'static) -> KStream<K, V2>
    where
        V2: Clone + Send + 'static,
    {
        self.mapped_values(move |key, value| Ok(map(key, value)))
    }

    /// [`KStream::map_values_with_key`] with a mapper that may fail.
    pub fn try_map_values_with_key<V2>(
        &self,
        map: impl Fn(&K, V) -> Result<V2, UserError> + Send + Sync + 'static,
    ) -> KStream<K, V2>
    where
        V2: Clone + Send + 'static,
    {
        self.mapped_values(map)
    }

    fn mapped_values<V2, F>(&self, map: F) -> KStream<K, V2>
    where
        V2: Clone + Send + 'static,
        F: Fn(&K, V) -> Result<V2, UserError> + Send + Sync + 'static,
    {
        let map = Arc::new(move |key: K, value: V| map(&key, value).map(|value| (key, value)));
        let node = maker(move |build| Map { id: build.node, map: map.clone(), types: PhantomData });
        self.op(changes_values("KSTREAM-MAPVALUES-"), self.key.clone(), SerdeSlot::default(), vec![], node)
    }

    /// Makes another key and value of each record.
    ///
    /// Keeps nothing. The key may have changed, so stateful operators behind it repartition; nulls go through as far as the
    /// types allow them.
    pub fn map<K2, V2>(&self, map: impl Fn(K, V) -> (K2, V2) + Send + Sync + 'static) -> KStream<K2, V2>
    where
        K2: Clone + Send + 'static,
        V2: Clone + Send + 'static,
    {
        self.try_map(move |key, value| Ok(map(key, value)))
    }

    /// [`KStream::map`] with a mapper that may fail.
    pub fn try_map<K2, V2>(
        &self,
        map: impl Fn(K, V) -> Result<(K2, V2), UserError> + Send + Sync + 'static,
    ) -> KStream<K2, V2>
    where
        K2: Clone + Send + 'static,
        V2: Clone + Send + 'static,
    {
        let map = Arc::new(map);
        let node = maker(move |build| Map { id: build.node, map: map.clone(), types: PhantomData });
        self.op(changes_keys("KSTREAM-MAP-"), SerdeSlot::default(), SerdeSlot::default(), vec![], node)
    }

    /// Gives each record another key. Stateful operators behind it repartition.
    pub fn select_key<K2>(&self, select: impl Fn(&K, &V) -> K2 + Send + Sync + 'static) -> KStream<K2, V>
    where
        K2: Clone + Send + 'static,
    {
        self.try_select_key(move |key, value| Ok(select(key, value)))
    }

    /// [`KStream::select_key`] with a selector that may fail.
    pub fn try_select_key<K2>(
        &self,
        select: impl Fn(&K, &V) -> Result<K2, UserError> + Send + Sync + 'static,
    ) -> KStream<K2, V>
    where
        K2: Clone + Send + 'static,
    {
        let node = select_key_node(select);
        self.op(changes_keys("KSTREAM-KEY-SELECT-"), SerdeSlot::default(), self.value.clone(), vec![], node)
    }

    /// Makes any number of records of each record.
    ///
    /// Keeps nothing. The key may have changed, so stateful operators behind it repartition; nulls go through as far as the
    /// types allow them.
    pub fn flat_map<K2, V2, I>(&self, map: impl Fn(K, V) -> I + Send + Sync + 'static) -> KStream<K2, V2>
    where
        K2: Clone + Send + 'static,
        V2: Clone + Send + 'static,
        I: IntoIterator<Item = (K2, V2)> + 'static,
    {
        self.try_flat_map(move |key, value| Ok(map(key, value)))
    }

    /// [`KStream::flat_map`] with a mapper that may fail.
    pub fn try_flat_map<K2, V2, I>(
        &self,
        map: impl Fn(K, V) -> Result<I, UserError> + Send + Sync + 'static,
    ) -> KStream<K2, V2>
    where
        K2: Clone + Send + 'static,
        V2: Clone + Send + 'static,
        I: IntoIterator<Item = (K2, V2)> + 'static,
    {
        let map = Arc::new(map);
        let node = maker(move |build| FlatMap { id: build.node, map: map.clone(), types: PhantomData });
        self.op(changes_keys("KSTREAM-FLATMAP-"), SerdeSlot::default(), SerdeSlot::default(), vec![], node)
    }

    /// Makes any number of values of each value; they keep the key.
    ///
    /// Keeps nothing and repartitions nothing; nulls go through as far as the types allow them.
    pub fn flat_map_values<V2, I>(&self, map: impl Fn(V) -> I + Send + Sync + 'static) -> KStream<K, V2>
    where
        V2: Clone + Send + 'static,
        I: IntoIterator<Item = V2> + 'static,
    {
        self.try_flat_map_values(move |_, value| Ok(map(value)))
    }

    /// [`KStream::flat_map_values`] with a mapper that sees the key.
    pub fn flat_map_values_with_key<V2, I>(&self, map: impl Fn(&K, V) -> I + Send + Sync + 'static) -> KStream<K, V2>
    where
        V2: Clone + Send + 'static,
        I: IntoIterator<Item = V2> + 'static,
    {
        self.try_flat_map_values(move |key, value| Ok(map(key, value)))
    }

    /// [`KStream::flat_map_values`] with a mapper that sees the key, and may fail.
    pub fn try_flat_map_values<V2, I>(
        &self,
        map: impl Fn(&K, V) -> Result<I, UserError> + Send + Sync + 'static,
    ) -> KStream<K, V2>
    where
        V2: Clone + Send + 'static,
        I: IntoIterator<Item = V2> + 'static,
    {
        let map = Arc::new(move |key: K, value: V| {
            let values = map(&key, value)?;
            Ok(values.into_iter().map(|value| (key.clone(), value)).collect::<Vec<_>>())
        });
        let node = maker(move |build| FlatMap { id: build.node, map: map.clone(), types: PhantomData });
        self.op(changes_values("KSTREAM-FLATMAPVALUES-"), self.key.clone(), SerdeSlot::default(), vec![], node)
    }

    /// Looks at each record, and passes it on. Keeps nothing; null keys and values are seen where the types have them.
    pub fn peek(&self, action: impl Fn(&K, &V) + Send + Sync + 'static) -> Self {
        self.try_peek(infallible(action))
    }

    /// [`KStream::peek`] with an action that may fail.
    pub fn try_peek(&self, action: impl Fn(&K, &V) -> Result<(), UserError> + Send + Sync + 'static) -> Self {
        self.acted_on("KSTREAM-PEEK-", action, true)
    }

    /// Does something with each record; the stream ends here. Keeps nothing; null keys and values are seen where the types have
    /// them.
    pub fn for_each(&self, action: impl Fn(&K, &V) + Send + Sync + 'static) -> Terminal {
        self.try_for_each(infallible(action))
    }

    /// [`KStream::for_each`] with an action that may fail.
    pub fn try_for_each(&self, action: impl Fn(&K, &V) -> Result<(), UserError> + Send + Sync + 'static) -> Terminal {
        Terminal(self.acted_on("KSTREAM-FOREACH-", action, false).handle)
    }

    /// Prints each record as `[label]: key, value`; the stream ends here. A label alone prints to standard output, and so does
    /// [`Printed::new`], under the name of the stream's processor.
    ///
    /// Keeps nothing and repartitions nothing; nulls go through as far as the types allow them.
    pub fn print(&self, printed: impl Into<Printed<K, V>>) -> Terminal {
        let print = Arc::new(printed.into().action());
        let stream = self.handle.op;
        let node = maker(move |build| {
            let (print, name) = (print.clone(), build.facts(stream).name.clone());
            let action = Arc::new(move |key: &K, value: &V| print(&name, key, value));
            ForEach { id: build.node, action, forward: false, types: PhantomData }
        });
        Terminal(self.op::<K, V>(keeps("KSTREAM-PRINTER-"), self.key.clone(), self.value.clone(), vec![], node).handle)
    }

    fn acted_on(
        &self,
        prefix: &'static str,
        action: impl Fn(&K, &V) -> Result<(), UserError> + Send + Sync + 'static,
        forward: bool,
    ) -> Self {
        let action = Arc::new(action);
        let node = maker(move |build| ForEach { id: build.node, action: action.clone(), forward, types: PhantomData });
        self.op(keeps(prefix), self.key.clone(), self.value.clone(), vec![], node)
    }

    /// The records of both streams, each in its order.
    ///
    /// Keeps nothing. Behind a merge of streams of which one may have other keys, stateful operators repartition.
    pub fn merge(&self, other: &KStream<K, V>) -> Self {
        let node = maker(|build| Pass::<K, V> { id: build.node, types: PhantomData });
        let handle = self.handle.join(&[&other.handle], OpKind::Merge { node });
        KStream::new(handle, self.key.clone(), self.value.clone())
    }

    /// Begins a split into branches: each record goes to the first branch whose predicate holds.
    ///
    /// Keeps nothing and repartitions nothing; nulls go through as far as the types allow them.
    pub fn split(&self) -> Split<K, V> {
        let handle = self.handle.then(OpKind::Split { node: branch_node::<K, V>(vec![]) });
        Split { handle, key: self.key.clone(), value: self.value.clone(), tests: vec![] }
    }

    /// The same stream under other types, without a node: the bytes of keys and values stay what they were.
    pub fn retype<K2, V2>(
        &self,
        key: impl Fn(K) -> K2 + Send + Sync + 'static,
        value: impl Fn(V) -> V2 + Send + Sync + 'static,
    ) -> KStream<K2, V2>
    where
        K2: Clone + Send + 'static,
        V2: Clone + Send + 'static,
    {
        let map = Arc::new(move |k: K, v: V| Ok((key(k), value(v))));
        let node = maker(move |build| Map { id: build.node, map: map.clone(), types: PhantomData });
        KStream::new(self.handle.then(OpKind::Retype { node }), self.key.clone(), self.value.clone())
    }

    /// The same stream with keys or values seen as optional, as merging with another one may need.
    pub fn widen<K2, V2>(&self) -> KStream<K2, V2>
    where
        K: Fits<K2>,
        V: Fits<V2>,
        K2: Clone + Send + 'static,
        V2: Clone + Send + 'static,
    {
        self.retype(Fits::fit, Fits::fit)
    }

    /// Runs a processor of your own. The closure makes one for each task, and opens its stores.
    ///
    /// The key may change, so stateful operators behind it repartition.
    pub fn process<P>(&self, make: impl Fn(&mut Stores<'_>) -> P + Send + Sync + 'static) -> KStream<P::KOut, P::VOut>
    where
        P: Processor<KIn = K, VIn = V>,
    {
        let stores = dry_run(&self.handle.plan, &make);
        let node = maker(move |build| {
            let processor = make(&mut stores_of(build));
            ProcessorNode { id: build.node, processor }
        });
        let effect = Effect { key_changing: false, ..changes_keys("KSTREAM-PROCESSOR-") };
        self.op(effect, SerdeSlot::default(), SerdeSlot::default(), stores, node)
    }

    /// Runs a processor of your own that leaves keys alone.
    ///
    /// Keeps what its stores hold; no operator behind it repartitions for its sake. Nulls are the processor's to deal with.
    pub fn process_values<P>(&self, make: impl Fn(&mut Stores<'_>) -> P + Send + Sync + 'static) -> KStream<K, P::VOut>
    where
        P: FixedKeyProcessor<K = K, VIn = V>,
    {
        let stores = dry_run(&self.handle.plan, &make);
        let node = maker(move |build| {
            let processor = make(&mut stores_of(build));
            FixedKeyNode { id: build.node, processor }
        });
        self.op(keeps("KSTREAM-PROCESSVALUES-"), self.key.clone(), SerdeSlot::default(), stores, node)
    }
}

/// Makes a processor once to learn which stores it opens.
pub(crate) fn dry_run<P>(plan: &SharedPlan, make: &impl Fn(&mut Stores<'_>) -> P) -> Vec<usize> {
    let (defined, builder) = {
        let plan = lock(plan);
        (plan.stores.clone(), plan.builder)
    };
    let mut stores = Stores { builder, opened: vec![], defined: &defined, ids: None };
    match catch_unwind(AssertUnwindSafe(|| drop(make(&mut stores)))) {
        Ok(()) => {}
        Err(panic) if panic.is::<ForeignStore>() => {
            lock(plan).errors.push(BuildError::ForeignHandle("a store".to_owned()));
        }
        Err(panic) => resume_unwind(panic),
    }
    stores.opened
}

pub(crate) fn stores_of<'a>(build: &'a TaskBuild<'_>) -> Stores<'a> {
    let builder = build.topology.builder();
    Stores { builder, opened: vec![], defined: build.defined_stores(), ids: Some(build.store_ids) }
}

impl<K, V> KStream<K, Option<V>>
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Drops (and counts) the records without a value.
    ///
    /// Keeps nothing and repartitions nothing; null keys go through as far as the type allows them.
    pub fn filter_some(&self) -> KStream<K, V> {
        let node = maker(|build| FilterSome::<K, V> { id: build.node, types: PhantomData });
        self.op(keeps("KSTREAM-FILTER-"), self.key.clone(), self.value.clone(), vec![], node)
    }
}

impl<K: Field, V: Clone + Send + 'static> KStream<K, V> {
    /// The same stream with another serde for its keys, inherited by what follows.
    #[must_use]
    pub fn key_serde(mut self, serde: Serde<K::Some>) -> Self {
        self.key = SerdeSlot::of(serde);
        self
    }
}

impl<K: Clone + Send + 'static, V: Field> KStream<K, V> {
    /// The same stream with another serde for its values, inherited by what follows.
    #[must_use]
    pub fn value_serde(mut self, serde: Serde<V::Some>) -> Self {
        self.value = SerdeSlot::of(serde);
        self
    }
}

impl<K: Field, V: Field> KStream<K, V> {
    /// Takes the records' time from elsewhere. To be called right after `stream`.
    #[must_use]
    pub fn timestamps(self, extractor: TimestampExtractor<K, V>) -> Self {
        let topic = Topic::<K, V>::named("").with_serdes(self.key.get::<K>(), self.value.get::<V>());
        let mut is_source = false;
        self.handle.option(|kind| {
            if let OpKind::Stream { source, .. } = kind {
                is_source = true;
                *source = source_maker(&topic, extractor);
            }
        });
        if !is_source {
            self.handle.fail(BuildError::UnknownOption { operator: "this stream".to_owned(), option: "timestamps" });
        }
        self
    }

    /// Where to begin in partitions for which no offset is committed (`auto.offset.reset`). To be called right after `stream`.
    /// Default: at the earliest record.
    #[must_use]
    pub fn offset_reset(self, reset: OffsetReset) -> Self {
        let mut is_source = false;
        self.handle.option(|kind| {
            if let OpKind::Stream { reads, .. } = kind {
                is_source = true;
                reads.reset = Some(reset);
            }
        });
        if !is_source {
            self.handle.fail(BuildError::UnknownOption { operator: "this stream".to_owned(), option: "offset_reset" });
        }
        self
    }

    /// Chooses the partitions of the records of a [`KStream::repartition`]; see [`SinkHandle::partitioned_by`].
    ///
    /// [`SinkHandle::partitioned_by`]: super::SinkHandle::partitioned_by
    #[must_use]
    pub fn partitioned_by(
        self,
        choose: impl Fn(&str, &K, &V, Partition) -> Option<Vec<Partition>> + Send + Sync + 'static,
    ) -> Self {
        let routing = Routing { topic: None, partitions: Some(Arc::new(choose)) };
        let made = sink_maker::<K, V, K, V>(self.key.get::<K>(), self.value.get::<V>(), routing);
        let mut is_repartition = false;
        self.handle.option(|kind| {
            if let OpKind::Repartition { maker, .. } = kind {
                is_repartition = true;
                maker.sink = made;
            }
        });
        if !is_repartition {
            self.handle
                .fail(BuildError::UnknownOption { operator: "this stream".to_owned(), option: "partitioned_by" });
        }
        self
    }

    pub(crate) fn repartition_maker(&self) -> RepartitionMaker {
        repartition_maker::<K, V>(self.key.get::<K>(), self.value.get::<V>())
    }

    /// Writes the records to a topic of the application's own and reads them back, partitioned by their keys.
    ///
    /// The topic's records are deleted once what follows has committed them. Records without a key go to any partition.
    pub fn repartition(&self) -> Self {
        let kind = OpKind::Repartition { maker: self.repartition_maker(), partitions: None };
        KStream::new(self.handle.then(kind), self.key.clone(), self.value.clone())
    }

    /// Sets the number of partitions of a [`KStream::repartition`].
    #[must_use]
    pub fn partitions(self, count: u32) -> Self {
        let mut is_repartition = false;
        self.handle.option(|kind| {
            if let OpKind::Repartition { partitions, .. } = kind {
                is_repartition = true;
                *partitions = Some(count);
            }
        });
        if !is_repartition || count == 0 {
            self.handle.fail(BuildError::InvalidSetting {
                name: "partitions".to_owned(),
                what: "is for .repartition(), and at least 1".to_owned(),
            });
        }
        self
    }

    /// Groups by the key as it is.
    ///
    /// Repartitions if the key may have changed since the records were read; the aggregation behind it drops null keys.
    pub fn group_by_key(&self) -> GroupedStream<K, V> {
        let handle = self.handle.then(OpKind::GroupByKey);
        GroupedStream::new(handle, self.key.clone(), self.value.clone())
    }

    /// Groups by another key. Repartitions.
    /// Records whose new key is null are dropped before.
    pub fn group_by<K2: Field>(&self, select: impl Fn(&K, &V) -> K2 + Send + Sync + 'static) -> GroupedStream<K2, V> {
        self.try_group_by(move |key, value| Ok(select(key, value)))
    }

    /// [`KStream::group_by`] with a selector that may fail.
    pub fn try_group_by<K2: Field>(
        &self,
        select: impl Fn(&K, &V) -> Result<K2, UserError> + Send + Sync + 'static,
    ) -> GroupedStream<K2, V> {
        let handle = self.handle.then(OpKind::GroupBy { node: select_key_node(select) });
        GroupedStream::new(handle, SerdeSlot::default(), self.value.clone())
    }

    /// The last value of each key as a table. A null value is a delete.
    ///
    /// Keeps the rows if the table is named or looked up, and repartitions if the key may have changed. Records without a key are
    /// dropped, and counted.
    pub fn to_table(&self) -> KTable<K::Some, V::Some> {
        let (key, value) = (self.key.get::<K>(), self.value.get::<V>());
        let op = lock(&self.handle.plan).ops.len();
        let getter = source_getter(op, key.clone(), value.clone());
        let node = maker(move |build| {
            let (store, send_old) = (build.facts(op).store.clone(), build.facts(op).send_old);
            let store = store.map(|store| {
                let access = build.access_of(op, &store, &key, &value);
                TableStore::open(build, access, send_old)
            });
            TableSource::<K::Some, V::Some, K, V> { id: build.node, store, types: PhantomData }
        });
        let handle = self.handle.then(OpKind::ToTable { node, repartition: self.repartition_maker() });
        KTable::new(handle, self.key.clone(), self.value.clone(), getter)
    }
}

/// Branches of a stream; see [`KStream::split`].
pub struct Split<K, V> {
    handle: Handle,
    key: SerdeSlot,
    value: SerdeSlot,
    tests: Vec<BranchTest<K, V>>,
}

impl<K, V> Split<K, V>
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Names the split, and so begins its branches' names.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        self.handle.set_name(name.into());
        self
    }

    /// The records for which the predicate holds, and none of the earlier ones.
    pub fn branch(&mut self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> KStream<K, V> {
        self.try_branch(move |key, value| Ok(predicate(key, value)))
    }

    /// [`Split::branch`] with a predicate that may fail.
    pub fn try_branch(
        &mut self,
        predicate: impl Fn(&K, &V) -> Result<bool, UserError> + Send + Sync + 'static,
    ) -> KStream<K, V> {
        let number = self.tests.len() + 1;
        self.add(Arc::new(predicate), number)
    }

    /// All other records.
    pub fn otherwise(mut self) -> KStream<K, V> {
        self.add(Arc::new(|_, _| Ok(true)), 0)
    }

    fn add(&mut self, test: BranchTest<K, V>, number: usize) -> KStream<K, V> {
        self.tests.push(test);
        let node = branch_node(self.tests.clone());
        self.handle.change(|kind| {
            if let OpKind::Split { node: split } = kind {
                *split = node;
            }
        });
        let node = maker(|build| Pass::<K, V> { id: build.node, types: PhantomData });
        KStream::new(self.handle.then(OpKind::Branch { node, number }), self.key.clone(), self.value.clone())
    }
}

fn branch_node<K, V>(tests: Vec<BranchTest<K, V>>) -> NodeMaker
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    maker(move |build| Branch { id: build.node, tests: tests.clone() })
}

fn select_key_node<K, V, K2>(select: impl Fn(&K, &V) -> Result<K2, UserError> + Send + Sync + 'static) -> NodeMaker
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
    K2: Clone + Send + 'static,
{
    let map = Arc::new(move |key: K, value: V| select(&key, &value).map(|key| (key, value)));
    maker(move |build| Map { id: build.node, map: map.clone(), types: PhantomData })
}

/// The nodes of a repartition of these types.
pub(crate) fn repartition_maker<K: Field, V: Field>(key: Serde<K::Some>, value: Serde<V::Some>) -> RepartitionMaker {
    let topic = Topic::<K, V>::named("").with_serdes(key.clone(), value.clone());
    RepartitionMaker {
        pass: maker(|build| Pass::<K, V> { id: build.node, types: PhantomData }),
        drop_null_keys: maker(|build| DropNullKeys::<K, V> { id: build.node, types: PhantomData }),
        sink: sink_maker::<K, V, K, V>(key, value, Routing::default()),
        source: source_maker(&topic, TimestampExtractor::FailOnInvalid),
    }
}
