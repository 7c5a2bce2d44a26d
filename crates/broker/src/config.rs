//! Topic settings by Kafka's names: parsed into those that a log acts on, or refused with the nearest name.

use std::time::Duration;

use tidewater_log::{CleanupPolicy, LogConfig, RetentionClock, TimestampType};
use tidewater_protocol::Compression;
use tidewater_types::nearest_name;

use self::Allowed::{Any, AtLeast, Between, GzipLevel, OneOf, Ratio, Replicas};
use crate::BrokerError;
use crate::dynamic::Kind::{self, Boolean, Double, Int, List, Long, Text};
use crate::dynamic::Settings;

/// A setting of a topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TopicSetting {
    pub name: &'static str,
    pub kind: Kind,
    pub allowed: Allowed,
    pub default: &'static str,
    /// The broker's setting that is its default.
    pub broker: Option<&'static str>,
    /// What it is for.
    pub documentation: &'static str,
}

const fn setting(
    name: &'static str,
    kind: Kind,
    allowed: Allowed,
    default: &'static str,
    broker: Option<&'static str>,
    documentation: &'static str,
) -> TopicSetting {
    TopicSetting { name, kind, allowed, default, broker, documentation }
}

/// Which values of its kind a setting may have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Allowed {
    Any,
    AtLeast(i64),
    Between(i64, i64),
    /// From 0 to 1.
    Ratio,
    /// From 1 to 9, or −1 for the codec's own.
    GzipLevel,
    /// Or, for a list, some of these.
    OneOf(&'static [&'static str]),
    /// Replicas that are held back: `partition:broker`, or `*` for all.
    Replicas,
}

impl Allowed {
    /// What is wrong with a value, in Apache Kafka's words.
    fn fault(self, value: &str) -> Option<String> {
        let number = || value.parse::<f64>().unwrap_or(f64::NAN);
        match self {
            AtLeast(least) | Between(least, _) if number() < least as f64 => {
                Some(format!("Value must be at least {least}"))
            }
            Between(_, most) if number() > most as f64 => Some(format!("Value must be no more than {most}")),
            Ratio if number() < 0.0 => Some("Value must be at least 0".to_owned()),
            Ratio if number() > 1.0 => Some("Value must be no more than 1".to_owned()),
            GzipLevel if number() != -1.0 && !(1.0..=9.0).contains(&number()) => {
                Some("Value must be between 1 and 9 or equal to -1".to_owned())
            }
            OneOf(names) if !names.contains(&value) => Some(format!("String must be one of: {}", names.join(", "))),
            _ => None,
        }
    }
}

impl TopicSetting {
    /// Whether it may have a value, with Apache Kafka's words for one that it may not.
    fn check(&self, value: &str) -> Result<(), String> {
        let invalid =
            |value: &str, what: &str| format!("Invalid value {value} for configuration {}: {what}", self.name);
        self.kind.check(value).map_err(|what| invalid(value, what))?;
        let parts: Vec<&str> = match self.kind {
            List => value.split(',').map(str::trim).filter(|part| !part.is_empty()).collect(),
            _ => vec![value.trim()],
        };
        if self.kind == List && !parts.is_empty() && value.split(',').any(|part| part.trim().is_empty()) {
            return Err(format!("Configuration '{}' values must not be empty.", self.name));
        }
        let is_replica = |part: &&str| {
            let mut numbers = part.split(':').map(|number| number.parse::<u32>().is_ok());
            (numbers.next(), numbers.next(), numbers.next()) == (Some(true), Some(true), None)
        };
        if matches!(self.allowed, Replicas) && parts != ["*"] && !parts.iter().all(is_replica) {
            let what = format!(
                "{} must be the literal '*' or a list of replicas in the following format: \
                 [partitionId]:[brokerId],[partitionId]:[brokerId],...",
                self.name
            );
            return Err(invalid(&format!("[{}]", parts.join(", ")), &what));
        }
        for part in parts {
            if let Some(what) = self.allowed.fault(part) {
                let shown = match self.kind {
                    // As Java writes it.
                    Double => format!("{:?}", part.parse::<f64>().unwrap_or(f64::NAN)),
                    _ => part.to_owned(),
                };
                return Err(invalid(&shown, &what));
            }
        }
        Ok(())
    }
}

