//! ListTransactions: the transactional ids, by states, producers, how long transactions last, and a pattern of ids.

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::list_transactions_response::TransactionState;
use tidewater_protocol::messages::{ListTransactionsRequest, ListTransactionsResponse, ProducerId, TransactionalId};

use super::text;
use crate::broker::Shared;
use crate::re2;
use crate::transactions::{Described, State};

/// States of Apache Kafka's that no transaction here is seen in.
const NEVER: [&str; 2] = ["Dead", "PrepareEpochFence"];

pub(crate) fn handle(shared: &Shared, request: &ListTransactionsRequest) -> ListTransactionsResponse {
    let response = ListTransactionsResponse::default();
    let pattern = request.transactional_id_pattern.as_ref().filter(|pattern| !pattern.is_empty());
    let Ok(pattern) = pattern.map(|pattern| re2::compile(pattern)).transpose() else {
        return response.with_error_code(ResponseError::InvalidRegularExpression.code());
    };
    let is_unknown = |name: &str| State::named(name).is_none() && !NEVER.contains(&name);
    let unknown = request.state_filters.iter().filter(|name| is_unknown(name)).cloned().collect();
    let now = shared.now();
    let is_wanted = |found: &Described<'_>| {
        let producers = &request.producer_id_filters;
        let lasts = now.0.saturating_sub(found.started.0);
        (producers.is_empty() || producers.iter().any(|id| id.0 == found.producer.id))
            && (request.state_filters.is_empty()
                || request.state_filters.iter().any(|name| **name == *found.state.name()))
            && (request.duration_filter < 0 || lasts > request.duration_filter)
            && pattern.as_ref().is_none_or(|pattern| pattern.is_match(found.id))
    };
    let transactions = shared.transactions();
    let states = transactions.list().filter(is_wanted).map(|found| {
        TransactionState::default()
            .with_transactional_id(TransactionalId(text(found.id)))
            .with_producer_id(ProducerId(found.producer.id))
            .with_transaction_state(text(found.state.name()))
    });
    response.with_unknown_state_filters(unknown).with_transaction_states(states.collect())
}
