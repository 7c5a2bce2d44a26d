//! The physical topology: sources, processors, sinks and stores with their names, in sub-topologies.

mod builder;
mod describe;
mod java_set;
mod java_tree;
mod mermaid;
mod reads;
mod topics;

use std::collections::{BTreeMap, BTreeSet};

use tidewater_state::StoreSpec;

pub(crate) use builder::{InternalTopic, TopologyParts};
pub use reads::OffsetReset;
pub(crate) use reads::{Reads, SinkTopic, TopicPattern};
pub use topics::{InternalTopicSettings, SubTopologyTopics};

use crate::config::DefaultTimestamps;
use crate::graph::{NodeMaker, OpFacts, OpId, SinkMaker, SourceMaker};
use crate::node::Source;
use crate::task::{DefinedStore, Node, TaskBuild};

/// What a node of the topology is.
#[derive(Clone)]
pub(crate) enum NodeKind {
    Source { reads: Reads, maker: SourceMaker },
    Processor(NodeMaker),
    Sink { topic: SinkTopic, maker: SinkMaker },
}

/// A node of the topology.
#[derive(Clone)]
pub(crate) struct TopologyNode {
    pub name: String,
    pub kind: NodeKind,
    pub parents: Vec<usize>,
    pub children: Vec<usize>,
    /// Names of the stores it is connected to, in the order of connecting.
    pub stores: Vec<String>,
    /// A change of type only: `describe` shows its children below its parents.
    pub hidden: bool,
}

impl TopologyNode {
    /// The topics of a source.
    pub fn source_topics(&self) -> &[String] {
        match &self.kind {
            NodeKind::Source { reads, .. } => &reads.topics,
            NodeKind::Processor(_) | NodeKind::Sink { .. } => &[],
        }
    }

    /// The pattern of a source's topics, if it goes by one.
    pub fn source_pattern(&self) -> Option<&TopicPattern> {
        match &self.kind {
            NodeKind::Source { reads, .. } => reads.pattern.as_ref(),
            NodeKind::Processor(_) | NodeKind::Sink { .. } => None,
        }
    }

    pub fn make_source(&self, place: usize, default: DefaultTimestamps) -> Box<dyn Source> {
        match &self.kind {
            NodeKind::Source { maker, .. } => maker(place, default),
            NodeKind::Processor(_) | NodeKind::Sink { .. } => unreachable!("only sources have topics to read"),
        }
    }

    /// The node at work; none for a source, which stands at the edge.
    pub fn make(&self, build: &mut TaskBuild<'_>) -> Option<Box<dyn Node>> {
        match &self.kind {
            NodeKind::Source { .. } => None,
            NodeKind::Processor(maker) => Some(maker(build)),
            NodeKind::Sink { topic, maker } => Some(maker(build, topic.name())),
        }
    }
}

/// A part of the topology that is linked by records or stores: what one task runs.
#[derive(Clone, Debug)]
pub struct SubTopology {
    /// Its number, as `describe` prints it.
    pub id: u32,
    /// Its nodes, by place in the topology.
    pub(crate) nodes: Vec<usize>,
    /// Its stores, in the order in which a task opens and flushes them.
    pub(crate) stores: Vec<usize>,
    /// Whether it fills a global store, which all tasks read; it makes no tasks of its own.
    pub(crate) is_global: bool,
}

/// What a builder built: ready to run, to be tested, to be looked at.
#[derive(Clone)]
pub struct Topology {
    pub(crate) nodes: Vec<TopologyNode>,
    pub(crate) stores: Vec<StoreSpec>,
    /// Stores whose changelog is a source topic, with that topic.
    pub(crate) source_changelogs: BTreeMap<String, String>,
    pub(crate) internal_topics: Vec<InternalTopic>,
    /// Those that make tasks.
    pub(crate) subtopologies: Vec<SubTopology>,
    /// Those that fill global stores.
    pub(crate) global_subtopologies: Vec<SubTopology>,
    /// Stores that are filled from a topic as a whole, and read by all tasks.
    pub(crate) global_stores: BTreeSet<String>,
    pub(crate) copartitioned: Vec<BTreeSet<String>>,
    builder: u64,
    facts: Vec<OpFacts>,
    defined_stores: Vec<DefinedStore>,
    pub(crate) additional_retention_ms: i64,
    pub(crate) default_timestamps: DefaultTimestamps,
}

impl std::fmt::Debug for Topology {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.describe())
    }
}

impl Topology {
    /// Its sub-topologies that make tasks, by number.
    pub fn subtopologies(&self) -> &[SubTopology] {
        &self.subtopologies
    }

    /// All nodes and stores as one sub-topology: how a test driver runs it.
    pub fn whole(&self) -> SubTopology {
        let nodes: Vec<usize> = (0..self.nodes.len()).collect();
        let stores = self.stores_of(&nodes);
        SubTopology { id: 0, nodes, stores, is_global: false }
    }

