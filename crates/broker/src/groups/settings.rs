//! The settings that groups have, by the broker's and by their own.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::MigrationPolicy;
use super::assign::Assignor;
use crate::BrokerError;

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
    /// `group.coordinator.rebalance.protocols`: whether it has `consumer`. Default yes.
    pub has_consumer_protocol: bool,
    /// Whether it has `streams`. Default yes.
    pub has_streams_protocol: bool,
    /// `group.consumer.session.timeout.ms`: of the consumer protocol. Default 45 s.
    pub consumer_session_timeout: Duration,
    /// `group.consumer.heartbeat.interval.ms`. Default 5 s.
    pub consumer_heartbeat_interval: Duration,
    /// What a group may set for itself: `group.consumer.min.session.timeout.ms` to `…max…`. Default 45 s to 60 s.
    pub consumer_session_bounds: RangeInclusive<Duration>,
    /// `group.consumer.min.heartbeat.interval.ms` to `…max…`. Default 5 s to 15 s.
    pub consumer_heartbeat_bounds: RangeInclusive<Duration>,
    /// `group.consumer.assignment.interval.ms`: partitions are shared out no more often. Default 1 s.
    pub consumer_assignment_interval: Duration,
    /// `group.consumer.min.assignment.interval.ms` to `…max…`. Default 0 s to 15 s.
    pub consumer_assignment_bounds: RangeInclusive<Duration>,
    /// `group.consumer.max.size`. Default as many as there are.
    pub consumer_max_size: usize,
    /// `group.consumer.migration.policy`: which way groups with members may change their protocol. Default both.
    pub migration: MigrationPolicy,
    /// `group.consumer.assignors`: the first is taken if no member names one. Default uniform, then range.
    pub assignors: Vec<Assignor>,
    /// `offset.metadata.max.bytes`: the longest note beside an offset, in UTF-16 units as Java counts. Default 4096.
    pub offset_note_max: usize,
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
            has_consumer_protocol: true,
            has_streams_protocol: true,
            consumer_session_timeout: Duration::from_secs(45),
            consumer_heartbeat_interval: Duration::from_secs(5),
            consumer_session_bounds: Duration::from_secs(45)..=Duration::from_secs(60),
            consumer_heartbeat_bounds: Duration::from_secs(5)..=Duration::from_secs(15),
            consumer_assignment_interval: Duration::from_secs(1),
            consumer_assignment_bounds: Duration::ZERO..=Duration::from_secs(15),
            consumer_max_size: i32::MAX as usize,
            migration: MigrationPolicy::default(),
            assignors: Assignor::ALL.to_vec(),
            offset_note_max: 4096,
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

