//! One segment: a run of batches in a file named after its first offset, with its indexes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tidewater_env::{Disk, DiskFile};
use tidewater_protocol::{Batch, BatchError, ControlKind, HEADER_LENGTH, UNPACK_LIMIT_BYTES, batch_length};
use tidewater_types::{Offset, Timestamp};

use crate::LogError;
use crate::index::{AbortedTransaction, Index, OffsetEntry, TimeEntry};
use crate::producers::Ended;

/// Bytes that a scan reads at once.
const SCAN_CHUNK_BYTES: usize = 1 << 20;

/// The name of a segment's file: the base offset in 20 digits and the extension.
pub fn segment_file_name(base: Offset, extension: &str) -> String {
    format!("{:020}.{extension}", base.0)
}

/// Where the files of one segment are.
#[derive(Clone, Debug)]
pub struct SegmentFiles {
    folder: PathBuf,
    base: Offset,
    suffix: &'static str,
}

impl SegmentFiles {
    /// The files of the segment at `base` in a partition's folder.
    pub fn new(folder: &Path, base: Offset) -> Self {
        SegmentFiles { folder: folder.to_owned(), base, suffix: "" }
    }

    /// The same files with a further ending: `.cleaned` while compaction writes them.
    pub(crate) fn with_suffix(&self, suffix: &'static str) -> Self {
        SegmentFiles { suffix, ..self.clone() }
    }

    /// The partition's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.folder.join(segment_file_name(self.base, extension) + self.suffix)
    }

    /// The record batches.
    pub fn log(&self) -> PathBuf {
        self.path("log")
    }

    /// What is known of aborted transactions.
    pub(crate) fn aborted(&self) -> PathBuf {
        self.path("txnindex")
    }

    /// Every file of the segment, the log last.
    pub(crate) fn all(&self) -> [PathBuf; 4] {
        [self.path("index"), self.path("timeindex"), self.aborted(), self.log()]
    }

    /// Removes the files, the log first: without it the others are nothing, but without them it would say what is not so.
    pub(crate) fn remove(&self, disk: &Disk) -> Result<(), LogError> {
        for path in self.all().into_iter().rev() {
            disk.remove_file(&path).map_err(LogError::io("remove", path))?;
        }
        Ok(())
    }
}

/// From this size on, a segment asks for a part of it as room on disk ahead: small ones stay small.
const RESERVE_FROM_BYTES: u64 = 8 << 20;
const RESERVE_PART: u64 = 8;
/// The most room that is asked for at once.
const RESERVE_BYTES: u64 = 16 << 20;

/// An open segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub base: Offset,
    pub files: SegmentFiles,
    pub log: Arc<DiskFile>,
    /// Bytes of whole batches.
    pub size: u64,
    /// Offset behind the last batch.
    pub next_offset: Offset,
    /// Largest timestamp, and the offset of the batch that has it.
    pub max_timestamp: Timestamp,
    max_timestamp_offset: Offset,
    /// Timestamp of the first batch: what `segment.ms` counts from.
    pub first_timestamp: Option<Timestamp>,
    offsets: Index<OffsetEntry>,
    times: Index<TimeEntry>,
    aborted: Index<AbortedTransaction>,
    /// The file of those has entries behind them that cannot be right.
    pub aborted_is_torn: bool,
    bytes_since_entry: u64,
    /// Where the room ends that was asked for before it was written to.
    reserved: u64,
    /// How large the segment was when it was last looked at whether it grows.
    size_seen: u64,
}

impl Segment {
    /// A new, empty segment. If it cannot be made, nothing is left of it.
    pub fn create(disk: &Disk, files: SegmentFiles) -> Result<Self, LogError> {
        Segment::try_to_create(disk, files.clone()).inspect_err(|_| {
            let _ = files.remove(disk); // What stays is empty, and goes when the log is opened.
        })
    }

