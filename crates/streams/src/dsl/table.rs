//! Tables: of each key the last value.

use std::sync::Arc;
use std::time::Duration;

use tidewater_state::{Retention, StoreKind, StoreSpec};

use super::Topic;
use super::builder::source_maker;
use super::handle::{Handle, SerdeSlot, lock, maker};
use super::stream::{KStream, dry_run, stores_of};
use super::suppress::Suppress;
use super::table_group::GroupedTable;
use crate::codec::{Codec, CodecError, Data, Field, Serde};
use crate::error::{BuildError, UserError};
use crate::graph::{OpId, OpKind, SourceMaker, StoreOptions, SuppressOp, TableJoinOp};
use crate::node::source::TimestampExtractor;
use crate::node::suppress::{Suppress as SuppressNode, SuppressGetter};
use crate::node::table::{
    Derive, DerivedGetter, DerivedTable, GetterMaker, RetypeTable, StoreGetter, TableStore, ToStream,
};
use crate::node::table_aggregate::GroupTable;
use crate::node::table_join::{Join, JoinGetter, JoinKind, TableJoinMerge, TableJoinSide};
use crate::node::transform::{TransformGetter, TransformTable, ValueTransformer};
use crate::task::stores::OpenStore;
use crate::task::{DefinedStore, StoreHandle, StoreId, Stores, TimestampedStore, VersionedStore};
use crate::topology::{OffsetReset, Reads};

/// A table: rows of key and value, changed by records. A row without a value is absent.
pub struct KTable<K, V> {
    pub(crate) handle: Handle,
    pub(crate) key: SerdeSlot,
    pub(crate) value: SerdeSlot,
    pub(crate) getter: GetterMaker<K, V>,
}

impl<K, V> Clone for KTable<K, V> {
    fn clone(&self) -> Self {
        Self::new(self.handle.clone(), self.key.clone(), self.value.clone(), self.getter.clone())
    }
}

/// Bytes of one type behind the values of another.
struct RetypedCodec<V, V2> {
    inner: Serde<V>,
    to: Arc<dyn Fn(V) -> V2 + Send + Sync>,
    from: Arc<dyn Fn(&V2) -> V + Send + Sync>,
}

impl<V: Data, V2: Data> Codec<V2> for RetypedCodec<V, V2> {
    fn write(&self, value: &V2, out: &mut Vec<u8>) -> Result<(), CodecError> {
        self.inner.write(&(self.from)(value), out)
    }

    fn read(&self, bytes: &[u8]) -> Result<V2, CodecError> {
        self.inner.read(bytes).map(|value| (self.to)(value))
    }
}

/// Looks rows up in the store that an operator always has.
pub(crate) fn store_getter<K: Data, V: Data>(op: OpId, key: Serde<K>, value: Serde<V>) -> GetterMaker<K, V> {
    Arc::new(move |build| {
        let store = build.facts(op).store.clone().unwrap_or_default();
        Box::new(StoreGetter(build.access_of(op, &store, &key, &value)))
    })
}

/// Looks rows up in the store that a table's source has once somebody asks.
pub(crate) fn source_getter<K: Data, V: Data>(op: OpId, key: Serde<K>, value: Serde<V>) -> GetterMaker<K, V> {
    store_getter(op, key, value)
}

impl<K, V> KTable<K, V> {
    pub(crate) fn new(handle: Handle, key: SerdeSlot, value: SerdeSlot, getter: GetterMaker<K, V>) -> Self {
        KTable { handle, key, value, getter }
    }

    /// Names the operator that made this table. Generated names elsewhere stay what they were.
    pub fn named(self, name: impl Into<String>) -> Self {
        self.handle.set_name(name.into());
        self
    }

    fn option(self, set: impl FnOnce(&mut StoreOptions)) -> Self {
        self.handle.store(set);
        self
    }

    /// Keeps the rows in a store of this name, which also names its changelog.
    pub fn store(self, name: impl Into<String>) -> Self {
        self.option(|store| store.name = Some(name.into()))
    }

    /// Any store option at all, with nothing said: what an empty `Materialized` is in Kafka Streams.
    pub fn materialized(self) -> Self {
        self.option(|_| {})
    }

    /// Keeps the rows in memory, not in RocksDB.
    pub fn in_memory(self) -> Self {
        self.option(|store| store.in_memory = Some(true))
    }

