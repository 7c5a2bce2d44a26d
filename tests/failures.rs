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

/// Actions and joiners that fail are the record's failure, as in any closure.
#[test]
fn actions_and_table_joins_that_fail_go_to_the_handler() {
    use tidewater_testkit::{DriverSettings, TestDriver};
    const ROWS: Topic<String, String> = Topic::new("rows");
    const OTHERS: Topic<String, String> = Topic::new("others");
    const JOINED: Topic<String, Option<String>> = Topic::new("joined");
    let builder = StreamsBuilder::new();
    let table = builder.table(&ROWS);
    let stream = table.to_stream().filter_some();
    let refuse = |_: &String, value: &String| if value == "bad" { Err("a bad value".into()) } else { Ok(()) };
    stream.try_peek(refuse).try_for_each(refuse);
    let join = |_: &String, left: Option<&String>, right: Option<&String>| match (left, right) {
        (Some(left), Some(right)) if left != right => Ok(format!("{left}{right}")),
        _ => Err("the same on both sides".into()),
    };
    table.try_join_any(&builder.table(&OTHERS), false, false, join).to_stream().to(&JOINED);
    let mut settings = DriverSettings::default();
    settings.handlers.processing = std::sync::Arc::new(|_| tidewater::Decision::Skip);
    let driver = TestDriver::with_settings(&builder.build().unwrap(), settings).unwrap();
    let (rows, others) = (driver.input(&ROWS), driver.input(&OTHERS));
    rows.send("k".to_owned(), "bad".to_owned(), 0);
    assert_eq!(driver.dropped().get(&tidewater::DropReason::Failed), Some(&1));
    rows.send("k".to_owned(), "a".to_owned(), 1);
    others.send("k".to_owned(), "a".to_owned(), 2);
    assert_eq!(driver.dropped().get(&tidewater::DropReason::Failed), Some(&2));
    others.send("k".to_owned(), "b".to_owned(), 3);
    assert_eq!(driver.output(&JOINED).read_values(), [Some("ab".to_owned())]);
}
