//! DescribeCluster: the one node.

use tidewater_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use tidewater_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};
use tidewater_protocol::{RequestContext, ResponseError};

use super::{CLUSTER_OPERATIONS, text};
use crate::broker::Shared;

/// `EndpointType`.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(crate) fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: &DescribeClusterRequest,
) -> DescribeClusterResponse {
    let response = DescribeClusterResponse::default().with_endpoint_type(BROKERS);
    let wrong = match request.endpoint_type {
        BROKERS => None,
        CONTROLLERS => {
            let what =
                "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER";
            Some((ResponseError::MismatchedEndpointType, what.to_owned()))
        }
        other => Some((ResponseError::UnsupportedEndpointType, format!("Unsupported endpoint type {other}"))),
    };
    if let Some((code, what)) = wrong {
        let code = if context.version == 0 { ResponseError::InvalidRequest } else { code };
        return response.with_error_code(code.code()).with_error_message(Some(text(what)));
    }
    let brokers = shared.endpoint(context).map(|endpoint| {
        DescribeClusterBroker::default()
            .with_broker_id(shared.node())
            .with_host(text(endpoint.host))
            .with_port(i32::from(endpoint.port))
            .with_rack(shared.settings.rack.as_deref().map(text))
    });
    let response = match request.include_cluster_authorized_operations {
        true => response.with_cluster_authorized_operations(CLUSTER_OPERATIONS),
        false => response,
    };
    response
        .with_cluster_id(text(shared.folder.cluster_id.as_str()))
        .with_controller_id(shared.node())
        .with_brokers(brokers.into_iter().collect())
}
