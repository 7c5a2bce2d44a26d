//! Putting a topology together: unique names, stores and their users, and the sub-topologies that come of it.

use std::collections::{BTreeMap, BTreeSet};

use tidewater_state::{Logging, StoreSpec};

use super::{NodeKind, SubTopology, Topology, TopologyNode};
use crate::config::BuildSettings;
use crate::error::BuildError;
use crate::graph::{NodeMaker, OpFacts, OpId};
use crate::task::DefinedStore;

/// A repartition topic, named without the application's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InternalTopic {
    pub name: String,
    pub partitions: Option<u32>,
}

/// Collects nodes, parents before children.
#[derive(Default)]
pub(crate) struct TopologyParts {
    nodes: Vec<TopologyNode>,
    names: BTreeMap<String, usize>,
    stores: Vec<StoreSpec>,
    /// The operator that each store came with, if it came with one: an operator's processors may share stores.
    store_owners: BTreeMap<String, Option<OpId>>,
    source_changelogs: BTreeMap<String, String>,
    internal_topics: Vec<InternalTopic>,
    global_stores: BTreeSet<String>,
}

impl TopologyParts {
    pub fn add_node(&mut self, name: String, kind: NodeKind, parents: Vec<usize>) -> Result<usize, BuildError> {
        let index = self.nodes.len();
        if self.names.insert(name.clone(), index).is_some() {
            return Err(BuildError::DuplicateNode(name));
        }
        if let NodeKind::Source { reads, .. } = &kind {
            let taken = self.nodes.iter().find_map(|node| match &node.kind {
                NodeKind::Source { reads: other, .. } => other.overlap(reads),
                _ => None,
            });
            if let Some(topic) = taken {
                return Err(BuildError::SourceConflict { topic, how: "by two operators" });
            }
        }
        Ok(self.push(TopologyNode { name, kind, parents, children: vec![], stores: vec![], hidden: false }))
    }

    pub fn add_hidden(&mut self, maker: NodeMaker, parents: Vec<usize>) -> Result<usize, BuildError> {
        let kind = NodeKind::Processor(maker);
        Ok(self.push(TopologyNode {
            name: String::new(),
            kind,
            parents,
            children: vec![],
            stores: vec![],
            hidden: true,
        }))
    }

    fn push(&mut self, node: TopologyNode) -> usize {
        let index = self.nodes.len();
        for &parent in &node.parents {
            self.nodes[parent].children.push(index);
        }
        self.nodes.push(node);
        index
    }

    pub fn find(&self, name: &str) -> Result<usize, BuildError> {
        self.names.get(name).copied().ok_or_else(|| BuildError::Misuse(format!("there is no node named {name:?}")))
    }

    /// Adds a store that the program defined.
    pub fn add_store(&mut self, spec: StoreSpec) -> Result<(), BuildError> {
        if self.store_owners.insert(spec.name.clone(), None).is_some() {
            return Err(BuildError::DuplicateStore(spec.name));
        }
        self.stores.push(spec);
        Ok(())
    }

    /// Adds a store that comes with an operator's processor.
    pub fn add_store_of(&mut self, spec: StoreSpec, op: OpId) -> Result<(), BuildError> {
        match self.store_owners.get(&spec.name) {
            None => {
                self.store_owners.insert(spec.name.clone(), Some(op));
                self.stores.push(spec);
                Ok(())
            }
            Some(Some(owner)) if *owner == op => Ok(()),
            Some(_) => Err(BuildError::DuplicateStore(spec.name)),
        }
    }

    /// Has a node fill a global store.
    pub fn add_global_store(&mut self, node: usize, spec: StoreSpec) -> Result<(), BuildError> {
        self.nodes[node].stores.push(spec.name.clone());
        self.global_stores.insert(spec.name.clone());
        self.add_store(spec)
    }

    /// Connects a node to stores.
    pub fn connect(&mut self, node: usize, stores: &[String]) -> Result<(), BuildError> {
        for name in stores {
            if !self.store_owners.contains_key(name) {
                return Err(BuildError::Misuse(format!(
                    "there is no store named {name:?}; add it with builder.store(..)"
                )));
            }
            let connected = &mut self.nodes[node].stores;
            if !connected.contains(name) {
                connected.push(name.clone());
            }
        }
        Ok(())
    }

    /// A store without a changelog of its own has the source's as well.
    pub fn reuse_source_topic(&mut self, store: &str, topic: &str) {
        for spec in self.stores.iter_mut().filter(|spec| spec.name == store && !spec.is_logged()) {
            spec.logging = Logging::On(Vec::new());
        }
        self.source_changelogs.insert(store.to_owned(), topic.to_owned());
    }

    pub fn add_internal_topic(&mut self, topic: InternalTopic) {
        if !self.internal_topics.contains(&topic) {
            self.internal_topics.push(topic);
        }
    }

