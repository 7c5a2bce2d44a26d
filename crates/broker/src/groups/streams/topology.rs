//! What an application is, against the topics that there are: how many tasks its parts have, and which topics have yet to be made.
//!
//! As in Apache Kafka's `InternalTopicManager`, `RepartitionTopics`, `CopartitionedTopicsEnforcer` and `ChangelogTopics`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::streams_group_heartbeat_request::{self as message, Subtopology, TopicInfo};

use super::super::Topics;
use super::super::consumer::Refusal;
use super::{MISSING_INTERNAL_TOPICS, MISSING_SOURCE_TOPICS, WRONG_PARTITIONS};

/// Tasks of an application: more would not fit into the records of who has them.
const TASKS_LIMIT: usize = 200_000;
/// Names that a message lists; of more, it says how many.
const LISTED: usize = 3;

/// A topology, by its parts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Topology {
    pub epoch: i32,
    pub parts: BTreeMap<Arc<str>, Subtopology>,
    /// Which part reads a topic.
    readers: BTreeMap<String, Arc<str>>,
}

impl Topology {
    pub fn of(topology: message::Topology) -> Self {
        let part = |part: Subtopology| ((&*part.subtopology_id).into(), part);
        let parts: BTreeMap<Arc<str>, Subtopology> = topology.subtopologies.into_iter().map(part).collect();
        let reads = |(name, part)| inputs(part).map(|topic| (topic.to_owned(), Arc::clone(name))).collect::<Vec<_>>();
        let readers = parts.iter().flat_map(reads).collect();
        Topology { epoch: topology.epoch, parts, readers }
    }

    /// The part that reads a topic.
    pub fn part_reading(&self, topic: &str) -> Option<&Arc<str>> {
        self.readers.get(topic)
    }

    /// All topics that it needs.
    pub fn required(&self) -> BTreeSet<String> {
        let of_part = |part| inputs(part).chain(part.state_changelog_topics.iter().map(|topic| &**topic.name));
        self.parts.values().flat_map(of_part).map(str::to_owned).collect()
    }
}

/// The topics that a part reads.
pub(super) fn inputs(part: &Subtopology) -> impl Iterator<Item = &str> {
    let sources = part.source_topics.iter().map(|topic| &*topic.0);
    sources.chain(part.repartition_source_topics.iter().map(|topic| &*topic.name.0))
}

/// A topic that is made for the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InternalTopic {
    pub name: String,
    pub partitions: i32,
    /// 0 if that is left to the broker.
    pub replication_factor: i16,
    pub configs: BTreeMap<String, String>,
}

/// A part of the topology with numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part {
    pub tasks: i32,
    pub sources: BTreeSet<String>,
    pub repartition_sources: BTreeMap<String, InternalTopic>,
    pub repartition_sinks: BTreeSet<String>,
    pub changelogs: BTreeMap<String, InternalTopic>,
}

/// A topology against the topics that there are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Configured {
    /// By name; none if the topics are not right.
    pub parts: BTreeMap<Arc<str>, Part>,
    /// Topics that have yet to be made.
    pub to_make: Vec<InternalTopic>,
    /// What stands in the way: a status's code, and words.
    pub trouble: Option<(i8, String)>,
}

/// What stands in the way of a topology, or that it is none.
enum Trouble {
    Status(i8, String),
    Refused(Refusal),
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Trouble::Refused(refusal)
    }
}

fn invalid(text: String) -> Trouble {
    Trouble::Refused((ResponseError::StreamsInvalidTopology, text))
}

/// A request that contradicts itself, for which Apache Kafka has no words.
fn contradicts_itself() -> Trouble {
    let text = "The server experienced an unexpected error when processing the request.";
    Trouble::Refused((ResponseError::UnknownServerError, text.to_owned()))
}

/// Holds a topology against the topics.
///
/// # Errors
/// When it can never be.
pub(super) fn configure(topology: &Topology, topics: &dyn Topics) -> Result<Configured, Refusal> {
    match try_configure(topology, topics) {
        Ok(configured) => Ok(configured),
        Err(Trouble::Status(code, text)) => Ok(Configured { trouble: Some((code, text)), ..Configured::default() }),
        Err(Trouble::Refused(refusal)) => Err(refusal),
    }
}

