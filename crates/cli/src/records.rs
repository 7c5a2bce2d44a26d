//! `tidewater produce` and `tidewater consume`.

use std::io::{BufRead, Write};
use std::path::Path;

use bytes::Bytes;
use clap::Args;
use serde_json::json;
use tidewater::{Log, Record, Timestamp, Topic};

/// Lines that are gathered before they are written to the log.
const LINES_AT_ONCE: usize = 10_000;

/// Writes lines of the standard input to a topic.
#[derive(Args)]
pub struct Produce {
    /// The topic; it must exist.
    topic: String,
    /// What stands between key and value of a line; without it lines have no keys.
    #[arg(short = 'K', long, value_name = "SEPARATOR")]
    key_separator: Option<String>,
}

/// Prints a topic's records from the beginning.
#[derive(Args)]
pub struct Consume {
    /// The topic.
    topic: String,
    /// Ends after this many records.
    #[arg(long)]
    count: Option<usize>,
}

type Raw = Topic<Option<Bytes>, Option<Bytes>>;

pub fn produce(command: &Produce, data: &Path) -> anyhow::Result<()> {
    let log = Log::open(data)?;
    let topic = Raw::named(command.topic.clone());
    let (mut waiting, mut sent) = (Vec::new(), 0);
    for line in std::io::stdin().lock().split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        let (key, value) = match command.key_separator.as_ref().and_then(|separator| line.split_once(separator)) {
            Some((key, value)) => (Some(Bytes::from(key.to_owned())), value.to_owned()),
            None => (None, line),
        };
        waiting.push(Record::new(key, Some(Bytes::from(value)), log.now()));
        if waiting.len() >= LINES_AT_ONCE {
            sent += log.send(&topic, std::mem::take(&mut waiting))?;
        }
    }
    sent += log.send(&topic, waiting)?;
    log.close()?;
    eprintln!("{sent} records written to {}", command.topic);
    Ok(())
}

pub fn consume(command: &Consume, data: &Path, json: bool) -> anyhow::Result<()> {
    let log = Log::open(data)?;
    let topic = Raw::named(command.topic.clone());
    let mut out = std::io::stdout().lock();
    let mut left = command.count.unwrap_or(usize::MAX);
    let text = |bytes: &Option<Bytes>| bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    for (partition, offset, record) in log.records(&topic)? {
        if left == 0 {
            break;
        }
        left -= 1;
        let Timestamp(timestamp) = record.timestamp;
        let (key, value) = (text(&record.key), text(&record.value));
        if json {
            let headers: Vec<_> =
                record.headers.iter().map(|header| json!([&*header.name, text(&header.value)])).collect();
            let line = json!({
                "topic": command.topic, "partition": partition, "offset": offset.0, "timestamp": timestamp,
                "key": key, "value": value, "headers": headers,
            });
            writeln!(out, "{line}")?;
        } else {
            let key = key.map(|key| key + "\t").unwrap_or_default();
            writeln!(out, "{key}{}", value.unwrap_or_else(|| "(null)".to_owned()))?;
        }
    }
    log.close()?;
    Ok(())
}
