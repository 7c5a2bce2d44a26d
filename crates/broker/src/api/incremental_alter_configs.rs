//! IncrementalAlterConfigs, of topics, brokers and groups.

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use tidewater_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use tidewater_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::{alter_settings, fault_of_changes, repeated, text};
use crate::admin::SettingChange;
use crate::broker::Shared;

pub(crate) fn handle(shared: &Shared, request: &IncrementalAlterConfigsRequest) -> IncrementalAlterConfigsResponse {
    let key = |resource: &AlterConfigsResource| (resource.resource_type, resource.resource_name.clone());
    let keys: Vec<_> = request.resources.iter().map(key).collect();
    let repeated = repeated(&keys);
    let responses = request.resources.iter().zip(&keys).map(|(resource, key)| {
        let response = AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        let names = resource.configs.iter().map(|config| (&*config.name, lacks_value(config)));
        let fault = fault_of_changes(repeated.contains(key), names);
        match fault.map_or_else(|| alter(shared, resource, request.validate_only), Err) {
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

/// The operation that needs no value, by its number in `AlterConfigOp.OpType`.
const DELETE: i8 = 1;

fn lacks_value(config: &AlterableConfig) -> bool {
    config.value.is_none() && config.config_operation != DELETE
}

/// What is asked for.
fn change(config: &AlterableConfig) -> Result<SettingChange, (ResponseError, String)> {
    let value = config.value.as_deref().unwrap_or_default().to_owned();
    match config.config_operation {
        0 => Ok(SettingChange::Set(value)),
        DELETE => Ok(SettingChange::Delete),
        2 => Ok(SettingChange::Append(value)),
        3 => Ok(SettingChange::Subtract(value)),
        other => Err((ResponseError::InvalidRequest, format!("{other} is no operation on a setting"))),
    }
}
