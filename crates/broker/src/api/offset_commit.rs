//! OffsetCommit: by a member of a group in its generation, or for a group without members.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewater_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use tidewater_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use tidewater_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use tidewater_protocol::{RequestContext, ResponseError};
use tidewater_types::{Offset, TopicPartition};

use crate::broker::Shared;
use crate::groups::{Committed, METADATA_LIMIT_BYTES};
use crate::topics::OpenTopic;

/// From this version on, an unknown group is told as one.
const UNKNOWN_GROUP: i16 = 9;
/// From this version on, topics are named by their ids.
const BY_ID: i16 = 10;

pub(crate) fn handle(shared: &Shared, context: &RequestContext, request: &OffsetCommitRequest) -> OffsetCommitResponse {
    let now = shared.now();
    let mut commits = Vec::new();
    let mut refused = BTreeMap::new();
    for topic in &request.topics {
        let (name, open) = find(shared, context, topic);
        for partition in &topic.partitions {
            let place = TopicPartition::new(&*name, partition.partition_index);
            let metadata = partition.committed_metadata.as_ref().map(ToString::to_string).unwrap_or_default();
            let Some(open) = open.as_ref().filter(|open| open.partition(partition.partition_index).is_some()) else {
                let by_id = topic.name.is_empty() && open.is_none();
                let code = if by_id { ResponseError::UnknownTopicId } else { ResponseError::UnknownTopicOrPartition };
                refused.insert(place, code);
                continue;
            };
            if metadata.len() > METADATA_LIMIT_BYTES {
                refused.insert(place, ResponseError::OffsetMetadataTooLarge);
                continue;
            }
            let topic_id = Some(open.record.id);
            let (offset, leader_epoch) = (Offset(partition.committed_offset), partition.committed_leader_epoch);
            commits.push((place, Committed { offset, leader_epoch, metadata, at: now, topic_id }));
        }
    }
    let code = commit(shared, context, request, commits).map_or_else(|error| error.code(), |()| 0);
    let code_of = |place: TopicPartition| refused.get(&place).map_or(code, |error| error.code());
    let topics = request
        .topics
        .iter()
        .map(|topic| {
            let (name, _) = find(shared, context, topic);
            let partitions = topic.partitions.iter().map(|partition| {
                OffsetCommitResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(code_of(TopicPartition::new(&*name, partition.partition_index)))
            });
            OffsetCommitResponseTopic::default()
                .with_name(topic.name.clone())
                .with_topic_id(topic.topic_id)
                .with_partitions(partitions.collect())
        })
        .collect();
    OffsetCommitResponse::default().with_topics(topics)
}

/// The name of a topic, and the topic if there is one; by its id, as later versions have it, a name that no topic has if there is none.
fn find(
    shared: &Shared,
    context: &RequestContext,
    topic: &OffsetCommitRequestTopic,
) -> (String, Option<Arc<OpenTopic>>) {
    if context.version >= BY_ID && topic.name.is_empty() {
        return match shared.topic_by_id(topic.topic_id) {
            Some((name, open)) => (name, Some(open)),
            None => (topic.topic_id.to_string(), None),
        };
    }
    let name = topic.name.to_string();
    let open = shared.topic(&name);
    (name, open)
}

/// All offsets of a commit are there together or not at all.
fn commit(
    shared: &Shared,
    context: &RequestContext,
    request: &OffsetCommitRequest,
    mut commits: Vec<(TopicPartition, Committed)>,
) -> Result<(), ResponseError> {
    let (group, instance) = (&*request.group_id.to_string(), request.group_instance_id.as_deref());
    let member = (&*request.member_id.to_string(), instance, request.generation_id_or_member_epoch);
    let unknown = match context.version {
        UNKNOWN_GROUP.. => ResponseError::GroupIdNotFound,
        _ => ResponseError::IllegalGeneration,
    };
    let done = shared.change_groups(|groups, outside, topics| {
        groups.check_commit(group, member, &commits, unknown)?;
        // A topic that was deleted since it was looked up, or made anew, must not have these offsets.
        commits.retain(|(place, commit)| {
            topics.get(&*place.topic).is_some_and(|topic| Some(topic.record.id) == commit.topic_id)
        });
        groups.commit(outside, group, commits)
    });
    done.flatten()
}