/// The settings that a topic's log acts on, with Kafka's defaults.
const WITH_EFFECT: [TopicSetting; 18] = [
    setting(
        "cleanup.policy",
        List,
        OneOf(&["compact", "delete"]),
        "delete",
        Some("log.cleanup.policy"),
        "What becomes of old records: `delete` lets whole segments go by age and size, `compact` keeps the last record of each key; both may be named, or none.",
    ),
    setting(
        "compression.type",
        Text,
        OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        "producer",
        Some("compression.type"),
        "The codec that batches are stored with; `producer` leaves them as they come.",
    ),
    setting(
        "delete.retention.ms",
        Long,
        AtLeast(0),
        "86400000",
        Some("log.cleaner.delete.retention.ms"),
        "How long a compacted topic keeps the tombstone of a deleted key, and the marker of a transaction.",
    ),
    setting(
        "flush.messages",
        Long,
        AtLeast(1),
        "9223372036854775807",
        Some("log.flush.interval.messages"),
        "After so many records, the log is forced to disk.",
    ),
    setting(
        "index.interval.bytes",
        Int,
        AtLeast(0),
        "4096",
        Some("log.index.interval.bytes"),
        "After so many bytes, a segment's indexes have another entry.",
    ),
    setting(
        "max.compaction.lag.ms",
        Long,
        AtLeast(1),
        "9223372036854775807",
        Some("log.cleaner.max.compaction.lag.ms"),
        "The longest that a record may wait to be compacted.",
    ),
    setting(
        "max.message.bytes",
        Int,
        AtLeast(0),
        "1048588",
        Some("message.max.bytes"),
        "The largest batch that is taken, as it is stored.",
    ),
    setting(
        "message.timestamp.after.max.ms",
        Long,
        AtLeast(0),
        "3600000",
        Some("log.message.timestamp.after.max.ms"),
        "How far a record's timestamp may be ahead of the broker's clock.",
    ),
    setting(
        "message.timestamp.before.max.ms",
        Long,
        AtLeast(0),
        "9223372036854775807",
        Some("log.message.timestamp.before.max.ms"),
        "How far a record's timestamp may be behind the broker's clock.",
    ),
    setting(
        "message.timestamp.type",
        Text,
        OneOf(&["CreateTime", "LogAppendTime"]),
        "CreateTime",
        Some("log.message.timestamp.type"),
        "Whether records have the time when they were made, or when they were appended.",
    ),
    setting(
        "min.cleanable.dirty.ratio",
        Double,
        Ratio,
        "0.5",
        Some("log.cleaner.min.cleanable.ratio"),
        "How large a part of a log must not be compacted yet before it is compacted again.",
    ),
    setting(
        "min.compaction.lag.ms",
        Long,
        AtLeast(0),
        "0",
        Some("log.cleaner.min.compaction.lag.ms"),
        "The least that a record stays before it may be compacted.",
    ),
    setting(
        "retention.bytes",
        Long,
        Any,
        "-1",
        Some("log.retention.bytes"),
        "How large a partition may become before its oldest segments go; -1 for no bound.",
    ),
    setting(
        "retention.ms",
        Long,
        AtLeast(-1),
        "604800000",
        Some("log.retention.ms"),
        "How old records may become before their segments go; -1 for no bound.",
    ),
    setting(
        "segment.bytes",
        Int,
        AtLeast(1 << 20),
        "1073741824",
        Some("log.segment.bytes"),
        "How large a segment may become before another one begins.",
    ),
    setting(
        "segment.ms",
        Long,
        AtLeast(1),
        "604800000",
        Some("log.roll.ms"),
        "How old a segment may become before another one begins.",
    ),
    setting(
        RETENTION_CLOCK,
        Text,
        OneOf(&["wall", "records"]),
        "wall",
        None,
        "Whether the age of records is counted by the broker's clock, or by the timestamps of later records.",
    ),
    setting(
        INTERNAL_SEGMENT_BYTES,
        Int,
        AtLeast(1),
        "1073741824",
        None,
        "How large a segment may become before another one begins, if that is less than segment.bytes can be; for tests.",
    ),
];

/// Whether a setting is shown only where it is set: Tidewater's own, of which other tools know nothing, and what Apache Kafka keeps to itself.
pub(crate) fn is_hidden(name: &str) -> bool {
    matches!(name, RETENTION_CLOCK | INTERNAL_SEGMENT_BYTES)
}

