//! OffsetForLeaderEpoch: where an epoch ended. There is one, and it lasts.

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use tidewater_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::check_epoch;
use crate::broker::Shared;

/// `UNDEFINED_EPOCH`, and the offset that goes with it.
const UNDEFINED: i32 = -1;

pub(crate) fn handle(shared: &Shared, request: &OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.iter().map(|topic| {
        let open = shared.topic(&topic.topic);
        let partitions = topic.partitions.iter().map(|wanted| {
            let end = EpochEndOffset::default()
                .with_partition(wanted.partition)
                .with_leader_epoch(UNDEFINED)
                .with_end_offset(UNDEFINED.into());
            let Some(partition) = open.as_ref().and_then(|open| open.partition(wanted.partition)) else {
                return end.with_error_code(ResponseError::UnknownTopicOrPartition.code());
            };
            let log = partition.lock();
            match check_epoch(wanted.current_leader_epoch, log.leader_epoch()) {
                Err(error) => end.with_error_code(error.code()),
                Ok(()) if wanted.leader_epoch != log.leader_epoch() => end,
                Ok(()) => end.with_leader_epoch(log.leader_epoch()).with_end_offset(log.high_watermark().0),
            }
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult::default().with_topic(topic.topic.clone()).with_partitions(partitions)
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}
