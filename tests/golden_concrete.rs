//! Recorded cases of Kafka Streams, written by hand with concrete types as a program of one's own would have them: the
//! description and every record, in order, equal what was recorded.

use std::path::Path;

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tidewater::Data;
use tidewater::prelude::*;
use tidewater_testkit::{DriverSettings, SentRecord, TestDriver};

type Text = Topic<Option<String>, Option<String>>;
type Numbers = Topic<Option<String>, Option<i64>>;

const IN: Text = Topic::new("in");
const OUT: Text = Topic::new("out");
const COUNTS: Topic<String, Option<i64>> = Topic::new("out");
const NUMBERS: Numbers = Topic::new("in");

fn hex(bytes: Option<&Bytes>) -> Json {
    bytes.map_or(Json::Null, |bytes| json!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}

/// The bytes of a key or value of a case: text or a number.
fn bytes(json: &Json) -> Option<Bytes> {
    let mut out = Vec::new();
    match json {
        Json::String(text) => text.write(&mut out).unwrap(),
        Json::Number(number) => number.as_i64().unwrap().write(&mut out).unwrap(),
        _ => return None,
    }
    Some(out.into())
}

fn comparable(record: &SentRecord) -> Json {
    let headers: Vec<Json> =
        record.headers.iter().map(|header| json!([&*header.name, hex(header.value.as_ref())])).collect();
    json!([
        record.topic,
        hex(record.key.as_ref()),
        hex(record.value.as_ref()),
        record.timestamp.map(|at| at.0),
        headers
    ])
}

/// Moves the changes of suppress buffers, which alone have no time, behind the others, in an order of their own: within a step
/// theirs is not defined.
fn fixed_order(records: Vec<Json>) -> Vec<Json> {
    let (mut buffered, mut others): (Vec<Json>, Vec<Json>) =
        records.into_iter().partition(|record| record[3].is_null());
    buffered.sort_by_key(Json::to_string);
    others.extend(buffered);
    others
}

/// Feeds a case's input to the program, and holds what it sends against what Kafka Streams sent.
fn check(name: &str, write: impl FnOnce(&StreamsBuilder)) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.json"));
    let case: Json = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let builder = StreamsBuilder::new();
    write(&builder);
    let topology = builder.build().unwrap();
    let described: Vec<&str> = case["expect"]["describe"].as_array().unwrap().iter().filter_map(Json::as_str).collect();
    assert_eq!(topology.describe(), described.join("\n"), "{name}");
    let cache_bytes =
        case["config"]["statestore.cache.max.bytes"].as_str().map_or(10 << 20, |bytes| bytes.parse().unwrap());
    let settings = DriverSettings { application_id: "golden".to_owned(), cache_bytes, ..DriverSettings::default() };
    let driver = TestDriver::with_settings(&topology, settings).unwrap();
    for (step, event) in case["input"].as_array().unwrap().iter().enumerate() {
        let header = |header: &Json| tidewater::Header {
            name: header[0].as_str().unwrap().into(),
            value: header[1].as_str().map(|text| Bytes::from(text.to_owned())),
        };
        let headers: Headers = event["headers"].as_array().into_iter().flatten().map(header).collect();
        let at = event["ts"].as_i64().unwrap_or(0);
        let topic = event["topic"].as_str().unwrap();
        let (sent, result) = driver.pipe(topic, bytes(&event["key"]), bytes(&event["value"]), at, headers);
        result.unwrap();
        let of = |record: &Json| {
            let headers = record.get("headers").cloned().unwrap_or(json!([]));
            json!([record["topic"], record["key"], record["value"], record["ts"], headers])
        };
        let expected: Vec<Json> = case["expect"]["steps"][step].as_array().unwrap().iter().map(of).collect();
        let sent = sent.iter().map(comparable).collect();
        assert_eq!(fixed_order(sent), fixed_order(expected), "{name}, step {step}");
    }
}

/// One test for each case: its name, and the program.
macro_rules! cases {
    ($($test:ident: $name:literal, $write:expr;)+) => {$(
        #[test]
        fn $test() {
            check($name, $write);
        }
    )+};
}

fn is_even(value: &Option<String>) -> bool {
    value.as_ref().is_some_and(|value| value.len() % 2 == 0)
}

fn has_x(value: &Option<String>) -> bool {
    value.as_ref().is_some_and(|value| value.contains('x'))
}

fn counted(table: &KTable<String, i64>) {
    table.to_stream().to(&COUNTS);
}

fn text_table(table: &KTable<String, String>) {
    table.to_stream().to(&OUT_ROWS);
}

const OUT_ROWS: Topic<String, Option<String>> = Topic::new("out");

