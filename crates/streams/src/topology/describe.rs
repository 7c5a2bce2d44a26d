//! The text of a topology, equal to what Kafka Streams prints.

use std::fmt::Write;

use super::{NodeKind, SubTopology, Topology, java_set};

impl Topology {
    /// The description: sub-topologies with their nodes, what comes before and after each, topics and stores.
    pub fn describe(&self) -> String {
        let mut out = "Topologies:\n ".to_owned();
        for subtopology in &self.subtopologies {
            let _ = write!(out, "  Sub-topology: {}\n{}\n", subtopology.id, self.describe_nodes(subtopology));
        }
        out
    }

    fn describe_nodes(&self, subtopology: &SubTopology) -> String {
        let mut shown: Vec<usize> = subtopology.nodes.iter().copied().filter(|&node| !self.nodes[node].hidden).collect();
        let sizes = self.sizes(&shown);
        // Larger sub-trees first, then by name.
        let by_size = |nodes: &mut Vec<usize>| {
            nodes.sort_by(|&a, &b| sizes[b].cmp(&sizes[a]).then_with(|| self.nodes[a].name.cmp(&self.nodes[b].name)));
        };
        by_size(&mut shown);
        let names = |mut nodes: Vec<usize>| {
            by_size(&mut nodes);
            let names: Vec<&str> = nodes.iter().map(|&node| self.nodes[node].name.as_str()).collect();
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        };
        let mut out = String::new();
        for node in shown {
            let name = &self.nodes[node].name;
            let successors = || names(self.shown_children(node));
            let predecessors = || names(self.shown_parents(node));
            let _ = match &self.nodes[node].kind {
                NodeKind::Source { topics, .. } => {
                    let topics = java_set::order(topics).join(", ");
                    writeln!(out, "    Source: {name} (topics: [{topics}])\n      --> {}", successors())
                }
                NodeKind::Processor(_) => {
                    let stores = java_set::order(&self.nodes[node].stores).join(", ");
                    let (successors, predecessors) = (successors(), predecessors());
                    writeln!(
                        out,
                        "    Processor: {name} (stores: [{stores}])\n      --> {successors}\n      <-- {predecessors}"
                    )
                }
                NodeKind::Sink { topic, .. } => {
                    writeln!(out, "    Sink: {name} (topic: {topic})\n      <-- {}", predecessors())
                }
            };
        }
        out
    }

    /// For each node the number of ways down from it, itself included: what Kafka Streams sorts by.
    fn sizes(&self, shown: &[usize]) -> Vec<u64> {
        let mut sizes = vec![0u64; self.nodes.len()];
        // Parents stand before their children.
        for &node in shown.iter().rev() {
            sizes[node] = 1 + self.shown_children(node).into_iter().map(|child| sizes[child]).sum::<u64>();
        }
        sizes
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