/// Tidewater's own: `wall`, or `records` for topics whose event time is not the wall clock's.
const RETENTION_CLOCK: &str = "tidewater.retention.clock";

/// The size of a segment, down to a byte, which counts more than that in `segment.bytes`.
const INTERNAL_SEGMENT_BYTES: &str = "internal.segment.bytes";

/// Settings that Kafka knows, and that are taken without effect here: one node has no replicas, and the rest is not built.
const WITHOUT_EFFECT: [TopicSetting; 17] = [
    setting(
        "compression.gzip.level",
        Int,
        GzipLevel,
        "-1",
        Some("compression.gzip.level"),
        "How hard gzip tries, if the topic's codec is gzip.",
    ),
    setting(
        "compression.lz4.level",
        Int,
        Between(1, 17),
        "9",
        Some("compression.lz4.level"),
        "How hard lz4 tries, if the topic's codec is lz4.",
    ),
    setting(
        "compression.zstd.level",
        Int,
        Between(-131_072, 22),
        "3",
        Some("compression.zstd.level"),
        "How hard zstd tries, if the topic's codec is zstd.",
    ),
    setting(
        "file.delete.delay.ms",
        Long,
        AtLeast(0),
        "60000",
        Some("log.segment.delete.delay.ms"),
        "How long files stay that are no longer part of the log.",
    ),
    setting(
        "flush.ms",
        Long,
        AtLeast(0),
        "9223372036854775807",
        Some("log.flush.interval.ms"),
        "After so long, the log is forced to disk.",
    ),
    setting(
        "follower.replication.throttled.replicas",
        List,
        Replicas,
        "",
        None,
        "Replicas that are slowed down where they follow.",
    ),
    setting(
        "leader.replication.throttled.replicas",
        List,
        Replicas,
        "",
        None,
        "Replicas that are slowed down where they lead.",
    ),
    setting(
        "local.retention.bytes",
        Long,
        AtLeast(-2),
        "-2",
        Some("log.local.retention.bytes"),
        "How much of a partition in tiered storage is kept here as well; -2 for as much as `retention.bytes`.",
    ),
    setting(
        "local.retention.ms",
        Long,
        AtLeast(-2),
        "-2",
        Some("log.local.retention.ms"),
        "How long records in tiered storage are kept here as well; -2 for as long as `retention.ms`.",
    ),
    setting(
        "min.insync.replicas",
        Int,
        AtLeast(1),
        "1",
        Some("min.insync.replicas"),
        "How many replicas must have a record before it is acknowledged to those who ask for all.",
    ),
    setting(
        "preallocate",
        Boolean,
        Any,
        "false",
        Some("log.preallocate"),
        "Whether a segment's file is made in its full size.",
    ),
    setting("remote.log.copy.disable", Boolean, Any, "false", None, "Whether nothing more goes to tiered storage."),
    setting(
        "remote.log.delete.on.disable",
        Boolean,
        Any,
        "false",
        None,
        "Whether what is in tiered storage goes when that is turned off for the topic.",
    ),
    setting("remote.storage.enable", Boolean, Any, "false", None, "Whether the topic is in tiered storage, too."),
    setting(
        "segment.index.bytes",
        Int,
        AtLeast(4),
        "10485760",
        Some("log.index.size.max.bytes"),
        "The largest that a segment's index may become.",
    ),
    setting(
        "segment.jitter.ms",
        Long,
        AtLeast(0),
        "0",
        Some("log.roll.jitter.ms"),
        "By how much at most a segment is closed before its time, so that not all are at once.",
    ),
    setting(
        "unclean.leader.election.enable",
        Boolean,
        Any,
        "false",
        Some("unclean.leader.election.enable"),
        "Whether a replica that has missed records may lead if no other can.",
    ),
];

/// All settings of a topic that are known, with their defaults.
pub(crate) fn topic_settings() -> impl Iterator<Item = &'static TopicSetting> {
    WITH_EFFECT.iter().chain(&WITHOUT_EFFECT)
}

/// Whether a topic may have a setting that no log acts on.
pub(crate) fn is_idle(name: &str) -> bool {
    WITHOUT_EFFECT.iter().any(|known| known.name == name)
}