impl GroupSettings {
    /// Takes the assignors by their names, separated by commas.
    pub(crate) fn set_assignors(&mut self, names: &str) -> Result<(), String> {
        // Apache Kafka has them by their classes, too.
        let short = |name: &str| match name {
            "org.apache.kafka.coordinator.group.assignor.UniformAssignor" => Some(Assignor::Uniform),
            "org.apache.kafka.coordinator.group.assignor.RangeAssignor" => Some(Assignor::Range),
            _ => Assignor::of(name),
        };
        let named =
            |name: &str| short(name).ok_or_else(|| format!("{name:?} is no assignor; there are uniform and range"));
        self.assignors = names.split(',').map(|name| named(name.trim())).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The settings that have bounds.
    fn bounded(&self) -> [Bounded; 7] {
        let streams = &self.streams;
        let bounded = |name, least, value: Duration, bounds: &RangeInclusive<Duration>, bound| {
            let bounds = millis(*bounds.start())..=millis(*bounds.end());
            Bounded { name, least, value: millis(value), bounds, bound }
        };
        let standby = |number| i64::try_from(number).unwrap_or(i64::MAX);
        let (session, heartbeat, interval) = ("session.timeout.ms", "heartbeat.interval.ms", "assignment.interval.ms");
        [
            bounded(CONSUMER_SESSION, 1, self.consumer_session_timeout, &self.consumer_session_bounds, session),
            bounded(
                CONSUMER_HEARTBEAT,
                1,
                self.consumer_heartbeat_interval,
                &self.consumer_heartbeat_bounds,
                heartbeat,
            ),
            bounded(
                CONSUMER_INTERVAL,
                0,
                self.consumer_assignment_interval,
                &self.consumer_assignment_bounds,
                interval,
            ),
            bounded(STREAMS_SESSION, 1, streams.session_timeout, &streams.session_bounds, session),
            bounded(STREAMS_HEARTBEAT, 1, streams.heartbeat_interval, &streams.heartbeat_bounds, heartbeat),
            bounded(STREAMS_INTERVAL, 0, streams.assignment_interval, &streams.assignment_bounds, interval),
            Bounded {
                name: STREAMS_STANDBY,
                least: 0,
                value: standby(streams.standby_replicas),
                bounds: 0..=standby(streams.max_standby_replicas),
                bound: "standby.replicas",
            },
        ]
    }

    /// Whether the broker's settings go together, with Apache Kafka's words for those that do not.
    pub(crate) fn check(&self) -> Result<(), BrokerError> {
        let all = self.bounded();
        for setting in &all {
            let (least, most) = setting.ends();
            let broker = format!("group.{}", setting.name);
            let what = match setting {
                _ if setting.bounds.is_empty() => {
                    return Err(BrokerError::setting(
                        &most,
                        format!("{most} must be greater than or equal to {least}"),
                    ));
                }
                _ if setting.value < *setting.bounds.start() => format!("greater than or equal to {least}"),
                _ if setting.value > *setting.bounds.end() => format!("less than or equal to {most}"),
                _ => continue,
            };
            return Err(BrokerError::setting(&broker, format!("{broker} must be {what}")));
        }
        let value = |name| all.iter().find(|setting| setting.name == name).map(|setting| setting.value);
        for (heartbeat, session) in PAIRS {
            if value(heartbeat) >= value(session) {
                let what = format!("group.{heartbeat} must be less than group.{session}");
                return Err(BrokerError::setting(&format!("group.{heartbeat}"), what));
            }
        }
        Ok(())
    }

    /// Whether a group may have these settings, with Apache Kafka's words for those that it may not.
    pub(crate) fn check_group(&self, own: &BTreeMap<String, String>) -> Result<(), String> {
        let number = |name: &str| Some(own.get(name)?.trim().parse::<i64>().unwrap_or(i64::MIN));
        let all = self.bounded();
        let least = all.iter().map(|setting| (setting.name, setting.least)).chain([(STREAMS_DELAY, 0)]);
        for (name, least) in least {
            if let Some(number) = number(name)
                && number < least
            {
                return Err(format!("Invalid value {number} for configuration {name}: Value must be at least {least}"));
            }
        }
        for setting in &all {
            let (Some(number), (least, most)) = (number(setting.name), setting.ends()) else { continue };
            if number < *setting.bounds.start() {
                return Err(format!("{} must be greater than or equal to {least}", setting.name));
            }
            if number > *setting.bounds.end() {
                return Err(format!("{} must be less than or equal to {most}", setting.name));
            }
        }
        let value = |name| {
            number(name).or_else(|| all.iter().find(|setting| setting.name == name).map(|setting| setting.value))
        };
        for (heartbeat, session) in PAIRS {
            if value(session) <= value(heartbeat) {
                return Err(format!("{session} must be greater than {heartbeat}"));
            }
        }
        Ok(())
    }

    /// Whether what was changed for all groups is within the broker's bounds, with Apache Kafka's words for what is not.
    pub(crate) fn check_brokers(&self, changed: &OwnSettings) -> Result<(), String> {
        let of_group =
            |setting: &GroupSetting| Some((setting.name.to_owned(), changed.broker.get(setting.broker)?.clone()));
        let named = |what: String, setting: &GroupSetting| what.replace(setting.name, setting.broker);
        self.check_group(&GROUP_SETTINGS.iter().filter_map(of_group).collect())
            .map_err(|what| GROUP_SETTINGS.iter().fold(what, named))
    }
}

/// Of each protocol, what must be less than what.
const PAIRS: [(&str, &str); 2] = [(CONSUMER_HEARTBEAT, CONSUMER_SESSION), (STREAMS_HEARTBEAT, STREAMS_SESSION)];

/// A setting of groups that the broker sets bounds for.
struct Bounded {
    name: &'static str,
    /// No group has less, whatever the broker's bounds are.
    least: i64,
    /// The broker's own.
    value: i64,
    bounds: RangeInclusive<i64>,
    /// What the broker's settings for the bounds end with.
    bound: &'static str,
}

impl Bounded {
    /// The broker's settings for the bounds.
    fn ends(&self) -> (String, String) {
        let protocol = self.name.split('.').next().unwrap_or_default();
        (format!("group.{protocol}.min.{}", self.bound), format!("group.{protocol}.max.{}", self.bound))
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// What was set for groups while the broker runs: by groups for themselves, and by the broker for those that did not.
#[derive(Debug, Default)]
pub(crate) struct OwnSettings {
    pub groups: BTreeMap<String, BTreeMap<String, String>>,
    pub broker: BTreeMap<String, String>,
}

impl OwnSettings {
    fn number<T: FromStr>(&self, group: &str, name: &str) -> Option<T> {
        let own = self.groups.get(group).and_then(|own| own.get(name));
        let broker = || self.broker.get(GROUP_SETTINGS.iter().find(|setting| setting.name == name)?.broker);
        own.or_else(broker)?.trim().parse().ok()
    }

    /// A time, within bounds that may have changed since it was set.
    fn time(&self, group: &str, name: &str, bounds: &RangeInclusive<Duration>) -> Option<Duration> {
        let time = self.number(group, name).map(Duration::from_millis)?;
        Some(time.max(*bounds.start()).min(*bounds.end()))
    }

    /// The broker's settings for members of the consumer protocol, with what a group has set for itself.
    pub(super) fn consumer_of(&self, group: &str, broker: &GroupSettings) -> ConsumerTimes {
        let time = |name, bounds, broker| self.time(group, name, bounds).unwrap_or(broker);
        ConsumerTimes {
            session_timeout: time(CONSUMER_SESSION, &broker.consumer_session_bounds, broker.consumer_session_timeout),
            heartbeat_interval: time(
                CONSUMER_HEARTBEAT,
                &broker.consumer_heartbeat_bounds,
                broker.consumer_heartbeat_interval,
            ),
            assignment_interval: time(
                CONSUMER_INTERVAL,
                &broker.consumer_assignment_bounds,
                broker.consumer_assignment_interval,
            ),
        }
    }

    /// The same for a group of the streams protocol.
    pub(super) fn streams_of(&self, group: &str, broker: &GroupSettings) -> StreamsTimes {
        let broker = &broker.streams;
        let time = |name, bounds, broker| self.time(group, name, bounds).unwrap_or(broker);
        let standby = self.number(group, STREAMS_STANDBY).unwrap_or(broker.standby_replicas);
        StreamsTimes {
            session_timeout: time(STREAMS_SESSION, &broker.session_bounds, broker.session_timeout),
            heartbeat_interval: time(STREAMS_HEARTBEAT, &broker.heartbeat_bounds, broker.heartbeat_interval),
            initial_rebalance_delay: time(
                STREAMS_DELAY,
                &(Duration::ZERO..=Duration::MAX),
                broker.initial_rebalance_delay,
            ),
            assignment_interval: time(STREAMS_INTERVAL, &broker.assignment_bounds, broker.assignment_interval),
            standby_replicas: standby.min(broker.max_standby_replicas),
        }
    }
}

/// When what a group has may be shared out anew: the first time at once, and then no more often than the interval says. All times are
/// milliseconds; `last` is 0 for never. As in Apache Kafka's `canComputeNextTargetAssignment`, but for a last time that is yet to
/// come: the clock was set back, and nobody waits for it to come round again.
pub(super) fn due(last: i64, interval: Duration, now: i64) -> i64 {
    match last {
        0 => 0,
        last if last > now => now,
        last => last.saturating_add(millis(interval)),
    }
}

/// After how many milliseconds a member's next heartbeat is wanted: as the interval says, but if an assignment is put off, when that is due
/// for sure. It is the same until then, so that who asks twice is answered alike.
pub(super) fn heartbeat_within(interval: Duration, assignment_interval: Duration, is_put_off: bool) -> i32 {
    let wanted = if is_put_off { interval.min(assignment_interval) } else { interval };
    i32::try_from(millis(wanted).max(1)).unwrap_or(i32::MAX)
}

/// How long members of a group may be silent, how often they should not be, and how often they get something else to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConsumerTimes {
    pub session_timeout: Duration,
    pub heartbeat_interval: Duration,
    /// Partitions are shared out no more often.
    pub assignment_interval: Duration,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn own(settings: &[(&str, &str)]) -> BTreeMap<String, String> {
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_groups_own_settings_come_before_the_brokers_and_stay_within_bounds() {
        let mut broker = GroupSettings::default();
        let mut settings = OwnSettings::default();
        settings.groups.insert("g".to_owned(), own(&[(CONSUMER_SESSION, "50000"), (STREAMS_STANDBY, "2")]));
        settings.broker = own(&[("group.consumer.assignment.interval.ms", "2500")]);
        assert_eq!(settings.consumer_of("g", &broker).session_timeout, Duration::from_secs(50));
        assert_eq!(settings.consumer_of("g", &broker).heartbeat_interval, Duration::from_secs(5));
        assert_eq!(settings.consumer_of("g", &broker).assignment_interval, Duration::from_millis(2500));
        assert_eq!(settings.consumer_of("other", &broker).session_timeout, Duration::from_secs(45));
        assert_eq!(settings.streams_of("g", &broker).standby_replicas, 2);
        // A broker that was started anew with others.
        broker.consumer_session_bounds = Duration::from_secs(45)..=Duration::from_secs(48);
        broker.streams.max_standby_replicas = 1;
        assert_eq!(settings.consumer_of("g", &broker).session_timeout, Duration::from_secs(48));
        assert_eq!(settings.streams_of("g", &broker).standby_replicas, 1);
    }

    #[test]
    fn a_group_may_not_set_what_the_broker_does_not_allow() {
        let mut broker = GroupSettings::default();
        let refused =
            |broker: &GroupSettings, settings: &[(&str, &str)]| broker.check_group(&own(settings)).unwrap_err();
        assert_eq!(broker.check_group(&own(&[(CONSUMER_SESSION, "60000"), (STREAMS_DELAY, "0")])), Ok(()));
        for (name, value, words) in [
            (CONSUMER_SESSION, "60001", "must be less than or equal to group.consumer.max.session.timeout.ms"),
            (CONSUMER_HEARTBEAT, "1", "must be greater than or equal to group.consumer.min.heartbeat.interval.ms"),
            (CONSUMER_INTERVAL, "15001", "must be less than or equal to group.consumer.max.assignment.interval.ms"),
            (STREAMS_DELAY, "-1", "Value must be at least 0"),
            (STREAMS_STANDBY, "3", "must be less than or equal to group.streams.max.standby.replicas"),
        ] {
            let refused = refused(&broker, &[(name, value)]);
            assert!(refused.contains(name) && refused.ends_with(words), "{refused}");
        }
        broker.streams.session_bounds = Duration::from_secs(1)..=Duration::from_secs(60);
        assert_eq!(
            refused(&broker, &[(STREAMS_SESSION, "5000")]),
            "streams.session.timeout.ms must be greater than streams.heartbeat.interval.ms"
        );
        assert_eq!(broker.check_group(&own(&[(STREAMS_SESSION, "5001")])), Ok(()));
    }

    #[test]
    fn what_is_changed_for_all_groups_is_within_the_brokers_bounds() {
        let changed = |value| OwnSettings {
            broker: own(&[("group.consumer.assignment.interval.ms", value), ("log.retention.ms", "1")]),
            ..OwnSettings::default()
        };
        assert_eq!(GroupSettings::default().check_brokers(&changed("15000")), Ok(()));
        assert_eq!(
            GroupSettings::default().check_brokers(&changed("15001")),
            Err("group.consumer.assignment.interval.ms must be less than or equal to \
                 group.consumer.max.assignment.interval.ms"
                .to_owned())
        );
    }

    #[test]
    fn a_brokers_settings_go_together() {
        assert!(GroupSettings::default().check().is_ok());
        let refused = |change: fn(&mut GroupSettings)| {
            let mut settings = GroupSettings::default();
            change(&mut settings);
            settings.check().unwrap_err().to_string()
        };
        assert_eq!(
            refused(|settings| settings.consumer_session_timeout = Duration::from_secs(10)),
            "setting group.consumer.session.timeout.ms: group.consumer.session.timeout.ms must be greater than or equal to \
             group.consumer.min.session.timeout.ms"
        );
        let most = refused(|settings| {
            settings.streams.assignment_bounds = Duration::from_secs(2)..=Duration::from_secs(1);
        });
        assert!(most.ends_with("must be greater than or equal to group.streams.min.assignment.interval.ms"), "{most}");
        let pair = refused(|settings| {
            settings.streams.heartbeat_bounds = Duration::from_secs(5)..=Duration::from_secs(100);
            settings.streams.heartbeat_interval = settings.streams.session_timeout;
        });
        assert!(pair.ends_with("must be less than group.streams.session.timeout.ms"), "{pair}");
    }

    #[test]
    fn the_first_assignment_is_at_once_and_others_wait_with_heartbeats_in_time() {
        let second = Duration::from_secs(1);
        assert_eq!((due(0, second, 5500), due(5000, second, 5500), due(5000, Duration::ZERO, 5500)), (0, 6000, 5000));
        assert_eq!(due(5000, second, 4999), 4999);
        assert_eq!(heartbeat_within(5 * second, second, false), 5000);
        assert_eq!(heartbeat_within(5 * second, second, true), 1000);
        assert_eq!(heartbeat_within(5 * second, 60 * second, true), 5000);
        assert_eq!(heartbeat_within(5 * second, Duration::ZERO, true), 1);
    }
}
