//! InitProducerId: a number of its own for an idempotent producer. Those of transactions are not served yet.

use std::sync::PoisonError;

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use crate::broker::Shared;

/// None.
const NO_PRODUCER: ProducerId = ProducerId(-1);

pub(crate) fn handle(shared: &Shared, request: &InitProducerIdRequest) -> InitProducerIdResponse {
    let refused = |code: ResponseError| {
        InitProducerIdResponse::default()
            .with_error_code(code.code())
            .with_producer_id(NO_PRODUCER)
            .with_producer_epoch(-1)
    };
    match &request.transactional_id {
        None => {}
        Some(id) if id.is_empty() => return refused(ResponseError::InvalidRequest),
        Some(_) => return refused(ResponseError::CoordinatorNotAvailable),
    }
    let mut metadata = shared.metadata.lock().unwrap_or_else(PoisonError::into_inner);
    match metadata.next_producer_id(shared.now()) {
        Ok(id) => InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(0),
        Err(error) => {
            tracing::error!(%error, "a producer cannot be given a number");
            refused(ResponseError::KafkaStorageError)
        }
    }
}
