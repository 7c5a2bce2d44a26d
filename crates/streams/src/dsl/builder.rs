//! Where a program begins: streams and tables of topics, stores for processors, and the build.

use std::any::TypeId;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::global::{GlobalKTable, GlobalStore};
use super::handle::{Handle, SerdeSlot, SharedPlan, lock, maker};
use super::stream::{dry_run, stores_of};
use super::table::{KTable, source_getter};
use super::{KStream, Topic};
use crate::codec::Field;
use crate::config::{BuildSettings, Optimizations};
use crate::error::BuildError;
use crate::graph::{self, OpKind, Plan, SourceMaker};
use crate::node::source::{TimestampExtractor, TypedSource};
use crate::node::table::{TableSource, TableStore};
use crate::task::context::ProcessorNode;
use crate::task::{DefinedStore, Processor, StoreDefinition, StoreHandle, Stores};
use crate::topology::{Reads, TopicPattern, Topology};

/// Collects a program's operators, and builds its topology.
pub struct StreamsBuilder {
    plan: SharedPlan,
    settings: BuildSettings,
}

impl Default for StreamsBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// Tells the builders of a process apart, so that a stranger's handle is noticed.
static NEXT_BUILDER: AtomicU64 = AtomicU64::new(1);

impl StreamsBuilder {
    /// An empty program.
    pub fn new() -> Self {
        Self::with_settings(BuildSettings::default())
    }

    /// An empty program with settings of its own.
    pub fn with_settings(settings: BuildSettings) -> Self {
        StreamsBuilder { plan: Self::new_plan(), settings }
    }

    /// A plan that no other builder's handles fit.
    pub(crate) fn new_plan() -> SharedPlan {
        let plan = Plan { builder: NEXT_BUILDER.fetch_add(1, Ordering::Relaxed), ..Plan::default() };
        Arc::new(Mutex::new(plan))
    }

    /// The same with these rewrites of the optimiser.
    #[must_use]
    pub fn optimize(mut self, which: Optimizations) -> Self {
        self.settings.optimize = which;
        self
    }

    fn add(&self, kind: OpKind) -> Handle {
        let op = lock(&self.plan).add(kind, vec![]);
        Handle { plan: self.plan.clone(), op }
    }

    /// A topic's records as a stream.
    ///
    /// Keeps nothing. Records with a null where the type has no `Option` are dropped, and counted.
    pub fn stream<K: Field, V: Field>(&self, topic: &Topic<K, V>) -> KStream<K, V> {
        self.stream_of(topic, vec![topic.name().to_owned()])
    }

    /// The records of several topics of the same types as one stream.
    pub fn stream_of_all<K: Field, V: Field>(&self, topics: &[Topic<K, V>]) -> KStream<K, V> {
        let names = topics.iter().map(|topic| topic.name().to_owned()).collect();
        let first = topics.first().cloned().unwrap_or_else(|| Topic::named(""));
        if topics.is_empty() {
            lock(&self.plan).errors.push(BuildError::Misuse("a stream of no topics; name at least one".to_owned()));
        }
        self.stream_of(&first, names)
    }

    fn stream_of<K: Field, V: Field>(&self, topic: &Topic<K, V>, topics: Vec<String>) -> KStream<K, V> {
        self.stream_reading(topic, Reads { topics, ..Reads::default() })
    }

