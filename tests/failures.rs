//! Records that fail: the application stops and says why, or skips them, or sends them to a dead-letter topic.

use std::sync::Arc;

use tidewater::prelude::*;
use tidewater::{Decision, FailureKind, Handlers};

const NUMBERS: Topic<Option<String>, String> = Topic::new("numbers");
const DOUBLED: Topic<Option<String>, i64> = Topic::new("doubled");
const DEAD: Topic<Option<String>, String> = Topic::new("dead");

fn topology() -> Topology {
    let builder = StreamsBuilder::new();
    builder.stream(&NUMBERS).try_map_values(|text| Ok(text.parse::<i64>()? * 2)).named("double").to(&DOUBLED);
    builder.build().unwrap()
}

fn log(folder: &std::path::Path) -> Log {
    let log = Log::open(folder).unwrap();
    log.create_topic(&NUMBERS, 1).unwrap();
    log.create_topic(&DOUBLED, 1).unwrap();
    log.create_topic(&DEAD, 1).unwrap();
    let number = |text: &str| Record::new(None, text.to_owned(), 5);
    log.send(&NUMBERS, ["1", "two", "3"].map(number)).unwrap();
    log
}

#[tokio::test]
async fn a_failure_stops_the_application_and_names_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(folder.path());
    let app = Tidewater::app("app").log(&log).start(topology()).await.unwrap();
    app.failed().await;
    let error = app.stop().await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Processing);
    assert_eq!(error.to_string(), "processing failed in double at numbers-0 offset 1: invalid digit found in string");
}

#[tokio::test]
async fn a_skipped_record_goes_to_the_dead_letters_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(folder.path());
    let handlers =
        Handlers { processing: Arc::new(|_| Decision::Skip), dead_letters: Some("dead".into()), ..Handlers::default() };
    let app = Tidewater::app("app").log(&log).handlers(handlers).start(topology()).await.unwrap();
    let doubled: Vec<i64> = log.read(&DOUBLED, 2).unwrap().into_iter().map(|record| record.value).collect();
    assert_eq!(doubled, [2, 6]);
    let dead = log.read(&DEAD, 1).unwrap();
    assert_eq!(dead[0].value, "two");
    let reason = dead[0].headers.last("__streams.errors.message").unwrap().value.clone().unwrap();
    assert_eq!(reason, "invalid digit found in string");
    app.stop().await.unwrap();
}

#[tokio::test]
async fn a_panic_in_user_code_is_that_tasks_failure() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(folder.path());
    let builder = StreamsBuilder::new();
    builder.stream(&NUMBERS).map_values(|text| text.parse::<i64>().unwrap()).to(&DOUBLED);
    let app = Tidewater::app("app").log(&log).start(builder.build().unwrap()).await.unwrap();
    app.failed().await;
    let error = app.stop().await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Panic);
    assert!(error.to_string().contains("numbers-0 offset 1"), "{error}");
}