    fn try_to_create(disk: &Disk, files: SegmentFiles) -> Result<Self, LogError> {
        let path = files.log();
        let log = disk.open(&path).map_err(LogError::io("create", &path))?;
        log.set_len(0).map_err(LogError::io("empty", &path))?;
        let [offsets, times, aborted, _] = files.all();
        disk.remove_file(&aborted).map_err(LogError::io("remove", &aborted))?;
        let (aborted, aborted_is_torn) = Index::open_or_make_later(disk, aborted)?;
        Ok(Segment {
            base: files.base,
            log: Arc::new(log),
            size: 0,
            next_offset: files.base,
            max_timestamp: Timestamp::NONE,
            max_timestamp_offset: files.base,
            first_timestamp: None,
            offsets: Index::create(disk, offsets)?,
            times: Index::create(disk, times)?,
            aborted,
            aborted_is_torn,
            bytes_since_entry: 0,
            reserved: 0,
            size_seen: 0,
            files,
        })
    }

    /// Opens a segment that was closed in good order, and trusts its indexes; without them it is scanned.
    pub fn open(disk: &Disk, files: SegmentFiles, index_interval: u64) -> Result<Self, LogError> {
        let path = files.log();
        let log = disk.open(&path).map_err(LogError::io("open", &path))?;
        let size = log.len().map_err(LogError::io("measure", &path))?;
        let [offsets_path, times_path, aborted_path, _] = files.all();
        let (Some(offsets), Some(times)) = (Index::open(disk, offsets_path)?, Index::open(disk, times_path)?) else {
            return Segment::rebuild(disk, files, index_interval);
        };
        let base = files.base;
        let (aborted, aborted_is_torn) = Index::open_or_make_later(disk, aborted_path)?;
        let mut segment = Segment {
            base,
            log: Arc::new(log),
            size,
            next_offset: base,
            max_timestamp: Timestamp::NONE,
            max_timestamp_offset: base,
            first_timestamp: None,
            offsets,
            times,
            aborted,
            aborted_is_torn,
            bytes_since_entry: 0,
            reserved: 0,
            size_seen: 0,
            files,
        };
        if let Some(entry) = segment.times.last() {
            segment.max_timestamp = Timestamp(entry.timestamp);
            segment.max_timestamp_offset = Offset(base.0 + i64::from(entry.relative_offset));
        }
        // An index that leads astray is made anew; only what a scan finds is damage.
        match segment.walk_to_end() {
            Ok(()) => Ok(segment),
            Err(LogError::Damaged { .. }) => Segment::rebuild(disk, segment.files, index_interval),
            Err(error) => Err(error),
        }
    }

    /// Goes from the last entry of the offset index to the end of the file, header by header.
    fn walk_to_end(&mut self) -> Result<(), LogError> {
        if self.size == 0 {
            return Ok(());
        }
        self.first_timestamp = known(self.header_at(0)?.max_timestamp);
        let from = self.offsets.last().map_or(0, |entry| u64::from(entry.position));
        let mut position = from;
        while position < self.size {
            let header = self.header_at(position)?;
            self.note_time(header.max_timestamp, header.last_offset);
            self.next_offset = header.last_offset.next();
            position += header.length;
        }
        if position != self.size {
            let source = BatchError::Cut { have: self.size as usize, need: position as usize };
            return Err(LogError::Damaged { path: self.files.log(), position: self.size, source });
        }
        self.bytes_since_entry = self.size - from;
        Ok(())
    }

    /// Scans a segment that should be whole, and makes its indexes anew.
    fn rebuild(disk: &Disk, files: SegmentFiles, index_interval: u64) -> Result<Self, LogError> {
        let path = files.log();
        let (segment, bad) = Segment::recover(disk, files, index_interval)?;
        match bad {
            None => Ok(segment),
            Some(Bad { source, .. }) => Err(LogError::Damaged { path, position: segment.size, source }),
        }
    }

    /// Cuts off what lies behind the last good batch, and gives back the room there.
    pub fn cut(&mut self) -> Result<(), LogError> {
        self.reserved = 0;
        self.log.set_len(self.size).map_err(LogError::io("cut", self.files.log()))
    }

    /// Forgets a batch that was to be appended and is not in the file whole.
    pub fn drop_unfinished(&mut self) -> Result<(), LogError> {
        self.cut()?;
        self.forget_aborted_from(self.next_offset)
    }