    /// The records of all topics whose names match a pattern, a regular expression, as one stream. Which topics there are is
    /// looked up as the application starts.
    pub fn stream_matching<K: Field, V: Field>(&self, pattern: &str, types: &Topic<K, V>) -> KStream<K, V> {
        let pattern = match TopicPattern::new(pattern) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                lock(&self.plan).errors.push(error);
                None
            }
        };
        self.stream_reading(types, Reads { pattern, ..Reads::default() })
    }

    fn stream_reading<K: Field, V: Field>(&self, topic: &Topic<K, V>, reads: Reads) -> KStream<K, V> {
        let source = source_maker(topic, TimestampExtractor::Default);
        let handle = self.add(OpKind::Stream { reads, source, types: TypeId::of::<(K, V)>() });
        KStream::new(handle, SerdeSlot::maybe(&topic.key), SerdeSlot::maybe(&topic.value))
    }

    /// A topic's records as a table: the last value of each key. A null value is a delete, whatever the type.
    ///
    /// Keeps the rows if they are named or needed, with the topic itself or one of the application's own as changelog. Records
    /// without a key are dropped; updates count in the order in which they come, whatever their times, unless the table is
    /// versioned.
    pub fn table<K: Field, V: Field>(&self, topic: &Topic<K, V>) -> KTable<K::Some, V::Some> {
        let (key, value) = (topic.key_serde(), topic.value_serde());
        let optional =
            Topic::<Option<K::Some>, Option<V::Some>>::named(topic.name()).with_serdes(key.clone(), value.clone());
        let source = source_maker(&optional, TimestampExtractor::Default);
        let op = lock(&self.plan).ops.len();
        let node = maker(move |build| {
            let (store, send_old) = (build.facts(op).store.clone(), build.facts(op).send_old);
            let store = store.map(|store| {
                let access = build.access_of(op, &store, &key, &value);
                TableStore::open(build, access, send_old)
            });
            TableSource::<_, _, Option<K::Some>, Option<V::Some>> { id: build.node, store, types: PhantomData }
        });
        let handle = self.add(OpKind::Table { reads: Reads::topic(topic.name()), source, node });
        let getter = source_getter(op, topic.key_serde(), topic.value_serde());
        KTable::new(handle, SerdeSlot::maybe(&topic.key), SerdeSlot::maybe(&topic.value), getter)
    }

    /// A topic as a global table: every task has all of its rows, whatever their partitions. A null value is a delete.
    ///
    /// It is read to its end before the tasks begin, and on as it grows; the topic is its changelog. Rows change when their
    /// records come, whatever the stream time of the tasks. Records without a key are left out.
    pub fn global_table<K: Field, V: Field>(&self, topic: &Topic<K, V>) -> GlobalKTable<K::Some, V::Some> {
        let (key, value) = (topic.key_serde(), topic.value_serde());
        let optional =
            Topic::<Option<K::Some>, Option<V::Some>>::named(topic.name()).with_serdes(key.clone(), value.clone());
        let source = source_maker(&optional, TimestampExtractor::FailOnInvalid);
        let op = lock(&self.plan).ops.len();
        let getter = source_getter(op, key.clone(), value.clone());
        let node = maker(move |build| {
            let store = build.facts(op).store.clone().unwrap_or_default();
            let access = build.access(&store, &key, &value);
            let store = Some(TableStore { access, send_old: false });
            TableSource::<_, _, Option<K::Some>, Option<V::Some>> { id: build.node, store, types: PhantomData }
        });
        let handle = self.add(OpKind::GlobalTable { topic: topic.name().to_owned(), source, node });
        GlobalKTable { handle, getter }
    }

    /// Adds a store that a processor fills from a topic, in one place for all tasks, which only read it. The closure makes
    /// the processor, and opens the store by the handle that this call returns, too; what the processor forwards goes nowhere.
    ///
    /// The topic is read to its end, through the processor, before the tasks begin.
    pub fn global_store<S: 'static, K: Field, V: Field, P>(
        &self,
        topic: &Topic<K, V>,
        definition: StoreDefinition<S>,
        make: impl Fn(&mut Stores<'_>, &StoreHandle<S>) -> P + Send + Sync + 'static,
    ) -> GlobalStore<S>
    where
        P: Processor<KIn = K, VIn = V>,
    {
        let (index, builder) = {
            let mut plan = lock(&self.plan);
            let index = plan.stores.len();
            let open = Arc::new(definition.open);
            plan.stores.push(DefinedStore { spec: definition.spec, open, is_global: true, of_table: None });
            (index, plan.builder)
        };
        let store = StoreHandle { index, builder, types: PhantomData };
        let make = move |stores: &mut Stores<'_>| make(stores, &store);
        let others = dry_run(&self.plan, &make);
        if others.iter().any(|&other| other != index) {
            let what = "the processor of a global store opened another store; it may open its own only".to_owned();
            lock(&self.plan).errors.push(BuildError::Misuse(what));
        }
        let node = maker(move |build| {
            let processor = make(&mut stores_of(build));
            ProcessorNode { id: build.node, processor }
        });
        let source = source_maker(topic, TimestampExtractor::FailOnInvalid);
        let handle = self.add(OpKind::GlobalStore { topic: topic.name().to_owned(), source, node, store: index });
        GlobalStore { handle, store }
    }

    /// Adds a store for processors to open.
    pub fn store<S: 'static>(&self, definition: StoreDefinition<S>) -> StoreHandle<S> {
        let mut plan = lock(&self.plan);
        let index = plan.stores.len();
        plan.stores.push(DefinedStore {
            spec: definition.spec,
            open: Arc::new(definition.open),
            is_global: false,
            of_table: None,
        });
        plan.add(OpKind::StateStore { index }, vec![]);
        StoreHandle { index, builder: plan.builder, types: PhantomData }
    }

    /// The topology.
    ///
    /// # Errors
    /// The first thing that is wrong with the program.
    pub fn build(&self) -> Result<Topology, BuildError> {
        graph::build(&lock(&self.plan), &self.settings)
    }
}

/// Makes the source of a topic's types.
pub(crate) fn source_maker<K: Field, V: Field>(
    topic: &Topic<K, V>,
    extractor: TimestampExtractor<K, V>,
) -> SourceMaker {
    let (key, value) = (topic.key_serde(), topic.value_serde());
    Arc::new(move |node, default| {
        let extractor = extractor.or(default);
        Box::new(TypedSource { node, key: key.clone(), value: value.clone(), extractor })
    })
}
