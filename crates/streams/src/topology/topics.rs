//! The topics that an application makes for itself, with the settings that Kafka Streams gives them.

use std::collections::{BTreeMap, BTreeSet};

use tidewater_state::{Logging, StoreKind};

use super::{NodeKind, SinkTopic, SubTopology, Topology};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Settings of an internal topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InternalTopicSettings {
    /// Topic settings that are set explicitly.
    pub configs: BTreeMap<String, String>,
    /// The number of partitions, where the program says it.
    pub partitions: Option<u32>,
}

/// All topics of a sub-topology, under their full names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubTopologyTopics {
    /// Read, repartition topics included.
    pub sources: BTreeSet<String>,
    /// Written, changelogs not included.
    pub sinks: BTreeSet<String>,
    /// Repartition topics that are read.
    pub repartition: BTreeMap<String, InternalTopicSettings>,
    /// Changelogs, source topics that serve as such included.
    pub changelogs: BTreeMap<String, InternalTopicSettings>,
}

impl Topology {
    /// The topics of a sub-topology.
    pub fn topics(&self, subtopology: &SubTopology, application_id: &str) -> SubTopologyTopics {
        let mut topics = SubTopologyTopics::default();
        for &node in &subtopology.nodes {
            match &self.nodes[node].kind {
                NodeKind::Source { reads, .. } => {
                    for topic in &reads.topics {
                        let name = self.topic_name(topic, application_id);
                        topics.sources.insert(name.clone());
                        if let Some(internal) = self.internal_topics.iter().find(|internal| internal.name == *topic) {
                            let configs = settings(&[
                                ("cleanup.policy", "delete"),
                                ("message.timestamp.type", "CreateTime"),
                                ("retention.ms", "-1"),
                                ("segment.bytes", "52428800"),
                            ]);
                            let settings = InternalTopicSettings { configs, partitions: internal.partitions };
                            topics.repartition.insert(name, settings);
                        }
                    }
                }
                NodeKind::Sink { topic: SinkTopic::Named(topic), .. } => {
                    topics.sinks.insert(self.topic_name(topic, application_id));
                }
                NodeKind::Sink { .. } | NodeKind::Processor(_) => {}
            }
        }
        for &store in &subtopology.stores {
            if self.stores[store].is_logged() {
                let settings = self.changelog_settings(store);
                topics.changelogs.insert(self.changelog_topic(store, application_id), settings);
            }
        }
        topics
    }

    fn changelog_settings(&self, store: usize) -> InternalTopicSettings {
        let spec = &self.stores[store];
        let mut configs = settings(&[("cleanup.policy", "compact"), ("message.timestamp.type", "CreateTime")]);
        if let Some(retention) = spec.retention() {
            // With duplicates every key is new, so compacting would not help.
            let duplicates = matches!(spec.kind, StoreKind::Window { duplicates: true, .. });
            let policy = if duplicates { "delete" } else { "compact,delete" };
            configs.insert("cleanup.policy".to_owned(), policy.to_owned());
            let kept = retention.ms.saturating_add(self.additional_retention_ms);
            configs.insert("retention.ms".to_owned(), kept.to_string());
        }
        if let StoreKind::Versioned { history, .. } = spec.kind {
            // Compaction must leave the versions that a restore needs.
            let lag = history.ms.saturating_add(DAY_MS);
            configs.insert("min.compaction.lag.ms".to_owned(), lag.to_string());
        }
        if let Logging::On(extra) = &spec.logging {
            configs.extend(extra.iter().cloned());
        }
        InternalTopicSettings { configs, partitions: None }
    }
}

fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
