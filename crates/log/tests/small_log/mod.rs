//! A partition with segments of a few records, and records of texts.

#![allow(dead_code, clippy::unwrap_used, reason = "each of the tests uses a part of it")]

use std::path::Path;

use bytes::Bytes;
use tidewater_env::Disk;
use tidewater_log::{Isolation, LogConfig, OpenOptions, PartitionLog, Recovered};
use tidewater_protocol::{Batch, BatchBuilder, Compression};
use tidewater_types::{Headers, Offset, Timestamp};

pub const ALL: Isolation = Isolation::ReadUncommitted;
pub const LIMIT: usize = 1 << 20;
pub const NOW: Timestamp = Timestamp(1_000_000);

pub fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 400, index_interval_bytes: 64, ..LogConfig::default() }
}

pub fn options(config: LogConfig, clean_shutdown: bool, recovery_point: Offset) -> OpenOptions {
    OpenOptions { config, clean_shutdown, recovery_point, log_start: Offset::ZERO }
}

pub fn open_with(disk: &Disk, folder: &Path, config: LogConfig, clean: bool) -> (PartitionLog, Recovered) {
    PartitionLog::open(disk, folder, options(config, clean, Offset::ZERO)).unwrap()
}

pub fn open(folder: &Path) -> PartitionLog {
    open_with(&Disk::new(), folder, small_segments(), false).0
}

pub fn batch(records: &[(i64, &str, Option<&str>)]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for (timestamp, key, value) in records {
        let value = value.map(str::as_bytes);
        builder.push(Timestamp(*timestamp), Some(key.as_bytes()), value, &Headers::EMPTY);
    }
    builder.finish().unwrap()
}

pub fn append(log: &mut PartitionLog, records: &[(i64, &str, Option<&str>)]) -> Offset {
    let appended = log.append(batch(records), NOW).unwrap();
    log.raise_high_watermark(appended.next);
    appended.first
}

/// All records from an offset on, as offset, key, value.
pub fn read_all(log: &PartitionLog, from: Offset) -> Vec<(i64, String, Option<String>)> {
    let mut found = Vec::new();
    let mut next = from;
    while next < log.high_watermark() {
        let mut chunk = log.read(next, 200).unwrap();
        assert!(!chunk.is_empty(), "at {next}");
        while !chunk.is_empty() {
            let batch = Batch::parse(&chunk).unwrap();
            batch.check_crc().unwrap();
            for record in batch.records(LIMIT).unwrap().iter() {
                let record = record.unwrap();
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                if record.offset >= from {
                    found.push((record.offset.0, text(record.key.unwrap()), record.value.map(text)));
                }
            }
            next = batch.next_offset();
            chunk = chunk.slice(batch.len()..);
        }
    }
    found
}

pub fn fill(log: &mut PartitionLog, count: i64) {
    for n in 0..count {
        append(log, &[(n * 10, &format!("k{n}"), Some("a value of some length"))]);
    }
}
