//! StreamsGroupDescribeRequest (KIP-1071).

use kafka_protocol::messages::GroupId;

use super::fields::{message, structure};

structure! {
    /// Asks what groups of the streams protocol are like.
    StreamsGroupDescribeRequest {
        /// The groups.
        group_ids, with_group_ids: Vec<GroupId>;
        /// Whether to say what the client may do with them.
        include_authorized_operations, with_include_authorized_operations: bool;
    }
}
message!(StreamsGroupDescribeRequest, header 2);
