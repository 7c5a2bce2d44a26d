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

/// Entries of an index that are read from its file at once, where a search has come so near.
const BLOCK_ENTRIES: usize = 128;

/// One index file. It is open only while it is read or written, so that a log holds no more open files than its segments.
#[derive(Debug)]
pub(crate) struct Index<E> {
    path: PathBuf,
    disk: Disk,
    entries: Entries<E>,
    /// How many of them are in the file.
    written: usize,
}

/// Where the entries are.
#[derive(Debug)]
enum Entries<E> {
    InMemory(Vec<E>),
    /// In the file alone, but for the last one: of a segment that nothing is appended to.
    OnDisk {
        last: Option<E>,
    },
}

impl<E: Entry> Index<E> {
    /// Opens the file, and reads its last entry. `None` stands for a file that is not there or cannot be right.
    pub fn open(disk: &Disk, path: PathBuf) -> Result<Option<Self>, LogError> {
        let file = match disk.open_to_read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(LogError::io("open", &path))?,
        };
        let length = file.len().map_err(LogError::io("measure", &path))? as usize;
        if !length.is_multiple_of(E::LENGTH) {
            return Ok(None);
        }
        let written = length / E::LENGTH;
        let last = match written.checked_sub(1) {
            Some(at) => read_entries(&file, at, 1).map_err(LogError::io("read", &path))?.pop(),
            None => None,
        };
        Ok(Some(Index { path, disk: disk.clone(), entries: Entries::OnDisk { last }, written }))
    }

    /// Makes the file empty.
    pub fn create(disk: &Disk, path: PathBuf) -> Result<Self, LogError> {
        let file = disk.open(&path).map_err(LogError::io("open", &path))?;
        file.set_len(0).map_err(LogError::io("empty", &path))?;
        let entries = Entries::InMemory(Vec::new());
        Ok(Index { path, disk: disk.clone(), entries, written: 0 })
    }

    fn file(&self) -> Result<DiskFile, LogError> {
        self.disk.open(&self.path).map_err(LogError::io("open", &self.path))
    }

    /// Has all entries in memory, as appends need them.
    pub fn load(&mut self) -> Result<&mut Vec<E>, LogError> {
        if let Entries::OnDisk { .. } = self.entries {
            let read = self.disk.open_to_read(&self.path).and_then(|file| read_entries(&file, 0, self.written));
            self.entries = Entries::InMemory(read.map_err(LogError::io("read", &self.path))?);
        }
        match &mut self.entries {
            Entries::InMemory(entries) => Ok(entries),
            Entries::OnDisk { .. } => Err(LogError::io("read", &self.path)(io::ErrorKind::Other.into())),
        }
    }

    /// Has the entries in the file alone, unless some are not written yet.
    pub fn release(&mut self) {
        if let Entries::InMemory(entries) = &self.entries
            && entries.len() == self.written
        {
            self.entries = Entries::OnDisk { last: entries.last().copied() };
        }
    }

    /// Notes that the file has been given another name.
    pub fn move_to(&mut self, path: PathBuf) {
        self.path = path;
    }

    /// All entries, of an index that was not released.
    pub fn entries(&self) -> &[E] {
        match &self.entries {
            Entries::InMemory(entries) => entries,
            Entries::OnDisk { .. } => &[],
        }
    }

    pub fn last(&self) -> Option<E> {
        match &self.entries {
            Entries::InMemory(entries) => entries.last().copied(),
            Entries::OnDisk { last } => *last,
        }
    }

    /// The last entry that is before something, and the first that is not. An index whose file cannot be read knows of none: whoever
    /// looks then searches the log.
    pub fn around(&self, is_before: impl Fn(&E) -> bool) -> (Option<E>, Option<E>) {
        match &self.entries {
            Entries::InMemory(entries) => around(entries, is_before),
            Entries::OnDisk { .. } => self.around_on_disk(is_before).unwrap_or_else(|error| {
                tracing::warn!(path = %self.path.display(), %error, "an index cannot be read; the log is searched");
                (None, None)
            }),
        }
    }

    fn around_on_disk(&self, is_before: impl Fn(&E) -> bool) -> io::Result<(Option<E>, Option<E>)> {
        let file = self.disk.open_to_read(&self.path)?;
        let (mut low, mut high) = (0, self.written);
        let (mut before, mut behind) = (None, None);
        while high - low > BLOCK_ENTRIES {
            let middle = low.midpoint(high);
            let entry: E = read_entries(&file, middle, 1)?.pop().ok_or(io::ErrorKind::UnexpectedEof)?;
            if is_before(&entry) {
                (before, low) = (Some(entry), middle + 1);
            } else {
                (behind, high) = (Some(entry), middle);
            }
        }
        let block = read_entries(&file, low, high - low)?;
        let (last, first) = around(&block, is_before);
        Ok((last.or(before), first.or(behind)))
    }

    /// Appends an entry, which is in the file after [`Index::flush`] at the latest. That it cannot be written now, as while no more files
    /// may be open, is no reason to refuse records: it is tried again when as many more wait.
    pub fn push(&mut self, entry: E) -> Result<(), LogError> {
        let written = self.written;
        let entries = self.load()?;
        entries.push(entry);
        if (entries.len() - written).is_multiple_of(PENDING_ENTRIES)
            && let Err(error) = self.flush()
        {
            tracing::warn!(%error, "entries of an index wait to be written");
        }
        Ok(())
    }

    /// Writes the entries that are not in the file yet.
    pub fn flush(&mut self) -> Result<(), LogError> {
        let Entries::InMemory(entries) = &self.entries else { return Ok(()) };
        let pending = &entries[self.written..];
        if pending.is_empty() {
            return Ok(());
        }
        let count = entries.len();
        let mut raw = Vec::with_capacity(pending.len() * E::LENGTH);
        pending.iter().for_each(|entry| entry.write(&mut raw));
        let position = (self.written * E::LENGTH) as u64;
        let file = self.file()?;
        if let Err(error) = file.write_at(&raw, position) {
            let _ = file.set_len(position); // A part of an entry would be taken for damage.
            return Err(LogError::io("write", &self.path)(error));
        }
        self.written = count;
        Ok(())
    }

    /// Drops the entries from the first one that does not fit `keep`.
    pub fn truncate(&mut self, keep: impl Fn(&E) -> bool) -> Result<(), LogError> {
        let entries = self.load()?;
        let count = entries.partition_point(keep);
        if count == entries.len() {
            return Ok(());
        }
        entries.truncate(count);
        if count >= self.written {
            return Ok(());
        }
        self.written = count;
        self.file()?.set_len((count * E::LENGTH) as u64).map_err(LogError::io("cut", &self.path))
    }

    pub fn sync(&self) -> Result<(), LogError> {
        match self.disk.open_to_read(&self.path) {
            // It has no entries, or has been removed with its segment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            file => file.and_then(|file| file.sync()),
        }
        .map_err(LogError::io("sync", &self.path))
    }
}

