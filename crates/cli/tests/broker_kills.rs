//! SIGKILL to the broker at any moment, under the load of producers and consumers: nothing acknowledged is lost, nothing is there
//! twice, nothing of an aborted transaction is seen, and what groups have committed does not go back.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerGroupMetadata};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

/// How often the broker is killed, in the short form and in the long one.
const KILLS: usize = 8;
const MANY_KILLS: usize = 100;
/// What must have happened before the next kill, of a producer's records and of transactions.
const ACKNOWLEDGED_BETWEEN: usize = 500;
const ENDED_BETWEEN: usize = 5;
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two records of the idempotent producer.
const PAUSE: Duration = Duration::from_micros(300);
const POLL: Duration = Duration::from_millis(50);
const PARTITIONS: i32 = 3;
/// Keys of the compacted topic.
const KEYS: usize = 50;
/// Members of each group.
const MEMBERS: usize = 2;
/// The groups, and their protocols.
const GROUPS: [(&str, &str); 2] = [("readers", "classic"), ("next", "consumer")];
/// Records of a transaction.
const RECORDS: usize = 6;
/// Tries until what must come is there.
const TRIES: usize = 2400;

/// The program, on a port that stays the same.
struct Broker {
    process: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Broker {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Small segments, so that rolls, retention of none, and compaction come into it.
        let settings = "log.retention.check.interval.ms=200\nlog.cleaner.backoff.ms=200\nlog.cleaner.min.cleanable.ratio=0.01\n\
                        num.partitions=3\ngroup.initial.rebalance.delay.ms=0\n";
        std::fs::write(folder.path().join("server.properties"), settings).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let broker = Broker { process: run(&folder, port), port, folder };
        broker.create_topics();
        broker
    }

    fn create_topics(&self) {
        let fixed = |name, segment_bytes| {
            NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1)).set("internal.segment.bytes", segment_bytes)
        };
        let compacted = fixed("compacted", "10000").set("cleanup.policy", "compact");
        let topics = [fixed("plain", "200000"), fixed("transactions", "200000"), compacted];
        let admin: AdminClient<DefaultClientContext> = self.config().create().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let made = runtime.block_on(admin.create_topics(&topics, &AdminOptions::new())).unwrap();
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = run(&self.folder, self.port);
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", format!("127.0.0.1:{}", self.port))
            .set("reconnect.backoff.ms", "10")
            .set("reconnect.backoff.max.ms", "100")
            .set("log_level", "0");
        config
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn run(folder: &tempfile::TempDir, port: u16) -> Child {
    let mut process = Command::new(env!("CARGO_BIN_EXE_tidewater"))
        .args(["broker", "--data", folder.path().join("data").to_str().unwrap()])
        .args(["--config", folder.path().join("server.properties").to_str().unwrap()])
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("listens at"), "the broker does not start again: {said:?}");
    process
}

/// What was acknowledged, by the numbers of records.
#[derive(Clone, Default)]
struct Delivered {
    acknowledged: Arc<Mutex<Vec<usize>>>,
    /// Of the compacted topic, the last of each key in each partition.
    last: Arc<Mutex<BTreeMap<Place, usize>>>,
}

/// A partition, and a key.
type Place = (i32, usize);

/// Where a record goes.
fn place_of(number: usize) -> Place {
    ((number % PARTITIONS as usize) as i32, number % KEYS)
}

impl ClientContext for Delivered {}

impl ProducerContext for Delivered {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<usize>) {
        match result {
            Ok(message) if message.topic() == "compacted" => {
                let mut last = self.last.lock().unwrap();
                let last = last.entry(place_of(*number)).or_default();
                *last = (*number).max(*last);
            }
            Ok(_) => self.acknowledged.lock().unwrap().push(*number),
            Err(_) => {}
        }
    }
}

/// Work that goes on until the kills are over.
struct Load {
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn spawn(&mut self, work: impl Fn() + Send + 'static) {
        let ends = self.ends.clone();
        self.threads.push(std::thread::spawn(move || {
            while !ends.load(Ordering::SeqCst) {
                work();
            }
        }));
    }

