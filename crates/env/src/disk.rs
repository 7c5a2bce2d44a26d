//! Files, with the few operations that a log needs, and a way to run out of space in a test.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use tidewater_types::Timestamp;

/// The file system as a program sees it.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// Bytes that may still be written before the disk is "full"; `None` for the real limit.
    space_left: Option<Arc<AtomicU64>>,
    changes_left: Option<Arc<AtomicU64>>,
    /// How often a file was made durable.
    syncs: Arc<AtomicU64>,
}

impl Disk {
    /// The machine's own file system.
    pub fn new() -> Self {
        Disk::default()
    }

    /// The machine's file system, which reports "no space left" once this many bytes have been written through it.
    #[cfg(any(test, feature = "test-util"))]
    pub fn with_space(bytes: u64) -> Self {
        Disk { space_left: Some(Arc::new(AtomicU64::new(bytes))), ..Disk::default() }
    }

    /// Gives a disk made by [`Disk::with_space`] more room.
    #[cfg(any(test, feature = "test-util"))]
    pub fn add_space(&self, bytes: u64) {
        if let Some(left) = &self.space_left {
            left.fetch_add(bytes, Ordering::SeqCst);
        }
    }

    /// A disk for a process that is killed: after this many changes no further one is made. Nothing is made durable, as a kill does not
    /// ask for it.
    #[cfg(any(test, feature = "test-util"))]
    pub fn with_changes(changes: u64) -> Self {
        Disk { changes_left: Some(Arc::new(AtomicU64::new(changes))), ..Disk::default() }
    }

    /// Counts a change; an error if the process has been killed.
    fn change(&self) -> io::Result<()> {
        let Some(left) = &self.changes_left else { return Ok(()) };
        let counted = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        counted.map(drop).map_err(|_| io::Error::other("the process was killed"))
    }

    /// How often files were made durable through this disk.
    #[cfg(any(test, feature = "test-util"))]
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::SeqCst)
    }

    /// Lets this process have as many files open as the system allows it; a log has one a segment.
    pub fn allow_many_files(&self) {
        let _ = rlimit::increase_nofile_limit(u64::MAX); // As few as before will do for a small log.
    }

    /// Opens a file for reading and writing at any position, and makes it if it is absent.
    pub fn open(&self, path: &Path) -> io::Result<DiskFile> {
        self.change()?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(DiskFile { file, disk: self.clone() })
    }

    /// Opens a file for reading; it must exist.
    pub fn open_to_read(&self, path: &Path) -> io::Result<DiskFile> {
        Ok(DiskFile { file: File::open(path)?, disk: self.clone() })
    }

    /// The whole file.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    /// Puts a file in place whole or not at all: written beside it, made durable, then renamed over it.
    pub fn write_atomically(&self, path: &Path, contents: &[u8]) -> io::Result<()> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".tmp");
        let beside = PathBuf::from(beside);
        let file = self.open(&beside)?;
        file.set_len(0)?;
        file.write_at(contents, 0)?;
        file.sync()?;
        self.rename(&beside, path)
    }

    /// Renames a file; the new name is not durable before [`Disk::sync_folder`].
    pub fn move_file(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change()?;
        fs::rename(from, to)
    }

    /// Renames a file or folder, and makes the new name durable.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.move_file(from, to)?;
        to.parent().map_or(Ok(()), |folder| self.sync_folder(folder))
    }

    /// Makes durable which files there are in a folder.
    pub fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        if self.changes_left.is_some() {
            return self.change();
        }
        File::open(folder)?.sync_all()
    }

    /// Removes a file; one that is gone already is no error.
    pub fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Removes a folder and all in it; one that is gone already is no error.
    pub fn remove_folder(&self, path: &Path) -> io::Result<()> {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Removes all files of a folder.
    pub fn empty_folder(&self, path: &Path) -> io::Result<()> {
        self.list(path)?.iter().try_for_each(|file| self.remove_file(file))
    }

    /// Makes a folder and those above it.
    pub fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    /// Whether a file or folder of that name exists.
    pub fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    /// How large the volume is that a folder is on, and how much of it this process may still write, in bytes.
    pub fn volume(&self, folder: &Path) -> io::Result<(u64, u64)> {
        let volume = fs4::statvfs(folder)?;
        Ok((volume.total_space(), volume.available_space()))
    }

    /// The entries of a folder, sorted by name so that no run depends on the file system's order.
    pub fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    }

    /// Takes the folder for this process, until the lock is dropped or the process ends.
    ///
    /// Gives `None` when another process, or another lock of this one, holds it.
    pub fn lock_folder(&self, folder: &Path) -> io::Result<Option<FolderLock>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(folder.join(".lock"))?;
        match fs4::FileExt::try_lock(&file) {
            Ok(()) => Ok(Some(FolderLock { _file: file })),
            Err(fs4::TryLockError::WouldBlock) => Ok(None),
            Err(fs4::TryLockError::Error(error)) => Err(error),
        }
    }

    /// Counts `bytes` against the space that is left; gives how many of them fit.
    fn take_space(&self, bytes: usize) -> usize {
        let Some(left) = &self.space_left else { return bytes };
        let taken =
            left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(bytes as u64)));
        taken.map_or(bytes, |left| bytes.min(left as usize))
    }
}

/// Holds a folder for this process; see [`Disk::lock_folder`].
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

/// An open file, read and written at given positions.
#[derive(Debug)]
pub struct DiskFile {
    file: File,
    disk: Disk,
}

