//! `tidewater produce` and `tidewater consume`.

use std::io::{BufRead, Write};
use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;
use clap::Args;
use serde_json::json;
use tidewater::{Record, Timestamp, Topic};

use crate::{check_topic, with_log};

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

/// Prints a topic's records: from the beginning, or where a group has come to.
#[derive(Args)]
pub struct Consume {
    /// The topic.
    topic: String,
    /// From the first record on, wherever the group has come to. Without a group it always begins there.
    #[arg(long)]
    from_beginning: bool,
    /// Goes on where this group has come to, and commits what was printed.
    #[arg(long)]
    group: Option<String>,
    /// Ends after this many records.
    #[arg(long)]
    count: Option<usize>,
}

type Raw = Topic<Option<Bytes>, Option<Bytes>>;

pub fn produce(command: &Produce, data: &Path, json: bool) -> anyhow::Result<()> {
    let sent = with_log(data, |log| {
        check_topic(log, &command.topic)?;
        let topic = Raw::named(command.topic.clone());
        let (mut waiting, mut sent) = (Vec::new(), 0);
        for line in std::io::stdin().lock().split(b'\n') {
            let (key, value) = key_and_value(Bytes::from(line?), command.key_separator.as_deref());
            waiting.push(Record::new(key, Some(value), log.now()));
            if waiting.len() >= LINES_AT_ONCE {
                sent += log.send(&topic, std::mem::take(&mut waiting))?;
            }
        }
        Ok(sent + log.send(&topic, waiting)?)
    })?;
    if json {
        writeln!(std::io::stdout(), "{}", json!({"topic": command.topic, "records": sent}))?;
    } else {
        eprintln!("{sent} records written to {}", command.topic);
    }
    Ok(())
}

/// The parts of a line before and behind the separator; all of it is the value if there is none.
fn key_and_value(line: Bytes, separator: Option<&str>) -> (Option<Bytes>, Bytes) {
    let Some(separator) = separator.map(str::as_bytes).filter(|separator| !separator.is_empty()) else {
        return (None, line);
    };
    match line.windows(separator.len()).position(|part| part == separator) {
        Some(at) => (Some(line.slice(..at)), line.slice(at + separator.len()..)),
        None => (None, line),
    }
}

pub fn consume(command: &Consume, data: &Path, json: bool) -> anyhow::Result<()> {
    with_log(data, |log| {
        check_topic(log, &command.topic)?;
        let topic = Raw::named(command.topic.clone());
        let mut out = std::io::stdout().lock();
        let mut positions = log.start_offsets(&command.topic)?;
        if let Some(group) = command.group.as_ref().filter(|_| !command.from_beginning) {
            let committed = log.committed(group, &command.topic)?;
            positions = positions.into_iter().zip(committed).map(|(start, at)| at.unwrap_or(start)).collect();
        }
        let mut left = command.count.unwrap_or(usize::MAX);
        let mut result = Ok(());
        log.visit_from(&topic, &positions.clone(), |partition, offset, record| {
            if left > 0 {
                left -= 1;
                result = print(&mut out, &command.topic, (partition, offset.0), &record, json);
                if result.is_ok() {
                    positions[partition as usize] = offset.next();
                }
            }
            if left == 0 || result.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        result.and_then(|()| out.flush())?;
        // What was not printed whole is printed again.
        if let Some(group) = &command.group {
            log.commit(group, &command.topic, &positions)?;
        }
        Ok(())
    })
}

fn print(
    out: &mut impl Write,
    topic: &str,
    (partition, offset): (i32, i64),
    record: &Record<Option<Bytes>, Option<Bytes>>,
    json: bool,
) -> std::io::Result<()> {
    let text = |bytes: &Option<Bytes>| bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let Timestamp(timestamp) = record.timestamp;
    let (key, value) = (text(&record.key), text(&record.value));
    if json {
        let headers: Vec<_> = record.headers.iter().map(|header| json!([&*header.name, text(&header.value)])).collect();
        let line = json!({
            "topic": topic, "partition": partition, "offset": offset, "timestamp": timestamp,
            "key": key, "value": value, "headers": headers,
        });
        writeln!(out, "{line}")
    } else {
        let key = key.map(|key| key + "\t").unwrap_or_default();
        writeln!(out, "{key}{}", value.unwrap_or_else(|| "(null)".to_owned()))
    }
}
