//! What a client can ask for, one file a request.

pub(crate) mod add_offsets_to_txn;
pub(crate) mod add_partitions_to_txn;
pub(crate) mod alter_configs;
pub(crate) mod alter_partition_reassignments;
pub(crate) mod api_versions;
pub(crate) mod consumer_group_describe;
pub(crate) mod consumer_group_heartbeat;
pub(crate) mod create_partitions;
pub(crate) mod create_topics;
pub(crate) mod delete_groups;
pub(crate) mod delete_records;
pub(crate) mod delete_topics;
pub(crate) mod describe_cluster;
pub(crate) mod describe_configs;
pub(crate) mod describe_groups;
pub(crate) mod describe_log_dirs;
pub(crate) mod describe_producers;
pub(crate) mod describe_quorum;
pub(crate) mod describe_topic_partitions;
pub(crate) mod describe_transactions;
pub(crate) mod elect_leaders;
pub(crate) mod end_txn;
pub(crate) mod fetch;
pub(crate) mod find_coordinator;
pub(crate) mod get_telemetry_subscriptions;
pub(crate) mod heartbeat;
pub(crate) mod incremental_alter_configs;
pub(crate) mod init_producer_id;
pub(crate) mod join_group;
pub(crate) mod leave_group;
pub(crate) mod list_config_resources;
pub(crate) mod list_groups;
pub(crate) mod list_offsets;
pub(crate) mod list_partition_reassignments;
pub(crate) mod list_transactions;
pub(crate) mod metadata;
pub(crate) mod offset_commit;
pub(crate) mod offset_delete;
pub(crate) mod offset_fetch;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod produce;
pub(crate) mod push_telemetry;
pub(crate) mod streams_group_describe;
pub(crate) mod streams_group_heartbeat;
pub(crate) mod sync_group;
pub(crate) mod txn_offset_commit;
pub(crate) mod update_features;
pub(crate) mod write_txn_markers;

use std::collections::BTreeSet;

use tidewater_log::{Isolation, LogError, ProducerError};
use tidewater_protocol::messages::TopicName;
use tidewater_protocol::{BatchError, ResponseError, StrBytes};
use tokio::sync::oneshot;

use crate::admin::{SettingChange, TopicError};
use crate::broker::Shared;
use crate::metadata::SettingsOwner;
use crate::topics::NAME_LIMIT;

/// The error code that Kafka has for a log's failure.
pub(crate) fn error_code(error: &LogError) -> i16 {
    let error = match error {
        LogError::Batch(BatchError::BadMagic(_)) => ResponseError::UnsupportedForMessageFormat,
        LogError::Batch(BatchError::BadRecords { .. }) | LogError::KeysRequired { .. } => ResponseError::InvalidRecord,
        LogError::Batch(_) => ResponseError::CorruptMessage,
        LogError::Producer(ProducerError::Fenced { .. }) => ResponseError::InvalidProducerEpoch,
        LogError::Producer(ProducerError::OutOfOrder { .. }) => ResponseError::OutOfOrderSequenceNumber,
        LogError::Producer(ProducerError::InTransaction { .. } | ProducerError::NotInTransaction { .. }) => {
            ResponseError::InvalidTxnState
        }
        LogError::Producer(ProducerError::CoordinatorFenced { .. }) => ResponseError::TransactionCoordinatorFenced,
        LogError::BatchTooLarge { .. } => ResponseError::MessageTooLarge,
        LogError::OffsetOutOfRange { .. } => ResponseError::OffsetOutOfRange,
        _ => ResponseError::KafkaStorageError,
    };
    error.code()
}

