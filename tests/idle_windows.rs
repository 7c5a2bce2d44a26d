//! `close_when_idle`: the last windows of an input that falls silent are closed, once.

use tidewater::{DropReason, Sliding, prelude::*};
use tidewater_testkit::TestDriver;

const IN: Topic<String, String> = Topic::new("in");
const OUT: Topic<String, i64> = Topic::new("out");

fn driver(program: impl Fn(&StreamsBuilder)) -> TestDriver {
    let builder = StreamsBuilder::new();
    program(&builder);
    TestDriver::new(builder.build().unwrap())
}

fn send(driver: &TestDriver, key: &str, time: i64) {
    driver.input(&IN).send(key.to_owned(), String::new(), time);
}

fn tumbling(builder: &StreamsBuilder) {
    let windows = Tumbling::of(ms(10)).grace(ms(5));
    let counts = builder.stream(&IN).group_by_key().windowed_by(windows).close_when_idle(seconds(60)).count();
    counts
        .to_stream()
        .filter_some()
        .map(|window, count| (format!("{}@{}", window.key, window.window.start), count))
        .to(&OUT);
}

#[test]
fn windows_close_after_the_silence_and_later_records_are_late() {
    let driver = driver(tumbling);
    let output = driver.output(&OUT);
    send(&driver, "a", 1);
    send(&driver, "a", 12);
    send(&driver, "b", 13);
    driver.advance_wall_clock(seconds(59));
    assert_eq!(output.read_key_values(), []);
    send(&driver, "a", 14);
    driver.advance_wall_clock(seconds(59));
    assert_eq!(output.read_key_values(), [], "a record came meanwhile");
    driver.advance_wall_clock(seconds(1));
    let expected = [("a@0", 1), ("a@10", 2), ("b@10", 1)].map(|(key, count)| (key.to_owned(), count));
    assert_eq!(output.read_key_values(), expected);
    driver.advance_wall_clock(seconds(600));
    assert_eq!(output.read_key_values(), [], "once");
    send(&driver, "a", 19);
    assert_eq!(driver.dropped().get(&DropReason::Late), Some(&1));
    // The next window goes on as usual.
    send(&driver, "a", 20);
    send(&driver, "a", 35);
    assert_eq!(output.read_key_values(), [("a@20".to_owned(), 1)]);
}

#[test]
fn sessions_and_sliding_windows_as_well() {
    let driver = driver(|builder| {
        let stream = builder.stream(&IN).group_by_key();
        let sessions = stream.windowed_by(Sessions::with_gap(ms(10))).close_when_idle(seconds(1)).count();
        let text = |w: SessionWindowed<String>, count| {
            (format!("session {}@{}-{}", w.key, w.window.start, w.window.end), count)
        };
        sessions.to_stream().filter_some().map(text).to(&OUT);
        let sliding = stream.windowed_by(Sliding::of(ms(10)).grace(ms(10))).close_when_idle(seconds(1)).count();
        let text = |w: Windowed<String>, count| (format!("sliding {}@{}", w.key, w.window.start), count);
        sliding.to_stream().filter_some().map(text).to(&OUT);
    });
    send(&driver, "a", 20);
    send(&driver, "a", 25);
    assert_eq!(driver.output(&OUT).read_key_values(), []);
    driver.advance_wall_clock(seconds(1));
    let expected = [("session a@20-25", 2), ("sliding a@10", 1), ("sliding a@15", 2), ("sliding a@21", 1)];
    assert_eq!(driver.output(&OUT).read_key_values(), expected.map(|(key, count)| (key.to_owned(), count)));
}

#[test]
fn a_session_that_was_closed_does_not_grow() {
    let driver = driver(|builder| {
        let sessions = builder.stream(&IN).group_by_key().windowed_by(Sessions::with_gap(ms(10)));
        let counts = sessions.close_when_idle(seconds(1)).count().to_stream().filter_some();
        counts.map(|w, count| (format!("{}-{}", w.window.start, w.window.end), count)).to(&OUT);
    });
    send(&driver, "a", 20);
    send(&driver, "a", 25);
    driver.advance_wall_clock(seconds(1));
    driver.advance_wall_clock(seconds(1));
    send(&driver, "a", 24);
    send(&driver, "a", 30);
    driver.advance_wall_clock(seconds(1));
    let expected = [("20-25".to_owned(), 2), ("30-30".to_owned(), 1)];
    assert_eq!(driver.output(&OUT).read_key_values(), expected);
    assert_eq!(driver.dropped().get(&DropReason::Late), Some(&1));
}
