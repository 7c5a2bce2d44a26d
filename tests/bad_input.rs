//! What a program or a folder can have wrong: each is an error that names the thing and what to do, and nothing panics.

use std::path::Path;
use std::sync::Arc;

use tidewater::prelude::*;
use tidewater::{App, AppSettings, FailureKind, LogError, TaskError};
use tidewater_broker::{Broker, BrokerSettings};
use tidewater_client::{Admin, NativeClient, Producer};
use tidewater_env::Disk;
use tidewater_protocol::{BatchBuilder, Compression};
use tidewater_types::TopicPartition;

const TEXT: Topic<String, String> = Topic::new("in");
const NUMBERS: Topic<String, i64> = Topic::new("in");
const OUT: Topic<String, i64> = Topic::new("out");

/// Every one of these must be in the message.
fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

fn open_error(folder: &Path) -> String {
    match Log::open(folder) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("the folder was opened"),
    }
}

/// A log with one topic of one partition that holds `records` records, closed in good order.
fn closed_log(folder: &Path, records: usize) {
    let log = Log::open(folder).unwrap();
    log.create_topic(&TEXT, 1).unwrap();
    log.send(&TEXT, (0..records).map(|n| Record::new(n.to_string(), "text".to_owned(), 1))).unwrap();
    log.close().unwrap();
}

async fn failure(app: App) -> TaskError {
    app.failed().await;
    app.stop().await.unwrap_err()
}

#[tokio::test]
async fn an_unknown_topic() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path()).unwrap();
    let error = log.send(&TEXT, [Record::new("a".to_owned(), "b".to_owned(), 1)]).unwrap_err();
    assert_says(&error.to_string(), &["topic in does not exist", "tidewater topics create in"]);
    let builder = StreamsBuilder::new();
    builder.stream(&TEXT).map_values(|_| 1).to(&OUT);
    let error = Tidewater::app("app").log(&log).start(builder.build().unwrap()).await.map(drop).unwrap_err();
    assert_says(&error.to_string(), &["topic in does not exist", "create it"]);
}

#[tokio::test]
async fn a_topic_to_write_to_that_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    closed_log(folder.path(), 1);
    let log = Log::open(folder.path()).unwrap();
    let builder = StreamsBuilder::new();
    builder.stream(&TEXT).map_values(|_| 1).to(&OUT);
    let error = Tidewater::app("app").log(&log).start(builder.build().unwrap()).await.map(drop).unwrap_err();
    assert_says(&error.to_string(), &["topic out does not exist", "create it"]);
}

#[test]
fn wrong_magic_in_a_stored_segment() {
    let folder = tempfile::tempdir().unwrap();
    closed_log(folder.path(), 3);
    let segment = folder.path().join("log/in-0/00000000000000000000.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[16] = 1;
    std::fs::write(&segment, &bytes).unwrap();
    for _ in 0..2 {
        assert_says(&open_error(folder.path()), &["00000000000000000000.log", "magic 1", "Restore the file"]);
    }
    assert_eq!(std::fs::read(&segment).unwrap(), bytes);
}

#[test]
fn a_segment_that_was_cut_after_a_clean_close() {
    let folder = tempfile::tempdir().unwrap();
    closed_log(folder.path(), 3);
    let segment = folder.path().join("log/in-0/00000000000000000000.log");
    let bytes = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, &bytes[..bytes.len() - 5]).unwrap();
    for _ in 0..2 {
        assert_says(
            &open_error(folder.path()),
            &["00000000000000000000.log", "is damaged at byte 0", "Restore the file"],
        );
    }
    // Nor is it without the mark of a clean close, as long as it is known to have been durable.
    std::fs::remove_file(folder.path().join("log/.kafka_cleanshutdown")).unwrap();
    assert_says(&open_error(folder.path()), &["00000000000000000000.log", "is damaged at byte 0"]);
    // What a crash cuts is another matter: the tail goes.
    std::fs::remove_file(folder.path().join("log/recovery-point-offset-checkpoint")).unwrap();
    assert_eq!(Log::open(folder.path()).unwrap().read(&TEXT, 0).unwrap(), []);
}

