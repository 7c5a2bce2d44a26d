//! One suite for all engines: whatever is done to a store, it answers as a sorted map does.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidewater_state::{
    Backend, ChangelogSink, KeyRange, MemoryBackend, Retention, Store, StoreHeaders, StoreKind, StoreMemory, StoreSpec,
    session_key, write_headers,
};
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
        // As an operator does that sends changes on: what was not there is not deleted.
        if entry.value.is_none() && store.get_flushed(&entry.key, |_| ()).unwrap().is_none() {
            continue;
        }
        store.write_through(&entry.key, entry.value.as_deref(), &entry.context, log).unwrap();
    }
}

/// So little that a few entries fill it.
const SMALL: StoreMemory = StoreMemory { cache_bytes: 300, row_bytes: 0 };

/// Runs the steps against a store and a model; `transactional` engines take unwritten writes back.
fn run(backend: &mut dyn Backend, spec: StoreSpec, memory: StoreMemory, transactional: bool, steps: &[Step]) {
    // A timestamped store's own layout begins with the time, which its changelog does not have.
    let time: &[u8] = if spec.is_timestamped() { &[0, 0, 0, 0, 0, 0, 0, 7] } else { &[] };
    let mut store = Store::new(spec.clone(), 0, backend.open(&spec).unwrap(), memory);
    let mut log = Log::default();
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut committed = model.clone();
    for step in steps {
        match *step {
            Step::Put(key, value) => {
                let value = value.map(|value| [time, &[value; 3]].concat());
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
                let writes = vec![store.unwritten()];
                let offset = Offset(log.0.len() as i64);
                backend.commit(writes, &[("s".to_owned(), offset)].into()).unwrap();
                store.all_written();
                committed = model.clone();
                if transactional {
                    assert_eq!(backend.offset("s").unwrap(), Some(offset));
                }
            }
            Step::RollBack if transactional => {
                store = Store::new(spec.clone(), 0, backend.open(&spec).unwrap(), memory);
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
                Some(value) => restored.insert(key, [time, &value].concat()),
                None => restored.remove(&key),
            };
        }
        assert_eq!(restored, model);
    }
}

fn key_value(timestamped: bool, cached: bool) -> StoreSpec {
    StoreSpec { cached, ..StoreSpec::new("s", StoreKind::KeyValue { timestamped }) }
}

#[derive(Clone, Debug)]
enum WindowStep {
    Put(u8, i64, Option<u8>),
    Get(u8, i64),
    Fetch(u8, i64, i64, bool),
    Commit,
    /// Commits, and begins again with what lasts.
    Reopen,
}

/// Times in steps of ten seconds, so that a few hundred of them pass the retention and several segments.
fn window_step() -> impl Strategy<Value = WindowStep> {
    let time = || (0i64..60).prop_map(|n| n * 10_000);
    prop_oneof![
        6 => (0u8..3, time(), proptest::option::weighted(0.9, any::<u8>()))
            .prop_map(|(key, at, value)| WindowStep::Put(key, at, value)),
        3 => (0u8..3, time()).prop_map(|(key, at)| WindowStep::Get(key, at)),
        4 => (0u8..3, time(), time(), any::<bool>())
            .prop_map(|(key, from, to, reverse)| WindowStep::Fetch(key, from, to, reverse)),
        1 => Just(WindowStep::Commit),
        1 => Just(WindowStep::Reopen),
    ]
}

const RETENTION_MS: i64 = 200_000;
/// Half the retention, as in Kafka Streams.
const SEGMENT_MS: i64 = 100_000;

/// What stands before the values of a store.
#[derive(Clone, Copy, Debug)]
enum Layout {
    Plain,
    Timestamped,
    Headers,
}

fn layout() -> impl Strategy<Value = Layout> {
    prop_oneof![Just(Layout::Plain), Just(Layout::Timestamped), Just(Layout::Headers)]
}

