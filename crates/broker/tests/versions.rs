//! Every request, in every version that is announced, about something that is there: it is answered, in a response of that version.

#![allow(clippy::unwrap_used, reason = "a test")]

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable, Message};
use tidewater_broker::{Broker, BrokerSettings, Listener, Server, ServerSettings};
use tidewater_protocol::messages::*;
use tidewater_protocol::{StrBytes, supported_versions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const TOPIC: &str = "topic";
const GROUP: &str = "group";
const TRANSACTION: &str = "transaction";

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic() -> TopicName {
    TopicName(text(TOPIC))
}

fn group() -> GroupId {
    GroupId(text(GROUP))
}

struct Client {
    stream: TcpStream,
    topic_id: uuid::Uuid,
}

impl Client {
    /// Sends a request, and reads its response; says what is wrong.
    async fn call<Q: Encodable + Message, R: Decodable>(
        &mut self,
        key: ApiKey,
        version: i16,
        request: Q,
    ) -> Result<R, String> {
        let header = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_correlation_id(7)
            .with_client_id(Some(text("test")));
        let mut frame = BytesMut::new();
        frame.put_u32(0);
        header.encode(&mut frame, key.request_header_version(version)).unwrap();
        request.encode(&mut frame, version).map_err(|error| format!("the test's own request: {error}"))?;
        let length = frame.len() as u32 - 4;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&frame).await.map_err(|error| error.to_string())?;
        let length = self.stream.read_u32().await.map_err(|_| "the connection was closed".to_owned())?;
        let mut response = vec![0; length as usize];
        self.stream.read_exact(&mut response).await.map_err(|error| error.to_string())?;
        let mut response = Bytes::from(response);
        ResponseHeader::decode(&mut response, key.response_header_version(version))
            .map_err(|error| error.to_string())?;
        let decoded = R::decode(&mut response, version).map_err(|error| error.to_string())?;
        if response.has_remaining() {
            Err(format!("{} bytes are left over", response.remaining()))
        } else {
            Ok(decoded)
        }
    }

    /// One request of a kind.
    async fn ask(&mut self, key: ApiKey, version: i16) -> Result<(), String> {
        /// Asks, and takes any response.
        macro_rules! ask {
            ($response:ty, $request:expr) => {
                self.call::<_, $response>(key, version, $request).await.map(drop)
            };
        }
        let id = self.topic_id;
        match key {
            ApiKey::Produce => ask!(ProduceResponse, {
                let data =
                    produce_request::PartitionProduceData::default().with_records(Some(Bytes::from_static(b"none")));
                let mut of_topic = produce_request::TopicProduceData::default().with_partition_data(vec![data]);
                if version >= 13 {
                    of_topic.topic_id = id
                } else {
                    of_topic.name = topic()
                }
                ProduceRequest::default().with_acks(-1).with_topic_data(vec![of_topic])
            }),
            ApiKey::Fetch => ask!(FetchResponse, {
                let partition = fetch_request::FetchPartition::default().with_partition_max_bytes(100);
                let mut of_topic = fetch_request::FetchTopic::default().with_partitions(vec![partition]);
                if version >= 13 {
                    of_topic.topic_id = id
                } else {
                    of_topic.topic = topic()
                }
                FetchRequest::default().with_isolation_level(1).with_topics(vec![of_topic])
            }),
            ApiKey::ListOffsets => ask!(ListOffsetsResponse, {
                let of = |timestamp| list_offsets_request::ListOffsetsPartition::default().with_timestamp(timestamp);
                let of_topic = list_offsets_request::ListOffsetsTopic::default().with_name(topic());
                ListOffsetsRequest::default().with_topics(vec![of_topic.with_partitions([-1, -2, 0].map(of).into())])
            }),
            ApiKey::Metadata => ask!(MetadataResponse, {
                let wanted = metadata_request::MetadataRequestTopic::default().with_name(Some(topic()));
                let request = MetadataRequest::default().with_topics(Some(vec![wanted]));
                match version {
                    8..=10 => request
                        .with_include_cluster_authorized_operations(true)
                        .with_include_topic_authorized_operations(true),
                    _ => request,
                }
            }),
            ApiKey::OffsetCommit => ask!(OffsetCommitResponse, {
                let partition = offset_commit_request::OffsetCommitRequestPartition::default();
                let of_topic = offset_commit_request::OffsetCommitRequestTopic::default().with_name(topic());
                OffsetCommitRequest::default()
                    .with_group_id(group())
                    .with_topics(vec![of_topic.with_partitions(vec![partition.with_committed_offset(1)])])
            }),
            ApiKey::OffsetFetch if version >= 8 => ask!(OffsetFetchResponse, {
                let of_topic = offset_fetch_request::OffsetFetchRequestTopics::default().with_name(topic());
                let of_group = offset_fetch_request::OffsetFetchRequestGroup::default().with_group_id(group());
                let of_topic = of_topic.with_partition_indexes(vec![0, 9]);
                OffsetFetchRequest::default().with_groups(vec![of_group.with_topics(Some(vec![of_topic]))])
            }),
            ApiKey::OffsetFetch => ask!(OffsetFetchResponse, {
                let of_topic = offset_fetch_request::OffsetFetchRequestTopic::default().with_name(topic());
                let of_topic = of_topic.with_partition_indexes(vec![0, 9]);
                OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![of_topic]))
            }),
            ApiKey::FindCoordinator if version >= 4 => {
                let keys = vec![text(GROUP)];
                ask!(FindCoordinatorResponse, FindCoordinatorRequest::default().with_coordinator_keys(keys))
            }
            ApiKey::FindCoordinator => {
                ask!(FindCoordinatorResponse, FindCoordinatorRequest::default().with_key(text(GROUP)))
            }
            ApiKey::JoinGroup => ask!(JoinGroupResponse, {
                let request = JoinGroupRequest::default().with_group_id(group()).with_session_timeout_ms(10_000);
                request.with_member_id(text("nobody")).with_protocol_type(text("consumer"))
            }),
            ApiKey::Heartbeat => ask!(HeartbeatResponse, HeartbeatRequest::default().with_group_id(group())),
            ApiKey::LeaveGroup if version >= 3 => ask!(LeaveGroupResponse, {
                let nobody = leave_group_request::MemberIdentity::default().with_member_id(text("nobody"));
                LeaveGroupRequest::default().with_group_id(group()).with_members(vec![nobody])
            }),
            ApiKey::LeaveGroup => ask!(LeaveGroupResponse, {
                LeaveGroupRequest::default().with_group_id(group()).with_member_id(text("nobody"))
            }),
            ApiKey::SyncGroup => ask!(SyncGroupResponse, SyncGroupRequest::default().with_group_id(group())),
            ApiKey::DescribeGroups => ask!(DescribeGroupsResponse, {
                let request = DescribeGroupsRequest::default().with_groups(vec![group(), GroupId(text("none"))]);
                if version >= 3 { request.with_include_authorized_operations(true) } else { request }
            }),
            ApiKey::ListGroups => ask!(ListGroupsResponse, ListGroupsRequest::default()),
            ApiKey::ApiVersions => ask!(ApiVersionsResponse, {
                let request = ApiVersionsRequest::default();
                match version {
                    3.. => request.with_client_software_name(text("test")).with_client_software_version(text("1")),
                    _ => request,
                }
            }),
            ApiKey::CreateTopics => ask!(CreateTopicsResponse, {
                let made = create_topics_request::CreatableTopic::default()
                    .with_name(TopicName(text(&format!("made-{version}"))));
                CreateTopicsRequest::default().with_topics(vec![made.with_num_partitions(1).with_replication_factor(1)])
            }),
            ApiKey::DeleteTopics if version >= 6 => ask!(DeleteTopicsResponse, {
                let name = Some(TopicName(text("made-7")));
                DeleteTopicsRequest::default().with_topics(vec![
                    delete_topics_request::DeleteTopicState::default().with_name(name),
                    delete_topics_request::DeleteTopicState::default().with_topic_id(uuid::Uuid::from_u128(1)),
                ])
            }),
            ApiKey::DeleteTopics => ask!(DeleteTopicsResponse, {
                let name = TopicName(text(&format!("made-{}", version + 1)));
                DeleteTopicsRequest::default().with_topic_names(vec![name, TopicName(text("none"))])
            }),
            ApiKey::DeleteRecords => ask!(DeleteRecordsResponse, {
                let of_topic = delete_records_request::DeleteRecordsTopic::default().with_name(topic());
                let partition = delete_records_request::DeleteRecordsPartition::default();
                DeleteRecordsRequest::default().with_topics(vec![of_topic.with_partitions(vec![partition])])
            }),
            ApiKey::InitProducerId => ask!(InitProducerIdResponse, {
                let request = InitProducerIdRequest::default().with_transaction_timeout_ms(60_000);
                request.with_transactional_id(Some(TransactionalId(text(TRANSACTION))))
            }),
            ApiKey::OffsetForLeaderEpoch => ask!(OffsetForLeaderEpochResponse, {
                let of_topic = offset_for_leader_epoch_request::OffsetForLeaderTopic::default().with_topic(topic());
                let partition = offset_for_leader_epoch_request::OffsetForLeaderPartition::default();
                OffsetForLeaderEpochRequest::default().with_topics(vec![of_topic.with_partitions(vec![partition])])
            }),
            ApiKey::AddPartitionsToTxn => ask!(AddPartitionsToTxnResponse, {
                let of_topic = add_partitions_to_txn_request::AddPartitionsToTxnTopic::default().with_name(topic());
                let (of_topic, id) = (of_topic.with_partitions(vec![0]), TransactionalId(text(TRANSACTION)));
                match version {
                    4.. => AddPartitionsToTxnRequest::default().with_transactions(vec![
                        add_partitions_to_txn_request::AddPartitionsToTxnTransaction::default()
                            .with_transactional_id(id)
                            .with_topics(vec![of_topic]),
                    ]),
                    _ => AddPartitionsToTxnRequest::default()
                        .with_v3_and_below_transactional_id(id)
                        .with_v3_and_below_topics(vec![of_topic]),
                }
            }),
            ApiKey::AddOffsetsToTxn => ask!(AddOffsetsToTxnResponse, {
                let request = AddOffsetsToTxnRequest::default().with_group_id(group());
                request.with_transactional_id(TransactionalId(text(TRANSACTION)))
            }),
            ApiKey::EndTxn => ask!(EndTxnResponse, {
                EndTxnRequest::default().with_transactional_id(TransactionalId(text(TRANSACTION)))
            }),
            ApiKey::WriteTxnMarkers => ask!(WriteTxnMarkersResponse, WriteTxnMarkersRequest::default()),
            ApiKey::TxnOffsetCommit => ask!(TxnOffsetCommitResponse, {
                let of_topic = txn_offset_commit_request::TxnOffsetCommitRequestTopic::default().with_name(topic());
                let partition = txn_offset_commit_request::TxnOffsetCommitRequestPartition::default();
                TxnOffsetCommitRequest::default()
                    .with_transactional_id(TransactionalId(text(TRANSACTION)))
                    .with_group_id(group())
                    .with_topics(vec![of_topic.with_partitions(vec![partition])])
            }),
            ApiKey::DescribeConfigs => ask!(DescribeConfigsResponse, {
                let of = |kind, name| {
                    let resource =
                        describe_configs_request::DescribeConfigsResource::default().with_resource_type(kind);
                    resource.with_resource_name(text(name)).with_configuration_keys(None)
                };
                let resources = vec![of(2, TOPIC), of(2, "none"), of(4, "1"), of(4, ""), of(32, GROUP), of(8, "1")];
                DescribeConfigsRequest::default().with_resources(resources).with_include_synonyms(true)
            }),
            ApiKey::AlterConfigs => ask!(AlterConfigsResponse, {
                let resource = alter_configs_request::AlterConfigsResource::default().with_resource_type(2);
                AlterConfigsRequest::default().with_resources(vec![resource.with_resource_name(text(TOPIC))])
            }),
            ApiKey::DescribeLogDirs => {
                ask!(DescribeLogDirsResponse, DescribeLogDirsRequest::default().with_topics(None))
            }
            ApiKey::CreatePartitions => ask!(CreatePartitionsResponse, {
                let grown = create_partitions_request::CreatePartitionsTopic::default().with_name(topic());
                CreatePartitionsRequest::default().with_topics(vec![grown.with_count(1)])
            }),
            ApiKey::DeleteGroups => ask!(DeleteGroupsResponse, {
                DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text("none"))])
            }),
            ApiKey::ElectLeaders => {
                ask!(ElectLeadersResponse, ElectLeadersRequest::default().with_topic_partitions(None))
            }
            ApiKey::IncrementalAlterConfigs => ask!(IncrementalAlterConfigsResponse, {
                let resource = incremental_alter_configs_request::AlterConfigsResource::default().with_resource_type(4);
                IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
            }),
            ApiKey::AlterPartitionReassignments => {
                ask!(AlterPartitionReassignmentsResponse, AlterPartitionReassignmentsRequest::default())
            }
            ApiKey::ListPartitionReassignments => {
                ask!(ListPartitionReassignmentsResponse, ListPartitionReassignmentsRequest::default().with_topics(None))
            }
            ApiKey::OffsetDelete => ask!(OffsetDeleteResponse, OffsetDeleteRequest::default().with_group_id(group())),
            ApiKey::DescribeQuorum => ask!(DescribeQuorumResponse, {
                let name = TopicName(text("__cluster_metadata"));
                let of_topic = describe_quorum_request::TopicData::default().with_topic_name(name);
                let partition = describe_quorum_request::PartitionData::default();
                DescribeQuorumRequest::default().with_topics(vec![of_topic.with_partitions(vec![partition])])
            }),
            ApiKey::GetTelemetrySubscriptions => {
                ask!(GetTelemetrySubscriptionsResponse, GetTelemetrySubscriptionsRequest::default())
            }
            ApiKey::PushTelemetry => ask!(PushTelemetryResponse, PushTelemetryRequest::default()),
            ApiKey::UpdateFeatures => ask!(UpdateFeaturesResponse, {
                let update = update_features_request::FeatureUpdateKey::default().with_feature(text("none"));
                UpdateFeaturesRequest::default().with_feature_updates(vec![update])
            }),
            ApiKey::DescribeCluster => ask!(DescribeClusterResponse, {
                DescribeClusterRequest::default().with_include_cluster_authorized_operations(true)
            }),
            ApiKey::DescribeProducers => ask!(DescribeProducersResponse, {
                let of_topic = describe_producers_request::TopicRequest::default().with_name(topic());
                DescribeProducersRequest::default().with_topics(vec![of_topic.with_partition_indexes(vec![0, 9])])
            }),
            ApiKey::DescribeTransactions => ask!(DescribeTransactionsResponse, {
                let ids = [TRANSACTION, "none"].map(|id| TransactionalId(text(id)));
                DescribeTransactionsRequest::default().with_transactional_ids(ids.into())
            }),
            ApiKey::ListTransactions => ask!(ListTransactionsResponse, ListTransactionsRequest::default()),
            ApiKey::ConsumerGroupHeartbeat => ask!(ConsumerGroupHeartbeatResponse, {
                ConsumerGroupHeartbeatRequest::default()
                    .with_group_id(group())
                    .with_member_epoch(5)
                    .with_member_id(text("nobody"))
            }),
            ApiKey::StreamsGroupHeartbeat => ask!(StreamsGroupHeartbeatResponse, {
                StreamsGroupHeartbeatRequest::default()
                    .with_group_id(group())
                    .with_member_epoch(5)
                    .with_member_id(text("nobody"))
            }),
            ApiKey::StreamsGroupDescribe => ask!(StreamsGroupDescribeResponse, {
                StreamsGroupDescribeRequest::default().with_group_ids(vec![group(), GroupId(text("none"))])
            }),
            ApiKey::ConsumerGroupDescribe => ask!(ConsumerGroupDescribeResponse, {
                ConsumerGroupDescribeRequest::default().with_group_ids(vec![group(), GroupId(text("none"))])
            }),
            ApiKey::ListConfigResources => ask!(ListConfigResourcesResponse, ListConfigResourcesRequest::default()),
            ApiKey::DescribeTopicPartitions => ask!(DescribeTopicPartitionsResponse, {
                let wanted = describe_topic_partitions_request::TopicRequest::default().with_name(topic());
                DescribeTopicPartitionsRequest::default().with_topics(vec![wanted]).with_response_partition_limit(10)
            }),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_version_of_every_request_is_answered_in_its_own_form() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::open(folder.path(), BrokerSettings::default()).unwrap();
    let listener: Listener = "127.0.0.1:0".parse().unwrap();
    let server = Server::start(&broker, &[listener], ServerSettings::default()).await.unwrap();
    let connect = || TcpStream::connect(server.addresses()["PLAINTEXT"]);
    let mut client = Client { stream: connect().await.unwrap(), topic_id: uuid::Uuid::nil() };
    let wanted = metadata_request::MetadataRequestTopic::default().with_name(Some(topic()));
    let request = MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(true);
    let _: MetadataResponse = client.call(ApiKey::Metadata, 12, request.clone()).await.unwrap();
    let made: MetadataResponse = client.call(ApiKey::Metadata, 12, request).await.unwrap();
    client.topic_id = made.topics[0].topic_id;

    let mut failed = Vec::new();
    for (key, versions) in supported_versions() {
        // Nobody sends Produce before version 3: see `supported_versions`.
        for version in versions.filter(|version| key != ApiKey::Produce || *version >= 3) {
            if let Err(error) = client.ask(key, version).await {
                failed.push(format!("{key:?} {version}: {error}"));
                client.stream = connect().await.unwrap();
            }
        }
    }
    server.stop().await;
    broker.close().unwrap();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// What Apache Kafka 4.3.1 was seen to answer to requests that are not quite right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_quite_right_is_told_as_apache_kafka_does() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::open(folder.path(), BrokerSettings::default()).unwrap();
    let listener: Listener = "127.0.0.1:0".parse().unwrap();
    let server = Server::start(&broker, &[listener], ServerSettings::default()).await.unwrap();
    let stream = TcpStream::connect(server.addresses()["PLAINTEXT"]).await.unwrap();
    let mut client = Client { stream, topic_id: uuid::Uuid::nil() };
    const INVALID_REQUEST: i16 = 42;

    // A topic that is named twice is told once.
    let made = create_topics_request::CreatableTopic::default().with_name(topic()).with_num_partitions(1);
    let made = made.with_replication_factor(1);
    let twice = CreateTopicsRequest::default().with_topics(vec![made.clone(), made.clone()]);
    let response: CreateTopicsResponse = client.call(ApiKey::CreateTopics, 7, twice).await.unwrap();
    let codes: Vec<i16> = response.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [INVALID_REQUEST]);
    let once = CreateTopicsRequest::default().with_topics(vec![made]);
    let response: CreateTopicsResponse = client.call(ApiKey::CreateTopics, 7, once).await.unwrap();
    assert_eq!((response.topics[0].error_code, response.topics[0].error_message.clone()), (0, None));
    let named = delete_topics_request::DeleteTopicState::default().with_name(Some(topic()));
    let twice = DeleteTopicsRequest::default().with_topics(vec![named.clone(), named]);
    let response: DeleteTopicsResponse = client.call(ApiKey::DeleteTopics, 6, twice).await.unwrap();
    assert_eq!(response.responses.iter().map(|topic| topic.error_code).collect::<Vec<_>>(), [INVALID_REQUEST]);

    // Before version 12, Metadata knows topics by their names only.
    let by_id =
        metadata_request::MetadataRequestTopic::default().with_topic_id(uuid::Uuid::from_u128(5)).with_name(None);
    let request = MetadataRequest::default().with_topics(Some(vec![by_id]));
    let response: MetadataResponse = client.call(ApiKey::Metadata, 10, request.clone()).await.unwrap();
    assert_eq!((response.topics[0].error_code, response.brokers.len()), (INVALID_REQUEST, 0));
    let response: MetadataResponse = client.call(ApiKey::Metadata, 12, request).await.unwrap();
    assert_eq!((response.topics[0].error_code, response.topics[0].name.clone()), (100, None));

    // What may be done is told if it is asked for.
    let request = MetadataRequest::default()
        .with_topics(Some(vec![
            metadata_request::MetadataRequestTopic::default().with_name(Some(TopicName(text("wanted")))),
        ]))
        .with_include_cluster_authorized_operations(true)
        .with_include_topic_authorized_operations(true);
    let response: MetadataResponse = client.call(ApiKey::Metadata, 8, request.clone()).await.unwrap();
    assert_eq!(response.topics[0].error_code, 3, "it is made meanwhile");
    let response: MetadataResponse = client.call(ApiKey::Metadata, 8, request).await.unwrap();
    assert_eq!((response.cluster_authorized_operations, response.topics[0].topic_authorized_operations), (8096, 3576));

    // The largest timestamp may be asked for from version 7 on.
    let wanted = list_offsets_request::ListOffsetsPartition::default().with_timestamp(-3);
    let of_topic = list_offsets_request::ListOffsetsTopic::default().with_name(topic()).with_partitions(vec![wanted]);
    let request = ListOffsetsRequest::default().with_topics(vec![of_topic]);
    for (version, code) in [(6, 35), (7, 0)] {
        let response: ListOffsetsResponse = client.call(ApiKey::ListOffsets, version, request.clone()).await.unwrap();
        assert_eq!(response.topics[0].partitions[0].error_code, code, "version {version}");
    }

    let before = delete_records_request::DeleteRecordsPartition::default().with_offset(-2);
    let of_topic =
        delete_records_request::DeleteRecordsTopic::default().with_name(topic()).with_partitions(vec![before]);
    let request = DeleteRecordsRequest::default().with_topics(vec![of_topic]);
    let response: DeleteRecordsResponse = client.call(ApiKey::DeleteRecords, 2, request).await.unwrap();
    assert_eq!(response.topics[0].partitions[0].error_code, 1);

    server.stop().await;
    broker.close().unwrap();
}
