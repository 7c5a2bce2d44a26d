//! Which requests are answered, and in which versions: those of Apache Kafka 4.3.

use std::ops::RangeInclusive;

use kafka_protocol::messages::ApiKey;

/// What is answered, by key, with the versions that are advertised.
///
/// Produce begins at 0, as in Apache Kafka: clients built on an old librdkafka look for it, though nobody sends a version before 3.
const SUPPORTED: [(ApiKey, RangeInclusive<i16>); 44] = [
    (ApiKey::Produce, 0..=13),
    (ApiKey::Fetch, 4..=18),
    (ApiKey::ListOffsets, 1..=10),
    (ApiKey::Metadata, 0..=13),
    (ApiKey::OffsetCommit, 2..=9),
    (ApiKey::OffsetFetch, 1..=9),
    (ApiKey::FindCoordinator, 0..=6),
    (ApiKey::JoinGroup, 0..=9),
    (ApiKey::Heartbeat, 0..=4),
    (ApiKey::LeaveGroup, 0..=5),
    (ApiKey::SyncGroup, 0..=5),
    (ApiKey::DescribeGroups, 0..=6),
    (ApiKey::ListGroups, 0..=5),
    (ApiKey::ApiVersions, 0..=4),
    (ApiKey::CreateTopics, 2..=7),
    (ApiKey::DeleteTopics, 1..=6),
    (ApiKey::DeleteRecords, 0..=2),
    (ApiKey::InitProducerId, 0..=5),
    (ApiKey::OffsetForLeaderEpoch, 2..=4),
    (ApiKey::AddPartitionsToTxn, 0..=5),
    (ApiKey::AddOffsetsToTxn, 0..=4),
    (ApiKey::EndTxn, 0..=5),
    (ApiKey::WriteTxnMarkers, 1..=1),
    (ApiKey::TxnOffsetCommit, 0..=5),
    (ApiKey::DescribeConfigs, 1..=4),
    (ApiKey::AlterConfigs, 0..=2),
    (ApiKey::DescribeLogDirs, 1..=4),
    (ApiKey::CreatePartitions, 0..=3),
    (ApiKey::DeleteGroups, 0..=2),
    (ApiKey::ElectLeaders, 0..=2),
    (ApiKey::IncrementalAlterConfigs, 0..=1),
    (ApiKey::AlterPartitionReassignments, 0..=1),
    (ApiKey::ListPartitionReassignments, 0..=0),
    (ApiKey::OffsetDelete, 0..=0),
    (ApiKey::DescribeQuorum, 0..=2),
    (ApiKey::UpdateFeatures, 0..=2),
    (ApiKey::DescribeCluster, 0..=2),
    (ApiKey::DescribeProducers, 0..=0),
    (ApiKey::DescribeTransactions, 0..=0),
    (ApiKey::ListTransactions, 0..=2),
    (ApiKey::ConsumerGroupHeartbeat, 0..=1),
    (ApiKey::ConsumerGroupDescribe, 0..=1),
    (ApiKey::ListConfigResources, 0..=1),
    (ApiKey::DescribeTopicPartitions, 0..=0),
];

/// All requests that are answered, with their versions, in the order of their keys.
pub fn supported_versions() -> impl Iterator<Item = (ApiKey, RangeInclusive<i16>)> {
    SUPPORTED.into_iter()
}

