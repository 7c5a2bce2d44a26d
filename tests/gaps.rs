//! Inputs with gaps: records that retention took before they were read, or that were deleted when they were worked through, and
//! batches without records at the end.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use tidewater::prelude::*;
use tidewater::{App, AppSettings};
use tidewater_broker::{Broker, BrokerSettings};
use tidewater_client::{Admin, Consumer, NativeClient, Producer};
use tidewater_protocol::{BatchBuilder, Compression, ControlKind, control_batch};
use tidewater_types::TopicPartition;

const IN: Topic<Option<String>, String> = Topic::new("in");
const RECORDS: usize = 4000;

fn work(app: &App) {
    while app.lag().unwrap() > 0 {
        assert!(!app.has_failed());
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn what_retention_took_before_it_was_read_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let settings = BrokerSettings {
        maintenance_interval: Some(Duration::from_millis(5)),
        retention_interval: Duration::from_millis(5),
        ..BrokerSettings::default()
    };
    let broker = Arc::new(Broker::open(folder.path(), settings).unwrap());
    let client = NativeClient::new(broker.clone(), "app");
    client.create_topic("in", 1, &[("retention.ms".to_owned(), "-1".to_owned())].into()).unwrap();
    let place = TopicPartition::new("in", 0);
    for _ in 0..RECORDS {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.push(Timestamp(5), None, Some(&[b'v'; 1000]), &Headers::EMPTY);
        client.send(&place, batch.finish().unwrap()).unwrap();
    }
    // The first record waits until there is nothing left to read.
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let builder = StreamsBuilder::new();
    builder.stream(&IN).for_each(move |_, _| {
        let _ = wait.lock().unwrap().recv(); // Until the other end is dropped.
    });
    let app = App::start(builder.build().unwrap(), AppSettings::new("app"), client.clone().ports()).unwrap();
    while !app.is_running() {
        std::thread::yield_now();
    }
    client.alter_settings("in", &[("retention.ms".to_owned(), Some("1".to_owned()))].into()).unwrap();
    while client.earliest(&place).unwrap().0 < RECORDS as i64 {
        std::thread::yield_now();
    }
    drop(go_on);
    work(&app);
    assert!(app.processed() < RECORDS as u64, "not all of them were read before");
    app.stop().await.unwrap();
}

#[tokio::test]
async fn batches_without_records_at_the_end_are_no_lag() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Arc::new(Broker::open(folder.path(), BrokerSettings::default()).unwrap());
    let client = NativeClient::new(broker.clone(), "app");
    client.create_topic("in", 1, &Default::default()).unwrap();
    let place = TopicPartition::new("in", 0);
    let mut batch = BatchBuilder::new(Compression::None);
    batch.push(Timestamp(5), None, Some(b"v"), &Headers::EMPTY);
    client.send(&place, batch.finish().unwrap()).unwrap();
    client.send(&place, control_batch(ControlKind::Commit, 7, 0, 0, Timestamp(6))).unwrap();
    let builder = StreamsBuilder::new();
    builder.stream(&IN).for_each(|_, _| {});
    let app = App::start(builder.build().unwrap(), AppSettings::new("app"), client.clone().ports()).unwrap();
    work(&app);
    assert_eq!(app.processed(), 1);
    client.send(&place, control_batch(ControlKind::Abort, 7, 0, 0, Timestamp(7))).unwrap();
    work(&app);
    app.stop().await.unwrap();
}

#[tokio::test]
async fn repartition_topics_lose_what_is_worked_through() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Arc::new(Broker::open(folder.path(), BrokerSettings::default()).unwrap());
    let client = NativeClient::new(broker.clone(), "app");
    for topic in ["in", "out"] {
        client.create_topic(topic, 1, &Default::default()).unwrap();
    }
    let topology = || {
        let builder = StreamsBuilder::new();
        let counts = builder.stream(&IN).group_by(|_, word| word.clone()).count().store("counts");
        counts.to_stream().to(&Topic::<String, Option<i64>>::new("out"));
        builder.build().unwrap()
    };
    let mut settings = AppSettings::new("app");
    settings.purge_interval = Duration::ZERO;
    settings.commit_interval = Duration::from_millis(1);
    let place = TopicPartition::new("app-counts-repartition", 0);
    for round in 1..=3 {
        let app = App::start(topology(), settings.clone(), client.clone().ports()).unwrap();
        let mut batch = BatchBuilder::new(Compression::None);
        batch.push(Timestamp(round), None, Some(b"tide"), &Headers::EMPTY);
        client.send(&TopicPartition::new("in", 0), batch.finish().unwrap()).unwrap();
        while client.earliest(&place).unwrap().0 < round {
            assert!(!app.has_failed());
            std::thread::yield_now();
        }
        work(&app);
        app.stop().await.unwrap();
    }
    assert_eq!(client.latest(&TopicPartition::new("out", 0)).unwrap().0, 3);
}
