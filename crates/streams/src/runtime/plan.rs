//! Which topics an application needs, with how many partitions, and which tasks come of that: decided from what there is.

use std::collections::BTreeMap;

use tidewater_types::{Partition, TaskId};

use super::StartError;
use crate::topology::{InternalTopicSettings, Topology};

/// A setting of our own log for changelogs that lose old records: these are old beside the newest, whatever today is. What
/// is not our own log does not know it.
const RETENTION_CLOCK: (&str, &str) = ("tidewater.retention.clock", "records");

/// A topic that is to be made, with its settings.
pub(crate) type NewTopic = (String, Partition, BTreeMap<String, String>);

/// What to make, and what to run.
#[derive(Debug, Default)]
pub(crate) struct Deployment {
    /// Repartition topics and changelogs.
    pub topics: Vec<NewTopic>,
    /// All tasks, by sub-topology and partition.
    pub tasks: Vec<TaskId>,
    /// Partitions of every topic that the application reads or writes, as far as they are known.
    pub partitions: BTreeMap<String, Partition>,
}

/// Works out the deployment, given the partitions of the topics that exist.
///
/// A repartition topic has as many partitions as the program says, or else as the largest of the topics that its records
/// come from; topics that are joined must have equally many.
pub(crate) fn deploy(
    topology: &Topology,
    application_id: &str,
    existing: &BTreeMap<String, Partition>,
) -> Result<Deployment, StartError> {
    let all: Vec<_> = topology
        .subtopologies()
        .iter()
        .map(|subtopology| (subtopology, topology.topics(subtopology, application_id)))
        .collect();
    let mut internal: BTreeMap<String, InternalTopicSettings> = BTreeMap::new();
    for (_, topics) in &all {
        internal.extend(topics.repartition.clone());
    }
    let mut partitions = existing.clone();
    partitions.retain(|topic, _| !internal.contains_key(topic));
    for (name, settings) in &internal {
        if let Some(count) = settings.partitions {
            partitions.entry(name.clone()).or_insert(count as Partition);
        }
    }
    for (_, topics) in &all {
        for topic in topics.sources.iter().chain(&topics.sinks) {
            if !internal.contains_key(topic) && !partitions.contains_key(topic) {
                return Err(StartError::MissingTopic(topic.clone()));
            }
        }
    }
    // Repartition topics may feed each other: go on until nothing changes.
    loop {
        let mut changed = false;
        for (_, topics) in &all {
            let Some(count) = topics.sources.iter().filter_map(|source| partitions.get(source)).max().copied() else {
                continue;
            };
            for sink in topics.sinks.iter().filter(|sink| internal.contains_key(*sink)) {
                if !partitions.contains_key(sink) {
                    partitions.insert(sink.clone(), count);
                    changed = true;
                }
            }
        }
        changed |= align(topology, application_id, &internal, &mut partitions);
        if !changed {
            break;
        }
    }
    check_copartitioned(topology, application_id, &partitions)?;

    let mut deployment = Deployment::default();
    for (name, settings) in internal {
        let count = partitions.get(&name).copied().unwrap_or(1);
        deployment.topics.push((name, count, settings.configs));
    }
    for (subtopology, topics) in &all {
        let count = topics.sources.iter().filter_map(|source| partitions.get(source)).max().copied().unwrap_or(1);
        for (name, settings) in &topics.changelogs {
            if !topics.sources.contains(name) {
                partitions.insert(name.clone(), count);
                let mut configs = settings.configs.clone();
                if configs.get("cleanup.policy").is_some_and(|policy| policy.contains("delete")) {
                    configs.insert(RETENTION_CLOCK.0.to_owned(), RETENTION_CLOCK.1.to_owned());
                }
                deployment.topics.push((name.clone(), count, configs));
            }
        }
        let tasks = (0..count).map(|partition| TaskId { subtopology: subtopology.id, partition });
        deployment.tasks.extend(tasks);
    }
    for (topic, needed, _) in &deployment.topics {
        if let Some(&found) = existing.get(topic).filter(|found| *found != needed) {
            return Err(StartError::InternalPartitions { topic: topic.clone(), found, needed: *needed });
        }
    }
    deployment.partitions = partitions;
    Ok(deployment)
}

/// The source topics of a group that must be equally partitioned.
fn group_topics(topology: &Topology, application_id: &str) -> Vec<Vec<String>> {
    topology
        .copartitioned
        .iter()
        .map(|group| {
            let sources = topology.nodes.iter().filter(|node| group.contains(&node.name));
            sources
                .flat_map(|node| node.source_topics())
                .map(|topic| topology.topic_name(topic, application_id))
                .collect()
        })
        .collect()
}

