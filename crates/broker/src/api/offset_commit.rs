//! OffsetCommit: written to `__consumer_offsets`, then to the table.

use std::sync::PoisonError;

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use tidewater_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use tidewater_types::{Offset, TopicPartition};

use crate::broker::{Shared, keyed_batch};
use crate::offsets::{Committed, partition_of, write_key, write_value};

pub(crate) fn handle(shared: &Shared, request: &OffsetCommitRequest) -> OffsetCommitResponse {
    let group = request.group_id.to_string();
    let mut commits = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let committed = Committed {
                offset: Offset(partition.committed_offset),
                leader_epoch: partition.committed_leader_epoch,
                metadata: partition.committed_metadata.as_ref().map(ToString::to_string).unwrap_or_default(),
            };
            commits.push((TopicPartition::new(&*topic.name.to_string(), partition.partition_index), committed));
        }
    }
    let code = match write(shared, &group, commits) {
        Ok(()) => 0,
        Err(error) => error.code(),
    };
    let topics = request
        .topics
        .iter()
        .map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                OffsetCommitResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(code)
            });
            OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
        })
        .collect();
    OffsetCommitResponse::default().with_topics(topics)
}

/// All offsets of a commit go into one batch, so that they are there together or not at all.
fn write(shared: &Shared, group: &str, commits: Vec<(TopicPartition, Committed)>) -> Result<(), ResponseError> {
    if commits.is_empty() {
        return Ok(());
    }
    let now = shared.now();
    let topic = shared.offsets_topic().map_err(|_| ResponseError::CoordinatorNotAvailable)?;
    let number = partition_of(group, topic.record.partitions);
    let partition = topic.partition(number).ok_or(ResponseError::CoordinatorNotAvailable)?;
    let records: Vec<_> =
        commits.iter().map(|(place, committed)| (write_key(group, place), Some(write_value(committed, now)))).collect();
    let batch = keyed_batch(&records, now).ok_or(ResponseError::UnknownServerError)?;
    {
        let mut log = partition.lock();
        let appended = log.append(batch, now).map_err(|_| ResponseError::KafkaStorageError)?;
        log.raise_high_watermark(appended.next);
    }
    let mut offsets = shared.offsets.lock().unwrap_or_else(PoisonError::into_inner);
    for (place, committed) in commits {
        offsets.set(group, place, Some(committed));
    }
    Ok(())
}