    /// Reads a segment batch by batch up to the first bad one, checks each, and makes the sparse indexes anew. The file stays as it
    /// is, and so does what is known of aborted transactions.
    ///
    /// Gives what it found of the first bad batch.
    pub fn recover(disk: &Disk, files: SegmentFiles, index_interval: u64) -> Result<(Self, Option<Bad>), LogError> {
        let path = files.log();
        let log = disk.open(&path).map_err(LogError::io("open", &path))?;
        let length = log.len().map_err(LogError::io("measure", &path))?;
        let [offsets, times, aborted, _] = files.all();
        let (aborted, aborted_is_torn) = Index::open_or_make_later(disk, aborted)?;
        let mut segment = Segment {
            base: files.base,
            log: Arc::new(log),
            size: 0,
            next_offset: files.base,
            max_timestamp: Timestamp::NONE,
            max_timestamp_offset: files.base,
            first_timestamp: None,
            offsets: Index::create(disk, offsets)?,
            times: Index::create(disk, times)?,
            aborted,
            aborted_is_torn,
            bytes_since_entry: 0,
            reserved: 0,
            size_seen: 0,
            files,
        };
        let mut bad = None;
        let log = segment.log.clone();
        let mut scan = BatchScan::new(&log, &path, 0, length);
        while let Some(batch) = scan.next_batch()? {
            let checked = batch.and_then(|batch| batch.check_crc().map(|()| batch));
            match checked {
                Ok(batch) if batch.base_offset() >= segment.next_offset => segment.note(&batch, index_interval)?,
                Ok(batch) => {
                    bad = Some(BatchError::BadRecords { offset: batch.base_offset().0, what: "its offset goes back" });
                    break;
                }
                Err(error) => {
                    bad = Some(error);
                    break;
                }
            }
        }
        let bytes = length - segment.size;
        Ok((segment, bad.map(|source| Bad { bytes, source })))
    }

    /// Whether a good batch begins anywhere behind the end of the good ones, in so many bytes that are there.
    pub fn is_followed(&self, bytes: u64) -> Result<bool, LogError> {
        let behind = self.log.read_at(bytes as usize, self.size).map_err(LogError::io("read", self.files.log()))?;
        let behind = Bytes::from(behind);
        let is_batch = |from: usize| Batch::parse(&behind.slice(from..)).is_ok_and(|batch| batch.check_crc().is_ok());
        Ok((1..behind.len()).any(is_batch))
    }

    /// Writes a batch, as a leader of some epoch does.
    pub fn append(&mut self, batch: &Batch, leader_epoch: i32, index_interval: u64) -> Result<(), LogError> {
        let parts = [&batch.header(leader_epoch)[..], &batch.bytes()[HEADER_LENGTH..]];
        self.reserve(batch.len() as u64);
        self.log.write_parts_at(parts, self.size).map_err(LogError::io("append to", self.files.log()))?;
        self.note(batch, index_interval)
    }

    /// Sees to it that a segment which has grown has room on disk for more than the next write. Writes to room that the file system
    /// has found before cost a quarter less.
    fn reserve(&mut self, length: u64) {
        if self.size < RESERVE_FROM_BYTES || self.size + length <= self.reserved {
            return;
        }
        let room = (self.size / RESERVE_PART).min(RESERVE_BYTES).max(length);
        self.reserved = match self.log.reserve(self.size, room) {
            Ok(()) => self.size + room,
            Err(_) => u64::MAX, // It is not asked again: the write itself will tell if there is no room.
        };
    }