#[test]
fn a_foreign_file() {
    let folder = tempfile::tempdir().unwrap();
    closed_log(folder.path(), 1);
    let foreign = folder.path().join("log/in-0/holiday.jpg");
    std::fs::write(&foreign, "x").unwrap();
    assert_says(&open_error(folder.path()), &["holiday.jpg", "Move it out"]);
    std::fs::remove_file(&foreign).unwrap();

    let other = tempfile::tempdir().unwrap();
    std::fs::create_dir(other.path().join("log")).unwrap();
    std::fs::write(other.path().join("log/holiday.jpg"), "x").unwrap();
    assert_says(&open_error(other.path()), &["holiday.jpg", "Move it elsewhere"]);
}

#[test]
fn folders_of_a_newer_format() {
    let folder = tempfile::tempdir().unwrap();
    closed_log(folder.path(), 1);
    let meta = folder.path().join("log/meta.properties");
    let text = std::fs::read_to_string(&meta).unwrap();
    std::fs::write(&meta, text.replace("tidewater.layout=1", "tidewater.layout=2")).unwrap();
    assert_says(&open_error(folder.path()), &["layout 2, newer than 1", "Use a newer version"]);
}

#[test]
fn a_first_start_that_was_killed_leaves_a_folder_that_opens() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("log")).unwrap();
    std::fs::write(folder.path().join("log/meta.properties.tmp"), "version=").unwrap();
    closed_log(folder.path(), 1);
    assert_eq!(Log::open(folder.path()).unwrap().read(&TEXT, 1).unwrap().len(), 1);
}

#[tokio::test]
async fn an_unknown_setting() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path()).unwrap();
    let error = log.create_topic_with(&TEXT, 1, &[("retention.mss", "1")]).unwrap_err();
    assert_says(&error.to_string(), &["retention.mss", "did you mean retention.ms?"]);
    log.create_topic(&TEXT, 1).unwrap();
    let builder = StreamsBuilder::new();
    builder.stream(&TEXT).group_by_key().count().store("counts").changelog_setting("segment.byte", "1");
    let error = Tidewater::app("app").log(&log).start(builder.build().unwrap()).await.map(drop).unwrap_err();
    assert_says(&error.to_string(), &["app-counts-changelog", "segment.byte", "did you mean segment.bytes?"]);
}

#[tokio::test]
async fn bytes_of_another_type() {
    let folder = tempfile::tempdir().unwrap();
    closed_log(folder.path(), 1);
    let log = Log::open(folder.path()).unwrap();
    log.create_topic(&OUT, 1).unwrap();
    let error = log.read(&NUMBERS, 1).unwrap_err();
    assert!(matches!(error, LogError::Codec { .. }));
    assert_says(&error.to_string(), &["topic in", "not a valid i64: 4 bytes, expected 8"]);
    let builder = StreamsBuilder::new();
    builder.stream(&NUMBERS).to(&OUT);
    let error = failure(Tidewater::app("app").log(&log).start(builder.build().unwrap()).await.unwrap()).await;
    assert_eq!(error.kind, FailureKind::Deserialization);
    let parts = ["in-0 offset 0", "not a valid i64: 4 bytes, expected 8", "Handlers::deserialization"];
    assert_says(&error.to_string(), &parts);
}

#[test]
fn a_window_of_no_length() {
    let builder = StreamsBuilder::new();
    builder.stream(&TEXT).group_by_key().windowed_by(Tumbling::of(ms(0))).count();
    let error = builder.build().map(drop).unwrap_err();
    assert_says(&error.to_string(), &["window", "0"]);
}

#[test]
fn two_stores_of_one_name() {
    let builder = StreamsBuilder::new();
    let stream = builder.stream(&TEXT);
    stream.group_by_key().count().store("same");
    stream.group_by_key().count().store("same");
    let error = builder.build().map(drop).unwrap_err();
    assert_says(&error.to_string(), &["two stores are named \"same\"", "give one of them another name"]);
}

