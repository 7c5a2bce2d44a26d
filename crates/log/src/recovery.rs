//! Opening a partition's folder: which files are segments, which are left over, and how far the log is whole.

use std::path::{Path, PathBuf};

use tidewater_env::Disk;
use tidewater_protocol::{BatchError, HEADER_LENGTH};
use tidewater_types::Offset;

use crate::compact::{SWAP, replace};
use crate::producers::Producers;
use crate::segment::{Bad, BatchScan, Segment, SegmentFiles, segment_file_name};
use crate::{LogError, OpenOptions};

const LEADER_EPOCH_FILE: &str = "leader-epoch-checkpoint";
/// Files that stand beside the segments and are not read here.
const COMPANIONS: [&str; 2] = [LEADER_EPOCH_FILE, "partition.metadata"];
/// Endings of segment files.
const SEGMENT_EXTENSIONS: [&str; 5] = ["log", "index", "timeindex", "txnindex", "snapshot"];

/// What opening a log had to mend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Bytes that were read and checked.
    pub scanned_bytes: u64,
    /// Bytes of a torn tail that were cut off, with all behind it.
    pub cut_bytes: u64,
    /// Why they were cut.
    pub reason: Option<String>,
}

/// Opens all segments of a folder, in order.
pub(crate) fn open_segments(
    disk: &Disk,
    folder: &Path,
    options: &OpenOptions,
) -> Result<(Vec<Segment>, Recovered), LogError> {
    let bases = segment_bases(disk, folder)?;
    let interval = options.config.index_interval_bytes;
    let mut recovered = Recovered::default();
    let mut segments: Vec<Segment> = Vec::with_capacity(bases.len());
    for (index, &base) in bases.iter().enumerate() {
        let files = SegmentFiles::new(folder, base);
        if segments.last().is_some_and(|previous| base < previous.next_offset) && length_of(disk, &files)? == 0 {
            // A segment that could not be begun, behind which the one before it has grown.
            files.remove(disk)?;
            continue;
        }
        let next_base = bases.get(index + 1).copied();
        let trusted = options.clean_shutdown || next_base.is_some_and(|next| next <= options.recovery_point);
        if trusted {
            segments.push(Segment::open(disk, files, interval)?);
            continue;
        }
        let path = files.log();
        let (mut segment, bad) = Segment::recover(disk, files, interval)?;
        recovered.scanned_bytes += segment.size;
        // No empty segment is ever closed: what it had did not reach the disk.
        let is_lost = segment.size == 0 && next_base.is_some();
        let nothing = || Bad { bytes: 0, source: BatchError::Cut { have: 0, need: HEADER_LENGTH } };
        let Some(Bad { bytes, source }) = bad.or_else(|| is_lost.then(nothing)) else {
            // The room behind its end that a killed process had asked for.
            segment.cut()?;
            segments.push(segment);
            continue;
        };
        // A killed process tears only the last segment that was written to, a power cut any behind the recovery point; what follows
        // goes with it. Before that point nothing can be torn. Where all is durable, that is all but the last write.
        let later: Vec<_> = bases[index + 1..].iter().map(|&base| SegmentFiles::new(folder, base)).collect();
        let mut later_bytes = 0;
        for files in &later {
            later_bytes += length_of(disk, files)?;
        }
        let is_last_write =
            options.recovery_point == OpenOptions::ALL_DURABLE && later_bytes == 0 && !segment.is_followed(bytes)?;
        if segment.next_offset < options.recovery_point && !is_last_write {
            return Err(LogError::Damaged { path, position: segment.size, source });
        }
        // From the last one on, so that whoever is killed here finds the same again.
        for files in later.into_iter().rev() {
            files.remove(disk)?;
        }
        segment.cut()?;
        recovered.cut_bytes = bytes + later_bytes;
        recovered.reason = Some(source.to_string());
        segments.push(segment);
        break;
    }
    Ok((segments, recovered))
}

fn length_of(disk: &Disk, files: &SegmentFiles) -> Result<u64, LogError> {
    let path = files.log();
    disk.open_to_read(&path).and_then(|file| file.len()).map_err(LogError::io("measure", path))
}

