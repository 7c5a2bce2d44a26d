//! JoinGroup: answered when all members of the group have joined.

use tidewater_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use tidewater_protocol::{RequestContext, StrBytes};
use tokio::sync::oneshot;

use crate::broker::Shared;
use crate::coordinator::client_of;

/// From this version on, the name of the protocol may be null.
const NULLABLE_PROTOCOL: i16 = 7;

/// The answer, or nothing if another request took its place.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: &JoinGroupRequest,
) -> Option<JoinGroupResponse> {
    let (reply, answer) = oneshot::channel();
    let client = client_of(context);
    let begun =
        shared.change_groups(|groups, outside, _| groups.join(outside, request, (context.version, client), reply));
    let mut response = match begun {
        Ok(()) => answer.await.ok()?,
        Err(error) => {
            JoinGroupResponse::default().with_member_id(request.member_id.clone()).with_error_code(error.code())
        }
    };
    if context.version < NULLABLE_PROTOCOL {
        response.protocol_name.get_or_insert_with(StrBytes::default);
    } else if response.error_code != 0 {
        response.protocol_name = None;
    }
    Some(response)
}
