//! Reading the records of a batch, without copying their keys and values.

use bytes::Bytes;
use tidewater_types::{Header, Headers, Offset, Timestamp};

use super::{Batch, BatchError};
use crate::varint;

/// The unpacked records of one batch.
#[derive(Clone, Debug)]
pub struct Records {
    batch: Batch,
    body: Bytes,
}

/// One record of a batch, as a view on the batch's bytes.
#[derive(Clone, Copy, Debug)]
pub struct RecordData<'a> {
    /// Its place in the partition.
    pub offset: Offset,
    /// Event time, or append time where the broker stamps.
    pub timestamp: Timestamp,
    /// The key's bytes; `None` for null.
    pub key: Option<&'a [u8]>,
    /// The value's bytes; `None` for null.
    pub value: Option<&'a [u8]>,
    header_count: usize,
    raw_headers: &'a [u8],
    body: &'a Bytes,
}

impl Records {
    pub(super) fn new(batch: &Batch, body: Bytes) -> Self {
        Records { batch: batch.clone(), body }
    }

    /// The records in their order; the last item is an error if the batch is not what its header says.
    pub fn iter(&self) -> RecordIter<'_> {
        let batch = &self.batch;
        RecordIter {
            batch,
            base_offset: batch.base_offset().0,
            base_timestamp: batch.base_timestamp().0,
            append_time: batch.is_log_append_time().then(|| batch.max_timestamp()),
            body: &self.body,
            rest: &self.body,
            left: batch.record_count(),
        }
    }
}

/// Walks over the records of a batch; made by [`Records::iter`].
#[derive(Debug)]
pub struct RecordIter<'a> {
    batch: &'a Batch,
    base_offset: i64,
    base_timestamp: i64,
    append_time: Option<Timestamp>,
    body: &'a Bytes,
    rest: &'a [u8],
    left: i32,
}

impl<'a> RecordIter<'a> {
    fn read(&mut self) -> Option<RecordData<'a>> {
        let (record, rest) = split_record(self.rest)?;
        self.rest = rest;
        let fields = read_fields(record)?;
        Some(RecordData {
            offset: Offset(self.base_offset.wrapping_add(fields.offset_delta)),
            timestamp: self.append_time.unwrap_or(Timestamp(self.base_timestamp.wrapping_add(fields.timestamp_delta))),
            key: fields.key,
            value: fields.value,
            header_count: fields.header_count,
            raw_headers: fields.raw_headers,
            body: self.body,
        })
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<RecordData<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            let clean = self.left == 0 && self.rest.is_empty();
            self.left = 0;
            self.rest = &[];
            return (!clean).then(|| Err(self.batch.bad_records(MORE_THAN_COUNTED)));
        }
        match self.read() {
            Some(record) => {
                self.left -= 1;
                Some(Ok(record))
            }
            None => {
                self.left = 0;
                self.rest = &[];
                Some(Err(self.batch.bad_records(MALFORMED)))
            }
        }
    }
}

impl RecordData<'_> {
    /// The key as bytes that share the batch's memory.
    #[inline]
    pub fn shared_key(&self) -> Option<Bytes> {
        self.key.map(|key| self.body.slice_ref(key))
    }

    /// The value as bytes that share the batch's memory.
    #[inline]
    pub fn shared_value(&self) -> Option<Bytes> {
        self.value.map(|value| self.body.slice_ref(value))
    }

    /// The headers; their values share the batch's memory. A name that is not UTF-8 is read with replacement characters.
    #[inline]
    pub fn headers(&self) -> Headers {
        if self.header_count == 0 {
            return Headers::EMPTY;
        }
        self.read_headers()
    }

    fn read_headers(&self) -> Headers {
        let mut rest = self.raw_headers;
        (0..self.header_count)
            .map_while(|_| take_header(&mut rest))
            .map(|(name, value)| Header {
                name: String::from_utf8_lossy(name).into(),
                value: value.map(|value| self.body.slice_ref(value)),
            })
            .collect()
    }
}

/// What a check of a batch's records has seen; see [`Batch::check_records`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordsSeen {
    /// Of the oldest record.
    pub min_timestamp: Timestamp,
    /// Of the newest record; −1 if all are before that.
    pub max_timestamp: Timestamp,
    /// Whether offsets are one behind the other, from the batch's own on.
    pub is_sequential: bool,
}

/// Checks the records of a batch that come piece by piece: no more of them is held than one that is cut between two pieces.
pub(super) struct RecordCheck<'a> {
    batch: &'a Batch,
    base_timestamp: i64,
    left: i32,
    next_delta: i64,
    seen: RecordsSeen,
    cut: Vec<u8>,
}

