//! The log of one partition: its segments in order, and the offsets that mean something.
//!
//! ```text
//!   log start      last stable   high watermark     log end
//!       |  segments ... |              |               |
//!       v               v              v               v
//!       [closed][closed]... [      active segment     ] <- appends
//! ```
//!
//! The high watermark is what readers may see. One node has nobody to wait for, so whoever appends raises it; that it is
//! a value of its own leaves room for replication. Behind the last stable offset there are transactions that may be aborted:
//! who reads what is committed stops there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tidewater_env::Disk;
use tidewater_protocol::{Batch, BatchError, ControlKind, NO_PRODUCER_ID, UNPACK_LIMIT_BYTES, control_batch};
use tidewater_types::{Offset, Timestamp};

use crate::producers::{ActiveProducer, Producers};
use crate::recovery::{self, Recovered};
use crate::segment::{Segment, SegmentFiles};
use crate::{AbortedTransaction, LogConfig, LogError, ProducerError, TimestampType};

/// A segment's positions and relative offsets are 32 bits wide.
pub(crate) const SEGMENT_LIMIT_BYTES: u64 = i32::MAX as u64;

/// How to open a log.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The topic's settings.
    pub config: LogConfig,
    /// Whether the log was closed in good order; if not, segments from `recovery_point` on are read and checked.
    pub clean_shutdown: bool,
    /// Everything before this offset is known to be on disk whole.
    pub recovery_point: Offset,
    /// Records before this offset were deleted, as far as their segments are still there.
    pub log_start: Offset,
}

impl OpenOptions {
    /// A recovery point behind all that there is: each write was made durable before the next, so that the last one alone can be torn.
    pub const ALL_DURABLE: Offset = Offset(i64::MAX);
    /// The same of a log whose last write is whole, too.
    pub const WHOLE: Offset = Offset(i64::MAX - 1);
}

/// Where appended records ended up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub first: Offset,
    /// Offset behind the last one.
    pub next: Offset,
    /// The broker's timestamp, if the topic uses LogAppendTime; that of the batch, if it was there before.
    pub append_time: Option<Timestamp>,
    /// Whether `flush.messages` wants them durable before anybody is told; see [`PartitionLog::begin_sync`].
    pub sync_is_due: bool,
}

/// The end of a producer's transaction, as its coordinator has it written into each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionMarker {
    /// Whose it is.
    pub producer_id: i64,
    /// In which epoch.
    pub producer_epoch: i16,
    /// Whether its records are to be seen.
    pub kind: ControlKind,
    /// The coordinator's own epoch.
    pub coordinator_epoch: i32,
    /// Whether each transaction has an epoch of its own, so that the marker has a later one than the records.
    pub own_epoch: bool,
}

/// Up to where a log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// All that is there, up to the high watermark.
    ReadUncommitted,
    /// Up to the last stable offset.
    ReadCommitted,
}

/// The batches in some bytes.
fn split(records: &Bytes) -> Result<Vec<Batch>, BatchError> {
    let mut batches = Vec::with_capacity(1);
    let mut rest = records.clone();
    while !rest.is_empty() {
        let batch = Batch::parse(&rest)?;
        rest = rest.slice(batch.len()..);
        batches.push(batch);
    }
    Ok(batches)
}

/// The log of one partition; one owner appends, see the module's picture.
#[derive(Debug)]
pub struct PartitionLog {
    pub(crate) folder: PathBuf,
    pub(crate) disk: Disk,
    pub(crate) config: LogConfig,
    pub(crate) closed: Vec<Arc<Segment>>,
    pub(crate) active: Segment,
    pub(crate) log_start: Offset,
    high_watermark: Offset,
    leader_epoch: i32,
    /// Whether `leader-epoch-checkpoint` says so.
    epoch_is_noted: bool,
    producers: Producers,
    /// Whether there is a snapshot of the producers.
    has_snapshot: bool,
    pub(crate) records_since_sync: u64,
    /// How many of the last closed segments were not synced, and of how many not even the records.
    pub(crate) unsynced: usize,
    pub(crate) unsynced_logs: usize,
    /// Whether it is durable which files there are.
    pub(crate) folder_is_synced: bool,
    stopped: Option<String>,
    retired: bool,
}

