//! Produce.

use bytes::Bytes;
use tidewater_protocol::messages::ProduceRequest;
use tidewater_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use tidewater_types::{Offset, TopicPartition};

use super::{NativeClient, call, topic_name};
use crate::{ClientError, Producer};

/// All replicas; with one node, that one.
const ACKS_ALL: i16 = -1;

impl Producer for NativeClient {
    fn send(&self, place: &TopicPartition, batch: Bytes) -> Result<Offset, ClientError> {
        let data = PartitionProduceData::default().with_index(place.partition).with_records(Some(batch));
        let topic = TopicProduceData::default().with_name(topic_name(&place.topic)).with_partition_data(vec![data]);
        let request = ProduceRequest::default().with_acks(ACKS_ALL).with_topic_data(vec![topic]);
        let response = call!(self, Produce, request, "produce")?;
        let partition = response.responses.first().and_then(|topic| topic.partition_responses.first());
        let partition = partition.ok_or(ClientError::Unsupported("produce"))?;
        let message = partition.error_message.as_ref().map(ToString::to_string);
        ClientError::check(partition.error_code, "writing to", place, message)?;
        Ok(Offset(partition.base_offset))
    }
}
