//! What a client can ask for, one file a request.

pub(crate) mod create_topics;
pub(crate) mod delete_topics;
pub(crate) mod fetch;
pub(crate) mod list_offsets;
pub(crate) mod metadata;
pub(crate) mod offset_commit;
pub(crate) mod offset_fetch;
pub(crate) mod produce;

use tidewater_log::LogError;
use tidewater_protocol::messages::TopicName;
use tidewater_protocol::{BatchError, ResponseError, StrBytes};

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
