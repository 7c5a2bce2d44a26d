//! What a partition knows of idempotent producers: their epochs, their last batches, by which repeats are found, and their
//! transactions.
//!
//! A producer numbers its records. A batch that was written already is told by its numbers and not written again; one that
//! leaves a gap is refused, and so is one of an earlier epoch. A transaction begins with the first batch that says it is of one,
//! and ends with a marker. The rules are those of Apache Kafka 4.3.
//!
//! The state is kept in snapshots, in Kafka's format: version 1 (2), CRC-32C of what follows (4), count (4), then for each
//! producer its id (8), epoch (2), last sequence number (4), last offset (8), offset delta (4), timestamp (8), the
//! coordinator's epoch (4), and the first offset of its open transaction (8), or −1.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use thiserror::Error;
use tidewater_protocol::{Batch, ControlKind, NO_PRODUCER_ID, NO_SEQUENCE};
use tidewater_types::{Offset, Timestamp};

/// So many batches of a producer are known.
const KNOWN_BATCHES: usize = 5;
const SNAPSHOT_VERSION: u16 = 1;
/// Version, CRC, count.
const SNAPSHOT_HEADER: usize = 10;
const SNAPSHOT_ENTRY: usize = 46;
const NO_EPOCH: i16 = -1;
const NO_COORDINATOR: i32 = -1;
const NONE: i64 = -1;

/// Why a producer's batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProducerError {
    /// Another one of the same id has begun a later epoch.
    #[error("producer {id} has epoch {epoch}, but {current} has begun; it was fenced, and must begin anew")]
    Fenced {
        /// The producer.
        id: i64,
        /// Its epoch.
        epoch: i16,
        /// The latest.
        current: i16,
    },
    /// Records before it are missing.
    #[error("producer {id}, epoch {epoch}: sequence number {found} does not follow {last}")]
    OutOfOrder {
        /// The producer.
        id: i64,
        /// Its epoch.
        epoch: i16,
        /// The number of the first record.
        found: i32,
        /// The last number that was written.
        last: i32,
    },
    /// A record outside of the transaction that the producer has begun.
    #[error("producer {id}, epoch {epoch}: a record that is of no transaction, while one is open")]
    InTransaction {
        /// The producer.
        id: i64,
        /// Its epoch.
        epoch: i16,
    },
    /// A record of a transaction that has ended, or was never begun.
    #[error("producer {id}, epoch {epoch}: a record of a transaction, and none is open")]
    NotInTransaction {
        /// The producer.
        id: i64,
        /// Its epoch.
        epoch: i16,
    },
    /// A marker of a coordinator that another one has followed.
    #[error("producer {id}: a marker of coordinator epoch {epoch}, but {current} has begun")]
    CoordinatorFenced {
        /// The producer.
        id: i64,
        /// The coordinator's epoch.
        epoch: i32,
        /// The latest.
        current: i32,
    },
}

/// A batch that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    first_sequence: i32,
    last_sequence: i32,
    last_offset: Offset,
    offset_delta: i32,
    timestamp: Timestamp,
}

impl Written {
    fn of(batch: &Batch) -> Self {
        let (first, delta) = (batch.base_sequence(), batch.last_offset_delta());
        Written {
            first_sequence: first,
            last_sequence: if first == NO_SEQUENCE { NO_SEQUENCE } else { advance(first, delta) },
            last_offset: batch.last_offset(),
            offset_delta: delta,
            timestamp: batch.max_timestamp(),
        }
    }

    /// Offset of its first record.
    pub fn first(&self) -> Offset {
        Offset(self.last_offset.0 - i64::from(self.offset_delta))
    }

    /// Its latest timestamp.
    pub fn time(&self) -> Timestamp {
        self.timestamp
    }

    /// Offset behind its last record.
    pub fn next(&self) -> Offset {
        self.last_offset.next()
    }
}

