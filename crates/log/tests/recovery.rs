//! What comes back of one partition after a kill, a power cut or damage, and what is refused rather than cut.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test damages files behind the log's back")]

mod small_log;

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use small_log::{ALL, append, fill, open, open_with, options, read_all, small_segments};
use tidewater_env::Disk;
use tidewater_log::{LogConfig, LogError, OpenOptions, PartitionLog, Recovered};
use tidewater_types::{Offset, Timestamp};

#[test]
fn a_torn_tail_is_cut_and_the_log_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, torn) = {
        let mut log = open_with(&Disk::new(), folder.path(), LogConfig::default(), false).0;
        append(&mut log, &[(1, "a", Some("1")), (2, "b", Some("2"))]);
        let whole = log.size();
        append(&mut log, &[(3, "c", Some("3"))]);
        (whole, log.size())
    };
    let path = folder.path().join("00000000000000000000.log");
    let bytes = std::fs::read(&path).unwrap();
    for length in whole..torn {
        std::fs::write(&path, &bytes[..length as usize]).unwrap();
        let (mut log, recovered) = open_with(&Disk::new(), folder.path(), LogConfig::default(), false);
        assert_eq!(log.log_end(), Offset(2));
        assert_eq!(recovered.cut_bytes, length - whole);
        assert_eq!(append(&mut log, &[(9, "d", Some("4"))]), Offset(2));
        assert_eq!(read_all(&log, Offset(0)).len(), 3);
        std::fs::write(&path, &bytes).unwrap();
    }
}

#[test]
fn a_clean_shutdown_needs_no_scan() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    fill(&mut log, 20);
    log.close().unwrap();
    drop(log);
    let (log, recovered) = open_with(&Disk::new(), folder.path(), small_segments(), true);
    assert_eq!(recovered, Recovered::default());
    assert_eq!(read_all(&log, Offset(0)).len(), 20);
    assert_eq!(log.find_by_time(Timestamp(100), ALL).unwrap().unwrap().offset, Offset(10));
}

#[test]
fn a_foreign_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("holiday.jpg"), b"x").unwrap();
    let options = options(LogConfig::default(), false, Offset::ZERO);
    let error = PartitionLog::open(&Disk::new(), folder.path(), options).unwrap_err();
    assert!(error.to_string().contains("holiday.jpg"), "{error}");
}

#[test]
fn a_segment_damaged_in_the_middle_is_not_taken_for_a_torn_tail() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    fill(&mut log, 30);
    drop(log);
    let path = folder.path().join("00000000000000000000.log");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[80] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    // However often it is tried, with whatever mark, nothing is cut: the first two records were on disk.
    for (clean_shutdown, recovery_point) in [(false, Offset(2)), (true, Offset::ZERO), (false, Offset(3))] {
        let options = options(small_segments(), clean_shutdown, recovery_point);
        let opened = PartitionLog::open(&Disk::new(), folder.path(), options);
        if !clean_shutdown {
            assert!(matches!(opened.unwrap_err(), LogError::Damaged { .. }));
        }
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn what_is_durable_of_the_last_segment_is_not_taken_for_a_torn_tail() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open_with(&Disk::new(), folder.path(), LogConfig::default(), false).0;
    let sizes: Vec<usize> = (0..3)
        .map(|at| {
            append(&mut log, &[(at, "key", Some("value"))]);
            log.size() as usize
        })
        .collect();
    drop(log);
    let path = folder.path().join("00000000000000000000.log");
    let whole = std::fs::read(&path).unwrap()[..sizes[2]].to_vec();
    let open_damaged = |at: usize, recovery_point: Offset| {
        let mut bytes = whole.clone();
        bytes[at - 1] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let config = LogConfig::default();
        let options = options(config, false, recovery_point);
        let opened = PartitionLog::open(&Disk::new(), folder.path(), options);
        if opened.is_err() {
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
        opened.map(|(log, _)| log.log_end())
    };
    for (at, recovery_point, end) in [
        (sizes[0], Offset(0), Some(Offset(0))),
        (sizes[0], Offset(1), None),
        (sizes[1], Offset(1), Some(Offset(1))),
        (sizes[1], Offset(2), None),
        (sizes[1], OpenOptions::ALL_DURABLE, None),
        // A length, or a magic number, from which nobody finds the next batch.
        (sizes[0] + 10, OpenOptions::ALL_DURABLE, None),
        (sizes[0] + 17, OpenOptions::ALL_DURABLE, None),
        // The last write is torn where the power was cut.
        (sizes[2], OpenOptions::ALL_DURABLE, Some(Offset(2))),
        (sizes[1] + 10, OpenOptions::ALL_DURABLE, Some(Offset(2))),
        (sizes[2], OpenOptions::WHOLE, None),
        (sizes[2], Offset(3), None),
    ] {
        let opened = open_damaged(at, recovery_point);
        match end {
            Some(end) => assert_eq!(opened.unwrap(), end),
            None => assert!(matches!(opened.unwrap_err(), LogError::Damaged { .. }), "{at} {recovery_point:?}"),
        }
    }
}

#[test]
fn a_power_cut_that_tears_segments_behind_the_recovery_point_costs_what_is_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    fill(&mut log, 30);
    drop(log);
    let logs = || {
        let files = Disk::new().list(folder.path()).unwrap().into_iter();
        files.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect::<Vec<_>>()
    };
    let total = |logs: &[PathBuf]| logs.iter().map(|path| path.metadata().unwrap().len()).sum::<u64>();
    let (files, before) = (logs(), total(&logs()));
    assert!(files.len() > 3);
    // Pages of the second segment never reached the disk, those of later ones did.
    let torn = files[1].clone();
    let base: i64 = torn.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let mut bytes = std::fs::read(&torn).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0);
    std::fs::write(&torn, &bytes).unwrap();
    let open = || {
        let options = options(small_segments(), false, Offset(base));
        PartitionLog::open(&Disk::new(), folder.path(), options).unwrap()
    };
    let (mut log, recovered) = open();
    let end = log.log_end();
    assert!(end >= Offset(base) && end < Offset(30), "{end:?}");
    assert_eq!(logs(), files[..2]);
    assert_eq!(recovered.cut_bytes, before - total(&logs()));
    log.raise_high_watermark(end);
    assert_eq!(read_all(&log, Offset::ZERO).len() as i64, end.0);
    assert_eq!(append(&mut log, &[(9, "d", Some("4"))]), end);
    drop(log);
    assert_eq!(open().0.log_end(), end.next());
}

