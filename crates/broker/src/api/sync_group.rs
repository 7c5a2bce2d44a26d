//! SyncGroup: answered when the leader has assigned.

use tidewater_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use tidewater_protocol::{RequestContext, ResponseError};
use tokio::sync::oneshot;

use crate::broker::Shared;

/// From this version on, a member says which protocol it takes the group to have.
const NAMES_PROTOCOL: i16 = 5;

/// The answer, or nothing if another request took its place.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: &SyncGroupRequest,
) -> Option<SyncGroupResponse> {
    let refused = |error: ResponseError| SyncGroupResponse::default().with_error_code(error.code());
    if context.version >= NAMES_PROTOCOL && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        return Some(refused(ResponseError::InconsistentGroupProtocol));
    }
    let (reply, answer) = oneshot::channel();
    match shared.change_groups(|groups, outside, _| groups.sync(outside, request, reply)) {
        Ok(()) => answer.await.ok(),
        Err(error) => Some(refused(error)),
    }
}
