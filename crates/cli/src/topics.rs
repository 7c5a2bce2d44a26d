//! `tidewater topics`.

use std::io::Write;
use std::path::Path;

use anyhow::bail;
use clap::Subcommand;
use serde_json::json;
use tidewater::Log;

use crate::{check_topic, with_log, with_new_log};

/// What can be done with topics.
#[derive(Subcommand)]
pub enum Topics {
    /// Lists all topics.
    List,
    /// Makes a topic. Example: tidewater topics create words --partitions 3 --config retention.ms=-1
    Create {
        /// Its name.
        topic: String,
        /// How many partitions it has.
        #[arg(long, default_value_t = 1)]
        partitions: i32,
        /// A setting by Kafka's name, as NAME=VALUE; may be repeated.
        #[arg(long = "config", value_name = "NAME=VALUE")]
        configs: Vec<String>,
    },
    /// Shows a topic's partitions with their first and last offsets. Example: tidewater topics describe words
    Describe {
        /// Its name.
        topic: String,
    },
    /// Deletes a topic with all its records.
    Delete {
        /// Its name.
        topic: String,
    },
}

pub fn run(command: Topics, data: &Path, json: bool) -> anyhow::Result<()> {
    match command {
        Topics::Create { topic, partitions, configs } => {
            with_new_log(data, |log| create(log, &topic, partitions, &configs))?;
            eprintln!("topic {topic} with {partitions} partitions made");
            Ok(())
        }
        Topics::List => with_log(data, |log| list(log, json)),
        Topics::Describe { topic } => with_log(data, |log| describe(log, &topic, json)),
        Topics::Delete { topic } => with_log(data, |log| {
            check_topic(log, &topic)?;
            Ok(log.delete_topic(&topic)?)
        }),
    }
}

fn create(log: &Log, topic: &str, partitions: i32, configs: &[String]) -> anyhow::Result<()> {
    let mut settings = Vec::new();
    for config in configs {
        let Some((name, value)) = config.split_once('=') else {
            bail!("--config {config:?} is not NAME=VALUE, such as retention.ms=-1");
        };
        settings.push((name, value));
    }
    if log.topics()?.contains_key(topic) {
        bail!("topic {topic} exists already; `tidewater topics describe {topic}` shows it");
    }
    Ok(log.create_topic_named(topic, partitions, &settings)?)
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
    let mut out = std::io::stdout().lock();
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