/// A sequence number some records on; behind the largest comes 0.
fn advance(sequence: i32, by: i32) -> i32 {
    ((i64::from(sequence) + i64::from(by)) & i64::from(i32::MAX)) as i32
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    batches: VecDeque<Written>,
    last_timestamp: Timestamp,
    coordinator_epoch: i32,
    /// The offset of the first record of its open transaction.
    open: Option<Offset>,
}

impl Default for Producer {
    fn default() -> Self {
        Producer {
            epoch: NO_EPOCH,
            batches: VecDeque::new(),
            last_timestamp: Timestamp::NONE,
            coordinator_epoch: NO_COORDINATOR,
            open: None,
        }
    }
}

impl Producer {
    /// Goes on to another epoch, in which numbers begin anew.
    fn take_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
    }
}

/// The end of a transaction that has records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The offset of its first record.
    pub first: Offset,
    pub kind: ControlKind,
    /// Every transaction that began before this offset has ended.
    pub last_stable: Offset,
}

/// A producer, as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Its number.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// The number of its last record, or −1.
    pub last_sequence: i32,
    /// The time of its last batch.
    pub last_timestamp: Timestamp,
    /// The epoch of the coordinator that ended its last transaction, or −1.
    pub coordinator_epoch: i32,
    /// The offset of the first record of its open transaction.
    pub transaction_start: Option<Offset>,
    /// The offset of its last record, if it has written any in its epoch.
    pub last_offset: Option<Offset>,
}

/// The producers of a partition, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Producers {
    by_id: BTreeMap<i64, Producer>,
    /// Where open transactions begin.
    open: BTreeSet<(Offset, i64)>,
}

impl Producers {
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Where the oldest open transaction begins.
    pub fn first_open(&self) -> Option<Offset> {
        self.open.first().map(|(offset, _)| *offset)
    }

    /// Whether a producer has a transaction open in this epoch.
    pub fn is_open(&self, id: i64, epoch: i16) -> bool {
        self.by_id.get(&id).is_some_and(|producer| producer.open.is_some() && producer.epoch == epoch)
    }

    /// Whether a producer has written batches in its last epoch.
    pub fn has_batches(&self, id: i64) -> bool {
        self.by_id.get(&id).is_some_and(|producer| !producer.batches.is_empty())
    }

    /// Whether a coordinator's batch may be written now, in a producer's transaction. Nobody counts what coordinators write: their batches
    /// all begin at the same number, or at none.
    pub fn check_coordinators(&self, batch: &Batch) -> Result<(), ProducerError> {
        let (id, epoch) = (batch.producer_id(), batch.producer_epoch());
        match self.by_id.get(&id) {
            Some(producer) if epoch < producer.epoch => {
                Err(ProducerError::Fenced { id, epoch, current: producer.epoch })
            }
            Some(producer) if producer.open.is_some() && !batch.is_transactional() => {
                Err(ProducerError::InTransaction { id, epoch })
            }
            _ => Ok(()),
        }
    }

    /// Whether a producer's batch may be written now; or the same one, if it was written before.
    pub fn check(&self, batch: &Batch) -> Result<Option<Written>, ProducerError> {
        let (id, epoch, first) = (batch.producer_id(), batch.producer_epoch(), batch.base_sequence());
        let Some(producer) = self.by_id.get(&id) else { return Ok(None) };
        let last = producer.batches.back().map(|written| written.last_sequence);
        if epoch == producer.epoch && first != NO_SEQUENCE {
            let new = Written::of(batch);
            let same = |known: &&Written| {
                (known.first_sequence, known.last_sequence) == (new.first_sequence, new.last_sequence)
            };
            if let Some(written) = producer.batches.iter().find(same) {
                return Ok(Some(*written));
            }
        }
        if epoch < producer.epoch {
            return Err(ProducerError::Fenced { id, epoch, current: producer.epoch });
        }
        // A new epoch begins at 0; in the same one, a number follows the one before.
        let expected = if epoch > producer.epoch { 0 } else { last.map_or(0, |last| advance(last, 1)) };
        if first != NO_SEQUENCE && first != expected {
            return Err(ProducerError::OutOfOrder { id, epoch, found: first, last: last.unwrap_or(-1) });
        }
        if producer.open.is_some() && !batch.is_transactional() {
            return Err(ProducerError::InTransaction { id, epoch });
        }
        Ok(None)
    }

