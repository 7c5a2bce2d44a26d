//! `tidewater topics`.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::json;
use tidewater::Log;

use crate::{check_topic, with_log, with_new_log};

/// What can be done with topics.
#[derive(Subcommand)]
pub enum Topics {
    /// Lists all topics. Example: tidewater topics list --json
    List,
    /// Makes a topic. Example: tidewater topics create words --partitions 3 --config retention.ms=-1
    Create {
        /// Its name.
        topic: String,
        /// How many partitions it has.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..))]
        partitions: i32,
        /// A setting by Kafka's name, as NAME=VALUE; may be repeated.
        #[arg(long = "config", value_name = "NAME=VALUE")]
        configs: Vec<String>,
    },
    /// Shows a topic's settings, and its partitions with their first and last offsets. Example: tidewater topics describe words
    Describe {
        /// Its name.
        topic: String,
    },
    /// Changes a topic's settings, or gives it more partitions. Example: tidewater topics alter words --config retention.ms=-1
    Alter {
        /// Its name.
        topic: String,
        /// A setting by Kafka's name, as NAME=VALUE; may be repeated.
        #[arg(long = "config", value_name = "NAME=VALUE")]
        configs: Vec<String>,
        /// A setting that goes back to its default; may be repeated.
        #[arg(long = "delete-config", value_name = "NAME")]
        delete_configs: Vec<String>,
        /// How many partitions it shall have. Records stay where they are.
        #[arg(long)]
        partitions: Option<i32>,
    },
    /// Deletes a topic with all its records, and what groups have committed for it. Example: tidewater topics delete words
    Delete {
        /// Its name.
        topic: String,
    },
}

pub fn run(command: Topics, data: &Path, json: bool) -> anyhow::Result<()> {
    match command {
        Topics::Create { topic, partitions, configs } => {
            with_new_log(data, |log| create(log, &topic, partitions, &configs))?;
            say(
                json,
                &json!({"topic": topic, "partitions": partitions}),
                &format!("topic {topic} with {partitions} partitions made"),
            )
        }
        Topics::List => with_log(data, |log| list(log, json)),
        Topics::Describe { topic } => with_log(data, |log| describe(log, &topic, json)),
        Topics::Alter { topic, configs, delete_configs, partitions } => {
            with_log(data, |log| alter(log, &topic, &configs, &delete_configs, partitions))?;
            say(json, &json!({"topic": topic}), &format!("topic {topic} changed"))
        }
        Topics::Delete { topic } => {
            with_log(data, |log| {
                check_topic(log, &topic)?;
                Ok(log.delete_topic(&topic)?)
            })?;
            say(json, &json!({"topic": topic}), &format!("topic {topic} deleted"))
        }
    }
}

fn create(log: &Log, topic: &str, partitions: i32, configs: &[String]) -> anyhow::Result<()> {
    let settings = name_and_value(configs)?;
    if log.topics()?.contains_key(topic) {
        bail!("topic {topic} exists already; `tidewater topics describe {topic}` shows it");
    }
    Ok(log.create_topic_named(topic, partitions, &settings)?)
}

/// What was done: a line of JSON for programs, else a line for people beside the output.
fn say(json: bool, line: &serde_json::Value, words: &str) -> anyhow::Result<()> {
    if json {
        writeln!(std::io::stdout(), "{line}")?;
    } else {
        eprintln!("{words}");
    }
    Ok(())
}

fn name_and_value(configs: &[String]) -> anyhow::Result<Vec<(&str, &str)>> {
    let split = configs.iter().map(|config| {
        config
            .split_once('=')
            .with_context(|| format!("--config {config:?} is not NAME=VALUE, such as retention.ms=-1"))
    });
    split.collect()
}

fn alter(
    log: &Log,
    topic: &str,
    configs: &[String],
    delete_configs: &[String],
    partitions: Option<i32>,
) -> anyhow::Result<()> {
    check_topic(log, topic)?;
    let set = name_and_value(configs)?.into_iter().map(|(name, value)| (name, Some(value)));
    let changes: Vec<_> = set.chain(delete_configs.iter().map(|name| (name.as_str(), None))).collect();
    anyhow::ensure!(
        !changes.is_empty() || partitions.is_some(),
        "nothing to change; give --config NAME=VALUE, --delete-config NAME or --partitions N"
    );
    if !changes.is_empty() {
        log.alter_topic(topic, &changes)?;
    }
    if let Some(count) = partitions {
        log.add_partitions(topic, count)?;
    }
    Ok(())
}

fn list(log: &Log, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for (name, partitions) in log.topics()? {
        if json {
            writeln!(out, "{}", json!({"topic": name, "partitions": partitions}))?;
        } else {
            writeln!(out, "{name}  {partitions} partitions")?;
        }
    }
    Ok(())
}

fn describe(log: &Log, topic: &str, json: bool) -> anyhow::Result<()> {
    check_topic(log, topic)?;
    let (starts, ends) = (log.start_offsets(topic)?, log.end_offsets(topic)?);
    let settings = log.topic_settings(topic)?;
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", json!({"topic": topic, "partitions": starts.len(), "settings": settings}))?;
    }
    for (name, value) in settings.iter().filter(|_| !json) {
        writeln!(out, "{name}={value}")?;
    }
    for (partition, (start, end)) in starts.iter().zip(&ends).enumerate() {
        if json {
            let line = json!({"topic": topic, "partition": partition, "start": start.0, "end": end.0});
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "{topic}-{partition}  offsets {start} to {end}")?;
        }
    }
    Ok(())
}
