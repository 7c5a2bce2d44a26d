//! The topology as a Mermaid flow chart, to look at.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::{NodeKind, Topology};

impl Topology {
    /// A flow chart in Mermaid's language: topics, processors and stores, a box for each sub-topology.
    pub fn to_mermaid(&self) -> String {
        let mut out = "flowchart TD\n".to_owned();
        let mut topics = BTreeSet::new();
        for subtopology in &self.subtopologies {
            let _ = writeln!(out, "  subgraph s{0}[\"Sub-topology {0}\"]", subtopology.id);
            for &node in subtopology.nodes.iter().filter(|&&node| !self.nodes[node].hidden) {
                let _ = writeln!(out, "    n{node}[\"{}\"]", self.nodes[node].name);
                for store in &self.nodes[node].stores {
                    let _ = writeln!(out, "    n{node} --- store_{0}[(\"{1}\")]", identifier(store), store);
                }
                for child in self.shown_children(node) {
                    let _ = writeln!(out, "    n{node} --> n{child}");
                }
            }
            let _ = writeln!(out, "  end");
            for &node in &subtopology.nodes {
                match &self.nodes[node].kind {
                    NodeKind::Source { topics: read, .. } => {
                        for topic in read {
                            topics.insert(topic.as_str());
                            let _ = writeln!(out, "  topic_{} --> n{node}", identifier(topic));
                        }
                    }
                    NodeKind::Sink { topic, .. } => {
                        topics.insert(topic);
                        let _ = writeln!(out, "  n{node} --> topic_{}", identifier(topic));
                    }
                    NodeKind::Processor(_) => {}
                }
            }
        }
        for topic in topics {
            let _ = writeln!(out, "  topic_{}{{{{\"{topic}\"}}}}", identifier(topic));
        }
        out
    }
}

/// The name with everything but letters and digits replaced.
fn identifier(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect()
}
