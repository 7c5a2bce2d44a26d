//! `cargo xtask bench log --peer`: the broker beside Apache Kafka, by Apache Kafka's own clients, in one run and by turns.
//!
//! The clients take more of the machine than the broker does, so what counts is the broker's own CPU time for a million records.

#![allow(clippy::disallowed_methods, reason = "xtask times programs, and depends on no crate of the workspace")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Step, kafka, tidy};

const PRODUCER: &str = "org.apache.kafka.tools.ProducerPerformance";
const CONSUMER: &str = "org.apache.kafka.tools.ConsumerPerformance";
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
/// Where Apache Kafka is; the broker here is ten further on.
pub const PORT: u16 = 29392;
const PARTITIONS: &str = "4";
const PAIRS: usize = 5;
/// Records of a run, by their size.
const RECORDS: [(usize, usize); 2] = [(100, 1_000_000), (1024, 500_000)];
const BATCHES: [usize; 2] = [16 << 10, 256 << 10];
/// Records a second while latency is measured, and for how many seconds.
const RATE: usize = 20_000;
const RATE_SECONDS: usize = 10;
/// Clock ticks of a second in `/proc`.
const TICKS: f64 = 100.0;
const START_PAUSE: Duration = Duration::from_millis(2);
const START_PAUSES: usize = 30_000;

/// A broker under measurement.
pub struct Broker {
    name: &'static str,
    pub address: String,
    pid: u32,
    /// From the start of the process to the open port.
    opened: Duration,
    /// Memory then, in KiB.
    rss_at_start: u64,
}

impl Broker {
    /// CPU seconds so far.
    fn cpu(&self) -> f64 {
        let fields = stat(self.pid);
        let ticks = |at: usize| fields.get(at).copied().unwrap_or(0.0);
        (ticks(11) + ticks(12)) / TICKS
    }

    /// Memory in KiB.
    fn rss(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
    }
}

/// The fields of a process behind its name, which may have spaces.
fn stat(pid: u32) -> Vec<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    fields.split(' ').map(|field| field.parse().unwrap_or(0.0)).collect()
}

/// How long ago a process was started.
fn age_of(pid: u32) -> Duration {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let uptime: f64 = uptime.split(' ').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0.0);
    let started = stat(pid).get(19).copied().unwrap_or(0.0) / TICKS;
    Duration::from_secs_f64((uptime - started).max(0.0))
}

fn wait_for_port(port: u16, since: Instant) -> Result<Duration, String> {
    for _ in 0..START_PAUSES {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(since.elapsed());
        }
        std::thread::sleep(START_PAUSE);
    }
    Err(format!("port {port} does not open"))
}

/// Who writes and reads.
#[derive(Clone, Copy, PartialEq)]
enum Client {
    /// Kafka's own tools.
    Java,
    Librdkafka,
}

/// One thing that is measured.
#[derive(Clone, Copy)]
struct Row {
    client: Client,
    size: usize,
    acks: &'static str,
    codec: &'static str,
    batch: usize,
}

impl Row {
    fn all() -> Vec<Row> {
        let mut rows = Vec::new();
        for (size, _) in RECORDS {
            for batch in BATCHES {
                for codec in ["none", "lz4"] {
                    rows.extend(["1", "all"].map(|acks| Row { client: Client::Java, size, acks, codec, batch }));
                    rows.push(Row { client: Client::Librdkafka, size, acks: "all", codec, batch });
                }
            }
        }
        rows
    }

    fn name(&self) -> String {
        let client = if self.client == Client::Java { "java" } else { "rdkafka" };
        let Row { size, acks, codec, .. } = self;
        format!("{client:7} {size:4} B  acks {acks:3}  {codec:4}  {:3} KiB", self.batch >> 10)
    }

    fn records(&self) -> usize {
        RECORDS.iter().find(|(size, _)| *size == self.size).map_or(0, |(_, records)| *records)
    }
}

/// What one run took.
#[derive(Clone, Copy, Default)]
struct Cost {
    /// The broker's CPU seconds for a million records.
    cpu: f64,
    records_a_second: f64,
}

struct Bench {
    class_path: String,
    /// The example that has librdkafka.
    program: PathBuf,
    payloads: PathBuf,
    topics: usize,
}

