//! One partition through its life: appends, reads, time, rolls, retention, compaction.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test damages files behind the log's back")]

mod small_log;

use std::time::Duration;

use bytes::Bytes;
use small_log::{ALL, LIMIT, NOW, append, batch, fill, open, open_with, read_all, small_segments};
use tidewater_env::Disk;
use tidewater_log::{
    CleanupPolicy, Compactor, LogConfig, LogError, OpenOptions, PartitionLog, RetentionClock, TimestampType,
};
use tidewater_protocol::{Batch, BatchBuilder, Compression};
use tidewater_types::{Headers, Offset, Timestamp};

#[test]
fn reads_what_was_appended_over_many_segments() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    fill(&mut log, 50);
    assert_eq!(log.log_end(), Offset(50));
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    assert!(files > 12, "{files} files");
    assert!(folder.path().join("00000000000000000000.log").exists());
    for from in [0, 1, 7, 49] {
        let offsets: Vec<i64> = read_all(&log, Offset(from)).iter().map(|record| record.0).collect();
        assert_eq!(offsets, (from..50).collect::<Vec<_>>());
    }
}

#[test]
fn readers_see_only_what_lies_below_the_high_watermark() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    append(&mut log, &[(1, "seen", Some("1"))]);
    log.append(batch(&[(2, "unseen", Some("2"))]), NOW).unwrap();
    assert_eq!((log.high_watermark(), log.log_end()), (Offset(1), Offset(2)));
    assert!(log.read(Offset(1), LIMIT).unwrap().is_empty());
    assert_eq!(read_all(&log, Offset(0)).len(), 1);
}

#[test]
fn an_offset_outside_the_log_is_told_with_its_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let error = log.read(Offset(5), LIMIT).unwrap_err();
    assert_eq!(error.to_string(), "offset 5 is not in the log, which holds 0 to 0");
}

#[test]
fn a_damaged_batch_is_not_appended() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    let mut bytes = batch(&[(1, "k", Some("v"))]).to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    assert!(matches!(log.append(Bytes::from(bytes), NOW), Err(LogError::Batch(_))));
    assert_eq!(log.log_end(), Offset(0));
    append(&mut log, &[(1, "k", Some("v"))]);
}

#[test]
fn finds_records_by_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    fill(&mut log, 50);
    for (time, offset) in [(0, 0), (1, 1), (10, 1), (245, 25), (490, 49)] {
        assert_eq!(log.find_by_time(Timestamp(time), ALL).unwrap().unwrap().offset, Offset(offset), "{time}");
    }
    assert_eq!(log.find_by_time(Timestamp(491), ALL).unwrap(), None);
}

#[test]
fn a_record_is_found_by_time_behind_those_that_were_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open_with(&Disk::new(), folder.path(), LogConfig::default(), false).0;
    append(&mut log, &[(10, "a", Some("1")), (20, "b", Some("2"))]);
    append(&mut log, &[(30, "c", Some("3")), (40, "d", Some("4"))]);
    log.raise_high_watermark(Offset(4));
    log.delete_before(Offset(3)).unwrap();
    let found = |time: i64| log.find_by_time(Timestamp(time), ALL).unwrap().map(|found| found.offset);
    assert_eq!([found(0), found(30), found(40), found(41)], [Some(Offset(3)), Some(Offset(3)), Some(Offset(3)), None]);
}

/// Of several batches at once some may be noted when there is no room for the next.
#[test]
fn a_disk_that_is_full_amid_several_batches_stops_the_log_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let one = batch(&[(1, "key", Some("some value"))]);
    let disk = Disk::with_space(one.len() as u64 * 3);
    let mut log = open_with(&disk, folder.path(), LogConfig::default(), false).0;
    let appended = log.append(one.clone(), NOW).unwrap();
    log.raise_high_watermark(appended.next);
    let error = log.append([&one[..], &one, &one].concat().into(), NOW).unwrap_err();
    assert!(error.to_string().contains("Make room"), "{error}");
    let error = log.append(one, NOW).unwrap_err();
    assert!(matches!(error, LogError::Stopped { .. }) && !log.is_in_service());
    drop(log);
    let mut log = open_with(&Disk::new(), folder.path(), LogConfig::default(), false).0;
    assert_eq!(log.log_end(), Offset(1));
    append(&mut log, &[(1, "key", Some("v"))]);
}

