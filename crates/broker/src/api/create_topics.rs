//! CreateTopics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::create_topics_request::CreatableTopic;
use tidewater_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use tidewater_protocol::messages::{BrokerId, CreateTopicsRequest, CreateTopicsResponse};

use super::{explain, repeated, text};
use crate::admin::{PARTITIONS_LIMIT, TopicError};
use crate::broker::Shared;
use crate::config::TopicSetting;
use crate::dynamic::{Given, Source};
use crate::topics::OpenTopic;

/// One node has one replica; −1 leaves it to the broker.
pub(super) const REPLICATION: [i16; 2] = [1, -1];

pub(crate) fn handle(shared: &Shared, request: &CreateTopicsRequest) -> CreateTopicsResponse {
    let repeated = repeated(request.topics.iter().map(|topic| &topic.name));
    let partitions = request.topics.iter().map(|topic| wanted_partitions(shared, topic)).sum::<usize>();
    // One that is named several times is told once.
    let mut told = BTreeSet::new();
    let results = request.topics.iter().filter(|topic| told.insert(&topic.name)).map(|topic| {
        let result = CreatableTopicResult::default()
            .with_name(topic.name.clone())
            .with_num_partitions(-1)
            .with_replication_factor(-1);
        let created = if partitions > PARTITIONS_LIMIT as usize {
            Err(explain(&topic.name, TopicError::TooManyPartitions))
        } else if repeated.contains(&topic.name) {
            Err((ResponseError::InvalidRequest, "Duplicate topic name.".to_owned()))
        } else {
            create(shared, topic, request.validate_only)
        };
        match created {
            Ok(open) => result
                .with_error_message(None)
                .with_topic_id(open.record.id)
                .with_num_partitions(open.record.partitions)
                .with_replication_factor(1)
                .with_configs(Some(settings(shared, &open))),
            Err((code, message)) => result.with_error_code(code.code()).with_error_message(Some(text(message))),
        }
    });
    CreateTopicsResponse::default().with_topics(results.collect())
}

/// How many partitions a topic would have.
fn wanted_partitions(shared: &Shared, topic: &CreatableTopic) -> usize {
    match topic.num_partitions {
        _ if !topic.assignments.is_empty() => topic.assignments.len(),
        -1 => usize::try_from(shared.settings.default_partitions).unwrap_or(0),
        wanted => usize::try_from(wanted).unwrap_or(0),
    }
}

fn create(
    shared: &Shared,
    topic: &CreatableTopic,
    validate_only: bool,
) -> Result<Arc<OpenTopic>, (ResponseError, String)> {
    let refused = |code: ResponseError, message: String| Err((code, message));
    if shared.topic(&topic.name).is_some() {
        return Err(explain(&topic.name, TopicError::Exists));
    }
    let partitions = if topic.assignments.is_empty() {
        if !REPLICATION.contains(&topic.replication_factor) {
            let factor = topic.replication_factor;
            let message = match factor {
                ..=0 => "Replication factor must be larger than 0, or -1 to use the default value.".to_owned(),
                _ => format!(
                    "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot be reached because only 1 broker(s) are registered or some brokers have all their log directories cordoned."
                ),
            };
            return refused(ResponseError::InvalidReplicationFactor, message);
        }
        topic.num_partitions
    } else {
        let not_unset = |what: &str| {
            let message = format!("A manual partition assignment was specified, but {what} was not set to -1.");
            refused(ResponseError::InvalidRequest, message)
        };
        if topic.replication_factor != -1 {
            return not_unset("replication factor");
        }
        if topic.num_partitions != -1 {
            return not_unset("numPartitions");
        }
        let mut numbers: Vec<i32> = topic.assignments.iter().map(|assigned| assigned.partition_index).collect();
        numbers.sort_unstable();
        let are_all = numbers.iter().enumerate().all(|(at, number)| *number == at as i32);
        let fault = topic.assignments.iter().find_map(|assigned| assignment_fault(shared.node(), &assigned.broker_ids));
        let gap = || (!are_all).then(|| "partitions should be a consecutive 0-based integer sequence".to_owned());
        if let Some(message) = fault.or_else(gap) {
            return refused(ResponseError::InvalidReplicaAssignment, message);
        }
        numbers.len() as i32
    };
    let without_value: Vec<&str> =
        topic.configs.iter().filter(|config| config.value.is_none()).map(|config| &*config.name).collect();
    if !without_value.is_empty() {
        let message = format!("Null value not supported for topic configs: {}", without_value.join(","));
        return refused(ResponseError::InvalidConfig, message);
    }
    let configs: BTreeMap<String, String> = topic
        .configs
        .iter()
        .filter_map(|config| Some((config.name.to_string(), config.value.as_ref()?.to_string())))
        .collect();
    let created = shared.create_topic(&topic.name, partitions, configs, validate_only);
    created.map_err(|error| explain(&topic.name, error))
}

/// What is wrong with the brokers that a partition is given to, in Apache Kafka's words.
pub(super) fn assignment_fault(node: BrokerId, brokers: &[BrokerId]) -> Option<String> {
    let what = match brokers {
        [] => "an empty replica list.".to_owned(),
        brokers if brokers.iter().any(|broker| *broker != node) => {
            let other = brokers.iter().find(|broker| **broker != node)?;
            format!("broker {}, but no such broker is registered.", other.0)
        }
        [_] => return None,
        _ => format!("the broker {} more than once.", node.0),
    };
    Some(format!("The manual partition assignment includes {what}"))
}

/// All settings of a topic.
fn settings(shared: &Shared, open: &OpenTopic) -> Vec<CreatableTopicConfigs> {
    let setting = |(setting, default, given): (&'static TopicSetting, String, Vec<Given>)| {
        let (value, source) =
            given.into_iter().next().map_or((default, Source::Default), |given| (given.value, given.source));
        CreatableTopicConfigs::default()
            .with_name(text(setting.name))
            .with_value(Some(text(value)))
            .with_config_source(source as i8)
    };
    shared.settings_of_topic(open).map(setting).collect()
}
