//! One transactional id: the producer that has it, and the transaction that it is in. Each decision gives the state that comes next;
//! nothing changes before that is written.
//!
//! ```text
//!   Empty ──> Ongoing ──> PrepareCommit ──> CompleteCommit ──> Ongoing ...
//!                 └─────> PrepareAbort  ──> CompleteAbort  ──> Ongoing ...
//! ```
//!
//! There are two versions of transactions. In the first, a producer keeps its epoch from transaction to transaction; in the second
//! (KIP-890), the end of each begins the next epoch, so that nothing which is late can get into the next transaction.

use std::collections::BTreeSet;

use tidewater_protocol::{ControlKind, ResponseError};
use tidewater_types::{Timestamp, TopicPartition};

use crate::journal::Producer;

pub(super) const NO_PRODUCER: i64 = -1;
pub(super) const NO_EPOCH: i16 = -1;
const NO_TIME: Timestamp = Timestamp(-1);
/// The last epoch that a client is given: there is one more to fence it with.
const LAST_EPOCH: i16 = i16::MAX - 1;

/// Gives a number that no producer has had.
pub(super) type NewId<'a> = &'a mut dyn FnMut() -> Result<i64, ResponseError>;

/// Which rules hold for a client's transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// An epoch for each producer.
    First,
    /// An epoch for each transaction.
    Second,
}

impl Rules {
    /// The level of `transaction.version` that has them.
    fn level(self) -> i16 {
        match self {
            Rules::First => 0,
            Rules::Second => 2,
        }
    }
}

/// `TransactionState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
}

impl State {
    const ALL: [State; 6] = [
        State::Empty,
        State::Ongoing,
        State::PrepareCommit,
        State::PrepareAbort,
        State::CompleteCommit,
        State::CompleteAbort,
    ];

    pub fn id(self) -> i8 {
        self as i8
    }

    pub fn of(id: i8) -> Option<Self> {
        State::ALL.into_iter().find(|state| state.id() == id)
    }

    pub fn named(name: &str) -> Option<Self> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::Ongoing => "Ongoing",
            State::PrepareCommit => "PrepareCommit",
            State::PrepareAbort => "PrepareAbort",
            State::CompleteCommit => "CompleteCommit",
            State::CompleteAbort => "CompleteAbort",
        }
    }
}

/// What is to be done for a producer that begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// It gets this.
    With(Transaction),
    /// The one before it has a transaction open, which is aborted first.
    AfterAbort,
}

/// What is to be done for a producer that ends its transaction.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// This is written, then the markers.
    With(Transaction),
    /// It was done; the producer that there is now.
    Done(Producer),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transaction {
    pub producer: Producer,
    /// The number that the producer had before the last change.
    pub previous_id: i64,
    /// The number that it will have when its transaction has ended, if it has had all epochs.
    pub next_id: i64,
    /// The epoch before, by which a repeated request is known; not written.
    pub last_epoch: i16,
    pub timeout_ms: i32,
    pub state: State,
    pub places: BTreeSet<TopicPartition>,
    pub started: Timestamp,
    pub updated: Timestamp,
    pub client_version: i16,
}

impl Transaction {
    /// One that nothing is written of yet.
    pub fn new(producer_id: i64, timeout_ms: i32, now: Timestamp) -> Self {
        Transaction {
            producer: Producer { id: producer_id, epoch: NO_EPOCH },
            previous_id: NO_PRODUCER,
            next_id: NO_PRODUCER,
            last_epoch: NO_EPOCH,
            timeout_ms,
            state: State::Empty,
            places: BTreeSet::new(),
            started: NO_TIME,
            updated: now,
            client_version: 0,
        }
    }

    /// Whether its end is decided, and not yet known everywhere.
    pub fn is_ending(&self) -> bool {
        matches!(self.state, State::PrepareCommit | State::PrepareAbort)
    }

    fn is_exhausted(&self) -> bool {
        self.producer.epoch >= LAST_EPOCH
    }

    /// The next state, with nothing else changed.
    fn to(&self, state: State, now: Timestamp) -> Self {
        Transaction { state, previous_id: self.producer.id, updated: now, ..self.clone() }
    }

