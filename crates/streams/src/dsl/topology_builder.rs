//! The topology node by node: Kafka Streams' Processor API.

use std::any::TypeId;
use std::marker::PhantomData;
use std::sync::Arc;

use super::StreamsBuilder;
use super::Topic;
use super::builder::source_maker;
use super::handle::{Handle, SharedPlan, lock, maker};
use super::sink::{SinkHandle, sink_maker};
use super::stream::{dry_run, stores_of};
use crate::codec::{Field, Fits};
use crate::config::BuildSettings;
use crate::error::BuildError;
use crate::graph::{self, OpKind};
use crate::node::sink::Routing;
use crate::node::source::TimestampExtractor;
use crate::task::context::ProcessorNode;
use crate::task::{DefinedStore, Processor, StoreDefinition, StoreHandle, Stores};
use crate::topology::{OffsetReset, Reads, SinkTopic, TopicPattern, Topology};

/// A node of a [`TopologyBuilder`], whose children take records of `K` and `V`.
///
/// A parent is named by its handle, so one that does not exist, comes later, is a sink, or gives other types cannot be written;
/// nor can a cycle.
pub struct NodeHandle<K, V> {
    handle: Handle,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for NodeHandle<K, V> {
    fn clone(&self) -> Self {
        NodeHandle { handle: self.handle.clone(), types: PhantomData }
    }
}

/// Builds a topology of sources, processors and sinks, each with its name.
///
/// ```
/// use tidewater_streams::{Context, Processor, Topic, TopologyBuilder, UserError};
/// use tidewater_types::Record;
///
/// struct Shout;
///
/// impl Processor for Shout {
///     type KIn = String;
///     type VIn = String;
///     type KOut = String;
///     type VOut = String;
///
///     fn process(
///         &mut self,
///         record: Record<String, String>,
///         ctx: &mut Context<'_, String, String>,
///     ) -> Result<(), UserError> {
///         let loud = record.value.to_uppercase();
///         Ok(ctx.forward(record.with_value(loud))?)
///     }
/// }
///
/// const IN: Topic<String, String> = Topic::new("in");
/// const OUT: Topic<String, String> = Topic::new("out");
///
/// let builder = TopologyBuilder::new();
/// let source = builder.add_source("source", &IN);
/// let shout = builder.add_processor("shout", &[&source], |_| Shout);
/// builder.add_sink("sink", &OUT, &[&shout]);
/// assert!(builder.build()?.describe().contains("Processor: shout"));
/// # Ok::<(), tidewater_streams::BuildError>(())
/// ```
pub struct TopologyBuilder {
    plan: SharedPlan,
    settings: BuildSettings,
}

impl Default for TopologyBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl TopologyBuilder {
    /// An empty topology.
    pub fn new() -> Self {
        Self::with_settings(BuildSettings::default())
    }

    /// An empty topology with settings of its own.
    pub fn with_settings(settings: BuildSettings) -> Self {
        TopologyBuilder { plan: StreamsBuilder::new_plan(), settings }
    }

    fn add<K, V>(&self, name: impl Into<String>, kind: OpKind, parents: &[&Handle]) -> NodeHandle<K, V> {
        let mut plan = lock(&self.plan);
        let strangers = parents.iter().any(|parent| !Arc::ptr_eq(&parent.plan, &self.plan));
        if strangers {
            plan.errors.push(BuildError::ForeignHandle("a node".to_owned()));
        }
        let inputs = if strangers { vec![] } else { parents.iter().map(|parent| parent.op).collect() };
        let op = plan.add(kind, inputs);
        plan.ops[op].name = Some(name.into());
        NodeHandle { handle: Handle { plan: self.plan.clone(), op }, types: PhantomData }
    }

    fn fail(&self, error: BuildError) {
        lock(&self.plan).errors.push(error);
    }

    /// A node that reads a topic.
    pub fn add_source<K: Field, V: Field>(&self, name: impl Into<String>, topic: &Topic<K, V>) -> NodeHandle<K, V> {
        self.source(name, topic, Reads::topic(topic.name()), TimestampExtractor::Default)
    }

    /// A node that reads topics, with all that can be said about it.
    pub fn add_source_with<K: Field, V: Field>(
        &self,
        name: impl Into<String>,
        topics: &[Topic<K, V>],
        timestamps: TimestampExtractor<K, V>,
        reset: Option<OffsetReset>,
    ) -> NodeHandle<K, V> {
        let first = topics.first().cloned().unwrap_or_else(|| Topic::named(""));
        if topics.is_empty() {
            self.fail(BuildError::Misuse("a source of no topics; name at least one".to_owned()));
        }
        let topics = topics.iter().map(|topic| topic.name().to_owned()).collect();
        self.source(name, &first, Reads { topics, pattern: None, reset }, timestamps)
    }

