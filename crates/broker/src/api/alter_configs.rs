//! AlterConfigs: what is not named goes back to its default.

use std::collections::BTreeMap;

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::alter_configs_request::AlterConfigsResource;
use tidewater_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use tidewater_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use super::{BROKER_RESOURCE, METRICS_RESOURCE, TOPIC_RESOURCE, alter_settings, fault_of_changes, repeated, text};
use crate::admin::SettingChange;
use crate::broker::Shared;
use crate::metadata::SettingsOwner;

pub(crate) fn handle(shared: &Shared, request: &AlterConfigsRequest) -> AlterConfigsResponse {
    let key = |resource: &AlterConfigsResource| (resource.resource_type, resource.resource_name.clone());
    let keys: Vec<_> = request.resources.iter().map(key).collect();
    let repeated = repeated(&keys);
    let responses = request.resources.iter().zip(&keys).map(|(resource, key)| {
        let response = AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        let names = resource.configs.iter().map(|config| (&*config.name, config.value.is_none()));
        let fault = fault_of_changes(repeated.contains(key), names);
        match fault.map_or_else(|| alter(shared, resource, request.validate_only), Err) {
            Ok(()) => response.with_error_message(None),
            Err((code, message)) => response.with_error_code(code.code()).with_error_message(Some(text(message))),
        }
    });
    AlterConfigsResponse::default().with_responses(responses.collect())
}

fn alter(shared: &Shared, resource: &AlterConfigsResource, validate_only: bool) -> Result<(), (ResponseError, String)> {
    let name = &*resource.resource_name;
    let own = match resource.resource_type {
        TOPIC_RESOURCE => shared.topic(name).map(|topic| topic.record.configs.clone()).unwrap_or_default(),
        BROKER_RESOURCE => shared.dynamic(&shared.broker_owner(name)?),
        METRICS_RESOURCE => shared.dynamic(&SettingsOwner::Metrics(name.to_owned())),
        _ => shared.dynamic(&SettingsOwner::Group(name.to_owned())),
    };
    let mut changes: BTreeMap<String, SettingChange> =
        own.into_keys().map(|setting| (setting, SettingChange::Delete)).collect();
    for config in &resource.configs {
        let value = config.value.as_deref().unwrap_or_default().to_owned();
        changes.insert(config.name.to_string(), SettingChange::Set(value));
    }
    alter_settings(shared, (resource.resource_type, name), changes.into_iter().collect(), validate_only)
}
