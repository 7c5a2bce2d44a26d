//! The text of a topology, equal to what Kafka Streams prints.

use std::cmp::Ordering;
use std::fmt::Write;

use super::java_tree::JavaTree;
use super::{NodeKind, SinkTopic, SubTopology, Topology, java_set};

/// How the nodes of a sub-topology hang together.
struct Links {
    /// For each node the number of ways down from it, itself included.
    sizes: Vec<u64>,
    successors: Vec<JavaTree>,
    predecessors: Vec<JavaTree>,
}

impl Links {
    fn grow(&mut self, node: usize, by: u64) {
        self.sizes[node] += by;
        for parent in self.predecessors[node].in_order() {
            self.grow(parent, by);
        }
    }
}

impl Topology {
    /// The description: sub-topologies with their nodes, what comes before and after each, topics and stores.
    pub fn describe(&self) -> String {
        let mut out = "Topologies:\n ".to_owned();
        let mut all: Vec<&SubTopology> = self.subtopologies.iter().chain(&self.global_subtopologies).collect();
        all.sort_by_key(|each| each.id);
        for subtopology in all {
            let (id, nodes) = (subtopology.id, self.describe_nodes(subtopology));
            let _ = match subtopology.is_global {
                // Kafka Streams leaves no empty line behind these.
                true => write!(out, "  Sub-topology: {id} for global store (will not generate tasks)\n{nodes}"),
                false => write!(out, "  Sub-topology: {id}\n{nodes}\n"),
            };
        }
        out
    }

    fn describe_nodes(&self, subtopology: &SubTopology) -> String {
        let mut shown: Vec<usize> =
            subtopology.nodes.iter().copied().filter(|&node| !self.nodes[node].hidden).collect();
        let links = self.link(&shown);
        // Larger sub-trees first, then by name.
        shown.sort_by(|&a, &b| self.compare(&links.sizes, a, b));
        let names = |nodes: &JavaTree| {
            let names: Vec<&str> = nodes.in_order().iter().map(|&node| self.nodes[node].name.as_str()).collect();
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        };
        let mut out = String::new();
        for node in shown {
            let name = &self.nodes[node].name;
            let (successors, predecessors) = (names(&links.successors[node]), names(&links.predecessors[node]));
            let _ = match &self.nodes[node].kind {
                NodeKind::Source { reads, .. } => {
                    let topics = match &reads.pattern {
                        Some(pattern) => pattern.to_string(),
                        None => format!("[{}]", java_set::order(&reads.topics).join(", ")),
                    };
                    writeln!(out, "    Source: {name} (topics: {topics})\n      --> {successors}")
                }
                NodeKind::Processor(_) => {
                    let stores = java_set::order(&self.nodes[node].stores).join(", ");
                    writeln!(
                        out,
                        "    Processor: {name} (stores: [{stores}])\n      --> {successors}\n      <-- {predecessors}"
                    )
                }
                NodeKind::Sink { topic, .. } => {
                    let topic = match topic {
                        SinkTopic::Named(topic) => format!("topic: {topic}"),
                        SinkTopic::Extracted(extractor) => format!("extractor class: {extractor}"),
                    };
                    writeln!(out, "    Sink: {name} ({topic})\n      <-- {predecessors}")
                }
            };
        }
        out
    }

    fn compare(&self, sizes: &[u64], a: usize, b: usize) -> Ordering {
        sizes[b].cmp(&sizes[a]).then_with(|| self.nodes[a].name.cmp(&self.nodes[b].name))
    }

    /// Links nodes as Kafka Streams does: in the order of a hash map, into sets that are sorted by the sizes of that
    /// moment, while the sizes still grow. The order of names behind an arrow comes of that.
    fn link(&self, shown: &[usize]) -> Links {
        let count = self.nodes.len();
        let mut links = Links {
            sizes: vec![1; count],
            successors: vec![JavaTree::default(); count],
            predecessors: vec![JavaTree::default(); count],
        };
        let names: Vec<String> = shown.iter().map(|&node| self.nodes[node].name.clone()).collect();
        for name in java_set::order(&names) {
            let Some(&node) = shown.iter().find(|&&node| self.nodes[node].name == name) else { continue };
            for parent in self.shown_parents(node) {
                let compare = |a, b| self.compare(&links.sizes, a, b);
                links.predecessors[node].insert(parent, compare);
                links.successors[parent].insert(node, compare);
                let size = links.sizes[node];
                links.grow(parent, size);
            }
        }
        links
    }

    /// The nodes below, past hidden ones.
    pub(super) fn shown_children(&self, node: usize) -> Vec<usize> {
        let mut shown = Vec::new();
        for &child in &self.nodes[node].children {
            if self.nodes[child].hidden {
                shown.extend(self.shown_children(child));
            } else {
                shown.push(child);
            }
        }
        shown
    }

    fn shown_parents(&self, node: usize) -> Vec<usize> {
        let mut shown = Vec::new();
        for &parent in &self.nodes[node].parents {
            if self.nodes[parent].hidden {
                shown.extend(self.shown_parents(parent));
            } else {
                shown.push(parent);
            }
        }
        shown
    }
}