    /// A node that reads all topics whose names match a pattern, a regular expression.
    pub fn add_source_matching<K: Field, V: Field>(
        &self,
        name: impl Into<String>,
        pattern: &str,
        types: &Topic<K, V>,
    ) -> NodeHandle<K, V> {
        self.add_source_matching_with(name, pattern, types, TimestampExtractor::Default, None)
    }

    /// The same, with all that can be said about it.
    pub fn add_source_matching_with<K: Field, V: Field>(
        &self,
        name: impl Into<String>,
        pattern: &str,
        types: &Topic<K, V>,
        timestamps: TimestampExtractor<K, V>,
        reset: Option<OffsetReset>,
    ) -> NodeHandle<K, V> {
        let pattern = TopicPattern::new(pattern).map_err(|error| self.fail(error)).ok();
        self.source(name, types, Reads { pattern, reset, ..Reads::default() }, timestamps)
    }

    fn source<K: Field, V: Field>(
        &self,
        name: impl Into<String>,
        types: &Topic<K, V>,
        reads: Reads,
        timestamps: TimestampExtractor<K, V>,
    ) -> NodeHandle<K, V> {
        let taken = lock(&self.plan).ops.iter().find_map(|op| match &op.kind {
            OpKind::AddSource { reads: other, .. } => other.overlap(&reads),
            _ => None,
        });
        if let Some(topic) = taken {
            self.fail(BuildError::SourceConflict { topic, how: "by two sources" });
        }
        let source = source_maker(types, timestamps);
        self.add(name, OpKind::AddSource { reads, source, types: TypeId::of::<(K, V)>() }, &[])
    }

    /// A node that runs a processor. The closure makes one for each task, and opens its stores.
    pub fn add_processor<P: Processor>(
        &self,
        name: impl Into<String>,
        parents: &[&NodeHandle<P::KIn, P::VIn>],
        make: impl Fn(&mut Stores<'_>) -> P + Send + Sync + 'static,
    ) -> NodeHandle<P::KOut, P::VOut> {
        let name = name.into();
        self.check_parents(&name, parents.len());
        let stores = dry_run(&self.plan, &make);
        let node = maker(move |build| {
            let processor = make(&mut stores_of(build));
            ProcessorNode { id: build.node, processor }
        });
        let parents: Vec<&Handle> = parents.iter().map(|parent| &parent.handle).collect();
        self.add(name, OpKind::AddProcessor { node, stores }, &parents)
    }

    /// A node that writes records to a topic.
    pub fn add_sink<K, V, K2: Field, V2: Field>(
        &self,
        name: impl Into<String>,
        topic: &Topic<K2, V2>,
        parents: &[&NodeHandle<K, V>],
    ) -> SinkHandle<K, V, K2, V2>
    where
        K: Fits<K2>,
        V: Fits<V2>,
    {
        self.sink(name, topic, SinkTopic::Named(topic.name().to_owned()), Routing::default(), parents)
    }

    /// A node that writes each record to the topic that `choose` names; see [`KStream::to_chosen`](super::KStream::to_chosen).
    pub fn add_sink_chosen<K, V, K2: Field, V2: Field>(
        &self,
        name: impl Into<String>,
        extractor: impl Into<String>,
        types: &Topic<K2, V2>,
        choose: impl Fn(&tidewater_types::Record<K, V>, &tidewater_types::RecordContext) -> String + Send + Sync + 'static,
        parents: &[&NodeHandle<K, V>],
    ) -> SinkHandle<K, V, K2, V2>
    where
        K: Fits<K2>,
        V: Fits<V2>,
    {
        let routing = Routing { topic: Some(Arc::new(choose)), partitions: None };
        self.sink(name, types, SinkTopic::Extracted(extractor.into()), routing, parents)
    }

    fn sink<K, V, K2: Field, V2: Field>(
        &self,
        name: impl Into<String>,
        types: &Topic<K2, V2>,
        topic: SinkTopic,
        routing: Routing<K, V>,
        parents: &[&NodeHandle<K, V>],
    ) -> SinkHandle<K, V, K2, V2>
    where
        K: Fits<K2>,
        V: Fits<V2>,
    {
        let name = name.into();
        self.check_parents(&name, parents.len());
        let (key, value) = (types.key_serde(), types.value_serde());
        let sink = sink_maker::<K, V, K2, V2>(key.clone(), value.clone(), routing.clone());
        let parents: Vec<&Handle> = parents.iter().map(|parent| &parent.handle).collect();
        let node: NodeHandle<K, V> = self.add(name, OpKind::Sink { topic, sink }, &parents);
        SinkHandle::new(node.handle, key, value, routing)
    }

    fn check_parents(&self, name: &str, count: usize) {
        if count == 0 {
            self.fail(BuildError::Misuse(format!(
                "{name:?} has no parent; name at least one node that it gets records from"
            )));
        }
    }

    /// Adds a store for processors to open.
    pub fn store<S: 'static>(&self, definition: StoreDefinition<S>) -> StoreHandle<S> {
        let handle = self.define(definition, false);
        lock(&self.plan).add(OpKind::StateStore { index: handle.index }, vec![]);
        handle
    }

