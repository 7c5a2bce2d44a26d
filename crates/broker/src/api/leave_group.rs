//! LeaveGroup: members leave. Up to version 2 a request has one, and the response its error at the top.

use tidewater_protocol::RequestContext;
use tidewater_protocol::messages::leave_group_request::MemberIdentity;
use tidewater_protocol::messages::leave_group_response::MemberResponse;
use tidewater_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use crate::broker::Shared;

/// From this version on, a request has several members.
const SEVERAL_MEMBERS: i16 = 3;

pub(crate) fn handle(shared: &Shared, context: &RequestContext, request: &LeaveGroupRequest) -> LeaveGroupResponse {
    let is_one = context.version < SEVERAL_MEMBERS;
    let one = [MemberIdentity::default().with_member_id(request.member_id.clone())];
    let leaving = if is_one { &one[..] } else { &request.members[..] };
    let left = shared.change_groups(|groups, outside, _| groups.leave(outside, &request.group_id, leaving)).flatten();
    let left = match left {
        Ok(left) => left,
        Err(error) => return LeaveGroupResponse::default().with_error_code(error.code()),
    };
    let mut codes = left.into_iter().map(|left| left.map_or_else(|error| error.code(), |()| 0));
    if is_one {
        return LeaveGroupResponse::default().with_error_code(codes.next().unwrap_or(0));
    }
    let members = leaving.iter().zip(codes).map(|(member, code)| {
        MemberResponse::default()
            .with_member_id(member.member_id.clone())
            .with_group_instance_id(member.group_instance_id.clone())
            .with_error_code(code)
    });
    LeaveGroupResponse::default().with_members(members.collect())
}
