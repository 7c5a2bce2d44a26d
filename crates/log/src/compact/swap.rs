//! Putting a compacted segment in the place of those that it was made from.
//!
//! It goes in two steps, each short, so that whoever appends or reads does not wait for the disk: the new file is given a name that
//! says it is whole, which is made durable between the steps; then it takes the old ones' place. What a kill leaves of the second step
//! is done when the log is opened. File systems with a journal keep the order in which names change.

use std::path::PathBuf;
use std::sync::Arc;

use tidewater_env::Disk;

use crate::segment::{Segment, SegmentFiles};
use crate::{LogError, PartitionLog};

/// What the names of files end with that are whole, and wait for their place.
pub(crate) const SWAP: &str = ".swap";

impl PartitionLog {
    /// Where segments stand among the closed ones; `None` if retention was faster, or the topic was deleted.
    fn place_of(&self, old: &[Arc<Segment>]) -> Option<usize> {
        let at = self.closed.iter().position(|segment| Arc::ptr_eq(segment, &old[0]))?;
        let there = self.closed.get(at..at + old.len())?;
        let are_there = there.iter().zip(old).all(|(one, other)| Arc::ptr_eq(one, other));
        (are_there && self.is_in_service()).then_some(at)
    }

    /// Gives the files of a new segment the names that say they are whole. Says whether the old ones are still there.
    pub(super) fn begin_swap(&mut self, old: &[Arc<Segment>], new: &Segment) -> Result<bool, LogError> {
        if self.place_of(old).is_none() {
            return Ok(false);
        }
        let swap = old[0].files.with_suffix(SWAP);
        if new.aborted().is_empty() {
            // So that what the old ones know of aborted transactions goes in any case: of some there are no markers left.
            let path = swap.aborted();
            let empty = self.disk.open(&path).and_then(|file| file.set_len(0));
            empty.map_err(LogError::io("create", path))?;
        } else {
            move_file(&self.disk, new.files.aborted(), swap.aborted())?;
        }
        move_file(&self.disk, new.files.log(), swap.log())?;
        Ok(true)
    }

    /// Puts it in place. Readers that hold the old files finish with them. If that fails half way the log stops, so that nothing else is
    /// done to its segments before it is opened again, which ends it.
    pub(super) fn finish_swap(&mut self, old: &[Arc<Segment>], new: Segment) -> Result<(), LogError> {
        let Some(at) = self.place_of(old) else {
            old[0].files.with_suffix(SWAP).remove(&self.disk)?;
            return new.files.remove(&self.disk);
        };
        self.swap_at(at, old, new).inspect_err(|error| self.stop(error))
    }

    fn swap_at(&mut self, at: usize, old: &[Arc<Segment>], new: Segment) -> Result<(), LogError> {
        let files = old[0].files.clone();
        let [offsets, times, ..] = new.files.all();
        let [to_offsets, to_times, ..] = files.all();
        let others: Vec<_> = old[1..].iter().map(|segment| segment.files.clone()).collect();
        replace(&self.disk, &files, &others)?;
        if new.aborted().is_empty() {
            // That of the old one. Left there it would do no harm: it names transactions of which there are no records.
            remove(&self.disk, files.aborted())?;
        }
        self.unsynced = behind(self.unsynced, self.closed.len(), (at, old.len()));
        self.unsynced_logs = behind(self.unsynced_logs, self.closed.len(), (at, old.len()));
        self.closed.splice(at..at + old.len(), [Arc::new(new.renamed(files))]);
        // Until they are there, the log is searched.
        move_file(&self.disk, offsets, to_offsets)?;
        move_file(&self.disk, times, to_times)
    }
}

/// Puts a file that waits for its place there: the segments that it covers beside the first one, and the indexes of that, are gone before.
pub(crate) fn replace(disk: &Disk, files: &SegmentFiles, others: &[SegmentFiles]) -> Result<(), LogError> {
    let swap = files.with_suffix(SWAP);
    let [offsets, times, ..] = files.all();
    remove(disk, offsets)?;
    remove(disk, times)?;
    for other in others {
        other.remove(disk)?;
    }
    // If it is not there, it is in its place already.
    if disk.exists(&swap.aborted()) {
        move_file(disk, swap.aborted(), files.aborted())?;
    }
    move_file(disk, swap.log(), files.log())
}

fn remove(disk: &Disk, path: PathBuf) -> Result<(), LogError> {
    disk.remove_file(&path).map_err(LogError::io("remove", path))
}

fn move_file(disk: &Disk, from: PathBuf, to: PathBuf) -> Result<(), LogError> {
    disk.move_file(&from, &to).map_err(LogError::io("rename", from))
}

/// Of `length` segments the last `count` are to be made durable: how many are, once those at a place have become one that is durable.
fn behind(count: usize, length: usize, (at, replaced): (usize, usize)) -> usize {
    let first = length.saturating_sub(count);
    if first >= at + replaced {
        count
    } else if first >= at {
        length - (at + replaced)
    } else {
        length.min(count) - (replaced - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_that_become_one_are_counted_as_one() {
        // Of ten, those at 4, 5 and 6.
        let counted = |count| behind(count, 10, (4, 3));
        assert_eq!(
            [counted(0), counted(3), counted(4), counted(6), counted(7), counted(10), counted(12)],
            [0, 3, 3, 3, 5, 8, 8]
        );
    }
}
