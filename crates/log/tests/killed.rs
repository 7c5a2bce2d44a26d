//! A log whose process is killed after any of the changes that it makes to its files: what was acknowledged is there, once, and nothing is
//! seen of a transaction that was not committed.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tidewater_env::Disk;
use tidewater_log::{CleanupPolicy, Compactor, LogConfig, LogError, OpenOptions, PartitionLog, TransactionMarker};
use tidewater_protocol::{Batch, BatchBuilder, Compression, ControlKind, ProducerStamp};
use tidewater_types::{Headers, Offset, Timestamp};

const NOW: Timestamp = Timestamp(1_000_000);
const LIMIT: usize = 1 << 20;
const PLAIN: i64 = 7;
const ABORTS: i64 = 8;
const COMMITS: i64 = 9;

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 450,
        min_dirty_ratio: 0.0,
        delete_retention: Duration::from_millis(1),
        cleanup: CleanupPolicy { delete: true, compact: true },
        retention: Some(Duration::from_secs(1)),
        ..LogConfig::default()
    }
}

fn open(disk: &Disk, folder: &Path) -> Result<PartitionLog, LogError> {
    open_from(disk, folder, Offset::ZERO)
}

/// Closed segments before the recovery point are trusted, with their indexes.
fn open_from(disk: &Disk, folder: &Path, recovery_point: Offset) -> Result<PartitionLog, LogError> {
    let log_start = Offset::ZERO;
    let options = OpenOptions { config: config(), clean_shutdown: false, recovery_point, log_start };
    Ok(PartitionLog::open(disk, folder, options)?.0)
}

fn batch(id: i64, base_sequence: i32, key: &str) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(NOW, Some(key.as_bytes()), Some(b"a value"), &Headers::EMPTY);
    builder.finish_as(ProducerStamp { id, epoch: 0, base_sequence, transactional: id != PLAIN }).unwrap()
}

/// What was begun, and what of it was acknowledged.
#[derive(Default)]
struct Told {
    end: Offset,
    committed: BTreeSet<String>,
    /// The batch that is being written.
    unacknowledged: Option<Bytes>,
}

fn write(log: &mut PartitionLog, told: &mut Told, id: i64, sequence: i32, key: &str) -> Result<(), LogError> {
    let batch = batch(id, sequence, key);
    told.unacknowledged = Some(batch.clone());
    let appended = log.append(batch, NOW)?;
    log.raise_high_watermark(appended.next);
    (told.unacknowledged, told.end) = (None, appended.next);
    if id == PLAIN {
        told.committed.insert(key.to_owned());
    }
    Ok(())
}

fn end(log: &mut PartitionLog, told: &mut Told, producer_id: i64, kind: ControlKind) -> Result<(), LogError> {
    let marker = TransactionMarker { producer_id, producer_epoch: 0, kind, coordinator_epoch: 0, own_epoch: false };
    let appended = log.append_marker(&marker, NOW)?;
    log.raise_high_watermark(appended.next);
    told.end = appended.next;
    Ok(())
}

/// Two producers' transactions, of which one aborts each and one commits, one without; now and then a compaction.
fn work(log: &mut PartitionLog, told: &mut Told, compacts: bool) -> Result<(), LogError> {
    let mut clean_to = Offset::ZERO;
    for round in 0..4 {
        write(log, told, ABORTS, 2 * round, &format!("aborted{round}"))?;
        write(log, told, PLAIN, 2 * round, &format!("plain{round}"))?;
        write(log, told, COMMITS, round, &format!("committed{round}"))?;
        write(log, told, ABORTS, 2 * round + 1, "aborted")?;
        end(log, told, COMMITS, ControlKind::Commit)?;
        told.committed.insert(format!("committed{round}"));
        write(log, told, PLAIN, 2 * round + 1, "plain")?;
        end(log, told, ABORTS, ControlKind::Abort)?;
        if round > 0 {
            log.roll()?;
            if compacts && let Some(plan) = log.plan_compaction(clean_to, Timestamp(NOW.0 + 100 * i64::from(round))) {
                clean_to = Compactor::new(LIMIT).run(&plan, &|| false, &mut |step| step(log))?;
            }
        }
    }
    Ok(())
}

