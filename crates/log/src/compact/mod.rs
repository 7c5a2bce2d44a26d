//! Keeping only the last record of each key.
//!
//! Appends and reads never wait for it: [`PartitionLog::plan_compaction`] takes hold of the closed segments, and a [`Compactor`] reads
//! them and writes new files without the log, which it only needs to put these in place. Neighbours that have become small are made one
//! segment, as Kafka does, so that a log of few keys has few files however long it is written to.
//!
//! The map from key to newest offset holds 16-byte hashes in bounded memory; what does not fit waits for the next run.
//! Tombstones stay for `delete.retention.ms` after the first compaction that meets them: it writes that moment into the
//! batch (attribute bit 6, with the base timestamp), as Kafka does since KIP-534. Records keep their offsets and batches
//! their last offset, so a batch whose records are all gone is dropped, except the last of a new segment and the last of a producer,
//! by which its numbers go on.
//!
//! Only what lies before the last stable offset is compacted. Records of aborted transactions go; a marker whose records have all
//! gone is given a horizon like that of a tombstone.

mod swap;
mod transactions;

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hashbrown::HashMap;
use tidewater_env::Disk;
use tidewater_protocol::{
    Batch, BatchBuilder, Compression, NO_PRODUCER_ID, ProducerStamp, RecordData, UNPACK_LIMIT_BYTES, patch_append_time,
    patch_base_offset, patch_leader_epoch,
};
use tidewater_types::{Offset, Timestamp};

use crate::partition::SEGMENT_LIMIT_BYTES;
use crate::producers::ActiveProducer;
use crate::segment::{BatchScan, Segment};
use crate::{AbortedTransaction, LogConfig, LogError, PartitionLog};
pub(crate) use swap::{SWAP, replace};
use transactions::{Marker, TransactionsMet};

/// What the names of files end with that are being written.
const CLEANED: &str = ".cleaned";

/// Memory that one entry of the key map takes: hash, offset, and the table's own room.
const MAP_ENTRY_BYTES: usize = 40;

/// What one compaction will work on.
#[derive(Debug)]
pub struct CompactionPlan {
    segments: Vec<Arc<Segment>>,
    /// Everything before this was compacted by an earlier run.
    clean_to: Offset,
    config: LogConfig,
    disk: Disk,
    now: Timestamp,
    aborted: Vec<AbortedTransaction>,
    /// Who has written to the log lately.
    producers: HashMap<i64, ActiveProducer>,
}

/// What is done to the log while nobody else does anything to it.
pub type Step<'a> = &'a mut dyn FnMut(&mut PartitionLog) -> Result<(), LogError>;

impl PartitionLog {
    /// What there is to compact, if enough is: the closed segments whose records are old enough.
    pub fn plan_compaction(&self, clean_to: Offset, now: Timestamp) -> Option<CompactionPlan> {
        if !self.config.cleanup.compact || !self.is_in_service() {
            return None;
        }
        // A mark behind the end is that of another log, which was here before.
        let clean_to = if clean_to > self.log_end() { Offset::ZERO } else { clean_to };
        let lag = Timestamp::from(self.config.min_compaction_lag).0;
        let segments: Vec<_> = self
            .closed
            .iter()
            .take_while(|segment| {
                segment.next_offset <= self.last_stable()
                    && (lag == 0 || now.0.saturating_sub(segment.newest().0) >= lag)
            })
            .cloned()
            .collect();
        let bytes = |dirty: bool| -> u64 {
            segments.iter().filter(|s| (s.next_offset > clean_to) == dirty).map(|segment| segment.size).sum()
        };
        let (clean, dirty) = (bytes(false), bytes(true));
        let oldest =
            segments.iter().filter(|segment| segment.next_offset > clean_to).find_map(|one| one.first_timestamp);
        let is_late = self
            .config
            .max_compaction_lag
            .is_some_and(|lag| oldest.is_some_and(|oldest| now.0.saturating_sub(oldest.0) > Timestamp::from(lag).0));
        let is_enough = dirty as f64 >= self.config.min_dirty_ratio * (clean + dirty) as f64;
        let due = dirty > 0 && (is_enough || is_late);
        due.then(|| CompactionPlan {
            segments,
            clean_to,
            config: self.config.clone(),
            disk: self.disk.clone(),
            now,
            aborted: self.aborted_between(Offset::ZERO, self.last_stable()),
            producers: self.producers().map(|producer| (producer.id, producer)).collect(),
        })
    }
}

