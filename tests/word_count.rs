//! A count over a repartition, on several partitions and threads.

use std::collections::BTreeMap;

use tidewater::prelude::*;

pub const WORDS: Topic<Option<String>, String> = Topic::new("words");
pub const COUNTS: Topic<String, Option<i64>> = Topic::new("counts");

pub fn topology() -> Topology {
    let builder = StreamsBuilder::new();
    builder.stream(&WORDS).group_by(|_, word| word.clone()).count().store("counts").to_stream().to(&COUNTS);
    builder.build().unwrap()
}

pub fn word(n: usize) -> String {
    format!("word-{}", n % 37)
}

pub fn send(log: &Log, range: std::ops::Range<usize>) {
    log.send(&WORDS, range.map(|n| Record::new(None, word(n), n as i64))).unwrap();
}

/// The last count of each word.
pub fn counts(log: &Log) -> BTreeMap<String, i64> {
    log.read(&COUNTS, 0).unwrap().into_iter().filter_map(|record| Some((record.key, record.value?))).collect()
}

/// Waits until all words sent so far are counted.
pub fn wait_for(log: &Log, total: usize) -> BTreeMap<String, i64> {
    loop {
        let counts = counts(log);
        let counted: i64 = counts.values().sum();
        assert!(counted <= total as i64, "{counted} of {total}: counted twice");
        if counted == total as i64 {
            return counts;
        }
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn counts_every_word_once() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path()).unwrap();
    log.create_topic(&WORDS, 3).unwrap();
    log.create_topic(&COUNTS, 3).unwrap();
    send(&log, 0..2000);
    let app = Tidewater::app("app").log(&log).threads(2).start(topology()).await.unwrap();
    send(&log, 2000..5000);
    let counts = wait_for(&log, 5000);
    assert_eq!(counts.len(), 37);
    assert_eq!(counts["word-0"], 136);
    app.stop().await.unwrap();
}

#[tokio::test]
async fn a_topic_that_is_missing_is_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path()).unwrap();
    let error = Tidewater::app("app").log(&log).start(topology()).await.err().unwrap();
    assert_eq!(error.to_string(), "topic words does not exist; create it, then start again");
}

#[tokio::test]
async fn internal_topics_have_kafkas_names_and_folders() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path()).unwrap();
    log.create_topic(&WORDS, 2).unwrap();
    log.create_topic(&COUNTS, 1).unwrap();
    Tidewater::app("app").log(&log).start(topology()).await.unwrap().stop().await.unwrap();
    for name in ["app-counts-repartition-1", "app-counts-changelog-1", "words-0"] {
        assert!(folder.path().join("log").join(name).join("00000000000000000000.log").exists(), "{name}");
    }
}
