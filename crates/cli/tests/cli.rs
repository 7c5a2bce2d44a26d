//! The binary as a person uses it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn tidewater(data: &Path, arguments: &[&str], input: &str) -> Output {
    let mut process = Command::new(env!("CARGO_BIN_EXE_tidewater"))
        .arg("--data")
        .arg(data)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    process.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn lines_go_in_and_come_out() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    assert!(tidewater(data, &["topics", "create", "words", "--partitions", "1"], "").status.success());
    let produced = tidewater(data, &["produce", "words", "-K", ":"], "a:one\nb:two\n");
    assert_eq!(text(&produced.stderr), "2 records written to words\n");
    assert_eq!(text(&tidewater(data, &["consume", "words"], "").stdout), "a\tone\nb\ttwo\n");
    let json = text(&tidewater(data, &["consume", "words", "--json", "--count", "1"], "").stdout);
    assert!(json.contains("\"key\":\"a\"") && json.contains("\"offset\":0") && json.lines().count() == 1, "{json}");
    assert_eq!(text(&tidewater(data, &["topics", "list"], "").stdout), "words  1 partitions\n");
    assert_eq!(text(&tidewater(data, &["topics", "describe", "words"], "").stdout), "words-0  offsets 0 to 2\n");

    let partition = data.join("log/words-0");
    let verified = tidewater(data, &["log", "verify", partition.to_str().unwrap()], "");
    assert!(text(&verified.stdout).starts_with("1 batches with 2 records"), "{}", text(&verified.stdout));
    let dumped = text(&tidewater(data, &["log", "dump", "--records", partition.to_str().unwrap()], "").stdout);
    assert!(dumped.contains("offsets 0 to 1") && dumped.contains(": b = two"), "{dumped}");
}

#[test]
fn what_goes_wrong_is_said_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let nowhere = tidewater(data, &["consume", "nothing"], "");
    assert!(text(&nowhere.stderr).contains("there is no log in"), "{}", text(&nowhere.stderr));
    assert!(std::fs::read_dir(data).unwrap().next().is_none(), "looking makes nothing");
    tidewater(data, &["topics", "create", "words"], "");
    let missing = tidewater(data, &["consume", "nothing", "--from-beginning"], "");
    assert!(!missing.status.success());
    let no_partition = tidewater(data, &["log", "verify", data.to_str().unwrap()], "");
    assert!(text(&no_partition.stderr).contains("is not the folder of a partition"), "{}", text(&no_partition.stderr));
    for (action, name) in [("create", "__cluster_metadata"), ("delete", "__cluster_metadata")] {
        assert!(!tidewater(data, &["topics", action, name], "").status.success(), "{action} {name}");
    }
    assert!(text(&missing.stderr).contains("topic nothing does not exist"), "{}", text(&missing.stderr));
    let unknown = tidewater(data, &["topics", "create", "t", "--config", "retention.mss=1"], "");
    assert!(text(&unknown.stderr).contains("did you mean retention.ms?"), "{}", text(&unknown.stderr));
}

#[test]
fn a_damaged_segment_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    tidewater(data, &["topics", "create", "words"], "");
    tidewater(data, &["produce", "words"], "one\n");
    let segment = data.join("log/words-0/00000000000000000000.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let verified = tidewater(data, &["log", "verify", data.join("log/words-0").to_str().unwrap()], "");
    assert!(!verified.status.success());
    assert!(text(&verified.stderr).contains("not whole from byte 0 on"), "{}", text(&verified.stderr));
}

#[test]
fn a_group_goes_on_where_it_has_come_to() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    tidewater(data, &["topics", "create", "words"], "");
    tidewater(data, &["produce", "words"], "one\ntwo\nthree\n");
    let consume = |more: &[&str]| {
        let arguments = [&["consume", "words", "--group", "readers"], more].concat();
        text(&tidewater(data, &arguments, "").stdout)
    };
    assert_eq!(consume(&["--count", "2"]), "one\ntwo\n");
    assert_eq!(consume(&[]), "three\n");
    assert_eq!(consume(&[]), "");
    tidewater(data, &["produce", "words"], "four\n");
    assert_eq!(consume(&[]), "four\n");
    assert_eq!(consume(&["--from-beginning", "--count", "1"]), "one\n");
    assert_eq!(consume(&["--count", "1"]), "two\n", "the other way, too");
    assert_eq!(text(&tidewater(data, &["consume", "words", "--count", "1"], "").stdout), "one\n");
}

