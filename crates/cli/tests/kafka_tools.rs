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
const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
/// How often something is asked for until it is so; each time takes a second or more.
const TRIES: usize = 60;

/// A broker of its own for one test, and what to ask it with.
struct Tools {
    class_path: String,
    /// None if it is another one's.
    broker: Option<Child>,
    address: String,
    folder: tempfile::TempDir,
}

impl Tools {
    fn start() -> Option<Self> {
        let Ok(class_path) = std::env::var(CLASS_PATH) else {
            eprintln!("not run: {CLASS_PATH} does not say where Apache Kafka's jars are; cargo xtask test does");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        if let Ok(address) = std::env::var(BROKER) {
            return Some(Tools { class_path, broker: None, address, folder });
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
        Some(Tools { class_path, broker: Some(broker), address, folder })
    }

    fn java(&self, class: &str, arguments: &[&str]) -> Command {
        let mut command = self.java_alone(class);
        command.args(["--bootstrap-server", &self.address]).args(arguments);
        command
    }

    /// A tool that talks to no broker.
    fn java_alone(&self, class: &str) -> Command {
        let mut command = Command::new("java");
        command
            .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", &self.class_path, class])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// The segments with records of a topic of the broker here, as Apache Kafka's tool reads them.
    fn dump(&self, topic: &str, arguments: &[&str]) -> String {
        let log = self.folder.path().join("data/log");
        let folders = std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path());
        let of_topic = folders.filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.rsplit_once('-').is_some_and(|(name, _)| name == topic)
        });
        let segments = of_topic.map(|folder| folder.join("00000000000000000000.log"));
        let segments = segments.filter(|path| path.metadata().unwrap().len() > 0);
        let files: Vec<String> = segments.map(|path| path.display().to_string()).collect();
        let mut command = self.java_alone("org.apache.kafka.tools.DumpLogSegments");
        let output = command.args(["--files", &files.join(",")]).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
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
    tools.run_with(PRODUCER, &["--topic", topic], &lines);
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
    tools.run_with(PRODUCER, &["--topic", "packed"], "a line\n");
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

/// A topic of five lines and twenty records of a transaction behind them, all in one partition.
fn write_lines_and_a_transaction(tools: &Tools, topic: &str, transactional_id: &str) {
    tools.run(TOPICS, &["--create", "--topic", topic]);
    tools.run_with(PRODUCER, &["--topic", topic], "line 1\nline 2\nline 3\nline 4\nline 5\n");
    let records = ["--num-records", "20", "--record-size", "10", "--throughput", "-1"];
    let transaction = ["--transactional-id", transactional_id, "--transaction-duration-ms", "60000"];
    let arguments = [&["--topic", topic][..], &records, &transaction].concat();
    let written = tools.run("org.apache.kafka.tools.ProducerPerformance", &arguments);
    assert!(written.contains("20 records sent"), "{written}");
}

#[test]
fn offsets_and_transactions_are_told_and_records_deleted() {
    let Some(tools) = Tools::start() else { return };
    let offset = |time: &str| {
        let arguments = ["--topic", "told", "--time", time];
        tools.run("org.apache.kafka.tools.GetOffsetShell", &arguments).trim().to_owned()
    };
    write_lines_and_a_transaction(&tools, "told", "told-by");
    // The end of the transaction has one, too.
    assert_eq!((offset("earliest"), offset("latest")), ("told:0:0".to_owned(), "told:0:26".to_owned()));
    let plan = tools.folder.path().join("delete.json");
    std::fs::write(&plan, r#"{"partitions":[{"topic":"told","partition":0,"offset":3}],"version":1}"#).unwrap();
    let arguments = ["--offset-json-file", plan.to_str().unwrap()];
    let deleted = tools.run("org.apache.kafka.tools.DeleteRecordsCommand", &arguments);
    assert!(deleted.contains("partition: told-0\tlow_watermark: 3"), "{deleted}");
    assert_eq!(offset("earliest"), "told:0:3");

    let transactions = |arguments: &[&str]| tools.run("org.apache.kafka.tools.TransactionsCommand", arguments);
    let listed = transactions(&["list"]);
    let fields = line(&listed, &["told-by", "1"]).unwrap();
    assert_eq!(fields.last(), Some(&"CompleteCommit"), "{listed}");
    let described = transactions(&["describe", "--transactional-id", "told-by"]);
    let fields = line(&described, &["1", "told-by", fields[2]]).unwrap();
    assert_eq!(fields[3..6], ["1", "CompleteCommit", "60000"], "{described}");
    let producers = transactions(&["describe-producers", "--topic", "told", "--partition", "0"]);
    let fields = line(&producers, &[fields[2], "1", "0", "-1"]).unwrap();
    assert_eq!(fields.last(), Some(&"None"), "{producers}");
}

#[test]
fn the_cluster_and_its_folder_are_told() {
    let Some(tools) = Tools::start() else { return };
    tools.run(TOPICS, &["--create", "--topic", "lone"]);
    let folders = tools.run("org.apache.kafka.tools.LogDirsCommand", &["--describe", "--topic-list", "lone"]);
    let told =
        r#"{"partitions":[{"partition":"lone-0","size":0,"offsetLag":0,"isFuture":false}],"error":null,"logDir":"/"#;
    assert!(folders.contains(told), "{folders}");
    let preferred = ["--election-type", "preferred", "--topic", "lone", "--partition", "0"];
    let elected = tools.run("org.apache.kafka.tools.LeaderElectionCommand", &preferred);
    assert!(elected.contains("Valid replica already elected for partitions lone-0"), "{elected}");
    let quorum = tools.run("org.apache.kafka.tools.MetadataQuorumCommand", &["describe", "--status"]);
    assert!(
        line(&quorum, &["LeaderId:", "1"]).is_some() && line(&quorum, &["MaxFollowerLag:", "0"]).is_some(),
        "{quorum}"
    );
    let features = tools.run("org.apache.kafka.tools.FeatureCommand", &["describe"]);
    for (feature, level) in [("metadata.version", "4.3-IV0"), ("group.version", "1"), ("transaction.version", "2")] {
        let fields = line(&features, &["Feature:", feature]).unwrap();
        assert!(fields.windows(2).any(|pair| pair == ["FinalizedVersionLevel:", level]), "{features}");
    }
}

/// What is in the files, Apache Kafka was seen to write there. They are read while the broker runs, as a tool may; another one's are not
/// looked for.
#[test]
fn the_files_are_those_of_apache_kafka() {
    let Some(tools) = Tools::start().filter(|tools| tools.broker.is_some()) else { return };
    write_lines_and_a_transaction(&tools, "kept", "kept-by");
    for protocol in ["classic", "consumer"] {
        let (group, property) = (format!("keepers-{protocol}"), format!("group.protocol={protocol}"));
        let consumer = ["--topic", "kept", "--from-beginning", "--group", &group, "--command-property", &property];
        let read = tools.run(
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
            &[&consumer[..], &["--max-messages", "3"]].concat(),
        );
        assert!(read.contains("line 1\nline 2\nline 3\n"), "{read}");
    }

    let records = tools.dump("kept", &["--deep-iteration", "--print-data-log"]);
    // How many batches the clients make of their records is a matter of time.
    for part in [
        "producerId: 0 producerEpoch: 0 partitionLeaderEpoch: 0 isTransactional: false isControl: false",
        "keySize: -1 valueSize: 6 sequence: 4 headerKeys: [] payload: line 5",
        "producerId: 1 producerEpoch: 0 partitionLeaderEpoch: 0 isTransactional: true isControl: false",
        "keySize: -1 valueSize: 10 sequence: 19 headerKeys: [] payload: ",
        "baseOffset: 25 lastOffset: 25 count: 1 baseSequence: -1 lastSequence: -1 producerId: 1 producerEpoch: 1 partitionLeaderEpoch: 0 isTransactional: true isControl: true",
        "endTxnMarker: COMMIT coordinatorEpoch: 0",
    ] {
        assert!(records.contains(part), "{part}\n{records}");
    }
    assert!(!records.contains("isvalid: false"), "{records}");

    let groups = tools.dump("__consumer_offsets", &["--offsets-decoder"]);
    for part in [
        "count: 1 baseSequence: 0 lastSequence: 0 producerId: -1 producerEpoch: -1 partitionLeaderEpoch: 0 isTransactional: false isControl: false",
        r#"keySize: 19 valueSize: 24 sequence: 0 headerKeys: [] key: {"type":"2","data":{"group":"keepers-classic"}} payload: {"version":"3","data":{"protocolType":"","generation":0,"protocol":null,"leader":null,"currentStateTimestamp":"#,
        r#"{"version":"3","data":{"protocolType":"consumer","generation":1,"protocol":"range","leader":"console-consumer-"#,
        r#"key: {"type":"1","data":{"group":"keepers-classic","topic":"kept","partition":0}} payload: {"version":"4","data":{"offset":3,"#,
        r#"{"version":"3","data":{"protocolType":"consumer","generation":2,"protocol":null,"leader":null,"currentStateTimestamp":"#,
        r#"key: {"type":"5","data":{"groupId":"keepers-consumer","memberId":""#,
        r#"{"version":"0","data":{"instanceId":null,"rackId":null,"clientId":"console-consumer","clientHost":"/127.0.0.1","subscribedTopicNames":["kept"],"subscribedTopicRegex":"","rebalanceTimeoutMs":300000,"#,
        r#"key: {"type":"3","data":{"groupId":"keepers-consumer"}} payload: {"version":"0","data":{"epoch":2,"metadataHash":"#,
        r#"key: {"type":"6","data":{"groupId":"keepers-consumer"}} payload: {"version":"0","data":{"assignmentEpoch":2,"assignmentTimestamp":"#,
        r#"{"version":"0","data":{"memberEpoch":2,"previousMemberEpoch":0,"state":0,"assignedPartitions":[{"topicId":""#,
        r#""partitions":[0],"assignmentEpochs":[2]}],"partitionsPendingRevocation":["#,
        r#"key: {"type":"3","data":{"groupId":"keepers-consumer"}} payload: {"version":"0","data":{"epoch":3"#,
    ] {
        assert!(groups.contains(part), "{part}\n{groups}");
    }

    let transactions = tools.dump("__transaction_state", &["--transaction-log-decoder"]);
    let mut states = transactions.lines().filter(|line| line.contains(r#""transactionalId":"kept-by""#));
    for (epoch, status, partitions) in [
        (0, 0, "null"),
        (0, 1, r#"[{"topic":"kept","partitionIds":[0]}]"#),
        (1, 2, r#"[{"topic":"kept","partitionIds":[0]}]"#),
        (1, 4, "[]"),
    ] {
        let line = states.next().unwrap();
        let part = format!(
            r#""producerId":1,"previousProducerId":1,"producerEpoch":{epoch},"transactionTimeoutMs":60000,"transactionStatus":{status},"transactionPartitions":{partitions},"#
        );
        assert!(line.contains(&part) && line.contains("sequence: -1"), "{part}\n{line}");
    }
}
