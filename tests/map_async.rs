//! `map_async`: calls side by side, results of a key in order, commits only past what is finished.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidewater::{DropReason, prelude::*};
use tidewater_testkit::{DriverSettings, TestDriver};
use tokio::sync::Notify;

const IN: Topic<String, i64> = Topic::new("in");
const OUT: Topic<String, i64> = Topic::new("out");

#[test]
fn each_value_is_mapped_with_key_time_and_headers_kept() {
    let builder = StreamsBuilder::new();
    builder.stream(&IN).map_async(Concurrency::per_key(4), |n| async move { n * 10 }).to(&OUT);
    let driver = TestDriver::new(builder.build().unwrap());
    let headers: Headers = [tidewater::Header { name: "h".into(), value: None }].into_iter().collect();
    let record = Record::new("a".to_owned(), 1, 5).with_headers(headers.clone());
    driver.input(&IN).try_send(record).unwrap();
    assert_eq!(driver.output(&OUT).read(), [Record::new("a".to_owned(), 10, 5).with_headers(headers)]);
}

#[test]
fn a_failed_call_goes_to_the_handler() {
    let builder = StreamsBuilder::new();
    let check = |n: i64| async move { if n > 0 { Ok(n) } else { Err("not positive".into()) } };
    builder.stream(&IN).try_map_async(Concurrency::per_key(4), check).to(&OUT);
    let mut settings = DriverSettings::default();
    settings.handlers.processing = Arc::new(|error| {
        assert!(error.to_string().contains("not positive"), "{error}");
        tidewater::Decision::Skip
    });
    let driver = TestDriver::with_settings(&builder.build().unwrap(), settings).unwrap();
    driver.input(&IN).send("a".to_owned(), 0, 0);
    driver.input(&IN).send("a".to_owned(), 1, 0);
    assert_eq!(driver.output(&OUT).read_values(), [1]);
    assert_eq!(driver.dropped().get(&DropReason::Failed), Some(&1));
}

#[test]
fn a_call_that_takes_too_long_has_failed() {
    let builder = StreamsBuilder::new();
    let never = |_| std::future::pending::<i64>();
    builder.stream(&IN).map_async(Concurrency::per_key(4).timeout(Duration::from_millis(20)), never).to(&OUT);
    let driver = TestDriver::new(builder.build().unwrap());
    let error = driver.input(&IN).try_send(Record::new("a".to_owned(), 0, 0)).unwrap_err().to_string();
    assert!(error.contains("longer than 20ms"), "{error}");
}

/// What the calls of the test below have in common.
#[derive(Default)]
struct Calls {
    begun: Mutex<Vec<i64>>,
    running: AtomicUsize,
    most: AtomicUsize,
    /// Lets the calls end.
    open: Notify,
    is_open: std::sync::atomic::AtomicBool,
}

impl Calls {
    async fn call(self: Arc<Self>, n: i64) -> i64 {
        self.begun.lock().unwrap().push(n);
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        let opened = self.open.notified();
        if !self.is_open.load(Ordering::SeqCst) {
            opened.await;
        }
        // Later calls end earlier.
        for _ in 0..(100 - n) {
            tokio::task::yield_now().await;
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
        n
    }
}

/// 40 records of 8 keys in one partition. The calls do not end before they are let.
#[tokio::test(flavor = "multi_thread")]
async fn on_the_log_calls_run_side_by_side_and_nothing_is_committed_before_they_end() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path()).unwrap();
    log.create_topic(&IN, 1).unwrap();
    log.create_topic(&OUT, 1).unwrap();
    let calls = Arc::new(Calls::default());
    let builder = StreamsBuilder::new();
    let calling = calls.clone();
    builder.stream(&IN).map_async(Concurrency::per_key(4), move |n| calling.clone().call(n)).to(&OUT);
    let app = Tidewater::app("calls").log(&log).start(builder.build().unwrap()).await.unwrap();
    log.send(&IN, (0..40).map(|n| Record::new(format!("key-{}", n % 8), n, n))).unwrap();
    while calls.begun.lock().unwrap().len() < 4 {
        tokio::task::yield_now().await;
    }
    assert_eq!(app.lag().unwrap(), 40);
    assert_eq!(log.read(&OUT, 0).unwrap(), []);

    calls.is_open.store(true, Ordering::SeqCst);
    calls.open.notify_waiters();
    while app.lag().unwrap() > 0 {
        tokio::task::yield_now().await;
    }
    let results: Vec<_> = log.read(&OUT, 40).unwrap();
    for key in 0..8 {
        let name = format!("key-{key}");
        let of_key: Vec<_> = results.iter().filter(|record| record.key == name).map(|record| record.value).collect();
        assert_eq!(of_key, [key, key + 8, key + 16, key + 24, key + 32]);
    }
    assert_eq!(results.len(), 40);
    assert!((2..=4).contains(&calls.most.load(Ordering::SeqCst)));
    app.stop().await.unwrap();
}

/// What a commit lets out of a cache is called and answered within that commit.
#[test]
fn what_leaves_a_cache_is_answered_before_the_commit() {
    let builder = StreamsBuilder::new();
    let counts = builder.stream(&IN).group_by_key().count().to_stream().filter_some();
    counts.map_async(Concurrency::per_key(4), |n| async move { n * 10 }).to(&OUT);
    let driver = TestDriver::new(builder.build().unwrap());
    for expected in 1..5 {
        driver.input(&IN).send("a".to_owned(), 7, 0);
        assert_eq!(driver.output(&OUT).read_values(), [expected * 10]);
    }
}
