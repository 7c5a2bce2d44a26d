//! The less common kinds of stores against sorted maps: versions, duplicates, rows with headers, bounded stores, rows that die;
//! in memory and in RocksDB, with commits anywhere, and restored from what they logged.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidewater_state::{
    Backend, ChangelogSink, KeyRange, MemoryBackend, Retention, Store, StoreHeaders, StoreKind, StoreMemory, StoreSpec,
    VersionPut, split_headers, split_window_key, write_headers,
};
use tidewater_types::{Header, Headers, RecordContext, Timestamp};

/// A record of a changelog: key, value, time, headers.
type Logged = (Vec<u8>, Option<Vec<u8>>, Timestamp, Headers);

/// Remembers what was logged.
#[derive(Default)]
struct Log(Vec<Logged>);

impl ChangelogSink for Log {
    fn log(&mut self, _: usize, key: &[u8], value: Option<&[u8]>, timestamp: Timestamp, headers: &Headers) {
        self.0.push((key.to_vec(), value.map(<[u8]>::to_vec), timestamp, headers.clone()));
    }
}

fn context(time: i64, headers: Headers) -> RecordContext {
    RecordContext { place: None, timestamp: Timestamp(time), headers }
}

fn open(backend: &mut dyn Backend, spec: &StoreSpec) -> Store {
    Store::new(spec.clone(), 0, backend.open(spec).unwrap(), StoreMemory::default())
}

fn commit(backend: &mut dyn Backend, store: &mut Store) {
    backend.commit(vec![store.unwritten()], &BTreeMap::new()).unwrap();
    store.all_written();
}

/// A store in memory that was given what another one logged.
fn restored(spec: &StoreSpec, log: &Log) -> Store {
    let mut store = open(&mut MemoryBackend, spec);
    for (key, value, timestamp, headers) in &log.0 {
        store.restore(key, value.as_deref(), *timestamp, headers).unwrap();
    }
    store
}

/// Runs a test in memory and in RocksDB.
fn in_both(spec: &StoreSpec, mut test: impl FnMut(&mut dyn Backend)) {
    test(&mut MemoryBackend);
    #[cfg(feature = "rocksdb")]
    {
        let folder = tempfile::tempdir().unwrap();
        let memory = tidewater_state::RocksMemory::new(8 << 20);
        test(&mut tidewater_state::RocksBackend::open(folder.path(), &[spec], &memory).unwrap());
    }
    let _ = spec;
}

/// A put of a key at a time, and whether a commit follows.
type Put = (u8, i64, Option<u8>, bool);

fn puts() -> impl Strategy<Value = Vec<Put>> {
    let put = (0u8..3, 0i64..60, proptest::option::weighted(0.75, any::<u8>()), prop::bool::weighted(0.1));
    proptest::collection::vec(put, 1..60)
}

const HISTORY_MS: i64 = 20;

/// The versions of each key by time, deletions among them. A put older than the history is none; a deletion at the very time of a
/// key's newest version takes that version away, as in Kafka Streams.
#[derive(Default)]
struct Versions {
    by_key: BTreeMap<(u8, i64), Option<u8>>,
    newest: i64,
}

impl Versions {
    fn put(&mut self, key: u8, time: i64, value: Option<u8>) -> bool {
        if time < self.newest - HISTORY_MS {
            return false;
        }
        self.newest = self.newest.max(time);
        self.by_key.insert((key, time), value);
        true
    }

