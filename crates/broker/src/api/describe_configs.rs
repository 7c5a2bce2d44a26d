//! DescribeConfigs, of topics: all their settings, the default ones too.

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::describe_configs_request::DescribeConfigsResource;
use tidewater_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use tidewater_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::{TOPIC_RESOURCE, effective, explain, text};
use crate::admin::TopicError;
use crate::broker::Shared;
use crate::config::topic_settings;

pub(crate) fn handle(shared: &Shared, request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
    let results = request.resources.iter().map(|resource| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match describe(shared, resource) {
            Ok(configs) => result.with_configs(configs),
            Err((code, message)) => result.with_error_code(code.code()).with_error_message(Some(text(message))),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn describe(
    shared: &Shared,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribeConfigsResourceResult>, (ResponseError, String)> {
    if resource.resource_type != TOPIC_RESOURCE {
        return Err((ResponseError::InvalidRequest, "only settings of topics can be described".to_owned()));
    }
    let name = resource.resource_name.to_string();
    let topic = shared.topic(&name).ok_or_else(|| explain(&name, TopicError::Unknown))?;
    let is_wanted = |name: &str| {
        let wanted = resource.configuration_keys.as_ref();
        wanted.is_none_or(|wanted| wanted.iter().any(|wanted| &**wanted == name))
    };
    let settings = topic_settings().filter(|(name, _)| is_wanted(name)).map(|(name, default)| {
        let (value, source) = effective(shared, &topic, name, default);
        DescribeConfigsResourceResult::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
            .with_config_source(source)
    });
    Ok(settings.collect())
}
