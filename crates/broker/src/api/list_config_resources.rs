//! ListConfigResources: what may have settings of its own. In version 0 that is subscriptions to metrics of clients.

use tidewater_protocol::messages::list_config_resources_response::ConfigResource;
use tidewater_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use tidewater_protocol::{RequestContext, ResponseError};

use super::{BROKER_RESOURCE, GROUP_RESOURCE, LOGGER_RESOURCE, METRICS_RESOURCE, TOPIC_RESOURCE, text};
use crate::broker::Shared;
use crate::metadata::SettingsOwner;

/// From this version on, a request names the types that it wants.
const NAMES_TYPES: i16 = 1;

pub(crate) fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: &ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    let all = [TOPIC_RESOURCE, BROKER_RESOURCE, LOGGER_RESOURCE, METRICS_RESOURCE, GROUP_RESOURCE];
    let wanted: &[i8] = match context.version {
        ..NAMES_TYPES => &[METRICS_RESOURCE],
        _ if request.resource_types.is_empty() => &all,
        _ => &request.resource_types,
    };
    if !wanted.iter().all(|kind| all.contains(kind)) {
        return ListConfigResourcesResponse::default().with_error_code(ResponseError::UnsupportedVersion.code());
    }
    let names = |kind: i8| match kind {
        TOPIC_RESOURCE => shared.topics().keys().cloned().collect(),
        BROKER_RESOURCE | LOGGER_RESOURCE => vec![shared.node().0.to_string()],
        GROUP_RESOURCE => shared.with_settings(|owner| match owner {
            SettingsOwner::Group(name) => Some(name),
            _ => None,
        }),
        _ => shared.with_settings(|owner| match owner {
            SettingsOwner::Metrics(name) => Some(name),
            _ => None,
        }),
    };
    let resources = all.iter().filter(|kind| wanted.contains(kind)).flat_map(|&kind| {
        names(kind)
            .into_iter()
            .map(move |name| ConfigResource::default().with_resource_type(kind).with_resource_name(text(name)))
    });
    ListConfigResourcesResponse::default().with_config_resources(resources.collect())
}
