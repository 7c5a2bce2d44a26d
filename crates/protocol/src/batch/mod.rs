//! Record batches, format version 2: the unit of storage, of transfer and of checking.
//!
//! All numbers are big-endian; the CRC (Castagnoli) covers everything from the attributes to the end.
//!
//! | at | length | field |
//! |---|---|---|
//! | 0 | 8 | base offset |
//! | 8 | 4 | length of what follows this field |
//! | 12 | 4 | partition leader epoch |
//! | 16 | 1 | magic, 2 |
//! | 17 | 4 | CRC |
//! | 21 | 2 | attributes: bits 0-2 codec, 3 LogAppendTime, 4 transactional, 5 control, 6 delete horizon |
//! | 23 | 4 | last offset delta |
//! | 27 | 8 | base timestamp |
//! | 35 | 8 | max timestamp |
//! | 43 | 8 | producer id |
//! | 51 | 2 | producer epoch |
//! | 53 | 4 | base sequence |
//! | 57 | 4 | record count |
//! | 61 | | records, packed as one if a codec is set |
//!
//! Source: the message format page of Apache Kafka's documentation.

mod builder;
mod records;
#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};
use thiserror::Error;
use tidewater_types::{Offset, Timestamp};

pub use builder::{BatchBuilder, ControlKind, ProducerStamp, TransactionEnd, control_batch, record_bytes};
use records::RecordCheck;
pub use records::{RecordData, RecordIter, Records, RecordsSeen};

use crate::{Compression, CompressionError};

/// Bytes of a batch before its records.
pub const HEADER_LENGTH: usize = 61;
/// Bytes of a batch up to and with its length field.
const LENGTH_PREFIX: usize = 12;
/// The producer id of a batch that no idempotent producer wrote.
pub const NO_PRODUCER_ID: i64 = -1;
/// The base sequence of a batch that no idempotent producer wrote.
pub const NO_SEQUENCE: i32 = -1;
/// The most records that one batch may claim; the length of a record is at least 7 bytes.
pub const MAX_RECORDS_PER_BATCH: usize = i32::MAX as usize / 7;

const ATTRIBUTES_AT: usize = 21;
const CRC_AT: usize = 17;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
const DELETE_HORIZON: i16 = 1 << 6;

/// Why bytes are no batch, or a batch cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("the batch is cut: {have} bytes of {need}")]
    Cut {
        /// Bytes at hand.
        have: usize,
        /// Bytes that the batch claims.
        need: usize,
    },
    /// The length field cannot be right.
    #[error("the batch claims a length of {0} bytes, less than a batch header")]
    BadLength(i32),
    /// Another record format than version 2.
    #[error("the batch has magic {0}; only version 2 is read (versions 0 and 1 ended with Kafka 4.0)")]
    BadMagic(i8),
    /// The bytes were changed since they were written.
    #[error("the batch at offset {offset} is damaged: its CRC is {stored:#010x}, its bytes give {computed:#010x}")]
    BadCrc {
        /// Base offset of the batch.
        offset: i64,
        /// The CRC in the header.
        stored: u32,
        /// The CRC of the bytes.
        computed: u32,
    },
    /// The records do not fit the header, or are themselves cut.
    #[error("the batch at offset {offset} has invalid records: {what}")]
    BadRecords {
        /// Base offset of the batch.
        offset: i64,
        /// What is wrong.
        what: &'static str,
    },
    /// The packed records cannot be unpacked.
    #[error(transparent)]
    Compression(#[from] CompressionError),
}

/// A view on one whole batch. Parsing checks its length and magic only; [`Batch::check_crc`] is a step of its own.
#[derive(Clone, Debug)]
pub struct Batch {
    bytes: Bytes,
    base: Offset,
}

/// The length of the batch that begins `bytes`, if its length field is there and can be right.
pub fn batch_length(bytes: &[u8]) -> Result<usize, BatchError> {
    let field = bytes.get(8..LENGTH_PREFIX).ok_or(BatchError::Cut { have: bytes.len(), need: HEADER_LENGTH })?;
    let claimed = i32::from_be_bytes([field[0], field[1], field[2], field[3]]);
    match usize::try_from(claimed) {
        Ok(length) if length >= HEADER_LENGTH - LENGTH_PREFIX => Ok(LENGTH_PREFIX + length),
        _ => Err(BatchError::BadLength(claimed)),
    }
}

macro_rules! field {
    ($bytes:expr, $type:ty, $at:expr) => {{
        const SIZE: usize = size_of::<$type>();
        let mut raw = [0; SIZE];
        raw.copy_from_slice(&$bytes[$at..$at + SIZE]);
        <$type>::from_be_bytes(raw)
    }};
}

