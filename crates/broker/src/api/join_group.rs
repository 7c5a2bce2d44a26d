//! JoinGroup: answered when all members of the group have joined.

use tidewater_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use tidewater_protocol::{RequestContext, StrBytes};
use tokio::sync::oneshot;

use super::answered;
use crate::broker::Shared;
use crate::coordinator::client_of;

/// From this version on, the name of the protocol may be null.
const NULLABLE_PROTOCOL: i16 = 7;

/// Has a member join. The answer comes when all have joined, or never, if another request takes its place; it is completed by [`finish`].
pub(crate) fn begin(
    shared: &Shared,
    context: &RequestContext,
    request: &JoinGroupRequest,
) -> oneshot::Receiver<JoinGroupResponse> {
    let (reply, answer) = oneshot::channel();
    let client = client_of(context);
    match shared.change_groups(|groups, outside, _| groups.join(outside, request, (context.version, client), reply)) {
        Ok(()) => answer,
        Err(error) => answered(
            JoinGroupResponse::default().with_member_id(request.member_id.clone()).with_error_code(error.code()),
        ),
    }
}

/// An answer as its version has it.
pub(crate) fn finish(context: &RequestContext, mut response: JoinGroupResponse) -> JoinGroupResponse {
    if context.version < NULLABLE_PROTOCOL {
        response.protocol_name.get_or_insert_with(StrBytes::default);
    } else if response.error_code != 0 {
        response.protocol_name = None;
    }
    response
}
