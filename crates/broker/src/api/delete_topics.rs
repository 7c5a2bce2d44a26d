//! DeleteTopics.

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::delete_topics_response::DeletableTopicResult;
use tidewater_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};

use super::text;
use crate::BrokerError;
use crate::broker::Shared;

pub(crate) fn handle(shared: &Shared, request: &DeleteTopicsRequest) -> DeleteTopicsResponse {
    let by_state = request.topics.iter().filter_map(|topic| topic.name.clone());
    let names = by_state.chain(request.topic_names.iter().cloned());
    let responses = names
        .map(|name| {
            let result = DeletableTopicResult::default().with_name(Some(name.clone()));
            match shared.delete_topic(&name) {
                Ok(true) => result,
                Ok(false) => result.with_error_code(ResponseError::UnknownTopicOrPartition.code()),
                Err(error @ BrokerError::Setting { .. }) => result
                    .with_error_code(ResponseError::InvalidRequest.code())
                    .with_error_message(Some(text(error.to_string()))),
                Err(error) => result
                    .with_error_code(ResponseError::KafkaStorageError.code())
                    .with_error_message(Some(text(error.to_string()))),
            }
        })
        .collect();
    DeleteTopicsResponse::default().with_responses(responses)
}
