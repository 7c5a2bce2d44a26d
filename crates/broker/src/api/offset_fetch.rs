//! OffsetFetch: what a group has committed, in the form of versions 8 and later (several groups a request).

use std::collections::BTreeMap;
use std::sync::PoisonError;

use tidewater_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use tidewater_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};
use tidewater_types::TopicPartition;

use super::{text, topic_name};
use crate::broker::Shared;
use crate::offsets::Committed;

pub(crate) fn handle(shared: &Shared, request: &OffsetFetchRequest) -> OffsetFetchResponse {
    let offsets = shared.offsets.lock().unwrap_or_else(PoisonError::into_inner);
    let groups = request
        .groups
        .iter()
        .map(|group| {
            let name = group.group_id.to_string();
            let mut topics: BTreeMap<String, Vec<OffsetFetchResponsePartitions>> = BTreeMap::new();
            match &group.topics {
                None => {
                    for (place, committed) in offsets.all(&name) {
                        let partitions = topics.entry(place.topic.to_string()).or_default();
                        partitions.push(describe(place.partition, Some(committed)));
                    }
                }
                Some(wanted) => {
                    for topic in wanted {
                        let partitions = topics.entry(topic.name.to_string()).or_default();
                        for &partition in &topic.partition_indexes {
                            let place = TopicPartition::new(&*topic.name.to_string(), partition);
                            partitions.push(describe(partition, offsets.get(&name, &place)));
                        }
                    }
                }
            }
            let topics = topics
                .into_iter()
                .map(|(name, partitions)| {
                    OffsetFetchResponseTopics::default().with_name(topic_name(&name)).with_partitions(partitions)
                })
                .collect();
            OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone()).with_topics(topics)
        })
        .collect();
    OffsetFetchResponse::default().with_groups(groups)
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
