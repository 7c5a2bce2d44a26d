//! A broker's settings by Kafka's names: those of a `server.properties`, or of a TOML file with the same names.

mod known;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tidewater_env::Disk;
use tidewater_types::{nearest_name, property_lines};

use crate::config::check_topic_settings;
use crate::dynamic::Settings;
use crate::{BrokerError, BrokerSettings, Listener, ServerSettings};
pub(crate) use known::{INTERNAL, KNOWN, Known};

/// Settings of a broker that give the default of a topic's setting, with the factor that makes milliseconds of a time.
const TOPIC_DEFAULTS: [(&str, &str, i64); 21] = [
    ("compression.type", "compression.type", 1),
    ("log.cleanup.policy", "cleanup.policy", 1),
    ("log.cleaner.delete.retention.ms", "delete.retention.ms", 1),
    ("log.cleaner.max.compaction.lag.ms", "max.compaction.lag.ms", 1),
    ("log.cleaner.min.cleanable.ratio", "min.cleanable.dirty.ratio", 1),
    ("log.cleaner.min.compaction.lag.ms", "min.compaction.lag.ms", 1),
    ("log.flush.interval.messages", "flush.messages", 1),
    ("log.index.interval.bytes", "index.interval.bytes", 1),
    ("log.index.size.max.bytes", "segment.index.bytes", 1),
    ("log.message.timestamp.after.max.ms", "message.timestamp.after.max.ms", 1),
    ("log.message.timestamp.before.max.ms", "message.timestamp.before.max.ms", 1),
    ("log.message.timestamp.type", "message.timestamp.type", 1),
    ("log.retention.bytes", "retention.bytes", 1),
    // What is said in a finer unit counts more, so it comes later.
    ("log.retention.hours", "retention.ms", 3_600_000),
    ("log.retention.minutes", "retention.ms", 60_000),
    ("log.retention.ms", "retention.ms", 1),
    ("log.roll.hours", "segment.ms", 3_600_000),
    ("log.roll.ms", "segment.ms", 1),
    ("log.segment.bytes", "segment.bytes", 1),
    ("log.segment.delete.delay.ms", "file.delete.delay.ms", 1),
    ("message.max.bytes", "max.message.bytes", 1),
];

/// Of those, the ones that no log acts on.
const IDLE_DEFAULTS: [&str; 2] = ["log.index.size.max.bytes", "log.segment.delete.delay.ms"];

