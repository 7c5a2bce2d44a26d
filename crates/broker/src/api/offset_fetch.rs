//! OffsetFetch: what groups have committed. Up to version 7 a request has one group, and the response its topics at the top.

use std::collections::{BTreeMap, BTreeSet};

use tidewater_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use tidewater_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use tidewater_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};
use tidewater_protocol::{RequestContext, ResponseError};
use tidewater_types::TopicPartition;

use super::{text, topic_name};
use crate::broker::Shared;
use crate::groups::Committed;

/// From this version on, a request has several groups.
const SEVERAL_GROUPS: i16 = 8;
/// From this version on, topics are named by their ids.
const BY_ID: i16 = 10;

pub(crate) fn handle(shared: &Shared, context: &RequestContext, request: &OffsetFetchRequest) -> OffsetFetchResponse {
    if context.version >= SEVERAL_GROUPS {
        let mut told = BTreeSet::new();
        let groups = request.groups.iter().filter(|group| told.insert(&group.group_id));
        let groups = groups.map(|group| of_group(shared, context, group, request.require_stable));
        return OffsetFetchResponse::default().with_groups(groups.collect());
    }
    let topics = request.topics.as_ref().map(|topics| {
        let wanted = topics.iter().map(|topic| {
            let indexes = topic.partition_indexes.clone();
            OffsetFetchRequestTopics::default().with_name(topic.name.clone()).with_partition_indexes(indexes)
        });
        wanted.collect()
    });
    let group = OffsetFetchRequestGroup::default().with_group_id(request.group_id.clone()).with_topics(topics);
    let found = of_group(shared, context, &group, request.require_stable);
    let topics = found.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_committed_offset(partition.committed_offset)
                .with_committed_leader_epoch(partition.committed_leader_epoch)
                .with_metadata(partition.metadata)
                .with_error_code(partition.error_code)
        });
        OffsetFetchResponseTopic::default().with_name(topic.name).with_partitions(partitions.collect())
    });
    OffsetFetchResponse::default().with_error_code(found.error_code).with_topics(topics.collect())
}

/// What a group has committed. Whoever wants what stays, `stable`, is told where a transaction may change it.
fn of_group(
    shared: &Shared,
    context: &RequestContext,
    group: &OffsetFetchRequestGroup,
    stable: bool,
) -> OffsetFetchResponseGroup {
    // Before the groups are locked: who holds topics may wait for groups.
    let known_topics: Vec<Option<String>> = match &group.topics {
        None => Vec::new(),
        Some(wanted) => wanted.iter().map(|topic| name_of(shared, context, topic)).collect(),
    };
    let topics_now = shared.topics();
    let groups = shared.groups();
    let offsets = groups.offsets();
    let name = group.group_id.to_string();
    if let Err(error) = groups.check_fetch(&name, group.member_id.as_deref(), group.member_epoch) {
        let refused = OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone());
        return refused.with_error_code(error.code());
    }
    let mut topics: Vec<OffsetFetchResponseTopics> = Vec::new();
    match &group.topics {
        None => {
            let mut all: BTreeMap<String, Vec<OffsetFetchResponsePartitions>> = BTreeMap::new();
            for (place, committed) in offsets.all(&name) {
                let partitions = all.entry(place.topic.to_string()).or_default();
                partitions.push(match stable && offsets.is_open(&name, place) {
                    true => unstable(place.partition),
                    false => describe(place.partition, Some(committed)),
                });
            }
            for (name, partitions) in all {
                let id = topics_now.get(&name).map(|topic| topic.record.id).unwrap_or_default();
                let topic = OffsetFetchResponseTopics::default().with_name(topic_name(&name)).with_topic_id(id);
                topics.push(topic.with_partitions(partitions));
            }
        }
        Some(wanted) => {
            let mut told = BTreeSet::new();
            for (topic, known) in wanted.iter().zip(known_topics) {
                let found = OffsetFetchResponseTopics::default();
                let found = found.with_name(topic.name.clone()).with_topic_id(topic.topic_id);
                let of_topic = (&topic.name, topic.topic_id);
                let partitions = topic.partition_indexes.iter().filter(|number| told.insert((of_topic, **number)));
                let partitions = partitions.map(|&partition| match &known {
                    Some(topic) => {
                        let place = TopicPartition::new(&**topic, partition);
                        match stable && offsets.is_open(&name, &place) {
                            true => unstable(partition),
                            false => describe(partition, offsets.get(&name, &place)),
                        }
                    }
                    None => describe(partition, None).with_error_code(ResponseError::UnknownTopicId.code()),
                });
                topics.push(found.with_partitions(partitions.collect()));
            }
        }
    }
    OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone()).with_topics(topics)
}

/// The name of a topic that may be named by its id.
fn name_of(shared: &Shared, context: &RequestContext, topic: &OffsetFetchRequestTopics) -> Option<String> {
    match context.version >= BY_ID && topic.name.is_empty() {
        true => shared.topic_by_id(topic.topic_id).map(|(name, _)| name),
        false => Some(topic.name.to_string()),
    }
}

fn unstable(partition: i32) -> OffsetFetchResponsePartitions {
    describe(partition, None).with_error_code(ResponseError::UnstableOffsetCommit.code())
}

fn describe(partition: i32, committed: Option<&Committed>) -> OffsetFetchResponsePartitions {
    let response = OffsetFetchResponsePartitions::default().with_partition_index(partition);
    match committed {
        None => response.with_committed_offset(-1).with_committed_leader_epoch(-1).with_metadata(Some(text(""))),
        Some(committed) => response
            .with_committed_offset(committed.offset.0)
            .with_committed_leader_epoch(committed.leader_epoch)
            .with_metadata(Some(text(committed.metadata.as_str()))),
    }
}