fn try_configure(topology: &Topology, topics: &dyn Topics) -> Result<Configured, Trouble> {
    let sources = topology.parts.values().flat_map(|part| part.source_topics.iter().map(|topic| &*topic.0));
    let missing: BTreeSet<&str> = sources.filter(|topic| topics.find(topic).is_none()).collect();
    if !missing.is_empty() {
        let text = format!("Source topics {} are missing.", listed(missing.into_iter()));
        return Err(Trouble::Status(MISSING_SOURCE_TOPICS, text));
    }
    let infos = || topology.parts.values().flat_map(|part| &part.repartition_source_topics);
    let repartition = infos().map(|info| &*info.name.0).collect();
    let fixed = infos().filter(|info| info.partitions != 0).map(|info| &*info.name.0).collect();
    let mut counts = Counts { topics, decided: BTreeMap::new(), repartition, fixed };
    counts.decide_repartition_topics(topology)?;
    for part in topology.parts.values() {
        for group in &part.copartition_groups {
            counts.copartition(part, group)?;
        }
    }
    counts.decide_changelogs(topology)?;
    let mut parts = BTreeMap::new();
    for (name, part) in &topology.parts {
        parts.insert(name.clone(), counts.part(part)?);
    }
    if parts.values().map(|part: &Part| part.tasks as usize).sum::<usize>() > TASKS_LIMIT {
        return Err(invalid(format!("The topology has more than {TASKS_LIMIT} tasks.")));
    }
    let internal = |part: &Part| part.repartition_sources.values().chain(part.changelogs.values()).cloned().collect();
    let mut to_make: BTreeMap<String, InternalTopic> = BTreeMap::new();
    for topic in parts.values().flat_map(|part| -> Vec<InternalTopic> { internal(part) }) {
        match topics.find(&topic.name) {
            Some((_, found)) if found != topic.partitions => {
                let text = format!(
                    "Existing topic {} has different number of partitions: expected {}, found {found}",
                    topic.name, topic.partitions
                );
                return Err(Trouble::Status(WRONG_PARTITIONS, text));
            }
            Some(_) => {}
            None => drop(to_make.insert(topic.name.clone(), topic)),
        }
    }
    let names = to_make.keys().map(String::as_str);
    let trouble = (!to_make.is_empty())
        .then(|| (MISSING_INTERNAL_TOPICS, format!("Internal topics are missing: {}", listed(names))));
    Ok(Configured { parts, to_make: to_make.into_values().collect(), trouble })
}

/// Some names, and how many more there are.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let first = names.iter().take(LISTED).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => first,
        more => format!("{first} and {more} additional topics"),
    }
}

/// How many partitions topics have, or shall have.
struct Counts<'a> {
    topics: &'a dyn Topics,
    decided: BTreeMap<String, i32>,
    /// The repartition topics, and of these those that say how many they have.
    repartition: BTreeSet<&'a str>,
    fixed: BTreeSet<&'a str>,
}

