//! Produce: batches are checked, stamped and appended as they are; readers see them at once.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};

use bytes::Bytes;
use tidewater_log::{LogConfig, TimestampType};
use tidewater_protocol::messages::produce_request::TopicProduceData;
use tidewater_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use tidewater_protocol::messages::{ProduceRequest, ProduceResponse};
use tidewater_protocol::{
    Batch, BatchError, CompressionError, NO_PRODUCER_ID, NO_SEQUENCE, RequestContext, ResponseError, UNPACK_LIMIT_BYTES,
};

use tidewater_types::{Timestamp, TopicPartition};

use super::{error_code, text};
use crate::broker::Shared;
use crate::coordinator::Joining;
use crate::journal::Producer;
use crate::topics::OpenTopic;
use crate::transactions::Transactions;

/// Why a request's records are refused.
type Refusal = (ResponseError, String);

/// From this version on, a transaction that has to be aborted is told as such.
const ABORTABLE: i16 = 11;
/// From this version on, a partition comes into a transaction by being written to.
const JOINS: i16 = 12;
/// From this version on, topics are named by their ids.
const BY_ID: i16 = 13;

pub(crate) fn handle(shared: &Shared, context: &RequestContext, request: ProduceRequest) -> ProduceResponse {
    let mut appended_any = false;
    let mut responses = Vec::with_capacity(request.topic_data.len());
    let acks_are_known = matches!(request.acks, -1..=1);
    let joined = if acks_are_known { join(shared, context, &request) } else { Joined::default() };
    for topic in request.topic_data {
        let by_id = is_by_id(context, &topic);
        let open = find(shared, context, &topic);
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        for data in topic.partition_data {
            let response = PartitionProduceResponse::default()
                .with_index(data.index)
                .with_base_offset(-1)
                .with_log_append_time_ms(-1)
                .with_log_start_offset(-1);
            let refused = |code: ResponseError| response.clone().with_error_code(code.code());
            if !acks_are_known {
                partitions.push(refused(ResponseError::InvalidRequiredAcks));
                continue;
            }
            let Some(partition) = open.as_ref().and_then(|(_, open)| open.partition(data.index)) else {
                partitions.push(match by_id && open.is_none() {
                    true => refused(ResponseError::UnknownTopicId),
                    false => refused(ResponseError::UnknownTopicOrPartition),
                });
                continue;
            };
            let records = data.records.unwrap_or_default();
            // Who is in this process builds batches with this program's own code.
            let is_remote = context.caller.listener.is_some();
            let checked = is_remote.then(|| check(&records, request.transactional_id.is_some())).transpose();
            let checked = match checked {
                Ok(checked) => checked,
                Err((code, message)) => {
                    partitions.push(refused(code).with_error_message(Some(text(message))));
                    continue;
                }
            };
            if let Some((name, _)) = open.as_ref().filter(|_| !joined.refused.is_empty())
                && let Some(error) = joined.refused.get(&TopicPartition::new(&**name, data.index))
            {
                partitions.push(refused(*error).with_error_message(Some(text(error.to_string()))));
                continue;
            }
            let mut log = partition.lock();
            let now = shared.now();
            let wrong =
                checked.as_ref().map(|checked| wrong_timestamps(checked, log.config(), now)).unwrap_or_default();
            if !wrong.is_empty() {
                let what = "One or more records have been rejected due to invalid timestamp";
                let response = refused(ResponseError::InvalidTimestamp).with_error_message(Some(text(what)));
                partitions.push(response.with_record_errors(wrong));
                continue;
            }
            let appended = match checked {
                Some(checked) => log.append_checked(checked.batch, now),
                None => log.append(records, now),
            };
            partitions.push(match appended {
                Ok(appended) => {
                    log.raise_high_watermark(appended.next);
                    let log_start = log.log_start().0;
                    drop(log);
                    partition.wake();
                    appended_any = true;
                    response
                        .with_base_offset(appended.first.0)
                        .with_log_append_time_ms(appended.append_time.map_or(-1, |time| time.0))
                        .with_log_start_offset(log_start)
                }
                Err(error) => {
                    response.with_error_code(error_code(&error)).with_error_message(Some(text(error.to_string())))
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

/// The partitions of a request that are in a transaction now, which does not end before the lock is let go; and those that are not.
#[derive(Default)]
struct Joined<'a> {
    _lock: Option<MutexGuard<'a, Transactions>>,
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

/// The records whose timestamps a topic does not take.
fn wrong_timestamps(checked: &Checked, config: &LogConfig, now: Timestamp) -> Vec<BatchIndexAndErrorMessage> {
    if config.timestamp_type == TimestampType::LogAppendTime {
        return Vec::new();
    }
    let batch = &checked.batch;
    let is_stamped = batch.is_log_append_time();
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
    wrong.collect()
}

/// A batch that is what its header says.
struct Checked {
    batch: Batch,
    /// Of its oldest record.
    min_timestamp: Timestamp,
}

/// Checks what a client sent: one batch, whole, as its header says; gives the batch. Bytes behind it that are no batch are left
/// out. The codes are those that Apache Kafka was seen to answer. A header that is wrong about the newest timestamp is put
/// right, as there, and so are offsets within the batch, which Apache Kafka does only for one that is packed.
fn check(records: &Bytes, has_transaction: bool) -> Result<Checked, Refusal> {
    let refuse = |code: ResponseError, what: &str| Err((code, what.to_owned()));
    let invalid = |what| refuse(ResponseError::InvalidRecord, what);
    let batch = match Batch::parse(records) {
        Ok(batch) => batch,
        Err(error @ BatchError::BadLength(_)) => return Err((ResponseError::CorruptMessage, error.to_string())),
        Err(error) => return Err((ResponseError::InvalidRecord, error.to_string())),
    };
    let behind = records.slice(batch.len()..);
    if matches!(Batch::parse(&behind), Ok(_) | Err(BatchError::BadMagic(_))) {
        return invalid("a request has one batch for a partition, not several");
    }
    batch.check_crc().map_err(|error| (ResponseError::CorruptMessage, error.to_string()))?;
    if batch.base_offset().0 != 0 {
        return invalid("the base offset of a new batch is 0");
    }
    if batch.is_control() {
        return invalid("clients write no control batches");
    }
    if batch.is_transactional() && !has_transaction {
        return refuse(ResponseError::TransactionalIdAuthorizationFailed, "the request names no transaction");
    }
    if batch.producer_id() != NO_PRODUCER_ID && batch.base_sequence() == NO_SEQUENCE {
        return invalid("an idempotent producer's batch has a sequence number");
    }
    if batch.record_count() <= 0 || batch.last_offset_delta() != batch.record_count() - 1 {
        return invalid("the last offset delta does not fit the number of records");
    }
    let seen = batch.check_records(UNPACK_LIMIT_BYTES).map_err(unreadable)?;
    let batch = match &seen {
        // A producer does not stamp; what becomes of such a batch depends on the topic.
        _ if batch.is_log_append_time() => batch,
        seen if !seen.is_sequential => batch.renumbered().and_then(|bytes| Batch::parse(&bytes)).map_err(unreadable)?,
        seen if seen.max_timestamp != batch.max_timestamp() => batch.with_max_timestamp(seen.max_timestamp),
        _ => batch,
    };
    Ok(Checked { batch, min_timestamp: seen.min_timestamp })
}

fn unreadable(error: BatchError) -> Refusal {
    let code = match &error {
        BatchError::Compression(CompressionError::TooLarge { .. }) => ResponseError::MessageTooLarge,
        BatchError::Compression(_) => ResponseError::UnknownServerError,
        _ => ResponseError::InvalidRecord,
    };
    (code, error.to_string())
}
