//! Produce: batches are checked, stamped and appended as they are; readers see them at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard};

use bytes::Bytes;
use tidewater_log::{Appended, LogConfig, LogError, TimestampType};
use tidewater_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use tidewater_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use tidewater_protocol::messages::{ProduceRequest, ProduceResponse};
use tidewater_protocol::{
    Batch, BatchError, Compression, CompressionError, NO_PRODUCER_ID, NO_SEQUENCE, RequestContext, ResponseError,
    UNPACK_LIMIT_BYTES,
};

use tidewater_types::{Offset, Partition, Timestamp, TopicPartition};
use tracing::field::display;

use super::{error_code, text};
use crate::broker::Shared;
use crate::coordinator::Joining;
use crate::journal::Producer;
use crate::topics::{OpenTopic, is_internal};
use crate::transactions::Transactions;

/// Of so many records of a request it is told at most what is wrong with each.
const RECORD_ERRORS_LIMIT: usize = 100;
/// From this version on, a transaction that has to be aborted is told as such.
const ABORTABLE: i16 = 11;
/// From this version on, a partition comes into a transaction by being written to.
const JOINS: i16 = 12;
/// From this version on, topics are named by their ids.
const BY_ID: i16 = 13;
/// From this version on, records may be packed with zstd.
const ZSTD: i16 = 7;
/// What Java's administration calls itself unless it is told otherwise: it alone writes to topics of the broker's own.
const ADMINISTRATION: &str = "__admin_client";

pub(crate) fn handle(shared: &Shared, context: &RequestContext, request: ProduceRequest) -> ProduceResponse {
    let mut request = request;
    keep_last(&mut request.topic_data);
    let mut appended_any = false;
    let mut responses = Vec::with_capacity(request.topic_data.len());
    let acks_are_known = matches!(request.acks, -1..=1);
    let joined = if acks_are_known { join(shared, context, &request) } else { Joined::default() };
    let writer = Writer {
        shared,
        context,
        // Who is in this process builds batches with this program's own code.
        is_remote: context.caller.listener.is_some(),
        acks_are_known,
        lacks_transaction: request.transactional_id.is_none() && has_transactional(&request),
        joined: &joined,
    };
    let mut errors_left = RECORD_ERRORS_LIMIT;
    for topic in request.topic_data {
        let open = find(shared, context, &topic);
        let unknown = match is_by_id(context, &topic) {
            true => ResponseError::UnknownTopicId,
            false => ResponseError::UnknownTopicOrPartition,
        };
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        for data in topic.partition_data {
            let response = PartitionProduceResponse::default()
                .with_index(data.index)
                .with_base_offset(-1)
                .with_log_append_time_ms(-1)
                .with_log_start_offset(-1);
            let written = match &open {
                Some((name, open)) => {
                    let partition = data.index;
                    writer.write(name, open, data).inspect_err(|refused| writer.complain(name, partition, refused))
                }
                None => Err(refusal(unknown, "")),
            };
            partitions.push(match written {
                Ok((appended, log_start)) => {
                    appended_any = true;
                    response
                        .with_base_offset(appended.first.0)
                        .with_log_append_time_ms(appended.append_time.map_or(-1, |time| time.0))
                        .with_log_start_offset(log_start.0)
                }
                Err(mut refused) => {
                    refused.records.truncate(errors_left);
                    errors_left -= refused.records.len();
                    response
                        .with_error_code(refused.code)
                        .with_error_message((!refused.message.is_empty()).then(|| text(refused.message)))
                        .with_record_errors(refused.records)
                }
            });
        }
        let response = TopicProduceResponse::default().with_name(topic.name).with_topic_id(topic.topic_id);
        responses.push(response.with_partition_responses(partitions));
    }
    if appended_any {
        shared.wake_watchers();
    }
    ProduceResponse::default().with_responses(responses)
}

/// Of a partition that is named several times, what is said last counts, as in Apache Kafka, and it is told once.
fn keep_last(topics: &mut [TopicProduceData]) {
    if topics.iter().map(|topic| topic.partition_data.len()).sum::<usize>() < 2 {
        return;
    }
    let mut seen = BTreeSet::new();
    for topic in topics.iter_mut().rev() {
        let of_topic = (topic.name.clone(), topic.topic_id);
        topic.partition_data.reverse();
        topic.partition_data.retain(|data| seen.insert((of_topic.clone(), data.index)));
        topic.partition_data.reverse();
    }
}

/// Why a partition's records are refused.
struct Refusal {
    code: i16,
    message: String,
    /// Of some of them.
    records: Vec<BatchIndexAndErrorMessage>,
}

fn refusal(code: ResponseError, message: impl Into<String>) -> Refusal {
    Refusal { code: code.code(), message: message.into(), records: Vec::new() }
}