#[tokio::test]
async fn a_record_that_is_too_large_is_one_records_failure() {
    let folder = tempfile::tempdir().unwrap();
    closed_log(folder.path(), 3);
    let log = Log::open(folder.path()).unwrap();
    log.create_topic(&Topic::<String, String>::new("out"), 1).unwrap();
    let builder = StreamsBuilder::new();
    let long = |key: &String, text: String| if key == "1" { "x".repeat(2 << 20) } else { text };
    builder.stream(&TEXT).map_values_with_key(long).to(&Topic::<String, String>::new("out"));
    let handlers = tidewater::Handlers { production: Arc::new(|_| tidewater::Decision::Skip), ..Default::default() };
    let app = Tidewater::app("app").log(&log).handlers(handlers).start(builder.build().unwrap()).await.unwrap();
    let sent = log.read(&Topic::<String, String>::new("out"), 2).unwrap();
    assert_eq!(sent.iter().map(|record| record.key.as_str()).collect::<Vec<_>>(), ["0", "2"]);
    app.stop().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_stops_the_application_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::with_space(1 << 20);
    let settings = BrokerSettings { disk: disk.clone(), ..BrokerSettings::default() };
    let broker = Arc::new(Broker::open(&folder.path().join("log"), settings).unwrap());
    let client = NativeClient::new(broker.clone(), "app");
    for topic in ["in", "out"] {
        client.create_topic(topic, 1, &Default::default()).unwrap();
    }
    let mut sent = 0;
    while sent < 400 {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.push(Timestamp(1), Some(format!("{sent}").as_bytes()), Some(&[b'v'; 1000]), &Headers::EMPTY);
        client.send(&TopicPartition::new("in", 0), batch.finish().unwrap()).unwrap();
        sent += 1;
    }
    let topology = || {
        let builder = StreamsBuilder::new();
        let twice = |value: String| value.repeat(2);
        builder.stream(&TEXT).map_values(twice).to(&Topic::<String, String>::new("out"));
        builder.build().unwrap()
    };
    let error = failure(App::start(topology(), AppSettings::new("app"), client.ports()).unwrap()).await;
    assert_eq!(error.kind, FailureKind::Production);
    assert_says(&error.to_string(), &["out-0", "space"]);
    drop(broker);

    // With room again it goes on, and every record comes out.
    let log = Log::open(folder.path()).unwrap();
    let app = Tidewater::app("app").log(&log).start(topology()).await.unwrap();
    while app.lag().unwrap() > 0 {
        assert!(!app.has_failed());
        std::thread::park_timeout(ms(1));
    }
    app.stop().await.unwrap();
    let out = log.read(&Topic::<String, String>::new("out"), sent).unwrap();
    let keys: std::collections::BTreeSet<String> = out.into_iter().map(|record| record.key).collect();
    assert_eq!(keys.len(), sent);
}

#[test]
fn a_store_of_another_builder() {
    let (first, second) = (StreamsBuilder::new(), StreamsBuilder::new());
    let theirs = first.store(KeyValueStore::<String, i64>::define("theirs"));
    for with_stores_of_its_own in [false, true] {
        if with_stores_of_its_own {
            second.store(KeyValueStore::<i64, i64>::define("ours"));
        }
        struct Nothing;
        impl Processor for Nothing {
            type KIn = String;
            type VIn = String;
            type KOut = String;
            type VOut = String;
            fn process(
                &mut self,
                _: Record<String, String>,
                _: &mut Context<'_, String, String>,
            ) -> Result<(), tidewater::UserError> {
                Ok(())
            }
        }
        second.stream(&TEXT).process(move |stores: &mut Stores<'_>| {
            stores.open(&theirs);
            Nothing
        });
    }
    let error = second.build().err().unwrap();
    assert!(matches!(error, BuildError::ForeignHandle(_)), "{error}");
}

#[tokio::test]
async fn a_topic_for_dead_letters_that_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path()).unwrap();
    log.create_topic(&TEXT, 1).unwrap();
    let builder = StreamsBuilder::new();
    builder.stream(&TEXT).for_each(|_, _| {});
    let app = Tidewater::app("app").log(&log).set("errors.dead.letter.queue.topic.name", "dead").unwrap();
    let error = app.start(builder.build().unwrap()).await.map(drop).unwrap_err();
    assert_says(&error.to_string(), &["topic dead does not exist", "create it"]);
}

#[tokio::test]
async fn batches_keep_to_what_the_topic_takes() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path()).unwrap();
    let out = Topic::<String, String>::new("out");
    for topic in [&TEXT, &out] {
        log.create_topic_with(topic, 1, &[("max.message.bytes", "2000")]).unwrap();
    }
    log.send(&TEXT, (0..200).map(|n| Record::new(n.to_string(), "v".repeat(100), 1))).unwrap();
    let builder = StreamsBuilder::new();
    builder.stream(&TEXT).to(&out);
    let app = Tidewater::app("app").log(&log).start(builder.build().unwrap()).await.unwrap();
    assert_eq!(log.read(&out, 200).unwrap().len(), 200);
    app.stop().await.unwrap();
}
