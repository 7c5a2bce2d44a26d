//! Windowed aggregations against plain models over vectors, for records in any order.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tidewater::{EmitStrategy, Sliding, Unlimited, prelude::*};
use tidewater_testkit::TestDriver;

const IN: Topic<Option<String>, Option<i64>> = Topic::new("in");
const OUT: Topic<String, Option<i64>> = Topic::new("out");

/// A record: key and time, and whether it has a key and a value, only a key, or only a value.
type Event = (u8, i64, Parts);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Parts {
    Both,
    Key,
    Value,
}
/// Counts by key, start and end of a window.
type Counts = BTreeMap<(u8, i64, i64), i64>;

fn key(number: u8) -> String {
    char::from(b'a' + number).to_string()
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let parts = prop_oneof![8 => Just(Parts::Both), 1 => Just(Parts::Key), 1 => Just(Parts::Value)];
    prop::collection::vec((0u8..3, 0i64..60, parts), 1..50)
}

/// The last result of each window; with `once`, no window has two.
fn run(program: impl Fn(&StreamsBuilder), events: &[Event], once: bool) -> Counts {
    let builder = StreamsBuilder::new();
    program(&builder);
    let driver = TestDriver::new(builder.build().unwrap());
    for &(number, time, parts) in events {
        let key = (parts != Parts::Value).then(|| key(number));
        driver.input(&IN).send(key, (parts != Parts::Key).then_some(1), time);
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
const LAST: Event = (9, 100_000, Parts::Both);

/// Records without a key are in no window.
fn with_key(events: &[Event]) -> impl Iterator<Item = (u8, i64)> {
    events.iter().filter(|(.., parts)| *parts != Parts::Value).map(|(key, time, _)| (*key, *time))
}

fn count_in_windows(
    windows: impl tidewater::Windows<
        Stream<Option<String>, Option<i64>> = tidewater::TimeWindowedStream<Option<String>, Option<i64>>,
    > + Clone,
    events: &[Event],
    results: Results,
    once: bool,
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
    finish(program, events, once)
}

fn finish(program: impl Fn(&StreamsBuilder), events: &[Event], once: bool) -> Counts {
    let events = [events, &[LAST]].concat();
    let mut counts = run(program, &events, once);
    counts.retain(|(key, ..), _| *key != LAST.0);
    counts
}

/// The model of windows that begin at the multiples of an advance.
fn aligned(size: i64, advance: i64, grace: i64, events: &[Event]) -> Counts {
    let (mut counts, mut observed) = (Counts::new(), -1);
    for (key, time) in with_key(events) {
        observed = observed.max(time);
        let starts = (0..=time).step_by(advance as usize).filter(|start| start + size > time);
        for start in starts.filter(|start| start + size > observed - grace) {
            *counts.entry((key, start, start + size)).or_default() += 1;
        }
    }
    counts
}

/// The model of sliding windows: one that ends with each record, and one that begins behind it if it has any. Windows do not begin
/// before 0. A record is late once the last window that could begin behind it has closed.
fn sliding(difference: i64, grace: i64, events: &[Event]) -> Counts {
    let (mut counts, mut taken, mut observed) = (Counts::new(), Vec::new(), -1);
    // A record without a value is not seen at all.
    for &(key, time, _) in events.iter().filter(|(.., parts)| *parts == Parts::Both) {
        observed = observed.max(time);
        if time + 1 + difference > observed - grace {
            taken.push((key, time));
        }
    }
    for (key, time) in &taken {
        for start in [(time - difference).max(0), time + 1] {
            let within = |event: &&(u8, i64)| event.0 == *key && (start..=start + difference).contains(&event.1);
            let count = taken.iter().filter(within).count() as i64;
            if count > 0 {
                counts.insert((*key, start, start + difference), count);
            }
        }
    }
    counts
}

/// Without the records that come when their own window has closed, and one behind it has not: of such a one Kafka Streams
/// remembers only what the windows say that are still open.
fn on_time_or_late(difference: i64, grace: i64, mut events: Vec<Event>) -> Vec<Event> {
    let mut observed = -1;
    events.retain(|(_, time, parts)| {
        let now = observed.max(*time);
        let is_either = *time >= now - grace || time + 1 + difference <= now - grace;
        observed = if is_either && *parts == Parts::Both { now } else { observed };
        is_either
    });
    events
}

/// The model of sessions. One that is closed was sent, even if a record that is not late lets it grow afterwards; what
/// is held back is sent 1 ms before.
fn sessions(gap: i64, grace: i64, events: &[Event], results: Results) -> Counts {
    let (mut counts, mut sent, mut observed) = (Counts::new(), Counts::new(), -1);
    for (key, time) in with_key(events) {
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
        let sent_until = if matches!(results, Results::Suppressed) { closed } else { closed - 1 };
        sent.extend(counts.iter().filter(|((_, _, end), _)| *end <= sent_until));
    }
    if !matches!(results, Results::Updates) {
        counts.extend(sent);
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn tumbling_and_hopping(
        events in events(), advance in 1i64..10, over in 0i64..12, grace in 0i64..30, results in results(),
    ) {
        let size = advance + over;
        let windows = Hopping::of(ms(size as u64), ms(advance as u64)).grace(ms(grace as u64));
        let once = !matches!(results, Results::Updates);
        prop_assert_eq!(count_in_windows(windows, &events, results, once), aligned(size, advance, grace, &events));
        let windows = Tumbling::of(ms(size as u64)).grace(ms(grace as u64));
        prop_assert_eq!(count_in_windows(windows, &events, results, once), aligned(size, size, grace, &events));
    }

    #[test]
    fn unlimited(events in events(), start in 0i64..40) {
        let counted = count_in_windows(Unlimited::starting(Timestamp(start)), &events, Results::Updates, false);
        let mut expected = Counts::new();
        for (key, _) in with_key(&events).filter(|(_, time)| *time >= start) {
            *expected.entry((key, start, i64::MAX)).or_default() += 1;
        }
        prop_assert_eq!(counted, expected);
    }

    #[test]
    fn sliding_windows(events in events(), difference in 1i64..15, grace in 0i64..40, results in results()) {
        let events = on_time_or_late(difference, grace, events);
        let windows = Sliding::of(ms(difference as u64)).grace(ms(grace as u64));
        // What is held back is sent again if a record comes in the last millisecond: windows have their end in them.
        let once = matches!(results, Results::OnClose);
        prop_assert_eq!(count_in_windows(windows, &events, results, once), sliding(difference, grace, &events));
    }

    #[test]
    fn sessions_that_grow_together(events in events(), gap in 1i64..8, grace in 0i64..30, results in results()) {
        let windows = Sessions::with_gap(ms(gap as u64)).grace(ms(grace as u64));
        let program = |builder: &StreamsBuilder| {
            let stream = builder.stream(&IN).group_by_key().windowed_by(windows);
            let counts = match results {
                Results::OnClose => stream.emit_strategy(EmitStrategy::OnWindowClose).count().retention(KEPT),
                Results::Suppressed => stream.count().retention(KEPT).suppress(Suppress::until_window_closes()),
                Results::Updates => stream.count().retention(KEPT),
            };
            counts.to_stream().map(|windowed, count| (name(&windowed.key, windowed.window), count)).to(&OUT);
        };
        // As with sliding windows.
        let once = matches!(results, Results::OnClose);
        prop_assert_eq!(finish(program, &events, once), sessions(gap, grace, &events, results));
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
    let counts = run(program, &[5, 1_000_000_000_000, 77].map(|time| (0, time, Parts::Both)), false);
    assert_eq!(counts, Counts::from([((0, 5, 1_000_000_000_000), 3)]));
}
