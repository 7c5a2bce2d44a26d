//! Reading a log: stretches of its segments, from an offset on or from a time, which need no lock on the log once they are taken.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tidewater_env::DiskFile;
use tidewater_protocol::{Body, HEADER_LENGTH, batch_length};
use tidewater_types::{Offset, Timestamp};

use crate::segment::{Segment, SegmentStretch};
use crate::{AbortedTransaction, Isolation, LogError, PartitionLog};

/// Bytes that are read at once to find the batch of an offset.
const SKIP_BYTES: usize = 4096;

/// A record found by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: Timestamp,
}

/// A stretch of a segment to read from; reading needs no lock on the log.
#[derive(Clone, Debug)]
pub struct ReadSlice {
    file: Arc<DiskFile>,
    path: PathBuf,
    position: u64,
    available: u64,
    from: Offset,
    below: Offset,
    /// Where to look for the end of what may be read, if the segment goes on behind it.
    end_near: Option<u64>,
}

impl ReadSlice {
    /// Whole batches from the one that holds the wanted offset on: at most `max_bytes`, but at least one batch.
    /// Empty at the end of what may be seen.
    ///
    /// # Errors
    /// When the file cannot be read or does not hold batches.
    pub fn read(&self, max_bytes: usize) -> Result<Bytes, LogError> {
        self.extent(max_bytes, true)?.map_or_else(|| Ok(Bytes::new()), |extent| extent.read_batches())
    }

    /// Where the batches are that [`ReadSlice::read`] reads; the last one may be cut. `None` at the end of what may be seen, and,
    /// unless `first_whole`, where the first batch is larger than `max_bytes`.
    ///
    /// # Errors
    /// When the file cannot be read or does not hold batches.
    pub fn extent(&self, max_bytes: usize, first_whole: bool) -> Result<Option<Extent>, LogError> {
        if self.from >= self.below {
            // It may be in a batch that reaches behind it.
            return Ok(None);
        }
        let end = self.position + self.available;
        let Some(found) = self.find(self.position, end, |header| last_offset(header) >= self.from)? else {
            return Ok(None);
        };
        if found.base >= self.below || (found.length > max_bytes && !first_whole) {
            return Ok(None);
        }
        let readable = match self.end_near {
            Some(near) => {
                let behind = self.find(near.max(found.position), end, |header| base_offset(header) >= self.below)?;
                behind.map_or(end, |behind| behind.position)
            }
            None => end,
        };
        let length = max_bytes.max(found.length).min((readable - found.position) as usize);
        let (file, path) = (self.file.clone(), self.path.clone());
        Ok(Some(Extent { file, path, position: found.position, length, first: found.length, below: self.below }))
    }

    /// The first batch from a position on that is the wanted one, by its header: at most an index interval of them are passed.
    fn find(
        &self,
        mut position: u64,
        end: u64,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<FoundBatch>, LogError> {
        let mut chunk = Bytes::new();
        while position < end {
            let left = (end - position) as usize;
            if chunk.len() < HEADER_LENGTH.min(left) {
                let read = self.file.read_at(SKIP_BYTES.min(left).max(HEADER_LENGTH), position);
                chunk = read.map(Bytes::from).map_err(LogError::io("read", &self.path))?;
            }
            let length = batch_length(&chunk)?;
            if wanted(&chunk) {
                return Ok(Some(FoundBatch { position, length, base: base_offset(&chunk) }));
            }
            position += length as u64;
            chunk = chunk.slice(length.min(chunk.len())..);
        }
        Ok(None)
    }
}

/// A search for the first record of at least a time, in the segment that should have it; see [`PartitionLog::time_search`].
#[derive(Debug)]
pub struct TimeSearch {
    stretch: Option<SegmentStretch>,
    /// Where the next segment begins that may have one.
    goes_on: Option<Offset>,
    from: Offset,
    below: Offset,
    timestamp: Timestamp,
}

impl TimeSearch {
    /// Looks segment by segment, each of which `begin` takes from the log, from an offset on; gives the record if one may read so far.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn on(mut begin: impl FnMut(Offset) -> TimeSearch) -> Result<Option<FoundOffset>, LogError> {
        let mut from = Offset::ZERO;
        loop {
            let search = begin(from);
            let Some(stretch) = search.stretch else { return Ok(None) };
            if let Some((offset, timestamp)) = stretch.first_at_or_after(search.from, search.timestamp)? {
                return Ok((offset < search.below).then_some(FoundOffset { offset, timestamp }));
            }
            match search.goes_on {
                // A segment that was found to have none is not looked at again, whatever has become of it.
                Some(next) => from = next.max(search.from),
                None => return Ok(None),
            }
        }
    }
}

/// Where a batch is.
struct FoundBatch {
    position: u64,
    length: usize,
    base: Offset,
}

/// A stretch of a segment's file that begins with a batch.
#[derive(Clone, Debug)]
pub struct Extent {
    file: Arc<DiskFile>,
    path: PathBuf,
    position: u64,
    length: usize,
    /// The length of the first batch.
    first: usize,
    below: Offset,
}

