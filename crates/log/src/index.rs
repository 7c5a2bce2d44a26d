//! The indexes of a segment, in Kafka's files.
//!
//! `.index`: per entry a batch's last offset, relative to the segment's base (4 bytes), and its position in the log (4).
//! `.timeindex`: per entry the largest timestamp so far (8) and the relative offset of its batch (4).
//! Entries rise. Both are sparse, and caches: a file that is missing or malformed is made anew from the log.
//!
//! `.txnindex`, where there are aborted transactions: version 0 (2), the producer's id (8), the offset of the transaction's first
//! record (8), that of its marker (8), and the last stable offset when it was written (8).

use std::io;
use std::path::PathBuf;

use tidewater_env::{Disk, DiskFile};
use tidewater_types::Offset;

use crate::LogError;

/// One kind of index entry: its fixed length on disk, and how it is read and written.
pub(crate) trait Entry: Copy + Ord {
    const LENGTH: usize;
    fn write(self, out: &mut Vec<u8>);
    fn read(raw: &[u8]) -> Self;
}

/// A place in the log: at `position` stands the batch that ends with base + `relative_offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OffsetEntry {
    pub relative_offset: u32,
    pub position: u32,
}

impl Entry for OffsetEntry {
    const LENGTH: usize = 8;

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.relative_offset.to_be_bytes());
        out.extend_from_slice(&self.position.to_be_bytes());
    }

    fn read(raw: &[u8]) -> Self {
        let word = |at: usize| u32::from_be_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
        OffsetEntry { relative_offset: word(0), position: word(4) }
    }
}

/// Up to and with base + `relative_offset`, no record is later than `timestamp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimeEntry {
    pub timestamp: i64,
    pub relative_offset: u32,
}

impl Entry for TimeEntry {
    const LENGTH: usize = 12;

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.relative_offset.to_be_bytes());
    }

    fn read(raw: &[u8]) -> Self {
        let mut timestamp = [0; 8];
        timestamp.copy_from_slice(&raw[..8]);
        TimeEntry {
            timestamp: i64::from_be_bytes(timestamp),
            relative_offset: u32::from_be_bytes([raw[8], raw[9], raw[10], raw[11]]),
        }
    }
}

/// A transaction whose records are not to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AbortedTransaction {
    /// The offset of its marker.
    pub last: Offset,
    /// The offset of its first record.
    pub first: Offset,
    /// Whose it was.
    pub producer_id: i64,
    /// Every transaction that began before this offset had ended when the marker was written.
    pub last_stable: Offset,
}

impl Entry for AbortedTransaction {
    const LENGTH: usize = 34;

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0, 0]);
        for long in [self.producer_id, self.first.0, self.last.0, self.last_stable.0] {
            out.extend_from_slice(&long.to_be_bytes());
        }
    }

    fn read(raw: &[u8]) -> Self {
        let long = |at: usize| raw[at..at + 8].iter().fold(0, |all, byte| all << 8 | i64::from(*byte));
        AbortedTransaction {
            producer_id: long(2),
            first: Offset(long(10)),
            last: Offset(long(18)),
            last_stable: Offset(long(26)),
        }
    }
}

/// Entries that may wait to be written together. What a kill loses of them is made anew from the log.
const PENDING_ENTRIES: usize = 128;

/// The entries of one index file, in memory, and the file they are appended to, which is open while there are appends.
#[derive(Debug)]
pub(crate) struct Index<E> {
    path: PathBuf,
    disk: Disk,
    file: Option<DiskFile>,
    entries: Vec<E>,
    /// How many of them are in the file.
    written: usize,
}

impl<E: Entry> Index<E> {
    /// Opens the file and reads its entries. `None` stands for a file that is not there or cannot be right.
    pub fn open(disk: &Disk, path: PathBuf) -> Result<Option<Self>, LogError> {
        if !disk.exists(&path) {
            return Ok(None);
        }
        let raw = disk.read(&path).map_err(LogError::io("read", &path))?;
        if raw.len() % E::LENGTH != 0 {
            return Ok(None);
        }
        let entries: Vec<E> = raw.chunks_exact(E::LENGTH).map(E::read).collect();
        let written = entries.len();
        Ok(entries.is_sorted().then(|| Index { path, disk: disk.clone(), file: None, entries, written }))
    }

    /// Opens a file that is made with its first entry. One that cannot be right is emptied.
    pub fn open_or_make_later(disk: &Disk, path: PathBuf) -> Result<Self, LogError> {
        match Index::open(disk, path.clone())? {
            Some(index) => Ok(index),
            None if disk.exists(&path) => Index::create(disk, path),
            None => Ok(Index { path, disk: disk.clone(), file: None, entries: Vec::new(), written: 0 }),
        }
    }

    /// Makes the file empty.
    pub fn create(disk: &Disk, path: PathBuf) -> Result<Self, LogError> {
        let file = disk.open(&path).map_err(LogError::io("open", &path))?;
        file.set_len(0).map_err(LogError::io("empty", &path))?;
        Ok(Index { path, disk: disk.clone(), file: Some(file), entries: Vec::new(), written: 0 })
    }

    fn file(&mut self) -> Result<&DiskFile, LogError> {
        let file = match self.file.take() {
            Some(file) => file,
            None => self.disk.open(&self.path).map_err(LogError::io("open", &self.path))?,
        };
        Ok(self.file.insert(file))
    }

    /// Closes the file until it is written to again.
    pub fn release(&mut self) {
        self.file = None;
    }

    /// Notes that the file has been given another name. It is not open.
    pub fn move_to(&mut self, path: PathBuf) {
        self.file = None;
        self.path = path;
    }

    pub fn entries(&self) -> &[E] {
        &self.entries
    }

    pub fn last(&self) -> Option<E> {
        self.entries.last().copied()
    }

    /// Appends an entry, which is in the file after [`Index::flush`] at the latest.
    pub fn push(&mut self, entry: E) -> Result<(), LogError> {
        self.entries.push(entry);
        if self.entries.len() - self.written >= PENDING_ENTRIES { self.flush() } else { Ok(()) }
    }

    /// Writes the entries that are not in the file yet.
    pub fn flush(&mut self) -> Result<(), LogError> {
        let pending = &self.entries[self.written..];
        if pending.is_empty() {
            return Ok(());
        }
        let mut raw = Vec::with_capacity(pending.len() * E::LENGTH);
        pending.iter().for_each(|entry| entry.write(&mut raw));
        let position = (self.written * E::LENGTH) as u64;
        self.file()?.write_at(&raw, position).map_err(LogError::io("write", &self.path))?;
        self.written = self.entries.len();
        Ok(())
    }

    /// Drops the entries from the first one that does not fit `keep`.
    pub fn truncate(&mut self, keep: impl Fn(&E) -> bool) -> Result<(), LogError> {
        let count = self.entries.partition_point(keep);
        if count == self.entries.len() {
            return Ok(());
        }
        self.entries.truncate(count);
        if count >= self.written {
            return Ok(());
        }
        self.written = count;
        self.file()?.set_len((count * E::LENGTH) as u64).map_err(LogError::io("cut", &self.path))
    }

    pub fn sync(&self) -> Result<(), LogError> {
        match &self.file {
            Some(file) => file.sync(),
            None => match self.disk.open_to_read(&self.path) {
                // It has no entries, or has been removed with its segment.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                file => file.and_then(|file| file.sync()),
            },
        }
        .map_err(LogError::io("sync", &self.path))
    }
}
