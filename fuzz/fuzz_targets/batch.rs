//! Any bytes are a batch, or an error: read, unpacked within the limit, and never a panic. What is checked piece by piece is what is read.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidewater_protocol::{Batch, HEADER_LENGTH, batch_length};

const UNPACK_LIMIT_BYTES: usize = 1 << 20;

fuzz_target!(|input: &[u8]| {
    let input = Bytes::copy_from_slice(input);
    if let Ok(length) = batch_length(&input) {
        assert!(length >= HEADER_LENGTH);
    }
    let Ok(batch) = Batch::parse(&input) else { return };
    let _ = batch.check_crc();
    let is_readable = is_readable(&batch);
    assert_eq!(batch.check_records(UNPACK_LIMIT_BYTES).is_ok(), is_readable);
    if is_readable && batch.record_count() > 0 {
        let rebuilt = batch.renumbered().expect("records that can be read can be written");
        let rebuilt = Batch::parse(&rebuilt).expect("a batch of our own");
        let seen = rebuilt.check_records(2 * UNPACK_LIMIT_BYTES).expect("records of our own");
        assert!(seen.is_sequential);
    }
});

fn is_readable(batch: &Batch) -> bool {
    let Ok(records) = batch.records(UNPACK_LIMIT_BYTES) else { return false };
    records.iter().all(|record| {
        record.is_ok_and(|record| {
            for header in record.headers().iter() {
                let _ = (&header.name, &header.value);
            }
            true
        })
    })
}