impl Index<AbortedTransaction> {
    /// Opens a file that is made with its first entry, and reads all of it up to the first entry that cannot be right, as a power cut
    /// leaves it: what stands before was durable. Says whether there is such an entry; the file is as it was until [`Index::cut`].
    pub fn open_or_make_later(disk: &Disk, path: PathBuf) -> Result<(Self, bool), LogError> {
        let index = |entries: Vec<_>| {
            let written = entries.len();
            Index { path: path.clone(), disk: disk.clone(), entries: Entries::InMemory(entries), written }
        };
        let file = match disk.open_to_read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((index(Vec::new()), false)),
            file => file.map_err(LogError::io("open", &path))?,
        };
        let length = file.len().map_err(LogError::io("measure", &path))?;
        let count = length as usize / AbortedTransaction::LENGTH;
        let mut entries: Vec<AbortedTransaction> =
            read_entries(&file, 0, count).map_err(LogError::io("read", &path))?;
        let mut before = None;
        let is_right =
            |entry: &AbortedTransaction| entry.first < entry.last && before.replace(entry.last) < Some(entry.last);
        let whole = entries.iter().copied().take_while(is_right).count();
        entries.truncate(whole);
        let is_torn = ((whole * AbortedTransaction::LENGTH) as u64) < length;
        Ok((index(entries), is_torn))
    }

    /// Cuts the file behind the entries that are in it.
    pub fn cut(&self) -> Result<(), LogError> {
        let length = (self.written * AbortedTransaction::LENGTH) as u64;
        self.file()?.set_len(length).map_err(LogError::io("cut", &self.path))
    }
}

