//! ConsumerGroupHeartbeat: a member of a group of the consumer protocol (KIP-848).

use tidewater_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use tidewater_protocol::{RequestContext, ResponseError};

use super::text;
use crate::broker::Shared;
use crate::coordinator::client_of;

/// From this version on, members make their own ids.
const OWN_IDS: i16 = 1;

pub(crate) fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: &ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    if !shared.settings.groups.has_consumer_protocol {
        return ConsumerGroupHeartbeatResponse::default().with_error_code(ResponseError::UnsupportedVersion.code());
    }
    if context.version >= OWN_IDS && request.member_id.trim().is_empty() {
        return ConsumerGroupHeartbeatResponse::default()
            .with_error_code(ResponseError::InvalidRequest.code())
            .with_error_message(Some(text("MemberId can't be empty.")));
    }
    let client = client_of(context);
    let heard = shared.change_groups(|groups, outside, _| groups.consumer_heartbeat(outside, request, client));
    heard.map_err(|error| (error, error.to_string())).flatten().unwrap_or_else(|(error, message)| {
        ConsumerGroupHeartbeatResponse::default().with_error_code(error.code()).with_error_message(Some(text(message)))
    })
}
