//! CreateTopics.

use std::collections::BTreeMap;

use tidewater_protocol::messages::create_topics_response::CreatableTopicResult;
use tidewater_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};

use super::{explain, text};
use crate::broker::Shared;

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
