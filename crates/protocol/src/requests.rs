//! The requests that are answered, and in which versions: those of Apache Kafka 4.3, as far as there are messages for them.

use std::ops::RangeInclusive;

use anyhow::Result;
use kafka_protocol::protocol::buf::{ByteBuf, ByteBufMut};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};

use crate::messages::*;

/// Each request with its key, the versions that are advertised, and its messages, by key.
macro_rules! requests {
    ($($name:ident = $key:literal, $versions:expr, $request:ident, $response:ident;)*) => {
        /// Which request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $(#[doc = concat!("[`", stringify!($request), "`].")] $name = $key,)*
        }

        /// A request.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, clippy::large_enum_variant, reason = "the messages say what they are, and requests are not kept")]
        pub enum Request {
            $($name($request),)*
        }

        /// A response.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "the messages say what they are")]
        pub enum Response {
            $($name($response),)*
        }

        const ALL: &[ApiKey] = &[$(ApiKey::$name,)*];

        impl ApiKey {
            /// The request with this number; `None` if it is not answered.
            pub fn of(number: i16) -> Option<Self> {
                match number {
                    $($key => Some(ApiKey::$name),)*
                    _ => None,
                }
            }

            /// The versions that are answered.
            pub fn versions(self) -> RangeInclusive<i16> {
                match self {
                    $(ApiKey::$name => $versions,)*
                }
            }

            /// The version of the header before a request of this version.
            pub fn request_header_version(self, version: i16) -> i16 {
                match self {
                    $(ApiKey::$name => $request::header_version(version),)*
                }
            }

            /// The version of the header before a response of this version.
            pub fn response_header_version(self, version: i16) -> i16 {
                match self {
                    $(ApiKey::$name => $response::header_version(version),)*
                }
            }
        }

        impl Request {
            /// Reads a request's body.
            ///
            /// # Errors
            /// When it has not the layout of its version.
            pub fn decode<B: ByteBuf>(key: ApiKey, body: &mut B, version: i16) -> Result<Self> {
                Ok(match key {
                    $(ApiKey::$name => Request::$name($request::decode(body, version)?),)*
                })
            }

            /// Writes a request's body.
            ///
            /// # Errors
            /// When it has what its version has not.
            pub fn encode<B: ByteBufMut>(&self, out: &mut B, version: i16) -> Result<()> {
                match self {
                    $(Request::$name(request) => request.encode(out, version),)*
                }
            }
        }

        impl Response {
            /// Writes a response's body.
            ///
            /// # Errors
            /// When it has what its version has not.
            pub fn encode<B: ByteBufMut>(&self, out: &mut B, version: i16) -> Result<()> {
                match self {
                    $(Response::$name(response) => response.encode(out, version),)*
                }
            }
        }

        /// The versions that both messages of each request have.
        #[cfg(test)]
        const KNOWN: &[[kafka_protocol::protocol::VersionRange; 2]] = &[$([
            <$request as kafka_protocol::protocol::Message>::VERSIONS,
            <$response as kafka_protocol::protocol::Message>::VERSIONS,
        ],)*];
    };
}

