//! Fetch and ListOffsets.

use tidewater_protocol::Wake;
use tidewater_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use tidewater_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use tidewater_protocol::messages::{FetchRequest, ListOffsetsRequest};
use tidewater_types::{Offset, Timestamp, TopicPartition};

use super::{NativeClient, call, topic_name};
use crate::{ClientError, Consumer, Fetched};

const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

impl NativeClient {
    fn list_offset(&self, place: &TopicPartition, timestamp: i64) -> Result<Offset, ClientError> {
        let partition = ListOffsetsPartition::default().with_partition_index(place.partition).with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default().with_name(topic_name(&place.topic)).with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default().with_topics(vec![topic]);
        let response = call!(self, ListOffsets, request, "list offsets")?;
        let partition = response.topics.first().and_then(|topic| topic.partitions.first());
        let partition = partition.ok_or(ClientError::Unsupported("list offsets"))?;
        ClientError::check(partition.error_code, "listing offsets of", place, None)?;
        Ok(Offset(partition.offset))
    }
}

impl Consumer for NativeClient {
    fn fetch(&self, place: &TopicPartition, offset: Offset, max_bytes: usize) -> Result<Fetched, ClientError> {
        let partition = FetchPartition::default()
            .with_partition(place.partition)
            .with_fetch_offset(offset.0)
            .with_partition_max_bytes(i32::try_from(max_bytes).unwrap_or(i32::MAX));
        let topic = FetchTopic::default().with_topic(topic_name(&place.topic)).with_partitions(vec![partition]);
        let response = call!(self, Fetch, FetchRequest::default().with_topics(vec![topic]), "fetch")?;
        let mut topics = response.responses.into_iter();
        let partition = topics.next().and_then(|topic| topic.partitions.into_iter().next());
        let partition = partition.ok_or(ClientError::Unsupported("fetch"))?;
        ClientError::check(partition.error_code, "fetching", place, None)?;
        Ok(Fetched { records: partition.records.unwrap_or_default(), high_watermark: Offset(partition.high_watermark) })
    }

    fn earliest(&self, place: &TopicPartition) -> Result<Offset, ClientError> {
        self.list_offset(place, EARLIEST)
    }

    fn latest(&self, place: &TopicPartition) -> Result<Offset, ClientError> {
        self.list_offset(place, LATEST)
    }

    fn at_time(&self, place: &TopicPartition, time: Timestamp) -> Result<Option<Offset>, ClientError> {
        let found = self.list_offset(place, time.0.max(0))?;
        Ok((found.0 >= 0).then_some(found))
    }

    fn watch(&self, wake: &Wake) {
        self.door.watch(wake);
    }
}
