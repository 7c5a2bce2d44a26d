//! The errors that a program meets: building a topology, and running one.

use thiserror::Error;
use tidewater_state::StateError;
use tidewater_types::RecordPlace;

use crate::codec::CodecError;

/// Whatever a user's closure may fail with.
pub type UserError = Box<dyn std::error::Error + Send + Sync>;

/// A wrong topology, found when it is built.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// Two nodes of one name.
    #[error("two nodes are named {0:?}; give one of them another name with `.named(..)`")]
    DuplicateNode(String),
    /// Two stores of one name.
    #[error("two stores are named {0:?}; give one of them another name with `.store(..)`")]
    DuplicateStore(String),
    /// A name with characters that topics do not allow.
    #[error("{0:?} is no valid name: use letters, digits, '.', '_' and '-', at most 249 of them")]
    InvalidName(String),
    /// A window of no length, or one that does not fit its grace or advance.
    #[error("{operator}: {what}")]
    InvalidWindow {
        /// Where.
        operator: String,
        /// What is wrong, and what is allowed.
        what: String,
    },
    /// A handle of another builder was used.
    #[error("{0} belongs to another StreamsBuilder; use handles of one builder only")]
    ForeignHandle(String),
    /// An option came after the handle had been used.
    #[error("an option of {0} was set after the handle was used; set options right after the operator")]
    LateOption(String),
    /// An option that the operator does not have.
    #[error("{operator} takes no {option}; take it away, or put it on an operator that has one")]
    UnknownOption {
        /// The operator.
        operator: String,
        /// The option.
        option: &'static str,
    },
    /// One topic is read with two types, or with different sets of topics.
    #[error("topic {topic:?} is read twice, {how}; read it once and use the stream twice")]
    SourceConflict {
        /// The topic.
        topic: String,
        /// In which way the two differ.
        how: &'static str,
    },
    /// Topics that are joined have different numbers of partitions.
    #[error(
        "{left} has {left_partitions} partitions and {right} has {right_partitions}, but they are joined; give them one number with `.partitions(..)`"
    )]
    NotCopartitioned {
        /// One topic.
        left: String,
        /// How many it has.
        left_partitions: u32,
        /// The other.
        right: String,
        /// How many that has.
        right_partitions: u32,
    },
    /// A setting has a value that is not allowed.
    #[error("setting {name}: {what}")]
    InvalidSetting {
        /// The setting's name.
        name: String,
        /// What is wrong, and what is allowed.
        what: String,
    },
    /// Stores or repartition topics have generated names, and the settings want them named.
    #[error(
        "{} have generated names, which change with the program; name them with `.store(..)` or, for repartition topics, `.named(..)`",
        .0.join(", ")
    )]
    Unnamed(Vec<String>),
    /// Something is used that the graph does not hold.
    #[error("{0}")]
    Misuse(String),
    /// A topology without a source.
    #[error("the topology reads nothing; begin with `builder.stream(..)` or `builder.table(..)`")]
    Empty,
}

/// What kind of failure stopped a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// A record's bytes are not of the source's type.
    Deserialization,
    /// A value has no bytes.
    Serialization,
    /// A record has no usable timestamp.
    Timestamp,
    /// A user's closure or processor failed.
    Processing,
    /// A user's closure or processor panicked.
    Panic,
    /// A store failed.
    State,
    /// A record could not be sent.
    Production,
}

/// A failure while a task runs.
#[derive(Debug, Error)]
#[error("{}{}: {source}{}", self.what(), self.at(), self.remedy())]
pub struct TaskError {
    /// The kind of failure.
    pub kind: FailureKind,
    /// The node that was at work.
    pub node: Option<String>,
    /// The record that was worked on.
    pub place: Option<RecordPlace>,
    /// What went wrong.
    pub source: UserError,
    /// Whether a handler has decided on it already.
    pub(crate) handled: bool,
}

impl TaskError {
    pub(crate) fn new(kind: FailureKind, source: impl Into<UserError>) -> Self {
        TaskError { kind, node: None, place: None, source: source.into(), handled: false }
    }

    fn what(&self) -> &'static str {
        match self.kind {
            FailureKind::Deserialization => "a record cannot be read",
            FailureKind::Serialization => "a record cannot be written",
            FailureKind::Timestamp => "a record has no usable timestamp",
            FailureKind::Processing => "processing failed",
            FailureKind::Panic => "processing panicked",
            FailureKind::State => "a store failed",
            FailureKind::Production => "a record cannot be sent",
        }
    }

    fn remedy(&self) -> &'static str {
        match self.kind {
            FailureKind::Deserialization => {
                ". Read the topic by its own type, or let `Handlers::deserialization` skip such records"
            }
            FailureKind::Timestamp => ". Take another `TimestampExtractor`, one that skips such records or dates them",
            _ => "",
        }
    }

    fn at(&self) -> String {
        let node = self.node.as_ref().map(|node| format!(" in {node}")).unwrap_or_default();
        let place = self.place.as_ref().map(|place| format!(" at {place}")).unwrap_or_default();
        node + &place
    }
}

impl From<StateError> for TaskError {
    fn from(error: StateError) -> Self {
        TaskError::new(FailureKind::State, error)
    }
}

/// A value that could not be written.
impl From<CodecError> for TaskError {
    fn from(error: CodecError) -> Self {
        TaskError::new(FailureKind::Serialization, error)
    }
}
