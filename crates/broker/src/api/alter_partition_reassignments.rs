//! AlterPartitionReassignments: there is one node, which has all partitions already.

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::alter_partition_reassignments_request::ReassignablePartition;
use tidewater_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use tidewater_protocol::messages::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, BrokerId};

use super::text;
use crate::broker::Shared;

pub(crate) fn handle(
    shared: &Shared,
    request: &AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let topics = request.topics.iter().map(|topic| {
        let open = shared.topic(&topic.name);
        let partitions = topic.partitions.iter().map(|wanted| {
            let is_there = open.as_ref().is_some_and(|open| open.partition(wanted.partition_index).is_some());
            let response = ReassignablePartitionResponse::default().with_partition_index(wanted.partition_index);
            match check(shared.node(), wanted, is_there) {
                Ok(()) => response,
                Err((code, message)) => response.with_error_code(code.code()).with_error_message(Some(text(message))),
            }
        });
        ReassignableTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    AlterPartitionReassignmentsResponse::default()
        .with_allow_replication_factor_change(request.allow_replication_factor_change)
        .with_responses(topics.collect())
}

fn check(node: BrokerId, wanted: &ReassignablePartition, is_there: bool) -> Result<(), (ResponseError, String)> {
    if !is_there {
        return Err((ResponseError::UnknownTopicOrPartition, "The partition does not exist.".to_owned()));
    }
    match &wanted.replicas {
        None => Err((ResponseError::NoReassignmentInProgress, "No partition reassignment is in progress.".to_owned())),
        Some(replicas) if replicas.is_empty() => {
            let message = "The manual partition assignment includes an empty replica list.";
            Err((ResponseError::InvalidReplicaAssignment, message.to_owned()))
        }
        Some(replicas) => match replicas.iter().find(|replica| **replica != node) {
            Some(stranger) => {
                let message = format!(
                    "The manual partition assignment includes broker {}, but no such broker is registered.",
                    stranger.0
                );
                Err((ResponseError::InvalidReplicaAssignment, message))
            }
            None if replicas.len() > 1 => {
                let message = format!("The manual partition assignment includes the broker {} more than once.", node.0);
                Err((ResponseError::InvalidReplicaAssignment, message))
            }
            None => Ok(()),
        },
    }
}
