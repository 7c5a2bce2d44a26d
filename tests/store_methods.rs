//! What processors can ask of their stores, on RocksDB, and what reaches the changelogs.

use bytes::Bytes;
use tidewater::prelude::*;
use tidewater::{
    AggregationWithHeaders, TimestampedStore, UserError, ValueAndTimestamp, ValueTimestampHeaders, Window,
};

const IN: Topic<String, i64> = Topic::new("in");
const OUT: Topic<String, i64> = Topic::new("out");

struct Asks {
    plain: KeyValueStore<String, i64>,
    stamped: TimestampedStore<String, i64>,
    traced: KeyValueStore<String, ValueTimestampHeaders<i64>>,
    windows: WindowStore<String, i64>,
    dated: WindowStore<String, ValueAndTimestamp<i64>>,
    sessions: SessionStore<String, AggregationWithHeaders<i64>>,
}

fn headers() -> Headers {
    let mut headers = Headers::EMPTY;
    headers.add("trace", Some(Bytes::from_static(b"7")));
    headers
}

impl Asks {
    fn key_value(&self, ctx: &mut Context<'_, String, i64>) -> Result<(), UserError> {
        let key = |key: &str| key.to_owned();
        for (name, value) in [("a", 1), ("ab", 2), ("b", 3), ("c", 4)] {
            self.plain.put(ctx, &key(name), &value)?;
            self.stamped.put(ctx, &key(name), &value, value * 10)?;
        }
        let names = |found: Vec<(String, i64)>| found.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        let (ab, b) = (key("ab"), key("b"));
        assert_eq!(names(self.plain.range(ctx, &ab, &b)?), ["ab", "b"]);
        assert_eq!(names(self.plain.range(ctx, None, &ab)?), ["a", "ab"]);
        assert_eq!(names(self.plain.range_reversed(ctx, &ab, None)?), ["c", "b", "ab"]);
        assert_eq!(names(self.plain.all_reversed(ctx)?), ["c", "b", "ab", "a"]);
        assert_eq!(names(self.plain.prefix_scan(ctx, b"a")?), ["a", "ab"]);
        assert_eq!(self.plain.put_if_absent(ctx, &ab, &9)?, Some(2));
        assert_eq!(self.plain.put_if_absent(ctx, &key("d"), &5)?, None);
        assert_eq!(self.plain.delete(ctx, &ab)?, Some(2));
        assert_eq!(self.plain.delete(ctx, &ab)?, None);
        assert_eq!(names(self.plain.prefix_scan(ctx, b"")?), ["a", "b", "c", "d"]);
        assert_eq!(self.stamped.prefix_scan(ctx, b"ab")?, [(key("ab"), 2, Timestamp(20))]);
        assert_eq!(self.stamped.range_reversed(ctx, &b, None)?.len(), 2);
        assert_eq!(self.stamped.put_if_absent(ctx, &b, &9, 1)?, Some((3, Timestamp(30))));
        assert_eq!(self.stamped.delete(ctx, &b)?, Some((3, Timestamp(30))));

        self.plain.put_all(ctx, [(&ab, &6), (&b, &7)])?;
        assert_eq!(names(self.plain.range(ctx, &ab, None)?), ["ab", "b", "c", "d"]);
        let about = self.plain.approximate_count(ctx)?;
        assert!((5..=10).contains(&about), "about {about}");
        assert_eq!((ctx.application_id(), ctx.task_id().to_string()), ("app", "0_0".to_owned()));

        let traced = ValueTimestampHeaders { value: 5, timestamp: Timestamp(70), headers: headers() };
        self.traced.put(ctx, &b, &traced)?;
        assert_eq!(self.traced.get(ctx, &b)?, Some(traced));
        Ok(())
    }

