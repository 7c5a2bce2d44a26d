//! StreamsGroupHeartbeat: a member of a group of the streams protocol (KIP-1071), and the topics that its application needs.

use tidewater_protocol::messages::streams_group_heartbeat_request::Topology;
use tidewater_protocol::messages::{StreamsGroupHeartbeatRequest, StreamsGroupHeartbeatResponse};
use tidewater_protocol::{RequestContext, ResponseError};
use tracing::field::display;

use super::create_topics::REPLICATION;
use super::{explain, text};
use crate::admin::TopicError;
use crate::broker::Shared;
use crate::coordinator::client_of;
use crate::groups::{InternalTopic, MISSING_INTERNAL_TOPICS, named_topics};
use crate::topics::{is_internal, is_legal_name};

/// Topics that could not be made and are named; of more, it is said how many.
const NAMED_FAILURES: usize = 3;

pub(crate) fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: &StreamsGroupHeartbeatRequest,
) -> StreamsGroupHeartbeatResponse {
    if !shared.settings.groups.has_streams_protocol {
        return refused(ResponseError::UnsupportedVersion);
    }
    let heard = request.topology.as_ref().map_or(Ok(()), check_names).and_then(|()| {
        let client = client_of(context);
        let heard = shared.change_groups(|groups, outside, _| groups.streams_heartbeat(outside, request, client));
        heard.map_err(|error| (error, error.to_string())).flatten()
    });
    match heard {
        Ok((response, to_make)) => with_failures(response, &make(shared, context, &request.group_id, to_make)),
        Err((error, message)) => refused(error).with_error_message(Some(text(message))),
    }
}

fn refused(error: ResponseError) -> StreamsGroupHeartbeatResponse {
    StreamsGroupHeartbeatResponse::default().with_error_code(error.code()).with_status(Some(Vec::new()))
}

/// Whether an application may use the topics that it names.
fn check_names(topology: &Topology) -> Result<(), (ResponseError, String)> {
    let names = named_topics(topology);
    let those = |is_such: &dyn Fn(&str) -> bool| names.iter().copied().filter(|name| is_such(name)).collect::<Vec<_>>();
    let refused = |message: String| Err((ResponseError::StreamsInvalidTopology, message));
    let internal = those(&is_internal);
    if !internal.is_empty() {
        return refused(format!(
            "Use of Kafka internal topics {} in a Kafka Streams topology is prohibited.",
            internal.join(",")
        ));
    }
    let illegal = those(&|name| !is_legal_name(name));
    if !illegal.is_empty() {
        return refused(format!("Topic names {} are not valid topic names.", illegal.join(",")));
    }
    Ok(())
}

/// Makes topics; gives those that could not be made, each with the reason.
fn make(shared: &Shared, context: &RequestContext, group: &str, topics: Vec<InternalTopic>) -> Vec<String> {
    let mut failures = Vec::new();
    for InternalTopic { name, partitions, replication_factor, configs } in topics {
        // 0 leaves it to the broker.
        let reason = if replication_factor != 0 && !REPLICATION.contains(&replication_factor) {
            format!("there is one broker, which cannot hold {replication_factor} replicas")
        } else {
            match shared.create_topic(&name, partitions, configs, false) {
                Ok(_) | Err(TopicError::Exists) => continue,
                Err(error) => explain(&name, error).1,
            }
        };
        shared.complain("internal topics", |left_out| {
            let (peer, topic) = (context.caller.peer.map(display), &name);
            tracing::warn!(peer, group, topic, reason, left_out, "a topic of a streams application cannot be made");
        });
        failures.push(format!("{name} ({reason})"));
    }
    failures
}

/// Says in the status which topics could not be made.
fn with_failures(mut response: StreamsGroupHeartbeatResponse, failures: &[String]) -> StreamsGroupHeartbeatResponse {
    let mut status = response.status.iter_mut().flatten();
    if let Some(status) = status.find(|status| status.status_code == MISSING_INTERNAL_TOPICS)
        && !failures.is_empty()
    {
        let mut named = failures.iter().take(NAMED_FAILURES).cloned().collect::<Vec<_>>().join(", ");
        if failures.len() > NAMED_FAILURES {
            named.push_str(&format!(" and {} more", failures.len() - NAMED_FAILURES));
        }
        status.status_detail = text(format!("{}; Creation failed: {named}.", &*status.status_detail));
    }
    response
}