/// The base offsets of the folder's segments, after what an interrupted compaction or deletion left is put right.
fn segment_bases(disk: &Disk, folder: &Path) -> Result<Vec<Offset>, LogError> {
    let list = || disk.list(folder).map_err(LogError::io("list", folder));
    for path in list()? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(".cleaned") || name.ends_with(".deleted") || name.ends_with(".tmp") {
            disk.remove_file(&path).map_err(LogError::io("remove", &path))?;
        } else if let Some(target) = name.strip_suffix(SWAP) {
            finish_swap(disk, folder, &path, target)?;
        }
    }
    let (mut bases, mut indexed) = (Vec::new(), Vec::new());
    for path in list()? {
        match classify(&path) {
            FileKind::Log(base) => bases.push(base),
            FileKind::Index(base) => indexed.push((base, path)),
            FileKind::Companion => {}
            FileKind::Foreign => return Err(LogError::ForeignFile { path }),
        }
    }
    bases.sort();
    for (base, path) in indexed {
        if bases.binary_search(&base).is_err() {
            // Its segment was removed before it.
            disk.remove_file(&path).map_err(LogError::io("remove", path))?;
        }
    }
    Ok(bases)
}

/// Completes a swap that a crash interrupted: the new file is whole, and covers every older segment up to its last offset.
/// What is left of a swap that had not begun, because the log itself is not among it, goes.
fn finish_swap(disk: &Disk, folder: &Path, swap: &Path, target: &str) -> Result<(), LogError> {
    let FileKind::Log(base) = classify(&folder.join(target)) else {
        return disk.remove_file(swap).map_err(LogError::io("remove", swap));
    };
    let file = disk.open_to_read(swap).map_err(LogError::io("open", swap))?;
    let length = file.len().map_err(LogError::io("measure", swap))?;
    let mut last = base;
    let mut scan = BatchScan::new(&file, swap, 0, length);
    while let Some(Ok(batch)) = scan.next_batch()? {
        last = batch.last_offset();
    }
    let mut covered = Vec::new();
    for path in disk.list(folder).map_err(LogError::io("list", folder))? {
        if let FileKind::Log(other) = classify(&path)
            && other > base
            && other <= last
        {
            covered.push(SegmentFiles::new(folder, other));
        }
    }
    replace(disk, &SegmentFiles::new(folder, base), &covered)
}

enum FileKind {
    Log(Offset),
    Index(Offset),
    Companion,
    Foreign,
}

fn classify(path: &Path) -> FileKind {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if COMPANIONS.contains(&name) {
        return FileKind::Companion;
    }
    match name.split_once('.') {
        Some((digits, extension)) if digits.len() == 20 && SEGMENT_EXTENSIONS.contains(&extension) => {
            match (digits.parse(), extension) {
                (Ok(base), "log") => FileKind::Log(Offset(base)),
                (Ok(base), "index" | "timeindex" | "txnindex") => FileKind::Index(Offset(base)),
                (Ok(_), _) => FileKind::Companion,
                (Err(_), _) => FileKind::Foreign,
            }
        }
        _ => FileKind::Foreign,
    }
}

fn leader_epoch_file(folder: &Path) -> PathBuf {
    folder.join(LEADER_EPOCH_FILE)
}

/// The newest epoch of `leader-epoch-checkpoint`: a version line, a count, then lines of epoch and start offset. `None` if
/// no epoch has begun.
pub(crate) fn read_leader_epoch(disk: &Disk, folder: &Path) -> Result<Option<i32>, LogError> {
    let path = leader_epoch_file(folder);
    if !disk.exists(&path) {
        return Ok(None);
    }
    let text = disk.read(&path).map_err(LogError::io("read", &path))?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().skip(2).filter_map(|line| line.split_once(" ")?.0.parse().ok()).last())
}

/// Notes the epoch that begins with an offset, the first of the log. One that a kill cuts short is written anew.
pub(crate) fn write_leader_epoch(disk: &Disk, folder: &Path, epoch: i32, start: Offset) -> Result<(), LogError> {
    let path = leader_epoch_file(folder);
    let file = disk.open(&path).map_err(LogError::io("create", &path))?;
    file.write_at(format!("0\n1\n{epoch} {start}\n").as_bytes(), 0).map_err(LogError::io("write", &path))
}

const SNAPSHOT: &str = "snapshot";

