//! CreatePartitions: a topic gets more of them.

use std::collections::BTreeSet;

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use tidewater_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::create_topics::assignment_fault;
use super::{explain, repeated, text};
use crate::admin::TopicError;
use crate::broker::Shared;

pub(crate) fn handle(shared: &Shared, request: &CreatePartitionsRequest) -> CreatePartitionsResponse {
    let mut results = Vec::with_capacity(request.topics.len());
    let repeated = repeated(request.topics.iter().map(|topic| &topic.name));
    let mut told = BTreeSet::new();
    for topic in request.topics.iter().filter(|topic| told.insert(&topic.name)) {
        let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
        if repeated.contains(&topic.name) {
            let repeated = result.with_error_code(ResponseError::InvalidRequest.code());
            results.push(repeated.with_error_message(Some(text("Duplicate topic name."))));
            continue;
        }
        let assignments = topic.assignments.as_deref().unwrap_or_default();
        let fault = assignments.iter().find_map(|assigned| assignment_fault(shared.node(), &assigned.broker_ids));
        let assigned = (!assignments.is_empty()).then(|| fault.map_or(Ok(assignments.len()), Err));
        results.push(match shared.add_partitions(&topic.name, topic.count, assigned, request.validate_only) {
            Ok(()) => result,
            Err(TopicError::Unknown) => {
                result.with_error_code(ResponseError::UnknownTopicOrPartition.code()).with_error_message(None)
            }
            Err(error) => {
                let (code, message) = explain(&topic.name, error);
                result.with_error_code(code.code()).with_error_message(Some(text(message)))
            }
        });
    }
    CreatePartitionsResponse::default().with_results(results)
}
