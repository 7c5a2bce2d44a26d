//! The transactions that a compaction meets on its way through a log: records of aborted ones go at once, and a marker goes when
//! nothing is left that it speaks of. The rules are those of Apache Kafka 4.3.

use std::collections::VecDeque;

use hashbrown::{HashMap, HashSet};
use tidewater_protocol::{Batch, ControlKind};
use tidewater_types::Offset;

use crate::AbortedTransaction;

/// What is known of a marker.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Marker {
    /// There are no records left of its transaction.
    OfNothing,
    /// It is of a transaction that was committed, or is no marker of a transaction.
    Kept,
    /// It is of an aborted transaction, of which there were records until now.
    Aborts(AbortedTransaction),
}

/// The transactions that are met in a pass from the log's first batch to its last.
#[derive(Debug, Default)]
pub(super) struct TransactionsMet {
    /// Aborted ones that have not begun yet, by their first offsets.
    to_come: VecDeque<AbortedTransaction>,
    /// Aborted ones by producer, and whether a record of them was met.
    aborted: HashMap<i64, (AbortedTransaction, bool)>,
    /// Producers of others, of which a record was met.
    others: HashSet<i64>,
}

impl TransactionsMet {
    pub fn new(mut aborted: Vec<AbortedTransaction>) -> Self {
        aborted.sort_unstable_by_key(|aborted| aborted.first);
        TransactionsMet { to_come: aborted.into(), ..TransactionsMet::default() }
    }

    fn begin_up_to(&mut self, offset: Offset) {
        while let Some(next) = self.to_come.pop_front_if(|next| next.first <= offset) {
            self.aborted.insert(next.producer_id, (next, false));
        }
    }

    /// A batch of records; says whether it is of an aborted transaction.
    pub fn meet_records(&mut self, batch: &Batch) -> bool {
        self.begin_up_to(batch.last_offset());
        if !batch.is_transactional() {
            return false;
        }
        // A transaction whose marker was not met, as it has gone, has ended all the same.
        match self.aborted.get_mut(&batch.producer_id()) {
            Some((aborted, is_met)) if batch.base_offset() <= aborted.last => {
                *is_met = true;
                true
            }
            _ => {
                self.others.insert(batch.producer_id());
                false
            }
        }
    }

    /// A control batch.
    pub fn meet_marker(&mut self, batch: &Batch) -> Marker {
        self.begin_up_to(batch.last_offset());
        match batch.transaction_end().map(|end| end.kind) {
            None if batch.record_count() == 0 => Marker::OfNothing,
            None => Marker::Kept,
            Some(ControlKind::Abort) => match self.aborted.remove(&batch.producer_id()) {
                Some((aborted, true)) if aborted.last == batch.base_offset() => Marker::Aborts(aborted),
                Some(_) | None => Marker::OfNothing,
            },
            Some(ControlKind::Commit) if self.others.remove(&batch.producer_id()) => Marker::Kept,
            Some(ControlKind::Commit) => Marker::OfNothing,
        }
    }
}