    /// Keeps the rows in RocksDB, whatever [`BuildSettings::in_memory_stores`](crate::BuildSettings) says.
    pub fn on_disk(self) -> Self {
        self.option(|store| store.in_memory = Some(false))
    }

    /// With or without a record cache before the store. Default: with.
    pub fn cached(self, cached: bool) -> Self {
        self.option(|store| store.cached = Some(cached))
    }

    /// Without a changelog: the rows are gone with the store's folder.
    pub fn without_changelog(self) -> Self {
        self.option(|store| store.without_changelog = true)
    }

    /// With this setting for the changelog topic.
    pub fn changelog_setting(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.option(|store| store.changelog.push((name.into(), value.into())))
    }

    /// Keeps the versions of each row for so long after others have replaced them (KIP-889). A stream joined with the table
    /// sees it as it was at each record's time, and late updates go into the history. Such a store has no record cache.
    pub fn versioned(self, history: Duration) -> Self {
        self.option(|store| store.versioned = Some((history.into(), None)))
    }

    /// Has versions leave in steps of this length. Default: a third of the history or less, as in Kafka Streams.
    pub fn version_segments(self, length: Duration) -> Self {
        self.option(|store| {
            if let Some((_, segment_ms)) = &mut store.versioned {
                *segment_ms = Some(tidewater_types::Timestamp::from(length).0);
            }
        })
    }

    /// Keeps this many rows, in memory; the least recently used ones leave, without a delete downstream or in the changelog.
    pub fn least_recently_used(self, max_rows: usize) -> Self {
        self.option(|store| store.max_keys = Some(max_rows))
    }

    /// Lets a row live for this long, in event time: an addition to Kafka Streams. A row whose timestamp lies that far behind
    /// stream time is deleted with the next commit, and its deletion goes to the changelog and to what follows, like any other,
    /// with the time at which it became too old. A large table is looked through in parts, one with each commit.
    ///
    /// For tables in key-value stores. The topic that a table is read from does not serve as its changelog then, whatever the
    /// optimisation.
    pub fn ttl(self, lifetime: Duration) -> Self {
        self.option(|store| store.ttl_ms = Some(tidewater_types::Timestamp::from(lifetime).0))
    }

    /// Keeps the rows without their timestamps, as Kafka Streams does for stores of its older interface; with a record cache
    /// they are known all the same.
    pub fn without_timestamps(self) -> Self {
        self.option(|store| store.plain = true)
    }

    /// How long the store keeps windows or sessions, if that is longer than its changelog has to: queries see further back.
    pub fn local_retention(self, retention: Duration) -> Self {
        self.option(|store| store.local_retention = Some(retention.into()))
    }

    /// How long windows or sessions are kept. Default: their length plus grace.
    pub fn retention(self, retention: Duration) -> Self {
        self.option(|store| store.retention = Some(retention.into()))
    }
}

impl<K: Data, V: Data> KTable<K, V> {
    /// Writes the rows' values by this serde, in the store and in what follows.
    pub fn value_serde(mut self, serde: Serde<V>) -> Self {
        self.handle.set_serdes(None, Some(Arc::new(serde.clone())));
        self.value = SerdeSlot::of(serde);
        self
    }

    /// What processors open the table's rows by. The table keeps them, under the name that it is given with
    /// [`KTable::store`]; processors should only read.
    pub fn rows(&self) -> StoreHandle<TimestampedStore<K, V>> {
        let (key, value) = (self.key.get::<K>(), self.value.get::<V>());
        self.row_handle(StoreKind::KeyValue { timestamped: true }, move |id| {
            TimestampedStore::over(id, key.clone(), value.clone())
        })
    }

    /// The same for a table that is [`KTable::versioned`].
    pub fn versioned_rows(&self) -> StoreHandle<VersionedStore<K, V>> {
        let (key, value) = (self.key.get::<K>(), self.value.get::<V>());
        let kind = StoreKind::Versioned { history: Retention { ms: 0 }, segment_ms: 1 };
        self.row_handle(kind, move |id| VersionedStore::over(id, key.clone(), value.clone()))
    }