/// Why settings that Kafka knows are without effect here, by the beginnings of their names; the first that fits counts.
const WITHOUT_EFFECT: [(&str, &str); 77] = [
    ("log.index.size.max.bytes", "an index is as large as its segment makes it"),
    ("broker.", "there is one node"),
    ("process.roles", "the one node is broker and controller"),
    ("controller.", "there is one node, and no quorum of controllers"),
    ("metadata.", "there is one node, and no quorum of controllers"),
    ("internal.metadata.", "there is one node, and no quorum of controllers"),
    ("server.max.startup.time.ms", "there is one node, which waits for no other"),
    ("group.consumer.regex.refresh.interval.ms", "patterns are looked up when topics come and go"),
    ("inter.broker.", "there is one node"),
    ("replica.", "one node has no replicas"),
    ("replication.", "one node has no replicas"),
    ("default.replication.factor", "one node has no replicas"),
    ("min.insync.replicas", "one node has no replicas"),
    ("unclean.leader.", "one node has no replicas"),
    ("offsets.topic.replication.factor", "one node has no replicas"),
    ("transaction.state.log.replication.factor", "one node has no replicas"),
    ("transaction.state.log.min.isr", "one node has no replicas"),
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "transactions are aborted when their time is over"),
    ("add.partitions.to.txn.", "no other node is asked"),
    ("share.", "there are no share groups"),
    ("group.share.", "there are no share groups"),
    ("num.", "threads follow the machine's cores"),
    ("background.threads", "threads follow the machine's cores"),
    ("ssl.", "connections are plain"),
    ("sasl.", "connections are plain"),
    ("compression.", "codecs work at the levels that are their defaults"),
    ("leader.replication.", "one node has no replicas"),
    ("follower.replication.", "one node has no replicas"),
    ("group.coordinator.", "a coordinator writes as it is told, and its threads follow the machine's cores"),
    ("transaction.partition.verification.enable", "the coordinator is this node, and is always asked"),
    ("log.flush.", "records are on disk once their segment is closed, or at once with flush.messages=1"),
    ("socket.", "the system chooses its buffers"),
    ("listener.security.protocol.map", "connections are plain"),
    ("log.segment.delete.delay.ms", "a deleted file goes when its last reader is done with it"),
    ("remote.log.", "there is no tiered storage"),
    ("quota.", "there are no quotas"),
    ("alter.config.policy.", JAVA),
    ("create.topic.policy.", JAVA),
    ("authorizer.", "there are no access rules"),
    ("super.users", "there are no access rules"),
    ("allow.everyone.", "there are no access rules"),
    ("client.quota.", "there are no quotas"),
    ("principal.builder.", JAVA),
    ("security.providers", JAVA),
    ("kafka.metrics.", JAVA),
    ("metric.reporters", JAVA),
    ("metrics.", "no metrics are exposed"),
    ("telemetry.", "nothing takes clients' metrics"),
    ("config.providers", "values are taken as they stand"),
    ("connection.failed.", "connections are plain"),
    ("connections.max.reauth.ms", "connections are plain"),
    ("delegation.token.", "connections are plain"),
    ("security.inter.broker.protocol", "connections are plain"),
    ("alter.log.dirs.", "one folder holds the log"),
    ("cordoned.log.dirs", "one folder holds the log"),
    ("log.dir.failure.", "one folder holds the log"),
    ("auto.leader.", "there is one node"),
    ("leader.imbalance.", "there is one node"),
    ("controlled.shutdown.", "there is one node"),
    ("early.start.listeners", "there is one node"),
    ("initial.broker.", "there is one node"),
    ("request.timeout.ms", "there is one node"),
    ("follower.fetch.", "there is one node"),
    ("delete.records.purgatory.", "who waits is woken by what it waits for"),
    ("fetch.purgatory.", "who waits is woken by what it waits for"),
    ("producer.purgatory.", "who waits is woken by what it waits for"),
    ("log.cleaner.enable", "topics whose policy it is are compacted"),
    ("log.cleaner.", "compaction has a bound of memory, log.cleaner.dedupe.buffer.size, and no other"),
    ("log.local.", "there is no tiered storage"),
    ("remote.", "there is no tiered storage"),
    ("log.preallocate", "segments take room as they grow"),
    ("log.roll.jitter.", "segments roll when they are full or old"),
    ("max.connection", "connections are bounded together, by max.connections"),
    ("queued.max.requests", "requests are bounded by their memory, queued.max.request.bytes"),
    ("offsets.", "the coordinators' topics are written as other topics are"),
    ("transaction.", "the coordinators' topics are written as other topics are"),
    ("unstable.", "what is not stable in Apache Kafka is not there"),
];

const JAVA: &str = "classes of Java are not loaded";

/// Beginnings of names that belong to a listener or a plugin, and that are not in the list of settings.
const OTHERS_KNOWN: [&str; 4] =
    ["listener.name.", "config.providers.", "super.users", "allow.everyone.if.no.acl.found"];

/// Settings besides topics' defaults that hold at once when they are changed while the broker runs.
const AT_ONCE: [&str; 4] = [
    "group.consumer.assignment.interval.ms",
    "group.streams.assignment.interval.ms",
    "max.connections",
    "producer.id.expiration.ms",
];

/// Why a change of a setting while the broker runs is without effect, if it is.
pub(crate) fn idle_at_run_time(name: &str) -> Option<&'static str> {
    let acts = AT_ONCE.contains(&name) || is_topic_default(name);
    let reason = WITHOUT_EFFECT.iter().find(|(beginning, _)| name.starts_with(beginning));
    (!acts).then(|| reason.map_or("it is taken from the file of settings alone", |(_, reason)| reason))
}

/// Whether it is the default of a topic's setting that logs act on.
fn is_topic_default(name: &str) -> bool {
    TOPIC_DEFAULTS.iter().any(|(known, ..)| *known == name) && !IDLE_DEFAULTS.contains(&name)
}

/// A setting of a broker, by its name.
pub(crate) fn find_known(name: &str) -> Option<&'static Known> {
    KNOWN.iter().chain(&INTERNAL).find(|known| known.name == name)
}

/// The names of all settings of a broker.
pub(crate) fn known_names() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().chain(&INTERNAL).map(|known| known.name)
}

/// What a broker's settings make of topics' defaults, by the topics' names for them. Of several layers a later one counts more.
pub(crate) fn topic_defaults<'a>(layers: impl IntoIterator<Item = &'a Settings>) -> Settings {
    let mut defaults = Settings::new();
    for layer in layers {
        for (name, topic_name, factor) in TOPIC_DEFAULTS {
            let Some(value) = layer.get(name) else { continue };
            let value = match value.trim().parse::<i64>() {
                Ok(..0) if topic_name == "retention.ms" => "-1".to_owned(),
                Ok(number) if factor > 1 && number >= 0 => number.saturating_mul(factor).to_string(),
                _ => value.clone(),
            };
            defaults.insert(topic_name.to_owned(), value);
        }
    }
    defaults
}

