//! Offsets that a group of readers has committed.

use tidewater_client::{CommittedOffset, GroupMember, NativeClient};
use tidewater_types::{Offset, TopicPartition};

use crate::{Log, LogError};

impl Log {
    /// The offset that a group reads on from in each partition of a topic; `None` where it has committed nothing.
    ///
    /// # Errors
    /// When the topic does not exist.
    pub fn committed(&self, group: &str, topic: &str) -> Result<Vec<Option<Offset>>, LogError> {
        let places: Vec<_> =
            (0..self.partitions(topic)?).map(|partition| TopicPartition::new(topic, partition)).collect();
        let committed = NativeClient::new(self.door(), group).committed(&places)?;
        Ok(places.iter().map(|place| Some(committed.get(place)?.offset)).collect())
    }

    /// Commits offsets for a group: the offset behind the last record read, by partition.
    ///
    /// # Errors
    /// When the topic does not exist, or the disk refuses.
    pub fn commit(&self, group: &str, topic: &str, offsets: &[Offset]) -> Result<(), LogError> {
        let partitions = 0..self.partitions(topic)?;
        let committed = partitions.zip(offsets).map(|(partition, &offset)| {
            (TopicPartition::new(topic, partition), CommittedOffset { offset, metadata: String::new() })
        });
        Ok(NativeClient::new(self.door(), group).commit(&committed.collect())?)
    }
}