    /// Whether a coordinator may end a producer's transaction. Where each transaction has an epoch of its own, `own_epoch`, the
    /// marker has a later one than the records, or is a repeat.
    pub fn check_end(&self, id: i64, epoch: i16, coordinator_epoch: i32, own_epoch: bool) -> Result<(), ProducerError> {
        let Some(producer) = self.by_id.get(&id) else { return Ok(()) };
        let is_repeat = epoch == producer.epoch && (producer.open.is_none() || epoch == i16::MAX);
        if epoch < producer.epoch || (own_epoch && epoch == producer.epoch && !is_repeat) {
            return Err(ProducerError::Fenced { id, epoch, current: producer.epoch });
        }
        match producer.coordinator_epoch {
            current if current > coordinator_epoch => {
                Err(ProducerError::CoordinatorFenced { id, epoch: coordinator_epoch, current })
            }
            _ => Ok(()),
        }
    }

    /// The transaction that a batch ends, if that is a marker.
    pub fn ended_by(&self, batch: &Batch) -> Option<Ended> {
        let end = batch.transaction_end()?;
        let id = batch.producer_id();
        let first = self.by_id.get(&id)?.open?;
        let others = self.open.iter().find(|open| **open != (first, id));
        Some(Ended { first, kind: end.kind, last_stable: others.map_or(batch.next_offset(), |(first, _)| *first) })
    }

    /// Takes notice of a batch in the log.
    pub fn note(&mut self, batch: &Batch) {
        let id = batch.producer_id();
        if id == NO_PRODUCER_ID {
            return;
        }
        let producer = self.by_id.entry(id).or_default();
        producer.take_epoch(batch.producer_epoch());
        producer.last_timestamp = batch.max_timestamp();
        if batch.is_control() {
            if let Some(end) = batch.transaction_end() {
                producer.coordinator_epoch = end.coordinator_epoch;
                if let Some(first) = producer.open.take() {
                    self.open.remove(&(first, id));
                }
            }
            return;
        }
        if producer.batches.len() == KNOWN_BATCHES {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Written::of(batch));
        if batch.is_transactional() && producer.open.is_none() {
            producer.open = Some(batch.base_offset());
            self.open.insert((batch.base_offset(), id));
        }
    }

    pub fn active(&self) -> impl Iterator<Item = ActiveProducer> {
        self.by_id.iter().map(|(&id, producer)| ActiveProducer {
            id,
            epoch: producer.epoch,
            last_sequence: producer.batches.back().map_or(-1, |last| last.last_sequence),
            last_timestamp: producer.last_timestamp,
            coordinator_epoch: producer.coordinator_epoch,
            transaction_start: producer.open,
            last_offset: producer.batches.back().map(|last| last.last_offset),
        })
    }

    /// Forgets producers that have written nothing since a time, but for those with an open transaction.
    pub fn expire(&mut self, before: Timestamp) {
        self.by_id.retain(|_, producer| producer.last_timestamp >= before || producer.open.is_some());
    }

