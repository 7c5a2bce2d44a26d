//! ConsumerGroupDescribe: groups of the consumer protocol, with their members.

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::consumer_group_describe_response::DescribedGroup;
use tidewater_protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};

use super::{GROUP_OPERATIONS, each_once, text};
use crate::broker::Shared;
use crate::coordinator::TopicsNow;

pub(crate) fn handle(shared: &Shared, request: &ConsumerGroupDescribeRequest) -> ConsumerGroupDescribeResponse {
    let topics = shared.topics();
    let groups = shared.groups();
    let described = each_once(&request.group_ids).map(|name| {
        if !shared.settings.groups.has_consumer_protocol {
            let code = ResponseError::UnsupportedVersion.code();
            return DescribedGroup::default()
                .with_group_id(name.clone())
                .with_error_code(code)
                .with_error_message(None);
        }
        if name.is_empty() {
            let code = ResponseError::InvalidGroupId.code();
            return DescribedGroup::default()
                .with_group_id(name.clone())
                .with_error_code(code)
                .with_error_message(None);
        }
        match groups.describe_consumer(name, &TopicsNow { shared, topics: &topics }, &shared.settings.groups.assignors)
        {
            Ok(group) if request.include_authorized_operations => group.with_authorized_operations(GROUP_OPERATIONS),
            Ok(group) => group,
            Err((error, message)) => DescribedGroup::default()
                .with_group_id(name.clone())
                .with_error_code(error.code())
                .with_error_message(Some(text(message))),
        }
    });
    ConsumerGroupDescribeResponse::default().with_groups(described.collect())
}