/// Gives repartition topics without a number of their own that of the topics they are joined with.
fn align(
    topology: &Topology,
    application_id: &str,
    internal: &BTreeMap<String, InternalTopicSettings>,
    partitions: &mut BTreeMap<String, Partition>,
) -> bool {
    let mut changed = false;
    for group in group_topics(topology, application_id) {
        let is_free = |topic: &String| internal.get(topic).is_some_and(|settings| settings.partitions.is_none());
        let fixed = group.iter().filter(|topic| !is_free(topic)).filter_map(|topic| partitions.get(topic)).max();
        let count = fixed.or_else(|| group.iter().filter_map(|topic| partitions.get(topic)).max()).copied();
        let Some(count) = count else { continue };
        for topic in group.iter().filter(|topic| is_free(topic)) {
            changed |= partitions.insert(topic.clone(), count) != Some(count);
        }
    }
    changed
}

fn check_copartitioned(
    topology: &Topology,
    application_id: &str,
    partitions: &BTreeMap<String, Partition>,
) -> Result<(), StartError> {
    for group in group_topics(topology, application_id) {
        let mut known = group.iter().filter_map(|topic| Some((topic, *partitions.get(topic)?)));
        let Some((first, count)) = known.next() else { continue };
        if let Some((other, differs)) = known.find(|(_, other)| *other != count) {
            return Err(StartError::NotCopartitioned {
                left: format!("{first} ({count})"),
                right: format!("{other} ({differs})"),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{StreamsBuilder, Topic};

    fn topology() -> Topology {
        let builder = StreamsBuilder::new();
        let words: Topic<String, String> = Topic::new("words");
        let out: Topic<String, Option<i64>> = Topic::new("out");
        let stream = builder.stream(&words).select_key(|_, word| word.clone());
        stream.group_by_key().count().store("counts").to_stream().to(&out);
        builder.build().unwrap()
    }

    #[test]
    fn internal_topics_follow_the_topics_that_feed_them() {
        let existing = [("words".to_owned(), 3), ("out".to_owned(), 1)].into();
        let deployment = deploy(&topology(), "app", &existing).unwrap();
        let topics: Vec<_> = deployment.topics.iter().map(|(name, count, _)| (name.as_str(), *count)).collect();
        assert_eq!(topics, [("app-counts-repartition", 3), ("app-counts-changelog", 3)]);
        assert_eq!(deployment.tasks.len(), 6);
    }

    #[test]
    fn an_internal_topic_of_other_partitions_is_named_with_the_remedy() {
        for topic in ["app-counts-repartition", "app-counts-changelog"] {
            let existing = [("words".to_owned(), 3), ("out".to_owned(), 1), (topic.to_owned(), 2)].into();
            let error = deploy(&topology(), "app", &existing).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("internal topic {topic} has 2 partitions, and 3 are needed")),
                "{error}"
            );
        }
    }

    #[test]
    fn topics_that_are_joined_have_equally_many_partitions() {
        let builder = StreamsBuilder::new();
        let (orders, names) = (Topic::<String, String>::new("orders"), Topic::<String, String>::new("names"));
        let out: Topic<String, String> = Topic::new("out");
        builder.stream(&orders).join_table(&builder.table(&names), |order, name| format!("{order}{name}")).to(&out);
        let existing = [("orders".to_owned(), 3), ("names".to_owned(), 2), ("out".to_owned(), 1)].into();
        let error = deploy(&builder.build().unwrap(), "app", &existing).unwrap_err();
        assert!(matches!(&error, StartError::NotCopartitioned { .. }), "{error}");
        assert!(error.to_string().contains("orders (3)") && error.to_string().contains("names (2)"), "{error}");
    }

    #[test]
    fn changelogs_that_lose_old_records_age_by_their_own() {
        let builder = StreamsBuilder::new();
        let (left, right) = (Topic::<String, String>::new("left"), Topic::<String, String>::new("right"));
        let window = crate::JoinWindows::of(std::time::Duration::from_secs(1));
        let joined =
            builder.stream(&left).join(&builder.stream(&right), window, |left, right| format!("{left}{right}"));
        joined.to(&Topic::<String, String>::new("out"));
        let existing = [("left".to_owned(), 1), ("right".to_owned(), 1), ("out".to_owned(), 1)].into();
        let deployment = deploy(&builder.build().unwrap(), "app", &existing).unwrap();
        assert_eq!(deployment.topics.len(), 2);
        assert!(deployment.topics.iter().all(|(_, _, configs)| configs[RETENTION_CLOCK.0] == "records"));
    }

    #[test]
    fn a_missing_source_topic_is_named() {
        let error = deploy(&topology(), "app", &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().contains("words"), "{error}");
    }
}
