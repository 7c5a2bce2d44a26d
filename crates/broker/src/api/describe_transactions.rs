//! DescribeTransactions: where transactions are.

use std::collections::BTreeMap;

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::describe_transactions_response::{TopicData, TransactionState};
use tidewater_protocol::messages::{DescribeTransactionsRequest, DescribeTransactionsResponse, ProducerId};

use super::{each_once, text, topic_name};
use crate::broker::Shared;

pub(crate) fn handle(shared: &Shared, request: &DescribeTransactionsRequest) -> DescribeTransactionsResponse {
    let transactions = shared.transactions();
    let states = each_once(&request.transactional_ids).map(|id| {
        let state = TransactionState::default().with_transactional_id(id.clone());
        if id.is_empty() {
            return state.with_error_code(ResponseError::InvalidRequest.code());
        }
        let Some(found) = transactions.describe(id) else {
            return state.with_error_code(ResponseError::TransactionalIdNotFound.code());
        };
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for place in found.places {
            topics.entry(&place.topic).or_default().push(place.partition);
        }
        let topics = topics
            .into_iter()
            .map(|(topic, partitions)| TopicData::default().with_topic(topic_name(topic)).with_partitions(partitions));
        state
            .with_transaction_state(text(found.state.name()))
            .with_transaction_timeout_ms(found.timeout_ms)
            .with_transaction_start_time_ms(found.started.0)
            .with_producer_id(ProducerId(found.producer.id))
            .with_producer_epoch(found.producer.epoch)
            .with_topics(topics.collect())
    });
    DescribeTransactionsResponse::default().with_transaction_states(states.collect())
}
