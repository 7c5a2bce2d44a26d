//! Metadata: which topics there are, and how many partitions they have.

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use tidewater_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse};

use super::{text, topic_name};
use crate::broker::Shared;
use crate::offsets::OFFSETS_TOPIC;
use crate::topics::OpenTopic;

/// The one node.
const NODE: BrokerId = BrokerId(1);

pub(crate) fn handle(shared: &Shared, request: &MetadataRequest) -> MetadataResponse {
    let names: Vec<String> = match &request.topics {
        None => shared.topics().keys().cloned().collect(),
        Some(topics) => topics.iter().filter_map(|topic| topic.name.as_ref()).map(|name| name.to_string()).collect(),
    };
    let topics = names
        .into_iter()
        .map(|name| match shared.topic(&name) {
            Some(topic) => describe(&name, &topic),
            None => MetadataResponseTopic::default()
                .with_name(Some(topic_name(&name)))
                .with_error_code(ResponseError::UnknownTopicOrPartition.code()),
        })
        .collect();
    MetadataResponse::default()
        .with_cluster_id(Some(text(shared.folder.cluster_id.as_str())))
        .with_controller_id(NODE)
        .with_topics(topics)
}

fn describe(name: &str, topic: &OpenTopic) -> MetadataResponseTopic {
    let partitions = (0..topic.record.partitions)
        .map(|number| {
            MetadataResponsePartition::default()
                .with_partition_index(number)
                .with_leader_id(NODE)
                .with_leader_epoch(0)
                .with_replica_nodes(vec![NODE])
                .with_isr_nodes(vec![NODE])
        })
        .collect();
    MetadataResponseTopic::default()
        .with_name(Some(topic_name(name)))
        .with_topic_id(topic.record.id)
        .with_is_internal(name == OFFSETS_TOPIC)
        .with_partitions(partitions)
}
