//! Windowed aggregations against plain models over vectors, for records in any order.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tidewater::{EmitStrategy, Sliding, Unlimited, prelude::*};
use tidewater_testkit::TestDriver;

const IN: Topic<String, i64> = Topic::new("in");
const OUT: Topic<String, Option<i64>> = Topic::new("out");

/// A record: key and time.
type Event = (u8, i64);
/// Counts by key, start and end of a window.
type Counts = BTreeMap<(u8, i64, i64), i64>;

fn key(number: u8) -> String {
    char::from(b'a' + number).to_string()
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec((0u8..3, 0i64..60), 1..50)
}

/// The last result of each window; with `once`, no window has two.
fn run(program: impl Fn(&StreamsBuilder), events: &[Event], once: bool) -> Counts {
    let builder = StreamsBuilder::new();
    program(&builder);
    let driver = TestDriver::new(builder.build().unwrap());
    for &(number, time) in events {
        driver.input(&IN).send(key(number), 1, time);
    }
    let mut counts = Counts::new();
    for (window, count) in driver.output(&OUT).read_key_values() {
        let parts: Vec<&str> = window.split(' ').collect();
        let window = (parts[0].as_bytes()[0] - b'a', parts[1].parse().unwrap(), parts[2].parse().unwrap());
        let before = match count {
            Some(count) => counts.insert(window, count),
            None => counts.remove(&window),
        };
        assert!(!once || before.is_none(), "{window:?} came twice");
    }
    counts
}

fn name(key: &str, window: tidewater::Window) -> String {
    format!("{key} {} {}", window.start, window.end)
}

/// What a windowed count sends: with each update, once at the end of windows, or held back to it.
#[derive(Clone, Copy, Debug)]
enum Results {
    Updates,
    OnClose,
    Suppressed,
}

fn results() -> impl Strategy<Value = Results> {
    prop_oneof![Just(Results::Updates), Just(Results::OnClose), Just(Results::Suppressed)]
}

/// As in Kafka Streams, a window whose store has forgotten it when it closes is not sent, nor its end if it grew into another.
const KEPT: Duration = Duration::MAX;

/// A record of another key, so late that all windows before it are closed.
const LAST: Event = (9, 100_000);

fn count_in_windows(
    windows: impl tidewater::Windows<Stream<String, i64> = tidewater::TimeWindowedStream<String, i64>> + Clone,
    events: &[Event],
    results: Results,
) -> Counts {
    let program = |builder: &StreamsBuilder| {
        let stream = builder.stream(&IN).group_by_key().windowed_by(windows.clone());
        let counts = match results {
            Results::Updates => stream.count().retention(KEPT),
            Results::OnClose => stream.emit_strategy(EmitStrategy::OnWindowClose).count().retention(KEPT),
            Results::Suppressed => stream.count().retention(KEPT).suppress(Suppress::until_window_closes()),
        };
        counts.to_stream().map(|windowed, count| (name(&windowed.key, windowed.window), count)).to(&OUT);
    };
    finish(program, events, results)
}

fn finish(program: impl Fn(&StreamsBuilder), events: &[Event], results: Results) -> Counts {
    let events = [events, &[LAST]].concat();
    let mut counts = run(program, &events, !matches!(results, Results::Updates));
    counts.retain(|(key, ..), _| *key != LAST.0);
    counts
}

/// The model of windows that begin at the multiples of an advance.
fn aligned(size: i64, advance: i64, grace: i64, events: &[Event]) -> Counts {
    let (mut counts, mut observed) = (Counts::new(), -1);
    for &(key, time) in events {
        observed = observed.max(time);
        let starts = (0..=time).step_by(advance as usize).filter(|start| start + size > time);
        for start in starts.filter(|start| start + size > observed - grace) {
            *counts.entry((key, start, start + size)).or_default() += 1;
        }
    }
    counts
}

/// The model of sliding windows, without late records: one that ends with each record, and one that begins behind it if it has
/// any. Windows do not begin before 0.
fn sliding(difference: i64, events: &[Event]) -> Counts {
    let mut counts = Counts::new();
    for &(key, time) in events {
        for start in [(time - difference).max(0), time + 1] {
            let within = |event: &&Event| event.0 == key && (start..=start + difference).contains(&event.1);
            let count = events.iter().filter(within).count() as i64;
            if count > 0 {
                counts.insert((key, start, start + difference), count);
            }
        }
    }
    counts
}

