//! One suite for all engines: whatever is done to a store, it answers as a sorted map does.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidewater_state::{Backend, ChangelogSink, KeyRange, MemoryBackend, Store, StoreKind, StoreMemory, StoreSpec};
use tidewater_types::{Headers, Offset, RecordContext, Timestamp};

/// Remembers what was logged.
#[derive(Default)]
struct Log(Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl ChangelogSink for Log {
    fn log(&mut self, _: usize, key: &[u8], value: Option<&[u8]>, _: Timestamp, _: &Headers) {
        self.0.push((key.to_vec(), value.map(<[u8]>::to_vec)));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, Option<u8>),
    Get(u8),
    Scan(u8, u8, bool),
    Flush,
    Commit,
    RollBack,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..20, proptest::option::of(any::<u8>())).prop_map(|(key, value)| Step::Put(key, value)),
        3 => (0u8..20).prop_map(Step::Get),
        2 => (0u8..20, 0u8..20, any::<bool>()).prop_map(|(from, to, reverse)| Step::Scan(from, to, reverse)),
        1 => Just(Step::Flush),
        1 => Just(Step::Commit),
        1 => Just(Step::RollBack),
    ]
}

fn context() -> RecordContext {
    RecordContext { place: None, timestamp: Timestamp(7), headers: Headers::EMPTY }
}

fn flush(store: &mut Store, log: &mut Log) {
    while let Some(entry) = store.next_dirty() {
        store.write_through(&entry.key, entry.value.as_deref(), &entry.context, log).unwrap();
    }
}

/// So little that a few entries fill it.
const SMALL: StoreMemory = StoreMemory { cache_bytes: 300, row_bytes: 0 };

/// Runs the steps against a store and a model; `transactional` engines take uncommitted writes back.
fn run(backend: &mut dyn Backend, memory: StoreMemory, cached: bool, transactional: bool, steps: &[Step]) {
    let mut spec = StoreSpec::new("s", StoreKind::KeyValue { timestamped: false });
    spec.cached = cached;
    let mut store = Store::new(spec.clone(), 0, backend.open(&spec).unwrap(), memory);
    let mut log = Log::default();
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut committed = model.clone();
    for step in steps {
        match *step {
            Step::Put(key, value) => {
                let value = value.map(|value| vec![value; 3]);
                store.put(&[key], value.as_deref(), &context(), &mut log).unwrap();
                match value {
                    Some(value) => model.insert(vec![key], value),
                    None => model.remove(&vec![key]),
                };
                if store.is_over_budget() {
                    flush(&mut store, &mut log);
                }
            }
            Step::Get(key) => {
                let found = store.get(&[key], <[u8]>::to_vec).unwrap();
                assert_eq!(found.as_ref(), model.get(&vec![key]));
            }
            Step::Scan(from, to, reverse) => {
                let range = KeyRange::inclusive(vec![from], vec![to]);
                let mut expected: Vec<_> = model
                    .iter()
                    .filter(|(key, _)| range.contains(key))
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                if reverse {
                    expected.reverse();
                }
                assert_eq!(store.scan(&range, reverse).unwrap(), expected);
            }
            Step::Flush => flush(&mut store, &mut log),
            Step::Commit => {
                flush(&mut store, &mut log);
                let writes = vec![store.take_uncommitted()];
                let offset = Offset(log.0.len() as i64);
                backend.commit(writes, &[("s".to_owned(), offset)].into()).unwrap();
                committed = model.clone();
                if transactional {
                    assert_eq!(backend.offset("s").unwrap(), Some(offset));
                }
            }
            Step::RollBack if transactional => {
                store.roll_back();
                model = committed.clone();
            }
            Step::RollBack => {}
        }
    }
    // What was logged restores the same contents.
    flush(&mut store, &mut log);
    if !steps.iter().any(|step| matches!(step, Step::RollBack)) {
        let mut restored: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for (key, value) in log.0 {
            match value {
                Some(value) => restored.insert(key, value),
                None => restored.remove(&key),
            };
        }
        assert_eq!(restored, model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn memory(steps in proptest::collection::vec(step(), 1..80), cached: bool) {
        run(&mut MemoryBackend, SMALL, cached, false, &steps);
    }
}

#[cfg(feature = "rocksdb")]
mod rocks {
    use super::*;
    use tidewater_state::{RocksBackend, RocksMemory};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn rocksdb(steps in proptest::collection::vec(step(), 1..80), cached: bool, row_bytes in 0usize..1000) {
            let folder = tempfile::tempdir().unwrap();
            let memory = RocksMemory::new(8 << 20);
            let spec = StoreSpec::new("s", StoreKind::KeyValue { timestamped: false });
            let small = StoreMemory { row_bytes, ..SMALL };
            run(&mut RocksBackend::open(folder.path(), &[&spec], &memory).unwrap(), small, cached, true, &steps);
        }
    }

    #[test]
    fn what_was_committed_and_closed_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let memory = RocksMemory::new(8 << 20);
        let spec = StoreSpec::new("s", StoreKind::KeyValue { timestamped: false });
        {
            let mut backend = RocksBackend::open(folder.path(), &[&spec], &memory).unwrap();
            let mut store = Store::new(spec.clone(), 0, backend.open(&spec).unwrap(), StoreMemory::default());
            store.put(b"a", Some(b"1"), &context(), &mut Log::default()).unwrap();
            let writes = vec![store.take_uncommitted()];
            backend.commit(writes, &[("s".to_owned(), Offset(1))].into()).unwrap();
            store.put(b"b", Some(b"2"), &context(), &mut Log::default()).unwrap();
            drop(store);
            backend.close().unwrap();
        }
        let mut backend = RocksBackend::open(folder.path(), &[&spec], &memory).unwrap();
        let mut store = Store::new(spec.clone(), 0, backend.open(&spec).unwrap(), StoreMemory::default());
        assert_eq!(store.get(b"a", <[u8]>::to_vec).unwrap(), Some(b"1".to_vec()));
        assert_eq!(store.get(b"b", <[u8]>::to_vec).unwrap(), None);
        assert_eq!(backend.offset("s").unwrap(), Some(Offset(1)));
    }
}