/// An error with the nearest name, if there is no setting of this one.
pub(crate) fn check_setting_name(name: &str) -> Result<(), BrokerError> {
    if topic_settings().any(|known| known.name == name) {
        return Ok(());
    }
    let nearest = nearest_name(name, topic_settings().map(|known| known.name)).unwrap_or_default();
    let what = format!("Unknown topic config name: {name}; did you mean {nearest}?");
    Err(BrokerError::Setting { name: name.to_owned(), what })
}

/// What a topic's own settings make, over those that a broker gives all topics.
pub(crate) fn topic_config(defaults: &Settings, own: &Settings) -> Result<LogConfig, BrokerError> {
    let mut settings = defaults.clone();
    settings.extend(own.clone());
    parse_topic_settings(&settings)
}

/// The same as they stand: some of them may not go together, as when the broker's file has been changed.
pub(crate) fn topic_config_as_is(defaults: &Settings, own: &Settings) -> Result<LogConfig, BrokerError> {
    let mut settings = defaults.clone();
    settings.extend(own.clone());
    parse_each(&settings)
}

/// Whether a broker may give all topics these settings.
pub(crate) fn check_topic_settings(settings: &Settings) -> Result<(), BrokerError> {
    parse_topic_settings(settings).map(drop)
}

/// The log settings that a topic's settings make.
///
/// # Errors
/// When a name is unknown, or a value not allowed.
pub fn parse_topic_settings(settings: &Settings) -> Result<LogConfig, BrokerError> {
    let config = parse_each(settings)?;
    check_lags(settings)?;
    Ok(config)
}

fn parse_each(settings: &Settings) -> Result<LogConfig, BrokerError> {
    let mut config = LogConfig::default();
    settings.keys().try_for_each(|name| check_setting_name(name))?;
    for (name, value) in settings {
        let bad = |what: String| BrokerError::Setting { name: name.clone(), what };
        if let Some(known) = topic_settings().find(|known| known.name == name) {
            known.check(value).map_err(bad)?;
        }
        let value = value.trim();
        // Where it must be a number, it has been found to be one.
        let number = || value.parse::<i64>().unwrap_or_default();
        let millis = || Duration::from_millis(number().unsigned_abs());
        let unless_endless = |is_endless: bool| (!is_endless).then(millis);
        match name.as_str() {
            "cleanup.policy" => {
                let has = |policy: &str| value.split(',').any(|part| part.trim() == policy);
                config.cleanup = CleanupPolicy { delete: has("delete"), compact: has("compact") };
            }
            "delete.retention.ms" => config.delete_retention = millis(),
            "flush.messages" => config.flush_messages = (number() < i64::MAX).then(|| number().unsigned_abs()),
            "index.interval.bytes" => config.index_interval_bytes = number().unsigned_abs(),
            "max.compaction.lag.ms" => config.max_compaction_lag = unless_endless(number() == i64::MAX),
            "message.timestamp.after.max.ms" => config.timestamp_after = Some(millis()),
            "message.timestamp.before.max.ms" => config.timestamp_before = unless_endless(number() == i64::MAX),
            "compression.type" => {
                config.compression = match value {
                    "producer" => None,
                    "uncompressed" => Some(Compression::None),
                    name => Compression::named(name),
                }
            }
            "max.message.bytes" => config.max_message_bytes = usize::try_from(number()).unwrap_or(usize::MAX),
            "message.timestamp.type" => {
                config.timestamp_type = match value {
                    "LogAppendTime" => TimestampType::LogAppendTime,
                    _ => TimestampType::CreateTime,
                };
            }
            "min.cleanable.dirty.ratio" => config.min_dirty_ratio = value.parse().unwrap_or_default(),
            "min.compaction.lag.ms" => config.min_compaction_lag = millis(),
            "retention.bytes" => config.retention_bytes = u64::try_from(number()).ok(),
            "retention.ms" => config.retention = unless_endless(number() < 0),
            RETENTION_CLOCK => {
                config.retention_clock = match value {
                    "records" => RetentionClock::Records,
                    _ => RetentionClock::Wall,
                };
            }
            INTERNAL_SEGMENT_BYTES => config.segment_bytes = number().unsigned_abs(),
            "segment.bytes" if !settings.contains_key(INTERNAL_SEGMENT_BYTES) => {
                config.segment_bytes = number().unsigned_abs();
            }
            "segment.ms" => config.segment_age = millis(),
            "remote.storage.enable" if value.eq_ignore_ascii_case("true") => {
                let what = "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.";
                return Err(bad(what.to_owned()));
            }
            // It is kept, and has no effect.
            _ => {}
        }
    }
    Ok(config)
}