    /// The parts that fill global stores, as one; none if there are no such stores.
    pub(crate) fn globals(&self) -> Option<SubTopology> {
        let nodes: Vec<usize> = self.global_subtopologies.iter().flat_map(|each| each.nodes.clone()).collect();
        let stores = self.stores_of(&nodes);
        (!nodes.is_empty()).then_some(SubTopology { id: 0, nodes, stores, is_global: true })
    }

    /// Whether a source goes by a pattern.
    pub(crate) fn has_patterns(&self) -> bool {
        self.nodes.iter().any(|node| node.source_pattern().is_some())
    }

    /// The same topology reading the topics that its patterns match among these.
    pub(crate) fn with_matched<'a>(&self, topics: impl Iterator<Item = &'a str> + Clone) -> Topology {
        let mut topology = self.clone();
        for node in &mut topology.nodes {
            if let NodeKind::Source { reads, .. } = &mut node.kind
                && let Some(pattern) = &reads.pattern
            {
                reads.topics = topics.clone().filter(|topic| pattern.matches(topic)).map(str::to_owned).collect();
            }
        }
        topology
    }

    /// Where a source of a topic begins, if the program says so.
    pub(crate) fn offset_reset(&self, topic: &str) -> Option<OffsetReset> {
        self.nodes.iter().find_map(|node| match &node.kind {
            NodeKind::Source { reads, .. } if reads.topics.iter().any(|read| read == topic) => reads.reset,
            _ => None,
        })
    }

    /// The topics that fill global stores.
    pub fn global_topics(&self) -> impl Iterator<Item = &str> {
        let nodes = self.global_subtopologies.iter().flat_map(|each| &each.nodes);
        nodes.flat_map(|&node| self.nodes[node].source_topics()).map(String::as_str)
    }

    /// The global store that a topic fills.
    pub(crate) fn global_store_of(&self, topic: &str) -> Option<&StoreSpec> {
        let reads = |node: &&usize| self.nodes[**node].source_topics().iter().any(|read| read == topic);
        let found = self.global_subtopologies.iter().find(|each| each.nodes.iter().any(|node| reads(&node)))?;
        found.stores.first().map(|&store| &self.stores[store])
    }

    /// The places of global stores.
    pub(crate) fn global_store_indexes(&self) -> impl Iterator<Item = usize> {
        (0..self.stores.len()).filter(|&store| self.global_stores.contains(&self.stores[store].name))
    }

    /// The stores of these nodes, in the order in which their processors name them.
    pub(crate) fn stores_of(&self, nodes: &[usize]) -> Vec<usize> {
        let mut stores = Vec::new();
        for &node in nodes {
            for name in java_set::order(&self.nodes[node].stores) {
                let found = self.stores.iter().position(|spec| spec.name == name);
                if let Some(index) = found
                    && !stores.contains(&index)
                {
                    stores.push(index);
                }
            }
        }
        stores
    }

    pub(crate) fn node(&self, index: usize) -> &TopologyNode {
        &self.nodes[index]
    }

    pub(crate) fn store(&self, index: usize) -> &StoreSpec {
        &self.stores[index]
    }

    pub(crate) fn store_named(&self, name: &str) -> Option<&StoreSpec> {
        self.stores.iter().find(|spec| spec.name == name)
    }

    pub(crate) fn facts(&self, op: OpId) -> &OpFacts {
        &self.facts[op]
    }

    /// Which builder built it.
    pub(crate) fn builder(&self) -> u64 {
        self.builder
    }

    pub(crate) fn defined_stores(&self) -> &[DefinedStore] {
        &self.defined_stores
    }

    /// Whether a topic is made and named by the application.
    pub(crate) fn is_internal(&self, topic: &str) -> bool {
        self.internal_topics.iter().any(|internal| internal.name == topic)
    }

    /// The full name of a topic: internal ones begin with the application's id.
    pub fn topic_name(&self, topic: &str, application_id: &str) -> String {
        if self.is_internal(topic) { format!("{application_id}-{topic}") } else { topic.to_owned() }
    }

    /// The name by which the program knows a topic.
    pub(crate) fn plain_topic<'a>(&self, topic: &'a str, application_id: &str) -> &'a str {
        let inner = topic.strip_prefix(application_id).and_then(|rest| rest.strip_prefix('-'));
        inner.filter(|inner| self.is_internal(inner)).unwrap_or(topic)
    }

    /// Whether a source topic serves as the store's changelog.
    pub(crate) fn is_source_changelog(&self, store: usize) -> bool {
        self.source_changelogs.contains_key(&self.stores[store].name)
    }

    /// The changelog topic of a store.
    pub(crate) fn changelog_topic(&self, store: usize, application_id: &str) -> String {
        let name = &self.stores[store].name;
        match self.source_changelogs.get(name) {
            Some(topic) => self.topic_name(topic, application_id),
            None => format!("{application_id}-{name}-changelog"),
        }
    }
}
