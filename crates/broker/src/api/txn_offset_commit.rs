//! TxnOffsetCommit: offsets that count when a producer's transaction is committed.

use std::collections::BTreeMap;

use tidewater_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use tidewater_protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};
use tidewater_protocol::{RequestContext, ResponseError};
use tidewater_types::TopicPartition;

use super::add_offsets_to_txn::offsets_place;
use super::offset_commit::note;
use super::produce::transaction_error;
use crate::broker::Shared;
use crate::coordinator::Joining;
use crate::groups::{Committed, Committer};
use crate::journal::Producer;

/// From this version on, a transaction that has to be aborted is told as such.
const ABORTABLE: i16 = 4;
/// From this version on, the groups' partition comes into the transaction by being written to.
const JOINS: i16 = 5;

pub(crate) fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: &TxnOffsetCommitRequest,
) -> TxnOffsetCommitResponse {
    let now = shared.now();
    let mut commits = Vec::new();
    let mut refused = BTreeMap::new();
    for topic in &request.topics {
        let open = shared.topic(&topic.name);
        for partition in &topic.partitions {
            let place = TopicPartition::new(&**topic.name, partition.partition_index);
            let noted = (partition.committed_offset, partition.committed_leader_epoch, &partition.committed_metadata);
            match note(shared, open.as_deref(), place.partition, noted, now) {
                Ok(commit) => commits.push((place, commit)),
                Err(error) => drop(refused.insert(place, error)),
            }
        }
    }
    let result = if commits.is_empty() { Ok(()) } else { commit(shared, context, request, commits) };
    let code = result.map_or_else(|error| error.code(), |()| 0);
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let place = TopicPartition::new(&**topic.name, partition.partition_index);
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(refused.get(&place).map_or(code, |error| error.code()))
        });
        TxnOffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}

fn commit(
    shared: &Shared,
    context: &RequestContext,
    request: &TxnOffsetCommitRequest,
    mut commits: Vec<(TopicPartition, Committed)>,
) -> Result<(), ResponseError> {
    let (group, id) = (&**request.group_id, &**request.transactional_id);
    if group.is_empty() {
        return Err(ResponseError::InvalidGroupId);
    }
    let producer = Producer { id: request.producer_id.0, epoch: request.producer_epoch };
    let joining = if context.version >= JOINS { Joining::Now } else { Joining::Before };
    // There is a topic of groups before a transaction can have a partition of it.
    shared.offsets_topic().map_err(|_| ResponseError::CoordinatorNotAvailable)?;
    let knows_abortable = context.version >= ABORTABLE;
    let joined = shared.join_transaction(id, producer, &[offsets_place(shared, group)], joining);
    let (_lock, refused) = joined.map_err(|error| transaction_error(error, joining, knows_abortable))?;
    if let Some(error) = refused.into_values().next() {
        return Err(transaction_error(error, joining, knows_abortable));
    }
    let committer = Committer {
        member: &request.member_id,
        instance: request.group_instance_id.as_deref(),
        generation: request.generation_id,
        in_transaction: true,
        version: context.version,
    };
    let done = shared.change_groups(|groups, outside, topics| {
        let checked = groups.check_commit(group, &committer, &commits, ResponseError::IllegalGeneration);
        checked.map_err(|error| match error {
            ResponseError::StaleMemberEpoch => ResponseError::IllegalGeneration,
            other => other,
        })?;
        // A topic that was deleted since it was looked up, or made anew, must not have these offsets.
        commits.retain(|(place, commit)| {
            topics.get(&*place.topic).is_some_and(|topic| Some(topic.record.id) == commit.topic_id)
        });
        // Kafka notes no ids of topics in transactions.
        commits.iter_mut().for_each(|(_, commit)| commit.topic_id = None);
        groups.commit(outside, group, Some(producer), commits)
    });
    done.flatten()
}
