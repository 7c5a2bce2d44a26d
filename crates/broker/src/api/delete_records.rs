//! DeleteRecords: the records of partitions before an offset.

use tidewater_log::LogConfig;
use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use tidewater_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use tidewater_types::{Offset, TopicPartition};

use super::error_code;
use crate::broker::Shared;
use crate::topics::is_internal;

/// All that may be read.
const HIGH_WATERMARK: i64 = -1;

pub(crate) fn handle(shared: &Shared, request: &DeleteRecordsRequest) -> DeleteRecordsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let open = shared.topic(&topic.name);
        let partitions = topic.partitions.iter().map(|wanted| {
            let index = wanted.partition_index;
            let result = DeleteRecordsPartitionResult::default().with_partition_index(index).with_low_watermark(-1);
            if open.as_ref().is_none_or(|open| open.partition(index).is_none()) {
                return result.with_error_code(ResponseError::UnknownTopicOrPartition.code());
            }
            if is_internal(&topic.name) {
                return result.with_error_code(ResponseError::InvalidTopicException.code());
            }
            if wanted.offset < HIGH_WATERMARK {
                return result.with_error_code(ResponseError::OffsetOutOfRange.code());
            }
            let is_kept = |config: &LogConfig| !config.cleanup.delete;
            if open.as_ref().and_then(|open| open.partition(index)).is_some_and(|log| is_kept(log.lock().config())) {
                return result.with_error_code(ResponseError::PolicyViolation.code());
            }
            let place = TopicPartition::new(&*topic.name.to_string(), index);
            match shared.delete_records(&place, Offset(wanted.offset)) {
                Ok(start) => result.with_low_watermark(start.0),
                Err(error) => result.with_error_code(error_code(&error)),
            }
        });
        let result = DeleteRecordsTopicResult::default().with_name(topic.name.clone());
        topics.push(result.with_partitions(partitions.collect()));
    }
    DeleteRecordsResponse::default().with_topics(topics)
}
