//! ListOffsets: the first offset, the end, the record with the largest timestamp, or the first record of at least a time.

use std::collections::BTreeSet;

use tidewater_log::{Isolation, TimeSearch};
use tidewater_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use tidewater_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use tidewater_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use tidewater_protocol::{RequestContext, ResponseError};
use tidewater_types::Timestamp;

use super::{check_epoch, error_code, isolation, repeated};
use crate::broker::Shared;
use crate::topics::SharedPartition;

/// From this version on, a response has the epoch of a partition's leader.
const EPOCHS: i16 = 4;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
/// The first offset that is not in a tier of slower storage alone; there is none here.
const EARLIEST_LOCAL: i64 = -4;
/// The last offset in such a tier.
const LATEST_TIERED: i64 = -5;
/// The first offset that waits to be moved there.
const EARLIEST_PENDING_UPLOAD: i64 = -6;

pub(crate) fn handle(shared: &Shared, context: &RequestContext, request: &ListOffsetsRequest) -> ListOffsetsResponse {
    let isolation = isolation(request.isolation_level);
    let mut topics = Vec::with_capacity(request.topics.len());
    let places = |topic: &'_ ListOffsetsTopic| {
        topic.partitions.iter().map(|wanted| (topic.name.clone(), wanted.partition_index)).collect::<Vec<_>>()
    };
    let places: Vec<_> = request.topics.iter().flat_map(places).collect();
    let repeated = repeated(&places);
    let mut told = BTreeSet::new();
    for topic in &request.topics {
        let open = shared.topic(&topic.name);
        let partitions = topic
            .partitions
            .iter()
            .filter(|wanted| told.insert((&topic.name, wanted.partition_index)))
            .map(|wanted| {
                let response = ListOffsetsPartitionResponse::default()
                    .with_partition_index(wanted.partition_index)
                    .with_timestamp(-1)
                    .with_offset(-1)
                    .with_leader_epoch(-1);
                if repeated.contains(&(topic.name.clone(), wanted.partition_index)) {
                    return response.with_error_code(ResponseError::InvalidRequest.code());
                }
                if context.version < known_since(wanted.timestamp) || known_since(wanted.timestamp) == i16::MAX {
                    return response.with_error_code(ResponseError::UnsupportedVersion.code());
                }
                let isolation = match isolation {
                    Ok(isolation) => isolation,
                    Err(error) => return response.with_error_code(error.code()),
                };
                let found = match open.as_ref().and_then(|open| open.partition(wanted.partition_index)) {
                    Some(partition) => find(partition, wanted, isolation, response),
                    None => response.with_error_code(ResponseError::UnknownTopicOrPartition.code()),
                };
                if context.version >= EPOCHS { found } else { found.with_leader_epoch(-1) }
            })
            .collect();
        topics.push(ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions));
    }
    ListOffsetsResponse::default().with_topics(topics)
}

/// The first version in which a special offset may be asked for.
fn known_since(timestamp: i64) -> i16 {
    match timestamp {
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        LATEST | EARLIEST | 0.. => 0,
        // No version knows them.
        _ => i16::MAX,
    }
}

fn find(
    partition: &SharedPartition,
    wanted: &ListOffsetsPartition,
    isolation: Isolation,
    response: ListOffsetsPartitionResponse,
) -> ListOffsetsPartitionResponse {
    let log = partition.lock();
    if let Err(error) = check_epoch(wanted.current_leader_epoch, log.leader_epoch()) {
        return response.with_error_code(error.code());
    }
    let epoch = log.leader_epoch();
    let time = match wanted.timestamp {
        LATEST => return response.with_offset(log.readable_to(isolation).0).with_leader_epoch(epoch),
        EARLIEST | EARLIEST_LOCAL => return response.with_offset(log.log_start().0).with_leader_epoch(epoch),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => return response,
        MAX_TIMESTAMP if log.max_timestamp() == Timestamp::NONE => return response,
        MAX_TIMESTAMP => log.max_timestamp(),
        time => Timestamp(time),
    };
    drop(log);
    match TimeSearch::on(|from| partition.lock().time_search(from, time, isolation)) {
        Ok(Some(found)) => {
            response.with_offset(found.offset.0).with_timestamp(found.timestamp.0).with_leader_epoch(epoch)
        }
        Ok(None) => response,
        Err(error) => response.with_error_code(error_code(&error)),
    }
}
