//! Fetch: whole batches from an offset on, as they stand in the file.

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use tidewater_protocol::messages::{FetchRequest, FetchResponse};
use tidewater_types::Offset;

use super::error_code;
use crate::broker::Shared;
use crate::topics::SharedPartition;

pub(crate) fn handle(shared: &Shared, request: &FetchRequest) -> FetchResponse {
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let open = shared.topic(&topic.topic);
        let partitions = topic
            .partitions
            .iter()
            .map(|wanted| {
                let data = PartitionData::default().with_partition_index(wanted.partition);
                match open.as_ref().and_then(|open| open.partition(wanted.partition)) {
                    Some(partition) => read(partition, wanted.fetch_offset, wanted.partition_max_bytes, data),
                    None => data.with_error_code(ResponseError::UnknownTopicOrPartition.code()),
                }
            })
            .collect();
        responses.push(FetchableTopicResponse::default().with_topic(topic.topic.clone()).with_partitions(partitions));
    }
    FetchResponse::default().with_responses(responses)
}

fn read(partition: &SharedPartition, offset: i64, max_bytes: i32, data: PartitionData) -> PartitionData {
    let (slice, high_watermark, log_start) = {
        let log = partition.lock();
        (log.slice(Offset(offset)), log.high_watermark(), log.log_start())
    };
    let data = data
        .with_high_watermark(high_watermark.0)
        .with_last_stable_offset(high_watermark.0)
        .with_log_start_offset(log_start.0);
    // The file is read without the lock.
    match slice.and_then(|slice| slice.read(usize::try_from(max_bytes).unwrap_or(0))) {
        Ok(records) => data.with_records(Some(records)),
        Err(error) => data.with_error_code(error_code(&error)),
    }
}
