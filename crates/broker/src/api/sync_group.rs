//! SyncGroup: answered when the leader has assigned.

use tidewater_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use tidewater_protocol::{RequestContext, ResponseError};
use tokio::sync::oneshot;

use super::answered;
use crate::broker::Shared;

/// From this version on, a member says which protocol it takes the group to have.
const NAMES_PROTOCOL: i16 = 5;

/// Has a member ask for its share. The answer comes when the leader has assigned, or never, if another request takes its place.
pub(crate) fn begin(
    shared: &Shared,
    context: &RequestContext,
    request: &SyncGroupRequest,
) -> oneshot::Receiver<SyncGroupResponse> {
    let refused = |error: ResponseError| answered(SyncGroupResponse::default().with_error_code(error.code()));
    if context.version >= NAMES_PROTOCOL && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        return refused(ResponseError::InconsistentGroupProtocol);
    }
    let (reply, answer) = oneshot::channel();
    match shared.change_groups(|groups, outside, _| groups.sync(outside, request, reply)) {
        Ok(()) => answer,
        Err(error) => refused(error),
    }
}