#[test]
fn after_a_clean_close_a_cut_or_foreign_segment_is_an_error_each_time() {
    let open_closed = |folder: &Path| {
        let options = options(small_segments(), true, Offset::ZERO);
        PartitionLog::open(&Disk::new(), folder, options)
    };
    let last_segment = |folder: &Path| {
        let mut segments = Disk::new().list(folder).unwrap().into_iter();
        segments.rfind(|path| path.extension().is_some_and(|extension| extension == "log")).unwrap()
    };
    for change in [|bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 7), |bytes: &mut Vec<u8>| bytes[16] = 3] {
        let folder = tempfile::tempdir().unwrap();
        let mut log = open(folder.path());
        fill(&mut log, 30);
        log.close().unwrap();
        drop(log);
        let path = last_segment(folder.path());
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        for _ in 0..2 {
            let error = open_closed(folder.path()).unwrap_err();
            assert!(matches!(&error, LogError::Damaged { path: named, .. } if *named == path), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
    }
}

#[test]
fn a_missing_or_misleading_index_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    fill(&mut log, 30);
    log.close().unwrap();
    drop(log);
    let index = folder.path().join("00000000000000000000.index");
    let good = std::fs::read(&index).unwrap();
    assert!(!good.is_empty());
    let mut misleading = good.clone();
    *misleading.last_mut().unwrap() += 1;
    for bad in [None, Some(misleading)] {
        match bad {
            None => std::fs::remove_file(&index).unwrap(),
            Some(bytes) => std::fs::write(&index, bytes).unwrap(),
        }
        let (log, _) = open_with(&Disk::new(), folder.path(), small_segments(), true);
        assert_eq!(std::fs::read(&index).unwrap(), good);
        assert_eq!(read_all(&log, Offset::ZERO).len(), 30);
    }
}

#[test]
fn a_closed_segment_that_a_power_cut_has_emptied_ends_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    fill(&mut log, 30);
    drop(log);
    let files = Disk::new().list(folder.path()).unwrap().into_iter();
    let logs: Vec<_> = files.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect();
    let base: i64 = logs[2].file_stem().unwrap().to_str().unwrap().parse().unwrap();
    std::fs::write(&logs[2], b"").unwrap();
    let mut log = open(folder.path());
    assert_eq!(log.log_end(), Offset(base));
    assert_eq!(append(&mut log, &[(9, "d", Some("4"))]), Offset(base));
    assert_eq!(read_all(&log, Offset::ZERO).len() as i64, base + 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is appended, however the log is cut into segments and wherever it was killed: a whole prefix comes back.
    #[test]
    fn a_crash_keeps_a_whole_prefix(sizes in proptest::collection::vec(1usize..6, 1..25), cut in 0.0f64..1.0) {
        let folder = tempfile::tempdir().unwrap();
        let mut log = open(folder.path());
        let mut expected = Vec::new();
        for (n, &size) in sizes.iter().enumerate() {
            let keys: Vec<String> = (0..size).map(|record| format!("{n}-{record}")).collect();
            let records: Vec<_> = keys.iter().map(|key| (n as i64, key.as_str(), Some("v"))).collect();
            append(&mut log, &records);
            expected.extend(keys);
        }
        drop(log);
        let mut logs: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect();
        logs.sort();
        let last = logs.last().unwrap();
        let bytes = std::fs::read(last).unwrap();
        std::fs::write(last, &bytes[..(bytes.len() as f64 * cut) as usize]).unwrap();

        let log = open(folder.path());
        let keys: Vec<String> = read_all(&log, Offset::ZERO).into_iter().map(|record| record.1).collect();
        prop_assert_eq!(&keys[..], &expected[..keys.len()]);
        prop_assert_eq!(keys.len() as i64, log.log_end().0);
    }
}
