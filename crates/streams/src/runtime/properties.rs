//! Settings by Kafka Streams' names, as text: out of a properties file, the environment, or anywhere else.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tidewater_types::{nearest_name, property_lines};

use super::settings::{AppSettings, StateMemory};
use crate::task::handlers::{Decision, Handler};

/// A setting that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("setting {name}: {what}")]
pub struct SettingError {
    /// Its name.
    pub name: String,
    /// What is wrong, and what is allowed.
    pub what: String,
}

/// What an application acts on.
const WITH_EFFECT: [&str; 13] = [
    "application.id",
    "commit.interval.ms",
    "default.deserialization.exception.handler",
    "default.production.exception.handler",
    "deserialization.exception.handler",
    "errors.dead.letter.queue.topic.name",
    "num.stream.threads",
    "processing.exception.handler",
    "processing.guarantee",
    "production.exception.handler",
    "repartition.purge.interval.ms",
    "state.dir",
    "statestore.cache.max.bytes",
];

const NO_CLUSTER: &str = "the log is in this process";
const IN_THE_PROGRAM: &str = "the program's types and its topology say it";
const NOT_BUILT: &str = "it is not built";

/// What Kafka Streams 4.3 knows besides, and why it has no effect here.
const WITHOUT_EFFECT: [(&str, &str); 62] = [
    ("acceptable.recovery.lag", NO_CLUSTER),
    ("allow.os.group.write.access", NOT_BUILT),
    ("application.server", NO_CLUSTER),
    ("bootstrap.servers", NO_CLUSTER),
    ("buffered.records.per.partition", NOT_BUILT),
    ("built.in.metrics.version", NOT_BUILT),
    ("cache.max.bytes.buffering", "statestore.cache.max.bytes has taken its place"),
    ("client.id", NO_CLUSTER),
    ("config.providers", NOT_BUILT),
    ("connections.max.idle.ms", NO_CLUSTER),
    ("default.client.supplier", NO_CLUSTER),
    ("default.dsl.store", IN_THE_PROGRAM),
    ("default.key.serde", IN_THE_PROGRAM),
    ("default.list.key.serde.inner", IN_THE_PROGRAM),
    ("default.list.key.serde.type", IN_THE_PROGRAM),
    ("default.list.value.serde.inner", IN_THE_PROGRAM),
    ("default.list.value.serde.type", IN_THE_PROGRAM),
    ("default.timestamp.extractor", "BuildSettings::default_timestamps says it"),
    ("default.value.serde", IN_THE_PROGRAM),
    ("dsl.store.format", "BuildSettings::keep_headers says it"),
    ("dsl.store.suppliers.class", IN_THE_PROGRAM),
    ("enable.metrics.push", NO_CLUSTER),
    ("ensure.explicit.internal.resource.naming", "BuildSettings::require_names says it"),
    ("group.protocol", NO_CLUSTER),
    ("log.summary.interval.ms", NOT_BUILT),
    ("max.task.idle.ms", NOT_BUILT),
    ("max.warmup.replicas", NO_CLUSTER),
    ("metadata.max.age.ms", NO_CLUSTER),
    ("metadata.recovery.rebootstrap.trigger.ms", NO_CLUSTER),
    ("metadata.recovery.strategy", NO_CLUSTER),
    ("metric.reporters", NOT_BUILT),
    ("metrics.num.samples", NOT_BUILT),
    ("metrics.recording.level", NOT_BUILT),
    ("metrics.sample.window.ms", NOT_BUILT),
    ("num.standby.replicas", NO_CLUSTER),
    ("poll.ms", NO_CLUSTER),
    ("probing.rebalance.interval.ms", NO_CLUSTER),
    ("processor.wrapper.class", NOT_BUILT),
    ("rack.aware.assignment.non_overlap_cost", NO_CLUSTER),
    ("rack.aware.assignment.strategy", NO_CLUSTER),
    ("rack.aware.assignment.tags", NO_CLUSTER),
    ("rack.aware.assignment.traffic_cost", NO_CLUSTER),
    ("receive.buffer.bytes", NO_CLUSTER),
    ("reconnect.backoff.max.ms", NO_CLUSTER),
    ("reconnect.backoff.ms", NO_CLUSTER),
    ("replication.factor", NO_CLUSTER),
    ("request.timeout.ms", NO_CLUSTER),
    ("retry.backoff.max.ms", NO_CLUSTER),
    ("retry.backoff.ms", NO_CLUSTER),
    ("rocksdb.config.setter", "one setting, the memory of all stores, takes its place"),
    ("security.protocol", NO_CLUSTER),
    ("send.buffer.bytes", NO_CLUSTER),
    ("state.cleanup.delay.ms", NOT_BUILT),
    ("task.assignor.class", NO_CLUSTER),
    ("task.timeout.ms", NO_CLUSTER),
    ("topology.optimization", IN_THE_PROGRAM),
    ("upgrade.from", NO_CLUSTER),
    ("window.size.ms", IN_THE_PROGRAM),
    ("windowed.inner.class.serde", IN_THE_PROGRAM),
    ("windowstore.changelog.additional.retention.ms", IN_THE_PROGRAM),
    ("processing.exception.handler.global.enabled", NOT_BUILT),
    ("state.cleanup.dir.max.age.ms", NOT_BUILT),
];

