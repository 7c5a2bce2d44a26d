//! Writing a batch in place: the records behind room for the header, which is filled in at the end.

use bytes::Bytes;
use tidewater_types::{Header, Headers, Timestamp};

use super::{
    ATTRIBUTES_AT, CONTROL, CRC_AT, DELETE_HORIZON, HEADER_LENGTH, NO_PRODUCER_ID, NO_SEQUENCE, TRANSACTIONAL,
};
use crate::{Compression, CompressionError, varint};

/// What an idempotent producer writes into its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    /// The producer's id.
    pub id: i64,
    /// The producer's epoch.
    pub epoch: i16,
    /// The sequence number of the batch's first record.
    pub base_sequence: i32,
    /// Whether the batch belongs to a transaction.
    pub transactional: bool,
}

impl Default for ProducerStamp {
    fn default() -> Self {
        ProducerStamp { id: NO_PRODUCER_ID, epoch: -1, base_sequence: NO_SEQUENCE, transactional: false }
    }
}

/// The lengths and deltas of a record, and those of a header.
const RECORD_OVERHEAD_BYTES: usize = 32;
const HEADER_OVERHEAD_BYTES: usize = 10;

/// What a record takes in a batch at most, before packing.
pub fn record_bytes(key: Option<&[u8]>, value: Option<&[u8]>, headers: &Headers) -> usize {
    let bytes = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let header = |header: &Header| {
        header.name.len() + header.value.as_ref().map_or(0, |value| value.len()) + HEADER_OVERHEAD_BYTES
    };
    RECORD_OVERHEAD_BYTES + bytes(key) + bytes(value) + headers.iter().map(header).sum::<usize>()
}

/// Collects records into one batch.
#[derive(Debug)]
pub struct BatchBuilder {
    buffer: Vec<u8>,
    compression: Compression,
    base_timestamp: i64,
    max_timestamp: i64,
    count: i32,
    last_offset_delta: i32,
    delete_horizon: bool,
}

impl BatchBuilder {
    /// An empty batch whose records will be packed by `compression`.
    pub fn new(compression: Compression) -> Self {
        Self::with_capacity(compression, 0)
    }

    /// An empty batch with room for `bytes` bytes of records.
    pub fn with_capacity(compression: Compression, bytes: usize) -> Self {
        let mut buffer = Vec::with_capacity(HEADER_LENGTH + bytes);
        buffer.resize(HEADER_LENGTH, 0);
        BatchBuilder {
            buffer,
            compression,
            base_timestamp: 0,
            max_timestamp: -1,
            count: 0,
            last_offset_delta: -1,
            delete_horizon: false,
        }
    }

    /// Records so far.
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// Whether there are no records yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes so far, the header included and before packing.
    pub fn size(&self) -> usize {
        self.buffer.len()
    }

    /// Says when compaction may drop the batch's tombstones; must come before the first record.
    pub fn set_delete_horizon(&mut self, horizon: Timestamp) {
        self.delete_horizon = true;
        self.base_timestamp = horizon.0;
    }

    /// Sets the time of a batch that has no records any more; must come before the delete horizon.
    pub fn set_time(&mut self, time: Timestamp) {
        self.base_timestamp = time.0;
        self.max_timestamp = time.0;
    }

    /// Sets the distance from the base offset to the batch's end, where compaction took the last records away.
    pub fn set_last_offset_delta(&mut self, delta: i32) {
        self.last_offset_delta = delta;
    }

    /// Appends a record at the next offset.
    #[inline]
    pub fn push(&mut self, timestamp: Timestamp, key: Option<&[u8]>, value: Option<&[u8]>, headers: &Headers) {
        self.push_at(self.last_offset_delta + 1, timestamp, key, value, headers);
    }

    /// Appends a record `offset_delta` behind the base offset; compaction leaves such gaps. Deltas must rise.
    pub fn push_at(
        &mut self,
        offset_delta: i32,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &Headers,
    ) {
        if self.count == 0 {
            if !self.delete_horizon {
                self.base_timestamp = timestamp.0;
            }
            self.max_timestamp = timestamp.0;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp.0);
        self.count += 1;
        self.last_offset_delta = offset_delta;

        let timestamp_delta = timestamp.0.wrapping_sub(self.base_timestamp);
        let mut length = 1 + varint::length(timestamp_delta) + varint::length(i64::from(offset_delta));
        length += nullable_length(key) + nullable_length(value) + varint::length(headers.as_slice().len() as i64);
        for header in headers {
            length += nullable_length(Some(header.name.as_bytes())) + nullable_length(header.value.as_deref());
        }
        let out = &mut self.buffer;
        out.reserve(length + 5);
        varint::put(out, length as i64);
        out.push(0);
        varint::put(out, timestamp_delta);
        varint::put(out, i64::from(offset_delta));
        put_nullable(out, key);
        put_nullable(out, value);
        varint::put(out, headers.as_slice().len() as i64);
        for header in headers {
            put_nullable(out, Some(header.name.as_bytes()));
            put_nullable(out, header.value.as_deref());
        }
    }

