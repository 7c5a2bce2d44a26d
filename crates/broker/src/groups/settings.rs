//! The settings that groups have, by the broker's and by their own.

use std::collections::BTreeMap;
use std::time::Duration;

use super::GroupSettings;

/// A setting of a group, and the broker's that is its default.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupSetting {
    pub name: &'static str,
    pub broker: &'static str,
}

const SESSION: &str = "consumer.session.timeout.ms";
const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";

/// All of them.
pub(crate) const GROUP_SETTINGS: [GroupSetting; 3] = [
    GroupSetting { name: "consumer.assignment.interval.ms", broker: "group.consumer.assignment.interval.ms" },
    GroupSetting { name: HEARTBEAT, broker: "group.consumer.heartbeat.interval.ms" },
    GroupSetting { name: SESSION, broker: "group.consumer.session.timeout.ms" },
];

/// What groups have set for themselves, by their names.
#[derive(Debug, Default)]
pub(crate) struct OwnSettings(BTreeMap<String, BTreeMap<String, String>>);

impl OwnSettings {
    pub fn new(settings: BTreeMap<String, BTreeMap<String, String>>) -> Self {
        OwnSettings(settings)
    }

    fn millis(&self, group: &str, name: &str) -> Option<Duration> {
        self.0.get(group)?.get(name)?.trim().parse().ok().map(Duration::from_millis)
    }

    /// The broker's settings, with what a group has set for itself.
    pub(super) fn of(&self, group: &str, brokers: &GroupSettings) -> MemberTimes {
        MemberTimes {
            session_timeout: self.millis(group, SESSION).unwrap_or(brokers.consumer_session_timeout),
            heartbeat_interval: self.millis(group, HEARTBEAT).unwrap_or(brokers.consumer_heartbeat_interval),
        }
    }
}

/// How long members of a group may be silent, and how often they should not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MemberTimes {
    pub session_timeout: Duration,
    pub heartbeat_interval: Duration,
}

/// Whether a group may have a setting, with Apache Kafka's words for one that it may not.
pub(crate) fn check_group_setting(settings: &GroupSettings, name: &str, value: &str) -> Result<(), String> {
    let (bounds, bound) = match name {
        SESSION => (&settings.consumer_session_bounds, "session.timeout.ms"),
        HEARTBEAT => (&settings.consumer_heartbeat_bounds, "heartbeat.interval.ms"),
        _ => return Ok(()),
    };
    let value = value.trim().parse().map(Duration::from_millis).unwrap_or_default();
    if value < *bounds.start() {
        return Err(format!("{name} must be greater than or equal to group.consumer.min.{bound}"));
    }
    if value > *bounds.end() {
        return Err(format!("{name} must be less than or equal to group.consumer.max.{bound}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_own_settings_come_before_the_brokers_and_have_bounds() {
        let brokers = GroupSettings::default();
        let own = [(SESSION.to_owned(), "50000".to_owned())];
        let settings = OwnSettings::new([("g".to_owned(), own.into())].into());
        assert_eq!(settings.of("g", &brokers).session_timeout, Duration::from_secs(50));
        assert_eq!(settings.of("g", &brokers).heartbeat_interval, Duration::from_secs(5));
        assert_eq!(settings.of("other", &brokers).session_timeout, Duration::from_secs(45));
        assert_eq!(check_group_setting(&brokers, SESSION, "60000"), Ok(()));
        let refused = check_group_setting(&brokers, SESSION, "60001").unwrap_err();
        assert!(refused.ends_with("less than or equal to group.consumer.max.session.timeout.ms"), "{refused}");
        assert!(check_group_setting(&brokers, HEARTBEAT, "1").is_err());
    }
}
