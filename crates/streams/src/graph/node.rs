//! The graph between plan and topology: what the optimiser works on.

use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet};

use tidewater_state::StoreSpec;

use super::plan::{NodeMaker, OpFacts, OpId, RepartitionMaker, SinkMaker, SourceMaker};
use crate::topology::{Reads, SinkTopic};

/// A node's place in the graph.
pub(crate) type GraphId = usize;

/// A processor that is to be written to the topology.
#[derive(Clone)]
pub(crate) struct ProcessorSpec {
    /// The operator that it belongs to.
    pub op: OpId,
    pub name: String,
    pub maker: NodeMaker,
    /// Stores that come with the processor.
    pub own_stores: Vec<StoreSpec>,
    /// Stores of others that it uses.
    pub connected: Vec<String>,
}

/// What a graph node writes to the topology.
#[derive(Clone)]
pub(crate) enum GraphKind {
    Root,
    Source {
        reads: Reads,
        maker: SourceMaker,
        types: TypeId,
    },
    TableSource {
        reads: Reads,
        source: String,
        maker: SourceMaker,
        processor: ProcessorSpec,
        reuse: bool,
    },
    Processor(ProcessorSpec),
    /// A store that is filled from its topic, which is its changelog.
    ReadOnlyStore {
        reads: Reads,
        source: String,
        maker: SourceMaker,
        processor: ProcessorSpec,
    },
    /// A topic, and the processor that puts it into a global store.
    GlobalSource {
        topic: String,
        source: String,
        maker: SourceMaker,
        processor: ProcessorSpec,
        store: StoreSpec,
    },
    /// A processor that `describe` does not show.
    Hidden(NodeMaker),
    Sink {
        topic: SinkTopic,
        maker: SinkMaker,
    },
    /// The reading end of a topic of the application's own, behind its sink.
    InternalSource {
        topic: String,
        maker: SourceMaker,
    },
    Repartition {
        source: String,
        sink: String,
        filter: String,
        topic: String,
        maker: RepartitionMaker,
        partitions: Option<u32>,
        optimizable: bool,
        drop_null_keys: bool,
    },
    TableRepartition {
        source: String,
        sink: String,
        topic: String,
        source_maker: SourceMaker,
        sink_maker: SinkMaker,
    },
    StreamJoin {
        left: ProcessorSpec,
        right: ProcessorSpec,
        merge: ProcessorSpec,
        self_join: Option<ProcessorSpec>,
        left_windowed: String,
        right_windowed: String,
        is_self_join: bool,
    },
    TableJoin {
        this: ProcessorSpec,
        other: ProcessorSpec,
        merge: ProcessorSpec,
        this_parent: GraphId,
        other_parent: GraphId,
    },
    StateStore(StoreSpec),
}

pub(crate) struct GraphNode {
    pub name: String,
    pub kind: GraphKind,
    pub parents: Vec<GraphId>,
    pub children: Vec<GraphId>,
    /// Nodes are written in this order, parents first.
    pub priority: usize,
    pub key_changing: bool,
    pub value_changing: bool,
    pub is_merge: bool,
    /// A join that sends records without a key on, so that repartitions before it need not let them through.
    pub relaxed_null_keys: bool,
    pub grace_ms: Option<i64>,
}

/// The graph, and what was learnt while it was made.
pub(crate) struct Graph {
    pub nodes: Vec<GraphNode>,
    pub facts: Vec<OpFacts>,
    /// Store specs of operators, by op: filled as tables turn out to need them.
    pub store_specs: BTreeMap<OpId, StoreSpec>,
    /// The names of the stores that are opened as the rows of tables, by their places in the plan.
    pub row_stores: BTreeMap<usize, String>,
    /// Source nodes that must have equally many partitions.
    pub copartitioned: Vec<BTreeSet<String>>,
    /// Key-changing nodes with the optimisable repartitions below them, in the order of their making.
    pub key_changers: Vec<(GraphId, Vec<GraphId>)>,
    pub merges: Vec<GraphId>,
    /// The counter behind generated names.
    pub next_number: usize,
}

pub(crate) const ROOT: GraphId = 0;

