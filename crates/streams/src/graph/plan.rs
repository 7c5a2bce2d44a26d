//! The plan: operators in the order of the calls.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::sync::Arc;

use tidewater_state::{Retention, StoreKind};

use crate::config::DefaultTimestamps;
use crate::error::BuildError;
use crate::node::Source;
use crate::task::DefinedStore;
use crate::task::{Node, NodeId, TaskBuild};
use crate::topology::{Reads, SinkTopic};

/// An operator's number: its place in the order of the calls.
pub(crate) type OpId = usize;

/// Makes a node when a task is built.
pub(crate) type NodeMaker = Arc<dyn Fn(&mut TaskBuild<'_>) -> Box<dyn Node> + Send + Sync>;
/// Makes a source when a task is built.
pub(crate) type SourceMaker = Arc<dyn Fn(NodeId, DefaultTimestamps) -> Box<dyn Source> + Send + Sync>;
/// Makes a sink to a topic when a task is built.
pub(crate) type SinkMaker = Arc<dyn Fn(&TaskBuild<'_>, &str) -> Box<dyn Node> + Send + Sync>;

/// What a repartition of a typed stream needs, should one turn out to be necessary.
#[derive(Clone)]
pub(crate) struct RepartitionMaker {
    pub pass: NodeMaker,
    pub drop_null_keys: NodeMaker,
    pub sink: SinkMaker,
    pub source: SourceMaker,
}

/// What was said about an operator's store.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoreOptions {
    pub name: Option<String>,
    /// In memory or not; as the settings say if nothing was said.
    pub in_memory: Option<bool>,
    pub cached: Option<bool>,
    pub without_changelog: bool,
    pub changelog: Vec<(String, String)>,
    pub retention: Option<Retention>,
    /// A longer retention of the store alone, not of its changelog.
    pub local_retention: Option<Retention>,
    /// The history of a versioned store, and the length of its segments if one was given.
    pub versioned: Option<(Retention, Option<i64>)>,
    /// Without timestamps.
    pub plain: bool,
    /// How long rows live.
    pub ttl_ms: Option<i64>,
    /// With room for this many keys, the least recently used leaving first.
    pub max_keys: Option<usize>,
}

/// The store that an operator may have.
#[derive(Clone, Debug)]
pub(crate) enum StoreTemplate {
    KeyValue,
    /// `span_ms` is what the store must keep beside the grace.
    Window {
        size_ms: i64,
        span_ms: i64,
        grace_ms: i64,
    },
    Session {
        gap_ms: i64,
        grace_ms: i64,
    },
}

#[derive(Clone)]
pub(crate) struct AggregateOp {
    /// `KSTREAM-AGGREGATE-` or `KSTREAM-REDUCE-`.
    pub prefix: &'static str,
    pub is_count: bool,
    /// Whether a record cache may stand before the store.
    pub cacheable: bool,
    /// See [`tidewater_state::StoreSpec::time_ordered`].
    pub time_ordered: bool,
    pub node: NodeMaker,
    pub template: StoreTemplate,
    pub repartition: RepartitionMaker,
}

/// A processor of a stream with a store of its own: what there is beyond Kafka Streams.
#[derive(Clone)]
pub(crate) struct StatefulOp {
    pub prefix: &'static str,
    pub node: NodeMaker,
    /// The kind of its store, and how long rows live in it.
    pub store: StoreKind,
    pub ttl_ms: Option<i64>,
    /// For one that works by key.
    pub repartition: Option<RepartitionMaker>,
}

#[derive(Clone)]
pub(crate) struct GroupedTableOp {
    /// `KTABLE-AGGREGATE-` or `KTABLE-REDUCE-`.
    pub prefix: &'static str,
    pub node: NodeMaker,
    pub sink: SinkMaker,
    pub source: SourceMaker,
}

#[derive(Clone)]
pub(crate) struct StreamJoinOp {
    pub left_outer: bool,
    pub right_outer: bool,
    pub left_repartition: RepartitionMaker,
    pub right_repartition: RepartitionMaker,
    pub left_window: NodeMaker,
    pub right_window: NodeMaker,
    pub left_side: NodeMaker,
    pub right_side: NodeMaker,
    pub merge: NodeMaker,
    pub self_join: Option<NodeMaker>,
    /// Length of the window, which is also the stores' window size.
    pub size_ms: i64,
    pub retention_ms: i64,
    pub store_name: Option<String>,
    pub left_store: JoinStore,
    pub right_store: JoinStore,
    pub without_changelog: bool,
    pub changelog: Vec<(String, String)>,
}

/// What is said of one side's store of a stream-stream join.
#[derive(Clone, Debug, Default)]
pub(crate) struct JoinStore {
    pub name: Option<String>,
    /// In memory or not; as the settings say if nothing was said.
    pub in_memory: Option<bool>,
}

#[derive(Clone)]
pub(crate) struct StreamTableJoinOp {
    pub left: bool,
    pub node: NodeMaker,
    pub repartition: RepartitionMaker,
    /// How long records wait for the table.
    pub grace_ms: Option<i64>,
}

#[derive(Clone)]
pub(crate) struct TableJoinOp {
    pub left_outer: bool,
    pub right_outer: bool,
    pub this: NodeMaker,
    pub other: NodeMaker,
    pub merge: NodeMaker,
}

/// The nodes of a foreign-key join, in the order of a record's way; see `node::foreign_join`.
#[derive(Clone)]
pub(crate) struct ForeignJoinOp {
    pub register: NodeMaker,
    pub registration_sink: SinkMaker,
    pub registration_source: SourceMaker,
    pub receive: NodeMaker,
    pub answer: NodeMaker,
    pub foreign_change: NodeMaker,
    pub response_sink: SinkMaker,
    pub response_source: SourceMaker,
    pub resolve: NodeMaker,
    pub result: NodeMaker,
}

#[derive(Clone)]
pub(crate) struct SuppressOp {
    pub node: NodeMaker,
    pub until_window_closes: bool,
    pub without_changelog: bool,
    pub changelog: Vec<(String, String)>,
}

/// What an operator is.
#[derive(Clone)]
pub(crate) enum OpKind {
    Stream {
        reads: Reads,
        source: SourceMaker,
        types: TypeId,
    },
    Table {
        reads: Reads,
        source: SourceMaker,
        node: NodeMaker,
    },
    /// A source of a topology that is written node by node.
    AddSource {
        reads: Reads,
        source: SourceMaker,
        types: TypeId,
    },
    /// A processor of such a topology.
    AddProcessor {
        node: NodeMaker,
        stores: Vec<usize>,
    },
    /// A store of such a topology that is filled from a topic.
    AddReadOnlyStore {
        reads: Reads,
        source_name: String,
        source: SourceMaker,
        node: NodeMaker,
        store: usize,
        /// Whether all tasks read it as a whole.
        is_global: bool,
    },
    GlobalTable {
        topic: String,
        source: SourceMaker,
        node: NodeMaker,
    },
    /// A global store that a processor of the program's fills.
    GlobalStore {
        topic: String,
        source: SourceMaker,
        node: NodeMaker,
        /// Its place among the stores.
        store: usize,
    },
    /// A processor of a stream.
    Process {
        prefix: &'static str,
        node: NodeMaker,
        /// For the optimiser: whether keys, or values, may change here.
        key_changing: bool,
        value_changing: bool,
        /// Whether the key may be another one behind it, so that stateful operators repartition.
        repartitions: bool,
        stores: Vec<usize>,
        /// A left join, which sends records without a key on.
        relaxed_null_keys: bool,
    },
    /// Another type for the same stream: no node of the topology.
    Retype {
        node: NodeMaker,
    },
    /// Another type for the rows of the same table.
    RetypeTable {
        node: NodeMaker,
    },
    Merge {
        node: NodeMaker,
    },
    Split {
        node: NodeMaker,
    },
    /// A branch of a split: its place among the branches from 1, or 0 for the default one.
    Branch {
        node: NodeMaker,
        number: usize,
    },
    Repartition {
        maker: RepartitionMaker,
        partitions: Option<u32>,
    },
    Sink {
        topic: SinkTopic,
        sink: SinkMaker,
    },
    GroupByKey,
    GroupBy {
        node: NodeMaker,
    },
    Aggregate(AggregateOp),
    Cogroup,
    CogroupAggregate {
        sides: Vec<AggregateOp>,
        merge: NodeMaker,
    },
    ToTable {
        node: NodeMaker,
        repartition: RepartitionMaker,
    },
    /// A filtered or mapped table.
    Derive {
        prefix: &'static str,
        node: NodeMaker,
        stores: Vec<usize>,
    },
    ToStream {
        node: NodeMaker,
    },
    GroupTable {
        node: NodeMaker,
    },
    TableAggregate(GroupedTableOp),
    StreamJoin(Box<StreamJoinOp>),
    StreamTableJoin(StreamTableJoinOp),
    ForeignJoin(Box<ForeignJoinOp>),
    TableJoin(TableJoinOp),
    Suppress(SuppressOp),
    Stateful(StatefulOp),
    StateStore {
        index: usize,
    },
}

/// An operator with its options.
#[derive(Clone)]
pub(crate) struct Op {
    pub kind: OpKind,
    pub inputs: Vec<OpId>,
    pub name: Option<String>,
    /// Kafka's `Materialized`: present as soon as any store option was given.
    pub store: Option<StoreOptions>,
    /// Serdes that were set for the operator's result: `Serde`s of its key and value types.
    pub key_serde: Option<AnySerde>,
    pub value_serde: Option<AnySerde>,
    /// Whether another operator takes this one as input.
    pub used: bool,
}

/// A `Serde` of some type.
pub(crate) type AnySerde = Arc<dyn std::any::Any + Send + Sync>;

/// All operators of one builder.
#[derive(Clone, Default)]
pub(crate) struct Plan {
    /// Tells builders apart.
    pub builder: u64,
    pub ops: Vec<Op>,
    pub stores: Vec<DefinedStore>,
    /// What was wrong already when it was said.
    pub errors: Vec<BuildError>,
}

impl Plan {
    pub fn add(&mut self, kind: OpKind, inputs: Vec<OpId>) -> OpId {
        for &input in &inputs {
            self.ops[input].used = true;
        }
        self.ops.push(Op { kind, inputs, name: None, store: None, key_serde: None, value_serde: None, used: false });
        self.ops.len() - 1
    }
}

/// What lowering decided about an operator, for its node's maker to read.
#[derive(Clone, Default)]
pub(crate) struct OpFacts {
    /// The name of its (last) node.
    pub name: String,
    /// Its store, if it has one.
    pub store: Option<String>,
    /// Whether changes are sent with the old value.
    pub send_old: bool,
    pub key_serde: Option<AnySerde>,
    pub value_serde: Option<AnySerde>,
    /// Whether the tables that it takes are versioned, in their order.
    pub versioned_inputs: Vec<bool>,
    /// Further stores by role.
    pub stores: BTreeMap<&'static str, String>,
}