impl Bench {
    fn java(&self, class: &str, arguments: &[String]) -> Result<String, String> {
        let output = Command::new("java")
            .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", &self.class_path, class])
            .args(arguments)
            .output()
            .map_err(|error| format!("java cannot be run: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        Err(format!("{class} failed: {}{text}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Lines of letters, so that records can be packed as text is.
    fn payload(&self, size: usize) -> Result<String, String> {
        let path = self.payloads.join(format!("payload-{size}.txt"));
        let mut state = 1u64;
        let mut letter = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'a' + (state >> 33) as u8 % 26)
        };
        let lines: Vec<String> = (0..1021).map(|_| (0..size).map(|_| letter()).collect()).collect();
        fs::write(&path, lines.join("\n")).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        Ok(path.display().to_string())
    }

    fn create_topic(&mut self, broker: &Broker) -> Result<String, String> {
        self.topics += 1;
        let topic = format!("bench-{}", self.topics);
        let arguments =
            ["--bootstrap-server", &broker.address, "--create", "--topic", &topic, "--partitions", PARTITIONS];
        self.java(TOPICS, &arguments.map(str::to_owned))?;
        Ok(topic)
    }

    fn delete_topic(&self, broker: &Broker, topic: &str) -> Result<(), String> {
        let arguments = ["--bootstrap-server", &broker.address, "--delete", "--topic", topic];
        self.java(TOPICS, &arguments.map(str::to_owned)).map(drop)
    }

    fn produce(
        &self,
        broker: &Broker,
        topic: &str,
        row: Row,
        records: usize,
        rate: i64,
    ) -> Result<(Cost, String), String> {
        let before = broker.cpu();
        let arguments = [
            "--bootstrap-server".to_owned(),
            broker.address.clone(),
            "--topic".to_owned(),
            topic.to_owned(),
            "--num-records".to_owned(),
            records.to_string(),
            "--payload-file".to_owned(),
            self.payload(row.size)?,
            "--throughput".to_owned(),
            rate.to_string(),
            "--reporting-interval".to_owned(),
            "600000".to_owned(),
            "--command-property".to_owned(),
            format!("acks={}", row.acks),
            format!("compression.type={}", row.codec),
            format!("batch.size={}", row.batch),
            "linger.ms=5".to_owned(),
        ];
        let printed = self.java(PRODUCER, &arguments)?;
        let line = printed.lines().rfind(|line| line.contains("records sent")).unwrap_or_default().to_owned();
        let rate = line.split(", ").find_map(|part| part.split(" records/sec").next()?.parse().ok());
        let records_a_second = rate.ok_or_else(|| format!("no rate in {printed}"))?;
        let cpu = (broker.cpu() - before) / records as f64 * 1e6;
        Ok((Cost { cpu, records_a_second }, line))
    }

    /// Runs the example; gives the number that it prints.
    fn example(&self, what: &str, address: &str, topic: &str, row: Row) -> Result<f64, String> {
        let (records, size, batch) = (row.records().to_string(), row.size.to_string(), row.batch.to_string());
        let output = Command::new(&self.program)
            .args([what, "--address", address, "--topic", topic, "--records", &records, "--size", &size])
            .args(["--batch", &batch, "--codec", row.codec, "--acks", row.acks])
            .output()
            .map_err(|error| format!("{} cannot be run: {error}", self.program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let number = text.split_whitespace().next().and_then(|number| number.parse().ok());
        number.ok_or_else(|| format!("{what} failed: {}{text}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Writes and, if `reads`, reads a topic of its own.
    fn run(&mut self, broker: &Broker, row: Row, reads: bool) -> Result<(Cost, Option<Cost>), String> {
        let topic = self.create_topic(broker)?;
        let records = row.records();
        let by_example = |what: &str| {
            let before = broker.cpu();
            let records_a_second = self.example(what, &broker.address, &topic, row)?;
            Ok::<_, String>(Cost { cpu: (broker.cpu() - before) / records as f64 * 1e6, records_a_second })
        };
        let (produced, consumed) = match row.client {
            Client::Java => (
                self.produce(broker, &topic, row, records, -1)?.0,
                reads.then(|| self.consume(broker, &topic, records)).transpose()?,
            ),
            Client::Librdkafka => (by_example("produce")?, reads.then(|| by_example("consume")).transpose()?),
        };
        self.delete_topic(broker, &topic)?;
        Ok((produced, consumed))
    }

    /// Reads a topic, all of it.
    fn consume(&self, broker: &Broker, topic: &str, records: usize) -> Result<Cost, String> {
        let before = broker.cpu();
        let arguments = [
            "--bootstrap-server",
            &broker.address,
            "--topic",
            topic,
            "--num-records",
            &records.to_string(),
            "--hide-header",
            "--reporting-interval",
            "600000",
        ];
        let printed = self.java(CONSUMER, &arguments.map(str::to_owned))?;
        let line = printed.lines().rfind(|line| line.matches(',').count() >= 9).unwrap_or_default();
        let number = |at: usize| line.split(',').nth(at).and_then(|field| field.trim().parse::<f64>().ok());
        let (read, records_a_second) = (number(4).unwrap_or(0.0), number(9).unwrap_or(0.0));
        if read < records as f64 {
            return Err(format!("{}: {read} records of {records} were read from {topic}", broker.name));
        }
        Ok(Cost { cpu: (broker.cpu() - before) / records as f64 * 1e6, records_a_second })
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Starts the broker here, with a file of settings or without.
pub fn start_ours(program: &Path, data: &Path, config: Option<&Path>) -> Result<(Child, Broker), String> {
    let since = Instant::now();
    let config = config.map(|config| ["--config".to_owned(), config.display().to_string()]);
    let mut process = Command::new(program)
        .args(["broker", "--data", &data.display().to_string(), "--listen", &format!("127.0.0.1:{}", PORT + 10)])
        .args(config.into_iter().flatten())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    let opened = wait_for_port(PORT + 10, since)?;
    if let Some(stdout) = &mut process.stdout {
        let _ = BufReader::new(stdout).read_line(&mut String::new());
    }
    let mut broker = Broker {
        name: "Tidewater",
        address: format!("127.0.0.1:{}", PORT + 10),
        pid: process.id(),
        opened,
        rss_at_start: 0,
    };
    broker.rss_at_start = broker.rss();
    Ok((process, broker))
}

fn start_kafka(folder: &Path) -> Result<Broker, String> {
    let options = ["start", "--port", &PORT.to_string(), "--dir", &folder.display().to_string()].map(str::to_owned);
    kafka::command(&options)?;
    // Again, so that the time is that of the broker alone, without the format of its folder.
    kafka::command(&["stop".to_owned(), "--dir".to_owned(), folder.display().to_string()])?;
    kafka::command(&[&options[..], &["--keep".to_owned()]].concat())?;
    let pid = fs::read_to_string(folder.join("node-1/pid")).ok().and_then(|pid| pid.trim().parse().ok());
    let pid = pid.ok_or("Apache Kafka's process has no number")?;
    // The command has run other programs before; it ends when the port is open.
    let opened = age_of(pid);
    let mut broker =
        Broker { name: "Apache Kafka", address: format!("127.0.0.1:{PORT}"), pid, opened, rss_at_start: 0 };
    broker.rss_at_start = broker.rss();
    Ok(broker)
}

pub fn command(arguments: &[String]) -> Step {
    let (mut pairs, mut size) = (PAIRS, None::<usize>);
    for option in arguments.chunks(2) {
        match option {
            [option, number] if option == "--pairs" => {
                pairs = number.parse().map_err(|_| format!("{number:?} is no number"))?;
            }
            [option, bytes] if option == "--size" => {
                size = Some(bytes.parse().map_err(|_| format!("{bytes:?} is no number"))?);
            }
            other => return Err(format!("bench log --peer takes --pairs N and --size BYTES, not {other:?}")),
        }
    }
    let rows: Vec<Row> = Row::all().into_iter().filter(|row| size.is_none_or(|size| row.size == size)).collect();
    let metadata = tidy::metadata()?;
    let target =
        PathBuf::from(metadata["target_directory"].as_str().ok_or("cargo metadata names no target directory")?);
    let folder = target.join("peer");
    let _ = fs::remove_dir_all(folder.join("tidewater"));
    fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    // As Apache Kafka below, the second time: the program is in memory then.
    let program = target.join("debug/tidewater");
    let (mut first, _) = start_ours(&program, &folder.join("tidewater"), None)?;
    let _ = first.kill();
    let _ = first.wait();
    let (mut process, ours) = start_ours(&program, &folder.join("tidewater"), None)?;
    let bench = target.join("debug/examples/bench");
    let measured =
        start_kafka(&folder.join("kafka")).and_then(|theirs| measure(&theirs, &ours, (&folder, bench), &rows, pairs));
    let _ = process.kill();
    let _ = process.wait();
    let stop = ["stop".to_owned(), "--dir".to_owned(), folder.join("kafka").display().to_string()];
    kafka::command(&stop)?;
    measured
}

fn measure(theirs: &Broker, ours: &Broker, (folder, program): (&Path, PathBuf), rows: &[Row], pairs: usize) -> Step {
    let mut bench = Bench { class_path: kafka::class_path()?, program, payloads: folder.to_owned(), topics: 0 };
    let brokers = [theirs, ours];
    // A JVM that is cold counts for nobody.
    let first = Row { client: Client::Java, size: 100, acks: "all", codec: "none", batch: BATCHES[0] };
    for _ in 0..3 {
        let topic = bench.create_topic(theirs)?;
        bench.produce(theirs, &topic, first, first.records(), -1)?;
        bench.consume(theirs, &topic, first.records())?;
        bench.delete_topic(theirs, &topic)?;
    }
    println!("{pairs} pairs by turns; the broker's CPU seconds for a million records, and records a second: medians");
    println!(
        "{:<46} {:>12} {:>9} {:>7} {:>7} {:>12} {:>9} {:>7} {:>14} {:>14}",
        "",
        "Apache Kafka",
        "Tidewater",
        "ratio",
        "floor",
        "Apache Kafka",
        "Tidewater",
        "ratio",
        "range, Kafka's",
        "Tidewater's"
    );
    for &row in rows {
        let mut produced = [Vec::new(), Vec::new()];
        let mut consumed = [Vec::new(), Vec::new()];
        for _ in 0..pairs {
            for (at, broker) in brokers.iter().enumerate() {
                let (one, other) = bench.run(broker, row, row.acks == "all")?;
                produced[at].push(one);
                consumed[at].extend(other);
            }
        }
        let floors = (0..pairs).map(|_| bench.example("floor", "", "", row)).collect::<Result<_, _>>()?;
        print("produce", row, &produced, Some(median(floors)));
        if row.acks == "all" {
            print("consume", row, &consumed, None);
        }
    }
    let mut latencies: [[Vec<f64>; 2]; 2] = Default::default();
    for _ in 0..pairs {
        for (at, broker) in brokers.iter().enumerate() {
            let topic = bench.create_topic(broker)?;
            let (_, line) = bench.produce(broker, &topic, first, RATE * RATE_SECONDS, RATE as i64)?;
            bench.delete_topic(broker, &topic)?;
            for (percentile, found) in ["50th", "99th"].into_iter().zip(&mut latencies[at]) {
                let part = line.split(", ").find(|part| part.contains(percentile)).unwrap_or_default();
                found.extend(part.split(' ').next().and_then(|millis| millis.parse::<f64>().ok()));
            }
        }
    }
    for (broker, [half, most]) in brokers.iter().zip(latencies) {
        let (half, most) = (median(half), median(most));
        println!("{:<13} at {RATE} records a second: 50 % within {half:.0} ms, 99 % within {most:.0} ms", broker.name);
    }
    for broker in brokers {
        println!(
            "{:<13} port open after {:.0} ms, {:.1} MiB then, {:.1} MiB now",
            broker.name,
            broker.opened.as_secs_f64() * 1000.0,
            broker.rss_at_start as f64 / 1024.0,
            broker.rss() as f64 / 1024.0
        );
    }
    Ok(())
}

fn print(kind: &str, row: Row, costs: &[Vec<Cost>; 2], floor: Option<f64>) {
    let of = |what: fn(&Cost) -> f64| [&costs[0], &costs[1]].map(|costs| median(costs.iter().map(what).collect()));
    let ([their_cpu, our_cpu], [their_rate, our_rate]) = (of(|cost| cost.cpu), of(|cost| cost.records_a_second));
    // Lowest and highest, beside Apache Kafka's median: where the ranges overlap, a difference is noise.
    let range = |costs: &[Cost]| {
        let rates = || costs.iter().map(|cost| cost.records_a_second / their_rate);
        format!("{:.2} to {:.2}", rates().fold(f64::MAX, f64::min), rates().fold(0.0, f64::max))
    };
    println!(
        "{kind} {:<38} {their_cpu:>12.3} {our_cpu:>9.3} {:>6.2}x {:>7} {their_rate:>12.0} {our_rate:>9.0} {:>6.2}x {:>14} {:>14}",
        row.name(),
        our_cpu / their_cpu,
        floor.map_or(String::new(), |floor| format!("{floor:.3}")),
        our_rate / their_rate,
        range(&costs[0]),
        range(&costs[1])
    );
}