    fn windows(&self, ctx: &mut Context<'_, String, i64>) -> Result<(), UserError> {
        let (a, b) = ("a".to_owned(), "b".to_owned());
        for start in [10, 20, 30] {
            self.windows.put(ctx, &a, &start, start)?;
            self.windows.put(ctx, &b, &-start, start)?;
        }
        self.windows.delete(ctx, &a, 20)?;
        let at = |found: Vec<(Timestamp, i64)>| found.into_iter().map(|(start, _)| start.0).collect::<Vec<_>>();
        assert_eq!(at(self.windows.fetch(ctx, &a, 0, 100)?), [10, 30]);
        assert_eq!(at(self.windows.fetch_reversed(ctx, &b, 15, 100)?), [30, 20]);
        assert_eq!(self.windows.fetch_range(ctx, &b, None, 20, 20)?, [(b.clone(), Timestamp(20), -20)]);
        assert_eq!(self.windows.fetch_all(ctx, 30, 40)?.len(), 2);

        let dated = ValueAndTimestamp { value: 1, timestamp: Timestamp(12) };
        self.dated.put(ctx, &a, &dated, 10)?;
        assert_eq!(self.dated.fetch(ctx, &a, 0, 20)?, [(Timestamp(10), dated)]);

        let counted = AggregationWithHeaders { value: 3, headers: headers() };
        let session = Window { start: 10, end: 25 };
        self.sessions.put(ctx, &a, session, Some(&counted))?;
        assert_eq!(self.sessions.get(ctx, &a, session)?, Some(counted.clone()));
        assert_eq!(self.sessions.fetch(ctx, &a)?, [(session, counted)]);
        assert_eq!(self.sessions.find_range(ctx, None, &a, 25, 10)?.len(), 1);
        assert_eq!(self.sessions.find_range(ctx, &b, None, 0, 100)?.len(), 0);
        Ok(())
    }
}

impl Processor for Asks {
    type KIn = String;
    type VIn = i64;
    type KOut = String;
    type VOut = i64;

    fn process(&mut self, record: Record<String, i64>, ctx: &mut Context<'_, String, i64>) -> Result<(), UserError> {
        self.key_value(ctx)?;
        self.windows(ctx)?;
        Ok(ctx.forward(record)?)
    }
}

#[tokio::test]
async fn ranges_prefixes_timestamps_and_headers() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path()).unwrap();
    log.create_topic(&IN, 1).unwrap();
    log.create_topic(&OUT, 1).unwrap();
    let builder = StreamsBuilder::new();
    let plain = builder.store(KeyValueStore::define("plain"));
    let stamped = builder.store(TimestampedStore::define("stamped"));
    let traced = builder.store(KeyValueStore::define_with_headers("traced"));
    let windows = builder.store(WindowStore::define("windows", seconds(60), ms(5)));
    let dated = builder.store(WindowStore::define_timestamped("dated", seconds(60), ms(5)));
    let sessions = builder.store(SessionStore::define_with_headers("sessions", seconds(60)));
    let asks = move |stores: &mut Stores<'_>| Asks {
        plain: stores.open(&plain),
        stamped: stores.open(&stamped),
        traced: stores.open(&traced),
        windows: stores.open(&windows),
        dated: stores.open(&dated),
        sessions: stores.open(&sessions),
    };
    builder.stream(&IN).process(asks).to(&OUT);
    let app = Tidewater::app("app").log(&log).start(builder.build().unwrap()).await.unwrap();
    log.send(&IN, [Record::new("a".to_owned(), 1, 100)]).unwrap();
    while app.lag().unwrap() > 0 {
        assert!(!app.has_failed());
        tokio::task::yield_now().await;
    }
    assert_eq!(log.read(&OUT, 1).unwrap().len(), 1);
    app.stop().await.unwrap();

    // The values stand alone; timestamps and headers are the records' own. Sessions are dated by the record at work.
    let logged = |store: &str| {
        let name: &'static str = format!("app-{store}-changelog").leak();
        let record = log.read(&Topic::<Bytes, i64>::new(name), 1).unwrap().remove(0);
        (record.value, record.timestamp.0, record.headers)
    };
    assert_eq!(logged("traced"), (5, 70, headers()));
    assert_eq!(logged("dated"), (1, 12, Headers::EMPTY));
    assert_eq!(logged("sessions"), (3, 100, headers()));
    log.close().unwrap();
}
