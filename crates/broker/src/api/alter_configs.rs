//! AlterConfigs: what is not named goes back to its default.

use std::collections::BTreeMap;

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::alter_configs_request::AlterConfigsResource;
use tidewater_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use tidewater_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use super::{BROKER_RESOURCE, TOPIC_RESOURCE, alter_settings, text};
use crate::admin::SettingChange;
use crate::broker::Shared;
use crate::dynamic::broker_owner;
use crate::metadata::SettingsOwner;

pub(crate) fn handle(shared: &Shared, request: &AlterConfigsRequest) -> AlterConfigsResponse {
    let responses = request.resources.iter().map(|resource| {
        let response = AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match alter(shared, resource, request.validate_only) {
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
        BROKER_RESOURCE => shared.dynamic(&broker_owner(name)?),
        _ => shared.dynamic(&SettingsOwner::Group(name.to_owned())),
    };
    let mut changes: BTreeMap<String, SettingChange> =
        own.into_keys().map(|setting| (setting, SettingChange::Delete)).collect();
    for config in &resource.configs {
        let setting = config.name.to_string();
        let Some(value) = &config.value else {
            return Err((ResponseError::InvalidRequest, format!("setting {setting} has no value")));
        };
        changes.insert(setting, SettingChange::Set(value.to_string()));
    }
    alter_settings(shared, (resource.resource_type, name), changes.into_iter().collect(), validate_only)
}
