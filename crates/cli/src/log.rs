//! `tidewater log dump` and `tidewater log verify`: segments on disk, without opening the log.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::json;
use tidewater::{UNPACK_LIMIT_BYTES, inspect_partition};

/// What can be seen in a partition's folder.
#[derive(Subcommand)]
pub enum LogCommand {
    /// Prints every batch, and with --records every record. Example: tidewater log dump tidewater-data/log/words-0 --records
    Dump(Dump),
    /// Checks every batch, and says how many there are. Example: tidewater log verify tidewater-data/log/words-0
    Verify {
        /// The partition's folder.
        folder: PathBuf,
    },
}

/// Prints a partition's batches.
#[derive(Args)]
pub struct Dump {
    /// The partition's folder.
    folder: PathBuf,
    /// Prints the records too.
    #[arg(long)]
    records: bool,
}

pub fn run(command: &LogCommand, json: bool) -> anyhow::Result<()> {
    match command {
        LogCommand::Dump(command) => dump(command, json),
        LogCommand::Verify { folder } => {
            let (mut batches, mut records, mut bytes) = (0u64, 0i64, 0u64);
            inspect_partition(folder, |found| {
                match found.batch {
                    Ok(batch) => {
                        batches += 1;
                        records += i64::from(batch.record_count());
                        bytes += batch.len() as u64;
                    }
                    Err(error) => bail!(
                        "{} is not whole from byte {} on: {error}. If it is the last segment, opening the log cuts it there; else restore the file from a copy",
                        found.segment.display(),
                        found.position
                    ),
                }
                Ok(())
            })?;
            check_found(batches, folder)?;
            let mut out = std::io::stdout().lock();
            if json {
                writeln!(out, "{}", json!({"batches": batches, "records": records, "bytes": bytes}))?;
            } else {
                writeln!(out, "{batches} batches with {records} records in {bytes} bytes: all whole")?;
            }
            Ok(())
        }
    }
}

fn dump(command: &Dump, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut batches = 0;
    inspect_partition(&command.folder, |found| {
        batches += 1;
        let segment = found.segment.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let batch = match found.batch {
            Ok(batch) => batch,
            Err(error) => bail!("{segment} is not whole from byte {} on: {error}", found.position),
        };
        let codec = batch.compression().map_or("?", |codec| codec.name());
        if json {
            let line = json!({
                "segment": segment, "position": found.position, "base_offset": batch.base_offset().0,
                "last_offset": batch.last_offset().0, "records": batch.record_count(), "bytes": batch.len(),
                "max_timestamp": batch.max_timestamp().0, "codec": codec, "control": batch.is_control(),
                "producer_id": batch.producer_id(), "leader_epoch": batch.leader_epoch(),
            });
            writeln!(out, "{line}")?;
        } else {
            writeln!(
                out,
                "{segment} at {}: offsets {} to {}, {} records, {} bytes, {codec}, max time {}{}",
                found.position,
                batch.base_offset(),
                batch.last_offset(),
                batch.record_count(),
                batch.len(),
                batch.max_timestamp(),
                if batch.is_control() { ", control" } else { "" },
            )?;
        }
        if command.records {
            for record in batch.records(UNPACK_LIMIT_BYTES)?.iter() {
                let record = record?;
                let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                let (key, value) = (text(record.key), text(record.value));
                if json {
                    let line =
                        json!({"offset": record.offset.0, "timestamp": record.timestamp.0, "key": key, "value": value});
                    writeln!(out, "{line}")?;
                } else {
                    let shown = |text: Option<String>| text.unwrap_or_else(|| "(null)".to_owned());
                    writeln!(out, "  {} at {}: {} = {}", record.offset, record.timestamp, shown(key), shown(value))?;
                }
            }
        }
        anyhow::Ok(())
    })?;
    check_found(batches, &command.folder)
}

/// A folder without a batch is empty, or not that of a partition.
fn check_found(batches: u64, folder: &Path) -> anyhow::Result<()> {
    let is_partition = folder.join("partition.metadata").exists();
    anyhow::ensure!(
        batches > 0 || is_partition,
        "{} is not the folder of a partition; those are DATA/log/TOPIC-NUMBER",
        folder.display()
    );
    Ok(())
}