/// The versions of a request that are answered; `None` if it is not.
pub fn versions_of(key: ApiKey) -> Option<RangeInclusive<i16>> {
    supported_versions().find(|(supported, _)| *supported == key).map(|(_, versions)| versions)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::protocol::Message;

    use super::*;

    /// The versions that both messages of each request have.
    macro_rules! known_versions {
        ($($key:ident: $request:ident, $response:ident;)*) => {
            [$((
                ApiKey::$key,
                [kafka_protocol::messages::$request::VERSIONS, kafka_protocol::messages::$response::VERSIONS],
            )),*]
        };
    }

    #[test]
    fn what_is_advertised_can_be_read_and_answered() {
        let known = known_versions! {
            Produce: ProduceRequest, ProduceResponse;
            Fetch: FetchRequest, FetchResponse;
            ListOffsets: ListOffsetsRequest, ListOffsetsResponse;
            Metadata: MetadataRequest, MetadataResponse;
            OffsetCommit: OffsetCommitRequest, OffsetCommitResponse;
            OffsetFetch: OffsetFetchRequest, OffsetFetchResponse;
            FindCoordinator: FindCoordinatorRequest, FindCoordinatorResponse;
            JoinGroup: JoinGroupRequest, JoinGroupResponse;
            Heartbeat: HeartbeatRequest, HeartbeatResponse;
            LeaveGroup: LeaveGroupRequest, LeaveGroupResponse;
            SyncGroup: SyncGroupRequest, SyncGroupResponse;
            DescribeGroups: DescribeGroupsRequest, DescribeGroupsResponse;
            ListGroups: ListGroupsRequest, ListGroupsResponse;
            ApiVersions: ApiVersionsRequest, ApiVersionsResponse;
            CreateTopics: CreateTopicsRequest, CreateTopicsResponse;
            DeleteTopics: DeleteTopicsRequest, DeleteTopicsResponse;
            DeleteRecords: DeleteRecordsRequest, DeleteRecordsResponse;
            InitProducerId: InitProducerIdRequest, InitProducerIdResponse;
            OffsetForLeaderEpoch: OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
            AddPartitionsToTxn: AddPartitionsToTxnRequest, AddPartitionsToTxnResponse;
            AddOffsetsToTxn: AddOffsetsToTxnRequest, AddOffsetsToTxnResponse;
            EndTxn: EndTxnRequest, EndTxnResponse;
            WriteTxnMarkers: WriteTxnMarkersRequest, WriteTxnMarkersResponse;
            TxnOffsetCommit: TxnOffsetCommitRequest, TxnOffsetCommitResponse;
            DescribeConfigs: DescribeConfigsRequest, DescribeConfigsResponse;
            AlterConfigs: AlterConfigsRequest, AlterConfigsResponse;
            DescribeLogDirs: DescribeLogDirsRequest, DescribeLogDirsResponse;
            CreatePartitions: CreatePartitionsRequest, CreatePartitionsResponse;
            DeleteGroups: DeleteGroupsRequest, DeleteGroupsResponse;
            ElectLeaders: ElectLeadersRequest, ElectLeadersResponse;
            IncrementalAlterConfigs: IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse;
            AlterPartitionReassignments: AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse;
            ListPartitionReassignments: ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse;
            OffsetDelete: OffsetDeleteRequest, OffsetDeleteResponse;
            DescribeQuorum: DescribeQuorumRequest, DescribeQuorumResponse;
            UpdateFeatures: UpdateFeaturesRequest, UpdateFeaturesResponse;
            DescribeCluster: DescribeClusterRequest, DescribeClusterResponse;
            DescribeProducers: DescribeProducersRequest, DescribeProducersResponse;
            DescribeTransactions: DescribeTransactionsRequest, DescribeTransactionsResponse;
            ListTransactions: ListTransactionsRequest, ListTransactionsResponse;
            ConsumerGroupHeartbeat: ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse;
            ConsumerGroupDescribe: ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse;
            ListConfigResources: ListConfigResourcesRequest, ListConfigResourcesResponse;
            DescribeTopicPartitions: DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse;
        };
        assert_eq!(known.len(), supported_versions().count());
        for ((key, versions), (named, known)) in supported_versions().zip(known) {
            assert_eq!(key, named);
            let least = if key == ApiKey::Produce { 3 } else { *versions.start() };
            for known in known {
                let is_known = known.min <= least && *versions.end() <= known.max;
                assert!(is_known, "{key:?}: {versions:?} is advertised, {} to {} are known", known.min, known.max);
            }
        }
    }
}