/// The two names of the broker's number.
const NODE_ID: &str = "node.id";
const BROKER_ID: &str = "broker.id";

/// The listeners that are for controllers, of which there are no others.
const CONTROLLER_LISTENERS: &str = "controller.listener.names";
/// What they are called in Apache Kafka's own file.
const CONTROLLER: &str = "CONTROLLER";

/// Protocols of listeners that are not plain.
const SECURE: [&str; 3] = ["SSL", "SASL_PLAINTEXT", "SASL_SSL"];

/// What a file of settings says.
#[derive(Clone, Default)]
pub struct BrokerConfig {
    /// What concerns topics and the log.
    pub broker: BrokerSettings,
    /// What connections may take.
    pub server: ServerSettings,
    /// `listeners`; empty if nothing was said.
    pub listeners: Vec<Listener>,
    /// `log.dirs`.
    pub data: Option<PathBuf>,
    /// What has no effect, and why, a line each.
    pub warnings: Vec<String>,
}

impl BrokerConfig {
    /// Reads a file of settings; see [`BrokerConfig::parse`].
    ///
    /// # Errors
    /// When the file cannot be read, and as there.
    pub fn read(file: &Path) -> Result<Self, BrokerError> {
        let text = Disk::new().read(file).map_err(BrokerError::io("read", file))?;
        Self::parse(file, &String::from_utf8_lossy(&text))
    }

    /// Reads a properties file, or a TOML file if its name ends so.
    ///
    /// # Errors
    /// When a line is no setting, a name is unknown (with the nearest one), or a value is not allowed.
    pub fn parse(file: &Path, text: &str) -> Result<Self, BrokerError> {
        let mut settings = match file.extension().is_some_and(|extension| extension == "toml") {
            true => read_toml(file, text)?,
            false => read_properties(file, text)?,
        };
        let mut config = BrokerConfig::default();
        let controllers = settings.get(CONTROLLER_LISTENERS).map_or(CONTROLLER, String::as_str).to_owned();
        for (name, value) in &settings {
            if let Some(Err(what)) = find_known(name).map(|known| known.kind.check(value)) {
                let what = format!("Invalid value {value} for configuration {name}: {what}");
                return Err(BrokerError::setting(name, what));
            }
            match name.as_str() {
                LISTENERS => config.listeners = listeners(value, &controllers)?,
                _ => config.set(name, value)?,
            }
        }
        check_topic_settings(&topic_defaults([&settings])).map_err(|error| as_written(error, &settings))?;
        config.broker.groups.check()?;
        config.check_protocols(settings.get("listener.security.protocol.map"))?;
        if let Some(advertised) = settings.get("advertised.listeners") {
            config.advertise(advertised, &controllers)?;
        }
        for (name, other) in [(NODE_ID, BROKER_ID), (BROKER_ID, NODE_ID)] {
            if let Some(value) = settings.get(name).filter(|value| *value != "-1").cloned()
                && *settings.entry(other.to_owned()).or_insert_with(|| value.clone()) != value
            {
                return Err(BrokerError::setting(name, format!("is {value}, and {other} is another; set one of them")));
            }
        }
        config.broker.properties = settings;
        Ok(config)
    }