/// What Kafka Streams hands on to its clients: settings of these names, and those with these beginnings.
const OF_CLIENTS: [&str; 54] = [
    "acks",
    "allow.auto.create.topics",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "batch.size",
    "bootstrap.controllers",
    "buffer.memory",
    "check.crcs",
    "client.dns.lookup",
    "client.rack",
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.type",
    "compression.zstd.level",
    "default.api.timeout.ms",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.idempotence",
    "exclude.internal.topics",
    "fetch.max.bytes",
    "fetch.max.wait.ms",
    "fetch.min.bytes",
    "group.id",
    "group.instance.id",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "interceptor.classes",
    "isolation.level",
    "key.deserializer",
    "key.serializer",
    "linger.ms",
    "max.block.ms",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "max.poll.records",
    "max.request.size",
    "metadata.max.idle.ms",
    "partition.assignment.strategy",
    "partitioner.adaptive.partitioning.enable",
    "partitioner.availability.timeout.ms",
    "partitioner.class",
    "partitioner.ignore.keys",
    "retries",
    "security.providers",
    "session.timeout.ms",
    "share.acknowledgement.mode",
    "share.acquire.mode",
    "socket.connection.setup.timeout.max.ms",
    "socket.connection.setup.timeout.ms",
    "transaction.timeout.ms",
    "transaction.two.phase.commit.enable",
    "transactional.id",
    "value.deserializer",
    "value.serializer",
];
const CLIENT_PREFIXES: [&str; 7] =
    ["main.consumer.", "restore.consumer.", "global.consumer.", "consumer.", "producer.", "admin.", "topic."];

/// Memory of all persistent stores together; Kafka Streams has no setting for it.
const STATE_MEMORY: &str = "state.memory.max.bytes";
/// A task with more uncommitted state commits early; neither has it one for that (KIP-892 proposes this name).
const UNCOMMITTED: &str = "statestore.uncommitted.max.bytes";

