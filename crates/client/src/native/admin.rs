//! What concerns topics: Metadata, CreateTopics, CreatePartitions, DeleteTopics, and their settings.

use std::collections::BTreeMap;

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use tidewater_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use tidewater_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use tidewater_protocol::messages::describe_configs_request::DescribeConfigsResource;
use tidewater_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use tidewater_protocol::messages::metadata_request::MetadataRequestTopic;
use tidewater_protocol::messages::metadata_response::MetadataResponseTopic;
use tidewater_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    IncrementalAlterConfigsRequest, MetadataRequest,
};
use tidewater_types::{Offset, Partition, TopicPartition};

use super::{NativeClient, call, text, topic_name};
use crate::{Admin, ClientError};

/// `ConfigResource.Type`: a topic.
const TOPIC: i8 = 2;
/// `ConfigSource.DYNAMIC_TOPIC_CONFIG`: set for this topic.
const OF_THE_TOPIC: i8 = 1;
/// `AlterConfigOp.OpType`.
const SET: i8 = 0;
const DELETE: i8 = 1;

impl Admin for NativeClient {
    fn partitions(&self, topic: &str) -> Result<Option<Partition>, ClientError> {
        let wanted = MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
        let request = MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(false);
        let response = call!(self, Metadata, request, "describe topics")?;
        let found = response.topics.first().ok_or(ClientError::Unsupported("describe topics"))?;
        if found.error_code == ResponseError::UnknownTopicOrPartition.code() {
            return Ok(None);
        }
        ClientError::check(found.error_code, "describing", &topic, None)?;
        Ok(Some(found.partitions.len() as Partition))
    }

    fn topics(&self) -> Result<BTreeMap<String, Partition>, ClientError> {
        let response = call!(
            self,
            Metadata,
            MetadataRequest::default().with_topics(None).with_allow_auto_topic_creation(false),
            "list topics"
        )?;
        let named = |topic: &MetadataResponseTopic| {
            Some((topic.name.as_ref()?.to_string(), topic.partitions.len() as Partition))
        };
        Ok(response.topics.iter().filter_map(named).collect())
    }

    fn settings(&self, topic: &str) -> Result<BTreeMap<String, String>, ClientError> {
        let wanted = DescribeConfigsResource::default().with_resource_type(TOPIC).with_resource_name(text(topic));
        let request = DescribeConfigsRequest::default().with_resources(vec![wanted.with_configuration_keys(None)]);
        let response = call!(self, DescribeConfigs, request, "describe settings")?;
        let described = response.results.into_iter().next().ok_or(ClientError::Unsupported("describe settings"))?;
        let message = described.error_message.as_ref().map(ToString::to_string);
        ClientError::check(described.error_code, "describing the settings of", &topic, message)?;
        let own = described.configs.into_iter().filter(|config| config.config_source == OF_THE_TOPIC);
        Ok(own.filter_map(|config| Some((config.name.to_string(), config.value?.to_string()))).collect())
    }

    fn alter_settings(&self, topic: &str, changes: &BTreeMap<String, Option<String>>) -> Result<(), ClientError> {
        let change = |(name, value): (&String, &Option<String>)| {
            AlterableConfig::default()
                .with_name(text(name))
                .with_config_operation(if value.is_some() { SET } else { DELETE })
                .with_value(value.as_deref().map(text))
        };
        let altered = AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(topic))
            .with_configs(changes.iter().map(change).collect());
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![altered]);
        let response = call!(self, IncrementalAlterConfigs, request, "change settings")?;
        let altered = response.responses.first().ok_or(ClientError::Unsupported("change settings"))?;
        let message = altered.error_message.as_ref().map(ToString::to_string);
        ClientError::check(altered.error_code, "changing the settings of", &topic, message)
    }

    fn add_partitions(&self, topic: &str, count: Partition) -> Result<(), ClientError> {
        let grown = CreatePartitionsTopic::default().with_name(topic_name(topic)).with_count(count);
        let request = CreatePartitionsRequest::default().with_topics(vec![grown]);
        let response = call!(self, CreatePartitions, request, "add partitions")?;
        let grown = response.results.first().ok_or(ClientError::Unsupported("add partitions"))?;
        let message = grown.error_message.as_ref().map(ToString::to_string);
        ClientError::check(grown.error_code, "adding partitions to", &topic, message)
    }

    fn delete_records(&self, before: &BTreeMap<TopicPartition, Offset>) -> Result<(), ClientError> {
        let mut topics: BTreeMap<&str, Vec<DeleteRecordsPartition>> = BTreeMap::new();
        for (place, offset) in before {
            let partition =
                DeleteRecordsPartition::default().with_partition_index(place.partition).with_offset(offset.0);
            topics.entry(&place.topic).or_default().push(partition);
        }
        let topic = |(name, partitions): (&str, Vec<_>)| {
            DeleteRecordsTopic::default().with_name(topic_name(name)).with_partitions(partitions)
        };
        let request = DeleteRecordsRequest::default().with_topics(topics.into_iter().map(topic).collect());
        let response = call!(self, DeleteRecords, request, "delete records")?;
        for topic in &response.topics {
            for partition in &topic.partitions {
                let place = TopicPartition::new(&*topic.name.to_string(), partition.partition_index);
                ClientError::check(partition.error_code, "deleting records of", &place, None)?;
            }
        }
        Ok(())
    }

    fn delete_topic(&self, topic: &str) -> Result<(), ClientError> {
        let request = DeleteTopicsRequest::default().with_topic_names(vec![topic_name(topic)]);
        let response = call!(self, DeleteTopics, request, "delete topics")?;
        let deleted = response.responses.first().ok_or(ClientError::Unsupported("delete topics"))?;
        let message = deleted.error_message.as_ref().map(ToString::to_string);
        ClientError::check(deleted.error_code, "deleting", &topic, message)
    }

    fn create_topic(
        &self,
        topic: &str,
        partitions: Partition,
        configs: &BTreeMap<String, String>,
    ) -> Result<(), ClientError> {
        let config = |(name, value): (&String, &String)| {
            CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
        };
        let wanted = CreatableTopic::default()
            .with_name(topic_name(topic))
            .with_num_partitions(partitions)
            .with_replication_factor(-1)
            .with_configs(configs.iter().map(config).collect());
        let request = CreateTopicsRequest::default().with_topics(vec![wanted]);
        let response = call!(self, CreateTopics, request, "create topics")?;
        let created = response.topics.first().ok_or(ClientError::Unsupported("create topics"))?;
        if created.error_code == ResponseError::TopicAlreadyExists.code() {
            return Ok(());
        }
        let message = created.error_message.as_ref().map(ToString::to_string);
        ClientError::check(created.error_code, "creating", &topic, message)
    }
}
