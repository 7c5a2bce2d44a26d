//! ListGroups: all groups, or those in some states or of some types.

use tidewater_protocol::StrBytes;
use tidewater_protocol::messages::list_groups_response::ListedGroup;
use tidewater_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};

use super::text;
use crate::broker::Shared;

pub(crate) fn handle(shared: &Shared, request: &ListGroupsRequest) -> ListGroupsResponse {
    let is_wanted = |filter: &[StrBytes], what: &str| {
        // Apache Kafka knows the state NotReady as not_ready here.
        let is_it = |wanted: &StrBytes| wanted.replace('_', "").eq_ignore_ascii_case(what);
        filter.is_empty() || filter.iter().any(is_it)
    };
    let groups = shared.groups();
    let listed = groups
        .list()
        .filter(|group| is_wanted(&request.states_filter, group.state) && is_wanted(&request.types_filter, group.kind))
        .map(|group| {
            ListedGroup::default()
                .with_group_id(GroupId(text(group.name)))
                .with_protocol_type(text(group.protocol_type))
                .with_group_state(text(group.state))
                .with_group_type(text(group.kind))
        });
    ListGroupsResponse::default().with_groups(listed.collect())
}
