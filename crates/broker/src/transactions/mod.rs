//! The transactions of producers: which partitions they write to, and how they end.
//!
//! All of it is a state machine over the records of `__transaction_state`. It reads no clock and touches no disk: it is told the
//! time, and given a journal and the partitions to write to. What it decides is in the journal before it is told to anybody. Here
//! all partitions are at hand, so that a transaction's end is in each of them before its producer is told.

mod records;
#[cfg(test)]
mod tests;
mod transaction;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidewater_log::TransactionMarker;
use tidewater_protocol::{ControlKind, ResponseError};
use tidewater_types::{Timestamp, TopicPartition};

use crate::journal::{Journal, Producer};
use crate::timers::Timers;
pub(crate) use records::TRANSACTIONS_TOPIC;
use records::{read_key, read_value, transaction_key, transaction_value};
use transaction::{Begin, End, Transaction};
pub(crate) use transaction::{Rules, State};

/// How long the end of a transaction rests that could not be written somewhere.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The epoch of the coordinator: it is the only one that there ever is.
const COORDINATOR_EPOCH: i32 = 0;

/// What transactions may be like, by the broker's settings for them.
#[derive(Clone, Debug)]
pub struct TransactionSettings {
    /// `transaction.max.timeout.ms`: the longest time that a producer may ask for. Default 15 minutes.
    pub max_timeout: Duration,
    /// `transactional.id.expiration.ms`: how long an id is known that nobody uses. Default 7 days.
    pub id_expiration: Duration,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`. Default 1 hour.
    pub id_check_interval: Duration,
}

impl Default for TransactionSettings {
    fn default() -> Self {
        TransactionSettings {
            max_timeout: Duration::from_secs(15 * 60),
            id_expiration: Duration::from_secs(7 * 24 * 3600),
            id_check_interval: Duration::from_secs(3600),
        }
    }
}

/// The partitions that transactions write to.
pub(crate) trait Markers {
    /// Writes the end of a transaction into a partition. One that is gone, or that knows of a later epoch, has no more to do with
    /// it.
    fn write(&mut self, place: &TopicPartition, marker: &TransactionMarker) -> Result<(), ResponseError>;
}

/// What transactions are told of the world.
pub(crate) struct Outside<'a> {
    /// Since some fixed moment.
    pub now: Duration,
    pub wall: Timestamp,
    pub settings: &'a TransactionSettings,
    pub journal: &'a mut dyn Journal,
    pub markers: &'a mut dyn Markers,
    /// Gives a number that no producer has had.
    pub new_id: &'a mut dyn FnMut() -> Result<i64, ResponseError>,
}

/// What happens when time has passed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A transaction has lasted for as long as it may.
    Timeout(Arc<str>),
    /// The end of a transaction could not be written somewhere.
    Finish(Arc<str>),
    /// Ids are looked for that nobody uses.
    Expire,
}

/// A transaction, for administrators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described<'a> {
    pub id: &'a str,
    pub producer: Producer,
    pub state: State,
    pub timeout_ms: i32,
    pub started: Timestamp,
    pub places: Vec<&'a TopicPartition>,
}

/// All transactions, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    by_id: BTreeMap<Arc<str>, Transaction>,
    timers: Timers<Timer>,
}

impl Transactions {
    /// Takes a record of `__transaction_state` in; those of other kinds are passed over.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) {
        let Some(id) = read_key(key) else { return };
        match value.map(read_value) {
            Some(None) => tracing::warn!(id, "a transaction in the log cannot be read"),
            None => drop(self.by_id.remove(&*id)),
            Some(Some(transaction)) => drop(self.by_id.insert(id.into(), transaction)),
        }
    }

    /// All records were replayed: time begins to count, and what was ending goes on.
    pub fn start(&mut self, now: Duration, wall: Timestamp, settings: &TransactionSettings) {
        for (id, transaction) in &self.by_id {
            set_timers(&mut self.timers, id, transaction, now, wall);
        }
        self.expire_later(now, settings);
    }

    /// Looks for unused ids after a while, as long as there are any.
    fn expire_later(&mut self, now: Duration, settings: &TransactionSettings) {
        if !self.by_id.is_empty() {
            self.timers.set(Timer::Expire, now + settings.id_check_interval);
        }
    }

    /// When the next deadline is.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// Does what has become due.
    pub fn pass_time(&mut self, outside: &mut Outside<'_>) {
        while let Some(due) = self.timers.take_due(outside.now) {
            match due {
                Timer::Timeout(id) => {
                    if let Err(error) = self.fence(outside, &id) {
                        tracing::debug!(%id, %error, "a transaction that lasts too long could not be aborted; it is tried again");
                        self.timers.set(Timer::Timeout(id), outside.now + RETRY_PAUSE);
                    } else {
                        tracing::info!(%id, "a transaction has lasted longer than its timeout, and was aborted");
                    }
                }
                Timer::Finish(id) => self.finish(outside, &id),
                Timer::Expire => {
                    self.expire_ids(outside);
                    self.expire_later(outside.now, outside.settings);
                }
            }
        }
    }

    /// A producer begins: gives its number and epoch. What the one before it has left open is aborted.
    pub fn begin(
        &mut self,
        outside: &mut Outside<'_>,
        id: &str,
        timeout_ms: i32,
        expected: Option<Producer>,
    ) -> Result<Producer, ResponseError> {
        if id.is_empty() {
            return Err(ResponseError::InvalidRequest);
        }
        if u128::try_from(timeout_ms).map_or(true, |ms| ms == 0 || ms > outside.settings.max_timeout.as_millis()) {
            return Err(ResponseError::InvalidTransactionTimeout);
        }
        let known = self.by_id.get(id).cloned();
        let current = match known {
            Some(known) => known,
            None => Transaction::new((outside.new_id)()?, timeout_ms, outside.wall),
        };
        let next = match current.begin(timeout_ms, expected, outside.wall, outside.new_id)? {
            Begin::With(next) => next,
            Begin::AfterAbort => {
                self.fence(outside, id)?;
                let aborted = self.by_id.get(id).ok_or(ResponseError::ConcurrentTransactions)?;
                match aborted.begin(timeout_ms, expected, outside.wall, outside.new_id)? {
                    Begin::With(next) => next,
                    Begin::AfterAbort => return Err(ResponseError::ConcurrentTransactions),
                }
            }
        };
        let is_first = self.by_id.is_empty();
        let producer = next.producer;
        self.write(outside, id, next)?;
        if is_first {
            self.expire_later(outside.now, outside.settings);
        }
        Ok(producer)
    }

    /// A producer will write to partitions, and begins its transaction with the first.
    pub fn add(
        &mut self,
        outside: &mut Outside<'_>,
        id: &str,
        producer: Producer,
        places: &[TopicPartition],
        rules: Rules,
    ) -> Result<(), ResponseError> {
        match self.get(id)?.add(producer, places, rules, outside.wall)? {
            Some(next) => self.write(outside, id, next),
            None => Ok(()),
        }
    }

    /// Whether a producer may write to a partition that it has added before.
    pub fn check_place(&self, id: &str, producer: Producer, place: &TopicPartition) -> Result<(), ResponseError> {
        self.get(id)?.check_place(producer, place)
    }

    /// A producer ends its transaction; gives the number and epoch that it goes on with.
    pub fn end(
        &mut self,
        outside: &mut Outside<'_>,
        id: &str,
        producer: Producer,
        kind: ControlKind,
        rules: Rules,
    ) -> Result<Producer, ResponseError> {
        match self.get(id)?.end(producer, kind, rules, outside.wall, outside.new_id)? {
            End::Done(producer) => Ok(producer),
            End::With(next) => {
                // What it will be when all partitions know.
                let producer = next.complete(outside.wall).producer;
                self.write(outside, id, next)?;
                self.finish(outside, id);
                Ok(producer)
            }
        }
    }

    fn get(&self, id: &str) -> Result<&Transaction, ResponseError> {
        match self.by_id.get(id) {
            _ if id.is_empty() => Err(ResponseError::InvalidRequest),
            Some(transaction) => Ok(transaction),
            None => Err(ResponseError::InvalidProducerIdMapping),
        }
    }

    /// Aborts a transaction in an epoch that nobody is given.
    fn fence(&mut self, outside: &mut Outside<'_>, id: &str) -> Result<(), ResponseError> {
        let Some(transaction) = self.by_id.get(id).filter(|transaction| transaction.state == State::Ongoing) else {
            return Ok(());
        };
        let next = transaction.fence(outside.wall, outside.new_id)?;
        self.write(outside, id, next)?;
        self.finish(outside, id);
        Ok(())
    }

    /// Writes what has become of a transaction, and takes it in.
    fn write(&mut self, outside: &mut Outside<'_>, id: &str, next: Transaction) -> Result<(), ResponseError> {
        outside.journal.append(id, vec![(transaction_key(id), Some(transaction_value(&next)))])?;
        let id: Arc<str> = id.into();
        set_timers(&mut self.timers, &id, &next, outside.now, outside.wall);
        self.by_id.insert(id, next);
        Ok(())
    }

    /// Tells all partitions the end of a transaction. What cannot be written is tried again later.
    fn finish(&mut self, outside: &mut Outside<'_>, id: &str) {
        let Some(transaction) = self.by_id.get_mut(id) else { return };
        let Some((kind, rules)) = transaction.ending() else { return };
        let marker = TransactionMarker {
            producer_id: transaction.producer.id,
            producer_epoch: transaction.producer.epoch,
            kind,
            coordinator_epoch: COORDINATOR_EPOCH,
            own_epoch: rules == Rules::Second,
        };
        let mut failed = None;
        transaction.places.retain(|place| match outside.markers.write(place, &marker) {
            Ok(()) => false,
            Err(error) => {
                failed = Some((place.clone(), error));
                true
            }
        });
        if failed.is_none() {
            let completed = transaction.complete(outside.wall);
            self.timers.cancel(&Timer::Finish(id.into()));
            failed = self
                .write(outside, id, completed)
                .err()
                .map(|error| (TopicPartition::new(TRANSACTIONS_TOPIC, -1), error));
        }
        if let Some((place, error)) = failed {
            tracing::debug!(id, %place, %error, "the end of a transaction cannot be written; it is tried again");
            self.timers.set(Timer::Finish(id.into()), outside.now + RETRY_PAUSE);
        }
    }

    /// Forgets ids that nobody has used for long.
    fn expire_ids(&mut self, outside: &mut Outside<'_>) {
        let expiration_ms = i64::try_from(outside.settings.id_expiration.as_millis()).unwrap_or(i64::MAX);
        let is_old = |transaction: &Transaction| {
            let rests = !transaction.is_ending() && transaction.state != State::Ongoing;
            rests && outside.wall.0.saturating_sub(transaction.updated.0) >= expiration_ms
        };
        let old = self.by_id.iter().filter(|(_, transaction)| is_old(transaction));
        for id in old.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            match outside.journal.append(&id, vec![(transaction_key(&id), None)]) {
                Ok(()) => drop(self.by_id.remove(&id)),
                Err(error) => {
                    tracing::debug!(%id, %error, "an unused transactional id could not be deleted; it is tried again")
                }
            }
        }
    }

    /// All transactional ids.
    pub fn list(&self) -> impl Iterator<Item = Described<'_>> {
        self.by_id.iter().map(|(id, transaction)| describe(id, transaction))
    }

    /// One of them.
    pub fn describe(&self, id: &str) -> Option<Described<'_>> {
        self.by_id.get_key_value(id).map(|(id, transaction)| describe(id, transaction))
    }
}

fn describe<'a>(id: &'a str, transaction: &'a Transaction) -> Described<'a> {
    Described {
        id,
        producer: transaction.producer,
        state: transaction.state,
        timeout_ms: transaction.timeout_ms,
        started: transaction.started,
        places: transaction.places.iter().collect(),
    }
}

/// What is to come of a transaction as time passes.
fn set_timers(timers: &mut Timers<Timer>, id: &Arc<str>, transaction: &Transaction, now: Duration, wall: Timestamp) {
    match transaction.state {
        State::Ongoing => {
            let lasted = u64::try_from(wall.0.saturating_sub(transaction.started.0)).unwrap_or(0);
            let left = u64::try_from(transaction.timeout_ms).unwrap_or(0).saturating_sub(lasted);
            timers.set(Timer::Timeout(id.clone()), now + Duration::from_millis(left));
        }
        State::PrepareCommit | State::PrepareAbort => {
            timers.cancel(&Timer::Timeout(id.clone()));
            timers.set(Timer::Finish(id.clone()), now);
        }
        State::Empty | State::CompleteCommit | State::CompleteAbort => {
            timers.cancel(&Timer::Timeout(id.clone()));
            timers.cancel(&Timer::Finish(id.clone()));
        }
    }
}