/// A value as the store holds it.
fn in_layout(spec: &StoreSpec, value: u8) -> Vec<u8> {
    let mut out = Vec::new();
    if spec.is_timestamped() {
        out.extend_from_slice(&7i64.to_be_bytes());
    }
    if spec.headers == StoreHeaders::Kept {
        write_headers(&Headers::EMPTY, &mut out);
    }
    out.extend_from_slice(&[value; 3]);
    out
}

fn window_spec(layout: Layout, cached: bool) -> StoreSpec {
    let retention = Retention { ms: RETENTION_MS };
    let timestamped = !matches!(layout, Layout::Plain);
    let kind = StoreKind::Window { timestamped, retention, size_ms: 10_000, duplicates: false };
    let headers = if matches!(layout, Layout::Headers) { StoreHeaders::Kept } else { StoreHeaders::Dropped };
    StoreSpec { headers, cached, ..StoreSpec::new("w", kind) }
}

fn flush_if_full(store: &mut Store) {
    if store.is_over_budget() {
        flush(store, &mut Log::default());
    }
}

/// Runs the steps against a window store and a model: what is found never depends on when a commit happens, nor on what is in
/// memory.
fn run_windows(backend: &mut dyn Backend, spec: &StoreSpec, row_bytes: usize, lasting: bool, steps: &[WindowStep]) {
    let memory = StoreMemory { row_bytes, ..SMALL };
    let mut store = Store::new(spec.clone(), 0, backend.open(spec).unwrap(), memory);
    let mut model: BTreeMap<(u8, i64), Vec<u8>> = BTreeMap::new();
    let mut newest = -1;
    for step in steps {
        let live_from = newest - RETENTION_MS + 1;
        match *step {
            WindowStep::Put(key, at, value) => {
                newest = newest.max(at);
                // A record cache takes what the store does not.
                let is_kept =
                    spec.cached || at.div_euclid(SEGMENT_MS) >= (newest - RETENTION_MS).div_euclid(SEGMENT_MS);
                let value = value.map(|value| in_layout(spec, value));
                let kept = store.put_window(&[key], at, value.as_deref(), &context(), &mut Log::default()).unwrap();
                flush_if_full(&mut store);
                assert_eq!(kept, is_kept);
                match value {
                    Some(value) if is_kept => drop(model.insert((key, at), value)),
                    None if is_kept => drop(model.remove(&(key, at))),
                    _ => {}
                }
            }
            WindowStep::Get(key, at) => {
                let found = store.get_window(&[key], at, <[u8]>::to_vec).unwrap();
                let expected = model.get(&(key, at));
                // What retention has passed is found for as long as a record cache has it.
                assert!(found.as_ref() == expected || at < live_from && found.is_none());
                assert!(at >= live_from || found.is_none() || spec.cached);
            }
            WindowStep::Fetch(key, from, to, reverse) => {
                let of_key = model.iter().filter(|((of, at), _)| *of == key && (from..=to).contains(at));
                let mut expected: Vec<_> = of_key.map(|((_, at), value)| (*at, value.clone())).collect();
                if reverse {
                    expected.reverse();
                }
                let found = store.fetch(&[key], from, to, reverse, <[u8]>::to_vec).unwrap().into_vec();
                expected.retain(|window| window.0 >= live_from || spec.cached && found.contains(window));
                assert_eq!(found, expected);
                assert_eq!(store.has_window(&[key], from, to).unwrap(), !expected.is_empty());
            }
            WindowStep::Commit | WindowStep::Reopen => {
                flush(&mut store, &mut Log::default());
                let writes = vec![store.unwritten()];
                backend.commit(writes, &BTreeMap::new()).unwrap();
                store.all_written();
                if lasting && matches!(step, WindowStep::Reopen) {
                    store = Store::new(spec.clone(), 0, backend.open(spec).unwrap(), memory);
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum SessionStep {
    Put(u8, i64, i64, Option<u8>),
    Find(u8, i64, i64),
    All,
    Commit,
}

fn session_step() -> impl Strategy<Value = SessionStep> {
    let time = || (0i64..60).prop_map(|n| n * 10_000);
    prop_oneof![
        6 => (0u8..3, time(), 0i64..5, proptest::option::weighted(0.8, any::<u8>()))
            .prop_map(|(key, start, long, value)| SessionStep::Put(key, start, start + long * 10_000, value)),
        4 => (0u8..3, time(), time()).prop_map(|(key, from, to)| SessionStep::Find(key, from, to)),
        1 => Just(SessionStep::All),
        1 => Just(SessionStep::Commit),
    ]
}

/// Sessions have no timestamps beside their ends.
fn session_spec(layout: Layout, cached: bool) -> StoreSpec {
    let spec = StoreSpec::new("sessions", StoreKind::Session { retention: Retention { ms: RETENTION_MS } });
    let headers = if matches!(layout, Layout::Headers) { StoreHeaders::Kept } else { StoreHeaders::Dropped };
    StoreSpec { headers, cached, ..spec }
}

/// Runs the steps against a session store and a model, in which sessions stand by key, end and start.
fn run_sessions(backend: &mut dyn Backend, spec: &StoreSpec, steps: &[SessionStep]) {
    let mut store = Store::new(spec.clone(), 0, backend.open(spec).unwrap(), SMALL);
    let mut model: BTreeMap<(u8, i64, i64), Vec<u8>> = BTreeMap::new();
    let mut newest = -1;
    for step in steps {
        match *step {
            SessionStep::Put(key, start, end, value) => {
                newest = newest.max(end);
                let is_kept =
                    spec.cached || end.div_euclid(SEGMENT_MS) >= (newest - RETENTION_MS).div_euclid(SEGMENT_MS);
                let value = value.map(|value| in_layout(spec, value));
                let full = session_key(&[key], start, end);
                assert_eq!(store.put(&full, value.as_deref(), &context(), &mut Log::default()).unwrap(), is_kept);
                flush_if_full(&mut store);
                match value {
                    Some(value) if is_kept => drop(model.insert((key, end, start), value)),
                    None if is_kept => drop(model.remove(&(key, end, start))),
                    _ => {}
                }
            }
            SessionStep::Find(key, earliest_end, latest_start) => {
                let touched = |of: u8, end: i64, start: i64| of == key && end >= earliest_end && start <= latest_start;
                let mut expected: Vec<_> = model
                    .iter()
                    .filter(|((of, end, start), _)| touched(*of, *end, *start))
                    .map(|((_, end, start), value)| (*end, *start, value.clone()))
                    .collect();
                let found = store.find_sessions(&[key], earliest_end, latest_start).unwrap();
                let found: Vec<_> = found.into_iter().map(|entry| (entry.end, entry.start, entry.value)).collect();
                expected.retain(|session| session.0 > newest - RETENTION_MS || spec.cached && found.contains(session));
                assert_eq!(found, expected);
            }
            SessionStep::All => {
                let all = model.iter().map(|((key, end, start), _)| (vec![*key], *end, *start));
                let found = store.all_sessions().unwrap();
                let found: Vec<_> = found.into_iter().map(|entry| (entry.key, entry.end, entry.start)).collect();
                let is_live = |end: i64| end > newest - RETENTION_MS;
                let expected: Vec<_> =
                    all.filter(|session| is_live(session.1) || spec.cached && found.contains(session)).collect();
                assert_eq!(found, expected);
            }
            SessionStep::Commit => {
                flush(&mut store, &mut Log::default());
                let writes = vec![store.unwritten()];
                backend.commit(writes, &BTreeMap::new()).unwrap();
                store.all_written();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn sessions_in_memory(
        steps in proptest::collection::vec(session_step(), 1..120), layout in layout(), cached: bool,
    ) {
        run_sessions(&mut MemoryBackend, &session_spec(layout, cached), &steps);
    }

    #[test]
    fn windows_in_memory(
        steps in proptest::collection::vec(window_step(), 1..120), layout in layout(), cached: bool,
    ) {
        run_windows(&mut MemoryBackend, &window_spec(layout, cached), 0, false, &steps);
    }

    #[test]
    fn memory(steps in proptest::collection::vec(step(), 1..80), timestamped: bool, cached: bool) {
        run(&mut MemoryBackend, key_value(timestamped, cached), SMALL, false, &steps);
    }
}

#[cfg(feature = "rocksdb")]
mod rocks {
    use super::*;
    use tidewater_state::{RocksBackend, RocksMemory, StateError};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn windows_in_rocksdb(
            steps in proptest::collection::vec(window_step(), 1..120),
            // None, a few, and all of them.
            row_bytes in prop_oneof![Just(0), Just(40_000), Just(1 << 20)],
            layout in layout(),
            cached: bool,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let (memory, spec) = (RocksMemory::new(8 << 20), window_spec(layout, cached));
            let mut backend = RocksBackend::open(folder.path(), &[&spec], &memory).unwrap();
            run_windows(&mut backend, &spec, row_bytes, true, &steps);
        }

        #[test]
        fn sessions_in_rocksdb(
            steps in proptest::collection::vec(session_step(), 1..120), layout in layout(), cached: bool,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let (memory, spec) = (RocksMemory::new(8 << 20), session_spec(layout, cached));
            let mut backend = RocksBackend::open(folder.path(), &[&spec], &memory).unwrap();
            run_sessions(&mut backend, &spec, &steps);
        }

        #[test]
        fn after_a_kill_stores_agree_with_their_offsets_and_restore_from_there(
            steps in proptest::collection::vec(kill_step(), 1..60),
        ) {
            run_kills(&steps);
        }

        #[test]
        fn rocksdb(
            steps in proptest::collection::vec(step(), 1..80),
            timestamped: bool,
            cached: bool,
            row_bytes in 0usize..1000,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let memory = RocksMemory::new(8 << 20);
            let spec = key_value(timestamped, cached);
            let small = StoreMemory { row_bytes, ..SMALL };
            let mut backend = RocksBackend::open(folder.path(), &[&spec], &memory).unwrap();
            run(&mut backend, spec, small, true, &steps);
        }
    }

    #[derive(Clone, Debug)]
    enum KillStep {
        Put(usize, u8, Option<u8>),
        Commit,
        /// RocksDB writes its memtables to files.
        WriteFiles,
        Kill,
    }

    fn kill_step() -> impl Strategy<Value = KillStep> {
        prop_oneof![
            8 => (0usize..2, 0u8..10, proptest::option::weighted(0.8, any::<u8>()))
                .prop_map(|(store, key, value)| KillStep::Put(store, key, value)),
            2 => Just(KillStep::Commit),
            1 => Just(KillStep::WriteFiles),
            1 => Just(KillStep::Kill),
        ]
    }

    /// What changes make of a store.
    fn applied(changes: &[(Vec<u8>, Option<Vec<u8>>)]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut contents = BTreeMap::new();
        for (key, value) in changes {
            match value {
                Some(value) => contents.insert(key.clone(), value.clone()),
                None => contents.remove(key),
            };
        }
        contents.into_iter().collect()
    }

    /// A copy of the files as they stand at one moment; an error if RocksDB's own threads changed them meanwhile.
    fn copy_of(folder: &std::path::Path) -> std::io::Result<tempfile::TempDir> {
        let list = || -> std::io::Result<BTreeMap<_, u64>> {
            std::fs::read_dir(folder)?
                .map(|entry| Ok((entry.as_ref().unwrap().file_name(), entry?.metadata()?.len())))
                .collect()
        };
        let (copy, before) = (tempfile::tempdir()?, list()?);
        for name in before.keys() {
            std::fs::copy(folder.join(name), copy.path().join(name))?;
        }
        if list()? == before { Ok(copy) } else { Err(std::io::Error::other("changed")) }
    }

    /// Two stores of one task, killed: a copy of the files as they stand is what is found afterwards.
    fn run_kills(steps: &[KillStep]) {
        let memory = RocksMemory::new(8 << 20);
        let specs = ["one", "two"].map(|name| StoreSpec::new(name, StoreKind::KeyValue { timestamped: false }));
        let open = |folder: &std::path::Path| {
            let mut backend = RocksBackend::open(folder, &[&specs[0], &specs[1]], &memory).unwrap();
            let stores = [0, 1].map(|number| {
                Store::new(specs[number].clone(), number, backend.open(&specs[number]).unwrap(), StoreMemory::default())
            });
            (backend, stores)
        };
        let mut folder = tempfile::tempdir().unwrap();
        let (mut backend, mut stores) = open(folder.path());
        let mut logs = [Log::default(), Log::default()];
        for step in steps {
            match *step {
                KillStep::Put(store, key, value) => {
                    let value = value.map(|value| [value]);
                    let value = value.as_ref().map(<[u8; 1]>::as_slice);
                    stores[store].put(&[key], value, &context(), &mut logs[store]).unwrap();
                }
                KillStep::Commit => {
                    let writes = stores.iter().map(Store::unwritten).collect();
                    let offset = |store: usize| (specs[store].name.clone(), Offset(logs[store].0.len() as i64));
                    backend.commit(writes, &[offset(0), offset(1)].into()).unwrap();
                    stores.iter_mut().for_each(Store::all_written);
                }
                KillStep::WriteFiles => backend.close().unwrap(),
                KillStep::Kill => {
                    let copy = loop {
                        if let Ok(copy) = copy_of(folder.path()) {
                            break copy;
                        }
                    };
                    drop((stores, backend));
                    folder = copy;
                    (backend, stores) = open(folder.path());
                    for (number, store) in stores.iter_mut().enumerate() {
                        let log = &logs[number].0;
                        let reached = backend.offset(&specs[number].name).unwrap().unwrap_or_default().0 as usize;
                        assert_eq!(store.scan(&KeyRange::all(), false).unwrap(), applied(&log[..reached]));
                        for (key, value) in &log[reached..] {
                            store.restore(key, value.as_deref(), Timestamp(7), &Headers::EMPTY).unwrap();
                        }
                        assert_eq!(store.scan(&KeyRange::all(), false).unwrap(), applied(log));
                    }
                }
            }
        }
    }

    #[test]
    fn a_folder_of_a_newer_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let memory = RocksMemory::new(8 << 20);
        drop(RocksBackend::open(folder.path(), &[], &memory).unwrap());
        let db = rocksdb::DB::open_default(folder.path()).unwrap();
        db.put(b"format", 2u32.to_be_bytes()).unwrap();
        drop(db);
        let error = RocksBackend::open(folder.path(), &[], &memory).err().unwrap();
        assert!(matches!(error, StateError::NewerFormat { found: 2, known: 1, .. }), "{error}");
        assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
    }

    /// RocksDB has a column family of that name already, where the layout's version and the offsets are.
    #[test]
    fn a_store_may_be_named_default() {
        let folder = tempfile::tempdir().unwrap();
        let memory = RocksMemory::new(8 << 20);
        let spec = StoreSpec::new("default", StoreKind::KeyValue { timestamped: false });
        for _ in 0..2 {
            let mut backend = RocksBackend::open(folder.path(), &[&spec], &memory).unwrap();
            let mut store = Store::new(spec.clone(), 0, backend.open(&spec).unwrap(), StoreMemory::default());
            store.put(b"format", Some(b"my own"), &context(), &mut Log::default()).unwrap();
            backend.commit(vec![store.unwritten()], &[("default".to_owned(), Offset(1))].into()).unwrap();
            store.all_written();
            let entries = store.scan(&KeyRange::all(), false).unwrap();
            assert_eq!(entries, [(b"format".to_vec(), b"my own".to_vec())]);
            drop(store);
            backend.close().unwrap();
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
            let writes = vec![store.unwritten()];
            backend.commit(writes, &[("s".to_owned(), Offset(1))].into()).unwrap();
            store.all_written();
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