/// Carries out compaction plans within a fixed memory budget.
#[derive(Debug)]
pub struct Compactor {
    newest: HashMap<u128, Offset>,
    capacity: usize,
}

impl Compactor {
    /// A compactor whose key map takes at most `memory_bytes`.
    pub fn new(memory_bytes: usize) -> Self {
        Compactor { newest: HashMap::new(), capacity: (memory_bytes / MAP_ENTRY_BYTES).max(1) }
    }

    /// Reads the plan's segments, and writes the compacted ones beside them, one after the other, each of which is put in place before
    /// the next is begun: so there is never more than one too much. For that it is given the log twice each time, by `on_log`. Before
    /// each batch it asks whether it is to stop. Gives the offset up to which the log is compacted.
    ///
    /// # Errors
    /// When a segment cannot be read, written or put in place, or it is to stop; those before it are compacted.
    pub fn run(
        &mut self,
        plan: &CompactionPlan,
        stops: &dyn Fn() -> bool,
        on_log: &mut dyn FnMut(Step<'_>) -> Result<(), LogError>,
    ) -> Result<Offset, LogError> {
        let clean_to = self.map_keys(plan, stops)?;
        let mut transactions = TransactionsMet::new(plan.aborted.clone());
        for group in plan.groups(clean_to) {
            let swapped = self
                .rewrite(plan, group, clean_to, &mut transactions, stops)
                .and_then(|new| plan.swap(group, new, on_log));
            swapped.inspect_err(|_| {
                // Its room is given back; what cannot be removed now is removed when the log is opened.
                let _ = group[0].files.with_suffix(CLEANED).remove(&plan.disk);
            })?;
        }
        self.newest.clear();
        Ok(clean_to)
    }

    /// Notes the newest offset of each key in the uncompacted part; gives the offset up to which the map reached.
    fn map_keys(&mut self, plan: &CompactionPlan, stops: &dyn Fn() -> bool) -> Result<Offset, LogError> {
        self.newest.clear();
        let not_ended = |aborted: &&AbortedTransaction| aborted.last >= plan.clean_to;
        let mut transactions = TransactionsMet::new(plan.aborted.iter().filter(not_ended).copied().collect());
        let mut reached = plan.clean_to;
        for segment in plan.segments.iter().filter(|segment| segment.next_offset > plan.clean_to) {
            let path = segment.files.log();
            let mut scan = BatchScan::new(
                &segment.log,
                &path,
                segment.position_before(plan.clean_to.max(segment.base)),
                segment.size,
            );
            while let Some(batch) = scan.next_batch()? {
                if stops() {
                    return Err(LogError::Interrupted);
                }
                let batch = batch?;
                if batch.next_offset() <= plan.clean_to {
                    continue;
                }
                batch.check_crc()?;
                if self.newest.len() + batch.record_count() as usize > self.capacity && !self.newest.is_empty() {
                    return Ok(reached);
                }
                if batch.is_control() {
                    transactions.meet_marker(&batch);
                } else if !transactions.meet_records(&batch) {
                    for record in batch.records(UNPACK_LIMIT_BYTES)?.iter() {
                        let record = record?;
                        if let Some(key) = record.key {
                            self.newest.insert(hash(key), record.offset);
                        }
                    }
                }
                reached = batch.next_offset();
            }
            reached = segment.next_offset;
        }
        Ok(reached)
    }

    /// Writes one segment with what stays of a group of them.
    fn rewrite(
        &self,
        plan: &CompactionPlan,
        group: &[Arc<Segment>],
        clean_to: Offset,
        transactions: &mut TransactionsMet,
        stops: &dyn Fn() -> bool,
    ) -> Result<Segment, LogError> {
        let (first, last) = (&group[0], &group[group.len() - 1]);
        let mut new = Segment::create(&plan.disk, first.files.with_suffix(CLEANED))?;
        for old in group {
            let path = old.files.log();
            let mut scan = BatchScan::new(&old.log, &path, 0, old.size);
            while let Some(batch) = scan.next_batch()? {
                if stops() {
                    return Err(LogError::Interrupted);
                }
                let batch = batch?;
                // What is damaged is not to come out with a CRC that says it is not.
                batch.check_crc()?;
                let stays_empty = batch.next_offset() == last.next_offset || plan.is_last_of_producer(&batch);
                let kept = if batch.is_control() {
                    let marker = transactions.meet_marker(&batch);
                    if let Marker::Aborts(aborted) = marker {
                        new.push_aborted(aborted)?;
                    }
                    plan.filter_marker(&batch, &marker, stays_empty)?
                } else {
                    let is_aborted = transactions.meet_records(&batch);
                    self.filter(plan, &batch, is_aborted, stays_empty, clean_to)?
                };
                if let Some(bytes) = kept {
                    let kept = Batch::parse(&bytes)?;
                    new.append(&kept, kept.leader_epoch(), plan.config.index_interval_bytes)?;
                }
            }
        }
        new.close()?;
        new.sync()?;
        new.release();
        // Records without timestamps are as old as their file, and get no younger by being copied.
        new.keep_modified(last)?;
        Ok(new)
    }

    /// The batch with the records that stay; `None` if none do.
    ///
    /// Tombstones are given a horizon, and go at it, only below `clean_to`: above it older values of their keys may be left.
    fn filter(
        &self,
        plan: &CompactionPlan,
        batch: &Batch,
        is_aborted: bool,
        stays_empty: bool,
        clean_to: Offset,
    ) -> Result<Option<Bytes>, LogError> {
        let is_mapped = batch.next_offset() <= clean_to;
        let horizon = batch.delete_horizon();
        let records = batch.records(UNPACK_LIMIT_BYTES)?;
        let mut kept: Vec<RecordData<'_>> = Vec::new();
        let mut tombstones = false;
        for record in records.iter().filter(|_| !is_aborted) {
            let record = record?;
            let Some(key) = record.key else { continue };
            let superseded = self.newest.get(&hash(key)).is_some_and(|&newest| record.offset < newest);
            let expired = is_mapped && record.value.is_none() && horizon.is_some_and(|horizon| plan.now >= horizon);
            if !superseded && !expired {
                tombstones |= record.value.is_none();
                kept.push(record);
            }
        }
        let set_horizon = is_mapped && tombstones && horizon.is_none();
        if kept.is_empty() && !stays_empty {
            return Ok(None);
        }
        if kept.len() == batch.record_count() as usize && !set_horizon {
            return Ok(Some(batch.bytes().clone()));
        }
        let horizon = if set_horizon { Some(plan.horizon()) } else { horizon };
        rebuild(batch, &kept, horizon).map(Some)
    }
}

impl CompactionPlan {
    /// The segments before `clean_to`, with those together that may become one: neighbours that are no larger together than a segment may
    /// be. As in Kafka's `Cleaner.groupSegmentsBySize`.
    fn groups(&self, clean_to: Offset) -> impl Iterator<Item = &[Arc<Segment>]> {
        let limit = self.config.segment_bytes.min(SEGMENT_LIMIT_BYTES);
        let mut left = &self.segments[..self.segments.partition_point(|segment| segment.base < clean_to)];
        std::iter::from_fn(move || {
            let (base, mut size) = (left.first()?.base, 0);
            let fits = left.iter().take_while(|segment| {
                size += segment.size;
                size <= limit && segment.next_offset.0 - base.0 <= i64::from(i32::MAX)
            });
            let (group, others) = left.split_at(fits.count().max(1));
            left = others;
            Some(group)
        })
    }

