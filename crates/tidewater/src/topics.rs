//! Topics of a log: made, looked at, changed, deleted.

use std::collections::BTreeMap;

use tidewater_client::{Admin, Consumer};
use tidewater_streams::{Field, Topic};
use tidewater_types::{Offset, Partition, TopicPartition};

use crate::{Log, LogError};

impl Log {
    /// Makes a topic that keeps its records for ever. One that exists already is no error.
    ///
    /// # Errors
    /// When the name or the number of partitions is not allowed.
    pub fn create_topic<K: Field, V: Field>(&self, topic: &Topic<K, V>, partitions: Partition) -> Result<(), LogError> {
        self.create_topic_with(topic, partitions, &[("retention.ms", "-1")])
    }

    /// Makes a topic with settings of its own, by Kafka's names.
    ///
    /// # Errors
    /// When the name, the number of partitions or a setting is not allowed.
    pub fn create_topic_with<K: Field, V: Field>(
        &self,
        topic: &Topic<K, V>,
        partitions: Partition,
        settings: &[(&str, &str)],
    ) -> Result<(), LogError> {
        self.create_topic_named(topic.name(), partitions, settings)
    }

    /// Makes a topic of any types.
    ///
    /// # Errors
    /// When the name, the number of partitions or a setting is not allowed.
    pub fn create_topic_named(
        &self,
        topic: &str,
        partitions: Partition,
        settings: &[(&str, &str)],
    ) -> Result<(), LogError> {
        let settings: BTreeMap<String, String> =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Ok(self.client.create_topic(topic, partitions, &settings)?)
    }

    /// The settings that a topic has of its own, by Kafka's names; all others have Kafka's defaults.
    ///
    /// # Errors
    /// When the topic does not exist.
    pub fn topic_settings(&self, topic: &str) -> Result<BTreeMap<String, String>, LogError> {
        self.partitions(topic)?;
        Ok(self.client.settings(topic)?)
    }

    /// Changes settings of a topic, all together or none; `None` puts one back to its default. They hold at once.
    ///
    /// # Errors
    /// When the topic does not exist, or a name or value is not allowed.
    pub fn alter_topic(&self, topic: &str, changes: &[(&str, Option<&str>)]) -> Result<(), LogError> {
        self.partitions(topic)?;
        let changes = changes.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned)));
        Ok(self.client.alter_settings(topic, &changes.collect())?)
    }

    /// Gives a topic more partitions, so that it has `count` of them. Records stay where they are: those of one key may
    /// be in another partition from now on, so an application that groups by key should not be running on it.
    ///
    /// # Errors
    /// When the topic does not exist, or has as many already.
    pub fn add_partitions(&self, topic: &str, count: Partition) -> Result<(), LogError> {
        self.partitions(topic)?;
        Ok(self.client.add_partitions(topic, count)?)
    }

    /// All topics with their partitions, by name.
    ///
    /// # Errors
    /// When the log refuses.
    pub fn topics(&self) -> Result<BTreeMap<String, Partition>, LogError> {
        Ok(self.client.topics()?)
    }

    /// Deletes a topic with all its records.
    ///
    /// # Errors
    /// When there is no such topic, or the disk refuses.
    pub fn delete_topic(&self, topic: &str) -> Result<(), LogError> {
        self.partitions(topic)?;
        Ok(self.client.delete_topic(topic)?)
    }

    /// The first offset of each partition.
    ///
    /// # Errors
    /// When the topic does not exist.
    pub fn start_offsets(&self, topic: &str) -> Result<Vec<Offset>, LogError> {
        let partitions = 0..self.partitions(topic)?;
        Ok(partitions
            .map(|partition| self.client.earliest(&TopicPartition::new(topic, partition)))
            .collect::<Result<_, _>>()?)
    }

    /// The offset behind the last record of each partition.
    ///
    /// # Errors
    /// When the topic does not exist.
    pub fn end_offsets(&self, topic: &str) -> Result<Vec<Offset>, LogError> {
        let partitions = 0..self.partitions(topic)?;
        Ok(partitions
            .map(|partition| self.client.latest(&TopicPartition::new(topic, partition)))
            .collect::<Result<_, _>>()?)
    }
}
