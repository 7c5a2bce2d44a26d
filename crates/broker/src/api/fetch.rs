//! Fetch: whole batches from an offset on, as they stand in the file.
//!
//! What is found are stretches of files, which a connection sends without reading them.

use std::sync::Arc;

use bytes::Bytes;
use tidewater_log::{AbortedTransaction, Extent, Isolation};
use tidewater_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use tidewater_protocol::messages::fetch_response::{self, FetchableTopicResponse, PartitionData};
use tidewater_protocol::messages::{FetchRequest, FetchResponse, ProducerId};
use tidewater_protocol::{RequestContext, ResponseError};
use tidewater_types::Offset;

use super::{check_epoch, error_code, isolation};
use crate::broker::Shared;
use crate::topics::{NAME_LIMIT, OpenTopic, SharedPartition};

/// From this version on, topics are named by their ids.
pub(crate) const BY_ID: i16 = 13;
/// From this version on, a request may say how much all partitions together give at most.
const LIMITED: i16 = 3;

/// What a fetch finds now.
pub(crate) struct Found {
    /// The response, without the records.
    pub response: FetchResponse,
    /// The records of each partition, in order.
    pub bodies: Vec<Option<Extent>>,
    /// How many bytes these are.
    pub bytes: usize,
    /// Whether there is something to say at once. That a partition is not there can wait, if another one is.
    pub has_error: bool,
    /// How many partitions are not there.
    pub missing: usize,
}

pub(crate) fn handle(shared: &Shared, context: &RequestContext, request: &FetchRequest) -> FetchResponse {
    let Found { mut response, bodies, .. } = find(shared, context, request);
    let partitions = response.responses.iter_mut().flat_map(|topic| &mut topic.partitions);
    for (partition, body) in partitions.zip(bodies) {
        match body.as_ref().map(Extent::read_batches).transpose() {
            Ok(records) => partition.records = records,
            Err(error) => partition.error_code = error_code(&error),
        }
    }
    response
}

/// The partitions that a fetch asks for, as far as they exist.
pub(crate) fn partitions(
    shared: &Shared,
    context: &RequestContext,
    request: &FetchRequest,
) -> Vec<Arc<SharedPartition>> {
    let mut partitions = Vec::new();
    for topic in &request.topics {
        if let Some(open) = open(shared, context, topic) {
            partitions.extend(topic.partitions.iter().filter_map(|wanted| open.partition(wanted.partition)).cloned());
        }
    }
    partitions
}

fn open(shared: &Shared, context: &RequestContext, topic: &FetchTopic) -> Option<Arc<OpenTopic>> {
    // A client in the process names topics, though its requests are of the newest version.
    match context.version >= BY_ID && topic.topic.is_empty() {
        true => shared.topic_by_id(topic.topic_id).map(|(_, topic)| topic),
        false => shared.topic(&topic.topic),
    }
}

