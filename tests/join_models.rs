//! Joins against plain models over vectors, for records in any order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tidewater::prelude::*;
use tidewater_testkit::TestDriver;

const LEFT: Topic<String, String> = Topic::new("left");
const RIGHT: Topic<String, String> = Topic::new("right");
const ROWS: Topic<String, Option<String>> = Topic::new("rows");
const OTHER_ROWS: Topic<String, Option<String>> = Topic::new("other-rows");
const OUT: Topic<String, Option<String>> = Topic::new("out");

/// A record of the left or the right side: key, time, and whether it has a value (for tables).
#[derive(Clone, Debug)]
struct Event {
    left: bool,
    key: u8,
    time: i64,
    there: bool,
}

fn events(most: usize) -> impl Strategy<Value = Vec<Event>> {
    let event = (any::<bool>(), 0u8..3, 0i64..40, prop::bool::weighted(0.8));
    prop::collection::vec(event.prop_map(|(left, key, time, there)| Event { left, key, time, there }), 1..most)
}

fn key(number: u8) -> String {
    char::from(b'a' + number).to_string()
}

/// What the result of a join is made of.
fn pair(left: Option<&String>, right: Option<&String>) -> String {
    let text = |side: Option<&String>| side.cloned().unwrap_or("-".to_owned());
    format!("{}/{}", text(left), text(right))
}

fn driver(program: impl Fn(&StreamsBuilder)) -> TestDriver {
    let builder = StreamsBuilder::new();
    program(&builder);
    TestDriver::new(builder.build().unwrap())
}

fn value(number: usize) -> String {
    format!("v{number}")
}

/// Sends the events to two topics of records, or of rows.
fn send_streams(driver: &TestDriver, events: &[Event]) {
    for (number, event) in events.iter().enumerate() {
        let topic = if event.left { &LEFT } else { &RIGHT };
        driver.input(topic).send(key(event.key), value(number), event.time);
    }
}

fn results(driver: &TestDriver) -> Vec<(String, Option<String>)> {
    driver.output(&OUT).read_key_values()
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort_unstable();
    items
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Inner,
    Left,
    Outer,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Inner), Just(Kind::Left), Just(Kind::Outer)]
}

/// All pairs within the window, and, once, those records that no partner came to: at the end, or at once, as in Kafka Streams, for
/// a record that comes without a partner when stream time has passed its window (though not the grace).
fn stream_join(events: &[Event], kind: Kind, before: i64, after: i64) -> Vec<(String, Option<String>)> {
    let matches = |left: &Event, right: &Event| {
        left.key == right.key && (left.time - before..=left.time + after).contains(&right.time)
    };
    let joined = |left: Option<usize>, right: Option<usize>| pair(left.map(value).as_ref(), right.map(value).as_ref());
    let (mut results, mut observed) = (Vec::new(), -1);
    for (number, event) in events.iter().enumerate() {
        observed = observed.max(event.time);
        let is_partner = |other: &Event| match event.left {
            true => !other.left && matches(event, other),
            false => other.left && matches(other, event),
        };
        let partners = |of: &[Event]| of.iter().filter(|other| is_partner(other)).count();
        for (other, _) in events[..number].iter().enumerate().filter(|(_, other)| is_partner(other)) {
            let (left, right) = if event.left { (number, other) } else { (other, number) };
            results.push((key(event.key), Some(joined(Some(left), Some(right)))));
        }
        let is_over = event.time + if event.left { after } else { before } < observed;
        let is_alone = partners(if is_over { &events[..number] } else { events }) == 0;
        let (alone, is_wanted) = match event.left {
            true => (joined(Some(number), None), kind != Kind::Inner),
            false => (joined(None, Some(number)), kind == Kind::Outer),
        };
        if is_alone && is_wanted {
            results.push((key(event.key), Some(alone)));
        }
    }
    sorted(results)
}

/// The rows of two tables, as they are at the end.
fn rows(events: &[Event], left: bool) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    for (number, event) in events.iter().enumerate().filter(|(_, event)| event.left == left) {
        match event.there {
            true => rows.insert(key(event.key), value(number)),
            false => rows.remove(&key(event.key)),
        };
    }
    rows
}