impl Batch {
    /// The batch at the front of `bytes`; what stands behind it is left alone.
    ///
    /// # Errors
    /// When the bytes are cut, the length is impossible, or the format is not version 2.
    pub fn parse(bytes: &Bytes) -> Result<Self, BatchError> {
        let length = batch_length(bytes)?;
        if bytes.len() < length {
            return Err(BatchError::Cut { have: bytes.len(), need: length });
        }
        let magic = bytes[16] as i8;
        if magic != 2 {
            return Err(BatchError::BadMagic(magic));
        }
        Ok(Batch { base: Offset(field!(bytes, i64, 0)), bytes: bytes.slice(..length) })
    }

    /// The same batch from another offset on. Its bytes stay as they are, and may be shared: see [`Batch::header`].
    pub fn moved_to(self, base: Offset) -> Self {
        Batch { base, ..self }
    }

    /// The header with the batch's offset, and the epoch of the leader that writes it: with the bytes behind the header, that is how it
    /// stands in a log. Neither is covered by the CRC.
    pub fn header(&self, leader_epoch: i32) -> [u8; HEADER_LENGTH] {
        let mut header = [0; HEADER_LENGTH];
        header.copy_from_slice(&self.bytes[..HEADER_LENGTH]);
        patch_base_offset(&mut header, self.base);
        patch_leader_epoch(&mut header, leader_epoch);
        header
    }

    /// The batch's bytes, with the offset that they had when they were parsed.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Length in bytes, header included.
    #[allow(clippy::len_without_is_empty, reason = "a batch has at least its header")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Offset of the first record that the producer put in (compaction may have removed it).
    pub fn base_offset(&self) -> Offset {
        self.base
    }

    /// Offset of the last record that the producer put in.
    pub fn last_offset(&self) -> Offset {
        Offset(self.base_offset().0.wrapping_add(i64::from(self.last_offset_delta())))
    }

    /// Offset behind this batch.
    pub fn next_offset(&self) -> Offset {
        self.last_offset().next()
    }

    /// Distance from the base offset to the last one.
    pub fn last_offset_delta(&self) -> i32 {
        field!(self.bytes, i32, 23)
    }

    /// The epoch of the leader that appended the batch.
    pub fn leader_epoch(&self) -> i32 {
        field!(self.bytes, i32, 12)
    }

    fn attributes(&self) -> i16 {
        field!(self.bytes, i16, ATTRIBUTES_AT)
    }

    /// How the records are packed.
    pub fn compression(&self) -> Result<Compression, CompressionError> {
        Compression::from_id((self.attributes() & 0x07) as u8)
    }

    /// Whether the broker set the timestamps, not the producer.
    pub fn is_log_append_time(&self) -> bool {
        self.attributes() & LOG_APPEND_TIME != 0
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL != 0
    }

