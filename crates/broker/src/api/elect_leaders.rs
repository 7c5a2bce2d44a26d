//! ElectLeaders: the one node leads everything already. Asked about all partitions, it names the topics, and has nothing to tell of them.

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use tidewater_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};

use super::{text, topic_name};
use crate::broker::Shared;

/// Preferred replicas, and any.
const KINDS: [i8; 2] = [0, 1];

pub(crate) fn handle(shared: &Shared, request: &ElectLeadersRequest) -> ElectLeadersResponse {
    let response = ElectLeadersResponse::default();
    let Some(asked) = &request.topic_partitions else {
        let name = |name: &String| ReplicaElectionResult::default().with_topic(topic_name(name));
        return response.with_replica_election_results(shared.topics().keys().map(name).collect());
    };
    let kind = request.election_type;
    let response = match KINDS.contains(&kind) {
        true => response,
        false => response.with_error_code(ResponseError::InvalidRequest.code()),
    };
    let results = asked.iter().map(|topic| {
        let open = shared.topic(&topic.topic);
        let partitions = topic.partitions.iter().map(|&number| {
            let is_there = open.as_ref().is_some_and(|open| open.partition(number).is_some());
            let name = topic.topic.as_str();
            let (code, message) = match (is_there, &open) {
                _ if !KINDS.contains(&kind) => (ResponseError::InvalidRequest, format!("Unknown election type {kind}")),
                (true, _) => {
                    (ResponseError::ElectionNotNeeded, "Leader election not needed for topic partition.".to_owned())
                }
                (false, Some(_)) => {
                    (ResponseError::UnknownTopicOrPartition, format!("No such partition as {name}-{number}"))
                }
                (false, None) => (ResponseError::UnknownTopicOrPartition, format!("No such topic as {name}")),
            };
            PartitionResult::default()
                .with_partition_id(number)
                .with_error_code(code.code())
                .with_error_message(Some(text(message)))
        });
        ReplicaElectionResult::default().with_topic(topic.topic.clone()).with_partition_result(partitions.collect())
    });
    response.with_replica_election_results(results.collect())
}
