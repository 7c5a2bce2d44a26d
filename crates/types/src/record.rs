//! What flows along a topology.

use crate::{Headers, Timestamp};

/// A key, a value, when it happened, and its headers.
#[derive(Clone, Debug, PartialEq)]
pub struct Record<K, V> {
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
    /// Event time.
    pub timestamp: Timestamp,
    /// The headers.
    pub headers: Headers,
}

impl<K, V> Record<K, V> {
    /// A record without headers.
    pub fn new(key: K, value: V, timestamp: impl Into<Timestamp>) -> Self {
        Record { key, value, timestamp: timestamp.into(), headers: Headers::EMPTY }
    }

    /// The same record with another key.
    pub fn with_key<K2>(self, key: K2) -> Record<K2, V> {
        Record { key, value: self.value, timestamp: self.timestamp, headers: self.headers }
    }

    /// The same record with another value.
    pub fn with_value<V2>(self, value: V2) -> Record<K, V2> {
        Record { key: self.key, value, timestamp: self.timestamp, headers: self.headers }
    }

    /// The same record with another timestamp.
    #[must_use]
    pub fn with_timestamp(mut self, timestamp: impl Into<Timestamp>) -> Self {
        self.timestamp = timestamp.into();
        self
    }

    /// The same record with other headers.
    #[must_use]
    pub fn with_headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }
}

/// Where the record that a task is working on came from, and what it carried along.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordContext {
    /// Its topic, partition and offset; `None` in a wall-clock punctuation.
    pub place: Option<RecordPlace>,
    /// Event time of the record that is being processed.
    pub timestamp: Timestamp,
    /// Its headers.
    pub headers: Headers,
}

/// One record's address in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordPlace {
    /// The topic.
    pub topic: crate::Topic,
    /// The partition.
    pub partition: crate::Partition,
    /// The offset.
    pub offset: crate::Offset,
}

impl std::fmt::Display for RecordPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{} offset {}", self.topic, self.partition, self.offset)
    }
}
