//! Where a record stands in the log, and which task works on it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A topic's name, shared by all who mention it.
pub type Topic = Arc<str>;

/// The number of a partition within its topic.
pub type Partition = i32;

/// The place of a record in its partition, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

impl Offset {
    /// The first place of every partition.
    pub const ZERO: Offset = Offset(0);

    /// The place after this one.
    #[must_use]
    pub const fn next(self) -> Offset {
        Offset(self.0 + 1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Topic,
    /// The partition's number.
    pub partition: Partition,
}

impl TopicPartition {
    /// The partition `partition` of `topic`.
    pub fn new(topic: impl Into<Topic>, partition: Partition) -> Self {
        TopicPartition { topic: topic.into(), partition }
    }
}

/// Kafka's folder name of the partition: `topic-0`.
impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A sub-topology times a partition: the unit that is assigned, restored and committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// The number of the sub-topology, as `describe()` prints it.
    pub subtopology: u32,
    /// The partition of its input topics.
    pub partition: Partition,
}

/// Kafka Streams' form, which also names the task's state folder: `0_3`.
impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.subtopology, self.partition)
    }
}

impl FromStr for TaskId {
    type Err = InvalidTaskId;

    fn from_str(text: &str) -> Result<Self, InvalidTaskId> {
        let invalid = || InvalidTaskId(text.to_owned());
        let (subtopology, partition) = text.split_once('_').ok_or_else(invalid)?;
        Ok(TaskId {
            subtopology: subtopology.parse().map_err(|_| invalid())?,
            partition: partition.parse().map_err(|_| invalid())?,
        })
    }
}

/// A text that is no task id; ids look like `0_3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidTaskId(String);

impl fmt::Display for InvalidTaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no task id: expected SUBTOPOLOGY_PARTITION, such as 0_3", self.0)
    }
}

impl std::error::Error for InvalidTaskId {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_id_reads_what_it_prints() {
        let id = TaskId { subtopology: 2, partition: 11 };
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("2-11".parse::<TaskId>().is_err());
    }
}