impl PartitionLog {
    /// Opens the log in `folder`, which is made if it is absent, and says what had to be mended.
    ///
    /// # Errors
    /// When the disk refuses, a file does not belong here, or a segment other than the last is damaged.
    pub fn open(disk: &Disk, folder: &Path, options: OpenOptions) -> Result<(Self, Recovered), LogError> {
        disk.create_folder(folder).map_err(LogError::io("create", folder))?;
        let (mut segments, recovered) = recovery::open_segments(disk, folder, &options)?;
        let mut active = match segments.pop() {
            Some(active) => active,
            None => Segment::create(disk, SegmentFiles::new(folder, Offset::ZERO))?,
        };
        let first = segments.first().map_or(active.base, |segment| segment.base);
        let log_start = options.log_start.clamp(first, active.next_offset);
        let noted_epoch = recovery::read_leader_epoch(disk, folder)?;
        let (producers, has_snapshot) = recovery::read_producers(disk, folder, &mut segments, &mut active, &options)?;
        for segment in &mut segments {
            // What recovery has made anew is written: the segment is not closed again.
            segment.flush_indexes()?;
            segment.release();
        }
        active.load_indexes()?;
        // What was read after a crash is in memory, and need not be on disk.
        let is_unsynced = |segment: &&Segment| !options.clean_shutdown && segment.next_offset > options.recovery_point;
        let unsynced = segments.iter().filter(is_unsynced).count();
        let log = PartitionLog {
            folder: folder.to_owned(),
            disk: disk.clone(),
            config: options.config,
            log_start,
            high_watermark: active.next_offset,
            closed: segments.into_iter().map(Arc::new).collect(),
            active,
            leader_epoch: noted_epoch.unwrap_or(0),
            epoch_is_noted: noted_epoch.is_some(),
            producers,
            has_snapshot,
            records_since_sync: 0,
            unsynced,
            unsynced_logs: unsynced,
            folder_is_synced: false,
            stopped: None,
            retired: false,
        };
        Ok((log, recovered))
    }

    /// The partition's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The settings in force.
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Changes the settings; they hold from the next append on.
    pub fn set_config(&mut self, config: LogConfig) {
        self.config = config;
    }

    /// The first offset that may be read.
    pub fn log_start(&self) -> Offset {
        self.log_start
    }

    /// The offset that the next record gets.
    pub fn log_end(&self) -> Offset {
        self.active.next_offset
    }

    /// The offset behind the last record that readers may see.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The offset before which every transaction has ended, or the high watermark if none is open.
    pub fn last_stable(&self) -> Offset {
        let first_open = self.producers.first_open().map_or(self.high_watermark, |first| first.max(self.log_start));
        first_open.min(self.high_watermark)
    }

    /// Up to where one may read.
    pub fn readable_to(&self, isolation: Isolation) -> Offset {
        match isolation {
            Isolation::ReadUncommitted => self.high_watermark,
            Isolation::ReadCommitted => self.last_stable(),
        }
    }

    /// The epoch under which this node leads the partition.
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// Lets readers see everything before `offset`.
    pub fn raise_high_watermark(&mut self, offset: Offset) {
        self.high_watermark = self.high_watermark.max(offset.min(self.log_end()));
    }

    /// Bytes of all segments.
    pub fn size(&self) -> u64 {
        self.closed.iter().map(|segment| segment.size).sum::<u64>() + self.active.size
    }

    /// The largest timestamp of the log, or none if it is empty.
    pub fn max_timestamp(&self) -> Timestamp {
        self.closed.iter().map(|segment| segment.max_timestamp).fold(self.active.max_timestamp, Ord::max)
    }

    /// Appends one or more batches as they are; only offset, leader epoch and (for LogAppendTime) timestamp are set.
    ///
    /// When this returns, the bytes are in the file: a killed process loses nothing. A power cut may, until they are made durable:
    /// [`Appended::sync_is_due`]. Readers see them once the high watermark is raised.
    ///
    /// # Errors
    /// When a batch is invalid or too large (nothing is written), or the disk refuses: then what was half written is cut off again, and
    /// the log stops, unless there was no room for one batch.
    pub fn append(&mut self, records: Bytes, now: Timestamp) -> Result<Appended, LogError> {
        let batches = split(&records)?;
        batches.iter().try_for_each(Batch::check_crc)?;
        self.append_batches(batches, now)
    }

    /// The same for one batch whose CRC has been checked.
    ///
    /// # Errors
    /// As [`PartitionLog::append`].
    pub fn append_checked(&mut self, batch: Batch, now: Timestamp) -> Result<Appended, LogError> {
        self.append_batches(vec![batch], now)
    }