/// What is known of a request before its partitions are looked at.
struct Writer<'a> {
    shared: &'a Shared,
    context: &'a RequestContext,
    is_remote: bool,
    acks_are_known: bool,
    /// There are records of a transaction, and the request names none.
    lacks_transaction: bool,
    joined: &'a Joined<'a>,
}

impl Writer<'_> {
    /// Writes what a request has for a partition; gives where it is, and where the log starts.
    fn write(&self, name: &str, open: &OpenTopic, data: PartitionProduceData) -> Result<(Appended, Offset), Refusal> {
        let unknown = ResponseError::UnknownTopicOrPartition;
        let partition = open.partition(data.index).ok_or_else(|| refusal(unknown, ""))?;
        let records = data.records.unwrap_or_default();
        if self.is_remote && records.is_empty() {
            return Err(refusal(ResponseError::InvalidRecord, "a request has one batch for a partition, not none"));
        }
        if !self.acks_are_known {
            return Err(refusal(ResponseError::InvalidRequiredAcks, "acks are -1, 0 or 1"));
        }
        let (config, log_start) = {
            let log = partition.lock();
            (log.config().clone(), log.log_start())
        };
        let checked = self.checked(name, &records, config.max_message_bytes)?;
        let is_new = match self.joined.places.is_empty() && self.joined.refused.is_empty() {
            true => false,
            false => {
                let place = TopicPartition::new(name, data.index);
                if let Some(error) = self.joined.refused.get(&place) {
                    return Err(refusal(*error, ""));
                }
                self.joined.places.contains(&place)
            }
        };
        let now = self.shared.now();
        if let Some(checked) = &checked {
            check_for(checked, &config, now)?;
        }
        let appended = partition.append(|log| match checked {
            Some(checked) => {
                if checked.batch.is_transactional() && !is_new {
                    log.check_in_transaction(&checked.batch)?;
                }
                log.append_checked(checked.batch, now)
            }
            None => log.append(records, now),
        });
        let appended = appended.map_err(|error| match &error {
            LogError::KeysRequired { records } => without_key(records, &TopicPartition::new(name, data.index)),
            _ => Refusal { code: error_code(&error), message: error.to_string(), records: Vec::new() },
        })?;
        Ok((appended, log_start))
    }

    /// Says in the log why records are refused, and whose.
    fn complain(&self, topic: &str, partition: Partition, refused: &Refusal) {
        let (peer, client) = (self.context.caller.peer.map(display), self.context.client_id.as_deref());
        let Refusal { code, message: reason, .. } = refused;
        if *code == ResponseError::KafkaStorageError.code() {
            self.shared.complain("storage", |left_out| {
                tracing::error!(topic, partition, reason, left_out, "records cannot be written");
            });
        } else {
            self.shared.complain("produce", |left_out| {
                tracing::warn!(peer, client, topic, partition, code, reason, left_out, "records were refused");
            });
        }
    }

    /// The batch of a client, which is what its header says, and may be written there; nothing of one in the process.
    fn checked(&self, name: &str, records: &Bytes, most_bytes: usize) -> Result<Option<Checked>, Refusal> {
        if !self.is_remote {
            return Ok(None);
        }
        if self.lacks_transaction {
            let what = "records of a transaction came with a request that names none";
            return Err(refusal(ResponseError::TransactionalIdAuthorizationFailed, what));
        }
        if is_internal(name) && self.context.client_id.as_deref() != Some(ADMINISTRATION) {
            let what = format!("Cannot append to internal topic {name}");
            return Err(refusal(ResponseError::InvalidTopicException, what));
        }
        check(records, self.context.version, most_bytes).map(Some)
    }
}

/// Whether a topic takes a batch.
fn check_for(checked: &Checked, config: &LogConfig, now: Timestamp) -> Result<(), Refusal> {
    let records = wrong_timestamps(checked, config, now);
    if !records.is_empty() {
        let what = "One or more records have been rejected due to invalid timestamp";
        return Err(Refusal { records, ..refusal(ResponseError::InvalidTimestamp, what) });
    }
    if checked.batch.len() as u64 > config.segment_bytes {
        let what = format!("a batch is larger than segment.bytes = {}", config.segment_bytes);
        return Err(refusal(ResponseError::RecordListTooLarge, what));
    }
    Ok(())
}

/// Whether a topic is named by its id. A client in the process names topics, though its requests are of the newest version.
fn is_by_id(context: &RequestContext, topic: &TopicProduceData) -> bool {
    context.version >= BY_ID && topic.name.is_empty()
}

