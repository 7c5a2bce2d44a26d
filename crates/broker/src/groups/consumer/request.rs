//! Whether a heartbeat is one.

use tidewater_protocol::messages::ConsumerGroupHeartbeatRequest;
use tidewater_protocol::{ResponseError, StrBytes};

use super::super::assign::Assignor;
use super::super::records::GROUP_LIMIT_BYTES;
use super::{JOINS, LEAVES, LEAVES_FOR_NOW, Refusal};

/// Whether a heartbeat is one, with Apache Kafka's words for what is not.
pub(in super::super) fn check_heartbeat(
    request: &ConsumerGroupHeartbeatRequest,
    assignors: &[Assignor],
) -> Result<(), Refusal> {
    let invalid = |text: &str| Err((ResponseError::InvalidRequest, text.to_owned()));
    let is_blank = |text: &Option<StrBytes>| text.as_ref().is_some_and(|text| text.trim().is_empty());
    if request.group_id.trim().is_empty() || request.group_id.len() > GROUP_LIMIT_BYTES {
        return invalid("GroupId can't be empty.");
    }
    if is_blank(&request.instance_id) {
        return invalid("InstanceId can't be empty.");
    }
    if is_blank(&request.rack_id) {
        return invalid("RackId can't be empty.");
    }
    match request.member_epoch {
        JOINS => {
            if request.rebalance_timeout_ms == -1 {
                return invalid("RebalanceTimeoutMs must be provided in first request.");
            }
            if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
                return invalid("TopicPartitions must be empty when (re-)joining.");
            }
            // The former has an empty list for no topics, and one that is not there means that it is as before.
            if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
                return invalid(
                    "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
                );
            }
        }
        1.. | LEAVES if request.member_id.trim().is_empty() => return invalid("MemberId can't be empty."),
        1.. | LEAVES => {}
        LEAVES_FOR_NOW => {
            if request.member_id.trim().is_empty() {
                return invalid("MemberId can't be empty.");
            }
            if request.instance_id.is_none() {
                return invalid("InstanceId can't be null.");
            }
        }
        _ => return invalid("MemberEpoch is invalid."),
    }
    match &request.server_assignor {
        Some(name) if Assignor::of(name).is_none_or(|named| !assignors.contains(&named)) => {
            let known: Vec<&str> = assignors.iter().map(|assignor| assignor.name()).collect();
            let text =
                format!("ServerAssignor {} is not supported. Supported assignors: {}.", &**name, known.join(", "));
            Err((ResponseError::UnsupportedAssignor, text))
        }
        _ => Ok(()),
    }
}
