//! OffsetCommit: written to `__consumer_offsets`, then to the table.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use tidewater_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use tidewater_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use tidewater_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use tidewater_protocol::{RequestContext, ResponseError};
use tidewater_types::{Offset, TopicPartition};

use super::explain;
use crate::broker::Shared;
use crate::offsets::{Committed, GROUP_LIMIT_BYTES, METADATA_LIMIT_BYTES, OFFSETS_TOPIC};
use crate::topics::OpenTopic;

/// From this version on, topics are named by their ids.
const BY_ID: i16 = 10;

pub(crate) fn handle(shared: &Shared, context: &RequestContext, request: &OffsetCommitRequest) -> OffsetCommitResponse {
    let group = request.group_id.to_string();
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
            commits.push((place, Some(Committed { offset, leader_epoch, metadata, topic_id })));
        }
    }
    let code = match write(shared, &group, commits) {
        Ok(()) => 0,
        Err(error) => error.code(),
    };
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

/// All offsets of a commit go into one batch, so that they are there together or not at all. The table is locked meanwhile,
/// so that it has the order of the log.
fn write(
    shared: &Shared,
    group: &str,
    mut commits: Vec<(TopicPartition, Option<Committed>)>,
) -> Result<(), ResponseError> {
    if group.len() > GROUP_LIMIT_BYTES {
        return Err(ResponseError::InvalidGroupId);
    }
    if commits.is_empty() {
        return Ok(());
    }
    let topic = shared.offsets_topic().map_err(|error| {
        let (code, message) = explain(OFFSETS_TOPIC, error);
        tracing::error!(group, code = ?code, message, "the topic of offsets cannot be made");
        ResponseError::CoordinatorNotAvailable
    })?;
    // Held to the end: a topic that was deleted since it was looked up, or made anew, must not have these offsets.
    let topics = shared.topics();
    commits.retain(|(place, committed)| {
        let id = committed.as_ref().and_then(|committed| committed.topic_id);
        topics.get(&*place.topic).is_some_and(|topic| Some(topic.record.id) == id)
    });
    let mut offsets = shared.offsets.lock().unwrap_or_else(PoisonError::into_inner);
    shared.write_offsets(&topic, &mut offsets, group, commits).map_err(|error| {
        tracing::error!(group, %error, "offsets cannot be written");
        ResponseError::KafkaStorageError
    })
}