    /// Has the broker listen there, whatever the file says.
    ///
    /// # Errors
    /// When a listener is meant to be secure.
    pub fn listen_at(&mut self, listeners: Vec<Listener>) -> Result<(), BrokerError> {
        let shown: Vec<String> = listeners.iter().map(Listener::to_string).collect();
        self.broker.properties.insert(LISTENERS.to_owned(), shown.join(","));
        self.listeners = listeners;
        self.check_protocols(self.broker.properties.get("listener.security.protocol.map"))
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), BrokerError> {
        match name {
            "advertised.listeners" | CONTROLLER_LISTENERS => {}
            "log.dirs" | "log.dir" => {
                if value.contains(',') {
                    return Err(BrokerError::setting(name, "one folder holds the log; name one"));
                }
                self.data = Some(value.into());
            }
            "delete.topic.enable" => self.broker.delete_topics = boolean(name, value)?,
            "fetch.max.bytes" => self.broker.fetch_max_bytes = number(name, value, 1024)?,
            "max.request.partition.size.limit" => self.broker.described_partitions = number(name, value, 1)?,
            "offset.metadata.max.bytes" => self.broker.groups.offset_note_max = number(name, value, 0)?,
            "max.incremental.fetch.session.cache.slots" => self.server.fetch_sessions = number(name, value, 0)?,
            "group.coordinator.rebalance.protocols" => self.set_protocols(name, value)?,
            "group.consumer.assignors" => {
                self.broker.groups.set_assignors(value).map_err(|what| BrokerError::setting(name, what))?;
            }
            // −1 is what it is if it is not said.
            "broker.id" if value == "-1" => {}
            NODE_ID | BROKER_ID => self.broker.node_id = Some(number(name, value, 0)?),
            "broker.rack" => self.broker.rack = Some(value.to_owned()),
            "num.partitions" => self.broker.default_partitions = number(name, value, 1)?,
            "group.min.session.timeout.ms" => self.broker.groups.min_session_timeout = millis_from_zero(name, value)?,
            "group.max.session.timeout.ms" => self.broker.groups.max_session_timeout = millis_from_zero(name, value)?,
            "group.initial.rebalance.delay.ms" => {
                self.broker.groups.initial_rebalance_delay = millis_from_zero(name, value)?;
            }
            "group.max.size" => self.broker.groups.max_size = number(name, value, 1)?,
            "group.consumer.session.timeout.ms" => {
                self.broker.groups.consumer_session_timeout = millis(name, value)?;
            }
            "group.consumer.heartbeat.interval.ms" => {
                self.broker.groups.consumer_heartbeat_interval = millis(name, value)?;
            }
            "group.consumer.min.session.timeout.ms" => {
                lower(&mut self.broker.groups.consumer_session_bounds, millis(name, value)?);
            }
            "group.consumer.max.session.timeout.ms" => {
                raise(&mut self.broker.groups.consumer_session_bounds, millis(name, value)?);
            }
            "group.consumer.min.heartbeat.interval.ms" => {
                lower(&mut self.broker.groups.consumer_heartbeat_bounds, millis(name, value)?);
            }
            "group.consumer.max.heartbeat.interval.ms" => {
                raise(&mut self.broker.groups.consumer_heartbeat_bounds, millis(name, value)?);
            }
            "group.consumer.assignment.interval.ms" => {
                self.broker.groups.consumer_assignment_interval = Duration::from_millis(number(name, value, 0)?);
            }
            "group.consumer.min.assignment.interval.ms" => {
                let least = Duration::from_millis(number(name, value, 0)?);
                lower(&mut self.broker.groups.consumer_assignment_bounds, least);
            }
            "group.consumer.max.assignment.interval.ms" => {
                let most = Duration::from_millis(number(name, value, 0)?);
                raise(&mut self.broker.groups.consumer_assignment_bounds, most);
            }
            "group.consumer.migration.policy" => {
                self.broker.groups.migration = value.parse().map_err(|what| BrokerError::setting(name, what))?;
            }
            "group.consumer.max.size" => self.broker.groups.consumer_max_size = number(name, value, 1)?,
            "group.streams.session.timeout.ms" => self.broker.groups.streams.session_timeout = millis(name, value)?,
            "group.streams.heartbeat.interval.ms" => {
                self.broker.groups.streams.heartbeat_interval = millis(name, value)?;
            }
            "group.streams.initial.rebalance.delay.ms" => {
                self.broker.groups.streams.initial_rebalance_delay = Duration::from_millis(number(name, value, 0)?);
            }
            "group.streams.assignment.interval.ms" => {
                self.broker.groups.streams.assignment_interval = Duration::from_millis(number(name, value, 0)?);
            }
            "group.streams.num.standby.replicas" => {
                self.broker.groups.streams.standby_replicas = number(name, value, 0)?;
            }
            "group.streams.max.standby.replicas" => {
                self.broker.groups.streams.max_standby_replicas = number(name, value, 0)?;
            }
            "group.streams.min.session.timeout.ms" => {
                lower(&mut self.broker.groups.streams.session_bounds, millis(name, value)?);
            }
            "group.streams.max.session.timeout.ms" => {
                raise(&mut self.broker.groups.streams.session_bounds, millis(name, value)?);
            }
            "group.streams.min.heartbeat.interval.ms" => {
                lower(&mut self.broker.groups.streams.heartbeat_bounds, millis(name, value)?);
            }
            "group.streams.max.heartbeat.interval.ms" => {
                raise(&mut self.broker.groups.streams.heartbeat_bounds, millis(name, value)?);
            }
            "group.streams.min.assignment.interval.ms" => {
                lower(
                    &mut self.broker.groups.streams.assignment_bounds,
                    Duration::from_millis(number(name, value, 0)?),
                );
            }
            "group.streams.max.assignment.interval.ms" => {
                raise(
                    &mut self.broker.groups.streams.assignment_bounds,
                    Duration::from_millis(number(name, value, 0)?),
                );
            }
            "group.streams.max.size" => self.broker.groups.streams.max_size = number(name, value, 1)?,
            "offsets.retention.minutes" => {
                self.broker.groups.offsets_retention =
                    Duration::from_secs(number::<u64>(name, value, 1)?.saturating_mul(60));
            }
            "offsets.retention.check.interval.ms" => {
                self.broker.groups.offsets_check_interval = millis(name, value)?;
            }
            "offsets.topic.num.partitions" => self.broker.offsets_partitions = number(name, value, 1)?,
            "transaction.max.timeout.ms" => self.broker.transactions.max_timeout = millis(name, value)?,
            "transactional.id.expiration.ms" => self.broker.transactions.id_expiration = millis(name, value)?,
            "transaction.remove.expired.transaction.cleanup.interval.ms" => {
                self.broker.transactions.id_check_interval = millis(name, value)?;
            }
            "transaction.state.log.num.partitions" => {
                self.broker.transactions_partitions = number(name, value, 1)?;
            }
            "auto.create.topics.enable" => self.broker.auto_create_topics = boolean(name, value)?,
            "producer.id.expiration.ms" => self.broker.producer_expiration = millis(name, value)?,
            "producer.id.expiration.check.interval.ms" => {
                self.broker.producer_check_interval = millis(name, value)?;
            }
            "log.initial.task.delay.ms" => self.broker.initial_delay = Duration::from_millis(number(name, value, 0)?),
            "log.retention.check.interval.ms" => self.broker.retention_interval = millis(name, value)?,
            "log.cleaner.backoff.ms" => {
                let interval = millis_from_zero(name, value)?.max(Duration::from_millis(1));
                self.broker.maintenance_interval = Some(interval);
            }
            "log.cleaner.dedupe.buffer.size" => self.broker.compaction_memory_bytes = number(name, value, 1 << 20)?,
            "socket.request.max.bytes" => self.server.max_request_bytes = number(name, value, 1)?,
            "queued.max.request.bytes" => {
                if number::<i64>(name, value, i64::MIN)? > 0 {
                    self.server.request_memory_bytes = number(name, value, 1)?;
                }
            }
            "max.connections" => self.server.max_connections = number(name, value, 1)?,
            "connections.max.idle.ms" => {
                self.server.max_idle = match number::<i64>(name, value, i64::MIN)? {
                    ..0 => FOR_EVER,
                    _ => millis_from_zero(name, value)?.max(Duration::from_millis(1)),
                }
            }
            _ if is_topic_default(name) => {}
            _ if find_known(name).is_some() || OTHERS_KNOWN.iter().any(|beginning| name.starts_with(beginning)) => {
                let reason = WITHOUT_EFFECT.iter().find(|(beginning, _)| name.starts_with(beginning));
                let reason = reason.map_or("nothing here acts on it", |(_, reason)| reason);
                self.warnings.push(format!("setting {name} has no effect: {reason}"));
            }
            _ => {
                let nearest = nearest_name(name, known_names()).unwrap_or_default();
                return Err(BrokerError::setting(name, format!("is unknown; did you mean {nearest}?")));
            }
        }
        Ok(())
    }

