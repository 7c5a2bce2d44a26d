//! Settings that change while the broker runs: of all brokers, of this one, and of groups. They are kept in the log of topics.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Arc, PoisonError};

use regex::RegexBuilder;
use tidewater_log::LogConfig;
use tidewater_protocol::ResponseError;
use tidewater_types::nearest_name;

use crate::BrokerError;
use crate::admin::{SettingChange, apply};
use crate::broker::Shared;
use crate::config::{TopicSetting, check_topic_settings, is_hidden, topic_config, topic_config_as_is, topic_settings};
use crate::groups::{GROUP_SETTINGS, GroupSetting, OwnSettings};
use crate::metadata::SettingsOwner;
use crate::properties::{Known, LISTENERS, find_known, idle_at_run_time, known_names, topic_defaults};
use crate::server::LEAST_CONNECTIONS;
use crate::topics::OpenTopic;

/// Settings by their names.
pub(crate) type Settings = BTreeMap<String, String>;

/// `ConfigDef.Type`, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Boolean = 1,
    Text = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    Password = 9,
}

impl Kind {
    /// Whether a value is one of its kind, with Apache Kafka's words for what is not.
    pub fn check(self, value: &str) -> Result<(), &'static str> {
        let value = value.trim();
        let (is_one, what) = match self {
            Kind::Boolean => (
                ["true", "false"].iter().any(|name| value.eq_ignore_ascii_case(name)),
                "Expected value to be either true or false",
            ),
            Kind::Int => (value.parse::<i32>().is_ok(), "Not a number of type INT"),
            Kind::Short => (value.parse::<i16>().is_ok(), "Not a number of type SHORT"),
            Kind::Long => (value.parse::<i64>().is_ok(), "Not a number of type LONG"),
            Kind::Double => (value.parse::<f64>().is_ok(), "Not a number of type DOUBLE"),
            Kind::Text | Kind::List | Kind::Class | Kind::Password => (true, ""),
        };
        if is_one { Ok(()) } else { Err(what) }
    }
}

/// Where a value comes from: `ConfigSource`, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Topic = 1,
    Broker = 2,
    Brokers = 3,
    File = 4,
    Default = 5,
    Metrics = 7,
    Group = 8,
}

/// A value that a setting is given somewhere. Of several, the first counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub name: String,
    pub value: String,
    pub source: Source,
}

/// What has settings that change.
pub(crate) type DynamicSettings = BTreeMap<SettingsOwner, Settings>;

/// What a broker's file of settings, and what was changed since, say of topics.
pub(crate) fn defaults_of_topics(file: &Settings, dynamic: &DynamicSettings) -> Settings {
    let layers = [Some(file), dynamic.get(&SettingsOwner::Brokers), dynamic.get(&SettingsOwner::Broker)];
    topic_defaults(layers.into_iter().flatten())
}

/// What was changed for groups.
pub(crate) fn settings_of_groups(dynamic: &DynamicSettings) -> OwnSettings {
    let of_groups = dynamic.iter().filter_map(|(owner, settings)| match owner {
        SettingsOwner::Group(name) => Some((name.clone(), settings.clone())),
        _ => None,
    });
    let layers = [SettingsOwner::Brokers, SettingsOwner::Broker].map(|owner| dynamic.get(&owner));
    let of_brokers = layers.into_iter().flatten().flatten().map(|(name, value)| (name.clone(), value.clone()));
    OwnSettings { groups: of_groups.collect(), broker: of_brokers.collect() }
}

impl Shared {
    /// What was changed of somebody's settings.
    pub fn dynamic(&self, owner: &SettingsOwner) -> Settings {
        let dynamic = self.dynamic.read().unwrap_or_else(PoisonError::into_inner);
        dynamic.get(owner).cloned().unwrap_or_default()
    }

    /// What a topic's settings make, over those that the broker gives all topics.
    pub fn topic_config(&self, own: &Settings) -> Result<LogConfig, BrokerError> {
        let dynamic = self.dynamic.read().unwrap_or_else(PoisonError::into_inner);
        topic_config(&defaults_of_topics(&self.settings.properties, &dynamic), own)
    }

