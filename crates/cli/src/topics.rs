//! `tidewater topics`.

use std::io::Write;
use std::path::Path;

use anyhow::bail;
use clap::Subcommand;
use serde_json::json;
use tidewater::Log;

/// What can be done with topics.
#[derive(Subcommand)]
pub enum Topics {
    /// Lists all topics.
    List,
    /// Makes a topic.
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
    /// Shows a topic's partitions with their first and last offsets.
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
    let log = Log::open(data)?;
    let mut out = std::io::stdout().lock();
    match command {
        Topics::List => {
            for (name, partitions) in log.topics()? {
                if json {
                    writeln!(out, "{}", json!({"topic": name, "partitions": partitions}))?;
                } else {
                    writeln!(out, "{name}  {partitions} partitions")?;
                }
            }
        }
        Topics::Create { topic, partitions, configs } => {
            let mut settings = Vec::new();
            for config in &configs {
                let Some((name, value)) = config.split_once('=') else {
                    bail!("--config {config:?} is not NAME=VALUE, such as retention.ms=-1");
                };
                settings.push((name, value));
            }
            if log.topics()?.iter().any(|(name, _)| *name == topic) {
                bail!("topic {topic} exists already; `tidewater topics describe {topic}` shows it");
            }
            log.create_topic_named(&topic, partitions, &settings)?;
        }
        Topics::Describe { topic } => {
            let (starts, ends) = (log.start_offsets(&topic)?, log.end_offsets(&topic)?);
            for (partition, (start, end)) in starts.iter().zip(&ends).enumerate() {
                if json {
                    let line = json!({"topic": topic, "partition": partition, "start": start.0, "end": end.0});
                    writeln!(out, "{line}")?;
                } else {
                    writeln!(out, "{topic}-{partition}  offsets {start} to {end}")?;
                }
            }
        }
        Topics::Delete { topic } => log.delete_topic(&topic)?,
    }
    log.close()?;
    Ok(())
}