    /// A producer begins, or begins anew: as the one that it says to be, if it does.
    pub fn begin(
        &self,
        timeout_ms: i32,
        expected: Option<Producer>,
        now: Timestamp,
        new_id: NewId<'_>,
    ) -> Result<Begin, ResponseError> {
        let is_ours = |expected: Producer| {
            self.producer.epoch == NO_EPOCH
                || expected.id == self.producer.id
                || (expected.id == self.previous_id && expected.epoch >= LAST_EPOCH)
        };
        if expected.is_some_and(|expected| !is_ours(expected)) {
            return Err(ResponseError::ProducerFenced);
        }
        match self.state {
            State::PrepareCommit | State::PrepareAbort => return Err(ResponseError::ConcurrentTransactions),
            State::Ongoing => return Ok(Begin::AfterAbort),
            State::Empty | State::CompleteCommit | State::CompleteAbort => {}
        }
        let mut next = self.to(State::Empty, now);
        next.timeout_ms = timeout_ms;
        next.places.clear();
        next.started = NO_TIME;
        let epoch = self.producer.epoch;
        if self.is_exhausted() && expected.is_none_or(|expected| expected.epoch == epoch) {
            next.producer = Producer { id: new_id()?, epoch: 0 };
            next.last_epoch = if expected.is_some() { epoch } else { NO_EPOCH };
            return Ok(Begin::With(next));
        }
        if self.is_exhausted() && expected.is_none_or(|expected| expected.epoch != self.last_epoch) {
            return Err(ResponseError::ProducerFenced);
        }
        match expected {
            None => {
                next.producer.epoch = epoch + 1;
                next.last_epoch = NO_EPOCH;
            }
            Some(expected) if epoch == NO_EPOCH || expected.epoch == epoch => {
                next.producer.epoch = epoch + 1;
                next.last_epoch = epoch;
            }
            // A repeat of what succeeded.
            Some(expected) if expected.epoch == self.last_epoch => {}
            Some(_) => return Err(ResponseError::ProducerFenced),
        }
        Ok(Begin::With(next))
    }

    fn check_producer(&self, producer: Producer) -> Result<(), ResponseError> {
        if self.producer.id != producer.id {
            return Err(ResponseError::InvalidProducerIdMapping);
        }
        if self.producer.epoch != producer.epoch {
            return Err(ResponseError::ProducerFenced);
        }
        if self.is_ending() {
            return Err(ResponseError::ConcurrentTransactions);
        }
        Ok(())
    }

    /// Whether a producer may write to a partition that it has added before.
    pub fn check_place(&self, producer: Producer, place: &TopicPartition) -> Result<(), ResponseError> {
        self.check_producer(producer)?;
        if self.places.contains(place) { Ok(()) } else { Err(ResponseError::TransactionAbortable) }
    }

    /// A producer will write to partitions; `None` if that is known.
    pub fn add(
        &self,
        producer: Producer,
        places: &[TopicPartition],
        rules: Rules,
        now: Timestamp,
    ) -> Result<Option<Self>, ResponseError> {
        self.check_producer(producer)?;
        if self.state == State::Ongoing && places.iter().all(|place| self.places.contains(place)) {
            return Ok(None);
        }
        let mut next = self.to(State::Ongoing, now);
        if self.state != State::Ongoing {
            next.started = now;
        }
        next.places.extend(places.iter().cloned());
        next.client_version = rules.level();
        Ok(Some(next))
    }

    /// A producer ends its transaction.
    pub fn end(
        &self,
        producer: Producer,
        kind: ControlKind,
        rules: Rules,
        now: Timestamp,
        new_id: NewId<'_>,
    ) -> Result<End, ResponseError> {
        match rules {
            Rules::First => self.end_by_first_rules(producer, kind, now),
            Rules::Second => self.end_by_second_rules(producer, kind, now, new_id),
        }
    }

    fn end_by_first_rules(&self, producer: Producer, kind: ControlKind, now: Timestamp) -> Result<End, ResponseError> {
        if self.producer.id != producer.id {
            return Err(ResponseError::InvalidProducerIdMapping);
        }
        if self.producer.epoch != producer.epoch {
            return Err(ResponseError::ProducerFenced);
        }
        match (self.state, kind) {
            (State::Ongoing, kind) => {
                let mut next = self.to(prepared(kind), now);
                next.next_id = NO_PRODUCER;
                next.client_version = Rules::First.level();
                Ok(End::With(next))
            }
            (State::CompleteCommit, ControlKind::Commit) | (State::CompleteAbort, ControlKind::Abort) => {
                Ok(End::Done(self.producer))
            }
            (State::PrepareCommit, ControlKind::Commit) | (State::PrepareAbort, ControlKind::Abort) => {
                Err(ResponseError::ConcurrentTransactions)
            }
            _ => Err(ResponseError::InvalidTxnState),
        }
    }