#[test]
fn batches_that_fill_the_disk_behind_a_new_segment_are_not_there_in_part() {
    let one = batch(&[(1, "key", Some("some value"))]);
    let two = [one.clone(), one.clone()].concat();
    let config = LogConfig { segment_bytes: 2 * one.len() as u64, ..LogConfig::default() };
    let mut is_rolled_at_the_end = false;
    for space in 0..6 * one.len() as u64 {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::with_space(space);
        let options = || OpenOptions {
            config: config.clone(),
            clean_shutdown: false,
            recovery_point: Offset::ZERO,
            log_start: Offset::ZERO,
        };
        let Ok((mut log, _)) = PartitionLog::open(&disk, folder.path(), options()) else { continue };
        let mut acknowledged = 0;
        if log.append(one.clone(), NOW).is_ok() {
            acknowledged += 1;
            // The first of them ends a segment, the second begins another.
            acknowledged += if log.append(two.clone().into(), NOW).is_ok() { 2 } else { 0 };
        }
        is_rolled_at_the_end |= acknowledged == 3;
        drop(log);
        let (log, _) = PartitionLog::open(&Disk::new(), folder.path(), options()).unwrap();
        assert_eq!(log.log_end(), Offset(acknowledged), "with room for {space} bytes");
    }
    assert!(is_rolled_at_the_end);
}

#[test]
fn records_without_timestamps_are_as_old_as_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let hour = std::time::Duration::from_secs(3600);
    let config = LogConfig { retention: Some(hour), ..LogConfig::default() };
    let mut log = open_with(&Disk::new(), folder.path(), config, false).0;
    append(&mut log, &[(-1, "key", Some("value"))]);
    log.raise_high_watermark(log.log_end());
    let now = Timestamp::from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    log.expire(now).unwrap();
    assert_eq!((log.log_start(), log.log_end()), (Offset(0), Offset(1)));
    log.expire(Timestamp(now.0 + Timestamp::from(2 * hour).0)).unwrap();
    assert_eq!((log.log_start(), log.log_end()), (Offset(1), Offset(1)));
}

#[test]
fn retention_of_no_bytes_keeps_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogConfig { retention_bytes: Some(0), ..LogConfig::default() };
    let mut log = open_with(&Disk::new(), folder.path(), config, false).0;
    append(&mut log, &[(1, "key", Some("value"))]);
    log.raise_high_watermark(log.log_end());
    log.expire(Timestamp(2)).unwrap();
    assert_eq!((log.log_start(), log.log_end()), (Offset(1), Offset(1)));
}

#[test]
fn retention_drops_old_segments_by_age_and_by_size() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = small_segments();
    config.retention = Some(Duration::from_millis(100));
    let mut log = open_with(&Disk::new(), folder.path(), config.clone(), false).0;
    fill(&mut log, 50);
    log.expire(Timestamp(400)).unwrap();
    let kept = read_all(&log, log.log_start());
    assert!(kept.len() < 50 && kept.iter().any(|record| record.0 == 30), "{}", kept.len());

    config.retention = None;
    config.retention_bytes = Some(600);
    log.set_config(config);
    log.expire(Timestamp(400)).unwrap();
    assert!(log.size() < 1200, "{}", log.size());
    assert_eq!(read_all(&log, log.log_start()).last().unwrap().0, 49);
}

#[test]
fn event_time_of_decades_ago_ages_against_the_newest_record_where_the_topic_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = small_segments();
    config.retention = Some(Duration::from_millis(100));
    config.retention_clock = RetentionClock::Records;
    let mut log = open_with(&Disk::new(), folder.path(), config.clone(), false).0;
    fill(&mut log, 50);
    let today = Timestamp(1_800_000_000_000);
    log.expire(today).unwrap();
    let oldest = read_all(&log, log.log_start())[0].0;
    assert!((20..=40).contains(&oldest), "{oldest}: what lies 100 ms behind the newest record stays");
    log.set_config(LogConfig { retention_clock: RetentionClock::Wall, ..config });
    log.expire(today).unwrap();
    assert_eq!(log.log_start(), log.log_end(), "as in Kafka");
}

fn compact(log: &mut PartitionLog, clean_to: Offset, now: Timestamp) -> Offset {
    let plan = log.plan_compaction(clean_to, now).unwrap();
    let asked = std::cell::Cell::new(0);
    let in_the_middle = || asked.replace(asked.get() + 1) == 1;
    assert!(matches!(
        Compactor::new(1 << 20).run(&plan, &in_the_middle, &mut |_| panic!("nothing is put in place")),
        Err(LogError::Interrupted)
    ));
    Compactor::new(1 << 20).run(&plan, &|| false, &mut |step| step(log)).unwrap()
}