impl Counts<'_> {
    fn of(&self, topic: &str) -> Option<i32> {
        let there = self.topics.find(topic).map(|(_, partitions)| partitions);
        there.or_else(|| self.decided.get(topic).copied())
    }

    /// Repartition topics have as many partitions as they say, or as the most that a part reads which writes them.
    fn decide_repartition_topics(&mut self, topology: &Topology) -> Result<(), Trouble> {
        let sources = || topology.parts.values().flat_map(|part| &part.repartition_source_topics);
        let mut decided: BTreeMap<String, i32> = sources()
            .filter(|topic| topic.partitions != 0)
            .map(|topic| (topic.name.to_string(), topic.partitions))
            .collect();
        loop {
            let (mut is_open, mut progress) = (false, false);
            for part in topology.parts.values() {
                for sink in &part.repartition_sink_topics {
                    if decided.contains_key(&***sink) {
                        continue;
                    }
                    let repartitioned = part.repartition_source_topics.iter();
                    let repartitioned = repartitioned.filter_map(|topic| decided.get(&*topic.name.0).copied());
                    let external = part.source_topics.iter().filter_map(|topic| self.of(topic));
                    match repartitioned.chain(external).max() {
                        Some(count) => {
                            decided.insert(sink.to_string(), count);
                            progress = true;
                        }
                        None => is_open = true,
                    }
                }
            }
            if !is_open {
                break;
            }
            if !progress {
                return Err(invalid("Failed to compute number of partitions for all repartition topics. There may be loops in the topology that cannot be resolved.".to_owned()));
            }
        }
        if sources().any(|topic| !decided.contains_key(&*topic.name.0)) {
            return Err(invalid("Failed to compute number of partitions for all repartition topics, because a repartition source topic is never used as a sink topic.".to_owned()));
        }
        self.decided.extend(decided);
        Ok(())
    }

    /// Topics that are read together have as many partitions; repartition topics among them follow the others.
    fn copartition(&mut self, part: &Subtopology, group: &message::CopartitionGroup) -> Result<(), Trouble> {
        let source = |at: &i16| part.source_topics.get(usize::try_from(*at).ok()?).map(|topic| topic.to_string());
        let repartition = |at: &i16| {
            part.repartition_source_topics.get(usize::try_from(*at).ok()?).map(|topic| topic.name.to_string())
        };
        let names =
            group.source_topics.iter().map(source).chain(group.repartition_source_topics.iter().map(repartition));
        let names: Option<BTreeSet<String>> = names.collect();
        let mut together = BTreeMap::new();
        for name in names.ok_or_else(contradicts_itself)? {
            let count = self.of(&name).ok_or_else(contradicts_itself)?;
            together.insert(name, count);
        }
        let (is_repartition, fixed_names) = (|name: &str| self.repartition.contains(name), &self.fixed);
        let is_fixed = |name: &str| fixed_names.contains(name);
        let (flexible, external): (BTreeMap<_, _>, BTreeMap<_, _>) =
            together.into_iter().partition(|(name, _)| is_repartition(name));
        let fixed: BTreeMap<String, i32> =
            flexible.iter().filter(|(name, _)| is_fixed(name)).map(|(name, count)| (name.clone(), *count)).collect();
        // External topics say how many; without any, repartition topics that do; without those, the largest.
        let count = match (external.is_empty(), fixed.is_empty()) {
            (false, _) => same(&external, &external)?,
            (true, false) => same(&fixed, &flexible)?,
            (true, true) => match flexible.values().max() {
                Some(count) => *count,
                None => return Ok(()),
            },
        };
        for (name, own) in flexible {
            if is_fixed(&name) && own != count {
                let text = format!(
                    "Number of partitions [{own}] of repartition topic [{name}] doesn't match number of partitions [{count}] of the source topic."
                );
                return Err(Trouble::Status(WRONG_PARTITIONS, text));
            }
            self.decided.insert(name, count);
        }
        Ok(())
    }

    /// A changelog has as many partitions as its part has tasks.
    fn decide_changelogs(&mut self, topology: &Topology) -> Result<(), Trouble> {
        for (name, part) in &topology.parts {
            let tasks =
                self.tasks(part)?.ok_or_else(|| invalid(format!("No source topics found for subtopology {name}")))?;
            for topic in &part.state_changelog_topics {
                self.decided.insert(topic.name.to_string(), tasks);
            }
        }
        Ok(())
    }

    /// A part has as many tasks as the largest of its topics has partitions; `None` if it reads none.
    fn tasks(&self, part: &Subtopology) -> Result<Option<i32>, Trouble> {
        let counts: Option<Vec<i32>> = inputs(part).map(|topic| self.of(topic)).collect();
        Ok(counts.ok_or_else(contradicts_itself)?.into_iter().max())
    }

    fn part(&self, part: &Subtopology) -> Result<Part, Trouble> {
        let internal = |topics: &[TopicInfo]| -> Result<BTreeMap<String, InternalTopic>, Trouble> {
            topics.iter().map(|topic| Ok((topic.name.to_string(), self.internal(topic)?))).collect()
        };
        Ok(Part {
            tasks: self.tasks(part)?.ok_or_else(contradicts_itself)?,
            sources: part.source_topics.iter().map(|topic| topic.to_string()).collect(),
            repartition_sources: internal(&part.repartition_source_topics)?,
            repartition_sinks: part.repartition_sink_topics.iter().map(|topic| topic.to_string()).collect(),
            changelogs: internal(&part.state_changelog_topics)?,
        })
    }

    fn internal(&self, topic: &TopicInfo) -> Result<InternalTopic, Trouble> {
        let decided = || self.decided.get(&*topic.name.0).copied();
        let partitions = Some(topic.partitions).filter(|count| *count != 0).or_else(decided);
        let configs = topic.topic_configs.iter().map(|config| (config.key.to_string(), config.value.to_string()));
        Ok(InternalTopic {
            name: topic.name.to_string(),
            partitions: partitions.filter(|count| *count > 0).ok_or_else(contradicts_itself)?,
            replication_factor: topic.replication_factor,
            configs: configs.collect(),
        })
    }
}

/// How many partitions all of some topics have.
fn same(of: &BTreeMap<String, i32>, told: &BTreeMap<String, i32>) -> Result<i32, Trouble> {
    let mut counts = of.values();
    let first = *counts.next().ok_or_else(contradicts_itself)?;
    if counts.all(|count| *count == first) {
        return Ok(first);
    }
    let told: Vec<String> = told.iter().map(|(name, count)| format!("{name}={count}")).collect();
    let text = format!("Following topics do not have the same number of partitions: [{{{}}}]", told.join(", "));
    Err(Trouble::Status(WRONG_PARTITIONS, text))
}
