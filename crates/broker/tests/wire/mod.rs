//! A broker with a listener, and a connection that writes and reads frames.

#![allow(dead_code, reason = "each of the tests uses a part of it")]

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable};
use tidewater_broker::{Broker, BrokerSettings, Listener, Server, ServerSettings};
use tidewater_protocol::messages::*;
use tidewater_protocol::{Batch, BatchBuilder, Compression, StrBytes};
use tidewater_types::{Headers, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A broker with a listener, and what it writes to.
pub struct Running {
    pub broker: Broker,
    pub server: Server,
    pub folder: tempfile::TempDir,
}

impl Running {
    pub async fn start() -> Self {
        Self::start_with(ServerSettings::default()).await
    }

    pub async fn start_with(settings: ServerSettings) -> Self {
        Self::start_over(BrokerSettings::default(), settings).await
    }

    pub async fn start_over(settings: BrokerSettings, server: ServerSettings) -> Self {
        Self::over(tempfile::tempdir().unwrap(), settings, server).await
    }

    pub async fn over(folder: tempfile::TempDir, settings: BrokerSettings, server: ServerSettings) -> Self {
        let broker = Broker::open(folder.path(), settings).unwrap();
        let listener: Listener = "127.0.0.1:0".parse().unwrap();
        let server = Server::start(&broker, &[listener], server).await.unwrap();
        Running { broker, server, folder }
    }

    pub async fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.server.addresses()["PLAINTEXT"]).await.unwrap();
        Connection { stream, next: 0 }
    }

    pub async fn stop(self) {
        self.server.stop().await;
        self.broker.close().unwrap();
    }
}

pub struct Connection {
    pub stream: TcpStream,
    pub next: i32,
}

pub fn name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

impl Connection {
    /// Writes a request; gives its number.
    pub async fn send<R: Encodable>(&mut self, key: ApiKey, version: i16, request: &R) -> i32 {
        self.next += 1;
        let header = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.next)
            .with_client_id(Some(StrBytes::from_static_str("test")));
        let mut body = BytesMut::new();
        header.encode(&mut body, key.request_header_version(version)).unwrap();
        request.encode(&mut body, version).unwrap();
        self.write(&body).await;
        self.next
    }

    /// Writes a frame.
    pub async fn write(&mut self, frame: &[u8]) {
        let mut out = BytesMut::new();
        out.put_u32(frame.len() as u32);
        out.put_slice(frame);
        self.stream.write_all(&out).await.unwrap();
    }

    /// Reads a frame; `None` if the connection was closed.
    pub async fn read(&mut self) -> Option<Bytes> {
        let length = self.stream.read_u32().await.ok()?;
        let mut frame = vec![0; length as usize];
        self.stream.read_exact(&mut frame).await.ok()?;
        Some(frame.into())
    }

    /// Reads the response to a request of that number.
    pub async fn receive<R: Decodable>(&mut self, key: ApiKey, version: i16, number: i32) -> R {
        let mut frame = self.read().await.unwrap();
        let header = ResponseHeader::decode(&mut frame, key.response_header_version(version)).unwrap();
        assert_eq!(header.correlation_id, number);
        let response = R::decode(&mut frame, version).unwrap();
        assert!(frame.is_empty());
        response
    }

    pub async fn call<Q: Encodable, R: Decodable>(&mut self, key: ApiKey, version: i16, request: Q) -> R {
        let number = self.send(key, version, &request).await;
        self.receive(key, version, number).await
    }

    pub async fn produce(&mut self, version: i16, topic: &TopicPlace, values: &[&str]) -> i16 {
        let number = self.send(ApiKey::Produce, version, &produce(version, topic, values, -1)).await;
        let response: ProduceResponse = self.receive(ApiKey::Produce, version, number).await;
        response.responses[0].partition_responses[0].error_code
    }

    /// Makes a topic by asking for it; gives its id.
    pub async fn topic(&mut self, topic: &str) -> TopicPlace {
        let wanted = metadata_request::MetadataRequestTopic::default().with_name(Some(name(topic)));
        let request = MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(true);
        // It is made now, and there the next time.
        let response: MetadataResponse = self.call(ApiKey::Metadata, 12, request.clone()).await;
        assert!(matches!(response.topics[0].error_code, 0 | 3));
        let response: MetadataResponse = self.call(ApiKey::Metadata, 12, request).await;
        assert_eq!(response.topics[0].error_code, 0);
        assert_eq!(response.brokers.len(), 1);
        TopicPlace { name: topic.to_owned(), id: response.topics[0].topic_id }
    }
}

pub struct TopicPlace {
    pub name: String,
    pub id: uuid::Uuid,
}

pub fn batch(values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values {
        builder.push(Timestamp(1), Some(b"k"), Some(value.as_bytes()), &Headers::EMPTY);
    }
    builder.finish().unwrap()
}

pub fn produce(version: i16, topic: &TopicPlace, values: &[&str], acks: i16) -> ProduceRequest {
    use produce_request::{PartitionProduceData, TopicProduceData};
    let data = PartitionProduceData::default().with_records(Some(batch(values)));
    let mut of_topic = TopicProduceData::default().with_partition_data(vec![data]);
    match version {
        13.. => of_topic.topic_id = topic.id,
        _ => of_topic.name = name(&topic.name),
    }
    ProduceRequest::default().with_acks(acks).with_timeout_ms(1000).with_topic_data(vec![of_topic])
}

pub fn fetch(version: i16, topic: &TopicPlace, offset: i64) -> FetchRequest {
    use fetch_request::{FetchPartition, FetchTopic};
    let partition = FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(1 << 20);
    let mut of_topic = FetchTopic::default().with_partitions(vec![partition]);
    match version {
        13.. => of_topic.topic_id = topic.id,
        _ => of_topic.topic = name(&topic.name),
    }
    FetchRequest::default().with_max_bytes(1 << 20).with_session_epoch(-1).with_topics(vec![of_topic])
}

pub fn values(response: &FetchResponse) -> Vec<String> {
    let mut records = response.responses[0].partitions[0].records.clone().unwrap_or_default();
    let mut values = Vec::new();
    while let Ok(batch) = Batch::parse(&records) {
        for record in batch.records(1 << 20).unwrap().iter() {
            values.push(String::from_utf8_lossy(record.unwrap().value.unwrap()).into_owned());
        }
        records = records.slice(batch.len()..);
    }
    values
}