    /// The same of a topic that is there, whether or not its settings go with the broker's.
    pub fn topic_config_now(&self, own: &Settings) -> Result<LogConfig, BrokerError> {
        let dynamic = self.dynamic.read().unwrap_or_else(PoisonError::into_inner);
        config_now(&defaults_of_topics(&self.settings.properties, &dynamic), own)
    }

    /// The values that a setting of the broker is given.
    pub fn given_to_broker(&self, known: &Known) -> Vec<Given> {
        let given = |source: Source, settings: &Settings| {
            let value = settings.get(known.name)?.clone();
            Some(Given { name: known.name.to_owned(), value, source })
        };
        let default = known.default.map(|value| Given {
            name: known.name.to_owned(),
            value: value.to_owned(),
            source: Source::Default,
        });
        let dynamic = self.dynamic.read().unwrap_or_else(PoisonError::into_inner);
        let of = |owner, source| dynamic.get(&owner).and_then(|settings| given(source, settings));
        let all = [
            of(SettingsOwner::Broker, Source::Broker),
            of(SettingsOwner::Brokers, Source::Brokers),
            given(Source::File, &self.settings.properties),
            default,
        ];
        all.into_iter().flatten().collect()
    }

    /// The settings of a topic that are shown, with what each is if it is given nothing, and the values that it is given. Tidewater's own are
    /// where they are set: other tools know nothing of them.
    pub fn settings_of_topic(
        &self,
        topic: &OpenTopic,
    ) -> impl Iterator<Item = (&'static TopicSetting, String, Vec<Given>)> {
        let dynamic = self.dynamic.read().unwrap_or_else(PoisonError::into_inner);
        // Some the broker knows by another name, or in another unit.
        let mut defaults = defaults_of_topics(&self.settings.properties, &dynamic);
        drop(dynamic);
        let all = topic_settings().map(move |setting| {
            let default = defaults.remove(setting.name).unwrap_or_else(|| setting.default.to_owned());
            (setting, default, self.given_to_topic(topic, setting))
        });
        all.filter(|(setting, _, given)| !is_hidden(setting.name) || !given.is_empty())
    }

    /// The values that a setting of a topic is given: its own, and those of the broker's setting that is its default.
    pub fn given_to_topic(&self, topic: &OpenTopic, setting: &TopicSetting) -> Vec<Given> {
        let own = topic.record.configs.get(setting.name);
        let own = own.map(|value| Given { name: setting.name.to_owned(), value: value.clone(), source: Source::Topic });
        let known = setting.broker.and_then(find_known);
        own.into_iter().chain(known.map(|known| self.given_to_broker(known)).unwrap_or_default()).collect()
    }

    /// The values that a setting of a group is given.
    pub fn given_to_group(&self, group: &str, setting: &GroupSetting) -> Vec<Given> {
        let own = self.dynamic(&SettingsOwner::Group(group.to_owned())).remove(setting.name);
        let own = own.map(|value| Given { name: setting.name.to_owned(), value, source: Source::Group });
        let known = find_known(setting.broker).map(|known| self.given_to_broker(known)).unwrap_or_default();
        own.into_iter().chain(known).collect()
    }

    /// What was changed for all brokers.
    pub fn given_to_brokers(&self) -> Vec<Given> {
        let given = |(name, value)| Given { name, value, source: Source::Brokers };
        self.dynamic(&SettingsOwner::Brokers).into_iter().map(given).collect()
    }

    /// The values that a setting of a subscription to metrics is given.
    pub fn given_to_metrics(&self, subscription: &str, setting: &MetricsSetting) -> Vec<Given> {
        let own = self.dynamic(&SettingsOwner::Metrics(subscription.to_owned())).remove(setting.name);
        own.map(|value| Given { name: setting.name.to_owned(), value, source: Source::Metrics }).into_iter().collect()
    }

    /// What has settings of its own, of those that `name` has a name for.
    pub fn with_settings(&self, name: fn(&SettingsOwner) -> Option<&String>) -> Vec<String> {
        let dynamic = self.dynamic.read().unwrap_or_else(PoisonError::into_inner);
        dynamic.keys().filter_map(name).cloned().collect()
    }

