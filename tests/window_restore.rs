//! Windows of 1987, restored after their changelog was rolled and cleaned.
//!
//! Kafka measures retention against the wall clock: the changelog of a window store, whose records have the times of their
//! windows, would lose all of them at the first round of its cleaner. Tidewater makes such a changelog with
//! `tidewater.retention.clock=records`: its age is measured against the newest record of its partition, so that it keeps what the
//! store still answers for.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidewater::prelude::*;
use tidewater::{App, AppSettings};
use tidewater_broker::{Broker, BrokerSettings};
use tidewater_client::{Admin, Consumer, NativeClient, Producer};
use tidewater_protocol::{BatchBuilder, Compression};
use tidewater_types::TopicPartition;

const DAY_MS: i64 = 86_400_000;
/// 26 February 1987.
const START_MS: i64 = 541_296_000_000;
const STORIES: Topic<String, String> = Topic::new("stories");
const DAILY: Topic<Windowed<String>, Option<i64>> = Topic::new("daily");
const CHANGELOG: &str = "app-daily-changelog";
/// The store keeps ten days.
const KEPT_DAYS: i64 = 10;

fn topology() -> Topology {
    let builder = StreamsBuilder::new();
    builder
        .stream(&STORIES)
        .group_by_key()
        .windowed_by(Tumbling::of(days(1)).grace(days(KEPT_DAYS as u64 - 1)))
        .count()
        .store("daily")
        // Small segments, all of them to be cleaned at once.
        .changelog_setting("internal.segment.bytes", "2000")
        .changelog_setting("min.cleanable.dirty.ratio", "0.01")
        .to_stream()
        .to(&DAILY);
    builder.build().unwrap()
}

fn send(client: &NativeClient, key: &str, day: i64) {
    send_to(client, "stories", key, day);
}

fn send_to(client: &NativeClient, topic: &str, key: &str, day: i64) {
    let mut batch = BatchBuilder::new(Compression::None);
    batch.push(
        Timestamp(START_MS + day * DAY_MS),
        Some(key.as_bytes()),
        Some(format!("{topic} of day {day}").as_bytes()),
        &Headers::EMPTY,
    );
    client.send(&TopicPartition::new(topic, 0), batch.finish().unwrap()).unwrap();
}

fn start(client: &NativeClient, topology: Topology, state: &Path) -> App {
    let mut settings = AppSettings::new("app");
    settings.state_folder = Some(state.to_owned());
    settings.commit_interval = Duration::from_millis(1);
    App::start(topology, settings, client.clone().ports()).unwrap()
}

/// A broker whose cleaner is always at work, with topics that keep everything.
fn open(logs: &Path, topics: &[&str]) -> (Arc<Broker>, NativeClient) {
    let settings = BrokerSettings {
        maintenance_interval: Some(Duration::from_millis(5)),
        retention_interval: Duration::from_millis(5),
        ..BrokerSettings::default()
    };
    let broker = Arc::new(Broker::open(logs, settings).unwrap());
    let client = NativeClient::new(broker.clone(), "app");
    for topic in topics {
        client.create_topic(topic, 1, &[("retention.ms".to_owned(), "-1".to_owned())].into()).unwrap();
    }
    (broker, client)
}

fn work(app: &App) {
    while app.lag().unwrap() > 0 {
        assert!(!app.has_failed());
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn windows_of_long_ago_are_restored_after_the_cleaner_has_been_at_work() {
    let folder = tempfile::tempdir().unwrap();
    let (logs, state) = (folder.path().join("log"), folder.path().join("state"));
    let (broker, client) = open(&logs, &["stories", "daily"]);
    let app = start(&client, topology(), &state);
    // Forty days; each day's count is written several times, so there is something to clean.
    for day in 0..40 {
        for _ in 0..3 {
            for key in ["grain", "crude", "ship"] {
                send(&client, key, day);
            }
            work(&app);
        }
    }
    // What the store has forgotten is gone from the changelog, and so are most of the values that were replaced.
    let place = TopicPartition::new(CHANGELOG, 0);
    while client.earliest(&place).unwrap().0 == 0 {
        std::thread::yield_now();
    }
    app.stop().await.unwrap();

    std::fs::remove_dir_all(&state).unwrap();
    let app = start(&client, topology(), &state);
    // One more story for each day that the store still keeps, and then one for a day that it does not.
    for day in [39, 35, 31, 29] {
        send(&client, "grain", day);
    }
    work(&app);
    assert!(app.restored() > 0);
    app.stop().await.unwrap();
    drop((client, broker));

    let log = Log::open(folder.path()).unwrap();
    let counts = log.read(&DAILY, 0).unwrap().into_iter().rev().take(3).map(|record| {
        let day = (record.key.window.start - START_MS) / DAY_MS;
        (day, record.value)
    });
    // The last day's count is older than the grace allows: it is left out, not begun anew.
    assert_eq!(counts.collect::<Vec<_>>(), [(31, Some(4)), (35, Some(4)), (39, Some(4))]);
}

const READERS: Topic<String, String> = Topic::new("readers");
const READ: Topic<String, String> = Topic::new("read");

/// Stories joined with their readers of the days about them.
fn join() -> Topology {
    let builder = StreamsBuilder::new();
    let windows =
        JoinWindows::of(days(1)).grace(days(KEPT_DAYS as u64 - 1)).changelog_setting("internal.segment.bytes", "2000");
    let (stories, readers) = (builder.stream(&STORIES), builder.stream(&READERS));
    stories.join(&readers, windows, |story, reader| format!("{story}, {reader}")).to(&READ);
    builder.build().unwrap()
}

#[tokio::test]
async fn joins_of_long_ago_are_restored_after_the_cleaner_has_been_at_work() {
    let folder = tempfile::tempdir().unwrap();
    let (logs, state) = (folder.path().join("log"), folder.path().join("state"));
    let (broker, client) = open(&logs, &["stories", "readers", "read"]);
    let app = start(&client, join(), &state);
    for day in 0..200 {
        send(&client, "grain", day);
        work(&app);
    }
    // What the store has forgotten is gone from its changelog.
    let changelogs: Vec<_> = client.topics().unwrap().into_keys().filter(|name| name.ends_with("-changelog")).collect();
    assert_eq!(changelogs.len(), 2);
    while changelogs.iter().all(|name| client.earliest(&TopicPartition::new(name.as_str(), 0)).unwrap().0 == 0) {
        std::thread::yield_now();
    }
    app.stop().await.unwrap();

    std::fs::remove_dir_all(&state).unwrap();
    let app = start(&client, join(), &state);
    send_to(&client, "readers", "grain", 195);
    work(&app);
    app.stop().await.unwrap();
    drop((client, broker));

    let log = Log::open(folder.path()).unwrap();
    let read: Vec<_> = log.read(&READ, 0).unwrap().into_iter().map(|record| record.value).collect();
    assert_eq!(read, [194, 195, 196].map(|day| format!("stories of day {day}, readers of day 195")));
}
