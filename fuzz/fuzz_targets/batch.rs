//! Any bytes are a batch, or an error: read, unpacked within the limit, and never a panic.

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
    let Ok(records) = batch.records(UNPACK_LIMIT_BYTES) else { return };
    for record in records.iter() {
        let Ok(record) = record else { return };
        for header in record.headers().iter() {
            let _ = (&header.name, &header.value);
        }
    }
});
