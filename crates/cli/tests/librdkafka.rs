//! The log under librdkafka, in this process: codecs, transactions, and groups of both protocols.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tidewater::{Listener, Log, Server};

/// For everything that does not hang.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a consumer is polled for what must come.
const POLLS: usize = 600;
const POLL: Duration = Duration::from_millis(100);

type AnyProducer = ThreadedProducer<DefaultProducerContext>;

/// A log that listens, for one test.
struct Broker {
    server: Option<Server>,
    address: String,
    runtime: tokio::runtime::Runtime,
    _log: Log,
    _folder: tempfile::TempDir,
}

impl Broker {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let log = Log::open(folder.path()).unwrap();
        let listener: Listener = "127.0.0.1:0".parse().unwrap();
        let server = runtime.block_on(log.listen(&[listener])).unwrap();
        let address = server.addresses()["PLAINTEXT"].to_string();
        Broker { server: Some(server), address, runtime, _log: log, _folder: folder }
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address);
        config
    }

    fn producer(&self, settings: &[(&str, &str)]) -> AnyProducer {
        let mut config = self.config();
        for (name, value) in settings {
            config.set(*name, *value);
        }
        config.create().unwrap()
    }

    fn consumer(&self, group: &str, settings: &[(&str, &str)]) -> BaseConsumer {
        let mut config = self.config();
        config.set("group.id", group).set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        config.create().unwrap()
    }

    fn create(&self, topic: &str, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().unwrap();
        let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let made = self.runtime.block_on(admin.create_topics([&topic], &AdminOptions::new())).unwrap();
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    /// All records of partition 0 up to its end, as one sees them who reads so.
    fn read(&self, topic: &str, isolation: &str) -> Vec<String> {
        let consumer = self.consumer("reader", &[("isolation.level", isolation), ("enable.partition.eof", "true")]);
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
        consumer.assign(&from).unwrap();
        let mut found = Vec::new();
        for _ in 0..POLLS {
            match consumer.poll(POLL) {
                None => {}
                Some(Ok(message)) => found.push(text(&message)),
                Some(Err(KafkaError::PartitionEOF(_))) => return found,
                Some(Err(error)) => panic!("{error}"),
            }
        }
        panic!("the end of {topic} does not come after {found:?}")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
    }
}

fn text(message: &impl Message) -> String {
    String::from_utf8(message.payload().unwrap_or_default().to_vec()).unwrap()
}

fn send(producer: &AnyProducer, topic: &str, values: &[&str]) {
    for value in values {
        producer
            .send(BaseRecord::to(topic).partition(0).key("key").payload(*value))
            .map_err(|(error, _)| error)
            .unwrap();
    }
}

#[test]
fn records_come_back_through_every_codec() {
    let broker = Broker::start();
    let mut sent = Vec::new();
    broker.create("codecs", 1);
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let producer =
            broker.producer(&[("compression.type", codec), ("enable.idempotence", "true"), ("linger.ms", "50")]);
        let values: Vec<String> = (0..100).map(|number| format!("{codec} {number} {}", "again ".repeat(20))).collect();
        send(&producer, "codecs", &values.iter().map(String::as_str).collect::<Vec<_>>());
        producer.flush(PATIENCE).unwrap();
        sent.extend(values);
    }
    assert_eq!(broker.read("codecs", "read_uncommitted"), sent);
}

#[test]
fn transactions_are_seen_whole_or_not_at_all() {
    let broker = Broker::start();
    broker.create("t", 1);
    let first = broker.producer(&[("transactional.id", "tx")]);
    first.init_transactions(PATIENCE).unwrap();
    first.begin_transaction().unwrap();
    send(&first, "t", &["kept", "too"]);
    first.commit_transaction(PATIENCE).unwrap();
    first.begin_transaction().unwrap();
    send(&first, "t", &["aborted"]);
    first.flush(PATIENCE).unwrap();
    assert_eq!(broker.read("t", "read_committed"), ["kept", "too"]);
    first.abort_transaction(PATIENCE).unwrap();
    assert_eq!(broker.read("t", "read_committed"), ["kept", "too"]);
    assert_eq!(broker.read("t", "read_uncommitted"), ["kept", "too", "aborted"]);

    // Another one of the same id takes over, and what the first has left open is aborted.
    first.begin_transaction().unwrap();
    send(&first, "t", &["left open"]);
    first.flush(PATIENCE).unwrap();
    let second = broker.producer(&[("transactional.id", "tx")]);
    second.init_transactions(PATIENCE).unwrap();
    let fenced = first.commit_transaction(PATIENCE).unwrap_err();
    assert!(matches!(&fenced, KafkaError::Transaction(error) if error.is_fatal()), "{fenced:?}");
    second.begin_transaction().unwrap();
    send(&second, "t", &["second"]);
    second.commit_transaction(PATIENCE).unwrap();
    assert_eq!(broker.read("t", "read_committed"), ["kept", "too", "second"]);
}