    /// Takes notice of a batch that stands at the end of the file.
    fn note(&mut self, batch: &Batch, index_interval: u64) -> Result<(), LogError> {
        let length = batch.len() as u64;
        self.first_timestamp = self.first_timestamp.or(known(batch.max_timestamp()));
        self.note_time(batch.max_timestamp(), batch.last_offset());
        if self.bytes_since_entry > index_interval {
            self.offsets.push(OffsetEntry {
                relative_offset: self.relative(batch.last_offset()),
                position: self.size as u32,
            })?;
            self.push_time_entry()?;
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += length;
        self.size += length;
        self.next_offset = batch.next_offset();
        Ok(())
    }

    fn note_time(&mut self, timestamp: Timestamp, offset: Offset) {
        if timestamp > self.max_timestamp {
            self.max_timestamp = timestamp;
            self.max_timestamp_offset = offset;
        }
    }

    fn push_time_entry(&mut self) -> Result<(), LogError> {
        let newest =
            TimeEntry { timestamp: self.max_timestamp.0, relative_offset: self.relative(self.max_timestamp_offset) };
        if self.max_timestamp != Timestamp::NONE
            && self.times.last().is_none_or(|last| newest.timestamp > last.timestamp)
        {
            self.times.push(newest)?;
        }
        Ok(())
    }

    /// The transactions that were aborted by markers in this segment, in the order of these.
    pub fn aborted(&self) -> &[AbortedTransaction] {
        self.aborted.entries()
    }

    /// Takes notice of a transaction that a marker in this segment ends.
    pub fn note_end(&mut self, marker: &Batch, ended: Ended) -> Result<(), LogError> {
        if ended.kind == ControlKind::Commit {
            return Ok(());
        }
        self.push_aborted(AbortedTransaction {
            last: marker.base_offset(),
            first: ended.first,
            producer_id: marker.producer_id(),
            last_stable: ended.last_stable,
        })
    }

    /// Takes notice of a transaction that a marker in this segment has aborted.
    pub fn push_aborted(&mut self, aborted: AbortedTransaction) -> Result<(), LogError> {
        // It is not made anew from the log once there is another segment.
        self.aborted.push(aborted)?;
        self.aborted.flush()
    }

    /// Forgets the transactions that were aborted by markers from an offset on.
    pub fn forget_aborted_from(&mut self, offset: Offset) -> Result<(), LogError> {
        if std::mem::take(&mut self.aborted_is_torn) {
            self.aborted.cut()?;
        }
        self.aborted.truncate(|aborted| aborted.last < offset)
    }

    fn relative(&self, offset: Offset) -> u32 {
        (offset.0 - self.base.0) as u32
    }

    /// Completes the indexes before the segment is closed for writing. What is known of aborted transactions is not made anew
    /// once there is another segment, so it must be durable.
    pub fn close(&mut self) -> Result<(), LogError> {
        self.push_time_entry()?;
        self.flush_indexes()?;
        if self.reserved > self.size {
            self.cut()?;
        }
        self.aborted.sync()
    }

    /// Writes what the indexes have only in memory.
    pub fn flush_indexes(&mut self) -> Result<(), LogError> {
        self.offsets.flush()?;
        self.times.flush()
    }

    /// Holds no more files open, and no more in memory, than reading takes.
    pub fn release(&mut self) {
        self.offsets.release();
        self.times.release();
    }

    /// The same segment, whose files have been given other names.
    pub fn renamed(mut self, files: SegmentFiles) -> Self {
        let [offsets, times, aborted, _] = files.all();
        self.offsets.move_to(offsets);
        self.times.move_to(times);
        self.aborted.move_to(aborted);
        self.files = files;
        self
    }

    /// Gives back the room that was asked for ahead, if nothing was written since the last time.
    pub fn trim(&mut self) -> Result<(), LogError> {
        let is_idle = std::mem::replace(&mut self.size_seen, self.size) == self.size;
        if is_idle && self.reserved > self.size && self.reserved != u64::MAX { self.cut() } else { Ok(()) }
    }

    /// Has the indexes in memory, as appends need them.
    pub fn load_indexes(&mut self) -> Result<(), LogError> {
        self.offsets.load()?;
        self.times.load()?;
        Ok(())
    }

    /// Makes the segment durable.
    pub fn sync(&self) -> Result<(), LogError> {
        self.log.sync().map_err(LogError::io("sync", self.files.log()))?;
        self.sync_indexes()
    }

    /// Makes durable what is known of aborted transactions.
    pub fn sync_aborted(&self) -> Result<(), LogError> {
        self.aborted.sync()
    }

    /// Makes the indexes durable.
    pub fn sync_indexes(&self) -> Result<(), LogError> {
        self.offsets.sync()?;
        self.times.sync()?;
        self.aborted.sync()
    }

    /// When its newest record is of: of records without timestamps, when the file was written to last.
    pub fn newest(&self) -> Timestamp {
        match self.max_timestamp {
            Timestamp(..0) => self.log.modified().unwrap_or(Timestamp(i64::MAX)),
            known => known,
        }
    }

    /// Makes a copy of records without timestamps as old as they are.
    pub fn keep_modified(&self, old: &Segment) -> Result<(), LogError> {
        match self.max_timestamp {
            Timestamp(..0) if self.size > 0 => {
                let time = old.log.modified().map_err(LogError::io("ask for the age of", old.files.log()))?;
                self.log.set_modified(time).map_err(LogError::io("set the age of", self.files.log()))
            }
            _ => Ok(()),
        }
    }

    /// Where to start reading for `offset`: at or before its batch.
    pub fn position_before(&self, offset: Offset) -> u64 {
        let relative = self.relative(offset);
        let (before, _) = self.offsets.around(|entry| entry.relative_offset <= relative);
        self.within(before).unwrap_or(0)
    }

    /// The position of an entry. One that is behind the end of the log is of an index that was damaged, and not believed.
    fn within(&self, entry: Option<OffsetEntry>) -> Option<u64> {
        entry.map(|entry| u64::from(entry.position)).filter(|position| *position <= self.size)
    }

    /// Where the batch of `offset` begins at the latest.
    pub fn position_behind(&self, offset: Offset) -> u64 {
        let relative = self.relative(offset);
        let (_, behind) = self.offsets.around(|entry| entry.relative_offset <= relative);
        self.within(behind).unwrap_or(self.size)
    }

    /// An offset that no batch before `position` reaches, by the index.
    pub fn offset_behind(&self, position: u64) -> Offset {
        let (_, behind) = self.offsets.around(|entry| u64::from(entry.position) < position);
        behind.map_or(self.next_offset, |entry| Offset(self.base.0 + i64::from(entry.relative_offset)))
    }

    /// Drops all batches from `offset` on; it must be the base offset of a batch or the end.
    pub fn truncate(&mut self, offset: Offset) -> Result<(), LogError> {
        let mut position = self.position_before(offset);
        while position < self.size {
            let header = self.header_at(position)?;
            if header.last_offset >= offset {
                break;
            }
            position += header.length;
        }
        self.size = position;
        self.cut()?;
        self.next_offset = if position == 0 { self.base } else { self.next_offset.min(offset) };
        let relative = self.relative(offset);
        self.offsets.truncate(|entry| u64::from(entry.position) < position)?;
        self.times.truncate(|entry| entry.relative_offset < relative)?;
        self.forget_aborted_from(offset)?;
        self.max_timestamp = self.times.last().map_or(Timestamp::NONE, |entry| Timestamp(entry.timestamp));
        Ok(())
    }

    /// Whether there may be a record from `first` on of at least `timestamp`.
    pub fn may_have(&self, first: Offset, timestamp: Timestamp) -> bool {
        self.max_timestamp >= timestamp && self.next_offset > first
    }

    /// Where the first record from `first` on of at least `timestamp` is looked for.
    pub fn scan_for(&self, first: Offset, timestamp: Timestamp) -> SegmentStretch {
        let (before, _) = self.times.around(|entry| entry.timestamp < timestamp.0);
        let from = before.map_or(self.base, |entry| Offset(self.base.0 + i64::from(entry.relative_offset)));
        SegmentStretch {
            log: self.log.clone(),
            path: self.files.log(),
            position: self.position_before(from.max(first)),
            end: self.size,
        }
    }

    /// The fields of the batch header at `position` that navigation needs.
    fn header_at(&self, position: u64) -> Result<HeaderFields, LogError> {
        let path = self.files.log();
        let raw = self.log.read_at(HEADER_LENGTH, position).map_err(LogError::io("read", &path))?;
        let damaged = |source| LogError::Damaged { path: path.clone(), position, source };
        let length = batch_length(&raw).map_err(damaged)? as u64;
        if raw.len() < HEADER_LENGTH {
            return Err(damaged(BatchError::Cut { have: raw.len(), need: HEADER_LENGTH }));
        }
        if raw[16] != 2 {
            return Err(damaged(BatchError::BadMagic(raw[16] as i8)));
        }
        let long = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&raw[at..at + 8]);
            i64::from_be_bytes(eight)
        };
        let delta = i32::from_be_bytes([raw[23], raw[24], raw[25], raw[26]]);
        Ok(HeaderFields {
            length,
            last_offset: Offset(long(0).wrapping_add(i64::from(delta))),
            max_timestamp: Timestamp(long(35)),
        })
    }
}

