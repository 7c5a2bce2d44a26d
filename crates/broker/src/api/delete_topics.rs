//! DeleteTopics, by name or, in later versions, by id.

use std::collections::BTreeSet;

use tidewater_protocol::messages::delete_topics_request::DeleteTopicState;
use tidewater_protocol::messages::delete_topics_response::DeletableTopicResult;
use tidewater_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use tidewater_protocol::{RequestContext, ResponseError};

use super::{repeated, text, topic_name};
use crate::BrokerError;
use crate::broker::Shared;

/// From this version on, there is a code for a broker that deletes no topics.
const DISABLED: i16 = 3;
/// From this version on, a response says what is wrong.
const MESSAGES: i16 = 5;

pub(crate) fn handle(shared: &Shared, context: &RequestContext, request: &DeleteTopicsRequest) -> DeleteTopicsResponse {
    let named = |name: &_| DeleteTopicState::default().with_name(Some(Clone::clone(name)));
    let wanted: Vec<_> = request.topics.iter().cloned().chain(request.topic_names.iter().map(named)).collect();
    let key = |topic: &DeleteTopicState| (topic.name.clone(), topic.topic_id);
    let keys: Vec<_> = wanted.iter().map(key).collect();
    let repeated = repeated(&keys);
    let mut told = BTreeSet::new();
    let mut responses: Vec<DeletableTopicResult> = Vec::new();
    for (topic, key) in wanted.iter().zip(&keys) {
        let what = match (&topic.name, topic.topic_id.is_nil()) {
            _ if !told.insert(key) => continue,
            (Some(_), false) => Some("You may not specify both topic name and topic id."),
            (None, true) => Some("Neither topic name nor id were specified."),
            (Some(_), true) if repeated.contains(key) => Some("Duplicate topic name."),
            (None, false) if repeated.contains(key) => Some("Duplicate topic id."),
            _ => None,
        };
        responses.push(match what {
            _ if !shared.settings.delete_topics => {
                let code = match context.version {
                    ..DISABLED => ResponseError::InvalidRequest,
                    _ => ResponseError::TopicDeletionDisabled,
                };
                refused(topic, code, "Topic deletion is disabled.")
            }
            Some(what) => refused(topic, ResponseError::InvalidRequest, what),
            None => delete(shared, topic.clone()),
        });
    }
    if context.version < MESSAGES {
        responses.iter_mut().for_each(|response| response.error_message = None);
    }
    DeleteTopicsResponse::default().with_responses(responses)
}

fn refused(wanted: &DeleteTopicState, code: ResponseError, what: &'static str) -> DeletableTopicResult {
    DeletableTopicResult::default()
        .with_name(wanted.name.clone())
        .with_topic_id(wanted.topic_id)
        .with_error_code(code.code())
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