    /// The same for what a coordinator writes, in a producer's transaction or in none: it is not held against what was written before.
    ///
    /// # Errors
    /// As [`PartitionLog::append`].
    pub fn append_coordinators(&mut self, records: Bytes, now: Timestamp) -> Result<Appended, LogError> {
        self.check_in_service()?;
        let batches = split(&records)?;
        for batch in &batches {
            batch.check_crc()?;
            self.check(batch)?;
            self.producers.check_coordinators(batch)?;
        }
        self.pack_and_write(batches, now)
    }

    fn append_batches(&mut self, batches: Vec<Batch>, now: Timestamp) -> Result<Appended, LogError> {
        self.check_in_service()?;
        batches.iter().try_for_each(|batch| self.check(batch))?;
        if let [batch] = &batches[..]
            && batch.producer_id() != NO_PRODUCER_ID
            && let Some(written) = self.producers.check(batch)?
        {
            // It was written, and the producer has not heard of it.
            let append_time = Some(written.time());
            // Whoever wrote it may still be at making it durable.
            let sync_is_due = self.config.flush_messages == Some(1);
            return Ok(Appended { first: written.first(), next: written.next(), append_time, sync_is_due });
        }
        self.pack_and_write(batches, now)
    }

    /// Writes batches from the log's end on, packed as the topic says.
    fn pack_and_write(&mut self, batches: Vec<Batch>, now: Timestamp) -> Result<Appended, LogError> {
        let Some(compression) = self.config.compression else { return self.write_from_end(batches, now) };
        let repack = |batch: Batch| match batch.compression() {
            Ok(codec) if codec == compression => Ok(batch),
            _ => Batch::parse(&batch.repacked(compression)?),
        };
        let packed: Vec<Batch> = batches.into_iter().map(repack).collect::<Result<_, _>>()?;
        packed.iter().try_for_each(|batch| self.check_size(batch))?;
        self.write_from_end(packed, now)
    }

    /// Ends a producer's transaction: from now on its records are to be seen, or never.
    ///
    /// # Errors
    /// When a later epoch of the producer or of the coordinator has begun, or the disk refuses.
    pub fn append_marker(&mut self, marker: &TransactionMarker, now: Timestamp) -> Result<Appended, LogError> {
        self.check_in_service()?;
        let TransactionMarker { producer_id, producer_epoch, kind, coordinator_epoch, own_epoch } = *marker;
        self.producers.check_end(producer_id, producer_epoch, coordinator_epoch, own_epoch)?;
        let batch = control_batch(kind, producer_id, producer_epoch, coordinator_epoch, now);
        self.write_from_end(vec![Batch::parse(&batch)?], now)
    }

    /// Writes batches from the log's end on.
    fn write_from_end(&mut self, batches: Vec<Batch>, now: Timestamp) -> Result<Appended, LogError> {
        let first = self.log_end();
        let mut next = first;
        let append_time = (self.config.timestamp_type == TimestampType::LogAppendTime).then_some(now);
        let mut placed = Vec::with_capacity(batches.len());
        for batch in batches {
            let batch = match append_time {
                Some(append_time) => batch.with_append_time(append_time),
                None => batch,
            };
            let batch = batch.moved_to(next);
            next = batch.next_offset();
            placed.push(batch);
        }
        if let Err(error) = self.write(&placed) {
            // Of the first batch nothing is noted before it is in the file.
            let is_as_before = error.is_full_disk() && placed.len() == 1 && self.active.drop_unfinished().is_ok();
            if !is_as_before {
                self.stopped = Some(error.to_string());
                // The next start cuts the tail if this fails too, and reads of producers what is left.
                let _ = self.truncate_to(first);
            }
            return Err(error);
        }
        let sync_is_due = self.config.flush_messages.is_some_and(|limit| self.records_since_sync >= limit);
        Ok(Appended { first, next, append_time, sync_is_due })
    }

    /// Whether the log takes appends: it has not been stopped by a failure.
    pub fn is_in_service(&self) -> bool {
        self.stopped.is_none()
    }

    pub(crate) fn check_in_service(&self) -> Result<(), LogError> {
        match &self.stopped {
            Some(reason) => Err(LogError::Stopped { path: self.folder.clone(), reason: reason.clone() }),
            None => Ok(()),
        }
    }

    fn check_size(&self, batch: &Batch) -> Result<(), LogError> {
        match self.config.max_message_bytes {
            limit if batch.len() > limit => Err(LogError::BatchTooLarge { size: batch.len(), limit }),
            _ => Ok(()),
        }
    }