/// Whether a client knows the epoch under which a partition is led; −1 if it does not say.
pub(crate) fn check_epoch(known: i32, current: i32) -> Result<(), ResponseError> {
    match known {
        ..0 => Ok(()),
        _ if known < current => Err(ResponseError::FencedLeaderEpoch),
        _ if known > current => Err(ResponseError::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

/// `IsolationLevel`, by its number. Apache Kafka knows no better code for a level that does not exist.
pub(crate) fn isolation(level: i8) -> Result<Isolation, ResponseError> {
    match level {
        0 => Ok(Isolation::ReadUncommitted),
        1 => Ok(Isolation::ReadCommitted),
        _ => Err(ResponseError::UnknownServerError),
    }
}

/// The error of a transaction's request. Versions before `since` know no fenced producers, but producers of an earlier epoch.
pub(crate) fn fenced_since(since: i16, version: i16, error: ResponseError) -> i16 {
    match error {
        ResponseError::ProducerFenced if version < since => ResponseError::InvalidProducerEpoch.code(),
        other => other.code(),
    }
}

/// What is there more than once.
fn repeated<T: Ord + Copy>(all: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    let mut seen = BTreeSet::new();
    all.into_iter().filter(|one| !seen.insert(*one)).collect()
}

/// What is wrong with a request to change settings before any is looked at, in Apache Kafka's words: `names` are those of the settings of a
/// resource, with whether a value is missing.
fn fault_of_changes<'a>(
    is_repeated: bool,
    names: impl Iterator<Item = (&'a str, bool)> + Clone,
) -> Option<(ResponseError, String)> {
    let without_value: Vec<&str> = names.clone().filter_map(|(name, is_missing)| is_missing.then_some(name)).collect();
    let what = if is_repeated {
        "Each resource must appear at most once.".to_owned()
    } else if !repeated(names.map(|(name, _)| name)).is_empty() {
        "Error due to duplicate config keys".to_owned()
    } else if !without_value.is_empty() {
        format!("Null value not supported for : {}", without_value.join(", "))
    } else {
        return None;
    };
    Some((ResponseError::InvalidRequest, what))
}

/// Each once, so that what is named often is not told often: a response is not much longer than what there is to tell.
fn each_once<'a, T: Ord + 'a>(all: impl IntoIterator<Item = &'a T>) -> impl Iterator<Item = &'a T> {
    let mut seen = BTreeSet::new();
    all.into_iter().filter(move |one| seen.insert(*one))
}

/// What is answered at once, for one who may have to wait.
fn answered<T>(response: T) -> oneshot::Receiver<T> {
    let (reply, answer) = oneshot::channel();
    let _ = reply.send(response);
    answer
}

pub(crate) fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// `AclOperation`s on a topic, as bits: read, write, create, delete, alter, describe, describe and alter its settings.
pub(crate) const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;

/// `AclOperation`s on the cluster: create, alter, describe, act in it, describe and alter its settings, write idempotently.
pub(crate) const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

/// `AclOperation`s on a group, as bits: read, delete, describe, describe and alter its settings.
pub(crate) const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

/// `ConfigResource.Type`.
pub(crate) const TOPIC_RESOURCE: i8 = 2;
pub(crate) const BROKER_RESOURCE: i8 = 4;
pub(crate) const LOGGER_RESOURCE: i8 = 8;
pub(crate) const METRICS_RESOURCE: i8 = 16;
pub(crate) const GROUP_RESOURCE: i8 = 32;

/// Changes settings of a resource, all together or none.
pub(crate) fn alter_settings(
    shared: &Shared,
    (resource_type, name): (i8, &str),
    changes: Vec<(String, SettingChange)>,
    validate_only: bool,
) -> Result<(), (ResponseError, String)> {
    match resource_type {
        TOPIC_RESOURCE => shared.alter_settings(name, changes, validate_only).map_err(|error| explain(name, error)),
        BROKER_RESOURCE => shared.alter_dynamic(shared.broker_owner(name)?, changes, validate_only),
        GROUP_RESOURCE if name.is_empty() => {
            Err((ResponseError::InvalidRequest, "Default group resources are not allowed.".to_owned()))
        }
        GROUP_RESOURCE => shared.alter_dynamic(SettingsOwner::Group(name.to_owned()), changes, validate_only),
        METRICS_RESOURCE if name.is_empty() => {
            Err((ResponseError::InvalidRequest, "Subscription name can't be empty".to_owned()))
        }
        METRICS_RESOURCE => shared.alter_dynamic(SettingsOwner::Metrics(name.to_owned()), changes, validate_only),
        other => {
            Err((ResponseError::InvalidRequest, format!("settings of resources of type {other} cannot be changed")))
        }
    }
}

/// What is wrong with a name, in Apache Kafka's words.
fn name_error(name: &str) -> String {
    let what = match name {
        "" => "the empty string is not allowed".to_owned(),
        "." | ".." => format!("'{name}' is not allowed"),
        name if name.len() > NAME_LIMIT => {
            format!("the length of '{name}' is longer than the max allowed length {NAME_LIMIT}")
        }
        name => format!("'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"),
    };
    format!("Topic name is invalid: {what}")
}

/// The error code and message for a topic that was not made or changed.
pub(crate) fn explain(name: &str, error: TopicError) -> (ResponseError, String) {
    match error {
        TopicError::Exists => (ResponseError::TopicAlreadyExists, format!("Topic '{name}' already exists.")),
        TopicError::Unknown => (ResponseError::UnknownTopicOrPartition, format!("The topic '{name}' does not exist.")),
        TopicError::InvalidName => (ResponseError::InvalidTopicException, name_error(name)),
        TopicError::Internal => {
            (ResponseError::InvalidRequest, format!("Creation of internal topic {name} is prohibited."))
        }
        TopicError::InvalidPartitions(message) => (ResponseError::InvalidPartitions, message),
        TopicError::TooManyPartitions => {
            (ResponseError::PolicyViolation, "Excessively large number of partitions per request.".to_owned())
        }
        TopicError::InvalidAssignment(message) => (ResponseError::InvalidReplicaAssignment, message),
        TopicError::Collides(other) => {
            (ResponseError::InvalidTopicException, format!("Topic '{name}' collides with existing topic: {other}"))
        }
        TopicError::InvalidConfig(message) => (ResponseError::InvalidConfig, message),
        TopicError::Storage(message) => (ResponseError::KafkaStorageError, message),
    }
}
