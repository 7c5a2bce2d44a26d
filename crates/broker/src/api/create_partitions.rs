//! CreatePartitions: a topic gets more of them.

use tidewater_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use tidewater_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::{explain, text};
use crate::broker::Shared;

pub(crate) fn handle(shared: &Shared, request: &CreatePartitionsRequest) -> CreatePartitionsResponse {
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
        results.push(match shared.add_partitions(&topic.name, topic.count) {
            Ok(()) => result,
            Err(error) => {
                let (code, message) = explain(&topic.name, error);
                result.with_error_code(code.code()).with_error_message(Some(text(message)))
            }
        });
    }
    CreatePartitionsResponse::default().with_results(results)
}
