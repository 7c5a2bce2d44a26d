//! What a client can ask for, one file a request.

pub(crate) mod create_partitions;
pub(crate) mod create_topics;
pub(crate) mod delete_records;
pub(crate) mod delete_topics;
pub(crate) mod describe_configs;
pub(crate) mod fetch;
pub(crate) mod incremental_alter_configs;
pub(crate) mod list_offsets;
pub(crate) mod metadata;
pub(crate) mod offset_commit;
pub(crate) mod offset_fetch;
pub(crate) mod produce;

use tidewater_log::LogError;
use tidewater_protocol::messages::TopicName;
use tidewater_protocol::{BatchError, ResponseError, StrBytes};

use crate::admin::TopicError;

/// The error code that Kafka has for a log's failure.
pub(crate) fn error_code(error: &LogError) -> i16 {
    let error = match error {
        LogError::Batch(BatchError::BadMagic(_)) => ResponseError::UnsupportedForMessageFormat,
        LogError::Batch(BatchError::BadRecords { .. }) | LogError::KeyRequired => ResponseError::InvalidRecord,
        LogError::Batch(_) => ResponseError::CorruptMessage,
        LogError::BatchTooLarge { .. } => ResponseError::MessageTooLarge,
        LogError::OffsetOutOfRange { .. } => ResponseError::OffsetOutOfRange,
        _ => ResponseError::KafkaStorageError,
    };
    error.code()
}

pub(crate) fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// `ConfigResource.Type`: a topic.
pub(crate) const TOPIC_RESOURCE: i8 = 2;

/// The error code and message for a topic that was not made or changed.
pub(crate) fn explain(name: &str, error: TopicError) -> (ResponseError, String) {
    match error {
        TopicError::Exists => (ResponseError::TopicAlreadyExists, format!("Topic '{name}' already exists.")),
        TopicError::Unknown => (ResponseError::UnknownTopicOrPartition, format!("Topic '{name}' does not exist.")),
        TopicError::InvalidName => (
            ResponseError::InvalidTopicException,
            format!("'{name}' is no topic name: use letters, digits, '.', '_' and '-', at most 249 of them"),
        ),
        TopicError::InvalidPartitions(message) => (ResponseError::InvalidPartitions, message),
        TopicError::InvalidConfig(message) => (ResponseError::InvalidConfig, message),
        TopicError::Storage(message) => (ResponseError::KafkaStorageError, message),
    }
}