    /// Which protocols groups may have: the classic one always, of the others those that are named.
    fn set_protocols(&mut self, name: &str, value: &str) -> Result<(), BrokerError> {
        let named: Vec<String> = value.split(',').map(|one| one.trim().to_ascii_lowercase()).collect();
        if let Some(other) =
            named.iter().find(|one| !["classic", "consumer", "share", "streams"].contains(&one.as_str()))
        {
            let what = format!("{other:?} is none of classic, consumer, share, streams");
            return Err(BrokerError::setting(name, what));
        }
        let has = |protocol: &str| named.iter().any(|one| one == protocol);
        if !has("classic") {
            return Err(BrokerError::setting(name, "Disabling the 'classic' protocol is not supported."));
        }
        if has("share") {
            self.warnings.push(format!("setting {name}: share has no effect: there are no share groups"));
        }
        self.broker.groups.has_consumer_protocol = has("consumer");
        self.broker.groups.has_streams_protocol = has("streams");
        Ok(())
    }

    /// Refuses listeners that are meant to be secure. A listener's name is its protocol, unless there is a map of them.
    fn check_protocols(&self, map: Option<&String>) -> Result<(), BrokerError> {
        let pairs =
            map.map(String::as_str).unwrap_or_default().split(',').filter_map(|pair| pair.trim().split_once(':'));
        let protocols: BTreeMap<String, String> =
            pairs.map(|(name, protocol)| (name.trim().to_uppercase(), protocol.trim().to_uppercase())).collect();
        for listener in &self.listeners {
            let protocol = protocols.get(&listener.name).map_or(listener.name.as_str(), String::as_str);
            // A name that is no protocol's is of a plain one, unless the map says otherwise.
            let is_plain = match protocols.contains_key(&listener.name) {
                true => protocol == "PLAINTEXT",
                false => !SECURE.contains(&protocol),
            };
            if !is_plain {
                let what = format!("{listener} is {protocol}, and connections are plain so far; use PLAINTEXT");
                return Err(BrokerError::setting("listeners", what));
            }
        }
        Ok(())
    }

