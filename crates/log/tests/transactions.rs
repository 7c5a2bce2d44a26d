//! Transactions in one partition: what readers of committed records see, over restarts, crashes and compactions.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tidewater_env::Disk;
use tidewater_log::{
    AbortedTransaction, Appended, CleanupPolicy, Compactor, Isolation, LogConfig, LogError, OpenOptions, PartitionLog,
    ProducerError, TransactionMarker,
};
use tidewater_protocol::{Batch, BatchBuilder, Compression, ControlKind, ProducerStamp};
use tidewater_types::{Headers, Offset, Timestamp};

const NOW: Timestamp = Timestamp(1_000_000);
const LIMIT: usize = 1 << 20;

fn options(config: &LogConfig, clean_shutdown: bool) -> OpenOptions {
    OpenOptions { config: config.clone(), clean_shutdown, recovery_point: Offset::ZERO, log_start: Offset::ZERO }
}

fn open(folder: &Path, config: &LogConfig, clean: bool) -> PartitionLog {
    PartitionLog::open(&Disk::new(), folder, options(config, clean)).unwrap().0
}

fn batch(stamp: ProducerStamp, records: &[(&str, &str)]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for (key, value) in records {
        builder.push(NOW, Some(key.as_bytes()), Some(value.as_bytes()), &Headers::EMPTY);
    }
    builder.finish_as(stamp).unwrap()
}

fn stamp(id: i64, epoch: i16, base_sequence: i32, transactional: bool) -> ProducerStamp {
    ProducerStamp { id, epoch, base_sequence, transactional }
}

fn write(log: &mut PartitionLog, stamp: ProducerStamp, records: &[(&str, &str)]) -> Result<Offset, LogError> {
    let appended = log.append(batch(stamp, records), NOW)?;
    log.raise_high_watermark(appended.next);
    Ok(appended.first)
}

fn marker(producer_id: i64, producer_epoch: i16, kind: ControlKind) -> TransactionMarker {
    TransactionMarker { producer_id, producer_epoch, kind, coordinator_epoch: 0, own_epoch: false }
}

fn end(log: &mut PartitionLog, producer_id: i64, producer_epoch: i16, kind: ControlKind) {
    let appended = log.append_marker(&marker(producer_id, producer_epoch, kind), NOW).unwrap();
    log.raise_high_watermark(appended.next);
}

/// What a consumer of committed records sees, by the rules of Kafka's clients, with fetches of at most so many bytes.
fn committed(log: &PartitionLog, fetch_bytes: usize) -> Vec<(i64, String, String)> {
    let mut found = Vec::new();
    let mut next = log.log_start();
    while next < log.last_stable() {
        let (slice, aborted) = log.slice_committed(next, fetch_bytes).unwrap();
        let mut chunk = slice.read(fetch_bytes).unwrap();
        let sent = slice.extent(fetch_bytes, true).unwrap().unwrap();
        let mut aborted: Vec<_> = aborted.into_iter().map(|aborted| (aborted.first, aborted.producer_id)).collect();
        aborted.sort_unstable();
        let mut aborted = aborted.into_iter().peekable();
        let mut left_out = BTreeSet::new();
        assert!(!chunk.is_empty(), "at {next}, stable to {}", log.last_stable());
        while !chunk.is_empty() {
            let batch = Batch::parse(&chunk).unwrap();
            assert!(batch.next_offset() <= log.last_stable());
            while let Some((_, id)) = aborted.next_if(|(first, _)| *first <= batch.last_offset()) {
                left_out.insert(id);
            }
            if let Some(end) = batch.transaction_end() {
                if end.kind == ControlKind::Abort {
                    left_out.remove(&batch.producer_id());
                }
            } else if !(batch.is_control() || batch.is_transactional() && left_out.contains(&batch.producer_id())) {
                for record in batch.records(LIMIT).unwrap().iter() {
                    let record = record.unwrap();
                    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap();
                    if record.offset >= next {
                        found.push((record.offset.0, text(record.key), text(record.value)));
                    }
                }
            }
            next = batch.next_offset();
            chunk = chunk.slice(batch.len()..);
        }
        // What is sent from file to socket does not go behind what is stable either, but for a batch that is cut.
        assert!(sent.length() <= fetch_bytes.max(sent.read_batches().unwrap().len()));
    }
    found
}

fn keys(log: &PartitionLog) -> Vec<String> {
    committed(log, LIMIT).into_iter().map(|(_, key, _)| key).collect()
}

