//! AddPartitionsToTxn: the partitions that a producer's transaction will write to; all or none.

use tidewater_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use tidewater_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use tidewater_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};
use tidewater_protocol::{RequestContext, ResponseError};
use tidewater_types::TopicPartition;

use super::fenced_since;
use crate::broker::Shared;
use crate::journal::Producer;
use crate::topics::is_internal;
use crate::transactions::Rules;

/// From this version on, brokers ask for several transactions.
const SEVERAL: i16 = 4;
/// From this version on, fenced producers are told so.
const FENCED: i16 = 2;

pub(crate) fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: &AddPartitionsToTxnRequest,
) -> AddPartitionsToTxnResponse {
    if context.version >= SEVERAL {
        let results = request.transactions.iter().map(|transaction| {
            let topics = add(shared, context, transaction, Rules::Second, &|_| false);
            let result = AddPartitionsToTxnResult::default().with_topic_results(topics);
            result.with_transactional_id(transaction.transactional_id.clone())
        });
        return AddPartitionsToTxnResponse::default().with_results_by_transaction(results.collect());
    }
    let transaction = AddPartitionsToTxnTransaction::default()
        .with_transactional_id(request.v3_and_below_transactional_id.clone())
        .with_producer_id(request.v3_and_below_producer_id)
        .with_producer_epoch(request.v3_and_below_producer_epoch)
        .with_topics(request.v3_and_below_topics.clone());
    let topics = add(shared, context, &transaction, Rules::First, &is_internal);
    AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(topics)
}

fn add(
    shared: &Shared,
    context: &RequestContext,
    transaction: &AddPartitionsToTxnTransaction,
    rules: Rules,
    is_forbidden: &dyn Fn(&str) -> bool,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let (id, topics) = (&*transaction.transactional_id, &transaction.topics);
    let producer = Producer { id: transaction.producer_id.0, epoch: transaction.producer_epoch };
    let places: Vec<TopicPartition> = topics.iter().flat_map(places_of).collect();
    let is_there = |place: &TopicPartition| {
        shared.topic(&place.topic).is_some_and(|topic| topic.partition(place.partition).is_some())
    };
    if !places.iter().all(|place| is_there(place) && !is_forbidden(&place.topic)) {
        return describe(topics, |place| match is_there(place) {
            _ if is_forbidden(&place.topic) => ResponseError::TopicAuthorizationFailed.code(),
            true => ResponseError::OperationNotAttempted.code(),
            false => ResponseError::UnknownTopicOrPartition.code(),
        });
    }
    if transaction.verify_only {
        let transactions = shared.transactions();
        return describe(topics, |place| code_of(context, transactions.check_place(id, producer, place)));
    }
    let added =
        shared.change_transactions(|transactions, outside| transactions.add(outside, id, producer, &places, rules));
    let code = code_of(context, added.flatten());
    describe(topics, |_| code)
}

fn code_of(context: &RequestContext, result: Result<(), ResponseError>) -> i16 {
    result.map_or_else(|error| fenced_since(FENCED, context.version, error), |()| 0)
}

fn places_of(topic: &AddPartitionsToTxnTopic) -> impl Iterator<Item = TopicPartition> {
    topic.partitions.iter().map(|&partition| TopicPartition::new(&**topic.name, partition))
}

fn describe(
    topics: &[AddPartitionsToTxnTopic],
    code_of: impl Fn(&TopicPartition) -> i16,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let of_topic = |topic: &AddPartitionsToTxnTopic| {
        let partitions = places_of(topic).map(|place| {
            let result = AddPartitionsToTxnPartitionResult::default().with_partition_index(place.partition);
            result.with_partition_error_code(code_of(&place))
        });
        let result = AddPartitionsToTxnTopicResult::default().with_name(topic.name.clone());
        result.with_results_by_partition(partitions.collect())
    };
    topics.iter().map(of_topic).collect()
}