    pub fn finish(
        self,
        builder: u64,
        defined_stores: Vec<DefinedStore>,
        facts: Vec<OpFacts>,
        copartitioned: Vec<BTreeSet<String>>,
        settings: &BuildSettings,
    ) -> Result<Topology, BuildError> {
        if !self.nodes.iter().any(|node| matches!(node.kind, NodeKind::Source { .. })) {
            return Err(BuildError::Empty);
        }
        const DAY_MS: i64 = 24 * 60 * 60 * 1000;
        let mut topology = Topology {
            nodes: self.nodes,
            stores: self.stores,
            source_changelogs: self.source_changelogs,
            internal_topics: self.internal_topics,
            subtopologies: Vec::new(),
            global_subtopologies: Vec::new(),
            global_stores: self.global_stores,
            copartitioned,
            builder,
            facts,
            defined_stores,
            additional_retention_ms: settings.additional_retention_ms.unwrap_or(DAY_MS),
            default_timestamps: settings.default_timestamps,
        };
        if settings.require_names {
            check_names(&topology)?;
        }
        (topology.global_subtopologies, topology.subtopologies) =
            group(&topology).into_iter().partition(|each| each.is_global);
        check_partitions(&topology)?;
        Ok(topology)
    }
}

/// Every store and repartition topic must have a name from the program.
fn check_names(topology: &Topology) -> Result<(), BuildError> {
    let is_generated = |name: &str| {
        let digits = name.as_bytes().windows(11).filter(|part| part[0] == b'-');
        ["KSTREAM-", "KTABLE-", "COGROUPKSTREAM-"].iter().any(|prefix| name.starts_with(prefix))
            && digits.into_iter().any(|part| part[1..].iter().all(u8::is_ascii_digit))
            || name.contains("-STATE-STORE-0")
    };
    let stores = topology.stores.iter().map(|spec| spec.name.clone());
    let topics = topology.internal_topics.iter().map(|topic| topic.name.clone());
    let unnamed: Vec<String> = stores.chain(topics).filter(|name| is_generated(name)).collect();
    if unnamed.is_empty() { Ok(()) } else { Err(BuildError::Unnamed(unnamed)) }
}

/// Repartition topics that are joined must not be given different numbers of partitions.
fn check_partitions(topology: &Topology) -> Result<(), BuildError> {
    for group in &topology.copartitioned {
        let mut given: Option<(&str, u32)> = None;
        for node in topology.nodes.iter().filter(|node| group.contains(&node.name)) {
            for topic in node.source_topics() {
                let internal = topology.internal_topics.iter().find(|internal| internal.name == *topic);
                let Some(partitions) = internal.and_then(|internal| internal.partitions) else { continue };
                match given {
                    Some((other, count)) if count != partitions => {
                        return Err(BuildError::NotCopartitioned {
                            left: other.to_owned(),
                            left_partitions: count,
                            right: topic.to_owned(),
                            right_partitions: partitions,
                        });
                    }
                    _ => given = Some((topic, partitions)),
                }
            }
        }
    }
    Ok(())
}

/// Nodes that are linked by edges or by stores, numbered in the order of their first nodes.
fn group(topology: &Topology) -> Vec<SubTopology> {
    let count = topology.nodes.len();
    let mut root: Vec<usize> = (0..count).collect();
    fn find(root: &mut [usize], mut node: usize) -> usize {
        while root[node] != node {
            root[node] = root[root[node]];
            node = root[node];
        }
        node
    }
    let mut union = |a: usize, b: usize| {
        let (a, b) = (find(&mut root, a), find(&mut root, b));
        root[a] = b;
    };
    let mut users: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, node) in topology.nodes.iter().enumerate() {
        for &parent in &node.parents {
            union(index, parent);
        }
        for store in &node.stores {
            match users.get(store.as_str()) {
                Some(&user) => union(index, user),
                None => {
                    users.insert(store, index);
                }
            }
        }
    }
    let mut numbers: BTreeMap<usize, u32> = BTreeMap::new();
    for node in 0..count {
        let next = numbers.len() as u32;
        numbers.entry(find(&mut root, node)).or_insert(next);
    }
    let mut groups = vec![Vec::new(); numbers.len()];
    for node in 0..count {
        if let Some(&number) = numbers.get(&find(&mut root, node)) {
            groups[number as usize].push(node);
        }
    }
    groups
        .into_iter()
        .enumerate()
        .map(|(id, nodes)| {
            let stores = topology.stores_of(&nodes);
            let is_global = stores.iter().any(|&store| topology.global_stores.contains(&topology.stores[store].name));
            SubTopology { id: id as u32, nodes, stores, is_global }
        })
        .collect()
}