    fn end_by_second_rules(
        &self,
        producer: Producer,
        kind: ControlKind,
        now: Timestamp,
        new_id: NewId<'_>,
    ) -> Result<End, ResponseError> {
        // What was done already has begun the next epoch, or a new number if there were no more epochs.
        let has_new_id = self.previous_id == producer.id && producer.epoch == LAST_EPOCH && self.producer.epoch == 0;
        let has_next_epoch = i32::from(self.producer.epoch) == i32::from(producer.epoch) + 1;
        let is_repeat = has_new_id || has_next_epoch;
        if self.producer.id != producer.id && !has_new_id {
            return Err(ResponseError::InvalidProducerIdMapping);
        }
        let is_current = producer.epoch == self.producer.epoch;
        let is_valid = match self.state {
            State::Empty | State::Ongoing => is_current,
            State::PrepareCommit | State::PrepareAbort => has_next_epoch,
            State::CompleteCommit | State::CompleteAbort => is_repeat || is_current,
        };
        if !is_valid {
            return Err(ResponseError::ProducerFenced);
        }
        match (self.state, kind) {
            (State::Ongoing, kind) => self.next_epoch(kind, now, new_id).map(End::With),
            (State::CompleteCommit, ControlKind::Commit) if is_repeat => Ok(End::Done(self.producer)),
            (State::CompleteAbort, ControlKind::Abort) if is_repeat => Ok(End::Done(self.producer)),
            // A transaction that nothing was written in begins another epoch, too.
            (State::CompleteCommit | State::CompleteAbort, ControlKind::Abort) if !is_repeat => {
                self.next_epoch(kind, now, new_id).map(End::With)
            }
            (State::Empty, ControlKind::Abort) => self.next_epoch(kind, now, new_id).map(End::With),
            (State::PrepareCommit, ControlKind::Commit) | (State::PrepareAbort, ControlKind::Abort) => {
                Err(ResponseError::ConcurrentTransactions)
            }
            _ => Err(ResponseError::InvalidTxnState),
        }
    }

    /// The end of the transaction, by which the producer has the next epoch.
    fn next_epoch(&self, kind: ControlKind, now: Timestamp, new_id: NewId<'_>) -> Result<Self, ResponseError> {
        let mut next = self.to(prepared(kind), now);
        next.next_id = if self.is_exhausted() { new_id()? } else { NO_PRODUCER };
        next.last_epoch = self.producer.epoch;
        next.producer.epoch = self.producer.epoch.saturating_add(1);
        next.client_version = Rules::Second.level();
        if self.state != State::Ongoing {
            next.started = now;
        }
        Ok(next)
    }

    /// The transaction has lasted too long, or another producer begins: it is aborted, in an epoch that nobody is given.
    pub fn fence(&self, now: Timestamp, new_id: NewId<'_>) -> Result<Self, ResponseError> {
        self.next_epoch(ControlKind::Abort, now, new_id)
    }

    /// How it ends, once that is decided, and by which rules.
    pub fn ending(&self) -> Option<(ControlKind, Rules)> {
        let rules = if self.client_version == Rules::Second.level() { Rules::Second } else { Rules::First };
        match self.state {
            State::PrepareCommit => Some((ControlKind::Commit, rules)),
            State::PrepareAbort => Some((ControlKind::Abort, rules)),
            _ => None,
        }
    }

    /// All partitions know the end.
    pub fn complete(&self, now: Timestamp) -> Self {
        let state = if self.state == State::PrepareCommit { State::CompleteCommit } else { State::CompleteAbort };
        let mut next = self.to(state, now);
        if self.next_id != NO_PRODUCER {
            next.producer = Producer { id: self.next_id, epoch: 0 };
        }
        next.next_id = NO_PRODUCER;
        next.places.clear();
        next
    }
}

fn prepared(kind: ControlKind) -> State {
    match kind {
        ControlKind::Commit => State::PrepareCommit,
        ControlKind::Abort => State::PrepareAbort,
    }
}
