//! Topic settings by Kafka's names: parsed into those that a log acts on, or refused with the nearest name.

use std::time::Duration;

use tidewater_log::{CleanupPolicy, LogConfig, RetentionClock, TimestampType};
use tidewater_protocol::Compression;
use tidewater_types::nearest_name;

use crate::BrokerError;
use crate::dynamic::Kind::{self, Boolean, Double, Int, List, Long, Text};
use crate::dynamic::Settings;

/// A setting of a topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TopicSetting {
    pub name: &'static str,
    pub kind: Kind,
    pub default: &'static str,
    /// The broker's setting that is its default.
    pub broker: Option<&'static str>,
}

const fn setting(name: &'static str, kind: Kind, default: &'static str, broker: Option<&'static str>) -> TopicSetting {
    TopicSetting { name, kind, default, broker }
}

/// The settings that a topic's log acts on, with Kafka's defaults.
const WITH_EFFECT: [TopicSetting; 17] = [
    setting("cleanup.policy", List, "delete", Some("log.cleanup.policy")),
    setting("compression.type", Text, "producer", Some("compression.type")),
    setting("delete.retention.ms", Long, "86400000", Some("log.cleaner.delete.retention.ms")),
    setting("flush.messages", Long, "9223372036854775807", Some("log.flush.interval.messages")),
    setting("index.interval.bytes", Int, "4096", Some("log.index.interval.bytes")),
    setting("max.compaction.lag.ms", Long, "9223372036854775807", Some("log.cleaner.max.compaction.lag.ms")),
    setting("max.message.bytes", Int, "1048588", Some("message.max.bytes")),
    setting("message.timestamp.after.max.ms", Long, "3600000", Some("log.message.timestamp.after.max.ms")),
    setting(
        "message.timestamp.before.max.ms",
        Long,
        "9223372036854775807",
        Some("log.message.timestamp.before.max.ms"),
    ),
    setting("message.timestamp.type", Text, "CreateTime", Some("log.message.timestamp.type")),
    setting("min.cleanable.dirty.ratio", Double, "0.5", Some("log.cleaner.min.cleanable.ratio")),
    setting("min.compaction.lag.ms", Long, "0", Some("log.cleaner.min.compaction.lag.ms")),
    setting("retention.bytes", Long, "-1", Some("log.retention.bytes")),
    setting("retention.ms", Long, "604800000", Some("log.retention.ms")),
    setting("segment.bytes", Int, "1073741824", Some("log.segment.bytes")),
    setting("segment.ms", Long, "604800000", Some("log.roll.ms")),
    setting(RETENTION_CLOCK, Text, "wall", None),
];

/// Tidewater's own: `wall`, or `records` for topics whose event time is not the wall clock's.
const RETENTION_CLOCK: &str = "tidewater.retention.clock";

/// Settings that Kafka knows, and that are taken without effect here: one node has no replicas, and the rest is not built.
const WITHOUT_EFFECT: [TopicSetting; 17] = [
    setting("compression.gzip.level", Int, "-1", Some("compression.gzip.level")),
    setting("compression.lz4.level", Int, "9", Some("compression.lz4.level")),
    setting("compression.zstd.level", Int, "3", Some("compression.zstd.level")),
    setting("file.delete.delay.ms", Long, "60000", Some("log.segment.delete.delay.ms")),
    setting("flush.ms", Long, "9223372036854775807", Some("log.flush.interval.ms")),
    setting("follower.replication.throttled.replicas", List, "", None),
    setting("leader.replication.throttled.replicas", List, "", None),
    setting("local.retention.bytes", Long, "-2", Some("log.local.retention.bytes")),
    setting("local.retention.ms", Long, "-2", Some("log.local.retention.ms")),
    setting("min.insync.replicas", Int, "1", Some("min.insync.replicas")),
    setting("preallocate", Boolean, "false", Some("log.preallocate")),
    setting("remote.log.copy.disable", Boolean, "false", None),
    setting("remote.log.delete.on.disable", Boolean, "false", None),
    setting("remote.storage.enable", Boolean, "false", None),
    setting("segment.index.bytes", Int, "10485760", Some("log.index.size.max.bytes")),
    setting("segment.jitter.ms", Long, "0", Some("log.roll.jitter.ms")),
    setting("unclean.leader.election.enable", Boolean, "false", Some("unclean.leader.election.enable")),
];

/// All settings of a topic that are known, with their defaults.
pub(crate) fn topic_settings() -> impl Iterator<Item = &'static TopicSetting> {
    WITH_EFFECT.iter().chain(&WITHOUT_EFFECT)
}

