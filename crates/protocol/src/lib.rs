//! The Kafka wire, without I/O: record batches as they stand on disk and in requests, and the messages around them.
//!
//! A batch is written once, in place, by a [`BatchBuilder`], and then travels as shared `Bytes` from the producer to the
//! file and from the file to the consumer; a [`Batch`] is a view on those bytes.
//!
//! ```
//! use tidewater_protocol::{Batch, BatchBuilder, Compression, RecordData};
//! use tidewater_types::{Headers, Timestamp};
//!
//! let mut builder = BatchBuilder::new(Compression::None);
//! builder.push(Timestamp(1_000), Some(b"key"), Some(b"value"), &Headers::EMPTY);
//! let bytes = builder.finish().unwrap();
//!
//! let batch = Batch::parse(&bytes).unwrap();
//! batch.check_crc().unwrap();
//! let records = batch.records(1 << 20).unwrap();
//! let record: RecordData<'_> = records.iter().next().unwrap().unwrap();
//! assert_eq!(record.value, Some(&b"value"[..]));
//! ```

mod batch;
mod compression;
mod door;
mod frame;
mod lz4;
pub mod messages;
mod requests;
mod shape;
mod varint;

/// The most that a packed batch may unpack to, in bytes: a guard against batches made to fill memory.
pub const UNPACK_LIMIT_BYTES: usize = 64 << 20;

pub use batch::{
    Batch, BatchBuilder, BatchError, ControlKind, HEADER_LENGTH, MAX_RECORDS_PER_BATCH, NO_PRODUCER_ID, NO_SEQUENCE,
    ProducerStamp, RecordData, RecordIter, Records, RecordsSeen, TransactionEnd, batch_length, control_batch,
    patch_append_time, patch_base_offset, patch_leader_epoch, record_bytes,
};
pub use compression::{Compression, CompressionError};
pub use door::{Caller, Door, Principal, RequestContext, Wake};
pub use frame::{
    Body, FrameError, LENGTH_BYTES, Part, RequestHead, read_request, write_fetch_response, write_response,
};
pub use kafka_protocol::ResponseError;
pub use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
pub use requests::{ApiKey, Request, Response, supported_versions};
