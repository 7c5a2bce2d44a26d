//! IncrementalAlterConfigs, of topics, brokers and groups.

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use tidewater_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use tidewater_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::{alter_settings, text};
use crate::admin::SettingChange;
use crate::broker::Shared;

pub(crate) fn handle(shared: &Shared, request: &IncrementalAlterConfigsRequest) -> IncrementalAlterConfigsResponse {
    let responses = request.resources.iter().map(|resource| {
        let response = AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match alter(shared, resource, request.validate_only) {
            Ok(()) => response.with_error_message(None),
            Err((code, message)) => response.with_error_code(code.code()).with_error_message(Some(text(message))),
        }
    });
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

fn alter(shared: &Shared, resource: &AlterConfigsResource, validate_only: bool) -> Result<(), (ResponseError, String)> {
    let changes = resource.configs.iter().map(|config| Ok((config.name.to_string(), change(config)?)));
    let changes = changes.collect::<Result<Vec<_>, _>>()?;
    alter_settings(shared, (resource.resource_type, &resource.resource_name), changes, validate_only)
}

/// What is asked for, by the numbers of `AlterConfigOp.OpType`.
fn change(config: &AlterableConfig) -> Result<SettingChange, (ResponseError, String)> {
    let value = || match &config.value {
        Some(value) => Ok(value.to_string()),
        None => Err((ResponseError::InvalidRequest, format!("setting {} has no value", &*config.name))),
    };
    match config.config_operation {
        0 => Ok(SettingChange::Set(value()?)),
        1 => Ok(SettingChange::Delete),
        2 => Ok(SettingChange::Append(value()?)),
        3 => Ok(SettingChange::Subtract(value()?)),
        other => Err((ResponseError::InvalidRequest, format!("{other} is no operation on a setting"))),
    }
}
