//! The topology as a Mermaid flow chart, to look at.

use std::fmt::Write;

use super::{NodeKind, Topology};

impl Topology {
    /// A flow chart in Mermaid's language: topics, processors and stores, a box for each sub-topology.
    pub fn to_mermaid(&self) -> String {
        let mut out = "flowchart TD\n".to_owned();
        let (mut topics, mut stores) = (Numbered::default(), Numbered::default());
        for subtopology in self.global_subtopologies.iter().chain(&self.subtopologies) {
            let _ = writeln!(out, "  subgraph s{0}[\"Sub-topology {0}\"]", subtopology.id);
            for &node in subtopology.nodes.iter().filter(|&&node| !self.nodes[node].hidden) {
                let _ = writeln!(out, "    n{node}[\"{}\"]", self.nodes[node].name);
                for store in &self.nodes[node].stores {
                    let _ = writeln!(out, "    n{node} --- store{}[(\"{store}\")]", stores.number(store));
                }
                for child in self.shown_children(node) {
                    let _ = writeln!(out, "    n{node} --> n{child}");
                }
            }
            let _ = writeln!(out, "  end");
            for &node in &subtopology.nodes {
                match &self.nodes[node].kind {
                    NodeKind::Source { reads, .. } => {
                        let pattern = reads.pattern.iter().map(ToString::to_string).collect::<Vec<_>>();
                        for topic in reads.topics.iter().chain(&pattern) {
                            let _ = writeln!(out, "  topic{} --> n{node}", topics.number(topic));
                        }
                    }
                    NodeKind::Sink { topic, .. } => {
                        let topic = topic.name();
                        let _ = writeln!(out, "  n{node} --> topic{}", topics.number(topic));
                    }
                    NodeKind::Processor(_) => {}
                }
            }
        }
        for (number, topic) in topics.0.iter().enumerate() {
            let _ = writeln!(out, "  topic{number}{{{{\"{topic}\"}}}}");
        }
        out
    }
}

/// Names with a number each, since Mermaid's own names have letters and digits only.
#[derive(Default)]
struct Numbered(Vec<String>);

impl Numbered {
    fn number(&mut self, name: &str) -> usize {
        let found = self.0.iter().position(|known| known == name);
        found.unwrap_or_else(|| {
            self.0.push(name.to_owned());
            self.0.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::{StreamsBuilder, Topic};

    #[test]
    fn topics_processors_and_stores_are_joined_as_in_the_topology() {
        let builder = StreamsBuilder::new();
        let words = builder.stream(&Topic::<String, String>::new("all.words"));
        let counts = words.group_by(|_, word| word.clone()).count().store("word-counts");
        counts.to_stream().to(&Topic::<String, Option<i64>>::new("all-words"));
        let chart = builder.build().unwrap().to_mermaid();
        let expected = "\
flowchart TD
  subgraph s0[\"Sub-topology 0\"]
    n0[\"KSTREAM-SOURCE-0000000000\"]
    n0 --> n1
    n1[\"KSTREAM-KEY-SELECT-0000000001\"]
    n1 --> n2
    n2[\"word-counts-repartition-filter\"]
    n2 --> n3
    n3[\"word-counts-repartition-sink\"]
  end
  topic0 --> n0
  n3 --> topic1
  subgraph s1[\"Sub-topology 1\"]
    n4[\"word-counts-repartition-source\"]
    n4 --> n5
    n5[\"KSTREAM-AGGREGATE-0000000002\"]
    n5 --- store0[(\"word-counts\")]
    n5 --> n6
    n6[\"KTABLE-TOSTREAM-0000000006\"]
    n6 --> n7
    n7[\"KSTREAM-SINK-0000000007\"]
  end
  topic1 --> n4
  n7 --> topic2
  topic0{{\"all.words\"}}
  topic1{{\"word-counts-repartition\"}}
  topic2{{\"all-words\"}}
";
        assert_eq!(chart, expected);
    }
}