/// So many entries of a file, from the one at `first` on.
fn read_entries<E: Entry>(file: &DiskFile, first: usize, count: usize) -> io::Result<Vec<E>> {
    let raw = file.read_at(count * E::LENGTH, (first * E::LENGTH) as u64)?;
    if raw.len() < count * E::LENGTH {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(raw.chunks_exact(E::LENGTH).map(E::read).collect())
}

fn around<E: Copy>(entries: &[E], is_before: impl Fn(&E) -> bool) -> (Option<E>, Option<E>) {
    let at = entries.partition_point(is_before);
    (at.checked_sub(1).map(|last| entries[last]), entries.get(at).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_was_released_finds_the_same_in_its_file() {
        let folder = tempfile::tempdir().unwrap();
        for count in [0, 1, 2, 127, 128, 129, 1000] {
            let path = folder.path().join(format!("{count}.index"));
            let mut index = Index::create(&Disk::new(), path.clone()).unwrap();
            for number in 0..count {
                index.push(OffsetEntry { relative_offset: 3 * number, position: 100 * number }).unwrap();
            }
            index.flush().unwrap();
            let wanted: Vec<u32> = (0..3 * count + 3).collect();
            let find = |index: &Index<OffsetEntry>, offset: u32| index.around(|entry| entry.relative_offset <= offset);
            let expected: Vec<_> = wanted.iter().map(|offset| find(&index, *offset)).collect();
            let last = index.last();
            index.release();
            let opened = Index::open(&Disk::new(), path).unwrap().unwrap();
            for released in [&index, &opened] {
                assert!(released.entries().is_empty());
                assert_eq!(released.last(), last);
                assert!(wanted.iter().zip(&expected).all(|(offset, expected)| find(released, *offset) == *expected));
            }
            // It goes on where it was.
            index.push(OffsetEntry { relative_offset: 3 * count, position: 100 * count }).unwrap();
            assert_eq!(index.entries().len(), count as usize + 1);
        }
    }

    #[test]
    fn of_aborted_transactions_what_a_power_cut_left_whole_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let aborted = |at: i64| AbortedTransaction {
            last: Offset(10 * at + 9),
            first: Offset(10 * at),
            producer_id: at,
            last_stable: Offset(10 * at),
        };
        let two: Vec<_> = [aborted(1), aborted(2)].into();
        let mut whole = Vec::new();
        two.iter().for_each(|entry| entry.write(&mut whole));
        let mut earlier = Vec::new();
        aborted(1).write(&mut earlier);
        let tails: [&[u8]; 5] = [&[], &[7], &[0; 33], &[0; 3 * AbortedTransaction::LENGTH], &earlier];
        for (at, tail) in tails.into_iter().enumerate() {
            let path = folder.path().join(format!("{at}.txnindex"));
            Disk::new().write_atomically(&path, &[&whole[..], tail].concat()).unwrap();
            let (index, is_torn) = Index::open_or_make_later(&Disk::new(), path.clone()).unwrap();
            assert_eq!((index.entries(), is_torn), (&two[..], !tail.is_empty()));
            index.cut().unwrap();
            assert_eq!(Disk::new().read(&path).unwrap(), whole);
        }
        let path = folder.path().join("zeros.txnindex");
        Disk::new().write_atomically(&path, &[0; AbortedTransaction::LENGTH]).unwrap();
        let (index, is_torn) = Index::open_or_make_later(&Disk::new(), path).unwrap();
        assert!(index.entries().is_empty() && is_torn);
    }

    #[test]
    fn an_index_whose_file_has_gone_knows_of_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.index");
        let mut index = Index::create(&Disk::new(), path.clone()).unwrap();
        index.push(OffsetEntry { relative_offset: 1, position: 1 }).unwrap();
        index.flush().unwrap();
        index.release();
        Disk::new().remove_file(&path).unwrap();
        assert_eq!(index.around(|_| true), (None, None));
    }
}
