//! State, offsets and results over a stop, over the loss of the state folder, and with state in memory.

use tidewater::prelude::*;

use crate::word_count::{COUNTS, WORDS, send, topology, wait_for};

fn open(folder: &std::path::Path) -> Log {
    let log = Log::open(folder).unwrap();
    log.create_topic(&WORDS, 2).unwrap();
    log.create_topic(&COUNTS, 2).unwrap();
    log
}

#[tokio::test]
async fn goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let mut total = 0;
    for round in 0..3 {
        let log = open(folder.path());
        let app = Tidewater::app("app").log(&log).start(topology()).await.unwrap();
        send(&log, total..total + 500);
        total += 500;
        wait_for(&log, total);
        let restored = app.restored();
        app.stop().await.unwrap();
        assert_eq!(restored, 0, "round {round}: the stores were closed in good order");
        log.close().unwrap();
    }
}

#[tokio::test]
async fn a_lost_state_folder_is_restored_from_the_changelog() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let app = Tidewater::app("app").log(&log).start(topology()).await.unwrap();
    send(&log, 0..500);
    wait_for(&log, 500);
    app.stop().await.unwrap();
    std::fs::remove_dir_all(folder.path().join("state")).unwrap();

    let app = Tidewater::app("app").log(&log).start(topology()).await.unwrap();
    send(&log, 500..800);
    wait_for(&log, 800);
    assert!(app.restored() >= 37);
    app.stop().await.unwrap();
}

#[tokio::test]
async fn state_in_memory_is_restored_at_each_start() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    for round in 1..4 {
        let app = Tidewater::app("app").log(&log).state_in_memory().start(topology()).await.unwrap();
        send(&log, (round - 1) * 300..round * 300);
        wait_for(&log, round * 300);
        app.stop().await.unwrap();
    }
}

const SIGHTINGS: Topic<String, i64> = Topic::new("sightings");
const CLOSED: Topic<Windowed<String>, Option<i64>> = Topic::new("closed");

fn windowed() -> Topology {
    let builder = StreamsBuilder::new();
    builder
        .stream(&SIGHTINGS)
        .group_by_key()
        .windowed_by(Tumbling::of(ms(100)))
        .count()
        .store("windows")
        .suppress(Suppress::until_window_closes())
        .to_stream()
        .to(&CLOSED);
    builder.build().unwrap()
}

/// Event time of 1987: the windows that wait in the suppress buffer and their stores come back from the changelogs.
#[tokio::test]
async fn windows_of_decades_ago_survive_the_loss_of_all_state() {
    const IN_1987: i64 = 540_000_000_000;
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path()).unwrap();
    log.create_topic(&SIGHTINGS, 1).unwrap();
    log.create_topic(&CLOSED, 1).unwrap();
    let sighting = |at: i64| Record::new("k".to_owned(), at, IN_1987 + at);
    let start = async || Tidewater::app("app").log(&log).start(windowed()).await.unwrap();

    let app = start().await;
    log.send(&SIGHTINGS, (0..50).map(sighting)).unwrap();
    while app.processed() < 50 {
        std::thread::yield_now();
    }
    app.stop().await.unwrap();
    assert_eq!(log.read(&CLOSED, 0).unwrap().len(), 0);
    std::fs::remove_dir_all(folder.path().join("state")).unwrap();

    let app = start().await;
    log.send(&SIGHTINGS, (50..60).chain([250]).map(sighting)).unwrap();
    let closed = log.read(&CLOSED, 1).unwrap();
    app.stop().await.unwrap();
    assert_eq!(closed.len(), 1);
    assert_eq!((closed[0].key.window.start, closed[0].value), (IN_1987, Some(60)));
}

/// A store without a changelog lives by its folder: what was committed before another record failed is there when the application
/// is started again.
#[tokio::test]
async fn a_store_without_a_changelog_keeps_what_was_committed_before_a_failure() {
    const SEEN: Topic<String, i64> = Topic::new("seen");
    const TOTALS: Topic<String, Option<i64>> = Topic::new("totals");
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path()).unwrap();
    log.create_topic(&SEEN, 1).unwrap();
    log.create_topic(&TOTALS, 1).unwrap();
    let topology = |fails: bool| {
        let builder = StreamsBuilder::new();
        let seen = builder.stream(&SEEN);
        let seen = seen.try_map_values(move |n| if fails && n == 13 { Err("unlucky".into()) } else { Ok(n) });
        seen.group_by_key().count().store("totals").without_changelog().to_stream().to(&TOTALS);
        builder.build().unwrap()
    };
    let send = |numbers: std::ops::Range<i64>| {
        log.send(&SEEN, numbers.map(|n| Record::new("a".to_owned(), n, n))).unwrap();
    };
    let app = Tidewater::app("app").log(&log).start(topology(true)).await.unwrap();
    send(0..10);
    while app.lag().unwrap() > 0 {
        tokio::task::yield_now().await;
    }
    send(13..14);
    while !app.has_failed() {
        tokio::task::yield_now().await;
    }
    app.stop().await.unwrap_err();

    let app = Tidewater::app("app").log(&log).start(topology(false)).await.unwrap();
    send(14..15);
    while app.lag().unwrap() > 0 {
        tokio::task::yield_now().await;
    }
    app.stop().await.unwrap();
    let written = log.end_offsets("totals").unwrap()[0].0;
    assert_eq!(log.read(&TOTALS, written as usize).unwrap().last().unwrap().value, Some(12));
    log.close().unwrap();
}
