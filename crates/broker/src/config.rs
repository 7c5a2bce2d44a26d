//! Topic settings by Kafka's names: parsed into those that a log acts on, or refused with the nearest name.

use std::collections::BTreeMap;
use std::time::Duration;

use tidewater_log::{CleanupPolicy, LogConfig, RetentionClock, TimestampType};
use tidewater_types::nearest_name;

use crate::BrokerError;

/// The settings that a topic's log acts on, with Kafka's defaults.
const WITH_EFFECT: [(&str, &str); 13] = [
    ("cleanup.policy", "delete"),
    ("delete.retention.ms", "86400000"),
    ("flush.messages", "9223372036854775807"),
    ("index.interval.bytes", "4096"),
    ("max.message.bytes", "1048588"),
    ("message.timestamp.type", "CreateTime"),
    ("min.cleanable.dirty.ratio", "0.5"),
    ("min.compaction.lag.ms", "0"),
    ("retention.bytes", "-1"),
    ("retention.ms", "604800000"),
    ("segment.bytes", "1073741824"),
    ("segment.ms", "604800000"),
    (RETENTION_CLOCK, "wall"),
];

/// Tidewater's own: `wall`, or `records` for topics whose event time is not the wall clock's.
const RETENTION_CLOCK: &str = "tidewater.retention.clock";

/// Settings that Kafka knows, and that are taken without effect here: one node has no replicas, and the rest is not built.
const WITHOUT_EFFECT: [(&str, &str); 21] = [
    ("compression.type", "producer"),
    ("compression.gzip.level", "-1"),
    ("compression.lz4.level", "9"),
    ("compression.zstd.level", "3"),
    ("file.delete.delay.ms", "60000"),
    ("flush.ms", "9223372036854775807"),
    ("follower.replication.throttled.replicas", ""),
    ("leader.replication.throttled.replicas", ""),
    ("local.retention.bytes", "-2"),
    ("local.retention.ms", "-2"),
    ("max.compaction.lag.ms", "9223372036854775807"),
    ("message.timestamp.after.max.ms", "3600000"),
    ("message.timestamp.before.max.ms", "9223372036854775807"),
    ("min.insync.replicas", "1"),
    ("preallocate", "false"),
    ("remote.log.copy.disable", "false"),
    ("remote.log.delete.on.disable", "false"),
    ("remote.storage.enable", "false"),
    ("segment.index.bytes", "10485760"),
    ("segment.jitter.ms", "0"),
    ("unclean.leader.election.enable", "false"),
];

/// All settings of a topic that are known, with their defaults.
pub(crate) fn topic_settings() -> impl Iterator<Item = (&'static str, &'static str)> {
    WITH_EFFECT.into_iter().chain(WITHOUT_EFFECT)
}

/// An error with the nearest name, if there is no setting of this one.
pub(crate) fn check_setting_name(name: &str) -> Result<(), BrokerError> {
    if topic_settings().any(|(known, _)| known == name) {
        return Ok(());
    }
    let nearest = nearest_name(name, topic_settings().map(|(name, _)| name)).unwrap_or_default();
    Err(BrokerError::Setting { name: name.to_owned(), what: format!("is unknown; did you mean {nearest}?") })
}

/// What a topic's own settings make, over those that a broker gives all topics.
pub(crate) fn topic_config(
    defaults: &BTreeMap<String, String>,
    own: &BTreeMap<String, String>,
) -> Result<LogConfig, BrokerError> {
    let mut settings = defaults.clone();
    settings.extend(own.clone());
    parse_topic_settings(&settings)
}

/// Whether a broker may give all topics these settings.
pub(crate) fn check_topic_settings(settings: &BTreeMap<String, String>) -> Result<(), BrokerError> {
    parse_topic_settings(settings).map(drop)
}

/// The log settings that a topic's settings make.
///
/// # Errors
/// When a name is unknown, or a value not allowed.
pub fn parse_topic_settings(settings: &BTreeMap<String, String>) -> Result<LogConfig, BrokerError> {
    let mut config = LogConfig::default();
    for (name, value) in settings {
        let bad = |what: String| BrokerError::Setting { name: name.clone(), what };
        let number = || value.trim().parse::<i64>().map_err(|_| bad(format!("{value:?} is not a number")));
        let at_least = |least: i64| -> Result<i64, BrokerError> {
            let number = number()?;
            if number < least { Err(bad(format!("{number} is less than {least}"))) } else { Ok(number) }
        };
        let millis = |number: i64| Duration::from_millis(number.unsigned_abs());
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
            other if WITHOUT_EFFECT.iter().any(|(name, _)| *name == other) => {
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
        let described = WITH_EFFECT.map(|(name, value)| (name.to_owned(), value.to_owned()));
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
