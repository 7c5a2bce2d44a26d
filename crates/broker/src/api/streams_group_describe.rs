//! StreamsGroupDescribe: groups of the streams protocol, with their topologies and members.

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::streams_group_describe_response::DescribedGroup;
use tidewater_protocol::messages::{StreamsGroupDescribeRequest, StreamsGroupDescribeResponse};

use super::{GROUP_OPERATIONS, each_once, text};
use crate::broker::Shared;

pub(crate) fn handle(shared: &Shared, request: &StreamsGroupDescribeRequest) -> StreamsGroupDescribeResponse {
    let groups = shared.groups();
    let described = each_once(&request.group_ids).map(|name| {
        let refused = DescribedGroup::default().with_group_id(name.clone());
        if !shared.settings.groups.has_streams_protocol {
            return refused.with_error_code(ResponseError::UnsupportedVersion.code());
        }
        if name.is_empty() {
            return refused.with_error_code(ResponseError::InvalidGroupId.code());
        }
        match groups.describe_streams(name) {
            Ok(group) if request.include_authorized_operations => group.with_authorized_operations(GROUP_OPERATIONS),
            Ok(group) => group,
            Err((error, message)) => refused.with_error_code(error.code()).with_error_message(Some(text(message))),
        }
    });
    StreamsGroupDescribeResponse::default().with_groups(described.collect())
}