impl AppSettings {
    /// Takes a setting by Kafka Streams' name. One that Kafka Streams knows and that has no effect here gives a warning.
    ///
    /// # Errors
    /// When neither knows the name, or the value is not allowed.
    ///
    /// ```
    /// let mut settings = tidewater_streams::AppSettings::new("news");
    /// settings.set("num.stream.threads", "4")?;
    /// assert_eq!(settings.threads, 4);
    /// let error = settings.set("num.stream.treads", "4").unwrap_err();
    /// assert_eq!(error.to_string(), "setting num.stream.treads: is unknown; did you mean num.stream.threads?");
    /// # Ok::<(), tidewater_streams::SettingError>(())
    /// ```
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let value = value.trim();
        let bad = |what: String| SettingError { name: name.to_owned(), what };
        match name {
            "application.id" if value.is_empty() => {
                return Err(bad("is empty; give the application a name".to_owned()));
            }
            "application.id" => value.clone_into(&mut self.application_id),
            "num.stream.threads" => self.threads = at_least(name, value, 1)?,
            "commit.interval.ms" => self.commit_interval = Duration::from_millis(at_least(name, value, 0)?),
            "repartition.purge.interval.ms" => {
                self.purge_interval = Duration::from_millis(at_least(name, value, 0)?);
            }
            "statestore.cache.max.bytes" => self.cache_bytes = at_least(name, value, 0)?,
            UNCOMMITTED => self.uncommitted_bytes = at_least(name, value, 1)?,
            "state.dir" => self.state_folder = Some(value.into()),
            STATE_MEMORY => self.state_memory = StateMemory::new(at_least(name, value, 1)?),
            "deserialization.exception.handler" | "default.deserialization.exception.handler" => {
                self.handlers.deserialization = handler(name, value)?
            }
            "processing.exception.handler" => self.handlers.processing = handler(name, value)?,
            "production.exception.handler" | "default.production.exception.handler" => {
                self.handlers.production = handler(name, value)?
            }
            "errors.dead.letter.queue.topic.name" => {
                self.handlers.dead_letters = (!value.is_empty()).then(|| value.into());
            }
            "processing.guarantee" if value == "at_least_once" => {}
            "processing.guarantee" => return Err(bad(format!("{value:?} is not built; at_least_once is"))),
            _ => match WITHOUT_EFFECT.iter().find(|(known, _)| *known == name) {
                Some((_, reason)) => tracing::warn!(setting = name, reason, "has no effect"),
                None if OF_CLIENTS.contains(&name) || CLIENT_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) => {
                    tracing::warn!(setting = name, reason = NO_CLUSTER, "has no effect");
                }
                None => {
                    let known = WITH_EFFECT
                        .into_iter()
                        .chain(WITHOUT_EFFECT.map(|(name, _)| name))
                        .chain([STATE_MEMORY, UNCOMMITTED]);
                    let nearest = nearest_name(name, known).unwrap_or_default();
                    return Err(bad(format!("is unknown; did you mean {nearest}?")));
                }
            },
        }
        Ok(())
    }

    /// Takes the settings of a properties file: `name=value` a line; `#` and `!` begin comments.
    ///
    /// # Errors
    /// When a line is neither, or [`AppSettings::set`] refuses it.
    pub fn set_properties(&mut self, text: &str) -> Result<(), SettingError> {
        for line in property_lines(text) {
            let (name, value) = line.map_err(|wrong| {
                let what = format!("line {} cannot be read: {:?}", wrong.number, wrong.line);
                SettingError { name: wrong.line, what }
            })?;
            self.set(&name, &value)?;
        }
        Ok(())
    }
}

fn at_least<T: FromStr + PartialOrd + std::fmt::Display>(name: &str, value: &str, least: T) -> Result<T, SettingError> {
    let number = value.parse::<T>().ok().filter(|number| *number >= least);
    number.ok_or_else(|| SettingError {
        name: name.to_owned(),
        what: format!("{value:?} is not a number of at least {least}"),
    })
}

