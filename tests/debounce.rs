//! `debounce`: of a burst of records of a key, the last one goes on.

use tidewater::{DropReason, prelude::*};
use tidewater_testkit::TestDriver;

const IN: Topic<Option<String>, i64> = Topic::new("in");
const OUT: Topic<Option<String>, i64> = Topic::new("out");

fn driver(wait: impl Into<Wait>) -> TestDriver {
    let builder = StreamsBuilder::new();
    builder.stream(&IN).debounce(wait).to(&OUT);
    TestDriver::new(builder.build().unwrap())
}

fn key(name: &str) -> Option<String> {
    Some(name.to_owned())
}

#[test]
fn each_record_lets_its_key_wait_anew() {
    let driver = driver(seconds(10));
    let (input, output) = (driver.input(&IN), driver.output(&OUT));
    input.send(key("a"), 1, 0);
    input.send(key("b"), 2, 4_000);
    input.send(key("a"), 3, 8_000);
    driver.advance_wall_clock(seconds(10));
    assert_eq!(output.read_values(), [0i64; 0]);
    driver.advance_wall_clock(seconds(4));
    assert_eq!(output.read_values(), [2]);
    // An older record than the one that waits changes nothing.
    input.send(key("a"), 4, 7_999);
    driver.advance_wall_clock(seconds(4));
    assert_eq!(output.read_values(), [3]);
    assert_eq!(driver.store("KSTREAM-DEBOUNCE-0000000001-store").unwrap().entries, []);
    // A new burst.
    input.send(key("a"), 5, 18_000);
    driver.advance_wall_clock(seconds(10));
    assert_eq!(output.read_values(), [5]);
}

#[test]
fn by_stream_time_the_gap_decides() {
    let driver = driver(Wait::of(ms(10)).on(PunctuationClock::StreamTime));
    let input = driver.input(&IN);
    for (number, time) in [(1, 0), (2, 9), (3, 18), (4, 30), (5, 31), (6, 100)] {
        input.send(key("a"), number, time);
    }
    assert_eq!(driver.output(&OUT).read_values(), [3, 5]);
    input.send(key("b"), 7, 110);
    assert_eq!(driver.output(&OUT).read_values(), [6]);
}

#[test]
fn records_without_a_key_are_dropped() {
    let driver = driver(ms(10));
    driver.input(&IN).send(None, 1, 0);
    assert_eq!(driver.dropped().get(&DropReason::NullKey), Some(&1));
}