/// A stretch of a segment's file.
#[derive(Clone, Debug)]
pub(crate) struct SegmentStretch {
    log: Arc<DiskFile>,
    path: PathBuf,
    position: u64,
    end: u64,
}

impl SegmentStretch {
    /// The first record from `first` on of at least `timestamp`, if there is one.
    pub fn first_at_or_after(
        &self,
        first: Offset,
        timestamp: Timestamp,
    ) -> Result<Option<(Offset, Timestamp)>, LogError> {
        let mut scan = BatchScan::new(&self.log, &self.path, self.position, self.end);
        while let Some(batch) = scan.next_batch()? {
            let batch = batch?;
            if batch.max_timestamp() < timestamp || batch.last_offset() < first {
                continue;
            }
            for record in batch.records(UNPACK_LIMIT_BYTES)?.iter() {
                let record = record?;
                if record.timestamp >= timestamp && record.offset >= first {
                    return Ok(Some((record.offset, record.timestamp)));
                }
            }
        }
        Ok(None)
    }
}

/// A time that records have: not that of those without.
fn known(timestamp: Timestamp) -> Option<Timestamp> {
    (timestamp.0 >= 0).then_some(timestamp)
}

struct HeaderFields {
    length: u64,
    last_offset: Offset,
    max_timestamp: Timestamp,
}