#[test]
fn readers_of_committed_records_wait_for_the_oldest_open_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path(), &LogConfig::default(), false);
    write(&mut log, ProducerStamp::default(), &[("plain", "0")]).unwrap();
    write(&mut log, stamp(1, 0, 0, true), &[("one", "0"), ("one", "1")]).unwrap();
    write(&mut log, stamp(2, 0, 0, true), &[("two", "0")]).unwrap();
    assert_eq!((log.last_stable(), log.high_watermark()), (Offset(1), Offset(4)));
    assert_eq!(keys(&log), ["plain"]);
    end(&mut log, 2, 0, ControlKind::Commit);
    assert_eq!(log.last_stable(), Offset(1));
    assert!(log.has_open_transaction(1, 0) && !log.has_open_transaction(2, 0));
    end(&mut log, 1, 0, ControlKind::Abort);
    assert_eq!((log.last_stable(), log.log_end()), (Offset(6), Offset(6)), "a marker takes an offset");
    assert_eq!(keys(&log), ["plain", "two"]);
    let aborted = log.aborted_between(Offset(0), Offset(6));
    let [aborted] = aborted[..] else { panic!("{aborted:?}") };
    assert_eq!((aborted.first, aborted.last, aborted.last_stable), (Offset(1), Offset(5), Offset(6)));
    assert_eq!(log.find_by_time(NOW, Isolation::ReadCommitted).unwrap().unwrap().offset, Offset(0));
}

#[test]
fn late_records_and_late_markers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path(), &LogConfig::default(), false);
    write(&mut log, stamp(1, 0, 0, true), &[("a", "0")]).unwrap();
    let refused = write(&mut log, stamp(1, 0, 1, false), &[("a", "1")]).unwrap_err();
    assert!(matches!(refused, LogError::Producer(ProducerError::InTransaction { .. })), "{refused}");
    // A batch that was checked before its transaction ended, and is written behind that, must not begin another.
    let parse = |stamp: ProducerStamp| Batch::parse(&batch(stamp, &[("a", "0")])).unwrap();
    let (first, next) = (parse(stamp(3, 0, 0, true)), parse(stamp(3, 0, 1, true)));
    let refused = log.check_in_transaction(&first).unwrap_err();
    assert!(matches!(refused, LogError::Producer(ProducerError::NotInTransaction { .. })), "{refused}");
    log.append_checked(first.clone(), NOW).unwrap();
    log.check_in_transaction(&next).unwrap();
    end(&mut log, 3, 0, ControlKind::Abort);
    let refused = log.check_in_transaction(&next).unwrap_err();
    assert!(matches!(refused, LogError::Producer(ProducerError::NotInTransaction { .. })), "{refused}");
    // What was written before it ended is told again.
    log.check_in_transaction(&first).unwrap();
    end(&mut log, 3, 1, ControlKind::Abort);
    let refused = log.check_in_transaction(&next).unwrap_err();
    assert!(matches!(refused, LogError::Producer(ProducerError::Fenced { .. })), "{refused}");
    // Where each transaction has its own epoch, the marker has a later one.
    let own = TransactionMarker { own_epoch: true, ..marker(1, 0, ControlKind::Commit) };
    let refused = log.append_marker(&own, NOW).unwrap_err();
    assert!(matches!(refused, LogError::Producer(ProducerError::Fenced { .. })), "{refused}");
    let next = TransactionMarker { producer_epoch: 1, ..own };
    log.append_marker(&next, NOW).unwrap();
    log.append_marker(&next, NOW).unwrap();
    let refused = write(&mut log, stamp(1, 0, 1, true), &[("a", "1")]).unwrap_err();
    assert!(matches!(refused, LogError::Producer(ProducerError::Fenced { .. })), "{refused}");
    write(&mut log, stamp(1, 1, 0, true), &[("a", "2")]).unwrap();
    let zombie = TransactionMarker { coordinator_epoch: -1, producer_epoch: 2, ..own };
    let refused = log.append_marker(&zombie, NOW).unwrap_err();
    assert!(matches!(refused, LogError::Producer(ProducerError::CoordinatorFenced { .. })), "{refused}");
}