/// How often a reader of what is committed meets each key, by the rules of Kafka's clients.
fn committed(log: &PartitionLog) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let mut next = log.log_start();
    while next < log.last_stable() {
        let (slice, aborted) = log.slice_committed(next, LIMIT).unwrap();
        let mut chunk = slice.read(LIMIT).unwrap();
        assert!(!chunk.is_empty(), "at {next}, stable to {}", log.last_stable());
        let mut aborted: Vec<_> = aborted.into_iter().map(|aborted| (aborted.first, aborted.producer_id)).collect();
        aborted.sort_unstable();
        let mut aborted = aborted.into_iter().peekable();
        let mut left_out = BTreeSet::new();
        while !chunk.is_empty() {
            let batch = Batch::parse(&chunk).unwrap();
            while let Some((_, id)) = aborted.next_if(|(first, _)| *first <= batch.last_offset()) {
                left_out.insert(id);
            }
            if let Some(end) = batch.transaction_end() {
                if end.kind == ControlKind::Abort {
                    left_out.remove(&batch.producer_id());
                }
            } else if !(batch.is_transactional() && left_out.contains(&batch.producer_id())) {
                for record in batch.records(LIMIT).unwrap().iter() {
                    let key = String::from_utf8(record.unwrap().key.unwrap().to_vec()).unwrap();
                    *found.entry(key).or_default() += 1;
                }
            }
            next = batch.next_offset();
            chunk = chunk.slice(batch.len()..);
        }
    }
    found
}

/// What must hold of a log that is opened again.
fn check(log: &mut PartitionLog, told: &Told, changes: u64) {
    assert!(log.log_end() >= told.end, "after {changes} changes: {} of {}", log.log_end(), told.end);
    // Its producer does not know whether it was written.
    if let Some(batch) = &told.unacknowledged {
        let appended = log.append(batch.clone(), NOW).unwrap();
        log.raise_high_watermark(appended.next);
    }
    // Transactions that are still open end as their coordinators have decided.
    for (id, kind) in [(ABORTS, ControlKind::Abort), (COMMITS, ControlKind::Commit)] {
        if log.has_open_transaction(id, 0) {
            end(log, &mut Told::default(), id, kind).unwrap();
        }
    }
    assert_eq!(log.last_stable(), log.log_end());
    let found = committed(log);
    assert!(!found.keys().any(|key| key.starts_with("aborted")), "after {changes} changes: {found:?}");
    for key in &told.committed {
        let times = found.get(key).copied().unwrap_or_default();
        // Of a key that is written again and again some may be compacted.
        assert!(times == 1 || (key == "plain" && times > 0), "after {changes} changes: {key} in {found:?}");
    }
}

/// The same files once more.
fn copy_of(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for path in Disk::new().list(folder).unwrap() {
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

/// Opens a log that was killed, whether what is closed was made durable or not, and after a further kill while it is opened.
fn check_opened(folder: &Path, told: &Told, changes: u64) {
    for recovery_point in [Offset(i64::MAX), Offset::ZERO] {
        let copy = copy_of(folder);
        let mut log = open_from(&Disk::new(), copy.path(), recovery_point).unwrap();
        check(&mut log, told, changes);
        for from in log.log_start().0..log.log_end().0 {
            let batch = log.read(Offset(from), LIMIT).unwrap();
            assert!(Batch::parse(&batch).unwrap().last_offset() >= Offset(from), "after {changes} changes: {from}");
        }
    }
    let _ = open(&Disk::with_changes(changes % 23), folder); // Killed, or not.
    check(&mut open(&Disk::new(), folder).unwrap(), told, changes);
}

#[test]
fn a_process_may_be_killed_after_any_change() {
    for changes in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let mut told = Told::default();
        let disk = Disk::with_changes(changes);
        let ended = open(&disk, folder.path()).and_then(|mut log| work(&mut log, &mut told, true));
        check_opened(folder.path(), &told, changes);
        if ended.is_ok() {
            assert!(changes > 300, "{changes}");
            return;
        }
    }
}

#[test]
fn what_retention_takes_may_be_killed_after_any_change() {
    for changes in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let mut told = Told::default();
        work(&mut open(&Disk::with_changes(u64::MAX), folder.path()).unwrap(), &mut told, false).unwrap();
        let ended = open(&Disk::with_changes(changes), folder.path())
            .and_then(|mut log| log.expire(Timestamp(NOW.0 + 100_000)));
        // What is old may be gone, and nothing is to be seen that was not before.
        told.committed.clear();
        check_opened(folder.path(), &told, changes);
        if let Ok(removed) = ended {
            assert!(removed > 3 && changes > 10, "{removed} segments, {changes} changes");
            return;
        }
    }
}
