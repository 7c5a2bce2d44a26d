//! ListOffsets: the first offset (−2), the end (−1), or the first record of at least a time.

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use tidewater_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use tidewater_types::Timestamp;

use super::error_code;
use crate::broker::Shared;
use crate::topics::SharedPartition;

const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

pub(crate) fn handle(shared: &Shared, request: &ListOffsetsRequest) -> ListOffsetsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let open = shared.topic(&topic.name);
        let partitions = topic
            .partitions
            .iter()
            .map(|wanted| {
                let response = ListOffsetsPartitionResponse::default()
                    .with_partition_index(wanted.partition_index)
                    .with_timestamp(-1)
                    .with_offset(-1);
                match open.as_ref().and_then(|open| open.partition(wanted.partition_index)) {
                    Some(partition) => find(partition, wanted.timestamp, response),
                    None => response.with_error_code(ResponseError::UnknownTopicOrPartition.code()),
                }
            })
            .collect();
        topics.push(ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions));
    }
    ListOffsetsResponse::default().with_topics(topics)
}

fn find(
    partition: &SharedPartition,
    timestamp: i64,
    response: ListOffsetsPartitionResponse,
) -> ListOffsetsPartitionResponse {
    let log = partition.lock();
    let response = response.with_leader_epoch(log.leader_epoch());
    match timestamp {
        EARLIEST => response.with_offset(log.log_start().0),
        LATEST => response.with_offset(log.high_watermark().0),
        time => match log.find_by_time(Timestamp(time)) {
            Ok(Some(found)) => response.with_offset(found.offset.0).with_timestamp(found.timestamp.0),
            Ok(None) => response,
            Err(error) => response.with_error_code(error_code(&error)),
        },
    }
}