    /// Changes settings of brokers or a group, all together or none.
    pub fn alter_dynamic(
        &self,
        owner: SettingsOwner,
        changes: Vec<(String, SettingChange)>,
        validate_only: bool,
    ) -> Result<(), (ResponseError, String)> {
        // Before what is changed, as whoever changes a topic has them.
        let topics = self.topics();
        // Held to the end, so that two changes do not write over each other.
        let mut dynamic = self.dynamic.write().unwrap_or_else(PoisonError::into_inner);
        let mut settings = dynamic.get(&owner).cloned().unwrap_or_default();
        let refuse = |what: String| match owner {
            SettingsOwner::Group(_) => Err((ResponseError::InvalidConfig, what)),
            _ => Err((ResponseError::InvalidRequest, what)),
        };
        let mut idle = Vec::new();
        for (name, change) in changes {
            let checked = match &owner {
                SettingsOwner::Group(_) => check_group_name(&name),
                SettingsOwner::Metrics(_) => check_metrics_name(&name),
                SettingsOwner::Brokers | SettingsOwner::Broker => check_broker_name(&owner, &name),
            };
            let (kind, default) = match checked {
                Ok(found) => found,
                Err(what) => return refuse(what),
            };
            if name == LISTENERS {
                return refuse(format!("{LISTENERS} cannot be changed while the broker runs"));
            }
            if let SettingChange::Set(value) | SettingChange::Append(value) = &change {
                let least = LEAST.iter().find(|(bounded, _)| *bounded == name).map(|(_, least)| *least);
                let checked = kind.check(value).map_err(str::to_owned).and_then(|()| {
                    match (least, value.trim().parse::<i64>()) {
                        (Some(least), Ok(number)) if number < least => Err(format!("Value must be at least {least}")),
                        _ => Ok(()),
                    }
                });
                if let Err(what) = checked {
                    return refuse(format!("Invalid value {value} for configuration {name}: {what}"));
                }
            }
            if let SettingChange::Set(_) | SettingChange::Append(_) = change {
                idle.extend(idle_at_run_time(&name).map(|reason| (name.clone(), reason)));
            }
            if let Err(what) = apply(&mut settings, name, change, (kind == Kind::List).then_some(default)) {
                return refuse(what);
            }
        }
        let mut defaults = None;
        let mut changed = dynamic.clone();
        changed.insert(owner.clone(), settings.clone());
        if matches!(owner, SettingsOwner::Group(_)) {
            if let Err(what) = self.settings.groups.check_group(&settings) {
                return refuse(what);
            }
        } else if matches!(owner, SettingsOwner::Metrics(_)) {
            check_metrics(&settings)?;
        } else {
            let before = defaults_of_topics(&self.settings.properties, &dynamic);
            let after = defaults_of_topics(&self.settings.properties, &changed);
            if let Err(error) = check_topic_settings(&after) {
                return refuse(error.words());
            }
            for (name, topic) in topics.iter() {
                let own = &topic.record.configs;
                // What did not go together before is not this one's fault.
                if let Err(error) = topic_config(&after, own)
                    && topic_config(&before, own).is_ok()
                {
                    return refuse(format!("topic {name} has settings that do not go with this: {}", error.words()));
                }
            }
            defaults = Some(after);
            if let Err(what) = self.settings.groups.check_brokers(&settings_of_groups(&changed)) {
                return refuse(what);
            }
        }
        if validate_only {
            return Ok(());
        }
        let written = (!settings.is_empty()).then_some(&settings);
        let mut metadata = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
        metadata.write_settings(&owner, written, self.now()).map_err(|error| {
            self.complain("storage", |left_out| tracing::error!(%error, left_out, "settings cannot be written"));
            (ResponseError::KafkaStorageError, error.to_string())
        })?;
        drop(metadata);
        if settings.is_empty() {
            changed.remove(&owner);
        }
        *dynamic = changed;
        if let Some(defaults) = defaults {
            // While nobody else changes them: what a log acts on is what is said last.
            refresh_topics(&topics, &defaults);
            for (setting, reason) in idle {
                self.complain("settings", |left_out| {
                    tracing::warn!(setting, reason, left_out, "a setting of brokers was changed without effect");
                });
            }
        }
        drop((dynamic, topics));
        self.refresh_groups();
        Ok(())
    }

