//! DescribeQuorum: the one node leads the log of topics, and is all there is of its quorum.

use tidewater_protocol::messages::describe_quorum_response::{Listener, Node, PartitionData, ReplicaState, TopicData};
use tidewater_protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};
use tidewater_protocol::{RequestContext, ResponseError};

use super::text;
use crate::broker::Shared;

/// The log of topics.
const METADATA_TOPIC: &str = "__cluster_metadata";

pub(crate) fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: &DescribeQuorumRequest,
) -> DescribeQuorumResponse {
    let end = shared.metadata_end();
    let now = shared.now().0;
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|wanted| {
            let partition = PartitionData::default().with_partition_index(wanted.partition_index);
            if *topic.topic_name != *METADATA_TOPIC || wanted.partition_index != 0 {
                return partition.with_error_code(ResponseError::UnknownTopicOrPartition.code());
            }
            let this = ReplicaState::default()
                .with_replica_id(shared.node())
                .with_log_end_offset(end)
                .with_last_fetch_timestamp(now)
                .with_last_caught_up_timestamp(now);
            partition
                .with_leader_id(shared.node())
                .with_leader_epoch(1)
                .with_high_watermark(end)
                .with_current_voters(vec![this])
        });
        TopicData::default().with_topic_name(topic.topic_name.clone()).with_partitions(partitions.collect())
    });
    let listeners = shared.endpoint(context).map(|endpoint| {
        let name = context.caller.listener.as_deref().unwrap_or_default();
        Listener::default().with_name(text(name)).with_host(text(endpoint.host)).with_port(endpoint.port)
    });
    let node = Node::default().with_node_id(shared.node()).with_listeners(listeners.into_iter().collect());
    let response = DescribeQuorumResponse::default().with_topics(topics.collect());
    // Nodes are named from version 2 on.
    if context.version >= 2 { response.with_nodes(vec![node]) } else { response }
}
