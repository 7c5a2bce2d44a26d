//! EndTxn: a producer's transaction is committed or aborted. From version 5 on, the producer has another epoch then.

use tidewater_protocol::messages::{EndTxnRequest, EndTxnResponse, ProducerId};
use tidewater_protocol::{ControlKind, RequestContext};

use super::fenced_since;
use crate::broker::Shared;
use crate::journal::Producer;
use crate::transactions::Rules;

/// From this version on, each transaction has an epoch of its own.
const OWN_EPOCH: i16 = 5;
/// From this version on, fenced producers are told so.
const FENCED: i16 = 2;

pub(crate) fn handle(shared: &Shared, context: &RequestContext, request: &EndTxnRequest) -> EndTxnResponse {
    let producer = Producer { id: request.producer_id.0, epoch: request.producer_epoch };
    let kind = if request.committed { ControlKind::Commit } else { ControlKind::Abort };
    let rules = if context.version >= OWN_EPOCH { Rules::Second } else { Rules::First };
    let ended = shared.change_transactions(|transactions, outside| {
        transactions.end(outside, &request.transactional_id, producer, kind, rules)
    });
    let response = EndTxnResponse::default();
    match ended.flatten() {
        Err(error) => response.with_error_code(fenced_since(FENCED, context.version, error)),
        Ok(_) if rules == Rules::First => response,
        Ok(Producer { id, epoch }) => response.with_producer_id(ProducerId(id)).with_producer_epoch(epoch),
    }
}