    /// Puts a new segment in the place of those that it was made from.
    fn swap(
        &self,
        old: &[Arc<Segment>],
        new: Segment,
        on_log: &mut dyn FnMut(Step<'_>) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        let mut are_there = false;
        on_log(&mut |log| {
            are_there = log.begin_swap(old, &new)?;
            Ok(())
        })?;
        if !are_there {
            return new.files.remove(&self.disk);
        }
        let files = &old[0].files;
        let synced = self.disk.sync_folder(files.folder()).map_err(LogError::io("sync", files.folder()));
        synced.inspect_err(|_| {
            // Or it would be put in place when the log is opened, whatever has become of that.
            let _ = files.with_suffix(SWAP).remove(&self.disk);
        })?;
        let mut new = Some(new);
        on_log(&mut |log| new.take().map_or(Ok(()), |new| log.finish_swap(old, new)))
    }

    /// When what is found to be of no use today may go.
    fn horizon(&self) -> Timestamp {
        Timestamp(self.now.0.saturating_add(Timestamp::from(self.config.delete_retention).0))
    }

    /// Whether a batch is the last that its producer has written, by which its numbers go on, and its epoch.
    fn is_last_of_producer(&self, batch: &Batch) -> bool {
        if batch.producer_id() == NO_PRODUCER_ID {
            return false;
        }
        self.producers.get(&batch.producer_id()).is_some_and(|producer| match producer.last_offset {
            Some(last) => batch.last_offset() == last,
            None => batch.is_control() && batch.producer_epoch() == producer.epoch,
        })
    }

    /// The control batch that stays; without its marker, or none, when there has been nothing for long that it speaks of.
    fn filter_marker(&self, batch: &Batch, marker: &Marker, stays_empty: bool) -> Result<Option<Bytes>, LogError> {
        match batch.delete_horizon() {
            _ if *marker != Marker::OfNothing => Ok(Some(batch.bytes().clone())),
            Some(horizon) if self.now >= horizon => {
                if stays_empty {
                    rebuild(batch, &[], Some(horizon)).map(Some)
                } else {
                    Ok(None)
                }
            }
            Some(_) => Ok(Some(batch.bytes().clone())),
            None => {
                let records = batch.records(UNPACK_LIMIT_BYTES)?;
                let kept = records.iter().collect::<Result<Vec<_>, _>>()?;
                rebuild(batch, &kept, Some(self.horizon())).map(Some)
            }
        }
    }
}

/// The batch anew with fewer records: same base and last offset, same producer, packed as it was.
fn rebuild(batch: &Batch, kept: &[RecordData<'_>], horizon: Option<Timestamp>) -> Result<Bytes, LogError> {
    let base = batch.base_offset().0;
    let mut builder = if kept.is_empty() {
        let mut empty = BatchBuilder::new(Compression::None);
        empty.set_time(batch.max_timestamp());
        empty
    } else {
        BatchBuilder::new(batch.compression().map_err(tidewater_protocol::BatchError::from)?)
    };
    if let Some(horizon) = horizon {
        builder.set_delete_horizon(horizon);
    }
    for record in kept {
        let delta = (record.offset.0 - base) as i32;
        builder.push_at(delta, record.timestamp, record.key, record.value, &record.headers());
    }
    builder.set_last_offset_delta(batch.last_offset_delta());
    let stamp = ProducerStamp {
        id: batch.producer_id(),
        epoch: batch.producer_epoch(),
        base_sequence: batch.base_sequence(),
        transactional: batch.is_transactional(),
    };
    let finished = if batch.is_control() { builder.finish_control(stamp) } else { builder.finish_as(stamp) };
    let mut bytes = BytesMut::from(finished.map_err(tidewater_protocol::BatchError::from)?);
    patch_base_offset(&mut bytes, batch.base_offset());
    patch_leader_epoch(&mut bytes, batch.leader_epoch());
    if batch.is_log_append_time() {
        patch_append_time(&mut bytes, batch.max_timestamp());
    }
    Ok(bytes.freeze())
}

/// 128 bits of SipHash: two keys of one topic never meet in practice.
fn hash(key: &[u8]) -> u128 {
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(seed);
        hasher.write(key);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}
