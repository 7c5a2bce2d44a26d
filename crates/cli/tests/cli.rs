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