fn find(shared: &Shared, context: &RequestContext, topic: &TopicProduceData) -> Option<(String, Arc<OpenTopic>)> {
    match is_by_id(context, topic) {
        true => shared.topic_by_id(topic.topic_id),
        false => shared.topic(&topic.name).map(|open| (topic.name.to_string(), open)),
    }
}

/// The partitions of a request that have come into a transaction, which does not end before the lock is let go; and those that may not.
#[derive(Default)]
struct Joined<'a> {
    _lock: Option<MutexGuard<'a, Transactions>>,
    places: BTreeSet<TopicPartition>,
    refused: BTreeMap<TopicPartition, ResponseError>,
}

/// Brings the partitions of a request into the transaction that it is of, as far as they get their first batches of it.
fn join<'a>(shared: &'a Shared, context: &RequestContext, request: &ProduceRequest) -> Joined<'a> {
    let mut joined = Joined::default();
    let Some(id) = &request.transactional_id else { return joined };
    let joining = if context.version >= JOINS { Joining::Now } else { Joining::Before };
    let mut producer = None;
    let mut places = Vec::new();
    let mut gaps = Vec::new();
    for topic in &request.topic_data {
        let Some((name, open)) = find(shared, context, topic) else { continue };
        for data in &topic.partition_data {
            let batch = data.records.as_ref().map(Batch::parse);
            let (Some(partition), Some(Ok(batch))) = (open.partition(data.index), batch) else { continue };
            if !batch.is_transactional() {
                continue;
            }
            let place = TopicPartition::new(&*name, data.index);
            let writer = Producer { id: batch.producer_id(), epoch: batch.producer_epoch() };
            if *producer.get_or_insert(writer) != writer {
                joined.refused.insert(place, ResponseError::InvalidProducerIdMapping);
                continue;
            }
            let log = partition.lock();
            if log.has_open_transaction(writer.id, writer.epoch) {
                continue;
            }
            // In an epoch of its own, a transaction that nothing is known of here begins with its first record.
            if joining == Joining::Now && !log.knows_batches_of(writer.id) && batch.base_sequence() != 0 {
                gaps.push(place.clone());
            }
            places.push(place);
        }
    }
    let Some(producer) = producer.filter(|_| !places.is_empty()) else { return joined };
    match shared.join_transaction(id, producer, &places, joining) {
        Ok((lock, refused)) => {
            joined._lock = Some(lock);
            joined.places.extend(places.iter().cloned());
            joined.refused.extend(gaps.into_iter().map(|place| (place, ResponseError::OutOfOrderSequenceNumber)));
            joined.refused.extend(refused);
        }
        Err(error) => joined.refused.extend(places.into_iter().map(|place| (place, error))),
    }
    let knows_abortable = context.version >= ABORTABLE;
    for error in joined.refused.values_mut() {
        *error = transaction_error(*error, joining, knows_abortable);
    }
    joined
}

/// What a client is told of a transaction that a partition could not join, by what its version knows.
pub(super) fn transaction_error(error: ResponseError, joining: Joining, knows_abortable: bool) -> ResponseError {
    match error {
        ResponseError::TransactionAbortable if !knows_abortable => ResponseError::InvalidTxnState,
        ResponseError::ConcurrentTransactions if joining == Joining::Before => ResponseError::NotEnoughReplicas,
        ResponseError::CoordinatorNotAvailable | ResponseError::NotCoordinator => ResponseError::NotEnoughReplicas,
        other => other,
    }
}

/// Whether any of its records are said to be of a transaction.
fn has_transactional(request: &ProduceRequest) -> bool {
    let partitions = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    let mut batches = partitions.filter_map(|data| Batch::parse(data.records.as_ref()?).ok());
    batches.any(|batch| batch.is_transactional())
}

/// What is told of records without a key, by their places in the batch, in Apache Kafka's words.
fn without_key(records: &[i32], place: &TopicPartition) -> Refusal {
    /// So many are named in the message.
    const NAMED: usize = 3;
    let each = format!("Compacted topic cannot accept message without key in topic partition {place}");
    let named = records.iter().take(NAMED).map(|index| format!("RecordError(batchIndex={index}, message='{each}')"));
    let message = format!(
        "One or more records have been rejected due to {} record errors in total, and only showing the first three errors at most: [{}]",
        records.len(),
        named.collect::<Vec<_>>().join(", ")
    );
    let error = |&index: &i32| {
        let error = BatchIndexAndErrorMessage::default().with_batch_index(index);
        error.with_batch_index_error_message(Some(text(each.as_str())))
    };
    let told = records.iter().take(RECORD_ERRORS_LIMIT).map(error);
    Refusal { records: told.collect(), ..refusal(ResponseError::InvalidRecord, message) }
}