    /// The kind says only what sort of store `open` is for.
    fn row_handle<S: 'static>(
        &self,
        kind: StoreKind,
        open: impl Fn(StoreId) -> S + Send + Sync + 'static,
    ) -> StoreHandle<S> {
        let mut plan = lock(&self.handle.plan);
        let open: OpenStore<S> = Arc::new(open);
        let spec = StoreSpec::new("", kind);
        let (index, of_table) = (plan.stores.len(), Some(self.handle.op));
        plan.stores.push(DefinedStore { spec, open: Arc::new(open), is_global: false, of_table });
        StoreHandle { index, builder: plan.builder, types: std::marker::PhantomData }
    }

    /// Takes the times of the rows from elsewhere. To be called right after `table`.
    #[must_use]
    pub fn timestamps(self, extractor: TimestampExtractor<Option<K>, Option<V>>) -> Self {
        let topic = Topic::<Option<K>, Option<V>>::named("").with_serdes(self.key.get::<K>(), self.value.get::<V>());
        self.of_source("timestamps", move |_, source| *source = source_maker(&topic, extractor))
    }

    /// Where to begin in partitions for which no offset is committed (`auto.offset.reset`). To be called right after `table`.
    /// Default: at the earliest record.
    #[must_use]
    pub fn offset_reset(self, reset: OffsetReset) -> Self {
        self.of_source("offset_reset", |reads, _| reads.reset = Some(reset))
    }

    fn of_source(self, option: &'static str, set: impl FnOnce(&mut Reads, &mut SourceMaker)) -> Self {
        let mut set = Some(set);
        self.handle.option(|kind| {
            if let OpKind::Table { reads, source, .. } = kind
                && let Some(set) = set.take()
            {
                set(reads, source);
            }
        });
        if set.is_some() {
            self.handle.fail(BuildError::UnknownOption { operator: "this table".to_owned(), option });
        }
        self
    }

    /// Makes another value of each change by a transformer of your own, which has stores and sees deletes; `None` leaves the
    /// row out. The closure makes one for each task, and opens its stores.
    ///
    /// A table that is not kept is transformed anew whenever a row is looked up, so the transformer should give the same again.
    /// Rows are kept only if they are named; nothing is repartitioned.
    pub fn transform_values<T>(&self, make: impl Fn(&mut Stores<'_>) -> T + Send + Sync + 'static) -> KTable<K, T::VOut>
    where
        T: ValueTransformer<K = K, V = V>,
    {
        let op = lock(&self.handle.plan).ops.len();
        let stores = dry_run(&self.handle.plan, &make);
        let make = Arc::new(make);
        let (key_serde, value_serde) = (self.key.get::<K>(), Serde::<T::VOut>::default());
        let getter: GetterMaker<K, T::VOut> = {
            let (parent, make) = (self.getter.clone(), make.clone());
            let stored = store_getter(op, key_serde.clone(), value_serde.clone());
            Arc::new(move |build| match build.facts(op).store {
                Some(_) => stored(build),
                None => {
                    let transformer = make(&mut stores_of(build));
                    Box::new(TransformGetter::new(parent(build), transformer))
                }
            })
        };
        let node = maker(move |build| {
            let (store, send_old) = (build.facts(op).store.clone(), build.facts(op).send_old);
            let store = store.map(|store| {
                let access = build.access_of(op, &store, &key_serde, &value_serde);
                TableStore::open(build, access, send_old)
            });
            let transformer = make(&mut stores_of(build));
            TransformTable { id: build.node, transformer, store, send_old }
        });
        let kind = OpKind::Derive { prefix: "KTABLE-TRANSFORMVALUES-", node, stores };
        KTable::new(self.handle.then(kind), self.key.clone(), SerdeSlot::default(), getter)
    }

    /// The changes of the table as a stream; `None` is a delete.
    ///
    /// Keeps nothing of its own, repartitions nothing.
    pub fn to_stream(&self) -> KStream<K, Option<V>> {
        let node = maker(|build| ToStream::<K, V> { id: build.node, types: std::marker::PhantomData });
        KStream::new(self.handle.then(OpKind::ToStream { node }), self.key.clone(), self.value.clone())
    }

    /// The rows for which the predicate holds.
    ///
    /// A row that no longer passes is deleted downstream. Keeps rows only if it is named with [`KTable::store`], or if they are looked
    /// up; repartitions nothing.
    pub fn filter(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> KTable<K, V> {
        self.try_filter(move |key, value| Ok(predicate(key, value)))
    }

    /// [`KTable::filter`] with a predicate that may fail.
    pub fn try_filter(
        &self,
        predicate: impl Fn(&K, &V) -> Result<bool, UserError> + Send + Sync + 'static,
    ) -> KTable<K, V> {
        let derive: Derive<K, V, V> = Arc::new(move |key, value| Ok(predicate(key, &value)?.then_some(value)));
        self.derived("KTABLE-FILTER-", true, derive, self.value.clone())
    }

    /// The rows for which the predicate does not hold.
    ///
    /// State, nulls and late updates as with [`KTable::filter`].
    pub fn filter_not(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> KTable<K, V> {
        self.filter(move |key, value| !predicate(key, value))
    }

    /// [`KTable::filter_not`] with a predicate that may fail.
    pub fn try_filter_not(
        &self,
        predicate: impl Fn(&K, &V) -> Result<bool, UserError> + Send + Sync + 'static,
    ) -> KTable<K, V> {
        self.try_filter(move |key, value| predicate(key, value).map(|holds| !holds))
    }

    /// The same table under another type of values, without a node: their bytes stay what they were.
    ///
    /// `to` and `from` must undo each other.
    pub fn retype_values<V2: Data>(
        &self,
        to: impl Fn(V) -> V2 + Send + Sync + 'static,
        from: impl Fn(&V2) -> V + Send + Sync + 'static,
    ) -> KTable<K, V2> {
        let to = Arc::new(to);
        let value = Serde::new(RetypedCodec { inner: self.value.get::<V>(), to: to.clone(), from: Arc::new(from) });
        let derive: Derive<K, V, V2> = Arc::new(move |_, value| Ok(Some(to(value))));
        let getter: GetterMaker<K, V2> = {
            let (parent, derive) = (self.getter.clone(), derive.clone());
            Arc::new(move |build| Box::new(DerivedGetter { parent: parent(build), derive: derive.clone() }))
        };
        let node = maker(move |build| RetypeTable { id: build.node, derive: derive.clone() });
        KTable::new(self.handle.then(OpKind::RetypeTable { node }), self.key.clone(), SerdeSlot::of(value), getter)
    }

    /// Makes another value of each row's; `None` leaves the row out.
    ///
    /// Keeps rows only if they are named or looked up, and repartitions nothing. A deletion is passed on without a call of the
    /// mapper; updates count in the order in which they come, whatever their times.
    pub fn map_values<V2: Field>(&self, map: impl Fn(V) -> V2 + Send + Sync + 'static) -> KTable<K, V2::Some> {
        self.try_map_values(move |_, value| Ok(map(value)))
    }

    /// [`KTable::map_values`] with a mapper that sees the key.
    pub fn map_values_with_key<V2: Field>(
        &self,
        map: impl Fn(&K, V) -> V2 + Send + Sync + 'static,
    ) -> KTable<K, V2::Some> {
        self.try_map_values(move |key, value| Ok(map(key, value)))
    }

    /// [`KTable::map_values`] with a mapper that sees the key, and may fail.
    pub fn try_map_values<V2: Field>(
        &self,
        map: impl Fn(&K, V) -> Result<V2, UserError> + Send + Sync + 'static,
    ) -> KTable<K, V2::Some> {
        let derive: Derive<K, V, V2::Some> = Arc::new(move |key, value| map(key, value).map(Field::into_some));
        self.derived("KTABLE-MAPVALUES-", false, derive, SerdeSlot::default())
    }

    fn derived<V2: Data>(
        &self,
        prefix: &'static str,
        skip_absent: bool,
        derive: Derive<K, V, V2>,
        value: SerdeSlot,
    ) -> KTable<K, V2> {
        let op = lock(&self.handle.plan).ops.len();
        let (key_serde, value_serde) = (self.key.get::<K>(), value.get::<V2>());
        let getter: GetterMaker<K, V2> = {
            let (parent, derive) = (self.getter.clone(), derive.clone());
            let stored = store_getter(op, key_serde.clone(), value_serde.clone());
            Arc::new(move |build| match build.facts(op).store {
                Some(_) => stored(build),
                None => Box::new(DerivedGetter { parent: parent(build), derive: derive.clone() }),
            })
        };
        let node = maker(move |build| {
            let (store, send_old) = (build.facts(op).store.clone(), build.facts(op).send_old);
            let store = store.map(|store| {
                let access = build.access_of(op, &store, &key_serde, &value_serde);
                TableStore::open(build, access, send_old)
            });
            let skip_absent = skip_absent && build.facts(op).versioned_inputs != [true];
            DerivedTable { id: build.node, derive: derive.clone(), store, send_old, skip_absent }
        });
        KTable::new(self.handle.then(OpKind::Derive { prefix, node, stores: vec![] }), self.key.clone(), value, getter)
    }

    /// Groups rows by another key, with the value to be aggregated. Repartitions. Rows whose group or value is `None` are
    /// left out.
    pub fn group_by<K2: Field, V2: Field>(
        &self,
        select: impl Fn(&K, &V) -> (K2, V2) + Send + Sync + 'static,
    ) -> GroupedTable<K2::Some, V2::Some> {
        self.try_group_by(move |key, value| Ok(select(key, value)))
    }

    /// [`KTable::group_by`] with a selector that may fail.
    pub fn try_group_by<K2: Field, V2: Field>(
        &self,
        select: impl Fn(&K, &V) -> Result<(K2, V2), UserError> + Send + Sync + 'static,
    ) -> GroupedTable<K2::Some, V2::Some> {
        let op = lock(&self.handle.plan).ops.len();
        let select = Arc::new(select);
        let node = maker(move |build| {
            let serde = build.facts(op).key_serde.as_ref();
            let serde = serde.and_then(|serde| serde.downcast_ref::<Serde<K2::Some>>()).cloned().unwrap_or_default();
            let key_bytes = Arc::new(move |key: &K2::Some| Ok(serde.to_bytes(key)?));
            let versioned = build.facts(op).versioned_inputs == [true];
            GroupTable::<K, V, K2, V2> { id: build.node, select: select.clone(), key_bytes, versioned }
        });
        GroupedTable::new(self.handle.then(OpKind::GroupTable { node }))
    }

    /// Holds updates back; see [`Suppress`].
    ///
    /// Keeps what waits in memory and in a changelog of its own, up to its bounds; repartitions nothing.
    pub fn suppress(&self, suppress: Suppress<K>) -> KTable<K, V> {
        let op = lock(&self.handle.plan).ops.len();
        let (key, value) = (self.key.get::<K>(), self.value.get::<V>());
        let until_window_closes = suppress.until_window_closes;
        let (without_changelog, changelog) = (suppress.without_changelog, suppress.changelog.clone());
        if until_window_closes && suppress.emits_early() {
            let operator = "Suppress::until_window_closes, which sends one result a window,".to_owned();
            self.handle.fail(BuildError::UnknownOption { operator, option: "emit_early_when_full" });
        }
        let node = maker(move |build| {
            let facts = build.facts(op);
            let buffer = facts.stores.get("buffer").cloned().unwrap_or_default();
            let grace = facts.stores.get("grace").and_then(|grace| grace.parse().ok());
            let store = build.store_id(&buffer);
            SuppressNode::<K, V>::new(build.node, store, key.clone(), value.clone(), suppress.rules(grace))
        });
        let kind = OpKind::Suppress(SuppressOp { node, until_window_closes, without_changelog, changelog });
        let getter: GetterMaker<K, V> = {
            let (parent, key, value) = (self.getter.clone(), self.key.get::<K>(), self.value.get::<V>());
            Arc::new(move |build| {
                let store = build.store_id(&build.facts(op).stores["buffer"]);
                let (key, value) = (key.clone(), value.clone());
                Box::new(SuppressGetter { parent: parent(build), store, key, value })
            })
        };
        KTable::new(self.handle.then(kind), self.key.clone(), self.value.clone(), getter)
    }

    /// The rows that both tables have, joined. `None` leaves a row out.
    ///
    /// The rows of both tables are kept, for each looks the other's up; the result only if it is named. Both have equally many
    /// partitions, or the application does not start. An update counts when it comes, whatever its time; of versioned tables, updates
    /// that are not the latest of their key are left out.
    /// A null key is dropped; a null value is a deletion, of the joined row as well.
    pub fn join<V2: Data, R: Field>(
        &self,
        other: &KTable<K, V2>,
        join: impl Fn(&V, &V2) -> R + Send + Sync + 'static,
    ) -> KTable<K, R::Some> {
        self.joined(
            other,
            JoinKind::Inner,
            Arc::new(move |_, left, right| {
                let joined = left.zip(right).map(|(left, right)| join(left, right));
                Ok(joined.and_then(Field::into_some))
            }),
        )
    }

    /// A join of any kind with a joiner that sees the key, and either row, one of which may be missing, and may fail.
    ///
    /// `left_outer` and `right_outer` say whether rows of that side are joined without the other one; those of the right side alone
    /// are not.
    pub fn try_join_any<V2: Data, R: Field>(
        &self,
        other: &KTable<K, V2>,
        left_outer: bool,
        right_outer: bool,
        join: impl Fn(&K, Option<&V>, Option<&V2>) -> Result<R, UserError> + Send + Sync + 'static,
    ) -> KTable<K, R::Some> {
        let kind = match (left_outer, right_outer) {
            (false, false) => JoinKind::Inner,
            (true, false) => JoinKind::Left,
            (true, true) => JoinKind::Outer,
            (false, true) => {
                let what =
                    "a join that has only the right side's rows alone: begin with that side, and keep the left one's";
                self.handle.fail(BuildError::Misuse(what.to_owned()));
                JoinKind::Outer
            }
        };
        self.joined(
            other,
            kind,
            Arc::new(move |key, left, right| {
                let is_there = match kind {
                    JoinKind::Inner => left.is_some() && right.is_some(),
                    JoinKind::Left => left.is_some(),
                    JoinKind::Outer => left.is_some() || right.is_some(),
                };
                if is_there { Ok(join(key, left, right)?.into_some()) } else { Ok(None) }
            }),
        )
    }

    /// The rows of this table, joined with those of the other one where it has them.
    ///
    /// State and partitions as with [`KTable::join`].
    pub fn left_join<V2: Data, R: Field>(
        &self,
        other: &KTable<K, V2>,
        join: impl Fn(&V, Option<&V2>) -> R + Send + Sync + 'static,
    ) -> KTable<K, R::Some> {
        let join = move |left: Option<&V>, right: Option<&V2>| left.and_then(|left| join(left, right).into_some());
        self.joined(other, JoinKind::Left, Arc::new(move |_, left, right| Ok(join(left, right))))
    }

    /// The rows of either table, joined where both have them.
    ///
    /// State and partitions as with [`KTable::join`].
    pub fn outer_join<V2: Data, R: Field>(
        &self,
        other: &KTable<K, V2>,
        join: impl Fn(Option<&V>, Option<&V2>) -> R + Send + Sync + 'static,
    ) -> KTable<K, R::Some> {
        self.joined(other, JoinKind::Outer, Arc::new(move |_, left, right| Ok(join(left, right).into_some())))
    }

    /// A join of any kind with a joiner that sees both sides, one of which may be missing, and may fail.
    pub(crate) fn joined<V2: Data, R: Data>(
        &self,
        other: &KTable<K, V2>,
        kind: JoinKind,
        join: Join<K, V, V2, R>,
    ) -> KTable<K, R> {
        let op = lock(&self.handle.plan).ops.len();
        let (left_outer, right_outer) = (kind != JoinKind::Inner, kind == JoinKind::Outer);
        let (left, right) = (self.getter.clone(), other.getter.clone());
        let reversed: Join<K, V2, V, R> = {
            let join = join.clone();
            Arc::new(move |key, right, left| join(key, left, right))
        };
        let this = {
            let (right, join) = (right.clone(), join.clone());
            maker(move |build| TableJoinSide {
                id: build.node,
                other: right(build),
                join: join.clone(),
                keeps_this: left_outer,
                keeps_other: right_outer,
                send_old: build.facts(op).send_old,
                versioned: build.facts(op).versioned_inputs.first() == Some(&true),
            })
        };
        let other_side = {
            let left = left.clone();
            maker(move |build| TableJoinSide {
                id: build.node,
                other: left(build),
                join: reversed.clone(),
                keeps_this: right_outer,
                keeps_other: left_outer,
                send_old: build.facts(op).send_old,
                versioned: build.facts(op).versioned_inputs.get(1) == Some(&true),
            })
        };
        let (key, value) = (self.key.get::<K>(), Serde::<R>::default());
        let getter: GetterMaker<K, R> = {
            let stored = store_getter(op, key.clone(), value.clone());
            Arc::new(move |build| match build.facts(op).store {
                Some(_) => stored(build),
                None => Box::new(JoinGetter { left: left(build), right: right(build), join: join.clone(), kind }),
            })
        };
        let merge = maker(move |build| {
            let (store, send_old) = (build.facts(op).store.clone(), build.facts(op).send_old);
            let store = store.map(|store| {
                let access = build.access_of(op, &store, &key, &value);
                TableStore::open(build, access, send_old)
            });
            TableJoinMerge { id: build.node, store, send_old }
        });
        let join = TableJoinOp { left_outer, right_outer, this, other: other_side, merge };
        let handle = self.handle.join(&[&other.handle], OpKind::TableJoin(join));
        KTable::new(handle, self.key.clone(), SerdeSlot::default(), getter)
    }
}