/// Kafka's own handlers, by the ends of their classes' names.
fn handler(name: &str, class: &str) -> Result<Handler, SettingError> {
    let short = class.rsplit('.').next().unwrap_or(class);
    let decision = match short {
        "LogAndContinueExceptionHandler" | "LogAndContinueProcessingExceptionHandler" => Decision::Skip,
        "LogAndFailExceptionHandler" | "LogAndFailProcessingExceptionHandler" | "DefaultProductionExceptionHandler" => {
            Decision::Fail
        }
        _ => {
            let what = format!(
                "{class:?} is none of Kafka's handlers (LogAndContinueExceptionHandler, LogAndFailExceptionHandler, ..); give one of your own in the program"
            );
            return Err(SettingError { name: name.to_owned(), what });
        }
    };
    Ok(Arc::new(move |error| {
        if decision == Decision::Skip {
            tracing::warn!(%error, "a record is skipped");
        }
        decision
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_properties_file_is_taken_line_by_line() {
        let mut settings = AppSettings::new("x");
        let text = "# ours\napplication.id=news\n\ncommit.interval.ms : 250\nnum.standby.replicas=1\n\
                    deserialization.exception.handler=org.apache.kafka.streams.errors.LogAndContinueExceptionHandler\n";
        settings.set_properties(text).unwrap();
        assert_eq!((settings.application_id.as_str(), settings.commit_interval.as_millis()), ("news", 250));
        let error = crate::TaskError::new(crate::FailureKind::Deserialization, "bad");
        assert_eq!((settings.handlers.deserialization)(&error), Decision::Skip);
        assert_eq!((settings.handlers.production)(&error), Decision::Fail);
    }

    #[test]
    fn what_cannot_be_taken_is_named() {
        let refuse = |name, value| AppSettings::new("x").set(name, value).unwrap_err().to_string();
        assert_eq!(
            refuse("num.stream.threads", "0"),
            "setting num.stream.threads: \"0\" is not a number of at least 1"
        );
        assert!(refuse("processing.guarantee", "exactly_once_v2").contains("at_least_once"));
        assert!(refuse("processing.exception.handler", "com.example.Mine").contains("in the program"));
        assert!(AppSettings::new("x").set_properties("a=\\u12").unwrap_err().to_string().contains("line 1"));
    }

    #[test]
    fn every_name_stands_once() {
        let known = WITH_EFFECT.into_iter().chain(WITHOUT_EFFECT.map(|(name, _)| name)).chain(OF_CLIENTS);
        let mut names: Vec<_> = known.chain([STATE_MEMORY, UNCOMMITTED]).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn what_is_taken_has_its_effect() {
        let set = |name: &str, value: &str| {
            let mut settings = AppSettings::new("x");
            settings.set(name, value).unwrap();
            settings
        };
        assert_eq!(set("application.id", "news").application_id, "news");
        assert_eq!(set("commit.interval.ms", "7").commit_interval, Duration::from_millis(7));
        assert_eq!(set("repartition.purge.interval.ms", "9").purge_interval, Duration::from_millis(9));
        assert_eq!(set("num.stream.threads", "3").threads, 3);
        assert_eq!(set("statestore.cache.max.bytes", "0").cache_bytes, 0);
        assert_eq!(set(UNCOMMITTED, "5").uncommitted_bytes, 5);
        assert_eq!(set("state.dir", "/tmp/s").state_folder.unwrap().to_str(), Some("/tmp/s"));
        assert_eq!(set(STATE_MEMORY, "3000").state_memory.row_bytes, 1500);
        assert_eq!(set("errors.dead.letter.queue.topic.name", "dead").handlers.dead_letters.as_deref(), Some("dead"));
        set("processing.guarantee", "at_least_once");
        let (error, skip) =
            (crate::TaskError::new(crate::FailureKind::Processing, "bad"), "x.LogAndContinueExceptionHandler");
        let decide = |name| set(name, skip).handlers;
        assert_eq!((decide("processing.exception.handler").processing)(&error), Decision::Skip);
        assert_eq!((decide("production.exception.handler").production)(&error), Decision::Skip);
        assert_eq!((decide("default.production.exception.handler").production)(&error), Decision::Skip);
        assert_eq!((decide("deserialization.exception.handler").deserialization)(&error), Decision::Skip);
        assert_eq!((decide("default.deserialization.exception.handler").deserialization)(&error), Decision::Skip);
        for name in ["auto.offset.reset", "consumer.max.poll.records", "topic.retention.ms", "poll.ms"] {
            set(name, "known, and without effect");
        }
    }
}