/// The records whose timestamps a topic does not take.
fn wrong_timestamps(checked: &Checked, config: &LogConfig, now: Timestamp) -> Vec<BatchIndexAndErrorMessage> {
    if config.timestamp_type == TimestampType::LogAppendTime {
        return Vec::new();
    }
    let batch = &checked.batch;
    let is_stamped = checked.is_stamped;
    // All records lie between these, so that most batches need not be looked at again.
    let ends = [checked.min_timestamp, batch.max_timestamp()];
    if ends.iter().all(|at| config.allows_timestamp(*at, now)) && !is_stamped {
        return Vec::new();
    }
    let Ok(records) = batch.records(UNPACK_LIMIT_BYTES) else { return Vec::new() };
    let wrong = records.iter().flatten().enumerate().filter_map(|(index, record)| {
        let message = if is_stamped {
            "Invalid timestamp type: a producer should not set it to LogAppendTime.".to_owned()
        } else if config.allows_timestamp(record.timestamp, now) {
            return None;
        } else {
            format!("Timestamp {} of message with offset {} is out of range.", record.timestamp.0, record.offset)
        };
        let error = BatchIndexAndErrorMessage::default().with_batch_index(index as i32);
        Some(error.with_batch_index_error_message(Some(text(message))))
    });
    wrong.take(RECORD_ERRORS_LIMIT).collect()
}

/// A batch that is what its header says.
struct Checked {
    batch: Batch,
    /// Of its oldest record.
    min_timestamp: Timestamp,
    /// The client says that its timestamps are the broker's.
    is_stamped: bool,
}

/// Checks what a client sent: one batch, whole, as its header says; gives the batch. Bytes behind it that are no batch are left
/// out. The codes are those that Apache Kafka was seen to answer. A header that is wrong about the newest timestamp is put
/// right, as there, and so are offsets within the batch, which Apache Kafka does only for one that is packed.
fn check(records: &Bytes, version: i16, most_bytes: usize) -> Result<Checked, Refusal> {
    let invalid = |what: &str| Err(refusal(ResponseError::InvalidRecord, what));
    let batch = match Batch::parse(records) {
        Ok(batch) => batch,
        Err(error @ BatchError::BadLength(_)) => return Err(refusal(ResponseError::CorruptMessage, error.to_string())),
        Err(error) => return Err(refusal(ResponseError::InvalidRecord, error.to_string())),
    };
    let behind = records.slice(batch.len()..);
    if matches!(Batch::parse(&behind), Ok(_) | Err(BatchError::BadMagic(_))) {
        return invalid("a request has one batch for a partition, not several");
    }
    if batch.len() > most_bytes {
        let what = format!("a batch has {} bytes; the topic takes max.message.bytes = {most_bytes}", batch.len());
        return Err(refusal(ResponseError::MessageTooLarge, what));
    }
    batch.check_crc().map_err(|error| refusal(ResponseError::CorruptMessage, error.to_string()))?;
    if batch.base_offset().0 != 0 {
        return invalid("the base offset of a new batch is 0");
    }
    if batch.is_control() {
        return invalid("clients write no control batches");
    }
    if version < ZSTD && batch.compression().is_ok_and(|codec| codec == Compression::Zstd) {
        let what = format!("Produce requests with version {version} are not allowed to use ZStandard compression");
        return Err(refusal(ResponseError::UnsupportedCompressionType, what));
    }
    if batch.producer_id() != NO_PRODUCER_ID && batch.base_sequence() == NO_SEQUENCE {
        return invalid("an idempotent producer's batch has a sequence number");
    }
    if batch.record_count() <= 0 || batch.last_offset_delta() != batch.record_count() - 1 {
        return invalid("the last offset delta does not fit the number of records");
    }
    let seen = batch.check_records(UNPACK_LIMIT_BYTES).map_err(unreadable)?;
    let is_stamped = batch.is_log_append_time();
    let batch = match &seen {
        seen if !seen.is_sequential => batch.renumbered().and_then(|bytes| Batch::parse(&bytes)).map_err(unreadable)?,
        // Of one that is stamped, it is the time of all records.
        seen if seen.max_timestamp != batch.max_timestamp() && !is_stamped => {
            batch.with_max_timestamp(seen.max_timestamp)
        }
        _ => batch,
    };
    Ok(Checked { batch, min_timestamp: seen.min_timestamp, is_stamped })
}

fn unreadable(error: BatchError) -> Refusal {
    let code = match &error {
        BatchError::Compression(CompressionError::TooLarge { .. }) => ResponseError::MessageTooLarge,
        BatchError::Compression(_) => ResponseError::UnknownServerError,
        _ => ResponseError::InvalidRecord,
    };
    refusal(code, error.to_string())
}