    fn define<S: 'static>(&self, definition: StoreDefinition<S>, is_global: bool) -> StoreHandle<S> {
        let mut plan = lock(&self.plan);
        let index = plan.stores.len();
        plan.stores.push(DefinedStore {
            spec: definition.spec,
            open: Arc::new(definition.open),
            is_global,
            of_table: None,
        });
        StoreHandle { index, builder: plan.builder, types: PhantomData }
    }

    /// Adds a store that a processor fills from a topic, which is also its changelog; other processors only read it.
    pub fn add_read_only_store<S: 'static, K: Field, V: Field, P>(
        &self,
        source: impl Into<String>,
        topic: &Topic<K, V>,
        name: impl Into<String>,
        definition: StoreDefinition<S>,
        make: impl Fn(&mut Stores<'_>, &StoreHandle<S>) -> P + Send + Sync + 'static,
    ) -> StoreHandle<S>
    where
        P: Processor<KIn = K, VIn = V>,
    {
        let timestamps = TimestampExtractor::Default;
        self.filled_store(source.into(), topic, timestamps, name.into(), definition, false, make)
    }

    /// The same with timestamps of its own: the store's records are those of an ordinary source.
    pub fn add_read_only_store_with<S: 'static, K: Field, V: Field, P>(
        &self,
        source: impl Into<String>,
        topic: &Topic<K, V>,
        timestamps: TimestampExtractor<K, V>,
        name: impl Into<String>,
        definition: StoreDefinition<S>,
        make: impl Fn(&mut Stores<'_>, &StoreHandle<S>) -> P + Send + Sync + 'static,
    ) -> StoreHandle<S>
    where
        P: Processor<KIn = K, VIn = V>,
    {
        self.filled_store(source.into(), topic, timestamps, name.into(), definition, false, make)
    }

    /// Adds a store that a processor fills from a topic as a whole, in one place for all tasks, which only read it.
    /// Its records have the timestamps of the topic, and there is no extractor: Kafka Streams takes one, and does not ask it.
    pub fn add_global_store<S: 'static, K: Field, V: Field, P>(
        &self,
        source: impl Into<String>,
        topic: &Topic<K, V>,
        name: impl Into<String>,
        definition: StoreDefinition<S>,
        make: impl Fn(&mut Stores<'_>, &StoreHandle<S>) -> P + Send + Sync + 'static,
    ) -> StoreHandle<S>
    where
        P: Processor<KIn = K, VIn = V>,
    {
        let timestamps = TimestampExtractor::Default;
        self.filled_store(source.into(), topic, timestamps, name.into(), definition, true, make)
    }

    fn filled_store<S: 'static, K: Field, V: Field, P>(
        &self,
        source_name: String,
        topic: &Topic<K, V>,
        timestamps: TimestampExtractor<K, V>,
        name: String,
        definition: StoreDefinition<S>,
        is_global: bool,
        make: impl Fn(&mut Stores<'_>, &StoreHandle<S>) -> P + Send + Sync + 'static,
    ) -> StoreHandle<S>
    where
        P: Processor<KIn = K, VIn = V>,
    {
        let store = self.define(definition, is_global);
        let make = move |stores: &mut Stores<'_>| make(stores, &store);
        dry_run(&self.plan, &make);
        let node = maker(move |build| {
            let processor = make(&mut stores_of(build));
            ProcessorNode { id: build.node, processor }
        });
        let source = source_maker(topic, timestamps);
        let reads = Reads::topic(topic.name());
        let kind = OpKind::AddReadOnlyStore { reads, source_name, source, node, store: store.index, is_global };
        let _: NodeHandle<(), ()> = self.add(name, kind, &[]);
        store
    }

    /// The topology.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn build(&self) -> Result<Topology, BuildError> {
        graph::build(&lock(&self.plan), &self.settings)
    }
}
