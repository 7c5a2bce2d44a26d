//! ListConfigResources: what may have settings of its own. In version 0 that is metrics of clients, of which there are none.

use tidewater_protocol::messages::list_config_resources_response::ConfigResource;
use tidewater_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use tidewater_protocol::{RequestContext, ResponseError};

use super::{TOPIC_RESOURCE, text};
use crate::broker::{NODE, Shared};

/// `ConfigResource.Type`.
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;
/// From this version on, a request names the types that it wants.
const NAMES_TYPES: i16 = 1;

pub(crate) fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: &ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    let all = [TOPIC_RESOURCE, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
    let wanted: &[i8] = match context.version {
        ..NAMES_TYPES => &[CLIENT_METRICS],
        _ if request.resource_types.is_empty() => &all,
        _ => &request.resource_types,
    };
    if !wanted.iter().all(|kind| all.contains(kind)) {
        return ListConfigResourcesResponse::default().with_error_code(ResponseError::UnsupportedVersion.code());
    }
    let names = |kind: i8| match kind {
        TOPIC_RESOURCE => shared.topics().keys().cloned().collect(),
        BROKER | BROKER_LOGGER => vec![NODE.0.to_string()],
        // None has settings.
        _ => Vec::new(),
    };
    let resources = wanted.iter().flat_map(|&kind| {
        names(kind)
            .into_iter()
            .map(move |name| ConfigResource::default().with_resource_type(kind).with_resource_name(text(name)))
    });
    ListConfigResourcesResponse::default().with_config_resources(resources.collect())
}