/// The model of sessions. One that is closed was sent, even if a record that is not late lets it grow afterwards.
fn sessions(gap: i64, grace: i64, events: &[Event], on_close: bool) -> Counts {
    let (mut counts, mut sent, mut observed) = (Counts::new(), Counts::new(), -1);
    for &(key, time) in events {
        observed = observed.max(time);
        let closed = observed - grace - gap;
        let near = |(of, start, end): &(u8, i64, i64)| *of == key && *start <= time + gap && *end >= time - gap;
        let found: Vec<_> = counts.keys().copied().filter(near).collect();
        let start = found.iter().map(|(_, start, _)| *start).min().unwrap_or(time).min(time);
        let end = found.iter().map(|(_, _, end)| *end).max().unwrap_or(time).max(time);
        if end >= closed {
            let count: i64 = found.iter().filter_map(|session| counts.remove(session)).sum();
            counts.insert((key, start, end), count + 1);
        }
        sent.extend(counts.iter().filter(|((_, _, end), _)| *end < closed));
    }
    if on_close {
        counts.extend(sent);
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn tumbling_and_hopping(
        events in events(), advance in 1i64..10, over in 0i64..12, grace in 0i64..30, results in results(),
    ) {
        let size = advance + over;
        let windows = Hopping::of(ms(size as u64), ms(advance as u64)).grace(ms(grace as u64));
        prop_assert_eq!(count_in_windows(windows, &events, results), aligned(size, advance, grace, &events));
        let windows = Tumbling::of(ms(size as u64)).grace(ms(grace as u64));
        prop_assert_eq!(count_in_windows(windows, &events, results), aligned(size, size, grace, &events));
    }

    #[test]
    fn unlimited(events in events(), start in 0i64..40) {
        let counted = count_in_windows(Unlimited::starting(Timestamp(start)), &events, Results::Updates);
        let mut expected = Counts::new();
        for &(key, _) in events.iter().filter(|(_, time)| *time >= start) {
            *expected.entry((key, start, i64::MAX)).or_default() += 1;
        }
        prop_assert_eq!(counted, expected);
    }

    #[test]
    fn sliding_windows(events in events(), difference in 1i64..15, results in results()) {
        let windows = Sliding::of(ms(difference as u64)).grace(ms(1000));
        prop_assert_eq!(count_in_windows(windows, &events, results), sliding(difference, &events));
    }

    #[test]
    fn sessions_that_grow_together(events in events(), gap in 1i64..8, grace in 0i64..30, on_close: bool) {
        let windows = Sessions::with_gap(ms(gap as u64)).grace(ms(grace as u64));
        // Suppressed sessions are left out: Kafka Streams sends one 1 ms before it is closed, and again if a record comes then.
        let results = if on_close { Results::OnClose } else { Results::Updates };
        let program = |builder: &StreamsBuilder| {
            let stream = builder.stream(&IN).group_by_key().windowed_by(windows);
            let counts = match results {
                Results::OnClose => stream.emit_strategy(EmitStrategy::OnWindowClose).count().retention(KEPT),
                _ => stream.count().retention(KEPT),
            };
            counts.to_stream().map(|windowed, count| (name(&windowed.key, windowed.window), count)).to(&OUT);
        };
        prop_assert_eq!(finish(program, &events, results), sessions(gap, grace, &events, on_close));
    }
}

/// The longest gap joins everything, and overflows nowhere.
#[test]
fn a_session_of_any_length() {
    let program = |builder: &StreamsBuilder| {
        let windows = Sessions::with_gap(Duration::MAX).grace(Duration::MAX);
        let counts = builder.stream(&IN).group_by_key().windowed_by(windows).count();
        counts.to_stream().map(|windowed, count| (name(&windowed.key, windowed.window), count)).to(&OUT);
    };
    let counts = run(program, &[(0, 5), (0, 1_000_000_000_000), (0, 77)], false);
    assert_eq!(counts, Counts::from([((0, 5, 1_000_000_000_000), 3)]));
}