impl<'a> RecordCheck<'a> {
    pub(super) fn new(batch: &'a Batch) -> Self {
        RecordCheck {
            batch,
            base_timestamp: batch.base_timestamp().0,
            left: batch.record_count(),
            next_delta: 0,
            seen: RecordsSeen { min_timestamp: Timestamp(i64::MAX), max_timestamp: Timestamp(-1), is_sequential: true },
            cut: Vec::new(),
        }
    }

    /// Checks what comes next.
    pub(super) fn take(&mut self, mut piece: &[u8]) -> Result<(), BatchError> {
        while !self.cut.is_empty() && !piece.is_empty() {
            // Until the length is known it comes byte by byte.
            let missing = record_length(&self.cut).map_or(1, |length| length - self.cut.len());
            let (more, rest) = piece.split_at(missing.min(piece.len()));
            self.cut.extend_from_slice(more);
            piece = rest;
            let cut = std::mem::take(&mut self.cut);
            match split_record(&cut) {
                Some((record, _)) => self.check(record)?,
                None if cut.len() > varint::MAX_LENGTH && record_length(&cut).is_none() => {
                    return Err(self.batch.bad_records(MALFORMED));
                }
                None => self.cut = cut,
            }
        }
        while let Some((record, rest)) = split_record(piece) {
            self.check(record)?;
            piece = rest;
        }
        self.cut.extend_from_slice(piece);
        Ok(())
    }

    /// Whether all records have come.
    pub(super) fn finish(self) -> Result<RecordsSeen, BatchError> {
        if self.left == 0 && self.cut.is_empty() { Ok(self.seen) } else { Err(self.batch.bad_records(MALFORMED)) }
    }

    fn check(&mut self, record: &[u8]) -> Result<(), BatchError> {
        if self.left <= 0 {
            return Err(self.batch.bad_records(MORE_THAN_COUNTED));
        }
        self.left -= 1;
        let fields = read_fields(record).ok_or_else(|| self.batch.bad_records(MALFORMED))?;
        let timestamp = Timestamp(self.base_timestamp.wrapping_add(fields.timestamp_delta));
        self.seen.min_timestamp = self.seen.min_timestamp.min(timestamp);
        self.seen.max_timestamp = self.seen.max_timestamp.max(timestamp);
        self.seen.is_sequential &= fields.offset_delta == self.next_delta;
        self.next_delta += 1;
        Ok(())
    }
}

const MALFORMED: &str = "a record is cut or malformed";
const MORE_THAN_COUNTED: &str = "there are more bytes than the record count tells";

/// The fields of one record, as they stand.
struct Fields<'a> {
    timestamp_delta: i64,
    offset_delta: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    header_count: usize,
    raw_headers: &'a [u8],
}

/// How many bytes the record takes that `input` begins with, its length among them; `None` if that is cut or can be no length.
#[inline]
fn record_length(input: &[u8]) -> Option<usize> {
    let mut rest = input;
    let length = usize::try_from(varint::take(&mut rest)?).ok()?;
    length.checked_add(input.len() - rest.len())
}

/// The record that `input` begins with, without its length, and what is behind it; `None` if not all of it is there.
#[inline]
fn split_record(mut input: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(varint::take(&mut input)?).ok()?;
    input.split_at_checked(length)
}

#[inline]
fn read_fields(mut record: &[u8]) -> Option<Fields<'_>> {
    take_bytes(&mut record, 1)?; // attributes: none are defined
    let timestamp_delta = varint::take(&mut record)?;
    let offset_delta = varint::take(&mut record)?;
    let key = take_nullable(&mut record)?;
    let value = take_nullable(&mut record)?;
    let header_count = usize::try_from(varint::take(&mut record)?).ok()?;
    let raw_headers = record;
    for _ in 0..header_count {
        take_header(&mut record)?;
    }
    record.is_empty().then_some(Fields { timestamp_delta, offset_delta, key, value, header_count, raw_headers })
}

#[inline]
fn take_bytes<'a>(input: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = input.split_at_checked(length)?;
    *input = rest;
    Some(taken)
}

/// A length and that many bytes; −1 stands for null, anything below for a malformed record.
#[inline]
fn take_nullable<'a>(input: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match varint::take(input)? {
        -1 => Some(None),
        length => take_bytes(input, usize::try_from(length).ok()?).map(Some),
    }
}

fn take_header<'a>(input: &mut &'a [u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let length = usize::try_from(varint::take(input)?).ok()?;
    let name = take_bytes(input, length)?;
    Some((name, take_nullable(input)?))
}