#[test]
fn offsets_in_a_transaction_count_when_it_is_committed() {
    let broker = Broker::start();
    broker.create("in", 1);
    broker.create("out", 1);
    let consumer = broker.consumer("app", &[]);
    consumer.subscribe(&["in"]).unwrap();
    let feeder = broker.producer(&[]);
    send(&feeder, "in", &["a", "b"]);
    feeder.flush(PATIENCE).unwrap();
    assert_eq!(take(&consumer, 2), ["a", "b"]);
    let producer = broker.producer(&[("transactional.id", "app-1")]);
    producer.init_transactions(PATIENCE).unwrap();
    let metadata: ConsumerGroupMetadata = consumer.group_metadata().unwrap();
    let committed = || {
        let found = consumer.committed(PATIENCE).unwrap();
        found.find_partition("in", 0).unwrap().offset()
    };
    for (offset, commits) in [(1, false), (2, true)] {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset("in", 0, Offset::Offset(offset)).unwrap();
        producer.begin_transaction().unwrap();
        send(&producer, "out", &[&format!("up to {offset}")]);
        producer.send_offsets_to_transaction(&offsets, &metadata, PATIENCE).unwrap();
        if commits {
            producer.commit_transaction(PATIENCE).unwrap();
        } else {
            producer.abort_transaction(PATIENCE).unwrap();
            assert_eq!(committed(), Offset::Invalid);
        }
    }
    assert_eq!(committed(), Offset::Offset(2));
    assert_eq!(broker.read("out", "read_committed"), ["up to 2"]);
}

/// The next records that a consumer is given.
fn take(consumer: &BaseConsumer, count: usize) -> Vec<String> {
    let mut found = Vec::new();
    for _ in 0..POLLS {
        if found.len() == count {
            return found;
        }
        if let Some(message) = consumer.poll(POLL) {
            found.push(text(&message.unwrap()));
        }
    }
    panic!("{count} records do not come, only {found:?}")
}

#[test]
fn members_of_a_group_share_the_partitions() {
    let broker = Broker::start();
    broker.create("shared", 4);
    for protocol in ["classic", "consumer"] {
        let settings: &[(&str, &str)] = match protocol {
            "classic" => &[("group.protocol", "classic"), ("partition.assignment.strategy", "cooperative-sticky")],
            _ => &[("group.protocol", "consumer")],
        };
        let first = broker.consumer(protocol, settings);
        first.subscribe(&["shared"]).unwrap();
        wait_for(&[&first], |shares| shares[0].len() == 4);
        let second = broker.consumer(protocol, settings);
        second.subscribe(&["shared"]).unwrap();
        wait_for(&[&first, &second], |shares| {
            let all: BTreeSet<i32> = shares.iter().flatten().copied().collect();
            shares.iter().all(|share| share.len() == 2) && all.len() == 4
        });
        drop(first);
        wait_for(&[&second], |shares| shares[0].len() == 4);
    }
}

/// Polls consumers until their partitions are as wanted.
fn wait_for(consumers: &[&BaseConsumer], is_wanted: impl Fn(&[BTreeSet<i32>]) -> bool) {
    let mut shares = Vec::new();
    for _ in 0..POLLS {
        for consumer in consumers {
            assert!(consumer.poll(POLL).is_none_or(|message| message.is_ok()), "{:?}", consumer.poll(POLL).map(|_| ()));
        }
        let share = |consumer: &&BaseConsumer| {
            let assigned = consumer.assignment().unwrap();
            assigned.elements().iter().map(|element| element.partition()).collect()
        };
        shares = consumers.iter().map(share).collect();
        if is_wanted(&shares) {
            return;
        }
    }
    panic!("the partitions are shared as {shares:?}")
}
