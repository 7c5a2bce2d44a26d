//! ConsumerGroupHeartbeat: a member of a group of the consumer protocol (KIP-848).

use tidewater_protocol::RequestContext;
use tidewater_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::text;
use crate::broker::Shared;
use crate::coordinator::client_of;

pub(crate) fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: &ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    let client = client_of(context);
    let heard = shared.change_groups(|groups, outside, _| groups.consumer_heartbeat(outside, request, client));
    heard.map_err(|error| (error, error.to_string())).flatten().unwrap_or_else(|(error, message)| {
        ConsumerGroupHeartbeatResponse::default().with_error_code(error.code()).with_error_message(Some(text(message)))
    })
}