    fn as_of(&self, key: u8, time: i64) -> Option<(i64, u8)> {
        let (&(_, from), value) = self.by_key.range((key, 0)..=(key, time)).next_back()?;
        let is_newest = self.by_key.range((key, time + 1)..=(key, i64::MAX)).all(|(_, value)| value.is_none())
            && self.by_key.range((key, from + 1)..=(key, i64::MAX)).next().is_none();
        (is_newest || time >= self.newest - HISTORY_MS).then_some((from, (*value)?))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn versions(puts in puts()) {
        let kind = StoreKind::Versioned { history: Retention { ms: HISTORY_MS }, segment_ms: 7 };
        let spec = StoreSpec::new("versions", kind);
        // A deletion at the time of a version leaves, in Kafka Streams, a trace or not by what else there is.
        let mut times = std::collections::BTreeSet::new();
        let puts: Vec<_> = puts.into_iter().filter(|put| times.insert((put.0, put.1))).collect();
        in_both(&spec, |backend| {
            let (mut store, mut log, mut model) = (open(backend, &spec), Log::default(), Versions::default());
            for (key, time, value, commits) in puts.clone() {
                let put = store.put_version(&[key], value.map(|value| [value]).as_ref().map(|v| &v[..]), time, &mut log);
                assert_eq!(put.unwrap() != VersionPut::TooOld, model.put(key, time, value));
                if commits {
                    commit(backend, &mut store);
                }
                check_versions(&mut store, &model);
            }
            // A deletion of the newest version is in the changelog like any other.
            check_versions(&mut restored(&spec, &log), &model);
        });
    }

    /// Values of one key and time stand side by side, in the order of their puts.
    #[test]
    fn duplicates(puts in puts()) {
        let retention = Retention { ms: 1000 };
        let kind = StoreKind::Window { timestamped: false, retention, size_ms: 10, duplicates: true };
        let spec = StoreSpec::new("duplicates", kind);
        in_both(&spec, |backend| {
            let (mut store, mut log) = (open(backend, &spec), Log::default());
            let mut model: BTreeMap<(u8, i64), Vec<u8>> = BTreeMap::new();
            for (key, time, value, commits) in puts.clone() {
                let raw = value.map(|value| vec![value]);
                store.put_window(&[key], time, raw.as_deref(), &context(time, Headers::EMPTY), &mut log).unwrap();
                // A deletion deletes nothing.
                model.entry((key, time)).or_default().extend(value);
                if commits {
                    commit(backend, &mut store);
                }
            }
            let mut again = restored(&spec, &log);
            for key in 0..3 {
                let values = |store: &mut Store| -> Vec<(i64, u8)> {
                    store.fetch(&[key], 10, 40, false, |value| value[0]).unwrap().into_vec()
                };
                let expected: Vec<_> = model
                    .range((key, 10)..=(key, 40))
                    .flat_map(|((_, time), values)| values.iter().map(move |value| (*time, *value)))
                    .collect();
                assert_eq!(values(&mut store), expected);
                assert_eq!(values(&mut again), expected);
            }
            assert!(log.0.iter().all(|(key, ..)| split_window_key(key).is_some()));
        });
    }

    #[test]
    fn headers(puts in puts()) {
        let kind = StoreKind::KeyValue { timestamped: true };
        let spec = StoreSpec { headers: StoreHeaders::Kept, ..StoreSpec::new("headers", kind) };
        in_both(&spec, |backend| {
            let (mut store, mut log) = (open(backend, &spec), Log::default());
            let mut model: BTreeMap<Vec<u8>, (i64, Headers, u8)> = BTreeMap::new();
            for (key, time, value, commits) in puts.clone() {
                let name = if time % 3 == 0 { None } else { Some(format!("h{time}")) };
                let headers: Headers =
                    name.into_iter().map(|name| Header { name: name.as_str().into(), value: None }).collect();
                let raw = value.map(|value| {
                    let mut raw = time.to_be_bytes().to_vec();
                    write_headers(&headers, &mut raw);
                    raw.push(value);
                    raw
                });
                store.put(&[key], raw.as_deref(), &context(time, headers.clone()), &mut log).unwrap();
                match value {
                    Some(value) => drop(model.insert(vec![key], (time, headers, value))),
                    None => drop(model.remove(&vec![key])),
                }
                if commits {
                    commit(backend, &mut store);
                }
            }
            for store in [&mut store, &mut restored(&spec, &log)] {
                let found = store.scan(&KeyRange::all(), false).unwrap().into_iter().map(|(key, raw)| {
                    let (time, rest) = raw.split_first_chunk::<8>().unwrap();
                    let (headers, value) = split_headers(rest).unwrap();
                    (key, (i64::from_be_bytes(*time), headers, value[0]))
                });
                assert_eq!(found.collect::<BTreeMap<_, _>>(), model);
            }
        });
    }

    /// What a record cache has before a bounded store is found as it was put; behind it are the keys that left the cache last.
    #[test]
    fn bounded_behind_a_cache(puts in puts(), most in 0usize..4, cache_bytes in prop_oneof![Just(1usize), Just(400)]) {
        let kind = StoreKind::KeyValue { timestamped: false };
        let spec =
            StoreSpec { max_keys: Some(most), in_memory: true, cached: true, ..StoreSpec::new("bounded", kind) };
        let memory = StoreMemory { cache_bytes, row_bytes: 0 };
        let mut store = Store::new(spec.clone(), 0, MemoryBackend.open(&spec).unwrap(), memory);
        let (mut log, mut latest, mut flushed) = (Log::default(), BTreeMap::new(), Vec::<(u8, u8)>::new());
        for (key, time, value, flushes) in puts {
            let found = store.get(&[key], |raw| raw[0]).unwrap();
            prop_assert!(found.is_none() || found == latest.get(&key).copied().flatten());
            let raw = value.map(|value| vec![value]);
            store.put(&[key], raw.as_deref(), &context(time, Headers::EMPTY), &mut log).unwrap();
            latest.insert(key, value);
            prop_assert_eq!(store.get(&[key], |raw| raw[0]).unwrap(), value);
            while let Some(entry) = (flushes || store.is_over_budget()).then(|| store.next_dirty()).flatten() {
                flushed.retain(|(of, _)| *of != entry.key[0]);
                let is_there = store.get_flushed(&entry.key, |_| ()).unwrap().is_some();
                if entry.value.is_some() || is_there {
                    store.write_through(&entry.key, entry.value.as_deref(), &entry.context, &mut log).unwrap();
                }
                flushed.extend(entry.value.as_ref().map(|value| (entry.key[0], value[0])));
                flushed.drain(..flushed.len().saturating_sub(most));
            }
            for key in 0..3 {
                let expected = flushed.iter().find(|(of, _)| *of == key).map(|(_, value)| *value);
                prop_assert_eq!(store.get_flushed(&[key], |raw| raw[0]).unwrap(), expected);
            }
        }
    }

    /// The keys that were used last stay.
    #[test]
    fn bounded(puts in puts(), most in 0usize..4) {
        let kind = StoreKind::KeyValue { timestamped: false };
        let spec = StoreSpec { max_keys: Some(most), in_memory: true, ..StoreSpec::new("bounded", kind) };
        let (mut store, mut log) = (open(&mut MemoryBackend, &spec), Log::default());
        let mut model: Vec<(u8, u8)> = Vec::new();
        for (key, time, value, reads) in puts {
            let before = model.iter().position(|(of, _)| *of == key).map(|place| model.remove(place));
            if reads {
                prop_assert_eq!(store.get(&[key], |raw| raw[0]).unwrap(), before.map(|(_, value)| value));
                model.extend(before);
                continue;
            }
            let raw = value.map(|value| vec![value]);
            store.put(&[key], raw.as_deref(), &context(time, Headers::EMPTY), &mut log).unwrap();
            model.extend(value.map(|value| (key, value)));
            if model.len() > most {
                model.remove(0);
            }
            let mut expected: Vec<_> = model.iter().map(|(key, value)| (vec![*key], vec![*value])).collect();
            expected.sort();
            prop_assert_eq!(store.scan(&KeyRange::all(), false).unwrap(), expected);
        }
    }

    /// What is found to be too old, and deleted, leaves what is young enough; a second look finds nothing more.
    #[test]
    fn rows_that_die(puts in puts(), ttl in 1i64..30) {
        let kind = StoreKind::KeyValue { timestamped: true };
        let spec = StoreSpec { ttl_ms: Some(ttl), ..StoreSpec::new("dying", kind) };
        in_both(&spec, |backend| {
            let (mut store, mut log) = (open(backend, &spec), Log::default());
            let (mut model, mut now): (BTreeMap<u8, i64>, i64) = (BTreeMap::new(), 0);
            for (key, time, value, commits) in puts.clone() {
                now = now.max(time);
                let raw = value.map(|value| [&time.to_be_bytes()[..], &[value]].concat());
                store.put(&[key], raw.as_deref(), &context(time, Headers::EMPTY), &mut log).unwrap();
                match value {
                    Some(_) => drop(model.insert(key, time)),
                    None => drop(model.remove(&key)),
                }
                if !commits {
                    continue;
                }
                commit(backend, &mut store);
                let mut expired = store.take_expired(now).unwrap();
                expired.sort_by(|a, b| a.key.cmp(&b.key));
                let old: Vec<_> = model.iter().filter(|(_, time)| **time + ttl <= now).collect();
                let old: Vec<_> = old.into_iter().map(|(key, time)| (vec![*key], *time + ttl)).collect();
                assert_eq!(expired.iter().map(|row| (row.key.clone(), row.at)).collect::<Vec<_>>(), old);
                for row in expired {
                    store.put(&row.key, None, &context(row.at, Headers::EMPTY), &mut log).unwrap();
                    model.remove(&row.key[0]);
                }
                commit(backend, &mut store);
                assert_eq!(store.take_expired(now).unwrap(), []);
            }
            for store in [&mut store, &mut restored(&spec, &log)] {
                let keys: Vec<u8> =
                    store.scan(&KeyRange::all(), false).unwrap().into_iter().map(|(key, _)| key[0]).collect();
                assert_eq!(keys, model.keys().copied().collect::<Vec<_>>());
            }
        });
    }
}

/// A sweep does not forget what waits for its commit.
#[test]
fn rows_that_were_not_committed_when_a_sweep_ended_die_later() {
    let spec = StoreSpec { ttl_ms: Some(10), ..StoreSpec::new("dying", StoreKind::KeyValue { timestamped: true }) };
    in_both(&spec, |backend| {
        let (mut store, mut log) = (open(backend, &spec), Log::default());
        store.put(b"a", Some(&[0; 9]), &context(0, Headers::EMPTY), &mut log).unwrap();
        assert_eq!(store.take_expired(5).unwrap(), []);
        commit(backend, &mut store);
        let expired = store.take_expired(10).unwrap();
        assert_eq!(expired.iter().map(|row| (&row.key[..], row.at)).collect::<Vec<_>>(), [(&b"a"[..], 10)]);
    });
}

fn check_versions(store: &mut Store, model: &Versions) {
    for key in 0..3 {
        for time in 0..70 {
            let found = store.get_as_of(&[key], time).unwrap().map(|version| (version.valid_from, version.value[0]));
            assert_eq!(found, model.as_of(key, time), "key {key} at {time}");
        }
    }
}
