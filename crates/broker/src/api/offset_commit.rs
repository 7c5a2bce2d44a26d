//! OffsetCommit: written to `__consumer_offsets`, then to the table.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use tidewater_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use tidewater_types::{Offset, TopicPartition};

use super::explain;
use crate::broker::Shared;
use crate::offsets::{Committed, GROUP_LIMIT_BYTES, METADATA_LIMIT_BYTES, OFFSETS_TOPIC};

pub(crate) fn handle(shared: &Shared, request: &OffsetCommitRequest) -> OffsetCommitResponse {
    let group = request.group_id.to_string();
    let mut commits = Vec::new();
    let mut refused = BTreeMap::new();
    for topic in &request.topics {
        let open = shared.topic(&topic.name);
        for partition in &topic.partitions {
            let place = TopicPartition::new(&*topic.name.to_string(), partition.partition_index);
            let metadata = partition.committed_metadata.as_ref().map(ToString::to_string).unwrap_or_default();
            let Some(open) = open.as_ref().filter(|open| open.partition(partition.partition_index).is_some()) else {
                refused.insert(place, ResponseError::UnknownTopicOrPartition);
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
            let partitions = topic.partitions.iter().map(|partition| {
                OffsetCommitResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(code_of(TopicPartition::new(&*topic.name.to_string(), partition.partition_index)))
            });
            OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
        })
        .collect();
    OffsetCommitResponse::default().with_topics(topics)
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