impl DiskFile {
    /// Writes all of `bytes` at `position`; on a disk that fills up meanwhile, a part of them.
    pub fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.disk.change()?;
        let fits = self.disk.take_space(bytes.len());
        self.file.write_all_at(&bytes[..fits], position)?;
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// Writes two parts, one behind the other, as [`DiskFile::write_at`] does; on Linux in one call.
    pub fn write_parts_at(&self, parts: [&[u8]; 2], position: u64) -> io::Result<()> {
        self.disk.change()?;
        let [first, second] = parts;
        #[cfg(target_os = "linux")]
        if self.disk.space_left.is_none() {
            let slices = parts.map(io::IoSlice::new);
            let written = match rustix::io::pwritev(&self.file, &slices, position) {
                Ok(written) => written,
                Err(rustix::io::Errno::INTR) => 0,
                Err(error) => return Err(error.into()),
            };
            let left = [&first[written.min(first.len())..], &second[written.saturating_sub(first.len())..]];
            self.file.write_all_at(left[0], position + written as u64)?;
            return self.file.write_all_at(left[1], position + (written.max(first.len())) as u64);
        }
        self.write_at(first, position)?;
        self.write_at(second, position + first.len() as u64)
    }

    /// Fills `buffer` from `position`; it is an error if the file ends before.
    pub fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, position)
    }

    /// Reads at most `length` bytes from `position`: fewer only at the file's end.
    pub fn read_at(&self, length: usize, position: u64) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match self.file.read_at(&mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        buffer.truncate(filled);
        Ok(buffer)
    }

    /// Sends at most `length` bytes from `position` to a socket, on Linux without a copy through this program; gives how many
    /// went. A socket that takes none now is [`io::ErrorKind::WouldBlock`].
    pub fn send_to(&self, socket: impl AsFd, position: u64, length: usize) -> io::Result<usize> {
        #[cfg(target_os = "linux")]
        {
            let mut position = position;
            Ok(rustix::fs::sendfile(socket, &self.file, Some(&mut position), length)?)
        }
        #[cfg(not(target_os = "linux"))]
        {
            const COPY_BYTES: usize = 64 << 10;
            Ok(rustix::io::write(socket, &self.read_at(length.min(COPY_BYTES), position)?)?)
        }
    }

    /// The file's length in bytes.
    pub fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Whether the file is empty.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file, or lengthens it with zeros.
    pub fn set_len(&self, length: u64) -> io::Result<()> {
        self.disk.change()?;
        self.file.set_len(length)
    }

    /// Says when it was written to last.
    pub fn set_modified(&self, time: Timestamp) -> io::Result<()> {
        self.file.set_modified(UNIX_EPOCH + Duration::from_millis(u64::try_from(time.0).unwrap_or(0)))
    }

    /// When it was written to last.
    pub fn modified(&self) -> io::Result<Timestamp> {
        let since = self.file.metadata()?.modified()?.duration_since(UNIX_EPOCH);
        Ok(Timestamp::from(since.map_err(io::Error::other)?))
    }

    /// Asks the file system for room from `position` on, so that it need not look for some at every write. The file's length stays,
    /// and [`DiskFile::set_len`] gives back what is behind it. Where this cannot be had, nothing is done.
    pub fn reserve(&self, position: u64, length: u64) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if self.disk.space_left.is_none() {
            rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::KEEP_SIZE, position, length)?;
        }
        let _ = (position, length); // Elsewhere.
        Ok(())
    }

    /// Makes what was written durable.
    pub fn sync(&self) -> io::Result<()> {
        self.disk.syncs.fetch_add(1, Ordering::SeqCst);
        if self.disk.changes_left.is_some() {
            return self.disk.change();
        }
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_takes_nothing_more_until_it_has_room() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::with_space(4);
        let file = disk.open(&folder.path().join("f")).unwrap();
        file.write_at(b"abc", 0).unwrap();
        assert_eq!(file.write_at(b"de", 3).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.len().unwrap(), 4, "what fitted was written");
        disk.add_space(2);
        file.write_at(b"de", 3).unwrap();
        assert_eq!(file.read_at(10, 1).unwrap(), b"bcde");
    }

    #[test]
    fn two_parts_stand_one_behind_the_other() {
        let folder = tempfile::tempdir().unwrap();
        for (name, disk) in [("real", Disk::new()), ("small", Disk::with_space(100))] {
            let file = disk.open(&folder.path().join(name)).unwrap();
            file.write_parts_at([b"abc", b"defg"], 1).unwrap();
            file.write_parts_at([b"", b""], 8).unwrap();
            assert_eq!(file.read_at(10, 1).unwrap(), b"abcdefg");
        }
    }

    #[test]
    fn room_that_is_reserved_is_not_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        for (name, disk) in [("real", Disk::new()), ("small", Disk::with_space(100))] {
            let file = disk.open(&folder.path().join(name)).unwrap();
            file.write_at(b"abc", 0).unwrap();
            let _ = file.reserve(3, 1 << 20); // Not every file system can.
            assert_eq!(file.len().unwrap(), 3);
            file.write_at(b"def", 3).unwrap();
            file.set_len(6).unwrap();
            assert_eq!(file.read_at(10, 0).unwrap(), b"abcdef");
        }
    }

    #[test]
    fn a_folder_is_locked_once() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new();
        let lock = disk.lock_folder(folder.path()).unwrap();
        assert!(lock.is_some());
        assert!(disk.lock_folder(folder.path()).unwrap().is_none());
        drop(lock);
        assert!(disk.lock_folder(folder.path()).unwrap().is_some());
    }
}