/// What there is now.
pub(crate) fn find(shared: &Shared, context: &RequestContext, request: &FetchRequest) -> Found {
    let asked = usize::try_from(request.max_bytes).unwrap_or(0);
    let most = shared.settings.fetch_max_bytes;
    let limit = if context.version >= LIMITED { asked.min(most) } else { most };
    let mut found =
        Found { response: FetchResponse::default(), bodies: Vec::new(), bytes: 0, has_error: false, missing: 0 };
    // Nobody follows this node.
    let follows = request.replica_id.0 >= 0;
    let isolation = isolation(request.isolation_level);
    if let Err(error) = isolation {
        found.response.error_code = error.code();
    }
    for topic in &request.topics {
        let open = open(shared, context, topic);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in &topic.partitions {
            let data = PartitionData::default()
                .with_partition_index(wanted.partition)
                .with_high_watermark(-1)
                .with_last_stable_offset(-1)
                .with_log_start_offset(-1)
                .with_aborted_transactions(None)
                .with_records(Some(Bytes::new()));
            let result = match find_partition(open.as_deref(), topic, wanted.partition) {
                Ok(_) if follows => Err(ResponseError::NotLeaderOrFollower.code()),
                Ok(partition) => {
                    let (left, is_first) = (limit.saturating_sub(found.bytes), found.bytes == 0);
                    isolation
                        .map_err(|error| error.code())
                        .and_then(|isolation| look(partition, wanted, isolation, left, is_first))
                }
                Err(ResponseError::InconsistentTopicId) => Err(ResponseError::InconsistentTopicId.code()),
                Err(missing) => {
                    found.missing += 1;
                    // Nor will it ever be there; who waits keeps the name.
                    found.has_error |= topic.topic.len() > NAME_LIMIT;
                    found.bodies.push(None);
                    partitions.push(data.with_error_code(missing.code()).with_aborted_transactions(Some(Vec::new())));
                    continue;
                }
            };
            match result {
                Ok((ends, extent)) => {
                    found.bytes += extent.as_ref().map_or(0, Extent::length);
                    found.bodies.push(extent);
                    partitions.push(
                        data.with_high_watermark(ends.high_watermark.0)
                            .with_last_stable_offset(ends.last_stable.0)
                            .with_log_start_offset(ends.log_start.0)
                            .with_aborted_transactions(ends.aborted),
                    );
                }
                Err(code) => {
                    found.has_error = true;
                    found.bodies.push(None);
                    partitions.push(data.with_error_code(code));
                }
            }
        }
        let topic = FetchableTopicResponse::default()
            .with_topic(topic.topic.clone())
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions);
        found.response.responses.push(topic);
    }
    found.has_error |= found.missing == found.bodies.len();
    found
}

/// A partition, or how it is missing. A topic that is asked for by an id and a name was known once: by now there may be another one of its
/// name, or none.
fn find_partition<'a>(
    open: Option<&'a OpenTopic>,
    topic: &FetchTopic,
    partition: i32,
) -> Result<&'a Arc<SharedPartition>, ResponseError> {
    let Some(open) = open else {
        return Err(match topic.topic.is_empty() {
            true => ResponseError::UnknownTopicId,
            false => ResponseError::UnknownTopicOrPartition,
        });
    };
    if !topic.topic_id.is_nil() && open.record.id != topic.topic_id {
        return Err(ResponseError::InconsistentTopicId);
    }
    open.partition(partition).ok_or(ResponseError::UnknownTopicOrPartition)
}

struct Ends {
    high_watermark: Offset,
    last_stable: Offset,
    log_start: Offset,
    /// For those who read what is committed: what to leave out.
    aborted: Option<Vec<fetch_response::AbortedTransaction>>,
}

/// Where a partition's records are, at most `left` bytes of them; the first batch of a response comes whole, however large.
fn look(
    partition: &SharedPartition,
    wanted: &FetchPartition,
    isolation: Isolation,
    left: usize,
    is_first: bool,
) -> Result<(Ends, Option<Extent>), i16> {
    let (offset, max_bytes) =
        (Offset(wanted.fetch_offset), usize::try_from(wanted.partition_max_bytes).unwrap_or(0).min(left));
    let (slice, ends) = {
        let log = partition.lock();
        check_epoch(wanted.current_leader_epoch, log.leader_epoch()).map_err(|error| error.code())?;
        let (slice, aborted) = match isolation {
            Isolation::ReadUncommitted => log.slice(offset).map(|slice| (slice, None)),
            Isolation::ReadCommitted => {
                log.slice_committed(offset, max_bytes).map(|(slice, aborted)| (slice, Some(aborted)))
            }
        }
        .map_err(|error| error_code(&error))?;
        let (high_watermark, last_stable, log_start) = (log.high_watermark(), log.last_stable(), log.log_start());
        let aborted = aborted.map(|aborted| aborted.iter().map(describe).collect());
        (slice, Ends { high_watermark, last_stable, log_start, aborted })
    };
    // The file is read without the lock.
    let extent = slice.extent(max_bytes, is_first).map_err(|error| error_code(&error))?;
    Ok((ends, extent))
}

fn describe(aborted: &AbortedTransaction) -> fetch_response::AbortedTransaction {
    let described = fetch_response::AbortedTransaction::default().with_producer_id(ProducerId(aborted.producer_id));
    described.with_first_offset(aborted.first.0)
}
