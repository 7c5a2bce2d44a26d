//! Requests that are wrong in one thing, as bytes: the codes that Apache Kafka 4.3.1 was seen to answer to the same.

#![allow(clippy::unwrap_used, reason = "a test")]

mod wire;

use bytes::Bytes;
use tidewater_broker::{Broker, BrokerSettings, ServerSettings};
use tidewater_protocol::messages::*;
use tidewater_protocol::{BatchBuilder, Compression, ResponseError, StrBytes};
use tidewater_types::{Headers, Timestamp};
use wire::{Connection, Running, TopicPlace, fetch, name, produce};

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_found_by_their_ids_whatever_their_names_say() {
    use metadata_request::MetadataRequestTopic;
    let running = Running::start().await;
    let mut connection = running.connect().await;
    let topic = connection.topic("news").await;
    let wanted =
        |id: uuid::Uuid, topic: &str| MetadataRequestTopic::default().with_topic_id(id).with_name(Some(name(topic)));
    // A Java consumer asks so for topics that a group has assigned to it.
    for of in [vec![wanted(topic.id, "")], vec![wanted(topic.id, ""), wanted(uuid::Uuid::nil(), "other")]] {
        let request = MetadataRequest::default().with_topics(Some(of));
        let response: MetadataResponse = connection.call(ApiKey::Metadata, 13, request).await;
        let [found] = &response.topics[..] else { panic!("{response:?}") };
        assert_eq!((found.error_code, found.name.as_ref().unwrap().as_str(), found.topic_id), (0, "news", topic.id));
    }
    let unknown = uuid::Uuid::from_u128(7);
    let request = MetadataRequest::default().with_topics(Some(vec![wanted(unknown, ""), wanted(topic.id, "")]));
    let response: MetadataResponse = connection.call(ApiKey::Metadata, 13, request).await;
    let found: Vec<_> = response.topics.iter().map(|topic| (topic.topic_id, topic.error_code)).collect();
    assert_eq!(found.len(), 2);
    assert!(found.contains(&(unknown, ResponseError::UnknownTopicId.code())) && found.contains(&(topic.id, 0)));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elections_are_of_two_kinds() {
    use elect_leaders_request::TopicPartitions;
    let running = Running::start().await;
    let mut connection = running.connect().await;
    connection.topic("news").await;
    let asked = TopicPartitions::default().with_topic(name("news")).with_partitions(vec![0]);
    for (kind, code, whole) in [
        (0, ResponseError::ElectionNotNeeded.code(), 0),
        (1, ResponseError::ElectionNotNeeded.code(), 0),
        (7, ResponseError::InvalidRequest.code(), ResponseError::InvalidRequest.code()),
    ] {
        let request = ElectLeadersRequest::default()
            .with_election_type(kind)
            .with_topic_partitions(Some(vec![asked.clone()]))
            .with_timeout_ms(1000);
        let response: ElectLeadersResponse = connection.call(ApiKey::ElectLeaders, 2, request).await;
        let found = response.replica_election_results[0].partition_result[0].error_code;
        assert_eq!((found, response.error_code), (code, whole), "{kind}");
    }
    let all = ElectLeadersRequest::default().with_topic_partitions(None).with_timeout_ms(1000);
    let response: ElectLeadersResponse = connection.call(ApiKey::ElectLeaders, 2, all).await;
    let results = &response.replica_election_results;
    assert!(results.iter().any(|result| result.topic.as_str() == "news"));
    assert!(results.iter().all(|result| result.partition_result.is_empty()));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_topic_that_exists_nothing_else_is_looked_at() {
    use create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
    let running = Running::start().await;
    let mut connection = running.connect().await;
    connection.topic("news").await;
    let assigned = CreatableReplicaAssignment::default().with_broker_ids(vec![BrokerId(2)]);
    let many = CreatableTopic::default().with_name(name("news")).with_num_partitions(1).with_replication_factor(9);
    let elsewhere = CreatableTopic::default()
        .with_name(name("news"))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_assignments(vec![assigned]);
    for wanted in [many, elsewhere] {
        let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(1000);
        let response: CreateTopicsResponse = connection.call(ApiKey::CreateTopics, 7, request).await;
        assert_eq!(response.topics[0].error_code, ResponseError::TopicAlreadyExists.code());
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn levels_of_isolation_that_do_not_exist_and_followers_are_refused() {
    let running = Running::start().await;
    let mut connection = running.connect().await;
    let topic = connection.topic("news").await;
    assert_eq!(connection.produce(12, &topic, &["one"]).await, 0);
    let code = |response: &FetchResponse| response.responses[0].partitions[0].error_code;
    let request = fetch(12, &topic, 0).with_isolation_level(9);
    let response: FetchResponse = connection.call(ApiKey::Fetch, 12, request).await;
    assert_eq!((response.error_code, code(&response)), (-1, -1));
    let request = fetch(4, &topic, 0).with_replica_id(BrokerId(5));
    let response: FetchResponse = connection.call(ApiKey::Fetch, 4, request).await;
    assert_eq!(code(&response), ResponseError::NotLeaderOrFollower.code());
    use list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    let partition = ListOffsetsPartition::default().with_timestamp(-1);
    let asked = ListOffsetsTopic::default().with_name(name("news")).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![asked]);
    let request = request.with_isolation_level(7);
    let response: ListOffsetsResponse = connection.call(ApiKey::ListOffsets, 7, request).await;
    assert_eq!(response.topics[0].partitions[0].error_code, -1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_there_are_no_records_is_told_before_what_else_is_wrong() {
    let running = Running::start().await;
    let mut connection = running.connect().await;
    let topic = connection.topic("news").await;
    let offsets = TopicPlace { name: "__consumer_offsets".to_owned(), id: uuid::Uuid::nil() };
    connection.topic("__consumer_offsets").await;
    async fn code(connection: &mut Connection, request: ProduceRequest) -> i16 {
        let response: ProduceResponse = connection.call(ApiKey::Produce, 9, request).await;
        response.responses[0].partition_responses[0].error_code
    }
    for (to, acks) in [(&topic, 5), (&topic, 1), (&offsets, 1)] {
        let mut request = produce(9, to, &["one"], acks);
        request.topic_data[0].partition_data[0].records = Some(Bytes::new());
        assert_eq!(code(&mut connection, request).await, ResponseError::InvalidRecord.code(), "{} {acks}", to.name);
    }
    let request = produce(9, &topic, &["one"], 5);
    assert_eq!(code(&mut connection, request).await, ResponseError::InvalidRequiredAcks.code());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_many_connections_there_are_may_change() {
    use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let running = Running::start_over(BrokerSettings::default(), Default::default()).await;
    let mut first = running.connect().await;
    let mut set = async |setting: &'static str, value: &'static str| {
        let config = AlterableConfig::default().with_name(text(setting)).with_value(Some(text(value)));
        let resource = AlterConfigsResource::default()
            .with_resource_type(4)
            .with_resource_name(text(""))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let response: IncrementalAlterConfigsResponse = first.call(ApiKey::IncrementalAlterConfigs, 1, request).await;
        response.responses[0].error_code
    };
    // Whoever sets it has to get in again.
    assert_eq!(set("max.connections", "7").await, ResponseError::InvalidRequest.code());
    assert_eq!(set("max.connections", "8").await, 0);
    let mut others = Vec::new();
    for _ in 1..8 {
        others.push(running.connect().await);
    }
    others[6].topic("news").await;
    assert!(running.connect().await.read().await.is_none(), "the ninth is closed");
    assert_eq!(set("max.connections", "9").await, 0);
    running.connect().await.topic("news").await;
    assert_eq!(set("listeners", "PLAINTEXT://127.0.0.1:1").await, ResponseError::InvalidRequest.code());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_coordinators_topics_can_be_made_by_an_administrator() {
    use create_topics_request::{CreatableTopic, CreatableTopicConfig};
    let running = Running::start().await;
    let mut connection = running.connect().await;
    let setting =
        |value| CreatableTopicConfig::default().with_name(text("cleanup.policy")).with_value(Some(text(value)));
    let topic = |topic: &str| CreatableTopic::default().with_name(name(topic)).with_replication_factor(1);
    let deleting = topic("__transaction_state").with_num_partitions(1).with_configs(vec![setting("delete")]);
    for (asked, code) in [
        (topic("__consumer_offsets").with_num_partitions(3), 0),
        (topic("__consumer_offsets").with_num_partitions(3), ResponseError::TopicAlreadyExists.code()),
        (topic("__cluster_metadata").with_num_partitions(1), ResponseError::InvalidRequest.code()),
        // Apache Kafka makes it, and forgets transactions after a week.
        (deleting, ResponseError::InvalidConfig.code()),
    ] {
        let request = CreateTopicsRequest::default().with_topics(vec![asked.clone()]).with_timeout_ms(1000);
        let response: CreateTopicsResponse = connection.call(ApiKey::CreateTopics, 7, request).await;
        let [made] = &response.topics[..] else { panic!("{response:?}") };
        assert_eq!(made.error_code, code, "{asked:?}");
        if code == 0 {
            let made = made.configs.as_ref().unwrap();
            let policy = made.iter().find(|config| *config.name == *"cleanup.policy").unwrap();
            assert_eq!(policy.value.as_deref(), Some("compact"));
        }
    }
    // Groups are in it.
    let partition = offset_commit_request::OffsetCommitRequestPartition::default().with_committed_offset(1);
    connection.topic("news").await;
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![
            offset_commit_request::OffsetCommitRequestTopic::default()
                .with_name(name("news"))
                .with_partitions(vec![partition]),
        ]);
    let response: OffsetCommitResponse = connection.call(ApiKey::OffsetCommit, 8, request).await;
    assert_eq!(response.topics[0].partitions[0].error_code, 0, "{response:?}");
    // "g" is 103 for Java, which is 1 of 3.
    let log = running.folder.path().join("__consumer_offsets-1/00000000000000000000.log");
    assert!(std::fs::metadata(log).unwrap().len() > 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn protocols_of_groups_can_be_left_out() {
    let mut settings = BrokerSettings::default();
    (settings.groups.has_consumer_protocol, settings.groups.has_streams_protocol) = (false, false);
    let running = Running::start_over(settings, ServerSettings::default()).await;
    let mut connection = running.connect().await;
    let code = ResponseError::UnsupportedVersion.code();
    let group = || GroupId(text("g"));

    let request = ConsumerGroupHeartbeatRequest::default().with_group_id(group()).with_member_id(text("m"));
    let response: ConsumerGroupHeartbeatResponse = connection.call(ApiKey::ConsumerGroupHeartbeat, 1, request).await;
    assert_eq!(response, ConsumerGroupHeartbeatResponse::default().with_error_code(code));
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group()]);
    let response: ConsumerGroupDescribeResponse = connection.call(ApiKey::ConsumerGroupDescribe, 1, request).await;
    assert_eq!(response.groups[0].error_code, code);
    let request = StreamsGroupHeartbeatRequest::default().with_group_id(group()).with_member_id(text("m"));
    let response: StreamsGroupHeartbeatResponse = connection.call(ApiKey::StreamsGroupHeartbeat, 0, request).await;
    assert_eq!(response.error_code, code);
    let request = StreamsGroupDescribeRequest::default().with_group_ids(vec![group()]);
    let response: StreamsGroupDescribeResponse = connection.call(ApiKey::StreamsGroupDescribe, 0, request).await;
    assert_eq!(response.groups[0].error_code, code);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_named_often_is_told_once() {
    use offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
    let running = Running::start().await;
    let mut connection = running.connect().await;
    let topic = connection.topic("news").await;
    let often = OffsetFetchRequestTopics::default().with_name(name("news")).with_partition_indexes(vec![0, 1, 0]);
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(text("g")))
        .with_topics(Some(vec![often.clone(), often]));
    let request = OffsetFetchRequest::default().with_groups(vec![group; 3]);
    let response: OffsetFetchResponse = connection.call(ApiKey::OffsetFetch, 9, request).await;
    let [group] = &response.groups[..] else { panic!("{response:?}") };
    assert_eq!(group.topics.iter().map(|topic| topic.partitions.len()).collect::<Vec<_>>(), [2, 0]);

    let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![TransactionalId(text("t")); 3]);
    let response: DescribeTransactionsResponse = connection.call(ApiKey::DescribeTransactions, 0, request).await;
    assert_eq!(response.transaction_states.len(), 1);

    let often =
        describe_producers_request::TopicRequest::default().with_name(name("news")).with_partition_indexes(vec![0, 0]);
    let request = DescribeProducersRequest::default().with_topics(vec![often; 2]);
    let response: DescribeProducersResponse = connection.call(ApiKey::DescribeProducers, 0, request).await;
    assert_eq!(response.topics.iter().map(|topic| topic.partitions.len()).collect::<Vec<_>>(), [1, 0]);

    // Of records for one partition the last, as with Apache Kafka.
    let (mut request, last) = (produce(9, &topic, &["first"], -1), produce(9, &topic, &["second"], -1));
    request.topic_data.extend(last.topic_data);
    let response: ProduceResponse = connection.call(ApiKey::Produce, 9, request).await;
    let told: Vec<_> = response.responses.iter().map(|topic| topic.partition_responses.len()).collect();
    assert_eq!(told, [0, 1]);
    let response: FetchResponse = connection.call(ApiKey::Fetch, 12, fetch(12, &topic, 0)).await;
    assert_eq!(wire::values(&response), ["second"]);
    running.stop().await;
}

/// A producer sends the parts of a batch that is too large for that code, and gives up for any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_a_batch_is_too_large_comes_before_what_else_is_wrong_with_it() {
    let mut settings = BrokerSettings::default();
    for (name, value) in [("log.message.timestamp.before.max.ms", "1000"), ("log.segment.bytes", "1048576")] {
        settings.properties.insert(name.to_owned(), value.to_owned());
    }
    let running = Running::start_over(settings, ServerSettings::default()).await;
    let mut connection = running.connect().await;
    let topic = connection.topic("news").await;
    let large = "x".repeat(1_100_000);
    assert_eq!(connection.produce(9, &topic, &[&large]).await, ResponseError::MessageTooLarge.code());
    assert_eq!(connection.produce(9, &topic, &["x"]).await, ResponseError::InvalidTimestamp.code());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_whose_settings_do_not_go_with_the_brokers_keeps_nobody_from_other_changes() {
    use create_partitions_request::CreatePartitionsTopic;
    use create_topics_request::{CreatableTopic, CreatableTopicConfig};
    use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let running = Running::start().await;
    let mut connection = running.connect().await;
    let lag = CreatableTopicConfig::default().with_name(text("min.compaction.lag.ms")).with_value(Some(text("10000")));
    let lagged = CreatableTopic::default().with_name(name("lagged")).with_num_partitions(1).with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![lagged.with_configs(vec![lag])]);
    let response: CreateTopicsResponse = connection.call(ApiKey::CreateTopics, 7, request).await;
    assert_eq!(response.topics[0].error_code, 0);

    // The broker's file has been changed.
    let Running { broker, server, folder } = running;
    server.stop().await;
    broker.close().unwrap();
    let mut settings = BrokerSettings::default();
    settings.properties.insert("log.cleaner.max.compaction.lag.ms".to_owned(), "5000".to_owned());
    let running = Running::over(folder, settings, ServerSettings::default()).await;
    let mut connection = running.connect().await;
    for (setting, value, code) in [
        ("max.connections", "100", 0),
        ("log.retention.ms", "1000000", 0),
        ("log.cleaner.max.compaction.lag.ms", "20000", 0),
        // Now they go together, and shall stay so.
        ("log.cleaner.max.compaction.lag.ms", "4000", ResponseError::InvalidRequest.code()),
    ] {
        let config = AlterableConfig::default().with_name(text(setting)).with_value(Some(text(value)));
        let brokers = AlterConfigsResource::default().with_resource_type(4).with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![brokers]);
        let response: IncrementalAlterConfigsResponse =
            connection.call(ApiKey::IncrementalAlterConfigs, 1, request).await;
        assert_eq!(response.responses[0].error_code, code, "{setting}={value}: {response:?}");
    }
    let more = CreatePartitionsTopic::default().with_name(name("lagged")).with_count(2).with_assignments(None);
    let request = CreatePartitionsRequest::default().with_topics(vec![more]).with_timeout_ms(1000);
    let response: CreatePartitionsResponse = connection.call(ApiKey::CreatePartitions, 3, request).await;
    assert_eq!(response.results[0].error_code, 0, "{response:?}");
    running.stop().await;
}

/// What is not there does not keep a fetch of what is from waiting, or its client would ask again at once, for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_waits_for_what_is_there() {
    use fetch_request::{FetchPartition, FetchTopic};
    let running = Running::start().await;
    let (mut reader, mut writer) = (running.connect().await, running.connect().await);
    let (news, gone) = (writer.topic("news").await, writer.topic("gone").await);
    let of = |id: uuid::Uuid, partitions: &[i32]| {
        let partition =
            |&partition: &i32| FetchPartition::default().with_partition(partition).with_partition_max_bytes(1 << 20);
        FetchTopic::default().with_topic_id(id).with_partitions(partitions.iter().map(partition).collect())
    };
    let wanted = |topics: Vec<FetchTopic>| {
        let request = FetchRequest::default().with_max_bytes(1 << 20).with_min_bytes(1).with_max_wait_ms(600_000);
        request.with_session_epoch(-1).with_topics(topics)
    };
    let codes = |response: &FetchResponse| {
        let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
        partitions.map(|partition| (partition.partition_index, partition.error_code)).collect::<Vec<_>>()
    };
    let (unknown_id, unknown) = (ResponseError::UnknownTopicId.code(), ResponseError::UnknownTopicOrPartition.code());

    // The records that it is answered with were not there when it came: it has waited.
    let request = wanted(vec![of(news.id, &[0, 7]), of(uuid::Uuid::from_u128(7), &[0])]);
    let number = reader.send(ApiKey::Fetch, 16, &request).await;
    assert_eq!(writer.produce(9, &news, &["hello"]).await, 0);
    let response: FetchResponse = reader.receive(ApiKey::Fetch, 16, number).await;
    assert_eq!(codes(&response), [(0, 0), (7, unknown), (0, unknown_id)]);
    assert_eq!(wire::values(&response), ["hello"]);
    assert_eq!(response.responses[1].partitions[0].aborted_transactions, Some(Vec::new()));
    // Nor does a name that no topic can have, but for one that nobody should keep while he waits.
    for (other, is_told_before) in [(&*"n".repeat(250), true), ("a b", false)] {
        let partition = FetchPartition::default().with_fetch_offset(1).with_partition_max_bytes(1 << 20);
        let of = |topic: &str| FetchTopic::default().with_topic(name(topic)).with_partitions(vec![partition.clone()]);
        let number = reader.send(ApiKey::Fetch, 12, &wanted(vec![of("news"), of(other)])).await;
        if is_told_before {
            let response: FetchResponse = reader.receive(ApiKey::Fetch, 12, number).await;
            assert_eq!((codes(&response), wire::values(&response).len()), (vec![(0, 0), (0, unknown)], 0));
        } else {
            assert_eq!(writer.produce(9, &news, &["again"]).await, 0);
            let response: FetchResponse = reader.receive(ApiKey::Fetch, 12, number).await;
            assert_eq!(
                (codes(&response), wire::values(&response)),
                (vec![(0, 0), (0, unknown)], vec!["again".to_owned()])
            );
        }
    }
    // If nothing is there, there is nothing to wait for.
    let request = wanted(vec![of(news.id, &[7]), of(uuid::Uuid::from_u128(7), &[0])]);
    let response: FetchResponse = reader.call(ApiKey::Fetch, 16, request).await;
    assert_eq!(codes(&response), [(7, unknown), (0, unknown_id)]);

    // A deletion is told to those who wait, and afterwards within a session, which knows what the topic was called.
    let mut session = wanted(vec![of(gone.id, &[0])]).with_session_epoch(0).with_max_wait_ms(0);
    let response: FetchResponse = reader.call(ApiKey::Fetch, 16, session.clone()).await;
    assert_eq!(codes(&response), [(0, 0)]);
    (session.session_id, session.session_epoch, session.topics) = (response.session_id, 1, Vec::new());
    let number = reader.send(ApiKey::Fetch, 16, &session.clone().with_max_wait_ms(600_000)).await;
    let request = DeleteTopicsRequest::default().with_topic_names(vec![name("gone")]).with_timeout_ms(1000);
    let _: DeleteTopicsResponse = writer.call(ApiKey::DeleteTopics, 5, request).await;
    let response: FetchResponse = reader.receive(ApiKey::Fetch, 16, number).await;
    assert_eq!(codes(&response), [(0, unknown)]);
    session.session_epoch = 2;
    let response: FetchResponse = reader.call(ApiKey::Fetch, 16, session.clone()).await;
    assert_eq!(codes(&response), [(0, unknown)]);
    writer.topic("gone").await;
    session.session_epoch = 3;
    let response: FetchResponse = reader.call(ApiKey::Fetch, 16, session.with_max_wait_ms(600_000)).await;
    assert_eq!(codes(&response), [(0, ResponseError::InconsistentTopicId.code())]);
    let response: FetchResponse = reader.call(ApiKey::Fetch, 16, wanted(vec![of(gone.id, &[0])])).await;
    assert_eq!(codes(&response), [(0, unknown_id)]);
    running.stop().await;
}

/// A fetch that wants more than there is ends when its time is over, though something new comes all the while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_that_is_woken_all_the_while_ends() {
    let running = Running::start().await;
    let (mut reader, mut writer) = (running.connect().await, running.connect().await);
    let news = writer.topic("news").await;
    assert_eq!(writer.produce(9, &news, &["hello"]).await, 0);
    let request = fetch(12, &news, 0).with_min_bytes(1 << 30).with_max_wait_ms(300);
    let waiting = tokio::spawn(async move {
        let response: FetchResponse = reader.call(ApiKey::Fetch, 12, request).await;
        wire::values(&response).len()
    });
    let mut written = 1;
    while !waiting.is_finished() {
        assert_eq!(writer.produce(9, &news, &["hello"]).await, 0);
        written += 1;
        assert!(written < 1_000_000, "it waits on");
    }
    assert!((1..=written).contains(&waiting.await.unwrap()));
    running.stop().await;
}

/// Of what is wrong with the records of a request so much is told that the response is small.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_records_is_told_of_a_hundred() {
    use create_topics_request::{CreatableTopic, CreatableTopicConfig};
    use produce_request::PartitionProduceData;
    let running = Running::start().await;
    let mut connection = running.connect().await;
    let compacted = CreatableTopicConfig::default()
        .with_name(StrBytes::from_static_str("cleanup.policy"))
        .with_value(Some(StrBytes::from_static_str("compact")));
    let topic = CreatableTopic::default().with_name(name("kept")).with_num_partitions(3).with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic.with_configs(vec![compacted])]);
    let _: CreateTopicsResponse = connection.call(ApiKey::CreateTopics, 7, request).await;
    let mut builder = BatchBuilder::new(Compression::None);
    for _ in 0..80 {
        builder.push(Timestamp(1), None, Some(b"v"), &Headers::EMPTY);
    }
    let records = Some(builder.finish().unwrap());
    let kept = TopicPlace { name: "kept".to_owned(), id: uuid::Uuid::nil() };
    let mut request = produce(9, &kept, &[], -1);
    let of = |index| PartitionProduceData::default().with_index(index).with_records(records.clone());
    request.topic_data[0].partition_data = (0..3).map(of).collect();
    let response: ProduceResponse = connection.call(ApiKey::Produce, 9, request).await;
    let partitions = &response.responses[0].partition_responses;
    let told: Vec<_> = partitions.iter().map(|told| (told.error_code, told.record_errors.len())).collect();
    let invalid = ResponseError::InvalidRecord.code();
    assert_eq!(told, [(invalid, 80), (invalid, 20), (invalid, 0)]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_told_the_brokers_number_and_rack() {
    use create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
    let settings = BrokerSettings { node_id: Some(7), rack: Some("b".to_owned()), ..BrokerSettings::default() };
    let running = Running::start_over(settings, ServerSettings::default()).await;
    let mut connection = running.connect().await;
    let response: MetadataResponse = connection.call(ApiKey::Metadata, 12, MetadataRequest::default()).await;
    let [broker] = &response.brokers[..] else { panic!("{response:?}") };
    assert_eq!((broker.node_id, broker.rack.as_deref(), response.controller_id.0), (BrokerId(7), Some("b"), 7));
    for (broker, code) in [(7, 0), (1, ResponseError::InvalidReplicaAssignment.code())] {
        let assigned =
            CreatableReplicaAssignment::default().with_partition_index(0).with_broker_ids(vec![BrokerId(broker)]);
        let topic = CreatableTopic::default().with_name(name(&format!("news-{broker}"))).with_num_partitions(-1);
        let topic = topic.with_replication_factor(-1).with_assignments(vec![assigned]);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]);
        let response: CreateTopicsResponse = connection.call(ApiKey::CreateTopics, 7, request).await;
        assert_eq!(response.topics[0].error_code, code, "{response:?}");
        let resource = describe_configs_request::DescribeConfigsResource::default()
            .with_resource_type(4)
            .with_resource_name(StrBytes::from_string(broker.to_string()))
            .with_configuration_keys(None);
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let response: DescribeConfigsResponse = connection.call(ApiKey::DescribeConfigs, 4, request).await;
        assert_eq!(response.results[0].error_code == 0, code == 0, "{response:?}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segments_size_for_tests_is_shown_where_it_is_set() {
    use create_topics_request::{CreatableTopic, CreatableTopicConfig};
    let running = Running::start().await;
    let mut connection = running.connect().await;
    for (topic, value) in [("with", Some("2000")), ("without", None)] {
        let size = |value| {
            CreatableTopicConfig::default().with_name(text("internal.segment.bytes")).with_value(Some(text(value)))
        };
        let topic = CreatableTopic::default().with_name(name(topic)).with_num_partitions(1).with_replication_factor(1);
        let topic = topic.with_configs(value.map(size).into_iter().collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]);
        let response: CreateTopicsResponse = connection.call(ApiKey::CreateTopics, 7, request).await;
        let shown = response.topics[0].configs.as_ref().unwrap();
        let shown = shown.iter().find(|config| *config.name == *"internal.segment.bytes");
        assert_eq!(shown.and_then(|config| config.value.as_deref()), value);
    }
    running.stop().await;
}

#[test]
fn the_data_of_a_node_is_no_other_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let open = |node_id| Broker::open(folder.path(), BrokerSettings { node_id, ..BrokerSettings::default() });
    open(Some(7)).unwrap().close().unwrap();
    let error = open(Some(1)).err().unwrap().to_string();
    assert!(error.contains("node.id") && error.contains("of node 7"), "{error}");
    open(None).unwrap().close().unwrap();
    open(Some(7)).unwrap();
}
