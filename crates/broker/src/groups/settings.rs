//! The settings that groups have, by the broker's and by their own.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::MigrationPolicy;

/// What groups may be like, by the broker's settings for them.
#[derive(Clone, Debug)]
pub struct GroupSettings {
    /// `group.min.session.timeout.ms`. Default 6 s.
    pub min_session_timeout: Duration,
    /// `group.max.session.timeout.ms`. Default 30 minutes.
    pub max_session_timeout: Duration,
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members. Default 3 s.
    pub initial_rebalance_delay: Duration,
    /// `group.max.size`: members of a group. Default as many as there are.
    pub max_size: usize,
    /// `group.consumer.session.timeout.ms`: of the consumer protocol. Default 45 s.
    pub consumer_session_timeout: Duration,
    /// `group.consumer.heartbeat.interval.ms`. Default 5 s.
    pub consumer_heartbeat_interval: Duration,
    /// What a group may set for itself: `group.consumer.min.session.timeout.ms` to `…max…`. Default 45 s to 60 s.
    pub consumer_session_bounds: RangeInclusive<Duration>,
    /// `group.consumer.min.heartbeat.interval.ms` to `…max…`. Default 5 s to 15 s.
    pub consumer_heartbeat_bounds: RangeInclusive<Duration>,
    /// `group.consumer.max.size`. Default as many as there are.
    pub consumer_max_size: usize,
    /// `group.consumer.migration.policy`: which way groups with members may change their protocol. Default both.
    pub migration: MigrationPolicy,
    /// Of the streams protocol.
    pub streams: StreamsGroupSettings,
    /// `offsets.retention.minutes`: how long offsets of nobody are kept. Default 7 days.
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`. Default 10 minutes.
    pub offsets_check_interval: Duration,
}

impl Default for GroupSettings {
    fn default() -> Self {
        GroupSettings {
            min_session_timeout: Duration::from_secs(6),
            max_session_timeout: Duration::from_secs(1800),
            initial_rebalance_delay: Duration::from_secs(3),
            max_size: i32::MAX as usize,
            consumer_session_timeout: Duration::from_secs(45),
            consumer_heartbeat_interval: Duration::from_secs(5),
            consumer_session_bounds: Duration::from_secs(45)..=Duration::from_secs(60),
            consumer_heartbeat_bounds: Duration::from_secs(5)..=Duration::from_secs(15),
            consumer_max_size: i32::MAX as usize,
            migration: MigrationPolicy::default(),
            streams: StreamsGroupSettings::default(),
            offsets_retention: Duration::from_secs(7 * 24 * 3600),
            offsets_check_interval: Duration::from_secs(600),
        }
    }
}

/// What groups of the streams protocol may be like.
#[derive(Clone, Debug)]
pub struct StreamsGroupSettings {
    /// `group.streams.session.timeout.ms`. Default 45 s.
    pub session_timeout: Duration,
    /// `group.streams.heartbeat.interval.ms`. Default 5 s.
    pub heartbeat_interval: Duration,
    /// `group.streams.initial.rebalance.delay.ms`: how long the first member waits for more. Default 3 s.
    pub initial_rebalance_delay: Duration,
    /// `group.streams.assignment.interval.ms`: tasks are shared out no more often. Default 1 s.
    pub assignment_interval: Duration,
    /// `group.streams.num.standby.replicas`: of each task with state. Default 0.
    pub standby_replicas: usize,
    /// What a group may set for itself: `group.streams.min.session.timeout.ms` to `…max…`. Default 45 s to 60 s.
    pub session_bounds: RangeInclusive<Duration>,
    /// `group.streams.min.heartbeat.interval.ms` to `…max…`. Default 5 s to 15 s.
    pub heartbeat_bounds: RangeInclusive<Duration>,
    /// `group.streams.min.assignment.interval.ms` to `…max…`. Default 0 s to 15 s.
    pub assignment_bounds: RangeInclusive<Duration>,
    /// `group.streams.max.standby.replicas`. Default 2.
    pub max_standby_replicas: usize,
    /// `group.streams.max.size`. Default as many as there are.
    pub max_size: usize,
}

impl Default for StreamsGroupSettings {
    fn default() -> Self {
        StreamsGroupSettings {
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(5),
            initial_rebalance_delay: Duration::from_secs(3),
            assignment_interval: Duration::from_secs(1),
            standby_replicas: 0,
            session_bounds: Duration::from_secs(45)..=Duration::from_secs(60),
            heartbeat_bounds: Duration::from_secs(5)..=Duration::from_secs(15),
            assignment_bounds: Duration::ZERO..=Duration::from_secs(15),
            max_standby_replicas: 2,
            max_size: i32::MAX as usize,
        }
    }
}

/// A setting of a group, and the broker's that is its default.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupSetting {
    pub name: &'static str,
    pub broker: &'static str,
}

const CONSUMER_INTERVAL: &str = "consumer.assignment.interval.ms";
const CONSUMER_HEARTBEAT: &str = "consumer.heartbeat.interval.ms";
const CONSUMER_SESSION: &str = "consumer.session.timeout.ms";
const STREAMS_INTERVAL: &str = "streams.assignment.interval.ms";
const STREAMS_HEARTBEAT: &str = "streams.heartbeat.interval.ms";
const STREAMS_DELAY: &str = "streams.initial.rebalance.delay.ms";
const STREAMS_STANDBY: &str = "streams.num.standby.replicas";
const STREAMS_SESSION: &str = "streams.session.timeout.ms";

/// All of them.
pub(crate) const GROUP_SETTINGS: [GroupSetting; 8] = [
    GroupSetting { name: CONSUMER_INTERVAL, broker: "group.consumer.assignment.interval.ms" },
    GroupSetting { name: CONSUMER_HEARTBEAT, broker: "group.consumer.heartbeat.interval.ms" },
    GroupSetting { name: CONSUMER_SESSION, broker: "group.consumer.session.timeout.ms" },
    GroupSetting { name: STREAMS_INTERVAL, broker: "group.streams.assignment.interval.ms" },
    GroupSetting { name: STREAMS_HEARTBEAT, broker: "group.streams.heartbeat.interval.ms" },
    GroupSetting { name: STREAMS_DELAY, broker: "group.streams.initial.rebalance.delay.ms" },
    GroupSetting { name: STREAMS_STANDBY, broker: "group.streams.num.standby.replicas" },
    GroupSetting { name: STREAMS_SESSION, broker: "group.streams.session.timeout.ms" },
];

/// What groups have set for themselves, by their names.
#[derive(Debug, Default)]
pub(crate) struct OwnSettings(BTreeMap<String, BTreeMap<String, String>>);

impl OwnSettings {
    pub fn new(settings: BTreeMap<String, BTreeMap<String, String>>) -> Self {
        OwnSettings(settings)
    }

    fn number<T: FromStr>(&self, group: &str, name: &str) -> Option<T> {
        self.0.get(group)?.get(name)?.trim().parse().ok()
    }

    fn millis(&self, group: &str, name: &str) -> Option<Duration> {
        self.number(group, name).map(Duration::from_millis)
    }

    /// The broker's settings for members of the consumer protocol, with what a group has set for itself.
    pub(super) fn consumer_of(&self, group: &str, brokers: &GroupSettings) -> ConsumerTimes {
        ConsumerTimes {
            session_timeout: self.millis(group, CONSUMER_SESSION).unwrap_or(brokers.consumer_session_timeout),
            heartbeat_interval: self.millis(group, CONSUMER_HEARTBEAT).unwrap_or(brokers.consumer_heartbeat_interval),
        }
    }

    /// The same for a group of the streams protocol.
    pub(super) fn streams_of(&self, group: &str, brokers: &GroupSettings) -> StreamsTimes {
        let brokers = &brokers.streams;
        StreamsTimes {
            session_timeout: self.millis(group, STREAMS_SESSION).unwrap_or(brokers.session_timeout),
            heartbeat_interval: self.millis(group, STREAMS_HEARTBEAT).unwrap_or(brokers.heartbeat_interval),
            initial_rebalance_delay: self.millis(group, STREAMS_DELAY).unwrap_or(brokers.initial_rebalance_delay),
            assignment_interval: self.millis(group, STREAMS_INTERVAL).unwrap_or(brokers.assignment_interval),
            standby_replicas: self.number(group, STREAMS_STANDBY).unwrap_or(brokers.standby_replicas),
        }
    }
}

/// How long members of a group may be silent, and how often they should not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConsumerTimes {
    pub session_timeout: Duration,
    pub heartbeat_interval: Duration,
}

/// The same of a group of the streams protocol, and how its tasks are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamsTimes {
    pub session_timeout: Duration,
    pub heartbeat_interval: Duration,
    /// How long the first member waits for more.
    pub initial_rebalance_delay: Duration,
    /// Tasks are shared out no more often.
    pub assignment_interval: Duration,
    /// Members that keep the state of a task, besides the one that works on it.
    pub standby_replicas: usize,
}

/// Whether a group may have a setting, with Apache Kafka's words for one that it may not.
pub(crate) fn check_group_setting(settings: &GroupSettings, name: &str, value: &str) -> Result<(), String> {
    let streams = &settings.streams;
    let millis = |bounds: &RangeInclusive<Duration>| {
        let number = |time: &Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        number(bounds.start())..=number(bounds.end())
    };
    let (least, bounds, bound) = match name {
        CONSUMER_SESSION => (1, millis(&settings.consumer_session_bounds), "session.timeout.ms"),
        CONSUMER_HEARTBEAT => (1, millis(&settings.consumer_heartbeat_bounds), "heartbeat.interval.ms"),
        STREAMS_SESSION => (1, millis(&streams.session_bounds), "session.timeout.ms"),
        STREAMS_HEARTBEAT => (1, millis(&streams.heartbeat_bounds), "heartbeat.interval.ms"),
        STREAMS_INTERVAL => (0, millis(&streams.assignment_bounds), "assignment.interval.ms"),
        STREAMS_STANDBY => (0, 0..=i64::try_from(streams.max_standby_replicas).unwrap_or(i64::MAX), "standby.replicas"),
        STREAMS_DELAY | CONSUMER_INTERVAL => (0, 0..=i64::MAX, ""),
        _ => return Ok(()),
    };
    let protocol = name.split('.').next().unwrap_or_default();
    let number: i64 = value.trim().parse().unwrap_or(i64::MIN);
    if number < least {
        return Err(format!("Invalid value {value} for configuration {name}: Value must be at least {least}"));
    }
    if number < *bounds.start() {
        return Err(format!("{name} must be greater than or equal to group.{protocol}.min.{bound}"));
    }
    if number > *bounds.end() {
        return Err(format!("{name} must be less than or equal to group.{protocol}.max.{bound}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_own_settings_come_before_the_brokers_and_have_bounds() {
        let brokers = GroupSettings::default();
        let own = [(CONSUMER_SESSION.to_owned(), "50000".to_owned())];
        let settings = OwnSettings::new([("g".to_owned(), own.into())].into());
        assert_eq!(settings.consumer_of("g", &brokers).session_timeout, Duration::from_secs(50));
        assert_eq!(settings.consumer_of("g", &brokers).heartbeat_interval, Duration::from_secs(5));
        assert_eq!(settings.consumer_of("other", &brokers).session_timeout, Duration::from_secs(45));
        assert_eq!(check_group_setting(&brokers, CONSUMER_SESSION, "60000"), Ok(()));
        let refused = check_group_setting(&brokers, CONSUMER_SESSION, "60001").unwrap_err();
        assert!(refused.ends_with("less than or equal to group.consumer.max.session.timeout.ms"), "{refused}");
        assert!(check_group_setting(&brokers, CONSUMER_HEARTBEAT, "1").is_err());
        let refused = check_group_setting(&brokers, STREAMS_DELAY, "-1").unwrap_err();
        assert!(refused.ends_with("Value must be at least 0"), "{refused}");
        let refused = check_group_setting(&brokers, STREAMS_STANDBY, "3").unwrap_err();
        assert!(refused.ends_with("less than or equal to group.streams.max.standby.replicas"), "{refused}");
    }
}