impl Extent {
    /// How many bytes it has.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The whole batches in it, at least the first one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read_batches(&self) -> Result<Bytes, LogError> {
        let length = self.length.max(self.first);
        let chunk = self.file.read_at(length, self.position).map_err(LogError::io("read", &self.path))?;
        let mut chunk = Bytes::from(chunk);
        let mut end = 0;
        while let Ok(length) = batch_length(&chunk[end..]) {
            if end + length > chunk.len() || base_offset(&chunk[end..]) >= self.below {
                break;
            }
            end += length;
        }
        chunk.truncate(end);
        Ok(chunk)
    }

    /// Sends what it has behind its first `skip` bytes to a socket, as far as that takes it; gives how much went.
    ///
    /// # Errors
    /// When the socket refuses, or the file cannot be read.
    pub fn send(&self, socket: impl AsFd, skip: usize) -> io::Result<usize> {
        self.file.send_to(socket, self.position + skip as u64, self.length.saturating_sub(skip))
    }
}

impl Body for Extent {
    fn length(&self) -> usize {
        self.length
    }
}

fn base_offset(batch: &[u8]) -> Offset {
    let mut raw = [0; 8];
    raw.copy_from_slice(&batch[..8]);
    Offset(i64::from_be_bytes(raw))
}

fn last_offset(batch: &[u8]) -> Offset {
    let delta = batch.get(23..27).map_or(0, |raw| i32::from_be_bytes([raw[0], raw[1], raw[2], raw[3]]));
    Offset(base_offset(batch).0.wrapping_add(i64::from(delta)))
}

impl PartitionLog {
    /// Where to read from `offset` on. Reading stops at the high watermark.
    ///
    /// # Errors
    /// When the offset is before the log's start or behind its end.
    pub fn slice(&self, offset: Offset) -> Result<ReadSlice, LogError> {
        self.slice_below(offset, self.high_watermark())
    }

    /// Where to read what is committed from `offset` on, and which transactions to leave out in the next `max_bytes`.
    ///
    /// # Errors
    /// As [`PartitionLog::slice`].
    pub fn slice_committed(
        &self,
        offset: Offset,
        max_bytes: usize,
    ) -> Result<(ReadSlice, Vec<AbortedTransaction>), LogError> {
        let below = self.last_stable();
        let slice = self.slice_below(offset, below)?;
        // The first batch may stand anywhere up to there, and is read whole.
        let segment = self.segment_of(offset);
        let begins_before = segment.position_behind(offset);
        let behind = segment.offset_behind(begins_before.saturating_add(max_bytes.max(1) as u64));
        Ok((slice, self.aborted_between(offset, behind.min(below))))
    }

    /// Where to read from `offset` on, up to `below`.
    pub(crate) fn slice_below(&self, offset: Offset, below: Offset) -> Result<ReadSlice, LogError> {
        if offset < self.log_start || offset > self.log_end() {
            return Err(LogError::OffsetOutOfRange { offset, start: self.log_start, end: self.log_end() });
        }
        let segment = self.segment_of(offset);
        let position = if offset < segment.base { 0 } else { segment.position_before(offset) };
        let end_near = match below {
            below if below >= segment.next_offset => None,
            below if below <= segment.base => Some(0),
            below => Some(segment.position_before(below)),
        };
        Ok(ReadSlice {
            file: segment.log.clone(),
            path: segment.files.log(),
            position,
            available: segment.size.saturating_sub(position),
            from: offset,
            below,
            end_near,
        })
    }

    /// The segment that has an offset, or the next one that has records.
    fn segment_of(&self, offset: Offset) -> &Segment {
        let mut index = self.closed.partition_point(|segment| segment.base <= offset).saturating_sub(1);
        // Compaction may have emptied the end of a segment: go on in the next one.
        while self.closed.get(index).is_some_and(|segment| segment.next_offset <= offset) {
            index += 1;
        }
        self.closed.get(index).map_or(&self.active, |segment| segment)
    }

    /// Reads whole batches from `offset` on; see [`ReadSlice::read`].
    pub fn read(&self, offset: Offset, max_bytes: usize) -> Result<Bytes, LogError> {
        self.slice(offset)?.read(max_bytes)
    }

    /// Where to look for the first record from `from` on, by offset, of at least `timestamp`; looking needs no lock on the log.
    pub fn time_search(&self, from: Offset, timestamp: Timestamp, isolation: Isolation) -> TimeSearch {
        let from = from.max(self.log_start);
        let segments = self.closed.iter().map(|segment| &**segment).chain([&self.active]);
        let mut candidates = segments.filter(|segment| segment.may_have(from, timestamp));
        TimeSearch {
            stretch: candidates.next().map(|segment| segment.scan_for(from, timestamp)),
            goes_on: candidates.next().map(|segment| segment.base),
            from,
            below: self.readable_to(isolation),
            timestamp,
        }
    }

    /// The first record, by offset, of at least `timestamp`, if one may read so far.
    ///
    /// # Errors
    /// As [`TimeSearch::on`].
    pub fn find_by_time(&self, timestamp: Timestamp, isolation: Isolation) -> Result<Option<FoundOffset>, LogError> {
        TimeSearch::on(|from| self.time_search(from, timestamp, isolation))
    }
}