#[test]
fn what_a_coordinator_writes_for_a_producer_is_not_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path(), &LogConfig::default(), false);
    let offsets = |epoch| batch(stamp(1, epoch, 0, true), &[("offset", "0"), ("offset", "1")]);
    for _ in 0..2 {
        let appended = log.append_coordinators(offsets(0), NOW).unwrap();
        log.raise_high_watermark(appended.next);
    }
    assert_eq!((log.log_end(), log.last_stable()), (Offset(4), Offset(0)));
    let mut log = open(folder.path(), &LogConfig::default(), false);
    end(&mut log, 1, 0, ControlKind::Commit);
    assert_eq!(keys(&log).len(), 4);
    assert!(matches!(log.append_coordinators(offsets(-1), NOW), Err(LogError::Producer(ProducerError::Fenced { .. }))));
    log.append_coordinators(offsets(0), NOW).unwrap();
    let plain = batch(stamp(1, 0, 0, false), &[("offset", "0")]);
    let refused = log.append_coordinators(plain, NOW);
    assert!(matches!(refused, Err(LogError::Producer(ProducerError::InTransaction { .. }))));
}

#[derive(Clone, Debug)]
enum Act {
    Plain(u8),
    /// A record of a producer, in a transaction.
    Write(i64, u8),
    End(i64, bool),
    Close,
    Crash,
    Compact(bool),
    Delete,
}

fn act(compacts: bool) -> impl Strategy<Value = Act> {
    let rare = if compacts { Just(0).boxed() } else { (0..1).boxed() };
    prop_oneof![
        3 => (0..6u8).prop_map(Act::Plain),
        8 => (1..4i64, 0..6u8).prop_map(|(id, key)| Act::Write(id, key)),
        4 => (1..4i64, any::<bool>()).prop_map(|(id, commits)| Act::End(id, commits)),
        1 => Just(Act::Close),
        1 => Just(Act::Crash),
        2 => (any::<bool>(), rare).prop_map(move |(later, _)| {
            if compacts { Act::Compact(later) } else { Act::Delete }
        }),
    ]
}

/// What should be there.
#[derive(Default)]
struct Model {
    /// Offset, key, value, and the number of the transaction.
    records: Vec<(i64, String, String, Option<usize>)>,
    /// How transactions have ended.
    ended: BTreeMap<usize, bool>,
    /// The transaction that a producer has open, with its first offset.
    open: BTreeMap<i64, (usize, i64)>,
    begun: usize,
}

impl Model {
    fn stable(&self, end: i64) -> i64 {
        self.open.values().map(|(_, first)| *first).min().unwrap_or(end)
    }

    fn committed(&self, start: i64, end: i64) -> Vec<(i64, String, String)> {
        let stable = self.stable(end);
        let is_seen = |(offset, .., transaction): &&(i64, String, String, Option<usize>)| {
            let is_committed = transaction.is_none_or(|number| self.ended.get(&number) == Some(&true));
            *offset >= start && *offset < stable && is_committed
        };
        let seen = self.records.iter().filter(is_seen);
        seen.map(|(offset, key, value, _)| (*offset, key.clone(), value.clone())).collect()
    }
}

fn last_of_each(records: &[(i64, String, String)]) -> BTreeMap<String, (i64, String)> {
    records.iter().map(|(offset, key, value)| (key.clone(), (*offset, value.clone()))).collect()
}

