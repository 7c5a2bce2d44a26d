//! The edge of the transactions: their topic, and the partitions that are told how they end.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use tidewater_log::{LogError, TransactionMarker};
use tidewater_protocol::{Batch, NO_SEQUENCE, ResponseError, UNPACK_LIMIT_BYTES};
use tidewater_types::TopicPartition;

use super::TopicJournal;
use crate::BrokerError;
use crate::api::explain;
use crate::broker::Shared;
use crate::groups::OFFSETS_TOPIC;
use crate::journal::{Producer, partition_of};
use crate::topics::OpenTopic;
use crate::transactions::{Markers, Outside, Rules, TRANSACTIONS_TOPIC, Transactions};

/// How a partition comes into a transaction that is written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joining {
    /// By being written to.
    Now,
    /// Its producer has said so before.
    Before,
}

/// The partitions, to be told the ends of transactions.
struct AllPartitions<'a>(&'a Shared);

impl Markers for AllPartitions<'_> {
    fn write(&mut self, place: &TopicPartition, marker: &TransactionMarker) -> Result<(), ResponseError> {
        match self.0.write_marker(place, marker) {
            Err(ResponseError::UnknownTopicOrPartition | ResponseError::InvalidProducerEpoch) => Ok(()),
            Err(ResponseError::TransactionCoordinatorFenced) => Ok(()),
            other => other,
        }
    }
}

impl Shared {
    /// The transactions, to look at.
    pub fn transactions(&self) -> MutexGuard<'_, Transactions> {
        self.transactions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the transactions do something.
    ///
    /// # Errors
    /// When there is no topic to write to, and none can be made.
    pub fn change_transactions<R>(
        &self,
        change: impl FnOnce(&mut Transactions, &mut Outside<'_>) -> R,
    ) -> Result<R, ResponseError> {
        self.change_and_hold(change).map(|(result, _)| result)
    }

    /// Has the transactions do something, and nothing else as long as the lock is held.
    fn change_and_hold<R>(
        &self,
        change: impl FnOnce(&mut Transactions, &mut Outside<'_>) -> R,
    ) -> Result<(R, MutexGuard<'_, Transactions>), ResponseError> {
        let topic = self.transactions_topic().map_err(|error| {
            let (code, reason) = explain(TRANSACTIONS_TOPIC, error);
            self.complain(TRANSACTIONS_TOPIC, |left_out| {
                tracing::error!(?code, reason, left_out, "the topic of transactions cannot be made");
            });
            ResponseError::CoordinatorNotAvailable
        })?;
        let mut transactions = self.transactions();
        let before = transactions.next_deadline();
        let mut outside = Outside {
            now: self.settings.clock.monotonic(),
            wall: self.now(),
            settings: &self.settings.transactions,
            journal: &mut TopicJournal { shared: self, topic: &topic, base_sequence: NO_SEQUENCE },
            markers: &mut AllPartitions(self),
            new_id: &mut || self.new_producer_id(),
        };
        let result = change(&mut transactions, &mut outside);
        self.note_deadline(before, transactions.next_deadline());
        Ok((result, transactions))
    }

    /// Brings partitions into a producer's transaction, which does not end as long as the lock is held. Gives those that are not in
    /// it, and why.
    pub fn join_transaction(
        &self,
        id: &str,
        producer: Producer,
        places: &[TopicPartition],
        joining: Joining,
    ) -> Result<(MutexGuard<'_, Transactions>, Refused), ResponseError> {
        let (refused, lock) = self.change_and_hold(|transactions, outside| match joining {
            Joining::Now => match transactions.add(outside, id, producer, places, Rules::Second) {
                Ok(()) => Refused::new(),
                Err(error) => places.iter().map(|place| (place.clone(), fenced(error))).collect(),
            },
            Joining::Before => {
                let checked = places.iter().map(|place| (place, transactions.check_place(id, producer, place)));
                checked.filter_map(|(place, check)| Some((place.clone(), fenced(check.err()?)))).collect()
            }
        })?;
        Ok((lock, refused))
    }

    /// A number that no producer has had.
    pub fn new_producer_id(&self) -> Result<i64, ResponseError> {
        let mut metadata = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
        metadata.next_producer_id(self.now()).map_err(|error| {
            self.complain("producer ids", |left_out| {
                tracing::error!(%error, left_out, "a producer cannot be given a number");
            });
            ResponseError::KafkaStorageError
        })
    }

    /// Writes the end of a transaction into a partition. If it is one of the groups', these learn of it.
    pub fn write_marker(&self, place: &TopicPartition, marker: &TransactionMarker) -> Result<(), ResponseError> {
        let topic = self.topic(&place.topic).ok_or(ResponseError::UnknownTopicOrPartition)?;
        let partition = topic.partition(place.partition).ok_or(ResponseError::UnknownTopicOrPartition)?;
        let groups = (*place.topic == *OFFSETS_TOPIC).then(|| self.groups());
        match partition.append(|log| log.append_marker(marker, self.now())) {
            Ok(_) => {}
            Err(LogError::Producer(error)) => {
                tracing::debug!(%place, %error, "the end of a transaction is not written");
                return Err(error_of(&LogError::Producer(error)));
            }
            Err(error) => {
                self.complain("markers", |left_out| {
                    tracing::error!(%place, %error, left_out, "the end of a transaction cannot be written; it is tried again");
                });
                return Err(error_of(&error));
            }
        }
        if let Some(mut groups) = groups {
            let is_there = |group: &str| partition_of(group, topic.record.partitions) == place.partition;
            groups.end_transaction(marker.producer_id, marker.kind, is_there);
        }
        self.wake_watchers();
        Ok(())
    }
}

/// Partitions that are not in a transaction.
type Refused = BTreeMap<TopicPartition, ResponseError>;

/// Those who write are told of an earlier epoch, since they may abort and go on.
fn fenced(error: ResponseError) -> ResponseError {
    match error {
        ResponseError::ProducerFenced => ResponseError::InvalidProducerEpoch,
        other => other,
    }
}

fn error_of(error: &LogError) -> ResponseError {
    ResponseError::try_from_code(crate::api::error_code(error)).unwrap_or(ResponseError::KafkaStorageError)
}

/// Reads the transactions from their topic.
pub(crate) fn replay_transactions(topic: &OpenTopic, transactions: &mut Transactions) -> Result<(), BrokerError> {
    for partition in &topic.partitions {
        super::replay(&partition.lock(), |batch: &Batch| {
            if !batch.is_control() {
                for record in batch.records(UNPACK_LIMIT_BYTES)?.iter() {
                    let record = record?;
                    if let Some(key) = record.key {
                        transactions.replay(key, record.value);
                    }
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}