#[test]
fn a_topic_is_altered() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    tidewater(data, &["topics", "create", "words", "--config", "retention.ms=1000"], "");
    let describe = || text(&tidewater(data, &["topics", "describe", "words"], "").stdout);
    assert_eq!(describe(), "retention.ms=1000\nwords-0  offsets 0 to 0\n");
    let altered = tidewater(
        data,
        &[
            "topics",
            "alter",
            "words",
            "--config",
            "segment.ms=5",
            "--delete-config",
            "retention.ms",
            "--partitions",
            "2",
        ],
        "",
    );
    assert!(altered.status.success(), "{}", text(&altered.stderr));
    assert_eq!(describe(), "segment.ms=5\nwords-0  offsets 0 to 0\nwords-1  offsets 0 to 0\n");
    let fewer = tidewater(data, &["topics", "alter", "words", "--partitions", "1"], "");
    assert!(text(&fewer.stderr).contains("1 would not be an increase"), "{}", text(&fewer.stderr));
    let nothing = tidewater(data, &["topics", "alter", "words"], "");
    assert!(text(&nothing.stderr).contains("nothing to change"), "{}", text(&nothing.stderr));
}

#[test]
fn an_address_is_not_taken_for_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let process = Command::new(env!("CARGO_BIN_EXE_tidewater"))
        .args(["topics", "create", "words"])
        .env("TIDEWATER_LOG", "kafka://localhost:9092")
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(text(&process.stderr).contains("kafka://localhost:9092 is an address"), "{}", text(&process.stderr));
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
}

/// The broker says where it listens, and ends in good order when it is asked to.
#[test]
fn a_broker_serves_until_it_is_told_to_end() {
    use std::io::{BufRead, BufReader, Read, Write};
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let config = folder.path().join("server.properties");
    std::fs::write(&config, "listeners=PLAINTEXT://127.0.0.1:0\nnum.partitions=3\nnum.io.threads=8\n").unwrap();
    let mut broker = Command::new(env!("CARGO_BIN_EXE_tidewater"))
        .args(["broker", "--data", data.to_str().unwrap(), "--config", config.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(broker.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
    let address = said.strip_prefix("PLAINTEXT listens at ").unwrap().split(',').next().unwrap();
    // ApiVersions, version 0.
    let mut connection = std::net::TcpStream::connect(address).unwrap();
    connection.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff]).unwrap();
    let mut head = [0; 10];
    connection.read_exact(&mut head).unwrap();
    assert_eq!(head[4..10], [0, 0, 0, 7, 0, 0], "the number of the request, and no error");
    assert!(Command::new("kill").arg(broker.id().to_string()).status().unwrap().success());
    let ended = broker.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", text(&ended.stderr));
    assert!(text(&ended.stderr).contains("num.io.threads has no effect: threads follow"), "{}", text(&ended.stderr));
    assert!(data.join("log/.kafka_cleanshutdown").exists());
}

#[test]
fn a_listener_that_is_meant_to_be_secure_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for listener in ["SSL://127.0.0.1:0", "sasl_ssl://127.0.0.1:0", "SASL_PLAINTEXT://127.0.0.1:0"] {
        let output = tidewater(&folder.path().join("data"), &["broker", "--listen", listener], "");
        assert!(!output.status.success());
        assert!(text(&output.stderr).contains("connections are plain so far"), "{}", text(&output.stderr));
    }
    assert!(!folder.path().join("data").exists());
}

#[test]
fn a_brokers_setting_that_nobody_knows_is_named_with_the_nearest() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("broker.toml");
    std::fs::write(&config, "num.partition = 3\n").unwrap();
    let output = tidewater(&folder.path().join("data"), &["broker", "--config", config.to_str().unwrap()], "");
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("did you mean num.partitions?"), "{}", text(&output.stderr));
}