fn run(acts: Vec<Act>, compacts: bool) {
    let folder = tempfile::tempdir().unwrap();
    let config = LogConfig {
        segment_bytes: 500,
        index_interval_bytes: 100,
        min_dirty_ratio: 0.0,
        delete_retention: Duration::from_secs(1),
        cleanup: CleanupPolicy { delete: !compacts, compact: compacts },
        ..LogConfig::default()
    };
    let mut log = open(folder.path(), &config, false);
    let (mut model, mut clean_to, mut now) = (Model::default(), Offset::ZERO, NOW);
    let mut sequences: BTreeMap<i64, i32> = BTreeMap::new();
    for (step, act) in acts.into_iter().enumerate() {
        let value = step.to_string();
        match act {
            Act::Plain(key) => {
                let key = key.to_string();
                let at = write(&mut log, ProducerStamp::default(), &[(&key, &value)]).unwrap();
                model.records.push((at.0, key, value, None));
            }
            Act::Write(id, key) => {
                let (key, sequence) = (key.to_string(), sequences.entry(id).or_default());
                let at = write(&mut log, stamp(id, 0, *sequence, true), &[(&key, &value)]).unwrap();
                *sequence += 1;
                let begun = &mut model.begun;
                let (number, _) = model.open.entry(id).or_insert_with(|| {
                    *begun += 1;
                    (*begun, at.0)
                });
                model.records.push((at.0, key, value, Some(*number)));
            }
            Act::End(id, commits) => {
                end(&mut log, id, 0, if commits { ControlKind::Commit } else { ControlKind::Abort });
                if let Some((number, _)) = model.open.remove(&id) {
                    model.ended.insert(number, commits);
                }
            }
            Act::Close => {
                log.close().unwrap();
                log = open(folder.path(), &config, true);
            }
            Act::Crash => log = open(folder.path(), &config, false),
            Act::Compact(later) => {
                now = if later { Timestamp(now.0 + 10_000) } else { now };
                if let Some(plan) = log.plan_compaction(clean_to, now) {
                    clean_to = Compactor::new(LIMIT).run(&plan, &|| false, &mut |step| step(&mut log)).unwrap();
                }
            }
            Act::Delete => {
                let middle = Offset(log.log_start().0.midpoint(model.stable(log.log_end().0)));
                log.delete_before(middle).unwrap();
            }
        }
        assert_eq!(log.last_stable().0, model.stable(log.log_end().0), "after step {step}");
    }
    let expected = model.committed(log.log_start().0, log.log_end().0);
    for fetch_bytes in [1, 300, LIMIT] {
        let found = committed(&log, fetch_bytes);
        if compacts {
            assert_eq!(last_of_each(&found), last_of_each(&expected), "with fetches of {fetch_bytes} bytes");
        } else {
            assert_eq!(found, expected, "with fetches of {fetch_bytes} bytes");
        }
    }
    // Producers go on with their numbers, whatever has become of their records.
    for (id, sequence) in sequences {
        write(&mut log, stamp(id, 0, sequence, true), &[("more", "0")]).unwrap();
    }
}

/// A tombstone of a transaction counts, though an earlier one of its producer was aborted.
#[test]
fn a_deleted_key_does_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogConfig {
        min_dirty_ratio: 0.0,
        delete_retention: Duration::from_secs(1),
        cleanup: CleanupPolicy { delete: false, compact: true },
        ..LogConfig::default()
    };
    let mut log = open(folder.path(), &config, false);
    let (mut clean_to, mut now) = (Offset::ZERO, NOW);
    let mut compact = |log: &mut PartitionLog, later: bool| {
        now = if later { Timestamp(now.0 + 10_000) } else { now };
        log.roll().unwrap();
        let plan = log.plan_compaction(clean_to, now).unwrap();
        clean_to = Compactor::new(LIMIT).run(&plan, &|| false, &mut |step| step(log)).unwrap();
    };
    write(&mut log, stamp(1, 0, 0, true), &[("k", "v1")]).unwrap();
    end(&mut log, 1, 0, ControlKind::Commit);
    write(&mut log, stamp(1, 0, 1, true), &[("other", "x")]).unwrap();
    end(&mut log, 1, 0, ControlKind::Abort);
    compact(&mut log, false);
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(NOW, Some(b"k"), None, &Headers::EMPTY);
    let appended = log.append(builder.finish_as(stamp(1, 0, 2, true)).unwrap(), NOW).unwrap();
    log.raise_high_watermark(appended.next);
    end(&mut log, 1, 0, ControlKind::Commit);
    compact(&mut log, false);
    assert_eq!(keys(&log), ["k"], "the tombstone alone");
    write(&mut log, ProducerStamp::default(), &[("last", "y")]).unwrap();
    compact(&mut log, true);
    assert_eq!(keys(&log), ["last"]);
    // What is on disk says the same.
    log.close().unwrap();
    assert_eq!(keys(&open(folder.path(), &config, false)), ["last"]);
}

/// The batch that a read begins with stands behind the place that the index knows, and so does what is read.
#[test]
fn an_abort_is_told_that_lies_at_the_end_of_what_is_read() {
    let (plain, aborts) = (|| Act::Plain(0), || Act::End(1, false));
    let mut acts = vec![plain(), plain(), plain(), plain(), aborts(), plain(), aborts(), plain(), aborts(), aborts()];
    acts.extend([
        Act::Write(2, 0),
        plain(),
        plain(),
        plain(),
        Act::Write(3, 0),
        Act::End(2, false),
        plain(),
        Act::Delete,
    ]);
    run(acts, false);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn readers_see_what_is_committed(acts in proptest::collection::vec(act(false), 1..80)) {
        run(acts, false);
    }

    #[test]
    fn compaction_keeps_the_last_committed_value_of_each_key(acts in proptest::collection::vec(act(true), 1..120)) {
        run(acts, true);
    }
}