    fn end(self) {
        self.ends.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

fn survives(kills: usize) {
    let mut broker = Broker::start();
    let mut load = Load { ends: Arc::default(), threads: Vec::new() };

    // An idempotent producer, and one to a compacted topic, which says the same keys again and again.
    let delivered = Delivered::default();
    let numbers = Arc::new(AtomicUsize::new(0));
    let mut config = broker.config();
    config.set("enable.idempotence", "true").set("message.timeout.ms", "0").set("linger.ms", "2");
    let producer: ThreadedProducer<Delivered> = config.create_with_context(delivered.clone()).unwrap();
    let counter = numbers.clone();
    load.spawn(move || {
        let number = counter.fetch_add(1, Ordering::SeqCst);
        let (partition, key) = place_of(number);
        let (key, value) = (key.to_string(), number.to_string());
        for topic in ["plain", "compacted"] {
            let mut record = BaseRecord::with_opaque_to(topic, Box::new(number)).key(&key).payload(&value);
            record.partition = Some(partition);
            let _ = producer.send(record);
        }
        std::thread::sleep(PAUSE);
    });

    // Transactions, of which every third is aborted; each writes to all partitions, and commits an offset of its own group.
    let ended: Arc<Mutex<BTreeMap<usize, bool>>> = Arc::default();
    let (told, config) = (ended.clone(), broker.config());
    let transaction = AtomicUsize::new(0);
    let transactional: Mutex<Option<ThreadedProducer<DefaultProducerContext>>> = Mutex::default();
    load.spawn(move || {
        let mut held = transactional.lock().unwrap();
        let producer = held.get_or_insert_with(|| {
            let mut config = config.clone();
            config.set("transactional.id", "killed").set("transaction.timeout.ms", "20000");
            let producer: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
            while producer.init_transactions(PATIENCE).is_err() {}
            producer
        });
        let number = transaction.fetch_add(1, Ordering::SeqCst);
        match run_transaction(producer, number) {
            Ok(()) => drop(told.lock().unwrap().insert(number, !number.is_multiple_of(3))),
            // How it ended is not known; another producer begins, and aborts it if it is still open.
            Err(_) => *held = None,
        }
    });

    // Groups of each protocol, whose members commit what they have read.
    for (group, protocol) in GROUPS {
        let commits: Arc<Mutex<BTreeMap<i32, i64>>> = Arc::default();
        for _ in 0..MEMBERS {
            let mut config = broker.config();
            config.set("group.id", group).set("group.protocol", protocol);
            config.set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
            let consumer: BaseConsumer = config.create().unwrap();
            consumer.subscribe(&["plain"]).unwrap();
            let known = commits.clone();
            load.spawn(move || {
                let Some(Ok(message)) = consumer.poll(POLL) else { return };
                let (partition, next) = (message.partition(), message.offset() + 1);
                if next % 20 != 0 {
                    return;
                }
                // One after the other, so that the order is that of the commits.
                let mut known = known.lock().unwrap();
                if consumer.commit_message(&message, CommitMode::Sync).is_ok() {
                    let before = known.insert(partition, next);
                    assert!(before.is_none_or(|before| before <= next), "{group}: {partition} goes back to {next}");
                }
            });
        }
    }

    let mut marks = (0, 0);
    for round in 0..kills {
        wait_until("the load goes on", || {
            let now = (delivered.acknowledged.lock().unwrap().len(), ended.lock().unwrap().len());
            let goes_on = now.0 >= marks.0 + ACKNOWLEDGED_BETWEEN && now.1 >= marks.1 + ENDED_BETWEEN;
            if goes_on {
                marks = now;
            }
            goes_on
        });
        // Not always after the same step.
        std::thread::sleep(Duration::from_micros(((round * 7919) % 20_000) as u64));
        let all_committed = |broker: &Broker| GROUPS.map(|(group, _)| committed(broker, group));
        let committed_before = all_committed(&broker);
        broker.kill();
        for (before, after) in committed_before.into_iter().zip(all_committed(&broker)) {
            for (partition, before) in before {
                let after = after.get(&partition).copied().unwrap_or(-1);
                assert!(
                    after >= before,
                    "kill {round}: the offset of partition {partition} went back from {before} to {after}"
                );
            }
        }
    }
    load.end();

    // Each number once, and every one that was acknowledged.
    let plain = read(&broker, "plain", "read_uncommitted");
    let numbers: Vec<usize> = plain.iter().map(|(_, value)| value.parse().unwrap()).collect();
    let unique: BTreeSet<usize> = numbers.iter().copied().collect();
    assert_eq!(unique.len(), numbers.len(), "records are there twice");
    let acknowledged = delivered.acknowledged.lock().unwrap();
    let lost: Vec<_> = acknowledged.iter().filter(|number| !unique.contains(number)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");

    // Of each key the last that was acknowledged, or a later one; older ones have gone.
    let compacted = read(&broker, "compacted", "read_uncommitted");
    assert!(compacted.len() < unique.len(), "nothing was compacted");
    let mut newest: BTreeMap<Place, usize> = BTreeMap::new();
    for (partition, value) in &compacted {
        let number: usize = value.parse().unwrap();
        assert_eq!(place_of(number).0, *partition);
        let before = newest.insert(place_of(number), number);
        assert!(before.is_none_or(|before| before < number), "{number} stands behind {before:?}");
    }
    for (place, acknowledged) in delivered.last.lock().unwrap().iter() {
        assert!(newest.get(place).is_some_and(|found| found >= acknowledged), "{place:?}: {acknowledged} is lost");
    }

    // Transactions whole or not at all, and as their producer was told.
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    for (_, value) in read(&broker, "transactions", "read_committed") {
        *seen.entry(value.parse().unwrap()).or_default() += 1;
    }
    let ended = ended.lock().unwrap();
    for (number, commits) in ended.iter() {
        let expected = if *commits { RECORDS } else { 0 };
        assert_eq!(seen.get(number).copied().unwrap_or(0), expected, "transaction {number}, committed: {commits}");
    }
    assert!(seen.values().all(|records| *records == RECORDS), "{seen:?}");
    // Its offset was committed with the last transaction that was.
    let last = seen.keys().max().copied().unwrap_or(0) as i64;
    assert_eq!(committed(&broker, "transactional").get(&0).copied(), Some(last));
    println!(
        "{kills} kills: {} records acknowledged, none lost, none twice; {} transactions, {} of them committed, each whole; \
         of {} keys the last values are there, in {} records",
        acknowledged.len(),
        ended.len(),
        seen.len(),
        newest.len(),
        compacted.len()
    );
}

fn run_transaction(producer: &ThreadedProducer<DefaultProducerContext>, number: usize) -> Result<(), KafkaError> {
    producer.begin_transaction()?;
    let value = number.to_string();
    for record in 0..RECORDS {
        let mut record_to = BaseRecord::<str, str>::to("transactions").key("key").payload(&value);
        record_to.partition = Some((record % PARTITIONS as usize) as i32);
        producer.send(record_to).map_err(|(error, _)| error)?;
    }
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset("plain", 0, Offset::Offset(number as i64))?;
    let nobody = metadata_of("transactional")?;
    producer.send_offsets_to_transaction(&offsets, &nobody, PATIENCE)?;
    if number.is_multiple_of(3) { producer.abort_transaction(PATIENCE) } else { producer.commit_transaction(PATIENCE) }
}

/// The metadata of a group that has no members.
fn metadata_of(group: &str) -> Result<ConsumerGroupMetadata, KafkaError> {
    let consumer: BaseConsumer = ClientConfig::new().set("group.id", group).create()?;
    consumer.group_metadata().ok_or(KafkaError::Canceled)
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..TRIES {
        if is_so() {
            return;
        }
        std::thread::sleep(POLL);
    }
    panic!("in vain it is waited until {what}");
}

/// What a group has committed for the topic `plain`.
fn committed(broker: &Broker, group: &str) -> BTreeMap<i32, i64> {
    let consumer: BaseConsumer = broker.config().set("group.id", group).create().unwrap();
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition_range("plain", 0, PARTITIONS - 1);
    let mut found = None;
    wait_until("offsets are told", || {
        found = consumer.committed_offsets(wanted.clone(), PATIENCE).ok();
        found.is_some()
    });
    let found = found.unwrap();
    let offset = |offset: Offset| if let Offset::Offset(offset) = offset { Some(offset) } else { None };
    found.elements().iter().filter_map(|one| Some((one.partition(), offset(one.offset())?))).collect()
}

/// All records of a topic.
fn read(broker: &Broker, topic: &str, isolation: &str) -> Vec<(i32, String)> {
    let mut config = broker.config();
    config.set("group.id", "all").set("isolation.level", isolation).set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut from = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        from.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&from).unwrap();
    let (mut found, mut ends) = (Vec::new(), BTreeSet::new());
    wait_until("all partitions are read", || {
        while let Some(message) = consumer.poll(POLL) {
            match message {
                Ok(message) => {
                    let value = String::from_utf8(message.payload().unwrap_or_default().to_vec()).unwrap();
                    found.push((message.partition(), value));
                }
                Err(KafkaError::PartitionEOF(partition)) => drop(ends.insert(partition)),
                Err(_) => {}
            }
        }
        ends.len() == PARTITIONS as usize
    });
    found
}

#[test]
fn nothing_acknowledged_is_lost_in_a_few_kills() {
    survives(KILLS);
}

#[test]
#[ignore = "takes minutes; cargo xtask test --long runs it"]
fn nothing_acknowledged_is_lost_in_many_kills() {
    survives(MANY_KILLS);
}
