//! Any bytes are a request, or an error: decoded within memory that follows from their number, and never a panic.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidewater_protocol::read_request;

fuzz_target!(|input: &[u8]| {
    let _ = read_request(Bytes::copy_from_slice(input));
});
