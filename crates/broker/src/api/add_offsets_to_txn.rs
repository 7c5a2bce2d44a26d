//! AddOffsetsToTxn: a producer's transaction will commit offsets of a group, which are in one partition of the groups' topic.

use tidewater_protocol::RequestContext;
use tidewater_protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use tidewater_types::TopicPartition;

use super::fenced_since;
use crate::broker::Shared;
use crate::groups::OFFSETS_TOPIC;
use crate::journal::{Producer, partition_of};
use crate::transactions::Rules;

/// From this version on, fenced producers are told so.
const FENCED: i16 = 2;

pub(crate) fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: &AddOffsetsToTxnRequest,
) -> AddOffsetsToTxnResponse {
    let producer = Producer { id: request.producer_id.0, epoch: request.producer_epoch };
    let added = shared.change_transactions(|transactions, outside| {
        let place = offsets_place(shared, &request.group_id);
        transactions.add(outside, &request.transactional_id, producer, &[place], Rules::First)
    });
    let code = added.flatten().map_or_else(|error| fenced_since(FENCED, context.version, error), |()| 0);
    AddOffsetsToTxnResponse::default().with_error_code(code)
}

/// The partition that has a group's offsets.
pub(super) fn offsets_place(shared: &Shared, group: &str) -> TopicPartition {
    let partitions = shared.topic(OFFSETS_TOPIC).map(|topic| topic.record.partitions);
    TopicPartition::new(OFFSETS_TOPIC, partition_of(group, partitions.unwrap_or(shared.settings.offsets_partitions)))
}
