//! DescribeTopicPartitions: topics in the order of their names, a stretch at a time.

use std::collections::BTreeSet;

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use tidewater_protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};

use super::{TOPIC_OPERATIONS, topic_name};
use crate::broker::Shared;
use crate::topics::{is_internal, is_legal_name};

pub(crate) fn handle(shared: &Shared, request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let (from_topic, from_partition) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.to_string(), cursor.partition_index),
        None => (String::new(), 0),
    };
    let are_all = request.topics.is_empty();
    let names: BTreeSet<String> = match are_all {
        true => shared.topics().keys().cloned().collect(),
        false => request.topics.iter().map(|topic| topic.name.to_string()).collect(),
    };
    let is_astray = !are_all && request.cursor.is_some() && !names.contains(&from_topic);
    if is_astray || from_partition < 0 {
        return refused(request);
    }
    let mut left = request.response_partition_limit.clamp(1, shared.settings.described_partitions);
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names.range(from_topic.clone()..) {
        let described = DescribeTopicPartitionsResponseTopic::default()
            .with_name(Some(topic_name(name)))
            .with_is_internal(is_internal(name))
            .with_topic_authorized_operations(TOPIC_OPERATIONS);
        let Some(topic) = shared.topic(name) else {
            if are_all {
                continue; // It was deleted meanwhile.
            }
            let code = match is_legal_name(name) {
                true => ResponseError::UnknownTopicOrPartition,
                false => ResponseError::InvalidTopicException,
            };
            response.topics.push(described.with_error_code(code.code()));
            continue;
        };
        let first = if *name == from_topic { from_partition } else { 0 };
        let end = topic.record.partitions.min(first.saturating_add(left));
        let partitions = (first..end).map(|number| {
            DescribeTopicPartitionsResponsePartition::default()
                .with_partition_index(number)
                .with_leader_id(shared.node())
                .with_leader_epoch(0)
                .with_replica_nodes(vec![shared.node()])
                .with_isr_nodes(vec![shared.node()])
                .with_eligible_leader_replicas(Some(vec![]))
                .with_last_known_elr(Some(vec![]))
        });
        response.topics.push(described.with_topic_id(topic.record.id).with_partitions(partitions.collect()));
        left -= (end - first).max(0);
        if end < topic.record.partitions || left == 0 {
            let next = match end < topic.record.partitions {
                true => Some((name.clone(), end)),
                false => names.range(name.clone()..).nth(1).map(|next| (next.clone(), 0)),
            };
            response.next_cursor = next.map(|(name, partition)| {
                Cursor::default().with_topic_name(topic_name(&name)).with_partition_index(partition)
            });
            break;
        }
    }
    response
}

/// The response to a cursor that is at no place of what is asked for.
fn refused(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let topics = request.topics.iter().map(|topic| {
        DescribeTopicPartitionsResponseTopic::default()
            .with_name(Some(topic.name.clone()))
            .with_error_code(ResponseError::InvalidRequest.code())
    });
    DescribeTopicPartitionsResponse::default().with_topics(topics.collect())
}
