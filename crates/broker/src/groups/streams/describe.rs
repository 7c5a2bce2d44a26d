//! A group as administrators see it, and where its tasks can be asked.

use std::collections::{BTreeMap, BTreeSet};

use tidewater_protocol::StrBytes;
use tidewater_protocol::messages::streams_group_describe_response as described;
use tidewater_protocol::messages::streams_group_heartbeat_request::{Endpoint, KeyValue, Subtopology, TopicInfo};
use tidewater_protocol::messages::streams_group_heartbeat_response::{EndpointToPartitions, TopicPartition};
use tidewater_protocol::messages::{GroupId, TopicName};

use super::super::Topics;
use super::task::{Assigned, Task, Tasks, by_subtopology, to_message};
use super::topology::{InternalTopic, Part, Topology};
use super::{Member, StreamsGroup};

impl StreamsGroup {
    /// Where each member that says so can be asked, and about which partitions.
    pub(super) fn endpoints(&self, topics: &dyn Topics) -> Vec<EndpointToPartitions> {
        let of_member = |member: &Member| {
            let assigned = &member.current.assigned;
            Some(
                EndpointToPartitions::default()
                    .with_user_endpoint(endpoint(member)?)
                    .with_active_partitions(self.partitions(topics, assigned.active.keys()))
                    .with_standby_partitions(self.partitions(topics, assigned.standby.iter())),
            )
        };
        self.members.values().filter_map(of_member).collect()
    }

    /// The partitions that tasks read.
    fn partitions<'a>(&self, topics: &dyn Topics, tasks: impl Iterator<Item = &'a Task>) -> Vec<TopicPartition> {
        let mut partitions = Vec::new();
        for (subtopology, tasks) in by_subtopology(tasks) {
            let Some(part) = self.configured.as_ref().and_then(|configured| configured.parts.get(subtopology)) else {
                continue;
            };
            for topic in part.sources.iter().chain(part.repartition_sources.keys()) {
                let count = topics.find(topic).map_or(0, |(_, count)| count);
                let own = tasks.iter().map(|task| task.partition).filter(|partition| *partition < count);
                partitions.push(TopicPartition::default().with_topic(topic_name(topic)).with_partitions(own.collect()));
            }
        }
        partitions
    }

    /// The group; `None` if it has no topology, as when its records were lost.
    pub fn describe(&self) -> Option<described::DescribedGroup> {
        let configured = self.configured.as_ref().filter(|configured| configured.trouble.is_none());
        let topology = match (configured, &self.topology) {
            (Some(configured), Some(topology)) => described::Topology::default()
                .with_epoch(topology.epoch)
                .with_subtopologies(Some(configured.parts.iter().map(|(name, part)| of_part(name, part)).collect())),
            (_, Some(topology)) => of_topology(topology),
            (_, None) => return None,
        };
        let members = self.members.iter().map(|(id, member)| self.describe_member(id, member));
        Some(
            described::DescribedGroup::default()
                .with_group_id(GroupId(text(&self.name)))
                .with_group_state(text(self.state()))
                .with_group_epoch(self.epoch.epoch)
                .with_assignment_epoch(self.target_epoch)
                .with_topology(Some(topology))
                .with_members(members.collect()),
        )
    }

    fn describe_member(&self, id: &str, member: &Member) -> described::Member {
        let metadata = &member.metadata;
        described::Member::default()
            .with_member_id(text(id))
            .with_member_epoch(member.current.epoch)
            .with_instance_id(metadata.instance.as_deref().map(text))
            .with_rack_id(metadata.rack.as_deref().map(text))
            .with_client_id(text(&metadata.client.id))
            .with_client_host(text(&metadata.client.host))
            .with_topology_epoch(metadata.topology_epoch)
            .with_process_id(text(&metadata.process))
            .with_user_endpoint(endpoint(member))
            .with_client_tags(pairs(&metadata.tags))
            .with_assignment(assigned(&member.current.assigned))
            .with_target_assignment(self.target.get(id).map(target).unwrap_or_default())
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

fn endpoint(member: &Member) -> Option<Endpoint> {
    let (host, port) = member.metadata.endpoint.as_ref()?;
    Some(Endpoint::default().with_host(text(host)).with_port(*port))
}

fn pairs(pairs: &BTreeMap<String, String>) -> Vec<KeyValue> {
    pairs.iter().map(|(key, value)| KeyValue::default().with_key(text(key)).with_value(text(value))).collect()
}

fn assigned(tasks: &Assigned) -> described::Assignment {
    described::Assignment::default()
        .with_active_tasks(to_message(tasks.active.keys()))
        .with_standby_tasks(to_message(tasks.standby.iter()))
        .with_warmup_tasks(to_message(tasks.warmup.iter()))
}

fn target(tasks: &Tasks) -> described::Assignment {
    described::Assignment::default()
        .with_active_tasks(to_message(tasks.active.iter()))
        .with_standby_tasks(to_message(tasks.standby.iter()))
        .with_warmup_tasks(to_message(tasks.warmup.iter()))
}

/// A part with the numbers that were found for it.
fn of_part(name: &str, part: &Part) -> described::Subtopology {
    let names = |names: &BTreeSet<String>| names.iter().map(|name| topic_name(name)).collect();
    let topics = |topics: &BTreeMap<String, InternalTopic>| topics.values().map(topic_info).collect();
    described::Subtopology::default()
        .with_subtopology_id(text(name))
        .with_source_topics(names(&part.sources))
        .with_repartition_sink_topics(names(&part.repartition_sinks))
        .with_repartition_source_topics(topics(&part.repartition_sources))
        .with_state_changelog_topics(topics(&part.changelogs))
}

fn topic_info(topic: &InternalTopic) -> TopicInfo {
    TopicInfo::default()
        .with_name(topic_name(&topic.name))
        .with_partitions(topic.partitions)
        .with_replication_factor(topic.replication_factor)
        .with_topic_configs(pairs(&topic.configs))
}

/// A topology as a member brought it.
fn of_topology(topology: &Topology) -> described::Topology {
    let sorted = |names: &[TopicName]| {
        let mut names = names.to_vec();
        names.sort();
        names
    };
    let infos = |topics: &[TopicInfo]| {
        let mut topics = topics.to_vec();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        topics
    };
    let part = |part: &Subtopology| {
        described::Subtopology::default()
            .with_subtopology_id(part.subtopology_id.clone())
            .with_source_topics(sorted(&part.source_topics))
            .with_repartition_sink_topics(sorted(&part.repartition_sink_topics))
            .with_repartition_source_topics(infos(&part.repartition_source_topics))
            .with_state_changelog_topics(infos(&part.state_changelog_topics))
    };
    described::Topology::default()
        .with_epoch(topology.epoch)
        .with_subtopologies(Some(topology.parts.values().map(part).collect()))
}