fn windows() -> Tumbling {
    Tumbling::of(ms(10)).grace(ms(5))
}

fn both(left: Option<&String>, right: Option<&String>) -> String {
    let text = |side: Option<&String>| side.cloned().unwrap_or_else(|| "null".to_owned());
    format!("{}+{}", text(left), text(right))
}

cases! {
    filter: "stateless/filter-value-even", |b| { b.stream(&IN).filter(|_, value| is_even(value)).to(&OUT); };
    filter_not: "stateless/filter-not", |b| { b.stream(&IN).filter_not(|_, value| has_x(value)).to(&OUT); };
    filter_by_key: "stateless/filter-key-is-a",
        |b| { b.stream(&IN).filter(|key, _| key.as_deref() == Some("a")).to(&OUT); };
    map_values: "stateless/map-values",
        |b| { b.stream(&IN).map_values(|value| value.map(|value| value + "!")).to(&OUT); };
    map_values_to_null: "stateless/map-values-to-null",
        |b| { b.stream(&IN).map_values(|value| value.filter(|value| value != "x")).to(&OUT); };
    map_values_with_key: "stateless/map-values-with-key", |b| {
        let text = |text: Option<String>| text.unwrap_or_else(|| "null".to_owned());
        let join = move |key: &Option<String>, value| Some(format!("{}:{}", text(key.clone()), text(value)));
        b.stream(&IN).map_values_with_key(join).to(&OUT);
    };
    map: "stateless/map-to-long", |b| {
        let length = |value: &String| value.len() as i64;
        b.stream(&IN).map(move |_, value| (value.clone(), value.as_ref().map(length))).to(&Numbers::new("out"));
    };
    flat_map_values: "stateless/flat-map-values", |b| {
        let words = |value: Option<String>| {
            let words = value.iter().flat_map(|value| value.split(' ')).filter(|word| !word.is_empty());
            words.map(|word| Some(word.to_owned())).collect::<Vec<_>>()
        };
        b.stream(&IN).flat_map_values(words).to(&OUT);
    };
    flat_map: "stateless/flat-map-copies", |b| {
        let copies = |key: Option<String>, value: Option<String>| {
            let copy = |n| (key.clone(), value.as_ref().map(|value| format!("{value}#{n}")));
            (0..3).map(copy).collect::<Vec<_>>()
        };
        b.stream(&IN).flat_map(copies).to(&OUT);
    };
    select_key: "stateless/select-key", |b| { b.stream(&IN).select_key(|_, value| value.clone()).to(&OUT); };
    merge: "stateless/merge", |b| {
        let (left, right) = (b.stream(&Text::new("l")), b.stream(&Text::new("r")));
        left.merge(&right).to(&OUT);
    };
    split: "stateless/split", |b| {
        let mut split = b.stream(&IN).split().named("b-");
        let even = split.branch(|_, value| is_even(value)).named("even");
        let x = split.branch(|_, value| has_x(value)).named("x");
        let rest = split.otherwise().named("rest");
        for (stream, topic) in [(even, "even"), (x, "x"), (rest, "rest")] {
            stream.to(&Text::new(topic));
        }
    };
    repartition: "repartition/plain", |b| { b.stream(&IN).repartition().to(&OUT); };

    count: "aggregate/count", |b| counted(&b.stream(&IN).group_by_key().count().store("counts"));
    count_uncached: "aggregate/count-uncached", |b| counted(&b.stream(&IN).group_by_key().count().store("counts"));
    count_in_memory: "aggregate/in-memory",
        |b| counted(&b.stream(&IN).group_by_key().count().store("counts").in_memory());
    count_by_value: "aggregate/group-by-repartitions",
        |b| counted(&b.stream(&IN).group_by(|_, value| value.clone()).count().store("counts"));
    count_after_map: "aggregate/map-then-group-by-key",
        |b| counted(&b.stream(&IN).map(|_, value| (value.clone(), value)).group_by_key().count().store("counts"));
    count_of_table: "aggregate/table-group-count",
        |b| counted(&b.table(&IN).group_by(|_, value| (value.clone(), value.clone())).count().store("counts"));
    reduce: "aggregate/reduce",
        |b| text_table(&b.stream(&IN).group_by_key().reduce(|old, new| format!("{old}+{new}")).store("red"));
    reduce_to_null: "aggregate/reduce-to-null", |b| {
        let unless_same = |old: String, new: String| (old != new).then_some(new);
        text_table(&b.stream(&IN).group_by_key().reduce(unless_same).store("red"));
    };
    aggregate: "aggregate/aggregate", |b| {
        let add = |_: &String, value: String, log: String| format!("{log}+{value}");
        text_table(&b.stream(&IN).group_by_key().aggregate(String::new, add).store("agg"));
    };
    aggregate_numbers: "aggregate/aggregate-sum", |b| {
        let add = |_: &String, value: i64, sum: i64| sum + value;
        counted(&b.stream(&NUMBERS).group_by_key().aggregate(|| 0i64, add).store("agg"));
    };

    table_source: "table/source-named", |b| text_table(&b.table(&IN).store("tab"));
    table_filter: "table/filter", |b| text_table(&b.table(&IN).filter(|_, value| value.contains('x')));
    table_filter_stored: "table/filter-materialized",
        |b| text_table(&b.table(&IN).filter(|_, value| value.contains('x')).store("filtered"));
    stream_to_table: "table/to-table", |b| text_table(&b.stream(&IN).to_table().store("tab"));

    join_with_table: "join/stream-table-join", |b| {
        let (stream, table) = (b.stream(&Text::new("s")), b.table(&Text::new("t")).store("tab"));
        let join = |key: &Option<String>, value: &String, row: Option<&String>| {
            Ok(format!("{}:{}", key.as_deref().unwrap_or("null"), both(Some(value), row)))
        };
        stream.try_join_table_any(&table, false, join).to(&OUT);
    };
    left_join_with_table: "join/stream-table-left-join", |b| {
        let (stream, table) = (b.stream(&Text::new("s")), b.table(&Text::new("t")).store("tab"));
        let join = |key: &Option<String>, value: &String, row: Option<&String>| {
            Ok(format!("{}:{}", key.as_deref().unwrap_or("null"), both(Some(value), row)))
        };
        stream.try_join_table_any(&table, true, join).to(&OUT);
    };
    left_join_numbers: "join/stream-table-sum", |b| {
        let (stream, table) = (b.stream(&Numbers::new("s")), b.table(&Numbers::new("t")));
        stream.left_join_table(&table, |value, row| value + row.unwrap_or(&0)).to(&Numbers::new("out"));
    };
    join_streams: "join/stream-stream-join", |b| {
        let (left, right) = (b.stream(&Text::new("l")), b.stream(&Text::new("r")));
        left.join(&right, JoinWindows::of(ms(10)).grace(ms(20)), |l, r| both(Some(l), Some(r))).to(&OUT);
    };
    join_streams_unevenly: "join/stream-stream-join-asymmetric", |b| {
        let (left, right) = (b.stream(&Text::new("l")), b.stream(&Text::new("r")));
        let windows = JoinWindows::of(ms(5)).after(ms(15)).grace(ms(20));
        left.join(&right, windows, |l, r| both(Some(l), Some(r))).to(&OUT);
    };

    count_in_windows: "window/tumbling-count", |b| {
        let counts = b.stream(&IN).group_by_key().windowed_by(windows()).count().store("counts");
        counts.to_stream().to(&Topic::<Windowed<String>, Option<i64>>::new("out"));
    };
    count_by_window_start: "window/window-start-as-key", |b| {
        let counts = b.stream(&IN).group_by_key().windowed_by(windows()).count().store("counts").to_stream();
        let inner = counts.select_key(|windowed, _| windowed.key.clone());
        let start = counts.select_key(|windowed, _| windowed.window.start);
        inner.to(&Topic::<String, Option<i64>>::new("inner"));
        start.to(&Topic::<i64, Option<i64>>::new("start"));
    };
    aggregate_in_hopping_windows: "window/hopping-aggregate", |b| {
        let windows = Hopping::of(ms(10), ms(5)).grace(ms(5));
        let text = |value: Option<String>| value.unwrap_or_else(|| "null".to_owned());
        let add = move |_: &String, value, log: String| format!("{log}+{}", text(value));
        let logs = b.stream(&IN).group_by_key().windowed_by(windows).aggregate(String::new, add).store("agg");
        logs.to_stream().to(&Topic::<Windowed<String>, Option<String>>::new("out"));
    };
    suppress: "suppress/until-window-closes", |b| {
        let counts = b.stream(&IN).group_by_key().windowed_by(windows()).count().store("counts");
        let closed = counts.suppress(Suppress::until_window_closes());
        closed.to_stream().to(&Topic::<Windowed<String>, Option<i64>>::new("out"));
    };
    count_in_sessions: "session/count", |b| {
        let counts = b.stream(&IN).group_by_key().windowed_by(Sessions::with_gap(ms(5)).grace(ms(5))).count().store("counts");
        counts.to_stream().to(&Topic::<SessionWindowed<String>, Option<i64>>::new("out"));
    };
}
