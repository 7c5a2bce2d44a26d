//! Heartbeat: a member is still there.

use tidewater_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use crate::broker::Shared;

pub(crate) fn handle(shared: &Shared, request: &HeartbeatRequest) -> HeartbeatResponse {
    let heard = shared.change_groups(|groups, outside, _| groups.heartbeat(outside, request));
    HeartbeatResponse::default().with_error_code(heard.flatten().map_or_else(|error| error.code(), |()| 0))
}
