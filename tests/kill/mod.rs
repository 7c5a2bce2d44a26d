//! SIGKILL at any moment: nothing acknowledged is lost, and the application goes on from what it had committed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tidewater::prelude::*;

use crate::word_count::{COUNTS, WORDS, counts, send, topology, word};

/// How often the program is killed.
const KILLS: usize = 12;
/// Words that are sent before each start.
const WORDS_PER_ROUND: usize = 3000;

/// The program, which cargo builds beside the tests.
fn child() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples").join("kill_child")
}

/// Starts the program, and kills it once it has said so many lines, or that there is no more to do.
fn run_and_kill(folder: &Path, lines: usize) {
    let mut process = Command::new(child()).arg(folder).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
    for _ in 0..lines {
        let line = output.next().expect("the program ended by itself").unwrap();
        if line == "caught up" {
            break;
        }
    }
    process.kill().unwrap();
    process.wait().unwrap();
}

#[tokio::test]
async fn nothing_is_lost_and_what_is_repeated_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let mut sent = 0;
    for round in 0..KILLS {
        {
            let log = Log::open(folder.path()).unwrap();
            log.create_topic(&WORDS, 2).unwrap();
            log.create_topic(&COUNTS, 2).unwrap();
            send(&log, sent..sent + WORDS_PER_ROUND);
            sent += WORDS_PER_ROUND;
        }
        // Before the first commit, after it, and somewhere later.
        run_and_kill(folder.path(), [0, 1, 2, 3][round % 4]);
    }
    let log = Log::open(folder.path()).unwrap();
    let app = Tidewater::app("app").log(&log).start(topology()).await.unwrap();
    let mut expected = std::collections::BTreeMap::new();
    for n in 0..sent {
        *expected.entry(word(n)).or_insert(0i64) += 1;
    }
    let is_short = |counts: &std::collections::BTreeMap<String, i64>| {
        expected.iter().any(|(word, count)| counts.get(word).is_none_or(|counted| counted < count))
    };
    while is_short(&counts(&log)) {
        assert!(!app.has_failed(), "{:?}", app.stop().await);
        std::thread::yield_now();
    }
    app.stop().await.unwrap();
    let counts = counts(&log);
    assert_eq!(counts.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    let (total, true_total): (i64, i64) = (counts.values().sum(), expected.values().sum());
    println!("{KILLS} kills: {} of {true_total} words counted twice", total - true_total);
    // What was done since the last commit is done again: at most what one round sends, each time.
    assert!(total - true_total <= (KILLS * WORDS_PER_ROUND) as i64);
}
