//! OffsetDelete: committed offsets of a group, for topics that none of its members has subscribed to.

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use tidewater_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use tidewater_types::TopicPartition;

use crate::broker::Shared;

pub(crate) fn handle(shared: &Shared, request: &OffsetDeleteRequest) -> OffsetDeleteResponse {
    let is_there = |place: &TopicPartition| {
        shared.topic(&place.topic).is_some_and(|topic| topic.partition(place.partition).is_some())
    };
    let places = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|wanted| TopicPartition::new(&*topic.name.to_string(), wanted.partition_index))
    });
    let places: Vec<_> = places.filter(is_there).collect();
    let deleted =
        shared.change_groups(|groups, outside, _| groups.delete_offsets_of(outside, &request.group_id, &places));
    let deleted = match deleted.flatten() {
        Ok(deleted) => deleted,
        Err(error) => return OffsetDeleteResponse::default().with_error_code(error.code()),
    };
    let code_of = |place: &TopicPartition| match places.iter().position(|known| known == place) {
        Some(known) => deleted[known].map_or_else(|error| error.code(), |()| 0),
        None => ResponseError::UnknownTopicOrPartition.code(),
    };
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|wanted| {
            let place = TopicPartition::new(&*topic.name.to_string(), wanted.partition_index);
            OffsetDeleteResponsePartition::default()
                .with_partition_index(wanted.partition_index)
                .with_error_code(code_of(&place))
        });
        OffsetDeleteResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    OffsetDeleteResponse::default().with_topics(topics.collect())
}