/// Whether records may be compacted by the time when they must be.
fn check_lags(settings: &Settings) -> Result<(), BrokerError> {
    const LEAST: &str = "min.compaction.lag.ms";
    const MOST: &str = "max.compaction.lag.ms";
    let lag = |name: &str, default: i64| {
        settings.get(name).and_then(|value| value.trim().parse::<i64>().ok()).unwrap_or(default)
    };
    let (least, most) = (lag(LEAST, 0), lag(MOST, i64::MAX));
    if least <= most {
        return Ok(());
    }
    let what = format!("conflict topic config setting {LEAST} ({least}) > {MOST} ({most})");
    Err(BrokerError::Setting { name: LEAST.to_owned(), what })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, value: &str) -> Result<LogConfig, String> {
        parse_topic_settings(&[(name.to_owned(), value.to_owned())].into()).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_have_kafkas_names_and_meaning() {
        assert_eq!(parse("retention.ms", "-1").unwrap().retention, None);
        let both = [("segment.bytes", "2000000"), (INTERNAL_SEGMENT_BYTES, "100")];
        let both = both.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(parse_topic_settings(&both.into()).unwrap().segment_bytes, 100);
        let policy = parse("cleanup.policy", "compact,delete").unwrap().cleanup;
        assert_eq!(policy, CleanupPolicy { delete: true, compact: true });
    }

    #[test]
    fn the_defaults_that_are_described_are_those_acted_on() {
        let described = WITH_EFFECT.map(|known| (known.name.to_owned(), known.default.to_owned()));
        assert_eq!(parse_topic_settings(&described.into()).unwrap(), LogConfig::default());
    }

    #[test]
    fn an_unknown_setting_is_answered_with_the_nearest() {
        assert_eq!(
            parse("retention.msec", "1").unwrap_err(),
            "setting retention.msec: Unknown topic config name: retention.msec; did you mean retention.ms?"
        );
    }

    /// What Apache Kafka 4.3.1 says of these values.
    #[test]
    fn values_are_refused_in_apaches_words() {
        let replicas = "leader.replication.throttled.replicas";
        for (name, value, what) in [
            ("segment.bytes", "1", "Invalid value 1 for configuration segment.bytes: Value must be at least 1048576"),
            ("retention.ms", "many", "Invalid value many for configuration retention.ms: Not a number of type LONG"),
            ("retention.ms", "-2", "Invalid value -2 for configuration retention.ms: Value must be at least -1"),
            (
                "min.cleanable.dirty.ratio",
                "3",
                "Invalid value 3.0 for configuration min.cleanable.dirty.ratio: Value must be no more than 1",
            ),
            (
                "cleanup.policy",
                "x",
                "Invalid value x for configuration cleanup.policy: String must be one of: compact, delete",
            ),
            (
                "compression.gzip.level",
                "0",
                "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1",
            ),
            (
                "compression.zstd.level",
                "99",
                "Invalid value 99 for configuration compression.zstd.level: Value must be no more than 22",
            ),
            (
                "preallocate",
                "x",
                "Invalid value x for configuration preallocate: Expected value to be either true or false",
            ),
        ] {
            assert_eq!(parse(name, value).unwrap_err(), format!("setting {name}: {what}"));
        }
        assert!(parse(replicas, "x").unwrap_err().contains("Invalid value [x] for configuration"));
        for (name, value) in [
            ("preallocate", "TRUE"),
            ("cleanup.policy", ""),
            ("compression.type", " gzip "),
            ("segment.bytes", "+5000000"),
            ("retention.bytes", "-3"),
            (replicas, "1:1,2:2"),
            (replicas, "*"),
            ("internal.segment.bytes", "100"),
        ] {
            assert!(parse(name, value).is_ok(), "{name}={value}");
        }
        let lags = [("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "5")];
        let lags = lags.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let refused = parse_topic_settings(&lags.into()).unwrap_err().to_string();
        assert!(refused.ends_with("min.compaction.lag.ms (10) > max.compaction.lag.ms (5)"), "{refused}");
    }
}