/// Where the good batches of a segment end, if that is not its end.
#[derive(Debug)]
pub(crate) struct Bad {
    /// From the first bad batch on.
    pub bytes: u64,
    /// What is wrong with it.
    pub source: BatchError,
}

/// Reads a stretch of a segment batch by batch, in large chunks.
pub(crate) struct BatchScan<'a> {
    file: &'a DiskFile,
    path: &'a Path,
    /// Position in the file of the front of `chunk`.
    position: u64,
    end: u64,
    chunk: Bytes,
}

impl<'a> BatchScan<'a> {
    pub fn new(file: &'a DiskFile, path: &'a Path, position: u64, end: u64) -> Self {
        BatchScan { file, path, position, end, chunk: Bytes::new() }
    }

    /// The next batch; the inner error is that of the bytes, after which the scan is over.
    pub fn next_batch(&mut self) -> Result<Option<Result<Batch, BatchError>>, LogError> {
        if self.position >= self.end {
            return Ok(None);
        }
        let mut parsed = Batch::parse(&self.chunk);
        if let Err(BatchError::Cut { need, .. }) = parsed {
            let left = (self.end - self.position) as usize;
            if need > left {
                self.position = self.end;
                return Ok(Some(Err(BatchError::Cut { have: left, need })));
            }
            let want = need.max(SCAN_CHUNK_BYTES).min(left);
            let raw = self.file.read_at(want, self.position).map_err(LogError::io("read", self.path))?;
            self.chunk = Bytes::from(raw);
            parsed = Batch::parse(&self.chunk);
            if let Err(BatchError::Cut { need, .. }) = parsed
                && need > self.chunk.len()
                && need <= left
            {
                let raw = self.file.read_at(need, self.position).map_err(LogError::io("read", self.path))?;
                self.chunk = Bytes::from(raw);
                parsed = Batch::parse(&self.chunk);
            }
        }
        match &parsed {
            Ok(batch) => {
                self.position += batch.len() as u64;
                self.chunk = self.chunk.slice(batch.len()..);
            }
            Err(_) => self.position = self.end,
        }
        Ok(Some(parsed))
    }
}
