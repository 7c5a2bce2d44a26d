//! Metadata and CreateTopics.

use std::collections::BTreeMap;

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use tidewater_protocol::messages::metadata_request::MetadataRequestTopic;
use tidewater_protocol::messages::metadata_response::MetadataResponseTopic;
use tidewater_protocol::messages::{CreateTopicsRequest, DeleteTopicsRequest, MetadataRequest};
use tidewater_types::Partition;

use super::{NativeClient, call, text, topic_name};
use crate::{Admin, ClientError};

impl Admin for NativeClient {
    fn partitions(&self, topic: &str) -> Result<Option<Partition>, ClientError> {
        let wanted = MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
        let request = MetadataRequest::default().with_topics(Some(vec![wanted]));
        let response = call!(self, Metadata, request, "describe topics")?;
        let found = response.topics.first().ok_or(ClientError::Unsupported("describe topics"))?;
        if found.error_code == ResponseError::UnknownTopicOrPartition.code() {
            return Ok(None);
        }
        ClientError::check(found.error_code, "describing", &topic, None)?;
        Ok(Some(found.partitions.len() as Partition))
    }

    fn topics(&self) -> Result<BTreeMap<String, Partition>, ClientError> {
        let response = call!(self, Metadata, MetadataRequest::default().with_topics(None), "list topics")?;
        let named = |topic: &MetadataResponseTopic| {
            Some((topic.name.as_ref()?.to_string(), topic.partitions.len() as Partition))
        };
        Ok(response.topics.iter().filter_map(named).collect())
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
