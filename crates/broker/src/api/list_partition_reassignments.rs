//! ListPartitionReassignments: with one node, nothing ever moves.

use tidewater_protocol::messages::ListPartitionReassignmentsResponse;

pub(crate) fn handle() -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default()
}
