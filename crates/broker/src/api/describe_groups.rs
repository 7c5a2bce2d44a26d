//! DescribeGroups: groups of the classic protocol, with their members.

use tidewater_protocol::RequestContext;
use tidewater_protocol::messages::describe_groups_response::DescribedGroup;
use tidewater_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

use super::{GROUP_OPERATIONS, each_once, text};
use crate::broker::Shared;

/// From this version on, a group that is not there is an error.
const NOT_FOUND: i16 = 6;

pub(crate) fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: &DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let groups = shared.groups();
    let described = each_once(&request.groups).map(|name| {
        let group = groups.describe(name).unwrap_or_else(|(code, message)| {
            let absent = DescribedGroup::default().with_group_id(name.clone()).with_group_state(text("Dead"));
            match context.version {
                NOT_FOUND.. => absent.with_error_code(code.code()).with_error_message(Some(text(message))),
                _ => absent,
            }
        });
        match request.include_authorized_operations && group.error_code == 0 {
            true => group.with_authorized_operations(GROUP_OPERATIONS),
            false => group,
        }
    });
    DescribeGroupsResponse::default().with_groups(described.collect())
}
