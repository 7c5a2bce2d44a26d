//! What happens to a record that fails: the task stops, the record is skipped, or it goes to a dead-letter topic.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tidewater_client::ClientError;
use tidewater_types::Topic;

use super::core::{Core, DropReason, NodeId, OutRecord, PartitionBy};
use crate::error::{FailureKind, TaskError};

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Stop the task.
    Fail,
    /// Drop the record and go on.
    Skip,
}

/// A handler: sees the failure, decides.
pub type Handler = Arc<dyn Fn(&TaskError) -> Decision + Send + Sync>;

/// The three handlers of an application, and the topic for dead letters.
#[derive(Clone)]
pub struct Handlers {
    /// A record that cannot be read. Default: fail.
    pub deserialization: Handler,
    /// A processor that fails. Default: fail. A store's failure is not asked about: it stops the application.
    pub processing: Handler,
    /// A record that cannot be sent. Default: fail.
    pub production: Handler,
    /// Where records go that a handler was asked about, whatever it decided. Default: nowhere.
    pub dead_letters: Option<Topic>,
}

impl Default for Handlers {
    fn default() -> Self {
        let fail: Handler = Arc::new(|_| Decision::Fail);
        Handlers { deserialization: fail.clone(), processing: fail.clone(), production: fail, dead_letters: None }
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers").field("dead_letters", &self.dead_letters).finish_non_exhaustive()
    }
}

/// The headers of a dead letter, under Kafka Streams' names.
mod header {
    pub const EXCEPTION: &str = "__streams.errors.exception";
    pub const MESSAGE: &str = "__streams.errors.message";
    pub const STACKTRACE: &str = "__streams.errors.stacktrace";
    pub const TOPIC: &str = "__streams.errors.topic";
    pub const PARTITION: &str = "__streams.errors.partition";
    pub const OFFSET: &str = "__streams.errors.offset";
}

impl Core {
    /// Asks the handler about a failure that no handler has seen.
    pub(crate) fn decide(&mut self, node: NodeId, mut error: TaskError) -> Result<(), TaskError> {
        // A failure further down came up through a user's `?`: it was decided there.
        while let FailureKind::Processing = error.kind {
            match error.source.downcast::<TaskError>() {
                Ok(inner) => error = *inner,
                Err(source) => {
                    error.source = source;
                    break;
                }
            }
        }
        if error.handled {
            return Err(error);
        }
        error.node.get_or_insert_with(|| self.nodes[node].name.clone());
        if error.place.is_none() {
            error.place = self.context.place.clone();
        }
        // A store that fails is no record's fault: what comes next would fail as well, or miss what was not stored.
        if error.kind == FailureKind::State {
            error.handled = true;
            return Err(error);
        }
        // A batch that the log refused holds more than the record at work: what failed is not one record.
        if error.kind == FailureKind::Production && error.source.is::<ClientError>() {
            error.handled = true;
            return Err(error);
        }
        let (handler, reason) = match error.kind {
            FailureKind::Deserialization => (self.handlers.deserialization.clone(), DropReason::Undecodable),
            FailureKind::Production => (self.handlers.production.clone(), DropReason::Unsent),
            _ => (self.handlers.processing.clone(), DropReason::Failed),
        };
        let decision = handler(&error);
        self.send_dead_letter(&error)?;
        match decision {
            Decision::Skip => {
                self.drop_record(reason);
                Ok(())
            }
            Decision::Fail => {
                error.handled = true;
                Err(error)
            }
        }
    }

    fn send_dead_letter(&mut self, error: &TaskError) -> Result<(), TaskError> {
        let (Some(topic), Some((key, value, own))) = (self.handlers.dead_letters.clone(), self.raw.clone()) else {
            return Ok(());
        };
        let text = |text: String| Some(Bytes::from(text));
        let mut headers = own;
        headers.add(header::EXCEPTION, text(format!("{:?}", error.kind)));
        headers.add(header::MESSAGE, text(error.source.to_string()));
        headers.add(header::STACKTRACE, text(error.to_string()));
        if let Some(place) = &error.place {
            headers.add(header::TOPIC, text(place.topic.to_string()));
            headers.add(header::PARTITION, text(place.partition.to_string()));
            headers.add(header::OFFSET, text(place.offset.to_string()));
        }
        let record = OutRecord {
            topic: &topic,
            partition: PartitionBy::Key,
            key: key.as_deref(),
            value: value.as_deref(),
            timestamp: Some(self.context.timestamp),
            headers: &headers,
        };
        self.outbox.collector.send(record).map_err(|error| TaskError::new(FailureKind::Production, error))
    }
}
