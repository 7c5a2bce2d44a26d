//! A segment of any bytes is opened after a crash, or refused: what stays reads back, and opening it again changes nothing.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidewater_env::Disk;
use tidewater_log::{LogConfig, OpenOptions, PartitionLog};
use tidewater_protocol::Batch;
use tidewater_types::Offset;

const READ_BYTES: usize = 1 << 20;

fn open(folder: &std::path::Path) -> Option<PartitionLog> {
    let options =
        OpenOptions { config: LogConfig::default(), clean_shutdown: false, recovery_point: Offset::ZERO, log_start: Offset::ZERO };
    PartitionLog::open(&Disk::new(), folder, options).ok().map(|(log, _)| log)
}

fn contents(log: &PartitionLog) -> Vec<Bytes> {
    let (mut next, mut all) = (log.log_start(), Vec::new());
    while next < log.log_end() {
        let chunk = log.read(next, READ_BYTES).expect("what recovery kept reads back");
        let batch = Batch::parse(&chunk).expect("what recovery kept is a batch");
        batch.check_crc().expect("what recovery kept is whole");
        assert!(batch.next_offset() > next, "reading goes on");
        next = batch.next_offset();
        all.push(chunk.slice(..batch.len()));
    }
    all
}

fuzz_target!(|input: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    let segment = folder.path().join("00000000000000000000.log");
    std::fs::write(&segment, input).expect("a file");
    let Some(log) = open(folder.path()) else { return };
    let (end, kept) = (log.log_end(), contents(&log));
    drop(log);
    let again = open(folder.path()).expect("what was opened once opens again");
    assert_eq!((again.log_end(), contents(&again)), (end, kept));
});