#[test]
fn what_is_left_of_old_transactions_goes() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogConfig {
        segment_bytes: 300,
        min_dirty_ratio: 0.0,
        delete_retention: Duration::from_secs(1),
        cleanup: CleanupPolicy { delete: false, compact: true },
        ..LogConfig::default()
    };
    let mut log = open(folder.path(), &config, false);
    for number in 0..100 {
        let kind = if number % 2 == 0 { ControlKind::Abort } else { ControlKind::Commit };
        write(&mut log, stamp(number, 0, 0, true), &[("key", "value")]).unwrap();
        end(&mut log, number, 0, kind);
    }
    log.expire_producers(Timestamp(i64::MAX));
    let (mut clean_to, before) = (Offset::ZERO, log.size());
    for round in 0..3 {
        write(&mut log, ProducerStamp::default(), &[("other", "value")]).unwrap();
        log.roll().unwrap();
        let plan = log.plan_compaction(clean_to, Timestamp(NOW.0 + round * 10_000)).unwrap();
        clean_to = Compactor::new(LIMIT).run(&plan, &|| false, &mut |step| step(&mut log)).unwrap();
    }
    // One batch stays of each segment, for its end.
    assert!(log.size() < before * 6 / 10, "{} of {before}", log.size());
    let left = log.aborted_between(Offset::ZERO, log.log_end());
    assert!(left.len() * 3 <= 50, "in a segment of three transactions there is the last at most: {left:?}");
    assert_eq!(keys(&log), ["key", "other"]);
}

#[test]
fn records_are_deleted_into_a_batch_of_an_open_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path(), &LogConfig::default(), false);
    let records: Vec<_> = (0..10).map(|_| ("key", "value")).collect();
    write(&mut log, stamp(1, 0, 0, true), &records).unwrap();
    log.delete_before(Offset(5)).unwrap();
    let (slice, _) = log.slice_committed(Offset(5), LIMIT).unwrap();
    assert!(slice.read(LIMIT).unwrap().is_empty());
    assert!(!log.read(Offset(5), LIMIT).unwrap().is_empty());
}

#[test]
fn an_abort_that_cannot_be_noted_ends_no_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path(), &LogConfig::default(), false);
    write(&mut log, stamp(1, 0, 0, true), &[("key", "value")]).unwrap();
    std::fs::create_dir(folder.path().join("00000000000000000000.txnindex")).unwrap();
    assert!(log.append_marker(&marker(1, 0, ControlKind::Abort), NOW).is_err());
    assert_eq!((log.last_stable(), log.log_end()), (Offset(0), Offset(1)));
    assert!(log.slice_committed(Offset(0), LIMIT).unwrap().0.read(LIMIT).unwrap().is_empty());
}

/// Wherever the disk is full, in a batch, an index, a snapshot or a new segment: what is refused leaves nothing, and the same is taken when
/// there is room.
#[test]
fn a_log_goes_on_once_a_full_disk_has_room() {
    let config = LogConfig { segment_bytes: 400, index_interval_bytes: 1, ..LogConfig::default() };
    let mut refused = 0;
    for space in 0..400 {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::with_space(space);
        let Ok((mut log, _)) = PartitionLog::open(&disk, folder.path(), options(&config, false)) else { continue };
        let mut acknowledged = Vec::new();
        for number in 0..12 {
            let kind = if number % 3 == 0 { ControlKind::Commit } else { ControlKind::Abort };
            let value = number.to_string();
            let stamp = stamp(7, 0, number, true);
            let mut until_there_is_room = |step: &dyn Fn(&mut PartitionLog) -> Result<Appended, LogError>| {
                let before = log.log_end();
                // What is written in part takes of the room for good here.
                let mut room = 29;
                let appended = loop {
                    match step(&mut log) {
                        Ok(appended) => break appended,
                        Err(error) => assert!(error.to_string().contains("Make room"), "{error}"),
                    }
                    assert_eq!((log.log_end(), log.is_in_service()), (before, true));
                    disk.add_space(room);
                    room *= 2;
                    refused += 1;
                };
                assert_eq!(appended.first, before);
                log.raise_high_watermark(appended.next);
                before
            };
            let first = until_there_is_room(&|log| log.append(batch(stamp, &[("key", &value)]), NOW));
            until_there_is_room(&|log| log.append_marker(&marker(7, 0, kind), NOW));
            if kind == ControlKind::Commit {
                acknowledged.push((first.0, "key".to_owned(), value));
            }
        }
        assert_eq!(committed(&log, 1), acknowledged, "{space}");
        drop(log);
        assert_eq!(committed(&open(folder.path(), &config, false), 1), acknowledged, "{space}");
    }
    assert!(refused > 1000, "{refused}");
}