fn compacted_config() -> LogConfig {
    LogConfig {
        cleanup: CleanupPolicy { delete: false, compact: true },
        delete_retention: Duration::from_millis(1000),
        min_dirty_ratio: 0.0,
        ..small_segments()
    }
}

#[test]
fn compaction_keeps_the_last_of_each_key_at_its_offset() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open_with(&Disk::new(), folder.path(), compacted_config(), false).0;
    for round in 0..20 {
        for key in ["a", "b", "c"] {
            append(&mut log, &[(round, key, Some(&format!("{key}{round}")))]);
        }
    }
    append(&mut log, &[(99, "b", None)]);
    log.roll().unwrap();
    let before = log.size();
    let reached = compact(&mut log, Offset::ZERO, Timestamp(0));
    assert_eq!(reached, log.log_end());
    assert!(log.size() < before / 3);
    let expected =
        vec![(57, "a".into(), Some("a19".into())), (59, "c".into(), Some("c19".into())), (60, "b".into(), None)];
    assert_eq!(read_all(&log, Offset::ZERO), expected);

    // The tombstone stays for its time, then goes; so it is after a restart.
    append(&mut log, &[(100, "d", Some("d"))]);
    log.roll().unwrap();
    let reached = compact(&mut log, reached, Timestamp(999));
    assert!(read_all(&log, Offset::ZERO).iter().any(|record| record.1 == "b"));
    drop(log);
    let mut log = open_with(&Disk::new(), folder.path(), compacted_config(), false).0;
    append(&mut log, &[(101, "e", Some("e"))]);
    log.roll().unwrap();
    compact(&mut log, reached, Timestamp(1001));
    assert!(!read_all(&log, Offset::ZERO).iter().any(|record| record.1 == "b"));
}

#[test]
fn a_record_without_a_key_cannot_go_to_a_compacted_topic() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open_with(&Disk::new(), folder.path(), compacted_config(), false).0;
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(Timestamp(0), None, Some(b"v"), &Headers::EMPTY);
    assert!(
        matches!(log.append(builder.finish().unwrap(), NOW), Err(LogError::KeysRequired { records }) if records == [0])
    );
}

#[test]
fn truncating_and_deleting_move_the_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    fill(&mut log, 30);
    log.truncate_to(Offset(17)).unwrap();
    assert_eq!((log.log_end(), log.high_watermark()), (Offset(17), Offset(17)));
    log.delete_before(Offset(9)).unwrap();
    assert_eq!(log.log_start(), Offset(9));
    let offsets: Vec<i64> = read_all(&log, Offset(9)).iter().map(|record| record.0).collect();
    assert_eq!(offsets, (9..17).collect::<Vec<_>>());
}

#[test]
fn a_segment_is_closed_by_age() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogConfig { segment_age: Duration::from_millis(100), ..LogConfig::default() };
    let mut log = open_with(&Disk::new(), folder.path(), config, false).0;
    for (time, segments) in [(1000, 1), (1100, 1), (1101, 2), (1150, 2), (900, 2), (1202, 3)] {
        append(&mut log, &[(time, "k", Some("v"))]);
        let logs = std::fs::read_dir(folder.path())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "log"));
        assert_eq!(logs.count(), segments, "after {time}");
    }
}

#[test]
fn the_brokers_time_takes_the_place_of_the_records_own() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogConfig { timestamp_type: TimestampType::LogAppendTime, ..LogConfig::default() };
    let mut log = open_with(&Disk::new(), folder.path(), config, false).0;
    let appended = log.append(batch(&[(5, "a", Some("x")), (9, "b", Some("y"))]), NOW).unwrap();
    assert_eq!(appended.append_time, Some(NOW));
    log.raise_high_watermark(appended.next);
    let read = log.read(Offset(0), LIMIT).unwrap();
    let batch = Batch::parse(&read).unwrap();
    batch.check_crc().unwrap();
    let times: Vec<_> = batch.records(LIMIT).unwrap().iter().map(|record| record.unwrap().timestamp).collect();
    assert_eq!((batch.max_timestamp(), times), (NOW, vec![NOW, NOW]));
}

