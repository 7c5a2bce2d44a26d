//! The broker under Apache Kafka's own command line tools: what is expected here, Apache Kafka 4.3.1 was seen to do.
//!
//! `cargo xtask test` brings the tools, and says where their jars are; without them nothing is run here, and that is said. The same tests
//! run against another broker, as Apache Kafka (`cargo xtask kafka start --set group.initial.rebalance.delay.ms=0`), if
//! `KAFKA_TOOLS_BROKER` has its address; then with `--test-threads 1`.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

/// Where the jars are, as Java wants it.
const CLASS_PATH: &str = "KAFKA_TOOLS_CLASS_PATH";
/// Another broker's address.
const BROKER: &str = "KAFKA_TOOLS_BROKER";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
/// How often something is asked for until it is so; each time takes a second or more.
const TRIES: usize = 60;

/// A broker of its own for one test, and what to ask it with.
struct Tools {
    class_path: String,
    /// None if it is another one's.
    broker: Option<Child>,
    address: String,
    _folder: tempfile::TempDir,
}

impl Tools {
    fn start() -> Option<Self> {
        let Ok(class_path) = std::env::var(CLASS_PATH) else {
            eprintln!("not run: {CLASS_PATH} does not say where Apache Kafka's jars are; cargo xtask test does");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        if let Ok(address) = std::env::var(BROKER) {
            return Some(Tools { class_path, broker: None, address, _folder: folder });
        }
        let config = folder.path().join("server.properties");
        std::fs::write(&config, "listeners=PLAINTEXT://127.0.0.1:0\ngroup.initial.rebalance.delay.ms=0\n").unwrap();
        let mut broker = Command::new(env!("CARGO_BIN_EXE_tidewater"))
            .args(["broker", "--data", folder.path().join("data").to_str().unwrap()])
            .args(["--config", config.to_str().unwrap()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(broker.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        let address = said.split([' ', ',']).find(|word| word.starts_with("127.0.0.1:")).unwrap().to_owned();
        Some(Tools { class_path, broker: Some(broker), address, _folder: folder })
    }

    fn java(&self, class: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("java");
        command
            .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", &self.class_path, class])
            .args(["--bootstrap-server", &self.address])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// What a tool prints, given its input.
    fn run_with(&self, class: &str, arguments: &[&str], input: &str) -> String {
        let mut process = self.java(class, arguments).spawn().unwrap();
        process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = process.wait_with_output().unwrap();
        [output.stdout, output.stderr].iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    fn run(&self, class: &str, arguments: &[&str]) -> String {
        self.run_with(class, arguments, "")
    }

    /// What a tool prints, once it is as wanted.
    fn run_until(&self, class: &str, arguments: &[&str], is_wanted: impl Fn(&str) -> bool) -> String {
        let mut printed = String::new();
        for _ in 0..TRIES {
            printed = self.run(class, arguments);
            if is_wanted(&printed) {
                return printed;
            }
        }
        panic!("{class} {arguments:?} prints\n{printed}");
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        if let Some(broker) = &mut self.broker {
            let _ = broker.kill();
            let _ = broker.wait();
        }
    }
}

/// The fields of the line that begins with some fields.
fn line<'a>(printed: &'a str, begin: &[&str]) -> Option<Vec<&'a str>> {
    printed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|fields| fields.starts_with(begin))
}

#[test]
fn topics_are_made_described_changed_and_deleted() {
    let Some(tools) = Tools::start() else { return };
    let created =
        tools.run(TOPICS, &["--create", "--topic", "news", "--partitions", "3", "--config", "segment.ms=60000"]);
    assert!(created.contains("Created topic news."), "{created}");
    let again = tools.run(TOPICS, &["--create", "--topic", "news"]);
    assert!(again.contains("Topic 'news' already exists."), "{again}");
    let described = tools.run(TOPICS, &["--describe", "--topic", "news"]);
    // Apache Kafka has min.insync.replicas=1 before it.
    assert!(described.contains("PartitionCount: 3\tReplicationFactor: 1\tConfigs: "), "{described}");
    assert!(described.contains("segment.ms=60000\n"), "{described}");
    assert!(described.contains("Partition: 2\tLeader: 1\tReplicas: 1\tIsr: 1"), "{described}");
    let grown = tools.run(TOPICS, &["--alter", "--topic", "news", "--partitions", "5"]);
    assert!(grown.trim().is_empty(), "{grown}");
    let altered = tools.run(
        "kafka.admin.ConfigCommand",
        &["--alter", "--entity-type", "topics", "--entity-name", "news", "--add-config", "cleanup.policy=compact"],
    );
    assert!(altered.contains("Completed updating config for topic news."), "{altered}");
    let described = tools.run(TOPICS, &["--describe", "--topic", "news"]);
    assert!(described.contains("PartitionCount: 5") && described.contains("cleanup.policy=compact"), "{described}");
    assert!(tools.run(TOPICS, &["--delete", "--topic", "news"]).trim().is_empty());
    assert!(line(&tools.run(TOPICS, &["--list"]), &["news"]).is_none());
}

/// Two consumers share a topic, in a group of each protocol.
fn a_group_is_shared(protocol: &str, strategy: &str) {
    let Some(tools) = Tools::start() else { return };
    let (topic, group) = (&*format!("news-{protocol}"), &*format!("readers-{protocol}"));
    tools.run(TOPICS, &["--create", "--topic", topic, "--partitions", "4"]);
    let lines: String = (0..100).map(|number| format!("line {number}\n")).collect();
    tools.run_with("org.apache.kafka.tools.ConsoleProducer", &["--topic", topic], &lines);
    let property = format!("group.protocol={protocol}");
    let arguments = ["--topic", topic, "--group", group, "--from-beginning", "--command-property", &property];
    let consumers: Vec<Child> = (0..2)
        .map(|_| tools.java("org.apache.kafka.tools.consumer.ConsoleConsumer", &arguments).spawn().unwrap())
        .collect();
    let state = ["--describe", "--group", group, "--state"];
    let is_shared =
        |printed: &str| line(printed, &[group]).is_some_and(|fields| fields.ends_with(&[strategy, "Stable", "2"]));
    tools.run_until(GROUPS, &state, is_shared);
    let members = tools.run(GROUPS, &["--describe", "--group", group, "--members"]);
    let shares: Vec<&str> = members.lines().filter(|line| line.starts_with(group)).collect();
    assert_eq!(shares.len(), 2, "{members}");
    assert!(shares.iter().all(|share| share.split_whitespace().nth(4) == Some("2")), "{members}");
    let refused = tools.run(GROUPS, &["--delete", "--group", group]);
    assert!(refused.contains("GroupNotEmptyException"), "{refused}");
    // They commit as time goes on.
    let committed = |printed: &str| {
        let of_topic = printed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let of_topic = of_topic.filter(|fields| fields.starts_with(&[group, topic]));
        of_topic.filter_map(|fields| fields[3].parse::<u64>().ok()).sum::<u64>()
    };
    tools.run_until(GROUPS, &["--describe", "--group", group], |printed| committed(printed) == 100);
    let mut read = 0;
    for mut consumer in consumers {
        drop(consumer.stdin.take());
        assert!(Command::new("kill").arg(consumer.id().to_string()).status().unwrap().success());
        let output = consumer.wait_with_output().unwrap();
        read += String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.starts_with("line ")).count();
    }
    assert_eq!(read, 100);
    let listed = tools.run(GROUPS, &["--list", "--state"]);
    assert_eq!(line(&listed, &[group]), Some(vec![group, "Empty"]), "{listed}");
    let reset =
        tools.run(GROUPS, &["--reset-offsets", "--group", group, "--topic", topic, "--to-earliest", "--execute"]);
    assert_eq!(line(&reset, &[group, topic, "3"]).map(|fields| fields[3]), Some("0"), "{reset}");
    let deleted = tools.run(GROUPS, &["--delete", "--group", group]);
    assert!(
        deleted.contains(&format!("Deletion of requested consumer groups ('{group}') was successful.")),
        "{deleted}"
    );
}

#[test]
fn a_group_of_the_classic_protocol_is_shared() {
    a_group_is_shared("classic", "range");
}

#[test]
fn a_group_of_the_consumer_protocol_is_shared() {
    a_group_is_shared("consumer", "uniform");
}

const CONFIGS: &str = "kafka.admin.ConfigCommand";

#[test]
fn partitions_are_where_they_are_and_throttles_go() {
    let Some(tools) = Tools::start() else { return };
    tools.run(TOPICS, &["--create", "--topic", "moved", "--partitions", "2"]);
    let plan = std::env::temp_dir().join(format!("tidewater-reassign-{}.json", std::process::id()));
    std::fs::write(
        &plan,
        r#"{"version":1,"partitions":[{"topic":"moved","partition":0,"replicas":[1]},{"topic":"moved","partition":1,"replicas":[1]}]}"#,
    )
    .unwrap();
    let reassign = |arguments: &[&str]| {
        let file = ["--reassignment-json-file", plan.to_str().unwrap()];
        tools.run("org.apache.kafka.tools.reassign.ReassignPartitionsCommand", &[&file, arguments].concat())
    };
    let executed = reassign(&["--execute", "--throttle", "1000000"]);
    assert!(executed.contains("Successfully started partition reassignments for moved-0,moved-1"), "{executed}");
    let throttled = tools.run(CONFIGS, &["--describe", "--entity-type", "brokers", "--entity-name", "1"]);
    assert!(throttled.contains("leader.replication.throttled.rate=1000000"), "{throttled}");
    let verified = reassign(&["--verify"]);
    assert!(verified.contains("Reassignment of partition moved-1 is completed."), "{verified}");
    assert!(verified.contains("Clearing broker-level throttles on broker 1"), "{verified}");
    assert!(verified.contains("Clearing topic-level throttles on topic moved"), "{verified}");
    assert!(!verified.contains("Exception"), "{verified}");
    let cleared = tools.run(CONFIGS, &["--describe", "--entity-type", "brokers", "--entity-name", "1"]);
    assert!(!cleared.contains("throttled.rate=1000000"), "{cleared}");
    std::fs::remove_file(&plan).unwrap();
}

#[test]
fn defaults_of_topics_are_changed_for_all() {
    let Some(tools) = Tools::start() else { return };
    tools.run(TOPICS, &["--create", "--topic", "packed"]);
    let all = ["--entity-type", "brokers", "--entity-default"];
    let altered = tools.run(CONFIGS, &[&all[..], &["--alter", "--add-config", "compression.type=gzip"]].concat());
    assert!(altered.contains("Completed updating default config for brokers in the cluster."), "{altered}");
    let refused = tools.run(CONFIGS, &[&all[..], &["--alter", "--add-config", "compression.type=best"]].concat());
    assert!(refused.contains("Invalid value best for configuration"), "{refused}");
    let per_broker = tools.run(CONFIGS, &[&all[..], &["--alter", "--add-config", "listeners=A://:1"]].concat());
    assert!(per_broker.contains("Cannot update these configs at default cluster level"), "{per_broker}");
    tools.run_with("org.apache.kafka.tools.ConsoleProducer", &["--topic", "packed"], "a line\n");
    let topic = ["--describe", "--entity-type", "topics", "--entity-name", "packed", "--all"];
    let described = tools.run(CONFIGS, &topic);
    assert!(
        described.contains(
            "compression.type=gzip sensitive=false synonyms={DYNAMIC_DEFAULT_BROKER_CONFIG:compression.type=gzip"
        ),
        "{described}"
    );
    let back = tools.run(CONFIGS, &[&all[..], &["--alter", "--delete-config", "compression.type"]].concat());
    assert!(back.contains("Completed updating default config for brokers in the cluster."), "{back}");
}

#[test]
fn metrics_of_clients_are_subscribed_to() {
    let Some(tools) = Tools::start() else { return };
    let run = |arguments: &[&str]| tools.run("org.apache.kafka.tools.ClientMetricsCommand", arguments);
    let asked = [
        "--alter",
        "--name",
        "slow",
        "--metrics",
        "org.apache.kafka.",
        "--interval",
        "5000",
        "--match",
        "client_id=a.*",
    ];
    let altered = run(&asked);
    assert!(altered.contains("Altered client metrics config for slow."), "{altered}");
    let refused = run(&["--alter", "--name", "slow", "--interval", "5"]);
    assert!(refused.contains("interval must be between 100 and 3600000"), "{refused}");
    let described = run(&["--describe", "--name", "slow"]);
    for setting in ["interval.ms=5000", "match=client_id=a.*", "metrics=org.apache.kafka."] {
        assert!(described.contains(setting), "{described}");
    }
    assert!(line(&run(&["--list"]), &["slow"]).is_some());
    let deleted = run(&["--delete", "--name", "slow"]);
    assert!(deleted.contains("Deleted client metrics config for slow."), "{deleted}");
    assert!(line(&run(&["--list"]), &["slow"]).is_none());
}
