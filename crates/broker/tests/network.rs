//! The broker over TCP, as bytes: what Apache Kafka 4.3.1 was seen to answer to the same.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod wire;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable};
use tidewater_broker::{Broker, BrokerSettings, Listener, Server, ServerSettings};
use tidewater_protocol::messages::*;
use tidewater_protocol::{Batch, BatchBuilder, Compression, ProducerStamp, ResponseError, StrBytes};
use tidewater_types::{Headers, Timestamp};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use wire::{Connection, Running, TopicPlace, batch, fetch, name, produce, values};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_go_in_and_come_out_in_every_version() {
    let running = Running::start().await;
    let mut connection = running.connect().await;
    let topic = connection.topic("news").await;
    let mut expected = Vec::new();
    for version in 3..=13 {
        let value = format!("version {version}");
        assert_eq!(connection.produce(version, &topic, &[&value]).await, 0);
        expected.push(value);
    }
    for version in 4..=18 {
        let response: FetchResponse = connection.call(ApiKey::Fetch, version, fetch(version, &topic, 0)).await;
        assert_eq!(values(&response), expected, "version {version}");
        let response: FetchResponse = connection.call(ApiKey::Fetch, version, fetch(version, &topic, 9)).await;
        assert_eq!(values(&response), expected[9..], "version {version}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_waits_for_records_and_is_answered_in_order() {
    let running = Running::start().await;
    let (mut reader, mut writer) = (running.connect().await, running.connect().await);
    let topic = writer.topic("news").await;
    // The second request is there before the first one can be answered.
    let waiting = fetch(12, &topic, 0).with_max_wait_ms(60_000).with_min_bytes(1);
    let first = reader.send(ApiKey::Fetch, 12, &waiting).await;
    let second = reader.send(ApiKey::ApiVersions, 0, &ApiVersionsRequest::default()).await;
    assert_eq!(writer.produce(9, &topic, &["hello"]).await, 0);
    let response: FetchResponse = reader.receive(ApiKey::Fetch, 12, first).await;
    assert_eq!(values(&response), ["hello"]);
    let _: ApiVersionsResponse = reader.receive(ApiKey::ApiVersions, 0, second).await;
    // One that asks for more than comes is answered when its time is over.
    let patient = fetch(12, &topic, 0).with_max_wait_ms(50).with_min_bytes(1 << 20);
    let response: FetchResponse = reader.call(ApiKey::Fetch, 12, patient).await;
    assert_eq!(values(&response), ["hello"]);
    // A server that stops does not wait for those who wait.
    reader.send(ApiKey::Fetch, 12, &fetch(12, &topic, 1).with_max_wait_ms(60_000).with_min_bytes(1)).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_batch_comes_whole_and_others_as_far_as_they_fit() {
    let running = Running::start().await;
    let mut connection = running.connect().await;
    let topic = connection.topic("news").await;
    let long = "x".repeat(1000);
    for _ in 0..3 {
        assert_eq!(connection.produce(9, &topic, &[&long]).await, 0);
    }
    for (max_bytes, whole) in [(0, 1), (1500, 1), (2500, 2), (1 << 20, 3)] {
        let request = fetch(12, &topic, 0).with_max_bytes(max_bytes);
        let response: FetchResponse = connection.call(ApiKey::Fetch, 12, request).await;
        assert_eq!(values(&response).len(), whole, "max bytes {max_bytes}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_known_is_refused_as_kafka_does() {
    let running = Running::start().await;
    // A later version of ApiVersions is answered in the first one, and the connection goes on.
    let mut connection = running.connect().await;
    connection.write(&[0, 18, 0, 99, 0, 0, 0, 7, 0, 4, b't', b'e', b's', b't', 0]).await;
    let mut frame = connection.read().await.unwrap();
    assert_eq!(ResponseHeader::decode(&mut frame, 0).unwrap().correlation_id, 7);
    let response = ApiVersionsResponse::decode(&mut frame, 0).unwrap();
    assert_eq!(response.error_code, ResponseError::UnsupportedVersion.code());
    assert_eq!(response.api_keys.iter().map(|version| version.api_key).collect::<Vec<_>>(), [18]);
    let response: ApiVersionsResponse = connection.call(ApiKey::ApiVersions, 3, named_client()).await;
    assert!(response.api_keys.iter().any(|version| version.api_key == 1 && version.max_version == 18));
    // Any other unknown key or version, and what is no request, closes it.
    for frame in [&[0, 3, 0, 99, 0, 0, 0, 7, 0, 0][..], &[0x7f, 0xff, 0, 0, 0, 0, 0, 7, 0, 0], &[1, 2, 3], &[]] {
        let mut connection = running.connect().await;
        connection.write(frame).await;
        assert!(connection.read().await.is_none(), "{frame:?}");
    }
    running.stop().await;
}

fn named_client() -> ApiVersionsRequest {
    let text = StrBytes::from_static_str("test");
    ApiVersionsRequest::default().with_client_software_name(text.clone()).with_client_software_version(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lengths_that_lie_take_no_memory_and_others_are_served_on() {
    let settings = ServerSettings { max_request_bytes: 1 << 20, max_connections: 3, ..ServerSettings::default() };
    let running = Running::start_with(settings).await;
    let mut other = running.connect().await;
    let topic = other.topic("news").await;
    for claimed in [u32::MAX, i32::MAX as u32, (1 << 20) + 1] {
        let mut connection = running.connect().await;
        connection.stream.write_u32(claimed).await.unwrap();
        assert!(connection.read().await.is_none(), "{claimed} bytes");
    }
    // A thousand million topics in ten bytes.
    for body in [
        &[0, 3, 0, 4, 0, 0, 0, 7, 0xff, 0xff, 0x3b, 0x9a, 0xca, 0, 0][..],
        &[0, 3, 0, 12, 0, 0, 0, 7, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xff, 7, 0],
    ] {
        let mut connection = running.connect().await;
        connection.write(body).await;
        assert!(connection.read().await.is_none());
    }
    // Half a frame, and nothing more.
    let mut half = running.connect().await;
    half.stream.write_all(&[0, 0, 1, 0, 0, 3]).await.unwrap();
    assert_eq!(other.produce(9, &topic, &["on"]).await, 0);
    // One connection too many is closed at once.
    let _third = running.connect().await;
    let mut fourth = running.connect().await;
    assert!(fourth.read().await.is_none());
    assert_eq!(other.produce(9, &topic, &["and on"]).await, 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_holds_no_memory_that_others_wait_for() {
    let running =
        Running::start_with(ServerSettings { response_memory_bytes: 1 << 20, ..ServerSettings::default() }).await;
    let mut well = running.connect().await;
    let creation = |topics: &[(&str, i32)]| {
        let topic = |(topic, partitions): &(&str, i32)| {
            create_topics_request::CreatableTopic::default()
                .with_name(name(topic))
                .with_num_partitions(*partitions)
                .with_replication_factor(1)
        };
        CreateTopicsRequest::default().with_topics(topics.iter().map(topic).collect()).with_timeout_ms(10_000)
    };
    let response: CreateTopicsResponse =
        well.call(ApiKey::CreateTopics, 7, creation(&[("wide", 5001), ("wider", 5000)])).await;
    let codes: Vec<_> = response.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [ResponseError::PolicyViolation.code(); 2]);
    let response: CreateTopicsResponse = well.call(ApiKey::CreateTopics, 7, creation(&[("wide", 3000)])).await;
    assert_eq!(response.topics[0].error_code, 0);
    // Each asks for far more than sockets take, and reads nothing of it.
    const ASKED: usize = 400;
    let mut silent = Vec::new();
    for _ in 0..16 {
        let mut one = running.connect().await;
        for _ in 0..ASKED {
            one.send(ApiKey::Metadata, 12, &MetadataRequest::default().with_topics(None)).await;
        }
        silent.push(one);
    }
    // The others are served all the while, and those that hold the memory are closed.
    let is_closed = |one: &Connection| {
        one.stream.try_write(&[0]).is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
    };
    while !silent.iter().any(is_closed) {
        let all = MetadataRequest::default().with_topics(None);
        let response: MetadataResponse = well.call(ApiKey::Metadata, 12, all).await;
        assert_eq!(response.topics[0].partitions.len(), 3000);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_small_responses_keeps_nobody_waiting() {
    let running = Running::start().await;
    let mut well = running.connect().await;
    // Its description is a response of 12 KB or so.
    let topic = create_topics_request::CreatableTopic::default().with_name(name("some")).with_replication_factor(1);
    let creation =
        CreateTopicsRequest::default().with_topics(vec![topic.with_num_partitions(250)]).with_timeout_ms(10_000);
    let response: CreateTopicsResponse = well.call(ApiKey::CreateTopics, 7, creation).await;
    assert_eq!(response.topics[0].error_code, 0);
    let all = MetadataRequest::default().with_topics(None);
    const ASKED: usize = 2000;
    let mut silent = Vec::new();
    for _ in 0..20 {
        let mut one = running.connect().await;
        for _ in 0..ASKED {
            one.send(ApiKey::Metadata, 12, &all).await;
        }
        silent.push(one);
    }
    for _ in 0..ASKED {
        let response: MetadataResponse = well.call(ApiKey::Metadata, 12, all.clone()).await;
        assert_eq!(response.topics[0].partitions.len(), 250);
    }
    drop(silent);
    running.stop().await;
}

/// Who reads or writes slowly, and does, is not idle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_or_a_response_may_take_longer_than_a_connection_may_be_idle() {
    let max_idle = std::time::Duration::from_millis(1500);
    let running = Running::start_with(ServerSettings { max_idle, ..ServerSettings::default() }).await;
    let mut connection = running.connect().await;
    let topic = connection.topic("news").await;
    let mut frame = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(ApiKey::Produce as i16)
        .with_request_api_version(9)
        .encode(&mut frame, 2)
        .unwrap();
    produce(9, &topic, &[&"x".repeat(200_000)], -1).encode(&mut frame, 9).unwrap();
    let mut whole = BytesMut::new();
    whole.put_u32(frame.len() as u32);
    whole.put_slice(&frame);
    let started = std::time::Instant::now();
    for piece in whole.chunks(20_000) {
        connection.stream.write_all(piece).await.unwrap();
        tokio::time::sleep(max_idle / 6).await;
    }
    assert!(started.elapsed() > max_idle);
    assert!(connection.read().await.is_some());
    // Who does nothing is.
    let ended = connection.read().await;
    assert!(ended.is_none());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_acknowledgement_there_is_no_response_and_a_failure_closes() {
    let running = Running::start().await;
    let mut connection = running.connect().await;
    let topic = connection.topic("news").await;
    connection.send(ApiKey::Produce, 9, &produce(9, &topic, &["quiet"], 0)).await;
    let response: FetchResponse = connection.call(ApiKey::Fetch, 12, fetch(12, &topic, 0)).await;
    assert_eq!(values(&response), ["quiet"]);
    let nowhere = TopicPlace { name: "nowhere".to_owned(), id: uuid::Uuid::nil() };
    connection.send(ApiKey::Produce, 9, &produce(9, &nowhere, &["lost"], 0)).await;
    assert!(connection.read().await.is_none());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_lie_are_refused_with_kafkas_code() {
    let running = Running::start().await;
    let mut connection = running.connect().await;
    let topic = connection.topic("news").await;
    let good = batch(&["a", "b"]);
    let broken = |at: usize, byte: u8, mend: bool| {
        let mut bytes = good.to_vec();
        bytes[at] ^= byte;
        if mend {
            let crc = crc32c::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        Bytes::from(bytes)
    };
    let corrupt = ResponseError::CorruptMessage.code();
    let invalid = ResponseError::InvalidRecord.code();
    let cases = [
        ("a bit of a record", broken(70, 1, false), corrupt),
        ("a length beyond the end", broken(10, 0x40, false), invalid),
        ("a length of almost nothing", broken(11, good[11], false), corrupt),
        ("the last offset delta", broken(26, 2, true), invalid),
        ("the number of records", broken(60, 4, true), invalid),
        ("a base offset", broken(7, 1, false), invalid),
        ("two batches", [good.clone(), good.clone()].concat().into(), invalid),
        ("a control batch", broken(22, 0x20, true), invalid),
        ("a length of a record", broken(61, 2, true), invalid),
        ("an unknown codec", broken(22, 7, true), -1),
        ("records that are not packed", broken(22, 1, true), -1),
        ("nothing", Bytes::new(), invalid),
    ];
    for (what, records, code) in cases {
        let mut request = produce(9, &topic, &[], 1);
        request.topic_data[0].partition_data[0].records = Some(records);
        let response: ProduceResponse = connection.call(ApiKey::Produce, 9, request).await;
        assert_eq!(response.responses[0].partition_responses[0].error_code, code, "{what}");
    }
    assert_eq!(connection.produce(9, &topic, &["still here"]).await, 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_and_goes_away_takes_no_place() {
    let settings = ServerSettings { max_connections: 2, ..ServerSettings::default() };
    let running = Running::start_with(settings).await;
    let mut first = running.connect().await;
    let topic = first.topic("news").await;
    for _ in 0..3 {
        let mut waiting = running.connect().await;
        let request = fetch(12, &topic, 0).with_max_wait_ms(i32::MAX).with_min_bytes(1 << 20);
        waiting.send(ApiKey::Fetch, 12, &request).await;
    }
    // There is a place again, sooner or later.
    loop {
        let mut next = running.connect().await;
        next.send(ApiKey::Metadata, 12, &MetadataRequest::default()).await;
        if next.read().await.is_some() {
            break;
        }
    }
    running.stop().await;
}

/// What is asked of groups, of topics, and of both together takes locks in one order.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn offsets_are_told_while_topics_come_and_go() {
    const TURNS: usize = 300;
    let running = Running::start().await;
    let mut connection = running.connect().await;
    connection.topic("news").await;
    let commit = offset_commit_request::OffsetCommitRequestPartition::default().with_committed_offset(1);
    let commit = offset_commit_request::OffsetCommitRequestTopic::default()
        .with_name(name("news"))
        .with_partitions(vec![commit]);
    let group = GroupId(StrBytes::from_static_str("g"));
    let commit = OffsetCommitRequest::default()
        .with_group_id(group.clone())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![commit]);
    let committed: OffsetCommitResponse = connection.call(ApiKey::OffsetCommit, 8, commit.clone()).await;
    assert_eq!(committed.topics[0].partitions[0].error_code, 0);
    let (mut asking, mut making, mut committing) =
        (running.connect().await, running.connect().await, running.connect().await);
    let asks = async {
        let wanted = offset_fetch_request::OffsetFetchRequestGroup::default().with_group_id(group).with_topics(None);
        let request = OffsetFetchRequest::default().with_groups(vec![wanted]);
        for _ in 0..TURNS {
            let response: OffsetFetchResponse = asking.call(ApiKey::OffsetFetch, 9, request.clone()).await;
            assert_eq!(response.groups[0].topics[0].partitions[0].committed_offset, 1);
        }
    };
    let makes = async {
        for _ in 0..TURNS {
            let topic = create_topics_request::CreatableTopic::default()
                .with_name(name("other"))
                .with_num_partitions(1)
                .with_replication_factor(1);
            let request = CreateTopicsRequest::default().with_topics(vec![topic]);
            let response: CreateTopicsResponse = making.call(ApiKey::CreateTopics, 7, request).await;
            assert_eq!(response.topics[0].error_code, 0);
            let topic = delete_topics_request::DeleteTopicState::default().with_name(Some(name("other")));
            let request = DeleteTopicsRequest::default().with_topics(vec![topic]);
            let response: DeleteTopicsResponse = making.call(ApiKey::DeleteTopics, 6, request).await;
            assert_eq!(response.responses[0].error_code, 0);
        }
    };
    let commits = async {
        for _ in 0..TURNS {
            let _: OffsetCommitResponse = committing.call(ApiKey::OffsetCommit, 8, commit.clone()).await;
        }
    };
    let all = async { tokio::join!(asks, makes, commits) };
    // It is over in a second, or never.
    tokio::time::timeout(std::time::Duration::from_secs(120), all).await.expect("nobody waits for each other");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_of_the_broker_are_written_by_nobody_else() {
    use delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
    let running = Running::start().await;
    let mut connection = running.connect().await;
    let offsets = connection.topic("__consumer_offsets").await;
    let forbidden = ResponseError::InvalidTopicException.code();
    assert_eq!(connection.produce(9, &offsets, &["forged"]).await, forbidden);
    let delete = |topic: &str| {
        let partition = DeleteRecordsPartition::default().with_offset(-1);
        let topic = DeleteRecordsTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
        DeleteRecordsRequest::default().with_topics(vec![topic])
    };
    let response: DeleteRecordsResponse = connection.call(ApiKey::DeleteRecords, 2, delete("__consumer_offsets")).await;
    assert_eq!(response.topics[0].partitions[0].error_code, forbidden);
    // A compacted topic keeps what it has.
    let config = create_topics_request::CreatableTopicConfig::default()
        .with_name(StrBytes::from_static_str("cleanup.policy"))
        .with_value(Some(StrBytes::from_static_str("compact")));
    let topic = create_topics_request::CreatableTopic::default()
        .with_name(name("kept"))
        .with_num_partitions(1)
        .with_replication_factor(1)
        .with_configs(vec![config]);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]);
    let _: CreateTopicsResponse = connection.call(ApiKey::CreateTopics, 7, request).await;
    let response: DeleteRecordsResponse = connection.call(ApiKey::DeleteRecords, 2, delete("kept")).await;
    assert_eq!(response.topics[0].partitions[0].error_code, ResponseError::PolicyViolation.code());
    let mut builder = BatchBuilder::new(Compression::Zstd);
    builder.push(Timestamp(1), Some(b"k"), Some(b"v"), &Headers::EMPTY);
    builder.push(Timestamp(1), None, Some(b"v"), &Headers::EMPTY);
    let records = builder.finish().unwrap();
    for (version, code) in [(9, ResponseError::InvalidRecord), (6, ResponseError::UnsupportedCompressionType)] {
        let kept = TopicPlace { name: "kept".to_owned(), id: uuid::Uuid::nil() };
        let mut request = produce(version, &kept, &[], 1);
        request.topic_data[0].partition_data[0].records = Some(records.clone());
        let response: ProduceResponse = connection.call(ApiKey::Produce, version, request).await;
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!(partition.error_code, code.code(), "version {version}");
        let places: Vec<i32> = partition.record_errors.iter().map(|error| error.batch_index).collect();
        assert_eq!(places, if version == 9 { vec![1] } else { vec![] });
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_told_the_address_that_they_have_reached() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::open(folder.path(), BrokerSettings::default()).unwrap();
    let listeners: Vec<Listener> = ["OPEN://0.0.0.0:0", "SAID://0.0.0.0:0"].map(|text| text.parse().unwrap()).into();
    let mut listeners = listeners;
    listeners[1].advertised = Some(("log.example".to_owned(), 1));
    let twice = [listeners[0].clone(), listeners[0].clone()];
    let refused = Server::start(&broker, &twice, ServerSettings::default()).await.err().unwrap();
    assert!(refused.to_string().contains("two are called OPEN"), "{refused}");
    let server = Server::start(&broker, &listeners, ServerSettings::default()).await.unwrap();
    for (name, reached, told) in
        [("OPEN", "127.0.0.1", "127.0.0.1"), ("OPEN", "127.0.0.2", "127.0.0.2"), ("SAID", "127.0.0.1", "log.example")]
    {
        let stream = TcpStream::connect((reached, server.addresses()[name].port())).await.unwrap();
        let mut connection = Connection { stream, next: 0 };
        let response: MetadataResponse = connection.call(ApiKey::Metadata, 12, MetadataRequest::default()).await;
        assert_eq!(&*response.brokers[0].host, told);
    }
    server.stop().await;
    broker.close().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_is_wrong_about_times_and_offsets_within_it_are_put_right() {
    let running = Running::start().await;
    let mut connection = running.connect().await;
    let topic = connection.topic("news").await;
    for (id, compression) in [(7, Compression::None), (8, Compression::Lz4)] {
        let mut builder = BatchBuilder::new(compression);
        for (delta, timestamp) in [(1, 5000), (4, 9000), (2, 7000)] {
            builder.push_at(delta, Timestamp(timestamp), None, Some(b"v"), &Headers::EMPTY);
        }
        let stamp = ProducerStamp { id, epoch: 0, base_sequence: 0, transactional: false };
        let mut bytes = builder.finish_as(stamp).unwrap().to_vec();
        bytes[23..27].copy_from_slice(&2i32.to_be_bytes());
        bytes[35..43].copy_from_slice(&1_000_000i64.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        let mut request = produce(9, &topic, &[], 1);
        request.topic_data[0].partition_data[0].records = Some(bytes.into());
        let response: ProduceResponse = connection.call(ApiKey::Produce, 9, request).await;
        let first = response.responses[0].partition_responses[0].base_offset;
        let response: FetchResponse = connection.call(ApiKey::Fetch, 12, fetch(12, &topic, first)).await;
        let stored = response.responses[0].partitions[0].records.clone().unwrap();
        let batch = Batch::parse(&stored).unwrap();
        batch.check_crc().unwrap();
        assert_eq!((batch.compression().unwrap(), batch.producer_id(), batch.base_sequence()), (compression, id, 0));
        assert_eq!(batch.max_timestamp(), Timestamp(9000), "{compression:?}");
        let records = batch.records(1 << 20).unwrap();
        let seen: Vec<_> = records.iter().map(|record| record.unwrap()).collect();
        let seen: Vec<_> = seen.iter().map(|record| (record.offset.0 - first, record.timestamp.0)).collect();
        assert_eq!(seen, [(0, 5000), (1, 9000), (2, 7000)], "{compression:?}");
    }
    running.stop().await;
}

/// A batch of an idempotent producer.
fn numbered(id: i64, epoch: i16, base_sequence: i32, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values {
        builder.push(Timestamp(1), Some(b"k"), Some(value.as_bytes()), &Headers::EMPTY);
    }
    builder.finish_as(ProducerStamp { id, epoch, base_sequence, transactional: false }).unwrap()
}

impl Connection {
    /// Sends a numbered batch; gives the error code and the offset.
    async fn produce_numbered(&mut self, topic: &TopicPlace, batch: Bytes) -> (i16, i64) {
        let mut request = produce(9, topic, &[], -1);
        request.topic_data[0].partition_data[0].records = Some(batch);
        let response: ProduceResponse = self.call(ApiKey::Produce, 9, request).await;
        let partition = &response.responses[0].partition_responses[0];
        (partition.error_code, partition.base_offset)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_sent_again_is_written_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut ids = Vec::new();
    let (gap, fenced) = (ResponseError::OutOfOrderSequenceNumber.code(), ResponseError::InvalidProducerEpoch.code());
    for round in 0..3 {
        let broker = Broker::open(folder.path(), BrokerSettings::default()).unwrap();
        let listener: Listener = "127.0.0.1:0".parse().unwrap();
        let server = Server::start(&broker, &[listener], ServerSettings::default()).await.unwrap();
        let running = Running { server, broker, folder: tempfile::tempdir().unwrap() };
        let mut connection = running.connect().await;
        let topic = connection.topic("news").await;
        let request = InitProducerIdRequest::default().with_transactional_id(None);
        let response: InitProducerIdResponse = connection.call(ApiKey::InitProducerId, 4, request).await;
        assert_eq!((response.error_code, response.producer_epoch), (0, 0));
        assert!(!ids.contains(&response.producer_id.0), "each has a number of its own");
        ids.push(response.producer_id.0);
        if round == 0 {
            assert_eq!(connection.produce_numbered(&topic, numbered(ids[0], 0, 0, &["a", "b"])).await, (0, 0));
            assert_eq!(connection.produce_numbered(&topic, numbered(ids[0], 0, 2, &["c"])).await, (0, 2));
        }
        // What was written last is known after a close and after a crash.
        assert_eq!(connection.produce_numbered(&topic, numbered(ids[0], 0, 2, &["c"])).await, (0, 2), "round {round}");
        assert_eq!(connection.produce_numbered(&topic, numbered(ids[0], 0, 9, &["d"])).await.0, gap);
        let wanted = describe_producers_request::TopicRequest::default().with_name(name("news"));
        let request = DescribeProducersRequest::default().with_topics(vec![wanted.with_partition_indexes(vec![0, 7])]);
        let described: DescribeProducersResponse = connection.call(ApiKey::DescribeProducers, 0, request).await;
        let [here, nowhere] = &described.topics[0].partitions[..] else { panic!("{described:?}") };
        let active: Vec<_> = here.active_producers.iter().map(|one| (one.producer_id.0, one.last_sequence)).collect();
        assert_eq!((active, nowhere.error_code), (vec![(ids[0], 2)], ResponseError::UnknownTopicOrPartition.code()));
        assert_eq!(connection.produce_numbered(&topic, numbered(ids[0], -1, 3, &["d"])).await.0, fenced);
        if round == 0 {
            running.stop().await;
        } else {
            running.server.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_one_node_is_answered() {
    let running = Running::start().await;
    let mut connection = running.connect().await;
    let topic = connection.topic("news").await;
    connection.topic("other").await;
    assert_eq!(connection.produce(9, &topic, &["a"]).await, 0);
    let wanted = describe_log_dirs_request::DescribableLogDirTopic::default().with_topic(name("news"));
    let request = DescribeLogDirsRequest::default().with_topics(Some(vec![wanted.with_partitions(vec![0])]));
    let response: DescribeLogDirsResponse = connection.call(ApiKey::DescribeLogDirs, 4, request).await;
    let [only] = &response.results[0].topics[..] else { panic!("{response:?}") };
    assert_eq!(only.partitions[0].partition_size, batch(&["a"]).len() as i64);
    let request = DescribeLogDirsRequest::default().with_topics(None);
    let response: DescribeLogDirsResponse = connection.call(ApiKey::DescribeLogDirs, 4, request).await;
    assert_eq!(response.results[0].topics.len(), 2);
    let of = |topic: &str| {
        elect_leaders_request::TopicPartitions::default().with_topic(name(topic)).with_partitions(vec![0])
    };
    let request = ElectLeadersRequest::default().with_topic_partitions(Some(vec![of("news"), of("nowhere")]));
    let response: ElectLeadersResponse = connection.call(ApiKey::ElectLeaders, 2, request).await;
    let codes: Vec<i16> =
        response.replica_election_results.iter().map(|topic| topic.partition_result[0].error_code).collect();
    assert_eq!(codes, [ResponseError::ElectionNotNeeded.code(), ResponseError::UnknownTopicOrPartition.code()]);
    let request = ListPartitionReassignmentsRequest::default().with_topics(None);
    let response: ListPartitionReassignmentsResponse =
        connection.call(ApiKey::ListPartitionReassignments, 0, request).await;
    assert!(response.topics.is_empty());
    running.stop().await;
}

/// A consumer's part in its group.
struct Member {
    connection: Connection,
    id: StrBytes,
    generation: i32,
    /// The ids of all members, if it leads.
    led: Vec<StrBytes>,
}

impl Member {
    async fn new(running: &Running) -> Self {
        let connection = running.connect().await;
        Member { connection, id: StrBytes::default(), generation: -1, led: Vec::new() }
    }

    /// Asks to join; the answer may have to wait.
    async fn send_join(&mut self) -> i32 {
        let protocol = join_group_request::JoinGroupRequestProtocol::default()
            .with_name(StrBytes::from_static_str("range"))
            .with_metadata(Bytes::from_static(b"\0\0\0\0\0\x01\0\x04news\xff\xff\xff\xff"));
        let request = JoinGroupRequest::default()
            .with_group_id(GroupId(StrBytes::from_static_str("readers")))
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(10_000)
            .with_member_id(self.id.clone())
            .with_protocol_type(StrBytes::from_static_str("consumer"))
            .with_protocols(vec![protocol]);
        self.connection.send(ApiKey::JoinGroup, 9, &request).await
    }

    async fn receive_join(&mut self, number: i32) -> i16 {
        let joined: JoinGroupResponse = self.connection.receive(ApiKey::JoinGroup, 9, number).await;
        (self.id, self.generation) = (joined.member_id, joined.generation_id);
        self.led = joined.members.into_iter().map(|member| member.member_id).collect();
        joined.error_code
    }

    async fn join(&mut self) -> i16 {
        let number = self.send_join().await;
        self.receive_join(number).await
    }

    async fn send_sync(&mut self) -> i32 {
        let share = |id: &StrBytes| {
            sync_group_request::SyncGroupRequestAssignment::default()
                .with_member_id(id.clone())
                .with_assignment(Bytes::copy_from_slice(id.as_bytes()))
        };
        let request = SyncGroupRequest::default()
            .with_group_id(GroupId(StrBytes::from_static_str("readers")))
            .with_member_id(self.id.clone())
            .with_generation_id(self.generation)
            .with_protocol_type(Some(StrBytes::from_static_str("consumer")))
            .with_protocol_name(Some(StrBytes::from_static_str("range")))
            .with_assignments(self.led.iter().map(share).collect());
        self.connection.send(ApiKey::SyncGroup, 5, &request).await
    }

    async fn heartbeat(&mut self) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(GroupId(StrBytes::from_static_str("readers")))
            .with_member_id(self.id.clone())
            .with_generation_id(self.generation);
        let response: HeartbeatResponse = self.connection.call(ApiKey::Heartbeat, 4, request).await;
        response.error_code
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_a_group_wait_for_each_other_and_have_their_shares() {
    let mut settings = BrokerSettings::default();
    settings.groups.initial_rebalance_delay = std::time::Duration::from_millis(1);
    let running = Running::start_over(settings, ServerSettings::default()).await;
    let mut first = Member::new(&running).await;
    assert_eq!(first.join().await, ResponseError::MemberIdRequired.code());
    assert_eq!(first.join().await, 0);
    assert_eq!((first.generation, first.led.len()), (1, 1));
    // A second one comes: the first hears of it, and both are answered once it has joined again.
    let mut second = Member::new(&running).await;
    assert_eq!(second.join().await, ResponseError::MemberIdRequired.code());
    let waiting = second.send_join().await;
    while first.heartbeat().await != ResponseError::RebalanceInProgress.code() {
        tokio::task::yield_now().await;
    }
    assert_eq!(first.join().await, 0);
    assert_eq!(second.receive_join(waiting).await, 0);
    assert_eq!((first.generation, first.led.len(), second.led.len()), (2, 2, 0));
    // The share of the one that does not lead waits for the leader.
    let (asked, assigned) = (second.send_sync().await, first.send_sync().await);
    for (member, number) in [(&mut first, assigned), (&mut second, asked)] {
        let share: SyncGroupResponse = member.connection.receive(ApiKey::SyncGroup, 5, number).await;
        assert_eq!((share.error_code, &*share.assignment), (0, member.id.as_bytes()));
        assert_eq!(member.heartbeat().await, 0);
    }
    // What is in the log is there again.
    let Running { broker, server, folder } = running;
    server.stop().await;
    broker.close().unwrap();
    let running = Running::over(folder, BrokerSettings::default(), ServerSettings::default()).await;
    let mut connection = running.connect().await;
    let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(StrBytes::from_static_str("readers"))]);
    let described: DescribeGroupsResponse = connection.call(ApiKey::DescribeGroups, 6, request).await;
    let members: Vec<_> = described.groups[0].members.iter().map(|member| &*member.member_assignment).collect();
    assert_eq!((&*described.groups[0].group_state, members.len()), ("Stable", 2));
    assert!(members.contains(&first.id.as_bytes()) && members.contains(&second.id.as_bytes()));
    running.stop().await;
}

/// The page lists what is answered, in those versions.
#[test]
fn the_page_has_every_request_that_is_answered() {
    let page = include_str!("../../../docs/broker.md");
    let supported: Vec<String> = tidewater_protocol::supported_versions()
        .map(|(key, versions)| format!("| {key:?} | {} to {} |", versions.start(), versions.end()))
        .collect();
    let table = page.split("| request |").nth(1).unwrap().split("\n\n").next().unwrap();
    let rows: Vec<&str> = table.lines().skip(2).collect();
    assert_eq!(rows.len(), supported.len());
    for (row, expected) in rows.iter().zip(&supported) {
        assert!(row.starts_with(expected.as_str()), "{row} is not {expected}");
    }
}