    /// Whose settings a resource of a request names: of all brokers, if the name is empty.
    pub fn broker_owner(&self, name: &str) -> Result<SettingsOwner, (ResponseError, String)> {
        let node = self.node().0;
        match name {
            "" => Ok(SettingsOwner::Brokers),
            name if *name == node.to_string() => Ok(SettingsOwner::Broker),
            other => {
                let message = format!("Unexpected broker id, expected {node} or empty string, but received {other}");
                Err((ResponseError::InvalidRequest, message))
            }
        }
    }

    /// A number that brokers were given while they ran.
    pub fn dynamic_number<T: FromStr>(&self, name: &str) -> Option<T> {
        let dynamic = self.dynamic.read().unwrap_or_else(PoisonError::into_inner);
        let layers = [SettingsOwner::Broker, SettingsOwner::Brokers];
        let value = layers.iter().find_map(|owner| dynamic.get(owner)?.get(name));
        value.and_then(|value| value.trim().parse().ok())
    }

    /// Has the groups act on what was changed for them.
    fn refresh_groups(&self) {
        // Taken before it is read what there is, so that of two changes the later one is what stays.
        let mut settings = self.group_settings.write().unwrap_or_else(PoisonError::into_inner);
        *settings = settings_of_groups(&self.dynamic.read().unwrap_or_else(PoisonError::into_inner));
    }
}

fn config_now(defaults: &Settings, own: &Settings) -> Result<LogConfig, BrokerError> {
    topic_config(defaults, own).or_else(|_| topic_config_as_is(defaults, own))
}

/// Has all logs act on what the broker gives topics now.
fn refresh_topics(topics: &BTreeMap<String, Arc<OpenTopic>>, defaults: &Settings) {
    for (name, topic) in topics {
        let own = &topic.record.configs;
        match config_now(defaults, own) {
            Ok(config) => topic.partitions.iter().for_each(|partition| partition.lock().set_config(config.clone())),
            Err(error) => tracing::error!(topic = name, %error, "the broker's settings do not fit the topic's own"),
        }
    }
}

fn check_broker_name(owner: &SettingsOwner, name: &str) -> Result<(Kind, &'static str), String> {
    match find_known(name) {
        Some(known) if known.dynamic && PER_LISTENER.contains(&name) => Err(format!(
            "These security configs can be dynamically updated only per-listener using the listener prefix: [{name}]"
        )),
        Some(known) if known.dynamic && *owner == SettingsOwner::Brokers && is_per_broker(name) => {
            Err(format!("Cannot update these configs at default cluster level, broker id must be specified: [{name}]"))
        }
        Some(known) if known.dynamic => Ok((known.kind, known.default.unwrap_or_default())),
        Some(_) => Err(format!("Cannot update these configs dynamically: [{name}]")),
        None => {
            let nearest = nearest_name(name, known_names()).unwrap_or_default();
            Err(format!("Unknown broker config name: {name}; did you mean {nearest}?"))
        }
    }
}

/// Whether each broker has a setting of its own, and there is none for all.
fn is_per_broker(name: &str) -> bool {
    const OTHERS: [&str; 4] =
        ["cordoned.log.dirs", "listener.security.protocol.map", "listeners", "principal.builder.class"];
    name.starts_with("sasl.") || name.starts_with("ssl.") || OTHERS.contains(&name)
}

/// What each listener has a setting of its own for: `SslConfigs.RECONFIGURABLE_CONFIGS`.
const PER_LISTENER: [&str; 10] = [
    "ssl.key.password",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.type",
    "ssl.truststore.certificates",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.type",
];