/// Sends the events to two tables; gives the last result of each key that has one.
fn last_rows(driver: &TestDriver, events: &[Event]) -> BTreeMap<String, String> {
    for (number, event) in events.iter().enumerate() {
        let topic = if event.left { &ROWS } else { &OTHER_ROWS };
        driver.input(topic).send(key(event.key), event.there.then(|| value(number)), event.time);
    }
    let last: BTreeMap<_, _> = results(driver).into_iter().collect();
    last.into_iter().filter_map(|(key, row)| Some((key, row?))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn streams(events in events(40), kind in kind(), before in 0i64..12, after in 0i64..12) {
        let windows = JoinWindows::of(ms(1)).before(ms(before as u64)).after(ms(after as u64)).grace(seconds(1));
        let driver = driver(|builder| {
            let (left, right) = (builder.stream(&LEFT), builder.stream(&RIGHT));
            let joined = match kind {
                Kind::Inner => left.join(&right, windows.clone(), |a, b| pair(Some(a), Some(b))),
                Kind::Left => left.left_join(&right, windows.clone(), |a, b| pair(Some(a), b)),
                Kind::Outer => left.outer_join(&right, windows.clone(), pair),
            };
            joined.map_values(Some).to(&OUT);
        });
        send_streams(&driver, &events);
        // So late that no window is open any more.
        for topic in [&LEFT, &RIGHT] {
            driver.input(topic).send("z".to_owned(), String::new(), 1_000_000);
        }
        driver.advance_wall_clock(seconds(10));
        driver.input(&LEFT).send("z".to_owned(), String::new(), 2_000_000);
        let mut got = results(&driver);
        got.retain(|(key, _)| key != "z");
        prop_assert_eq!(sorted(got), stream_join(&events, kind, before, after));
    }

    /// A partner is found as long as the store of its side keeps it: by the latest record of that side.
    #[test]
    fn streams_within_their_grace(
        events in events(60), before in 0i64..6, after in 0i64..6, grace in 0i64..20, in_memory: bool,
    ) {
        let windows = JoinWindows::of(ms(1)).before(ms(before as u64)).after(ms(after as u64)).grace(ms(grace as u64));
        let windows = if in_memory { windows.in_memory() } else { windows.on_disk() };
        let driver = driver(|builder| {
            let (left, right) = (builder.stream(&LEFT), builder.stream(&RIGHT));
            left.join(&right, windows.clone(), |a, b| pair(Some(a), Some(b))).map_values(Some).to(&OUT);
        });
        send_streams(&driver, &events);
        let mut expected = Vec::new();
        for (number, event) in events.iter().enumerate() {
            let others = || events[..number].iter().enumerate().filter(|(_, other)| other.left != event.left);
            let newest = others().map(|(_, other)| other.time).max().unwrap_or(-1);
            let reach = if event.left { (before, after) } else { (after, before) };
            let is_partner = |other: &Event| {
                other.key == event.key
                    && (event.time - reach.0..=event.time + reach.1).contains(&other.time)
                    && other.time > newest - (before + after + grace)
            };
            for (other, _) in others().filter(|(_, other)| is_partner(other)) {
                let (left, right) = if event.left { (number, other) } else { (other, number) };
                expected.push((key(event.key), Some(pair(Some(&value(left)), Some(&value(right))))));
            }
        }
        prop_assert_eq!(sorted(results(&driver)), sorted(expected));
    }

    #[test]
    fn a_stream_with_itself(events in events(30), before in 0i64..12, after in 0i64..12, optimized: bool) {
        let windows = JoinWindows::of(ms(1)).before(ms(before as u64)).after(ms(after as u64)).grace(seconds(1));
        let builder = StreamsBuilder::new();
        let builder = if optimized { builder.optimize(tidewater::Optimizations::ALL) } else { builder };
        let left = builder.stream(&LEFT);
        left.join(&left, windows, |a, b| pair(Some(a), Some(b))).map_values(Some).to(&OUT);
        let driver = TestDriver::new(builder.build().unwrap());
        for (number, event) in events.iter().enumerate() {
            driver.input(&LEFT).send(key(event.key), value(number), event.time);
        }
        let mut expected = Vec::new();
        for (number, left) in events.iter().enumerate() {
            let matches = |right: &Event| {
                left.key == right.key && (left.time - before..=left.time + after).contains(&right.time)
            };
            for (other, _) in events.iter().enumerate().filter(|(_, right)| matches(right)) {
                expected.push((key(left.key), Some(pair(Some(&value(number)), Some(&value(other))))));
            }
        }
        prop_assert_eq!(sorted(results(&driver)), sorted(expected));
    }

    /// Each record meets the row that is there when it comes.
    #[test]
    fn a_stream_with_a_table(events in events(40), is_left: bool, global: bool) {
        let driver = driver(|builder| {
            let stream = builder.stream(&LEFT);
            let joined = match (is_left, global) {
                (true, false) => stream.left_join_table(&builder.table(&ROWS), |a, b| pair(Some(a), b)),
                (false, false) => stream.join_table(&builder.table(&ROWS), |a, b| pair(Some(a), Some(b))),
                (true, true) => {
                    let table = builder.global_table(&ROWS);
                    stream.left_join_global(&table, |key, _| key.clone(), |a, b| pair(Some(a), b))
                }
                (false, true) => {
                    let table = builder.global_table(&ROWS);
                    stream.join_global(&table, |key, _| key.clone(), |a, b| pair(Some(a), Some(b)))
                }
            };
            joined.map_values(Some).to(&OUT);
        });
        let mut expected = Vec::new();
        for (number, event) in events.iter().enumerate() {
            if event.left {
                driver.input(&LEFT).send(key(event.key), value(number), event.time);
                let rows = rows(&events[..number], false);
                let row = rows.get(&key(event.key));
                if is_left || row.is_some() {
                    expected.push((key(event.key), Some(pair(Some(&value(number)), row))));
                }
            } else {
                driver.input(&ROWS).send(key(event.key), event.there.then(|| value(number)), event.time);
            }
        }
        prop_assert_eq!(results(&driver), expected);
    }

    /// With a grace, each record meets the version of its time, however late the table learnt of it.
    #[test]
    fn a_stream_with_versions_of_a_table(mut events in events(40)) {
        // As in Kafka Streams, a deletion at the very time of a key's first version leaves no trace.
        let mut seen = BTreeSet::new();
        events.retain(|event| event.left || seen.insert((event.key, event.time)));
        let driver = driver(|builder| {
            let table = builder.table(&ROWS).store("rows").versioned(seconds(1000));
            let joined = builder.stream(&LEFT).try_join_table_with_grace(&table, false, seconds(1), |_, a, b| {
                Ok(pair(Some(a), b))
            });
            joined.map_values(Some).to(&OUT);
        });
        for (number, event) in events.iter().enumerate() {
            match event.left {
                true => driver.input(&LEFT).send(key(event.key), value(number), event.time),
                false => driver.input(&ROWS).send(key(event.key), event.there.then(|| value(number)), event.time),
            }
        }
        driver.input(&LEFT).send("z".to_owned(), String::new(), 100_000);
        let mut versions: BTreeMap<(u8, i64), Option<String>> = BTreeMap::new();
        for (number, event) in events.iter().enumerate().filter(|(_, event)| !event.left) {
            versions.insert((event.key, event.time), event.there.then(|| value(number)));
        }
        let mut expected = Vec::new();
        for (number, event) in events.iter().enumerate().filter(|(_, event)| event.left) {
            let row = versions.range((event.key, 0)..=(event.key, event.time)).next_back();
            if let Some((_, Some(row))) = row {
                expected.push((key(event.key), Some(pair(Some(&value(number)), Some(row)))));
            }
        }
        prop_assert_eq!(sorted(results(&driver)), sorted(expected));
    }

    #[test]
    fn tables(events in events(40), kind in kind(), cached: bool) {
        let driver = driver(|builder| {
            let left = builder.table(&ROWS).store("left").cached(cached);
            let right = builder.table(&OTHER_ROWS).store("right").cached(cached);
            let joined = match kind {
                Kind::Inner => left.join(&right, |a, b| pair(Some(a), Some(b))),
                Kind::Left => left.left_join(&right, |a, b| pair(Some(a), b)),
                Kind::Outer => left.outer_join(&right, pair),
            };
            joined.to_stream().to(&OUT);
        });
        let (left, right) = (rows(&events, true), rows(&events, false));
        let mut expected = BTreeMap::new();
        for key in left.keys().chain(right.keys()) {
            let (left, right) = (left.get(key), right.get(key));
            let is_there = match kind {
                Kind::Inner => left.is_some() && right.is_some(),
                Kind::Left => left.is_some(),
                Kind::Outer => true,
            };
            if is_there {
                expected.insert(key.clone(), pair(left, right));
            }
        }
        prop_assert_eq!(last_rows(&driver, &events), expected);
    }

    /// Rows of the left table name rows of the right one: the first letter of another key by the number of the record.
    #[test]
    fn tables_by_foreign_keys(events in events(40), is_left: bool) {
        let foreign = |row: &String| key(row[1..].parse::<u32>().map_or(0, |number| (number % 4) as u8));
        let driver = driver(|builder| {
            let (left, right) = (builder.table(&ROWS), builder.table(&OTHER_ROWS));
            let joined = match is_left {
                true => left.left_join_foreign(&right, move |_, row| foreign(row), |a, b| pair(Some(a), b)),
                false => left.join_foreign(&right, move |_, row| foreign(row), |a, b| pair(Some(a), Some(b))),
            };
            joined.to_stream().to(&OUT);
        });
        let (left, right) = (rows(&events, true), rows(&events, false));
        let mut expected = BTreeMap::new();
        for (key, row) in &left {
            let other = right.get(&foreign(row));
            if is_left || other.is_some() {
                expected.insert(key.clone(), pair(Some(row), other));
            }
        }
        prop_assert_eq!(last_rows(&driver, &events), expected);
    }
}

/// The longest times there are reach everything, and overflow nowhere.
#[test]
fn streams_within_any_time() {
    let forever = std::time::Duration::MAX;
    let driver = driver(|builder| {
        let (left, right) = (builder.stream(&LEFT), builder.stream(&RIGHT));
        let windows = JoinWindows::of(forever).grace(forever);
        left.outer_join(&right, windows, pair).map_values(Some).to(&OUT);
    });
    driver.input(&LEFT).send("a".to_owned(), "l".to_owned(), 0);
    driver.input(&RIGHT).send("a".to_owned(), "r".to_owned(), i64::MAX - 1);
    assert_eq!(results(&driver), [("a".to_owned(), Some("l/r".to_owned()))]);
}