    fn advertise(&mut self, value: &str, controllers: &str) -> Result<(), BrokerError> {
        const NAME: &str = "advertised.listeners";
        let given = value.split(',').map(str::trim).filter(|one| !one.is_empty() && !is_controllers(one, controllers));
        for advertised in given {
            let advertised: Listener =
                advertised.parse().map_err(|error| BrokerError::setting(NAME, format!("{error}")))?;
            let Some(listener) = self.listeners.iter_mut().find(|listener| listener.name == advertised.name) else {
                return Err(BrokerError::setting(NAME, format!("{} is none of the listeners", advertised.name)));
            };
            if advertised.host == "0.0.0.0" {
                let what = "clients cannot connect to 0.0.0.0; give an address that they reach";
                return Err(BrokerError::setting(NAME, what));
            }
            listener.advertised = Some((advertised.host, advertised.port));
        }
        Ok(())
    }
}

/// An error of a topic's setting, by the name that the broker's file gives it.
fn as_written(error: BrokerError, settings: &Settings) -> BrokerError {
    let BrokerError::Setting { name, what } = error else { return error };
    let written = TOPIC_DEFAULTS.iter().rfind(|(written, of, _)| *of == name && settings.contains_key(*written));
    match written {
        Some((written, ..)) => BrokerError::Setting { what: what.replace(&name, written), name: (*written).to_owned() },
        None => BrokerError::Setting { name, what },
    }
}

/// Where a broker listens.
pub(crate) const LISTENERS: &str = "listeners";

fn listeners(value: &str, controllers: &str) -> Result<Vec<Listener>, BrokerError> {
    let listeners = value.split(',').map(str::trim).filter(|one| !one.is_empty() && !is_controllers(one, controllers));
    listeners.map(|one| one.parse().map_err(|error| BrokerError::setting(LISTENERS, format!("{error}")))).collect()
}

/// Whether a listener is for controllers, by the names of those.
fn is_controllers(listener: &str, controllers: &str) -> bool {
    let name = listener.split_once(':').map_or(listener, |(name, _)| name);
    controllers.split(',').any(|controller| controller.trim().eq_ignore_ascii_case(name))
}

fn number<T: FromStr + PartialOrd + std::fmt::Display>(name: &str, value: &str, least: T) -> Result<T, BrokerError> {
    let number = value.parse::<T>().ok().filter(|number| *number >= least);
    number.ok_or_else(|| BrokerError::setting(name, format!("{value:?} is not a number of at least {least}")))
}

fn boolean(name: &str, value: &str) -> Result<bool, BrokerError> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(BrokerError::setting(name, format!("{value:?} is neither true nor false"))),
    }
}

/// Puts the lower end of a range elsewhere.
fn lower(range: &mut RangeInclusive<Duration>, to: Duration) {
    *range = to..=*range.end();
}

/// Puts the upper end of a range elsewhere.
fn raise(range: &mut RangeInclusive<Duration>, to: Duration) {
    *range = *range.start()..=to;
}

/// As long as a connection may be idle that is never closed for it.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A time that may be none; less is none, too, as in Apache Kafka.
fn millis_from_zero(name: &str, value: &str) -> Result<Duration, BrokerError> {
    Ok(Duration::from_millis(u64::try_from(number(name, value, i64::MIN)?).unwrap_or(0)))
}

fn millis(name: &str, value: &str) -> Result<Duration, BrokerError> {
    Ok(Duration::from_millis(number(name, value, 1)?))
}

fn read_properties(file: &Path, text: &str) -> Result<BTreeMap<String, String>, BrokerError> {
    let mut settings = BTreeMap::new();
    for line in property_lines(text) {
        let (name, value) = line.map_err(|wrong| {
            BrokerError::setting(
                &file.display().to_string(),
                format!("line {} cannot be read: {:?}", wrong.number, wrong.line),
            )
        })?;
        settings.insert(name, value);
    }
    Ok(settings)
}

