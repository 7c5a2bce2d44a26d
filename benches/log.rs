//! What the log costs through its door: CPU a record to append ready batches and to fetch and decode them, and the speed of the
//! recovery scan after a close that was not clean.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use tidewater::prelude::*;
use tidewater_broker::{Broker, BrokerSettings};
use tidewater_client::{Admin, Consumer, NativeClient, Producer};
use tidewater_protocol::{Batch, BatchBuilder, Compression, UNPACK_LIMIT_BYTES};
use tidewater_types::{Offset, TopicPartition};

use crate::cpu_seconds;

const RECORD_BYTES: usize = 100;
const BATCH_BYTES: usize = 64 << 10;
const BATCHES: usize = 10_000;
const FETCH_BYTES: usize = 1 << 20;

/// What one pass took.
struct Pass {
    append_us: f64,
    fetch_us: f64,
    recovered_gb_s: f64,
}

/// Measures so many passes, after one that does not count, and prints the medians.
pub fn measure(passes: usize) -> anyhow::Result<()> {
    let mut results = Vec::new();
    for pass in 0..=passes {
        let result = one_pass()?;
        if pass > 0 {
            results.push(result);
        }
    }
    let median = |figure: fn(&Pass) -> f64| {
        let mut figures: Vec<f64> = results.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied().unwrap_or_default()
    };
    println!("records of {RECORD_BYTES} B in batches of 64 KiB, one partition, medians of {passes} passes");
    println!("append through the door, CRC checked   {:.3} us CPU a record", median(|pass| pass.append_us));
    println!("fetch through the door, decoded        {:.3} us CPU a record", median(|pass| pass.fetch_us));
    println!("recovery scan                          {:.2} GB/s", median(|pass| pass.recovered_gb_s));
    Ok(())
}

fn one_pass() -> anyhow::Result<Pass> {
    let folder = tempfile::tempdir()?;
    let place = TopicPartition::new("log", 0);
    let (batch, records_a_batch) = batch()?;
    let records = (BATCHES * records_a_batch) as f64;

    let broker = Arc::new(Broker::open(folder.path(), BrokerSettings::default())?);
    let client = NativeClient::new(broker.clone(), "");
    client.create_topic(&place.topic, 1, &[("retention.ms".to_owned(), "-1".to_owned())].into())?;
    let cpu = cpu_seconds();
    for _ in 0..BATCHES {
        client.send(&place, batch.clone())?;
    }
    let append_us = (cpu_seconds() - cpu) / records * 1e6;

    let cpu = cpu_seconds();
    let (mut position, mut read, mut bytes) = (Offset::ZERO, 0usize, 0usize);
    let end = client.latest(&place)?;
    while position < end {
        let mut chunk = client.fetch(&place, position, FETCH_BYTES)?.records;
        while !chunk.is_empty() {
            let batch = Batch::parse(&chunk)?;
            batch.check_crc()?;
            for record in batch.records(UNPACK_LIMIT_BYTES)?.iter() {
                bytes += record?.value.map_or(0, <[u8]>::len);
                read += 1;
            }
            position = batch.next_offset();
            chunk = chunk.slice(batch.len()..);
        }
    }
    let fetch_us = (cpu_seconds() - cpu) / records * 1e6;
    anyhow::ensure!(read == BATCHES * records_a_batch && bytes == read * RECORD_BYTES, "{read} records were read");

    // Dropped, not closed: what a killed process leaves.
    drop(client);
    drop(broker);
    let size = folder_bytes(&folder.path().join("log-0"))?;
    let started = Instant::now();
    let broker = Arc::new(Broker::open(folder.path(), BrokerSettings::default())?);
    let seconds = started.elapsed().as_secs_f64();
    let found = NativeClient::new(broker, "").latest(&place)?;
    anyhow::ensure!(found == end, "recovered up to {found}, not {end}");
    Ok(Pass { append_us, fetch_us, recovered_gb_s: size as f64 / seconds / 1e9 })
}

/// A ready batch, and how many records it has.
fn batch() -> anyhow::Result<(bytes::Bytes, usize)> {
    let mut builder = BatchBuilder::new(Compression::None);
    let value = [b'v'; RECORD_BYTES];
    while builder.size() < BATCH_BYTES - 2 * RECORD_BYTES {
        builder.push(Timestamp(1_700_000_000_000), None, Some(&value), &Headers::EMPTY);
    }
    let records = builder.count();
    Ok((builder.finish()?, records))
}

fn folder_bytes(folder: &Path) -> anyhow::Result<u64> {
    let mut size = 0;
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            size += path.metadata()?.len();
        }
    }
    Ok(size)
}