/// An error with the nearest name, if there is no setting of this one.
pub(crate) fn check_setting_name(name: &str) -> Result<(), BrokerError> {
    if topic_settings().any(|known| known.name == name) {
        return Ok(());
    }
    let nearest = nearest_name(name, topic_settings().map(|known| known.name)).unwrap_or_default();
    Err(BrokerError::Setting { name: name.to_owned(), what: format!("is unknown; did you mean {nearest}?") })
}

/// What a topic's own settings make, over those that a broker gives all topics.
pub(crate) fn topic_config(defaults: &Settings, own: &Settings) -> Result<LogConfig, BrokerError> {
    let mut settings = defaults.clone();
    settings.extend(own.clone());
    parse_topic_settings(&settings)
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
    let mut config = LogConfig::default();
    for (name, value) in settings {
        let bad = |what: String| BrokerError::Setting { name: name.clone(), what };
        let number = || value.trim().parse::<i64>().map_err(|_| bad(format!("{value:?} is not a number")));
        let at_least = |least: i64| -> Result<i64, BrokerError> {
            let number = number()?;
            if number < least { Err(bad(format!("{number} is less than {least}"))) } else { Ok(number) }
        };
        let millis = |number: i64| Duration::from_millis(number.unsigned_abs());
        if let Some(known) = topic_settings().find(|known| known.name == name) {
            known
                .kind
                .check(value)
                .map_err(|what| bad(format!("Invalid value {value} for configuration {name}: {what}")))?;
        }
        match name.as_str() {
            "cleanup.policy" => {
                let mut policy = CleanupPolicy { delete: false, compact: false };
                for part in value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                    match part {
                        "delete" => policy.delete = true,
                        "compact" => policy.compact = true,
                        other => return Err(bad(format!("{other:?} is none of delete, compact"))),
                    }
                }
                config.cleanup = policy;
            }
            "delete.retention.ms" => config.delete_retention = millis(at_least(0)?),
            "flush.messages" => {
                let count = at_least(1)?;
                config.flush_messages = (count < i64::MAX).then_some(count.unsigned_abs());
            }
            "index.interval.bytes" => config.index_interval_bytes = at_least(0)?.unsigned_abs(),
            "max.compaction.lag.ms" => {
                let lag = at_least(1)?;
                config.max_compaction_lag = (lag < i64::MAX).then(|| millis(lag));
            }
            "message.timestamp.after.max.ms" => config.timestamp_after = Some(millis(at_least(0)?)),
            "message.timestamp.before.max.ms" => {
                let before = at_least(0)?;
                config.timestamp_before = (before < i64::MAX).then(|| millis(before));
            }
            "compression.type" => {
                config.compression = match value.trim() {
                    "producer" => None,
                    "uncompressed" => Some(Compression::None),
                    name => Some(Compression::named(name).ok_or_else(|| {
                        bad(format!("{name:?} is none of uncompressed, zstd, lz4, snappy, gzip, producer"))
                    })?),
                }
            }
            "max.message.bytes" => config.max_message_bytes = usize::try_from(at_least(0)?).unwrap_or(usize::MAX),
            "message.timestamp.type" => {
                config.timestamp_type = match value.as_str() {
                    "CreateTime" => TimestampType::CreateTime,
                    "LogAppendTime" => TimestampType::LogAppendTime,
                    other => return Err(bad(format!("{other:?} is none of CreateTime, LogAppendTime"))),
                };
            }
            "min.cleanable.dirty.ratio" => {
                let ratio = value.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
                config.min_dirty_ratio = ratio.ok_or_else(|| bad(format!("{value:?} is not between 0 and 1")))?;
            }
            "min.compaction.lag.ms" => config.min_compaction_lag = millis(at_least(0)?),
            "retention.bytes" => config.retention_bytes = u64::try_from(at_least(-1)?).ok(),
            "retention.ms" => {
                let retention = at_least(-1)?;
                config.retention = (retention >= 0).then(|| millis(retention));
            }
            RETENTION_CLOCK => {
                config.retention_clock = match value.as_str() {
                    "wall" => RetentionClock::Wall,
                    "records" => RetentionClock::Records,
                    other => return Err(bad(format!("{other:?} is none of wall, records"))),
                };
            }
            "segment.bytes" => config.segment_bytes = at_least(1024)?.unsigned_abs(),
            "segment.ms" => config.segment_age = millis(at_least(1)?),
            other if WITHOUT_EFFECT.iter().any(|known| known.name == other) => {
                tracing::warn!(setting = other, "has no effect on this log");
            }
            other => check_setting_name(other)?,
        }
    }
    Ok(config)
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
            "setting retention.msec: is unknown; did you mean retention.ms?"
        );
        assert!(parse("segment.bytes", "many").is_err());
    }
}