/// What a compaction leaves that is killed between two of its steps: the new file under a name of its own, then under that
/// of a swap, with the old segment and its indexes still there or not.
#[test]
fn a_compaction_killed_at_any_step_is_put_right() {
    for step in ["cleaned", "swap", "swap without indexes", "swap without the old segment"] {
        let folder = tempfile::tempdir().unwrap();
        let mut log = open_with(&Disk::new(), folder.path(), compacted_config(), false).0;
        for n in 0..40 {
            append(&mut log, &[(n, &format!("k{}", n % 3), Some("a value of some length"))]);
        }
        let before = read_all(&log, Offset(0));
        let old = folder.path().join("00000000000000000000.log");
        let old_bytes = std::fs::read(&old).unwrap();
        drop(log);
        // A run in a copy says what the new file holds.
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
        let mut compacted = open_with(&Disk::new(), copy.path(), compacted_config(), false).0;
        compact(&mut compacted, Offset(0), NOW);
        let new_bytes = std::fs::read(copy.path().join("00000000000000000000.log")).unwrap();
        assert!(new_bytes.len() < old_bytes.len());

        let name = if step == "cleaned" { "00000000000000000000.log.cleaned" } else { "00000000000000000000.log.swap" };
        std::fs::write(folder.path().join(name), &new_bytes).unwrap();
        if step.contains("without") {
            std::fs::remove_file(folder.path().join("00000000000000000000.index")).unwrap();
            std::fs::remove_file(folder.path().join("00000000000000000000.timeindex")).unwrap();
        }
        if step.ends_with("segment") {
            std::fs::remove_file(&old).unwrap();
        }
        let log = open_with(&Disk::new(), folder.path(), compacted_config(), false).0;
        assert!(!folder.path().join(name).exists(), "{step}");
        let after = read_all(&log, Offset(0));
        let last = |records: &[(i64, String, Option<String>)]| -> std::collections::BTreeMap<String, i64> {
            records.iter().map(|(offset, key, _)| (key.clone(), *offset)).collect()
        };
        assert_eq!(last(&after), last(&before), "{step}");
        let expected = if step == "cleaned" { old_bytes } else { new_bytes };
        assert_eq!(std::fs::read(&old).unwrap(), expected, "{step}");
    }
}

#[test]
fn the_first_append_notes_the_leader_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    let checkpoint = folder.path().join("leader-epoch-checkpoint");
    assert!(!checkpoint.exists());
    append(&mut log, &[(1, "k", Some("v"))]);
    assert_eq!(std::fs::read_to_string(&checkpoint).unwrap(), "0\n1\n0 0\n");
    drop(log);
    assert_eq!(open(folder.path()).leader_epoch(), 0);
    // One that a kill cut short.
    std::fs::write(&checkpoint, "0\n1").unwrap();
    append(&mut open(folder.path()), &[(1, "k", Some("v"))]);
    assert_eq!(std::fs::read_to_string(&checkpoint).unwrap(), "0\n1\n0 1\n");
}

#[cfg(target_os = "linux")]
#[test]
fn a_segment_holds_one_file_open() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    fill(&mut log, 60);
    let logs = std::fs::read_dir(folder.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "log"));
    let segments = logs.count();
    assert!(segments > 10);
    let open_files = || {
        let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        files.filter(|file| std::fs::read_link(file.path()).is_ok_and(|path| path.starts_with(folder.path()))).count()
    };
    assert_eq!(open_files(), segments);
    drop(log);
    let log = open(folder.path());
    assert_eq!(open_files(), segments);
    assert_eq!(read_all(&log, Offset(0)).len(), 60);
}

#[test]
fn batches_are_packed_as_the_topic_says() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogConfig { compression: Some(Compression::Zstd), ..LogConfig::default() };
    let (mut log, _) = open_with(&Disk::new(), folder.path(), config, false);
    append(&mut log, &[(1, "a", Some("x")), (5, "b", None)]);
    log.set_config(LogConfig { compression: Some(Compression::None), ..LogConfig::default() });
    let packed = Batch::parse(&log.read(Offset(0), LIMIT).unwrap()).unwrap();
    log.append(packed.bytes().clone(), NOW).unwrap();
    log.raise_high_watermark(Offset(4));
    let codecs = [Offset(0), Offset(2)].map(|at| Batch::parse(&log.read(at, LIMIT).unwrap()).unwrap().compression());
    assert!(matches!(codecs, [Ok(Compression::Zstd), Ok(Compression::None)]), "{codecs:?}");
    let keys: Vec<_> = read_all(&log, Offset(0)).into_iter().map(|(at, key, _)| (at, key)).collect();
    assert_eq!(keys, [(0, "a"), (1, "b"), (2, "a"), (3, "b")].map(|(at, key)| (at, key.to_owned())));
}

#[test]
fn what_is_old_is_compacted_however_little_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let lag = Duration::from_millis(1000);
    let config = LogConfig { min_dirty_ratio: 1.0, max_compaction_lag: Some(lag), ..compacted_config() };
    let (mut log, _) = open_with(&Disk::new(), folder.path(), config, false);
    append(&mut log, &[(0, "a", Some("old"))]);
    log.roll().unwrap();
    let clean_to = compact(&mut log, Offset::ZERO, Timestamp(0));
    append(&mut log, &[(100, "a", Some("new"))]);
    log.roll().unwrap();
    assert!(log.plan_compaction(clean_to, Timestamp(1100)).is_none());
    assert!(log.plan_compaction(clean_to, Timestamp(1101)).is_some());
}

