//! The messages of the protocol: those of the `kafka-protocol` crate, and those that it has not, in the same shape.

pub(crate) mod fields;
pub mod streams_group_describe_request;
pub mod streams_group_describe_response;
pub mod streams_group_heartbeat_request;
pub mod streams_group_heartbeat_response;

pub use kafka_protocol::messages::*;
pub use streams_group_describe_request::StreamsGroupDescribeRequest;
pub use streams_group_describe_response::StreamsGroupDescribeResponse;
pub use streams_group_heartbeat_request::StreamsGroupHeartbeatRequest;
pub use streams_group_heartbeat_response::StreamsGroupHeartbeatResponse;

pub use crate::requests::ApiKey;