    /// The whole batch, at base offset 0.
    ///
    /// # Errors
    /// When the codec fails.
    pub fn finish(self) -> Result<Bytes, CompressionError> {
        self.finish_as(ProducerStamp::default())
    }

    /// The whole batch, at base offset 0, as part of an idempotent producer's sequence.
    pub fn finish_as(self, producer: ProducerStamp) -> Result<Bytes, CompressionError> {
        self.seal(producer, 0)
    }

    /// The whole batch, at base offset 0, as the end of a producer's transaction.
    ///
    /// # Errors
    /// When the codec fails.
    pub fn finish_control(self, producer: ProducerStamp) -> Result<Bytes, CompressionError> {
        self.seal(producer, CONTROL)
    }

    fn seal(self, producer: ProducerStamp, flags: i16) -> Result<Bytes, CompressionError> {
        let mut out = self.buffer;
        if self.compression != Compression::None {
            let records = out.split_off(HEADER_LENGTH);
            self.compression.compress(&records, &mut out)?;
        }
        let mut attributes = i16::from(self.compression.id()) | flags;
        if producer.transactional {
            attributes |= TRANSACTIONAL;
        }
        if self.delete_horizon {
            attributes |= DELETE_HORIZON;
        }
        let length = (out.len() - 12) as i32;
        out[8..12].copy_from_slice(&length.to_be_bytes());
        out[12..16].copy_from_slice(&(-1i32).to_be_bytes());
        out[16] = 2;
        out[21..23].copy_from_slice(&attributes.to_be_bytes());
        out[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        out[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        out[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        out[43..51].copy_from_slice(&producer.id.to_be_bytes());
        out[51..53].copy_from_slice(&producer.epoch.to_be_bytes());
        out[53..57].copy_from_slice(&producer.base_sequence.to_be_bytes());
        out[57..61].copy_from_slice(&self.count.to_be_bytes());
        let crc = crc32c::crc32c(&out[ATTRIBUTES_AT..]);
        out[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
        Ok(Bytes::from(out))
    }
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlKind {
    /// Its records are to be ignored.
    Abort,
    /// Its records are to be seen.
    Commit,
}

/// What a control batch says of a producer's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionEnd {
    /// How it ended.
    pub kind: ControlKind,
    /// The epoch of the coordinator that ended it.
    pub coordinator_epoch: i32,
}

impl TransactionEnd {
    /// Reads key and value of a control record; see [`control_batch`]. `None` for a control record of another kind.
    pub(super) fn read(key: &[u8], value: &[u8]) -> Option<Self> {
        let kind = match key {
            [_, _, 0, 0] => ControlKind::Abort,
            [_, _, 0, 1] => ControlKind::Commit,
            _ => return None,
        };
        let epoch = value.get(2..6)?;
        Some(TransactionEnd { kind, coordinator_epoch: i32::from_be_bytes([epoch[0], epoch[1], epoch[2], epoch[3]]) })
    }
}

/// The batch that marks the end of a producer's transaction: one control record, never packed.
///
/// Key: version 0 and the kind (0 abort, 1 commit), two bytes each. Value: version 0 and the coordinator's epoch (4).
pub fn control_batch(
    kind: ControlKind,
    producer_id: i64,
    producer_epoch: i16,
    coordinator_epoch: i32,
    timestamp: Timestamp,
) -> Bytes {
    let kind: u16 = if kind == ControlKind::Commit { 1 } else { 0 };
    let key = [0, 0, (kind >> 8) as u8, kind as u8];
    let mut value = [0; 6];
    value[2..].copy_from_slice(&coordinator_epoch.to_be_bytes());
    let mut builder = BatchBuilder::with_capacity(Compression::None, 32);
    builder.push(timestamp, Some(&key), Some(&value), &Headers::EMPTY);
    let stamp =
        ProducerStamp { id: producer_id, epoch: producer_epoch, base_sequence: NO_SEQUENCE, transactional: true };
    match builder.finish_control(stamp) {
        Ok(bytes) => bytes,
        Err(_) => unreachable!("a batch that is not packed has no codec that could fail"),
    }
}

#[inline]
fn nullable_length(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint::length(bytes.len() as i64) + bytes.len())
}

#[inline]
fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::put(out, -1),
        Some(bytes) => {
            varint::put(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}
