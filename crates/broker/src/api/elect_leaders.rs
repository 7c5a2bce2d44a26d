//! ElectLeaders: the one node leads everything already. Asked about all partitions, that is nothing to tell.

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use tidewater_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};

use super::text;
use crate::broker::Shared;

pub(crate) fn handle(shared: &Shared, request: &ElectLeadersRequest) -> ElectLeadersResponse {
    let results = request.topic_partitions.iter().flatten().map(|topic| {
        let open = shared.topic(&topic.topic);
        let partitions = topic.partitions.iter().map(|&number| {
            let is_there = open.as_ref().is_some_and(|open| open.partition(number).is_some());
            let name = topic.topic.as_str();
            let (code, message) = match (is_there, &open) {
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
    ElectLeadersResponse::default().with_replica_election_results(results.collect())
}