/// A part of an entry would be taken for damage at the next start.
#[test]
fn a_full_disk_leaves_no_part_of_what_is_known_of_aborted_transactions() {
    /// What an entry takes.
    const ENTRY_BYTES: u64 = 34;
    let mut refused_in_part = 0;
    for space in 0..200 {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::with_space(1000);
        let mut log = PartitionLog::open(&disk, folder.path(), options(&LogConfig::default(), false)).unwrap().0;
        write(&mut log, stamp(7, 0, 0, true), &[("key", "value")]).unwrap();
        let file = disk.open(&folder.path().join("filler")).unwrap();
        let mut filler = 0;
        while file.write_at(b"x", filler).is_ok() {
            filler += 1;
        }
        disk.remove_file(&folder.path().join("filler")).unwrap();
        disk.add_space(space);
        let index = folder.path().join("00000000000000000000.txnindex");
        if log.append_marker(&marker(7, 0, ControlKind::Abort), NOW).is_err() {
            let length = if disk.exists(&index) { disk.read(&index).unwrap().len() as u64 } else { 0 };
            assert_eq!(length % ENTRY_BYTES, 0, "with room for {space}");
            refused_in_part += u64::from(space > 0 && space < ENTRY_BYTES);
        }
    }
    assert_eq!(refused_in_part, ENTRY_BYTES - 1);
}

/// Damages the first entry of an index of aborted transactions, which then says that it begins behind its end, and has the log opened by
/// processes that are killed after ever more changes to files, until one is not: whoever opens it next knows what was known.
fn open_damaged(
    folder: &Path,
    index: &str,
    is_clean_at_first: bool,
    is_clean_then: bool,
    whole: &[AbortedTransaction],
) {
    let config = LogConfig::default();
    for changes in 0.. {
        let copy = tempfile::tempdir().unwrap();
        for path in Disk::new().list(folder).unwrap() {
            let mut bytes = Disk::new().read(&path).unwrap();
            if path.ends_with(index) {
                bytes[10] ^= 1;
            }
            Disk::new().write_atomically(&copy.path().join(path.file_name().unwrap()), &bytes).unwrap();
        }
        let options = options(&config, is_clean_at_first);
        let is_opened = PartitionLog::open(&Disk::with_changes(changes), copy.path(), options).is_ok();
        let log = open(copy.path(), &config, is_clean_then);
        assert_eq!(log.aborted_between(Offset::ZERO, log.log_end()), whole, "{changes}");
        if is_opened {
            assert!(changes > 10, "{changes}");
            return;
        }
    }
}

/// Each time the machine may go down while what was damaged is made anew.
#[test]
fn what_is_known_of_aborted_transactions_is_made_anew_if_it_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogConfig::default();
    let mut log = open(folder.path(), &config, false);
    for number in 0..6 {
        write(&mut log, stamp(number, 0, 0, true), &[("key", "value")]).unwrap();
        end(&mut log, number, 0, ControlKind::Abort);
        if number % 2 == 1 {
            log.roll().unwrap();
        }
    }
    let whole = log.aborted_between(Offset::ZERO, log.log_end());
    assert_eq!(whole.len(), 6);
    log.close().unwrap();
    drop(log);
    // Whoever comes next, after a kill, or with the mark of the clean close that was there still.
    for clean in [true, false] {
        open_damaged(folder.path(), "00000000000000000000.txnindex", true, clean, &whole);
    }
}

#[test]
fn what_is_damaged_of_it_in_the_newest_segment_is_made_anew_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogConfig::default();
    let abort = |log: &mut PartitionLog, number: i64| {
        write(log, stamp(number, 0, 0, true), &[("key", "value")]).unwrap();
        end(log, number, 0, ControlKind::Abort);
    };
    let mut log = open(folder.path(), &config, false);
    abort(&mut log, 0);
    log.roll().unwrap();
    abort(&mut log, 1);
    abort(&mut log, 2);
    // The snapshot of a clean close stands in the middle of the segment.
    log.close().unwrap();
    drop(log);
    let mut log = open(folder.path(), &config, true);
    abort(&mut log, 3);
    let whole = log.aborted_between(Offset::ZERO, log.log_end());
    assert_eq!(whole.len(), 4);
    drop(log);
    open_damaged(folder.path(), "00000000000000000002.txnindex", false, false, &whole);
}