/// The snapshots of producers in a folder, the latest first.
fn snapshots(disk: &Disk, folder: &Path) -> Result<Vec<(Offset, PathBuf)>, LogError> {
    let mut found = Vec::new();
    for path in disk.list(folder).map_err(LogError::io("list", folder))? {
        let is_snapshot = path.extension().is_some_and(|extension| extension == SNAPSHOT);
        let offset = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let Some(offset) = offset.filter(|_| is_snapshot) {
            found.push((Offset(offset), path));
        }
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

/// What is known of producers at the end of the log, by the latest snapshot and the batches behind it; and whether there is one.
/// What segments know of aborted transactions is made anew behind it.
///
/// A log that was closed in good order, or has gone on to another segment, has one if there were producers.
pub(crate) fn read_producers(
    disk: &Disk,
    folder: &Path,
    closed: &mut [Segment],
    active: &mut Segment,
    options: &OpenOptions,
) -> Result<(Producers, bool), LogError> {
    let end = active.next_offset;
    // What was durable is damaged, and is read anew, also by whoever is killed meanwhile: no snapshot behind this counts from now on.
    let whole_to =
        if closed.iter().any(|segment| segment.aborted_is_torn) || options.clean_shutdown && active.aborted_is_torn {
            Some(Offset(-1))
        } else {
            active.aborted_is_torn.then_some(active.base)
        };
    if let Some(whole_to) = whole_to {
        tracing::warn!(folder = %folder.display(), "what was known of aborted transactions is damaged, and made anew from the log");
        let of_end = (whole_to < Offset::ZERO).then(|| (end, snapshot_of(folder, end)));
        let known = snapshots(disk, folder)?.into_iter().chain(of_end).filter(|(offset, _)| *offset > whole_to);
        for (_, path) in known {
            disk.write_atomically(&path, &[]).map_err(LogError::io("write", path))?;
        }
    }
    let mut from = if options.clean_shutdown { end } else { active.base };
    let (mut producers, mut has_snapshot, mut stale) = (Producers::default(), false, Vec::new());
    for (offset, path) in snapshots(disk, folder)? {
        let read = disk.read(&path).map_err(LogError::io("read", &path))?;
        match Producers::from_snapshot(&read).filter(|_| offset <= end) {
            Some(read) => {
                (producers, from, has_snapshot) = (read, offset, true);
                break;
            }
            // A crash has cut it, or the log behind which it stands. What is before it in the log says the same.
            None => {
                from = closed.first().map_or(active.base, |first| first.base);
                stale.push(path);
            }
        }
    }
    let is_behind = |segment: &&mut Segment| segment.next_offset > from || segment.base >= from;
    let newest = active.base;
    for segment in closed.iter_mut().chain([active]).filter(is_behind) {
        segment.forget_aborted_from(from)?;
        let (path, log) = (segment.files.log(), segment.log.clone());
        let position = segment.position_before(from.max(segment.base));
        let mut scan = BatchScan::new(&log, &path, position, segment.size);
        while let Some(batch) = scan.next_batch()? {
            let batch = batch?;
            if batch.base_offset() >= from {
                if let Some(ended) = producers.ended_by(&batch) {
                    segment.note_end(&batch, ended)?;
                }
                producers.note(&batch);
            }
        }
        if segment.base < newest || !stale.is_empty() {
            // It is not made anew once more.
            segment.sync_aborted()?;
        }
    }
    if !stale.is_empty() {
        // Before those go: who is killed now has to find one of them, or this.
        write_producers(disk, folder, end, &producers)?;
        has_snapshot = true;
        stale.retain(|path| *path != snapshot_of(folder, end));
        for path in stale {
            disk.remove_file(&path).map_err(LogError::io("remove", path))?;
        }
    }
    Ok((producers, has_snapshot))
}

fn snapshot_of(folder: &Path, offset: Offset) -> PathBuf {
    folder.join(segment_file_name(offset, SNAPSHOT))
}

/// Writes a snapshot, and removes those before it, but for the last one.
pub(crate) fn write_producers(
    disk: &Disk,
    folder: &Path,
    offset: Offset,
    producers: &Producers,
) -> Result<(), LogError> {
    let path = snapshot_of(folder, offset);
    disk.write_atomically(&path, &producers.to_snapshot()).map_err(LogError::io("write", &path))?;
    let earlier = snapshots(disk, folder)?.into_iter().filter(|(earlier, _)| *earlier <= offset);
    for (_, path) in earlier.skip(2) {
        disk.remove_file(&path).map_err(LogError::io("remove", path))?;
    }
    Ok(())
}
