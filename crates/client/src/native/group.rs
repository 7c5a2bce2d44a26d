//! Group membership within one process: all tasks are ours, dealt out in turn; offsets through OffsetCommit and OffsetFetch.

use std::collections::BTreeMap;

use tidewater_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use tidewater_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use tidewater_protocol::messages::{GroupId, OffsetCommitRequest, OffsetFetchRequest};
use tidewater_types::{Offset, TaskId, TopicPartition};

use super::{NativeClient, call, text, topic_name};
use crate::{ClientError, CommittedOffset, GroupMember};

impl GroupMember for NativeClient {
    fn assign(&self, tasks: &[TaskId], threads: usize) -> Vec<Vec<TaskId>> {
        let mut assigned = vec![Vec::new(); threads.max(1)];
        for (number, &task) in tasks.iter().enumerate() {
            let thread = number % assigned.len();
            assigned[thread].push(task);
        }
        assigned
    }

    fn commit(&self, offsets: &BTreeMap<TopicPartition, CommittedOffset>) -> Result<(), ClientError> {
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for (place, committed) in offsets {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(place.partition)
                .with_committed_offset(committed.offset.0)
                .with_committed_leader_epoch(-1)
                .with_committed_metadata(Some(text(&committed.metadata)));
            topics.entry(&place.topic).or_default().push(partition);
        }
        let topic = |(name, partitions): (&str, Vec<_>)| {
            OffsetCommitRequestTopic::default().with_name(topic_name(name)).with_partitions(partitions)
        };
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(topics.into_iter().map(topic).collect());
        let response = call!(self, OffsetCommit, request, "commit offsets")?;
        for topic in &response.topics {
            for partition in &topic.partitions {
                let place = TopicPartition::new(&*topic.name.to_string(), partition.partition_index);
                ClientError::check(partition.error_code, "committing the offset of", &place, None)?;
            }
        }
        Ok(())
    }

    fn committed(&self, places: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, CommittedOffset>, ClientError> {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for place in places {
            topics.entry(&place.topic).or_default().push(place.partition);
        }
        let topic = |(name, partitions): (&str, Vec<i32>)| {
            OffsetFetchRequestTopics::default().with_name(topic_name(name)).with_partition_indexes(partitions)
        };
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_topics(Some(topics.into_iter().map(topic).collect()));
        let response =
            call!(self, OffsetFetch, OffsetFetchRequest::default().with_groups(vec![group]), "fetch offsets")?;
        let mut committed = BTreeMap::new();
        for topic in response.groups.iter().flat_map(|group| &group.topics) {
            for partition in &topic.partitions {
                let place = TopicPartition::new(&*topic.name.to_string(), partition.partition_index);
                ClientError::check(partition.error_code, "fetching the offset of", &place, None)?;
                if partition.committed_offset >= 0 {
                    let metadata = partition.metadata.as_ref().map(ToString::to_string).unwrap_or_default();
                    committed.insert(place, CommittedOffset { offset: Offset(partition.committed_offset), metadata });
                }
            }
        }
        Ok(committed)
    }
}