impl GraphNode {
    /// A node that is not linked yet.
    fn new(name: String, kind: GraphKind) -> Self {
        GraphNode {
            name,
            kind,
            parents: Vec::new(),
            children: Vec::new(),
            priority: 0,
            key_changing: false,
            value_changing: false,
            is_merge: false,
            relaxed_null_keys: false,
            grace_ms: None,
        }
    }
}

impl Graph {
    pub fn new() -> Self {
        Graph {
            nodes: vec![GraphNode::new("root".to_owned(), GraphKind::Root)],
            facts: Vec::new(),
            store_specs: BTreeMap::new(),
            row_stores: BTreeMap::new(),
            copartitioned: Vec::new(),
            key_changers: Vec::new(),
            merges: Vec::new(),
            next_number: 0,
        }
    }

    /// A generated name: the prefix and ten digits.
    pub fn new_name(&mut self, prefix: &str) -> String {
        let number = self.next_number;
        self.next_number += 1;
        format!("{prefix}{number:010}")
    }

    pub fn new_store_name(&mut self, prefix: &str) -> String {
        self.new_name(&format!("{prefix}STATE-STORE-"))
    }

    /// Whether there is a repartition of this name already.
    pub fn has_repartition(&self, name: &str) -> bool {
        let is_named = |topic: &str| topic.strip_suffix("-repartition") == Some(name);
        self.nodes.iter().any(|node| matches!(&node.kind, GraphKind::Repartition { topic, .. } if is_named(topic)))
    }

    /// A node that is not linked yet.
    pub fn create(&mut self, name: impl Into<String>, kind: GraphKind) -> GraphId {
        self.nodes.push(GraphNode::new(name.into(), kind));
        self.nodes.len() - 1
    }

    pub fn link(&mut self, parent: GraphId, child: GraphId) {
        if !self.nodes[parent].children.contains(&child) {
            self.nodes[parent].children.push(child);
        }
        if !self.nodes[child].parents.contains(&parent) {
            self.nodes[child].parents.push(parent);
        }
    }

    pub fn unlink(&mut self, parent: GraphId, child: GraphId) {
        self.nodes[parent].children.retain(|&id| id != child);
        self.nodes[child].parents.retain(|&id| id != parent);
    }

    /// Adds a node below a parent, and takes note of what the optimiser wants to know.
    pub fn add(&mut self, parent: GraphId, child: GraphId) {
        self.link(parent, child);
        // Each adding gives a new place, so that a node stands behind its last parent.
        self.nodes[child].priority = self.next_priority();
        if self.nodes[child].key_changing {
            if !self.key_changers.iter().any(|(id, _)| *id == child) {
                self.key_changers.push((child, Vec::new()));
            }
        } else if let GraphKind::Repartition { optimizable: true, .. } = self.nodes[child].kind {
            if let Some(changer) = self.key_changer_above(child)
                && let Some((_, repartitions)) = self.key_changers.iter_mut().find(|(id, _)| *id == changer)
                && !repartitions.contains(&child)
            {
                repartitions.push(child);
            }
        } else if self.nodes[child].is_merge && !self.merges.contains(&child) {
            self.merges.push(child);
        }
    }

    fn next_priority(&self) -> usize {
        self.nodes.iter().map(|node| node.priority).max().unwrap_or(0) + 1
    }

    /// The key-changing node above a repartition, unless values change on the way.
    fn key_changer_above(&self, node: GraphId) -> Option<GraphId> {
        let key = self.find_above(node, &|id| self.nodes[id].key_changing)?;
        let any = self.find_above(node, &|id| self.nodes[id].key_changing || self.nodes[id].value_changing)?;
        (key == any).then_some(key)
    }

    /// The first node above (or the node itself) for which the predicate holds.
    pub fn find_above(&self, node: GraphId, predicate: &dyn Fn(GraphId) -> bool) -> Option<GraphId> {
        if predicate(node) {
            return Some(node);
        }
        for &parent in &self.nodes[node].parents {
            if predicate(parent) {
                return Some(parent);
            }
            if let Some(found) = self.find_above(parent, predicate) {
                return Some(found);
            }
        }
        None
    }
}
