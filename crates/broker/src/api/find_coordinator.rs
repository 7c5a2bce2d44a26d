//! FindCoordinator: the one node, for groups and for transactions.

use tidewater_protocol::messages::find_coordinator_response::Coordinator;
use tidewater_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use tidewater_protocol::{RequestContext, ResponseError, StrBytes};

use super::text;
use crate::broker::Shared;

/// `CoordinatorType`.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
/// From this version on, a response has a message.
const MESSAGES: i16 = 1;
/// From this version on, a request has several keys.
const SEVERAL_KEYS: i16 = 4;

pub(crate) fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: &FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    if context.version >= SEVERAL_KEYS {
        let found = request.coordinator_keys.iter().map(|key| find(shared, context, request.key_type, key));
        return FindCoordinatorResponse::default().with_coordinators(found.collect());
    }
    let found = find(shared, context, request.key_type, &request.key);
    // Apache Kafka says so.
    let message = found.error_message.filter(|message| !message.is_empty()).unwrap_or_else(|| text("NONE"));
    FindCoordinatorResponse::default()
        .with_error_code(found.error_code)
        .with_error_message(Some(message).filter(|_| context.version >= MESSAGES))
        .with_node_id(found.node_id)
        .with_host(found.host)
        .with_port(found.port)
}

fn find(shared: &Shared, context: &RequestContext, key_type: i8, key: &StrBytes) -> Coordinator {
    let coordinator = Coordinator::default().with_key(key.clone());
    let refused = |code: ResponseError| {
        let none = coordinator.clone().with_node_id(BrokerId(-1)).with_port(-1);
        none.with_error_code(code.code()).with_error_message(Some(text(code.to_string())))
    };
    let topic = match key_type {
        GROUP => shared.offsets_topic(),
        TRANSACTION => shared.transactions_topic(),
        _ => return refused(ResponseError::InvalidRequest),
    };
    match (topic, shared.endpoint(context)) {
        (Ok(_), Some(endpoint)) => {
            coordinator.with_node_id(shared.node()).with_host(text(endpoint.host)).with_port(i32::from(endpoint.port))
        }
        _ => refused(ResponseError::CoordinatorNotAvailable),
    }
}