    /// Checks a batch of a request before a byte of that is written.
    fn check(&self, batch: &Batch) -> Result<(), LogError> {
        self.check_size(batch)?;
        if batch.last_offset_delta() < 0 || batch.last_offset_delta() != batch.record_count() - 1 {
            return Err(LogError::Batch(BatchError::BadRecords {
                offset: batch.base_offset().0,
                what: "its last offset delta does not match its record count",
            }));
        }
        if self.config.cleanup.compact && !batch.is_control() {
            let mut without_key = Vec::new();
            for (index, record) in batch.records(UNPACK_LIMIT_BYTES)?.iter().enumerate() {
                if record?.key.is_none() {
                    without_key.push(index as i32);
                }
            }
            if !without_key.is_empty() {
                return Err(LogError::KeysRequired { records: without_key });
            }
        }
        Ok(())
    }

    fn write(&mut self, batches: &[Batch]) -> Result<(), LogError> {
        if !self.epoch_is_noted {
            recovery::write_leader_epoch(&self.disk, &self.folder, self.leader_epoch, self.log_end())?;
            self.epoch_is_noted = true;
        }
        for batch in batches {
            self.roll_if_due(batch)?;
            // First, so that no reader finds a transaction ended that he is not told of as aborted.
            if let Some(ended) = self.producers.ended_by(batch) {
                self.active.note_end(batch, ended)?;
            }
            self.active.append(batch, self.leader_epoch, self.config.index_interval_bytes)?;
            self.producers.note(batch);
            self.records_since_sync += batch.record_count() as u64;
        }
        Ok(())
    }

    fn roll_if_due(&mut self, batch: &Batch) -> Result<(), LogError> {
        let active = &self.active;
        let limit = self.config.segment_bytes.min(SEGMENT_LIMIT_BYTES);
        let full = active.size + batch.len() as u64 > limit;
        let aged = active.first_timestamp.is_some_and(|first| {
            // What must be compacted in time must be in a closed segment by then.
            let lag = self.config.max_compaction_lag.filter(|_| self.config.cleanup.compact);
            let age = lag.map_or(self.config.segment_age, |lag| lag.min(self.config.segment_age));
            batch.max_timestamp().0.saturating_sub(first.0) > Timestamp::from(age).0
        });
        let wide = batch.last_offset().0 - active.base.0 > i64::from(u32::MAX >> 1);
        if active.size > 0 && (full || aged || wide) { self.roll() } else { Ok(()) }
    }

    /// Closes the active segment and begins another one. An empty active segment stays.
    ///
    /// # Errors
    /// When the disk refuses: then the log stops, since what there is of the new segment is not known, unless there was no room for it.
    pub fn roll(&mut self) -> Result<(), LogError> {
        self.check_in_service()?;
        if self.active.size == 0 {
            return Ok(());
        }
        self.try_to_roll().inspect_err(|error| {
            if !error.is_full_disk() {
                self.stop(error);
            }
        })
    }

    fn try_to_roll(&mut self) -> Result<(), LogError> {
        self.active.close()?;
        // Before there is another segment, or a kill between would leave nobody who knows what this one says of producers.
        self.write_snapshot()?;
        let files = SegmentFiles::new(&self.folder, self.log_end());
        let next = Segment::create(&self.disk, files)?;
        let mut closed = std::mem::replace(&mut self.active, next);
        closed.release();
        self.closed.push(Arc::new(closed));
        self.unsynced += 1;
        self.unsynced_logs += 1;
        self.folder_is_synced = false;
        Ok(())
    }

    /// Writes down what is known of producers, so that the log need not be read for it when it is opened.
    fn write_snapshot(&mut self) -> Result<(), LogError> {
        if self.has_snapshot || !self.producers.is_empty() {
            recovery::write_producers(&self.disk, &self.folder, self.log_end(), &self.producers)?;
            self.has_snapshot = true;
        }
        Ok(())
    }

    /// The idempotent producers that have written lately.
    pub fn producers(&self) -> impl Iterator<Item = ActiveProducer> {
        self.producers.active()
    }

    /// Whether a producer has a transaction open in this epoch.
    pub fn has_open_transaction(&self, producer_id: i64, epoch: i16) -> bool {
        self.producers.is_open(producer_id, epoch)
    }