    /// The state as a file holds it; of each producer the last batch.
    pub fn to_snapshot(&self) -> Vec<u8> {
        let mut entries = Vec::with_capacity(4 + self.by_id.len() * SNAPSHOT_ENTRY);
        entries.extend_from_slice(&(self.by_id.len() as u32).to_be_bytes());
        for (id, producer) in &self.by_id {
            let last = producer.batches.back();
            entries.extend_from_slice(&id.to_be_bytes());
            entries.extend_from_slice(&producer.epoch.to_be_bytes());
            entries.extend_from_slice(&last.map_or(-1, |last| last.last_sequence).to_be_bytes());
            entries.extend_from_slice(&last.map_or(NONE, |last| last.last_offset.0).to_be_bytes());
            entries.extend_from_slice(&last.map_or(0, |last| last.offset_delta).to_be_bytes());
            entries.extend_from_slice(&producer.last_timestamp.0.to_be_bytes());
            entries.extend_from_slice(&producer.coordinator_epoch.to_be_bytes());
            entries.extend_from_slice(&producer.open.map_or(NONE, |first| first.0).to_be_bytes());
        }
        let mut out = Vec::with_capacity(SNAPSHOT_HEADER + entries.len());
        out.extend_from_slice(&SNAPSHOT_VERSION.to_be_bytes());
        out.extend_from_slice(&crc32c::crc32c(&entries).to_be_bytes());
        out.extend_from_slice(&entries);
        out
    }