    /// Whether the batch holds a transaction marker, not records of a producer.
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL != 0
    }

    /// What a control batch says of its producer's transaction; `None` for other batches, and for one that compaction has emptied.
    pub fn transaction_end(&self) -> Option<TransactionEnd> {
        if !self.is_control() {
            return None;
        }
        let records = self.records(HEADER_LENGTH).ok()?;
        let record = records.iter().next()?.ok()?;
        TransactionEnd::read(record.key?, record.value?)
    }

    /// When compaction may drop this batch's tombstones, if it has decided that.
    pub fn delete_horizon(&self) -> Option<Timestamp> {
        (self.attributes() & DELETE_HORIZON != 0).then(|| self.base_timestamp())
    }

    /// The timestamp that the records' deltas count from.
    pub fn base_timestamp(&self) -> Timestamp {
        Timestamp(field!(self.bytes, i64, 27))
    }

    /// The largest timestamp of the records.
    pub fn max_timestamp(&self) -> Timestamp {
        Timestamp(field!(self.bytes, i64, 35))
    }

    /// The idempotent producer's id, or [`NO_PRODUCER_ID`].
    pub fn producer_id(&self) -> i64 {
        field!(self.bytes, i64, 43)
    }

    /// The idempotent producer's epoch.
    pub fn producer_epoch(&self) -> i16 {
        field!(self.bytes, i16, 51)
    }

    /// The sequence number of the first record, or [`NO_SEQUENCE`].
    pub fn base_sequence(&self) -> i32 {
        field!(self.bytes, i32, 53)
    }

    /// How many records the header claims.
    pub fn record_count(&self) -> i32 {
        field!(self.bytes, i32, 57)
    }

    /// Checks that the bytes are those that were written.
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let stored = field!(self.bytes, u32, CRC_AT);
        let computed = crc32c::crc32c(&self.bytes[ATTRIBUTES_AT..]);
        if stored == computed {
            Ok(())
        } else {
            Err(BatchError::BadCrc { offset: self.base_offset().0, stored, computed })
        }
    }

    /// The records, unpacked into at most `limit` bytes if they are packed.
    pub fn records(&self, limit: usize) -> Result<Records, BatchError> {
        let body = self.bytes.slice(HEADER_LENGTH..);
        let body = match self.compression()? {
            Compression::None => body,
            codec => Bytes::from(codec.decompress(&body, limit)?),
        };
        Ok(Records::new(self, body))
    }

    /// Checks that the records are as many as the header says, and well formed; gives what the header should say of them besides. They
    /// are unpacked piece by piece, to at most `limit` bytes in all, of which no more is held than a codec's block and one record.
    ///
    /// # Errors
    /// The first that [`Batch::records`] or the iteration over them would give.
    pub fn check_records(&self, limit: usize) -> Result<RecordsSeen, BatchError> {
        let mut check = RecordCheck::new(self);
        self.compression()?.unpack(&self.bytes[HEADER_LENGTH..], limit, |piece| check.take(piece))?;
        check.finish()
    }

    /// The same batch, with another time for that of its newest record.
    pub fn with_max_timestamp(&self, max: Timestamp) -> Self {
        let mut bytes = BytesMut::from(&self.bytes[..]);
        patch_max_timestamp(&mut bytes, max);
        Batch { base: self.base, bytes: bytes.freeze() }
    }

    /// The same batch, with the time when it is appended for that of all its records.
    pub fn with_append_time(&self, append_time: Timestamp) -> Self {
        let mut bytes = BytesMut::from(&self.bytes[..]);
        patch_append_time(&mut bytes, append_time);
        Batch { base: self.base, bytes: bytes.freeze() }
    }

    /// The same batch packed another way.
    ///
    /// # Errors
    /// When its records are not what the header says, or a codec fails.
    pub fn repacked(&self, compression: Compression) -> Result<Bytes, BatchError> {
        self.rebuilt(compression, |_, record| record.offset.0.wrapping_sub(self.base_offset().0) as i32)
    }

    /// The same records with offsets one behind the other.
    ///
    /// # Errors
    /// As [`Batch::repacked`].
    pub fn renumbered(&self) -> Result<Bytes, BatchError> {
        self.rebuilt(self.compression()?, |index, _| index as i32)
    }

    fn rebuilt(
        &self,
        compression: Compression,
        delta: impl Fn(usize, &RecordData<'_>) -> i32,
    ) -> Result<Bytes, BatchError> {
        let records = self.records(crate::UNPACK_LIMIT_BYTES)?;
        let mut builder = BatchBuilder::with_capacity(compression, self.len());
        for (index, record) in records.iter().enumerate() {
            let record = record?;
            let delta = delta(index, &record);
            builder.push_at(delta, record.timestamp, record.key, record.value, &record.headers());
        }
        let stamp = ProducerStamp {
            id: self.producer_id(),
            epoch: self.producer_epoch(),
            base_sequence: self.base_sequence(),
            transactional: self.is_transactional(),
        };
        Ok(builder.finish_as(stamp)?)
    }

    fn bad_records(&self, what: &'static str) -> BatchError {
        BatchError::BadRecords { offset: self.base_offset().0, what }
    }
}

/// Moves a batch to another place in the log. The CRC does not cover these bytes.
pub fn patch_base_offset(batch: &mut [u8], offset: Offset) {
    batch[..8].copy_from_slice(&offset.0.to_be_bytes());
}

/// Says under which leader epoch a batch was appended. The CRC does not cover these bytes.
pub fn patch_leader_epoch(batch: &mut [u8], epoch: i32) {
    batch[12..16].copy_from_slice(&epoch.to_be_bytes());
}

/// Sets the maximum timestamp and marks the batch as stamped by the broker, then writes the CRC anew.
pub fn patch_append_time(batch: &mut [u8], append_time: Timestamp) {
    let attributes = field!(batch, i16, ATTRIBUTES_AT) | LOG_APPEND_TIME;
    batch[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
    patch_max_timestamp(batch, append_time);
}

/// Sets the maximum timestamp, then writes the CRC anew.
pub fn patch_max_timestamp(batch: &mut [u8], max: Timestamp) {
    batch[35..43].copy_from_slice(&max.0.to_be_bytes());
    let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
}
