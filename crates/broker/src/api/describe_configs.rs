//! DescribeConfigs: all settings of a topic, a broker, or a group, the default ones too.

use std::collections::BTreeSet;

use tidewater_protocol::messages::describe_configs_request::DescribeConfigsResource;
use tidewater_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use tidewater_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use tidewater_protocol::{RequestContext, ResponseError};

use super::{BROKER_RESOURCE, GROUP_RESOURCE, LOGGER_RESOURCE, METRICS_RESOURCE, TOPIC_RESOURCE, explain, text};
use crate::admin::TopicError;
use crate::broker::Shared;
use crate::config::topic_settings;
use crate::dynamic::{Given, Kind, METRICS_SETTINGS, Source};
use crate::groups::GROUP_SETTINGS;
use crate::metadata::SettingsOwner;
use crate::properties::{INTERNAL, KNOWN, Known, find_known};
use crate::topics::is_legal_name;

/// From this version on, kinds of settings are told.
const KINDS: i16 = 3;

pub(crate) fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: &DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let with = (request.include_synonyms, request.include_documentation);
    let mut seen = BTreeSet::new();
    let what = |resource: &DescribeConfigsResource| (resource.resource_type, resource.resource_name.clone());
    let once = request.resources.iter().filter(|resource| seen.insert(what(resource)));
    let results = once.map(|resource| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        let wanted = resource.configuration_keys.as_ref().filter(|wanted| !wanted.is_empty());
        let wanted: Option<BTreeSet<&str>> = wanted.map(|wanted| wanted.iter().map(|name| &**name).collect());
        let is_wanted = |name: &str| wanted.as_ref().is_none_or(|wanted| wanted.contains(name));
        match describe(shared, resource, &is_wanted) {
            Ok(found) => {
                let results = found.into_iter().map(|setting| setting.result(context, with));
                result.with_configs(results.collect())
            }
            Err((code, message)) => result.with_error_code(code.code()).with_error_message(message.map(text)),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

/// A setting, and the values that it is given.
struct Setting {
    name: String,
    kind: Kind,
    read_only: bool,
    /// What it is if it is given none.
    default: Option<String>,
    given: Vec<Given>,
    documentation: Option<&'static str>,
}

impl Setting {
    fn result(
        self,
        context: &RequestContext,
        (with_synonyms, with_documentation): (bool, bool),
    ) -> DescribeConfigsResourceResult {
        let first = self.given.first();
        let value = first.map_or(self.default, |given| Some(given.value.clone()));
        let is_secret = self.kind == Kind::Password;
        let result = DescribeConfigsResourceResult::default()
            .with_name(text(self.name))
            .with_documentation(self.documentation.filter(|_| with_documentation).map(text))
            .with_value(value.filter(|_| !is_secret).map(text))
            .with_read_only(self.read_only)
            .with_config_source(first.map_or(Source::Default, |given| given.source) as i8)
            .with_is_sensitive(is_secret);
        let result = if context.version >= KINDS { result.with_config_type(self.kind as i8) } else { result };
        if !with_synonyms {
            return result;
        }
        let synonyms = self.given.into_iter().map(|given| {
            DescribeConfigsSynonym::default()
                .with_name(text(given.name))
                .with_value(Some(given.value).filter(|_| !is_secret).map(text))
                .with_source(given.source as i8)
        });
        result.with_synonyms(synonyms.collect())
    }
}

/// Those settings of a resource that are wanted, or why there are none: an error, and perhaps words.
fn describe(
    shared: &Shared,
    resource: &DescribeConfigsResource,
    is_wanted: &dyn Fn(&str) -> bool,
) -> Result<Vec<Setting>, (ResponseError, Option<String>)> {
    let refused = |(code, message): (ResponseError, String)| (code, Some(message));
    let name = &*resource.resource_name;
    match resource.resource_type {
        TOPIC_RESOURCE => {
            if !is_legal_name(name) {
                return Err(refused(explain(name, TopicError::InvalidName)));
            }
            let topic = shared.topic(name).ok_or((ResponseError::UnknownTopicOrPartition, Some(String::new())))?;
            let settings = shared.settings_of_topic(&topic).filter(|(setting, ..)| is_wanted(setting.name));
            let settings = settings.map(|(setting, default, given)| Setting {
                name: setting.name.to_owned(),
                kind: setting.kind,
                read_only: false,
                default: Some(default),
                given,
                documentation: Some(setting.documentation),
            });
            Ok(settings.collect())
        }
        BROKER_RESOURCE if shared.broker_owner(name).map_err(refused)? == SettingsOwner::Brokers => {
            let settings = shared.given_to_brokers().into_iter().filter(|given| is_wanted(&given.name)).map(|given| {
                let kind = find_known(&given.name).map_or(Kind::Text, |known| known.kind);
                Setting {
                    name: given.name.clone(),
                    kind,
                    read_only: false,
                    default: None,
                    given: vec![given],
                    documentation: None,
                }
            });
            Ok(settings.collect())
        }
        BROKER_RESOURCE => {
            let is_set =
                |known: &&Known| shared.given_to_broker(known).iter().any(|given| given.source != Source::Default);
            let set = INTERNAL.iter().filter(is_set);
            let settings = KNOWN.iter().chain(set).filter(|known| is_wanted(known.name)).map(|known| Setting {
                name: known.name.to_owned(),
                kind: known.kind,
                read_only: !known.dynamic,
                default: None,
                given: shared.given_to_broker(known),
                documentation: topic_settings()
                    .find(|setting| setting.broker == Some(known.name))
                    .map(|setting| setting.documentation),
            });
            Ok(settings.collect())
        }
        GROUP_RESOURCE if name.is_empty() => {
            Err(refused((ResponseError::InvalidRequest, "Default group resources are not allowed.".to_owned())))
        }
        GROUP_RESOURCE => {
            let settings = GROUP_SETTINGS.iter().filter(|setting| is_wanted(setting.name)).map(|setting| Setting {
                name: setting.name.to_owned(),
                kind: Kind::Int,
                read_only: false,
                default: None,
                given: shared.given_to_group(name, setting),
                documentation: None,
            });
            Ok(settings.collect())
        }
        METRICS_RESOURCE if name.is_empty() => {
            let what = "Client metrics subscription name must not be empty";
            Err(refused((ResponseError::InvalidRequest, what.to_owned())))
        }
        METRICS_RESOURCE => {
            let settings = METRICS_SETTINGS.iter().filter(|setting| is_wanted(setting.name)).map(|setting| Setting {
                name: setting.name.to_owned(),
                kind: setting.kind,
                read_only: false,
                default: Some(setting.default.to_owned()),
                given: shared.given_to_metrics(name, setting),
                documentation: None,
            });
            Ok(settings.collect())
        }
        LOGGER_RESOURCE if name.is_empty() => {
            Err(refused((ResponseError::InvalidRequest, "Broker id must not be empty".to_owned())))
        }
        // What is logged is chosen by the environment.
        LOGGER_RESOURCE => shared.broker_owner(name).map(|_| Vec::new()).map_err(refused),
        other => Err(refused((ResponseError::InvalidRequest, format!("there are no resources of type {other}")))),
    }
}
