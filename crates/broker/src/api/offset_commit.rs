//! OffsetCommit: by a member of a group in its generation, or for a group without members.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewater_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use tidewater_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use tidewater_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use tidewater_protocol::{RequestContext, ResponseError, StrBytes};
use tidewater_types::{Offset, Timestamp, TopicPartition};

use crate::broker::Shared;
use crate::groups::{Committed, Committer};
use crate::topics::OpenTopic;

/// From this version on, an unknown group is told as one.
const UNKNOWN_GROUP: i16 = 9;
/// From this version on, topics are named by their ids.
const BY_ID: i16 = 10;
/// The broker says how long offsets are kept. Versions 2 to 4 may say otherwise.
const DEFAULT_RETENTION: i64 = -1;

pub(crate) fn handle(shared: &Shared, context: &RequestContext, request: &OffsetCommitRequest) -> OffsetCommitResponse {
    let now = shared.now();
    let retention = request.retention_time_ms;
    let expires = (retention != DEFAULT_RETENTION).then(|| Timestamp(now.0.saturating_add(retention).max(0)));
    let mut commits = Vec::new();
    let mut refused = BTreeMap::new();
    for topic in &request.topics {
        let (name, open) = find(shared, context, topic);
        for partition in &topic.partitions {
            let place = TopicPartition::new(&*name, partition.partition_index);
            let noted = (partition.committed_offset, partition.committed_leader_epoch, &partition.committed_metadata);
            match note(shared, open.as_deref(), partition.partition_index, noted, now) {
                Ok(commit) => commits.push((place, Committed { expires, ..commit })),
                Err(_) if topic.name.is_empty() && open.is_none() => {
                    refused.insert(place, ResponseError::UnknownTopicId);
                }
                Err(error) => drop(refused.insert(place, error)),
            }
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

/// An offset, its leader epoch and its note, as they are kept.
pub(super) fn note(
    shared: &Shared,
    topic: Option<&OpenTopic>,
    partition: i32,
    (offset, leader_epoch, metadata): (i64, i32, &Option<StrBytes>),
    at: Timestamp,
) -> Result<Committed, ResponseError> {
    let open = topic.filter(|open| open.partition(partition).is_some());
    let open = open.ok_or(ResponseError::UnknownTopicOrPartition)?;
    let metadata = metadata.as_ref().map(ToString::to_string).unwrap_or_default();
    if metadata.encode_utf16().count() > shared.settings.groups.offset_note_max {
        return Err(ResponseError::OffsetMetadataTooLarge);
    }
    Ok(Committed { offset: Offset(offset), leader_epoch, metadata, at, expires: None, topic_id: Some(open.record.id) })
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
    let group = &**request.group_id;
    let committer = Committer {
        member: &request.member_id,
        instance: request.group_instance_id.as_deref(),
        generation: request.generation_id_or_member_epoch,
        in_transaction: false,
        version: context.version,
    };
    let unknown = match context.version {
        UNKNOWN_GROUP.. => ResponseError::GroupIdNotFound,
        _ => ResponseError::IllegalGeneration,
    };
    let done = shared.change_groups(|groups, outside, topics| {
        groups.check_commit(group, &committer, &commits, unknown)?;
        // A topic that was deleted since it was looked up, or made anew, must not have these offsets.
        commits.retain(|(place, commit)| {
            topics.get(&*place.topic).is_some_and(|topic| Some(topic.record.id) == commit.topic_id)
        });
        groups.commit(outside, group, None, commits)
    });
    done.flatten()
}
