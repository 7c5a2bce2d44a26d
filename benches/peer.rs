//! What `cargo xtask bench log --peer` runs beside Kafka's own tools: librdkafka as a client, and the floor that no broker is below.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use tidewater_env::Disk;
use tidewater_protocol::{BatchBuilder, Compression};
use tidewater_types::{Headers, Timestamp};

const PARTITIONS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);
/// Records that go to one partition before the next has its turn.
const TURN: usize = 1000;
/// Different records that there are.
const POOL: usize = 1021;
/// Bytes of a file until the floor begins it again.
const FILE_BYTES: u64 = 1 << 30;

/// What is sent, and where to.
#[derive(Args)]
pub struct Run {
    /// The broker, as HOST:PORT.
    #[arg(long, default_value = "")]
    address: String,
    #[arg(long, default_value = "")]
    topic: String,
    #[arg(long, default_value_t = 1_000_000)]
    records: usize,
    /// Bytes of a record.
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// Bytes of a batch.
    #[arg(long, default_value_t = 16_384)]
    batch: usize,
    #[arg(long, default_value = "none")]
    codec: String,
    #[arg(long, default_value = "all")]
    acks: String,
}

#[derive(Default)]
struct Delivered {
    good: AtomicUsize,
    failed: AtomicUsize,
}

struct Counting(Arc<Delivered>);

impl ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let count = if result.is_ok() { &self.0.good } else { &self.0.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Letters, so that records can be packed as text is.
fn payloads(size: usize) -> Vec<Vec<u8>> {
    let mut state = 1u64;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        b'a' + (state >> 33) as u8 % 26
    };
    (0..POOL).map(|_| (0..size).map(|_| letter()).collect()).collect()
}

/// Writes records with librdkafka; prints how many a second.
pub fn produce(run: &Run) -> anyhow::Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &run.address).set("acks", &run.acks).set("compression.type", &run.codec);
    config.set("batch.size", run.batch.to_string()).set("batch.num.messages", "1000000").set("linger.ms", "5");
    let delivered = Arc::new(Delivered::default());
    let producer: BaseProducer<Counting> = config.create_with_context(Counting(delivered.clone()))?;
    let payloads = payloads(run.size);
    let begun = Instant::now();
    for number in 0..run.records {
        let partition = (number / TURN % PARTITIONS) as i32;
        let mut record = BaseRecord::<(), _>::to(&run.topic).payload(&payloads[number % POOL]).partition(partition);
        while let Err((error, refused)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            record = refused;
            producer.poll(POLL);
        }
        if number % TURN == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(PATIENCE)?;
    let seconds = begun.elapsed().as_secs_f64();
    let good = delivered.good.load(Ordering::Relaxed);
    anyhow::ensure!(good == run.records, "{good} of {} records were delivered", run.records);
    println!("{:.0} records/sec", run.records as f64 / seconds);
    Ok(())
}

/// Reads a topic from its beginning with librdkafka; prints how many records a second.
pub fn consume(run: &Run) -> anyhow::Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &run.address).set("group.id", "bench").set("enable.auto.commit", "false");
    // With less, librdkafka rests for a second whenever it is ahead of whoever reads, and what is measured is how often.
    config.set("queued.min.messages", "10000000").set("queued.max.messages.kbytes", "2097151");
    let consumer: BaseConsumer = config.create()?;
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset(&run.topic, partition as i32, Offset::Beginning)?;
    }
    consumer.assign(&all)?;
    let (mut begun, mut seen) = (None, 0);
    while seen < run.records {
        let message = consumer.poll(PATIENCE).context("nothing more comes")??;
        begun.get_or_insert_with(Instant::now);
        anyhow::ensure!(message.payload_len() == run.size, "a record of {} bytes", message.payload_len());
        seen += 1;
    }
    let seconds = begun.map_or(f64::MAX, |begun| begun.elapsed().as_secs_f64());
    println!("{:.0} records/sec", run.records as f64 / seconds);
    Ok(())
}

/// Seconds that this thread has had of a processor.
fn thread_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

/// Prints the CPU seconds that a million records take of whoever reads them from a socket, computes their CRC, and writes them to a
/// file: what a broker cannot do without.
pub fn floor(run: &Run) -> anyhow::Result<()> {
    let codec = if run.codec == "lz4" { Compression::Lz4 } else { Compression::None };
    let mut builder = BatchBuilder::new(codec);
    let payloads = payloads(run.size);
    let mut in_batch = 0;
    while builder.size() < run.batch {
        builder.push(Timestamp(1), None, Some(&payloads[in_batch % POOL]), &Headers::EMPTY);
        in_batch += 1;
    }
    let batch = builder.finish()?;
    let batches = run.records.div_ceil(in_batch);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut sending = TcpStream::connect(listener.local_addr()?)?;
    let (mut receiving, _) = listener.accept()?;
    let length = batch.len();
    let sender = std::thread::spawn(move || (0..batches).try_for_each(|_| sending.write_all(&batch)));
    let folder = tempfile::tempdir()?;
    let file = Disk::new().open(&folder.path().join("log"))?;
    let (mut buffer, mut position, mut sum) = (vec![0; length], 0, 0u32);
    let before = thread_seconds();
    for _ in 0..batches {
        receiving.read_exact(&mut buffer)?;
        sum ^= crc32c::crc32c(&buffer);
        file.write_at(&buffer, position)?;
        position = (position + length as u64) % FILE_BYTES;
    }
    let seconds = thread_seconds() - before;
    sender.join().map_err(|_| anyhow::anyhow!("the sender has panicked"))??;
    std::hint::black_box(sum);
    println!("{:.4}", seconds / (batches * in_batch) as f64 * 1e6);
    Ok(())
}
