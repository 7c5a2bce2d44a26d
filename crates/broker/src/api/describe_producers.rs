//! DescribeProducers: who has written to a partition with numbers.

use std::collections::BTreeSet;

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use tidewater_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId};

use crate::broker::Shared;

pub(crate) fn handle(shared: &Shared, request: &DescribeProducersRequest) -> DescribeProducersResponse {
    let mut told = BTreeSet::new();
    let topics = request.topics.iter().map(|topic| {
        let open = shared.topic(&topic.name);
        let wanted = topic.partition_indexes.iter().filter(|number| told.insert((&topic.name, **number)));
        let partitions = wanted.map(|&number| {
            let response = PartitionResponse::default().with_partition_index(number);
            let Some(partition) = open.as_ref().and_then(|open| open.partition(number)) else {
                return response.with_error_code(ResponseError::UnknownTopicOrPartition.code());
            };
            let log = partition.lock();
            let active = log.producers().map(|producer| {
                ProducerState::default()
                    .with_producer_id(ProducerId(producer.id))
                    .with_producer_epoch(producer.epoch.into())
                    .with_last_sequence(producer.last_sequence)
                    .with_last_timestamp(producer.last_timestamp.0)
                    .with_coordinator_epoch(producer.coordinator_epoch)
                    .with_current_txn_start_offset(producer.transaction_start.map_or(-1, |first| first.0))
            });
            response.with_active_producers(active.collect())
        });
        TopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}
