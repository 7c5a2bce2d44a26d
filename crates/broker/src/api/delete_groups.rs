//! DeleteGroups: groups without members, with their offsets.

use tidewater_protocol::messages::delete_groups_response::DeletableGroupResult;
use tidewater_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use crate::broker::Shared;

pub(crate) fn handle(shared: &Shared, request: &DeleteGroupsRequest) -> DeleteGroupsResponse {
    let results = request.groups_names.iter().map(|name| {
        let deleted = shared.change_groups(|groups, outside, _| groups.delete(outside, name)).flatten();
        let code = deleted.map_or_else(|error| error.code(), |()| 0);
        DeletableGroupResult::default().with_group_id(name.clone()).with_error_code(code)
    });
    DeleteGroupsResponse::default().with_results(results.collect())
}
