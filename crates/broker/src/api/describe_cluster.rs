//! DescribeCluster: the one node.

use tidewater_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use tidewater_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};
use tidewater_protocol::{RequestContext, ResponseError};

use super::{CLUSTER_OPERATIONS, text};
use crate::broker::{NODE, Shared};

/// `EndpointType`: brokers, not controllers.
const BROKERS: i8 = 1;

pub(crate) fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: &DescribeClusterRequest,
) -> DescribeClusterResponse {
    let response = DescribeClusterResponse::default().with_endpoint_type(BROKERS);
    if request.endpoint_type != BROKERS {
        let what = "The request was sent to a broker, but wanted another type of endpoint";
        return response
            .with_error_code(ResponseError::MismatchedEndpointType.code())
            .with_error_message(Some(text(what)));
    }
    let brokers = shared.endpoint(context).map(|endpoint| {
        DescribeClusterBroker::default()
            .with_broker_id(NODE)
            .with_host(text(endpoint.host))
            .with_port(i32::from(endpoint.port))
    });
    let response = match request.include_cluster_authorized_operations {
        true => response.with_cluster_authorized_operations(CLUSTER_OPERATIONS),
        false => response,
    };
    response
        .with_cluster_id(text(shared.folder.cluster_id.as_str()))
        .with_controller_id(NODE)
        .with_brokers(brokers.into_iter().collect())
}