/// The least that settings may be that change while the broker runs and are no topic's.
const LEAST: [(&str, i64); 12] = [
    ("background.threads", 1),
    ("follower.replication.throttled.rate", 0),
    ("leader.replication.throttled.rate", 0),
    ("log.cleaner.backoff.ms", 0),
    ("log.cleaner.threads", 0),
    ("max.connections", LEAST_CONNECTIONS as i64),
    ("max.connections.per.ip", 0),
    ("num.io.threads", 1),
    ("num.network.threads", 1),
    ("num.recovery.threads.per.data.dir", 1),
    ("producer.id.expiration.ms", 1),
    ("replica.alter.log.dirs.io.max.bytes.per.second", 0),
];

fn check_group_name(name: &str) -> Result<(Kind, &'static str), String> {
    match GROUP_SETTINGS.iter().find(|setting| setting.name == name) {
        Some(_) => Ok((Kind::Int, "")),
        None => Err(format!("Unknown group config name: {name}")),
    }
}

/// A setting of a subscription to metrics of clients (KIP-714). They are kept and shown; nothing takes the metrics.
pub(crate) struct MetricsSetting {
    pub name: &'static str,
    pub kind: Kind,
    pub default: &'static str,
}

/// All of them.
pub(crate) const METRICS_SETTINGS: [MetricsSetting; 3] = [
    MetricsSetting { name: "interval.ms", kind: Kind::Int, default: "300000" },
    MetricsSetting { name: "match", kind: Kind::List, default: "" },
    MetricsSetting { name: "metrics", kind: Kind::List, default: "" },
];

/// What a pattern of a subscription may take once it is compiled.
const PATTERN_LIMIT_BYTES: usize = 64 << 10;
/// What a client may be told by.
const MATCHED: [&str; 6] = [
    "client_id",
    "client_instance_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];

fn check_metrics_name(name: &str) -> Result<(Kind, &'static str), String> {
    match METRICS_SETTINGS.iter().find(|setting| setting.name == name) {
        Some(setting) => Ok((setting.kind, setting.default)),
        None => Err(format!("Unknown client metrics configuration: {name}")),
    }
}

/// Whether a subscription may have these settings, with Apache Kafka's words for those that it may not.
fn check_metrics(settings: &Settings) -> Result<(), (ResponseError, String)> {
    let interval = settings.get("interval.ms").and_then(|interval| interval.trim().parse::<i32>().ok());
    if let Some(interval) = interval.filter(|interval| !(100..=3_600_000).contains(interval)) {
        let what =
            format!("Invalid value {interval} for interval.ms, interval must be between 100 and 3600000 (1 hour)");
        return Err((ResponseError::InvalidRequest, what));
    }
    let patterns = settings.get("match").map(String::as_str).unwrap_or_default();
    for pattern in patterns.split(',').map(str::trim).filter(|pattern| !pattern.is_empty()) {
        let parts =
            pattern.split_once('=').filter(|(_, expression)| !expression.is_empty() && !expression.contains('='));
        if parts.is_none_or(|(name, expression)| {
            !MATCHED.contains(&name.trim())
                || RegexBuilder::new(expression.trim()).size_limit(PATTERN_LIMIT_BYTES).build().is_err()
        }) {
            return Err((ResponseError::InvalidConfig, format!("Illegal client matching pattern: {pattern}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_of_their_kinds() {
        assert_eq!(Kind::Int.check("17"), Ok(()));
        assert_eq!(Kind::Int.check("words"), Err("Not a number of type INT"));
        assert_eq!(Kind::Int.check("9223372036854775807"), Err("Not a number of type INT"));
        assert_eq!(Kind::Long.check("9223372036854775807"), Ok(()));
        assert!(Kind::Boolean.check("yes").is_err());
    }

    #[test]
    fn a_later_layer_counts_more() {
        let settings = |name: &str, value: &str| Settings::from([(name.to_owned(), value.to_owned())]);
        let file = settings("log.retention.hours", "1");
        let mut dynamic = DynamicSettings::new();
        assert_eq!(defaults_of_topics(&file, &dynamic)["retention.ms"], "3600000");
        dynamic.insert(SettingsOwner::Broker, settings("log.retention.ms", "5"));
        dynamic.insert(SettingsOwner::Brokers, settings("log.retention.ms", "7"));
        assert_eq!(defaults_of_topics(&file, &dynamic)["retention.ms"], "5");
    }
}
