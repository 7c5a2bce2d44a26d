//! InitProducerId: a number of its own for an idempotent producer, and an epoch for one with transactions.

use tidewater_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};
use tidewater_protocol::{RequestContext, ResponseError};

use super::fenced_since;
use crate::broker::Shared;
use crate::journal::Producer;

/// None.
const NO_PRODUCER: Producer = Producer { id: -1, epoch: -1 };
/// From this version on, fenced producers are told so.
const FENCED: i16 = 4;

pub(crate) fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: &InitProducerIdRequest,
) -> InitProducerIdResponse {
    let (code, producer) = match begin(shared, request) {
        Ok(producer) => (0, producer),
        Err(error) => (fenced_since(FENCED, context.version, error), NO_PRODUCER),
    };
    InitProducerIdResponse::default()
        .with_error_code(code)
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch)
}

fn begin(shared: &Shared, request: &InitProducerIdRequest) -> Result<Producer, ResponseError> {
    let given = Producer { id: request.producer_id.0, epoch: request.producer_epoch };
    let expected = match given {
        NO_PRODUCER => None,
        Producer { id: -1, .. } | Producer { epoch: -1, .. } => return Err(ResponseError::InvalidRequest),
        expected => Some(expected),
    };
    match &request.transactional_id {
        None => shared.new_producer_id().map(|id| Producer { id, epoch: 0 }),
        Some(id) => shared.change_transactions(|transactions, outside| {
            transactions.begin(outside, id, request.transaction_timeout_ms, expected)
        })?,
    }
}
