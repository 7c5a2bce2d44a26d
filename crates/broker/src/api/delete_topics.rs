//! DeleteTopics, by name or, in later versions, by id.

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::delete_topics_request::DeleteTopicState;
use tidewater_protocol::messages::delete_topics_response::DeletableTopicResult;
use tidewater_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};

use super::{text, topic_name};
use crate::BrokerError;
use crate::broker::Shared;

pub(crate) fn handle(shared: &Shared, request: &DeleteTopicsRequest) -> DeleteTopicsResponse {
    let named = |name: &_| DeleteTopicState::default().with_name(Some(Clone::clone(name)));
    let wanted: Vec<_> = request.topics.iter().cloned().chain(request.topic_names.iter().map(named)).collect();
    let responses = wanted.into_iter().map(|wanted| delete(shared, wanted));
    DeleteTopicsResponse::default().with_responses(responses.collect())
}

fn delete(shared: &Shared, wanted: DeleteTopicState) -> DeletableTopicResult {
    let result = DeletableTopicResult::default().with_name(wanted.name.clone()).with_topic_id(wanted.topic_id);
    let Some(name) =
        wanted.name.map(|name| name.to_string()).or_else(|| shared.topic_by_id(wanted.topic_id).map(|(name, _)| name))
    else {
        return result.with_error_code(ResponseError::UnknownTopicId.code());
    };
    let id = shared.topic(&name).map(|topic| topic.record.id).unwrap_or_default();
    let result = result.with_name(Some(topic_name(&name))).with_topic_id(id);
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
}
