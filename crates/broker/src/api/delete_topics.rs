//! DeleteTopics, by name or, in later versions, by id.

use tidewater_protocol::messages::delete_topics_request::DeleteTopicState;
use tidewater_protocol::messages::delete_topics_response::DeletableTopicResult;
use tidewater_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use tidewater_protocol::{RequestContext, ResponseError};

use super::{text, topic_name};
use crate::BrokerError;
use crate::broker::Shared;

/// From this version on, a response says what is wrong.
const MESSAGES: i16 = 5;

pub(crate) fn handle(shared: &Shared, context: &RequestContext, request: &DeleteTopicsRequest) -> DeleteTopicsResponse {
    let named = |name: &_| DeleteTopicState::default().with_name(Some(Clone::clone(name)));
    let wanted: Vec<_> = request.topics.iter().cloned().chain(request.topic_names.iter().map(named)).collect();
    let mut responses: Vec<DeletableTopicResult> = Vec::new();
    for (at, topic) in wanted.iter().enumerate() {
        if wanted[..at].contains(topic) {
            continue;
        }
        let is_repeated = wanted[at + 1..].contains(topic);
        responses.push(if is_repeated { repeated(topic) } else { delete(shared, topic.clone()) });
    }
    if context.version < MESSAGES {
        responses.iter_mut().for_each(|response| response.error_message = None);
    }
    DeleteTopicsResponse::default().with_responses(responses)
}

fn repeated(wanted: &DeleteTopicState) -> DeletableTopicResult {
    let what = if wanted.name.is_some() { "Duplicate topic name." } else { "Duplicate topic id." };
    DeletableTopicResult::default()
        .with_name(wanted.name.clone())
        .with_topic_id(wanted.topic_id)
        .with_error_code(ResponseError::InvalidRequest.code())
        .with_error_message(Some(text(what)))
}

fn delete(shared: &Shared, wanted: DeleteTopicState) -> DeletableTopicResult {
    let result = DeletableTopicResult::default().with_name(wanted.name.clone()).with_topic_id(wanted.topic_id);
    let Some(name) =
        wanted.name.map(|name| name.to_string()).or_else(|| shared.topic_by_id(wanted.topic_id).map(|(name, _)| name))
    else {
        return result
            .with_error_code(ResponseError::UnknownTopicId.code())
            .with_error_message(Some(text("This server does not host this topic ID.")));
    };
    let id = shared.topic(&name).map(|topic| topic.record.id).unwrap_or_default();
    let result = result.with_name(Some(topic_name(&name))).with_topic_id(id);
    match shared.delete_topic(&name) {
        Ok(true) => result,
        Ok(false) => result
            .with_error_code(ResponseError::UnknownTopicOrPartition.code())
            .with_error_message(Some(text("This server does not host this topic-partition."))),
        Err(error @ BrokerError::Setting { .. }) => result
            .with_error_code(ResponseError::InvalidRequest.code())
            .with_error_message(Some(text(error.to_string()))),
        Err(error) => result
            .with_error_code(ResponseError::KafkaStorageError.code())
            .with_error_message(Some(text(error.to_string()))),
    }
}
