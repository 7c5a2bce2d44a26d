//! A program from its start to its end by a signal, as an operator sees it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// The program, which cargo builds beside the tests.
fn child(data: &Path, properties: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let mut command = Command::new(test.parent().unwrap().parent().unwrap().join("examples").join("signal_child"));
    std::fs::write(data.join("app.properties"), properties).unwrap();
    command.arg(data.join("app.properties")).env("TIDEWATER_LOG", data.join("log"));
    command
}

#[test]
fn it_ends_in_good_order_when_it_is_told_to() {
    for signal in ["-TERM", "-INT"] {
        let folder = tempfile::tempdir().unwrap();
        let mut process = child(folder.path(), "num.stream.threads=2\nstate.dir=elsewhere\n")
            .env("TIDEWATER_COMMIT_INTERVAL_MS", "50")
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert_eq!(lines.next().as_deref(), Some("at work"));
        assert!(folder.path().join("elsewhere/app").exists(), "state.dir holds");
        assert!(Command::new("kill").args([signal, &process.id().to_string()]).status().unwrap().success());
        assert_eq!(lines.next().as_deref(), Some("closed"));
        assert!(process.wait().unwrap().success());
        assert!(folder.path().join("log/log/.kafka_cleanshutdown").exists());
    }
}

#[test]
fn a_setting_that_nobody_knows_is_answered_with_the_nearest() {
    let folder = tempfile::tempdir().unwrap();
    let output = child(folder.path(), "").env("TIDEWATER_NUM_STREAM_TREADS", "2").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("num.stream.treads: is unknown; did you mean num.stream.threads?"),
        "{said}"
    );
    let output = child(folder.path(), "commit.interval.ms=soon").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("commit.interval.ms: \"soon\" is not a number"), "{said}");
}