// Produce begins at 0, as in Apache Kafka: clients built on an old librdkafka look for it, though nobody sends a version before 3.
requests! {
    Produce = 0, 0..=13, ProduceRequest, ProduceResponse;
    Fetch = 1, 4..=18, FetchRequest, FetchResponse;
    ListOffsets = 2, 1..=10, ListOffsetsRequest, ListOffsetsResponse;
    Metadata = 3, 0..=13, MetadataRequest, MetadataResponse;
    OffsetCommit = 8, 2..=9, OffsetCommitRequest, OffsetCommitResponse;
    OffsetFetch = 9, 1..=9, OffsetFetchRequest, OffsetFetchResponse;
    FindCoordinator = 10, 0..=6, FindCoordinatorRequest, FindCoordinatorResponse;
    JoinGroup = 11, 0..=9, JoinGroupRequest, JoinGroupResponse;
    Heartbeat = 12, 0..=4, HeartbeatRequest, HeartbeatResponse;
    LeaveGroup = 13, 0..=5, LeaveGroupRequest, LeaveGroupResponse;
    SyncGroup = 14, 0..=5, SyncGroupRequest, SyncGroupResponse;
    DescribeGroups = 15, 0..=6, DescribeGroupsRequest, DescribeGroupsResponse;
    ListGroups = 16, 0..=5, ListGroupsRequest, ListGroupsResponse;
    ApiVersions = 18, 0..=4, ApiVersionsRequest, ApiVersionsResponse;
    CreateTopics = 19, 2..=7, CreateTopicsRequest, CreateTopicsResponse;
    DeleteTopics = 20, 1..=6, DeleteTopicsRequest, DeleteTopicsResponse;
    DeleteRecords = 21, 0..=2, DeleteRecordsRequest, DeleteRecordsResponse;
    InitProducerId = 22, 0..=5, InitProducerIdRequest, InitProducerIdResponse;
    OffsetForLeaderEpoch = 23, 2..=4, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
    AddPartitionsToTxn = 24, 0..=5, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse;
    AddOffsetsToTxn = 25, 0..=4, AddOffsetsToTxnRequest, AddOffsetsToTxnResponse;
    EndTxn = 26, 0..=5, EndTxnRequest, EndTxnResponse;
    WriteTxnMarkers = 27, 1..=1, WriteTxnMarkersRequest, WriteTxnMarkersResponse;
    TxnOffsetCommit = 28, 0..=5, TxnOffsetCommitRequest, TxnOffsetCommitResponse;
    DescribeConfigs = 32, 1..=4, DescribeConfigsRequest, DescribeConfigsResponse;
    AlterConfigs = 33, 0..=2, AlterConfigsRequest, AlterConfigsResponse;
    DescribeLogDirs = 35, 1..=4, DescribeLogDirsRequest, DescribeLogDirsResponse;
    CreatePartitions = 37, 0..=3, CreatePartitionsRequest, CreatePartitionsResponse;
    DeleteGroups = 42, 0..=2, DeleteGroupsRequest, DeleteGroupsResponse;
    ElectLeaders = 43, 0..=2, ElectLeadersRequest, ElectLeadersResponse;
    IncrementalAlterConfigs = 44, 0..=1, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse;
    AlterPartitionReassignments = 45, 0..=1, AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse;
    ListPartitionReassignments = 46, 0..=0, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse;
    OffsetDelete = 47, 0..=0, OffsetDeleteRequest, OffsetDeleteResponse;
    DescribeQuorum = 55, 0..=2, DescribeQuorumRequest, DescribeQuorumResponse;
    UpdateFeatures = 57, 0..=2, UpdateFeaturesRequest, UpdateFeaturesResponse;
    DescribeCluster = 60, 0..=2, DescribeClusterRequest, DescribeClusterResponse;
    DescribeProducers = 61, 0..=0, DescribeProducersRequest, DescribeProducersResponse;
    DescribeTransactions = 65, 0..=0, DescribeTransactionsRequest, DescribeTransactionsResponse;
    ListTransactions = 66, 0..=2, ListTransactionsRequest, ListTransactionsResponse;
    ConsumerGroupHeartbeat = 68, 0..=1, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse;
    ConsumerGroupDescribe = 69, 0..=1, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse;
    GetTelemetrySubscriptions = 71, 0..=0, GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse;
    PushTelemetry = 72, 0..=0, PushTelemetryRequest, PushTelemetryResponse;
    ListConfigResources = 74, 0..=1, ListConfigResourcesRequest, ListConfigResourcesResponse;
    DescribeTopicPartitions = 75, 0..=0, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse;
    StreamsGroupHeartbeat = 88, 0..=0, StreamsGroupHeartbeatRequest, StreamsGroupHeartbeatResponse;
    StreamsGroupDescribe = 89, 0..=0, StreamsGroupDescribeRequest, StreamsGroupDescribeResponse;
}

/// All requests that are answered, with their versions, in the order of their keys.
pub fn supported_versions() -> impl Iterator<Item = (ApiKey, RangeInclusive<i16>)> {
    ALL.iter().map(|key| (*key, key.versions()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_advertised_can_be_read_and_answered() {
        for ((key, versions), known) in supported_versions().zip(KNOWN) {
            assert_eq!(ApiKey::of(key as i16), Some(key));
            let least = if key == ApiKey::Produce { 3 } else { *versions.start() };
            for known in known {
                let is_known = known.min <= least && *versions.end() <= known.max;
                assert!(is_known, "{key:?}: {versions:?} is advertised, {} to {} are known", known.min, known.max);
            }
        }
        assert!(ALL.is_sorted());
    }
}