fn read_toml(file: &Path, text: &str) -> Result<BTreeMap<String, String>, BrokerError> {
    let table: toml::Table = text
        .parse()
        .map_err(|error| BrokerError::setting(&file.display().to_string(), format!("is no TOML: {error}")))?;
    let mut settings = BTreeMap::new();
    flatten("", &table, &mut settings);
    Ok(settings)
}

/// A dotted key is a table in a table to TOML.
fn flatten(prefix: &str, table: &toml::Table, settings: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            toml::Value::Table(inner) => flatten(&name, inner, settings),
            toml::Value::String(text) => drop(settings.insert(name, text.clone())),
            toml::Value::Array(items) => {
                let text = |item: &toml::Value| item.as_str().map_or_else(|| item.to_string(), str::to_owned);
                settings.insert(name, items.iter().map(text).collect::<Vec<_>>().join(","));
            }
            other => drop(settings.insert(name, other.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<BrokerConfig, String> {
        BrokerConfig::parse(Path::new(name), text).map_err(|error| error.to_string())
    }

    const PROPERTIES: &str = "
        # as Apache Kafka ships it
        process.roles=broker,controller
        node.id=1
        listeners=PLAINTEXT://:9092,CONTROLLER://:9093
        advertised.listeners=PLAINTEXT://log.example:9092,
        num.network.threads=3
        log.dirs=/tmp/kraft-combined-logs
        num.partitions=3
        log.retention.hours=24
        log.retention.ms=5000
        auto.create.topics.enable=false
    ";

    #[test]
    fn apaches_own_file_is_read() {
        let config = read("server.properties", PROPERTIES).unwrap();
        assert_eq!(config.listeners.len(), 1);
        assert_eq!(config.listeners[0].advertised, Some(("log.example".to_owned(), 9092)));
        assert_eq!(config.data.as_deref(), Some(Path::new("/tmp/kraft-combined-logs")));
        assert_eq!((config.broker.default_partitions, config.broker.auto_create_topics), (3, false));
        assert_eq!(topic_defaults([&config.broker.properties])["retention.ms"], "5000", "the finer unit counts");
        assert_eq!((config.warnings.len(), config.broker.node_id), (2, Some(1)), "{:?}", config.warnings);
        assert!(
            !config.warnings.iter().any(|warning| warning.contains("it is not built yet")),
            "{:?}",
            config.warnings
        );
        assert!(config.warnings[1].contains("process.roles"), "{:?}", config.warnings);
    }

    /// All settings of the file that Apache Kafka 4.3 comes with.
    const SHIPPED: &str = "
        process.roles=broker,controller
        node.id=1
        controller.quorum.bootstrap.servers=localhost:9093
        listeners=PLAINTEXT://:9092,CONTROLLER://:9093
        inter.broker.listener.name=PLAINTEXT
        advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
        controller.listener.names=CONTROLLER
        listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
        num.network.threads=3
        num.io.threads=8
        socket.send.buffer.bytes=102400
        socket.receive.buffer.bytes=102400
        socket.request.max.bytes=104857600
        log.dirs=/tmp/kraft-combined-logs
        num.partitions=1
        num.recovery.threads.per.data.dir=1
        offsets.topic.replication.factor=1
        share.coordinator.state.topic.replication.factor=1
        share.coordinator.state.topic.min.isr=1
        transaction.state.log.replication.factor=1
        transaction.state.log.min.isr=1
        log.retention.hours=168
        log.segment.bytes=1073741824
        log.retention.check.interval.ms=300000
    ";

    #[test]
    fn the_file_that_kafka_comes_with_is_taken_as_it_is() {
        let config = read("server.properties", SHIPPED).unwrap();
        let [listener] = &config.listeners[..] else { panic!("{:?}", config.listeners) };
        assert_eq!(
            (listener.name.as_str(), &listener.advertised),
            ("PLAINTEXT", &Some(("localhost".to_owned(), 9092)))
        );
    }

    #[test]
    fn listeners_that_are_meant_to_be_secure_are_refused() {
        let error = |text| read("server.properties", text).err().unwrap();
        assert!(error("listeners=SASL_SSL://:9092").contains("SASL_SSL, and connections are plain so far"));
        let mapped = "listeners=OUTSIDE://:9092\nlistener.security.protocol.map=OUTSIDE:SSL";
        assert!(error(mapped).contains("OUTSIDE://:9092 is SSL"));
        let small = "listeners=OUTSIDE://:9092\nlistener.security.protocol.map=OUTSIDE:ssl";
        assert!(error(small).contains("OUTSIDE://:9092 is SSL"));
        let plain = "listeners=SSL://:9092\nlistener.security.protocol.map=SSL:PLAINTEXT";
        assert!(read("server.properties", plain).is_ok());
    }

    #[test]
    fn listeners_of_controllers_are_left_out_whatever_they_are_called() {
        let text = "controller.listener.names=CTRL\nlisteners=PLAINTEXT://:9092,\\\n  CTRL://:9093\nauto.create.topics.enable=False";
        let config = read("server.properties", text).unwrap();
        let [listener] = &config.listeners[..] else { panic!("{:?}", config.listeners) };
        assert_eq!((listener.port, config.broker.auto_create_topics), (9092, false));
    }

    #[test]
    fn toml_says_the_same() {
        let text =
            "num.partitions = 3\nlisteners = [\"127.0.0.1:0\", \"INSIDE://:9093\"]\n[log]\nretention.hours = \"1 \"\n";
        let config = read("broker.toml", text).unwrap();
        assert_eq!((config.broker.default_partitions, config.listeners.len()), (3, 2));
        assert_eq!(topic_defaults([&config.broker.properties])["retention.ms"], "3600000");
    }

    #[test]
    fn a_broker_has_a_number_and_a_rack_and_times_may_be_none() {
        let text =
            "node.id=7\nbroker.rack=b\nconnections.max.idle.ms=-1\ngroup.min.session.timeout.ms=0\nlog.retention.ms=-2";
        let config = read("server.properties", text).unwrap();
        assert_eq!((config.broker.node_id, config.broker.rack.as_deref()), (Some(7), Some("b")));
        assert_eq!(config.broker.properties["broker.id"], "7");
        assert_eq!((config.server.max_idle, config.broker.groups.min_session_timeout), (FOR_EVER, Duration::ZERO));
        assert_eq!(topic_defaults([&config.broker.properties])["retention.ms"], "-1");
        assert_eq!(read("server.properties", "broker.id=3").unwrap().broker.node_id, Some(3));
    }

    #[test]
    fn protocols_of_groups_are_those_that_are_named() {
        let groups = |text| read("server.properties", text).unwrap().broker.groups;
        let of = |text| (groups(text).has_consumer_protocol, groups(text).has_streams_protocol);
        assert_eq!(of(""), (true, true));
        assert_eq!(of("group.coordinator.rebalance.protocols=classic, Streams"), (false, true));
        assert_eq!(of("group.coordinator.rebalance.protocols=classic,consumer"), (true, false));
    }

    #[test]
    fn what_has_no_effect_has_a_reason() {
        let mut config = BrokerConfig::default();
        for known in KNOWN.iter().chain(&INTERNAL).filter(|known| known.name != LISTENERS) {
            let value = known.default.filter(|value| !value.is_empty()).unwrap_or("1");
            let _ = config.set(known.name, value);
        }
        for plugins in ["super.users", "config.providers.file.class"] {
            config.set(plugins, "x").unwrap();
        }
        assert!(config.warnings.len() > 200);
        let without: Vec<_> = config.warnings.iter().filter(|warning| warning.contains("nothing here acts")).collect();
        assert!(without.is_empty(), "{without:?}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text| read("server.properties", text).err().unwrap();
        assert!(error("num.partition=1").contains("did you mean num.partitions?"));
        assert!(error("num.partitions=0").contains("at least 1"));
        assert!(error("log.cleanup.policy=shred").contains("String must be one of: compact, delete"));
        assert!(error("just words").contains("just: is unknown") || error("just words").contains("just is unknown"));
        assert!(error("a=\\u12").contains("line 1 cannot be read"));
        assert!(error("auto.create.topics.enable=perhaps").contains("either true or false"));
        // Of what has no effect too, and by the names that are written there.
        assert!(error("num.io.threads=many").contains("num.io.threads: Not a number of type INT"));
        assert!(
            error("log.roll.ms=0").starts_with("setting log.roll.ms: Invalid value 0 for configuration log.roll.ms")
        );
        assert!(error("message.max.bytes=-1").starts_with("setting message.max.bytes: "));
        assert!(
            error("listeners=PLAINTEXT://:9092\nadvertised.listeners=PLAINTEXT://0.0.0.0:9092")
                .contains("cannot connect to")
        );
        assert!(error("listeners=9092").contains("HOST:PORT"));
        assert!(error("group.coordinator.rebalance.protocols=consumer").contains("Disabling the 'classic' protocol"));
        assert!(error("group.coordinator.rebalance.protocols=classic,other").contains("\"other\" is none of"));
    }
}
