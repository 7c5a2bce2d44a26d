//! Time to live: rows leave stores, changelogs and what was made of them.

use bytes::Bytes;
use tidewater::{DropReason, KeyValueStore, prelude::*};
use tidewater_testkit::TestDriver;

const IN: Topic<String, String> = Topic::new("in");
const OUT: Topic<String, Option<i64>> = Topic::new("out");
const SEEN: Topic<String, String> = Topic::new("seen");

/// Sends the value that a key had before.
struct Before(KeyValueStore<String, String>);

impl Processor for Before {
    type KIn = String;
    type VIn = String;
    type KOut = String;
    type VOut = String;

    fn process(
        &mut self,
        record: Record<String, String>,
        ctx: &mut Context<'_, String, String>,
    ) -> Result<(), tidewater::UserError> {
        let before = self.0.get(ctx, &record.key)?.unwrap_or_default();
        let all: Vec<_> = self.0.all(ctx)?.into_iter().map(|(key, _)| key).collect();
        self.0.put(ctx, &record.key, &record.value)?;
        ctx.forward(record.with_value(format!("{before} of {}", all.join(""))))?;
        Ok(())
    }
}

fn changelog(sent: &[tidewater_testkit::SentRecord]) -> Vec<(String, bool, i64)> {
    let text = |bytes: &Option<Bytes>| String::from_utf8(bytes.clone().unwrap().to_vec()).unwrap();
    let changes = sent.iter().filter(|record| record.topic.ends_with("-changelog"));
    changes.map(|record| (text(&record.key), record.value.is_some(), record.timestamp.unwrap().0)).collect()
}

fn send(driver: &TestDriver, key: &str, value: &str, time: i64) -> Vec<tidewater_testkit::SentRecord> {
    let bytes = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
    let (sent, result) = driver.pipe("in", bytes(key), bytes(value), Timestamp(time), Headers::EMPTY);
    result.unwrap();
    sent
}

#[test]
fn a_processors_entries_are_gone_and_deleted_from_the_changelog() {
    let builder = StreamsBuilder::new();
    let store = builder.store(KeyValueStore::<String, String>::define("last").ttl(ms(100)));
    builder.stream(&IN).process(move |stores| Before(stores.open(&store))).to(&SEEN);
    let driver = TestDriver::new(builder.build().unwrap());
    let output = driver.output(&SEEN);
    send(&driver, "a", "1", 0);
    send(&driver, "b", "2", 50);
    send(&driver, "a", "3", 60);
    assert_eq!(output.read_values(), [" of ", " of a", "1 of ab"]);
    let sent = send(&driver, "c", "4", 150);
    assert_eq!(output.read_values(), [" of a"], "b is not shown any more");
    assert_eq!(changelog(&sent), [("c".to_owned(), true, 150), ("b".to_owned(), false, 150)]);
    let keys: Vec<_> = driver.store("last").unwrap().entries.into_iter().map(|entry| entry.key).collect();
    assert_eq!(keys, [b"a", b"c"]);
    // A record from before, put now, leaves as soon.
    let sent = send(&driver, "d", "5", 40);
    assert_eq!(changelog(&sent), [("d".to_owned(), true, 40), ("d".to_owned(), false, 140)]);
}

#[test]
fn a_tables_deletions_go_on_to_what_is_made_of_it() {
    for cached in [true, false] {
        let builder = StreamsBuilder::new();
        let table = builder.table(&IN).store("rows").ttl(ms(100)).cached(cached);
        table.group_by(|_, value| (value.clone(), 1i64)).count().to_stream().to(&OUT);
        let driver = TestDriver::new(builder.build().unwrap());
        send(&driver, "a", "red", 0);
        send(&driver, "b", "red", 10);
        assert_eq!(last(&driver), [("red".to_owned(), Some(2))]);
        send(&driver, "c", "blue", 105);
        assert_eq!(last(&driver), [("blue".to_owned(), Some(1)), ("red".to_owned(), Some(1))], "cached: {cached}");
        assert_eq!(driver.store("rows").unwrap().entries.len(), 2);
        assert_eq!(driver.dropped().get(&DropReason::Expired), None);
    }
}

/// The last value of each key.
fn last(driver: &TestDriver) -> Vec<(String, Option<i64>)> {
    let values: std::collections::BTreeMap<_, _> = driver.output(&OUT).read_key_values().into_iter().collect();
    values.into_iter().collect()
}

#[test]
fn windows_have_a_retention_instead() {
    let builder = StreamsBuilder::new();
    let windows = Tumbling::of(seconds(1));
    builder.stream(&IN).group_by_key().windowed_by(windows).count().ttl(seconds(9)).to_stream();
    let error = builder.build().unwrap_err().to_string();
    assert!(error.contains("retention"), "{error}");
}
