//! Produce: batches are checked, stamped and appended as they are; readers see them at once.

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::ProduceRequest;
use tidewater_protocol::messages::ProduceResponse;
use tidewater_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};

use super::{error_code, text};
use crate::broker::Shared;

pub(crate) fn handle(shared: &Shared, request: ProduceRequest) -> ProduceResponse {
    let mut appended_any = false;
    let mut responses = Vec::with_capacity(request.topic_data.len());
    for topic in request.topic_data {
        let open = shared.topic(&topic.name);
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        for data in topic.partition_data {
            let response = PartitionProduceResponse::default().with_index(data.index).with_log_append_time_ms(-1);
            let partition = open.as_ref().and_then(|open| open.partition(data.index));
            let (Some(partition), Some(records)) = (partition, data.records) else {
                let code = ResponseError::UnknownTopicOrPartition.code();
                partitions.push(response.with_error_code(code).with_base_offset(-1));
                continue;
            };
            let mut log = partition.lock();
            partitions.push(match log.append(records, shared.now()) {
                Ok(appended) => {
                    log.raise_high_watermark(appended.next);
                    appended_any = true;
                    let append_time = appended.append_time.map_or(-1, |time| time.0);
                    response
                        .with_base_offset(appended.first.0)
                        .with_log_append_time_ms(append_time)
                        .with_log_start_offset(log.log_start().0)
                }
                Err(error) => response
                    .with_error_code(error_code(&error))
                    .with_base_offset(-1)
                    .with_error_message(Some(text(error.to_string()))),
            });
        }
        responses.push(TopicProduceResponse::default().with_name(topic.name).with_partition_responses(partitions));
    }
    if appended_any {
        shared.wake_watchers();
    }
    ProduceResponse::default().with_responses(responses)
}