    /// Whether a batch of a transaction is of one that is open, or is known already. One that comes late must not begin another, which
    /// nobody would end.
    ///
    /// # Errors
    /// When it is of none, or its producer is fenced.
    pub fn check_in_transaction(&self, batch: &Batch) -> Result<(), LogError> {
        let (id, epoch) = (batch.producer_id(), batch.producer_epoch());
        if self.producers.is_open(id, epoch) || self.producers.check(batch)?.is_some() {
            return Ok(());
        }
        Err(ProducerError::NotInTransaction { id, epoch }.into())
    }

    /// Whether a producer has written in its last epoch, as far as is known.
    pub fn knows_batches_of(&self, producer_id: i64) -> bool {
        self.producers.has_batches(producer_id)
    }

    /// The aborted transactions that have records from `from` on, and of them those that begin before `below`: whoever reads so far
    /// leaves their records out. In the order in which they end.
    pub fn aborted_between(&self, from: Offset, below: Offset) -> Vec<AbortedTransaction> {
        let segments = self.closed.iter().map(|segment| &**segment).chain([&self.active]);
        let mut found = Vec::new();
        for aborted in segments.filter(|segment| segment.next_offset > from).flat_map(Segment::aborted) {
            if aborted.last >= from && aborted.first < below {
                found.push(*aborted);
            }
            // What was aborted later began later.
            if aborted.last_stable >= below {
                break;
            }
        }
        found
    }

    /// Forgets producers that have written nothing since a time.
    pub fn expire_producers(&mut self, before: Timestamp) {
        self.producers.expire(before);
    }

    /// Drops all records from `offset` on.
    pub fn truncate_to(&mut self, offset: Offset) -> Result<(), LogError> {
        while offset < self.active.base
            && let Some(previous) = self.closed.pop()
        {
            let dropped = std::mem::replace(
                &mut self.active,
                Segment::open(&self.disk, previous.files.clone(), self.config.index_interval_bytes)?,
            );
            dropped.files.remove(&self.disk)?;
        }
        self.active.truncate(offset)?;
        self.high_watermark = self.high_watermark.min(self.log_end());
        Ok(())
    }

    /// Hides all records before `offset`, and removes the segments that hold nothing else (`DeleteRecords`).
    pub fn delete_before(&mut self, offset: Offset) -> Result<(), LogError> {
        if let Some(reason) = self.stopped.as_ref().filter(|_| self.retired) {
            return Err(LogError::Stopped { path: self.folder.clone(), reason: reason.clone() });
        }
        if offset > self.high_watermark {
            return Err(LogError::OffsetOutOfRange { offset, start: self.log_start, end: self.high_watermark });
        }
        if offset <= self.log_start {
            return Ok(());
        }
        self.log_start = offset;
        self.remove_hidden()?;
        if offset == self.log_end() {
            // There may be room for that only now.
            self.roll()?;
            self.remove_hidden()?;
        }
        Ok(())
    }

    /// Removes the closed segments that hold nothing that may be read.
    fn remove_hidden(&mut self) -> Result<(), LogError> {
        while self.closed.first().is_some_and(|segment| segment.next_offset <= self.log_start) {
            self.closed.remove(0).files.remove(&self.disk)?;
        }
        Ok(())
    }

    /// Makes everything durable and the indexes complete: the end of a clean shutdown. Gives the recovery point.
    ///
    /// # Errors
    /// When the disk refuses, or has refused before: what a failed write left is cut off when the log is opened again.
    pub fn close(&mut self) -> Result<Offset, LogError> {
        if let Some(reason) = self.stopped.as_ref().filter(|_| !self.retired) {
            return Err(LogError::Stopped { path: self.folder.clone(), reason: reason.clone() });
        }
        self.active.close()?;
        self.write_snapshot()?;
        self.sync()?;
        Ok(self.log_end())
    }

    /// Gives back the room that was asked for ahead, if nothing was written since the last time.
    pub fn trim(&mut self) -> Result<(), LogError> {
        self.active.trim()
    }

    /// Takes the log out of service after a failure, until it is opened again.
    pub fn stop(&mut self, error: &LogError) {
        if !self.retired {
            self.stopped = Some(error.to_string());
        }
    }

    /// Takes the log out of service, as its topic is deleted: no more is appended, and no file is touched under its old path.
    pub fn retire(&mut self) {
        self.stopped = Some("its topic was deleted".to_owned());
        self.retired = true;
    }

    /// Whether the log is out of service.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired
    }
}
