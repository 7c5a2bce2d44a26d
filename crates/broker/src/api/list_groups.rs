//! ListGroups: all groups, or those in some states or of some types.

use tidewater_protocol::StrBytes;
use tidewater_protocol::messages::list_groups_response::ListedGroup;
use tidewater_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};

use super::text;
use crate::broker::Shared;

/// The type of groups of the classic protocol.
const CLASSIC: &str = "classic";

pub(crate) fn handle(shared: &Shared, request: &ListGroupsRequest) -> ListGroupsResponse {
    let is_wanted = |filter: &[StrBytes], what: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(what))
    };
    let groups = shared.groups();
    let listed = groups
        .list()
        .filter(|(_, _, state)| is_wanted(&request.states_filter, state) && is_wanted(&request.types_filter, CLASSIC))
        .map(|(name, protocol_type, state)| {
            ListedGroup::default()
                .with_group_id(GroupId(text(name)))
                .with_protocol_type(text(protocol_type))
                .with_group_state(text(state))
                .with_group_type(text(CLASSIC))
        });
    ListGroupsResponse::default().with_groups(listed.collect())
}