    /// Reads a snapshot; `None` if it is damaged, or of a version that is not known.
    pub fn from_snapshot(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first_chunk::<2>()?;
        let (crc, entries) = rest.split_first_chunk::<4>()?;
        if u16::from_be_bytes(*version) != SNAPSHOT_VERSION || u32::from_be_bytes(*crc) != crc32c::crc32c(entries) {
            return None;
        }
        let (count, mut entries) = entries.split_first_chunk::<4>()?;
        let mut producers = Producers::default();
        for _ in 0..u32::from_be_bytes(*count) {
            let (entry, rest) = entries.split_first_chunk::<SNAPSHOT_ENTRY>()?;
            entries = rest;
            let long = |at: usize| entry[at..at + 8].iter().fold(0i64, |all, byte| all << 8 | i64::from(*byte));
            let int = |at: usize| entry[at..at + 4].iter().fold(0i32, |all, byte| all << 8 | i32::from(*byte));
            let (last_sequence, last_offset, offset_delta) = (int(10), long(14), int(22));
            let timestamp = Timestamp(long(26));
            let written = Written {
                // Kafka, too, tells the first number from the last one and the delta.
                first_sequence: match last_sequence {
                    NO_SEQUENCE => NO_SEQUENCE,
                    last => advance(last, -offset_delta),
                },
                last_sequence,
                last_offset: Offset(last_offset),
                offset_delta,
                timestamp,
            };
            let batches = if last_offset == NONE { VecDeque::new() } else { [written].into() };
            let epoch = i16::from_be_bytes([entry[8], entry[9]]);
            let (id, open) = (long(0), Some(Offset(long(38))).filter(|first| first.0 != NONE));
            producers.open.extend(open.map(|first| (first, id)));
            let producer = Producer { epoch, batches, last_timestamp: timestamp, coordinator_epoch: int(34), open };
            producers.by_id.insert(id, producer);
        }
        entries.is_empty().then_some(producers)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidewater_protocol::{BatchBuilder, Compression, ProducerStamp, patch_base_offset};
    use tidewater_types::Headers;

    use super::*;

    /// A batch of a producer at an offset.
    fn batch(id: i64, epoch: i16, base_sequence: i32, records: usize, offset: i64) -> Batch {
        let mut builder = BatchBuilder::new(Compression::None);
        for _ in 0..records {
            builder.push(Timestamp(5), None, Some(b"v"), &Headers::EMPTY);
        }
        let stamp = ProducerStamp { id, epoch, base_sequence, transactional: false };
        let mut bytes = builder.finish_as(stamp).unwrap().to_vec();
        patch_base_offset(&mut bytes, Offset(offset));
        Batch::parse(&bytes.into()).unwrap()
    }

    fn written(batches: &[Batch]) -> Producers {
        let mut producers = Producers::default();
        for batch in batches {
            producers.note(batch);
        }
        producers
    }

    #[test]
    fn numbers_follow_each_other_and_repeats_are_known() {
        let batches: Vec<_> = (0..7).map(|n| batch(1, 0, 2 * n, 2, 10 * i64::from(n))).collect();
        let producers = written(&batches);
        assert_eq!(producers.check(&batch(1, 0, 14, 1, 0)), Ok(None));
        for batch in &batches[2..] {
            let known = producers.check(batch).unwrap().unwrap();
            assert_eq!((known.first(), known.next()), (batch.base_offset(), batch.next_offset()));
        }
        // The sixth from the end is forgotten, and looks like a gap.
        let gap = |found| Err(ProducerError::OutOfOrder { id: 1, epoch: 0, found, last: 13 });
        assert_eq!(producers.check(&batches[1]), gap(2));
        assert_eq!(producers.check(&batch(1, 0, 15, 1, 0)), gap(15));
        assert_eq!(producers.check(&batch(1, 0, 12, 1, 0)), gap(12), "half of a batch");
    }

    #[test]
    fn epochs_begin_at_nought_and_fence() {
        let producers = written(&[batch(1, 3, 7, 1, 0)]);
        assert_eq!(producers.check(&batch(1, 4, 0, 1, 0)), Ok(None));
        let gap = ProducerError::OutOfOrder { id: 1, epoch: 4, found: 8, last: 7 };
        assert_eq!(producers.check(&batch(1, 4, 8, 1, 0)), Err(gap));
        let fenced = ProducerError::Fenced { id: 1, epoch: 2, current: 3 };
        assert_eq!(producers.check(&batch(1, 2, 8, 1, 0)), Err(fenced));
        assert_eq!(producers.check(&batch(2, 9, 77, 1, 0)), Ok(None), "an unknown one begins anywhere");
    }

    #[test]
    fn behind_the_largest_number_comes_nought() {
        let producers = written(&[batch(1, 0, i32::MAX - 1, 3, 0)]);
        assert_eq!(producers.check(&batch(1, 0, 1, 1, 0)), Ok(None));
        let known = producers.check(&batch(1, 0, i32::MAX - 1, 3, 0)).unwrap().unwrap();
        assert_eq!(known.next(), Offset(3));
    }

    #[test]
    fn a_snapshot_has_the_last_batch_of_each() {
        let producers = written(&[batch(1, 0, 0, 2, 0), batch(1, 0, 2, 3, 2), batch(7, 2, 5, 1, 5)]);
        let bytes = producers.to_snapshot();
        assert_eq!(bytes.len(), SNAPSHOT_HEADER + 2 * SNAPSHOT_ENTRY);
        let read = Producers::from_snapshot(&bytes).unwrap();
        assert_eq!(read, written(&[batch(1, 0, 2, 3, 2), batch(7, 2, 5, 1, 5)]));
        for cut in 0..bytes.len() {
            assert_eq!(Producers::from_snapshot(&bytes[..cut]), None);
        }
        let mut damaged = bytes.clone();
        damaged[20] ^= 1;
        assert_eq!(Producers::from_snapshot(&damaged), None);
    }

    #[test]
    fn those_that_are_long_gone_are_forgotten() {
        let mut producers = written(&[batch(1, 0, 0, 1, 0)]);
        producers.expire(Timestamp(5));
        assert!(!producers.is_empty());
        producers.expire(Timestamp(6));
        assert!(producers.is_empty());
    }

    /// A producer as a model: the batches of its epoch in the log, of which the last few are known.
    #[derive(Default)]
    struct Told {
        epoch: i16,
        /// First number, records, offset.
        batches: Vec<(i32, usize, i64)>,
        known: usize,
        next: i32,
    }

    #[derive(Clone, Debug)]
    enum Step {
        Send(i64, usize),
        /// Once more what it has sent, so many before the last.
        Repeat(i64, usize),
        Skip(i64, i32),
        NewEpoch(i64),
        OldEpoch(i64),
        /// What is known is read from a snapshot.
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        let who = || 1i64..4;
        prop_oneof![
            8 => (who(), 1usize..4).prop_map(|(id, records)| Step::Send(id, records)),
            6 => (who(), 0usize..8).prop_map(|(id, before)| Step::Repeat(id, before)),
            2 => (who(), 1i32..9).prop_map(|(id, by)| Step::Skip(id, by)),
            1 => who().prop_map(Step::NewEpoch),
            1 => who().prop_map(Step::OldEpoch),
            1 => Just(Step::Restart),
        ]
    }

    proptest! {
        /// Whatever is sent again, each batch is in the log once, without a gap; who has sent it learns where.
        #[test]
        fn a_batch_is_taken_once_and_in_its_turn(steps in prop::collection::vec(step(), 1..120), near_the_end: bool) {
            let begin = if near_the_end { i32::MAX - 20 } else { 0 };
            let mut producers = Producers::default();
            let mut told: BTreeMap<i64, Told> = BTreeMap::new();
            let mut end = 0;
            for step in steps {
                let (id, sent) = match &step {
                    Step::Send(id, _) | Step::Repeat(id, _) | Step::Skip(id, _) | Step::NewEpoch(id) | Step::OldEpoch(id) => {
                        // An unknown producer may begin anywhere.
                        (*id, told.entry(*id).or_insert(Told { next: begin, ..Told::default() }))
                    }
                    Step::Restart => {
                        producers = Producers::from_snapshot(&producers.to_snapshot()).unwrap();
                        told.values_mut().for_each(|sent| sent.known = sent.known.min(1));
                        continue;
                    }
                };
                match step {
                    Step::Send(_, records) => {
                        let new = batch(id, sent.epoch, sent.next, records, end);
                        prop_assert_eq!(producers.check(&new), Ok(None));
                        producers.note(&new);
                        sent.batches.push((sent.next, records, end));
                        sent.known = (sent.known + 1).min(KNOWN_BATCHES);
                        sent.next = advance(sent.next, records as i32);
                        end += records as i64;
                    }
                    Step::Repeat(_, before) => {
                        let Some(at) = sent.batches.len().checked_sub(before + 1) else { continue };
                        let (first, records, offset) = sent.batches[at];
                        match producers.check(&batch(id, sent.epoch, first, records, end)) {
                            Ok(Some(written)) => prop_assert_eq!((written.first().0, before < sent.known), (offset, true)),
                            Ok(None) => prop_assert!(false, "a batch is taken twice"),
                            Err(error) => {
                                prop_assert!(before >= sent.known, "{}", error);
                                let is_gap = matches!(error, ProducerError::OutOfOrder { .. });
                                prop_assert!(is_gap, "{}", error);
                            }
                        }
                    }
                    Step::Skip(_, by) if !sent.batches.is_empty() => {
                        let gap = producers.check(&batch(id, sent.epoch, advance(sent.next, by), 1, end));
                        let is_gap = matches!(gap, Err(ProducerError::OutOfOrder { .. }));
                        prop_assert!(is_gap, "{:?}", gap);
                    }
                    Step::NewEpoch(_) if !sent.batches.is_empty() => {
                        let epoch = sent.epoch + 1;
                        let gap = producers.check(&batch(id, epoch, 1, 1, end));
                        let is_gap = matches!(gap, Err(ProducerError::OutOfOrder { .. }));
                        prop_assert!(is_gap, "{:?}", gap);
                        let new = batch(id, epoch, 0, 1, end);
                        prop_assert_eq!(producers.check(&new), Ok(None));
                        producers.note(&new);
                        *sent = Told { epoch, batches: vec![(0, 1, end)], known: 1, next: 1 };
                        end += 1;
                    }
                    Step::OldEpoch(_) if sent.epoch > 0 => {
                        let fenced = producers.check(&batch(id, sent.epoch - 1, sent.next, 1, end));
                        prop_assert_eq!(fenced, Err(ProducerError::Fenced { id, epoch: sent.epoch - 1, current: sent.epoch }));
                    }
                    _ => {}
                }
            }
        }
    }
}
