//! CreateTopics.

use std::collections::BTreeMap;

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::create_topics_response::CreatableTopicResult;
use tidewater_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};

use super::text;
use crate::broker::{CreateError, Shared};

pub(crate) fn handle(shared: &Shared, request: &CreateTopicsRequest) -> CreateTopicsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let configs: BTreeMap<String, String> = topic
            .configs
            .iter()
            .filter_map(|config| Some((config.name.to_string(), config.value.as_ref()?.to_string())))
            .collect();
        let result = CreatableTopicResult::default().with_name(topic.name.clone());
        topics.push(match shared.create_topic(&topic.name, topic.num_partitions, configs) {
            Ok(open) => result
                .with_topic_id(open.record.id)
                .with_num_partitions(open.record.partitions)
                .with_replication_factor(1),
            Err(error) => {
                let (code, message) = explain(&topic.name, error);
                result.with_error_code(code.code()).with_error_message(Some(text(message)))
            }
        });
    }
    CreateTopicsResponse::default().with_topics(topics)
}

/// The error code and message for a topic that was not made.
pub(crate) fn explain(name: &str, error: CreateError) -> (ResponseError, String) {
    match error {
        CreateError::Exists => (ResponseError::TopicAlreadyExists, format!("Topic '{name}' already exists.")),
        CreateError::InvalidName => (
            ResponseError::InvalidTopicException,
            format!("'{name}' is no topic name: use letters, digits, '.', '_' and '-', at most 249 of them"),
        ),
        CreateError::InvalidPartitions => {
            (ResponseError::InvalidPartitions, "Number of partitions must be larger than 0.".to_owned())
        }
        CreateError::InvalidConfig(message) => (ResponseError::InvalidConfig, message),
        CreateError::Storage(message) => (ResponseError::KafkaStorageError, message),
    }
}