#[test]
fn timestamps_have_bounds() {
    let config = LogConfig { timestamp_before: Some(Duration::from_millis(10)), ..LogConfig::default() };
    let allows = |timestamp| config.allows_timestamp(Timestamp(timestamp), Timestamp(1000));
    assert!(allows(990) && allows(1000) && allows(3_601_000) && allows(-1));
    assert!(!allows(989) && !allows(3_601_001));
}

#[test]
fn a_segment_that_cannot_be_begun_stops_the_log_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogConfig { retention: Some(Duration::from_secs(1)), ..LogConfig::default() };
    let mut log = open_with(&Disk::new(), folder.path(), config.clone(), false).0;
    append(&mut log, &[(1, "a", Some("1")), (2, "b", Some("2")), (3, "c", Some("3"))]);
    let block = folder.path().join("00000000000000000003.index");
    std::fs::create_dir(&block).unwrap();
    log.expire(Timestamp(100_000)).unwrap_err();
    std::fs::remove_dir(&block).unwrap();
    assert!(!folder.path().join("00000000000000000003.log").exists());
    assert!(matches!(log.append(batch(&[(4, "d", Some("4"))]), NOW), Err(LogError::Stopped { .. })));
    drop(log);
    // One of an earlier version went on.
    let mut log = open_with(&Disk::new(), folder.path(), config.clone(), false).0;
    append(&mut log, &[(4, "d", Some("4"))]);
    drop(log);
    std::fs::write(folder.path().join("00000000000000000003.log"), b"").unwrap();
    let log = open_with(&Disk::new(), folder.path(), config, false).0;
    assert_eq!(log.log_end(), Offset(4));
    assert_eq!(read_all(&log, Offset::ZERO).len(), 4);
}

#[test]
fn a_batch_that_is_too_large_once_it_is_packed_anew_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogConfig { max_message_bytes: 2000, compression: Some(Compression::None), ..LogConfig::default() };
    let mut log = open_with(&Disk::new(), folder.path(), config, false).0;
    let mut builder = BatchBuilder::new(Compression::Gzip);
    builder.push(NOW, Some(b"k"), Some(&[0; 10_000]), &Headers::EMPTY);
    let refused = log.append(builder.finish().unwrap(), NOW).unwrap_err();
    assert!(matches!(refused, LogError::BatchTooLarge { limit: 2000, .. }), "{refused}");
    assert_eq!(log.log_end(), Offset::ZERO);
}

#[test]
fn a_log_of_few_keys_has_few_segments_however_long_it_is_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open_with(&Disk::new(), folder.path(), compacted_config(), false).0;
    let mut clean_to = Offset::ZERO;
    for round in 0..5 {
        for number in 0..50 {
            append(&mut log, &[(100 * round + number, "key", Some("a value of some length"))]);
        }
        let plan = log.plan_compaction(clean_to, NOW).unwrap();
        clean_to = Compactor::new(1 << 20).run(&plan, &|| false, &mut |step| step(&mut log)).unwrap();
        let files = Disk::new().list(folder.path()).unwrap().into_iter();
        let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log")).count();
        // Those of this round, each as large as may be before, and what has become of all the others.
        assert!(logs <= 20, "{logs} after round {round}");
        let read = read_all(&log, Offset::ZERO);
        assert_eq!(read.last().unwrap().0, 50 * (round + 1) - 1);
        assert_eq!(read_all(&log, Offset(25)), read);
    }
}

#[test]
fn records_without_timestamps_get_no_younger_by_compaction() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogConfig { cleanup: CleanupPolicy { delete: true, compact: true }, ..compacted_config() };
    let mut log = open_with(&Disk::new(), folder.path(), config, false).0;
    append(&mut log, &[(-1, "key", Some("value"))]);
    log.roll().unwrap();
    let file = folder.path().join("00000000000000000000.log");
    let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    std::fs::File::options().write(true).open(&file).unwrap().set_modified(old).unwrap();
    let plan = log.plan_compaction(Offset::ZERO, NOW).unwrap();
    Compactor::new(1 << 20).run(&plan, &|| false, &mut |step| step(&mut log)).unwrap();
    assert_eq!(file.metadata().unwrap().modified().unwrap(), old);
}
