//! Brings a corpus into the log: items and what is read of them. Begun again after a kill, it goes on where the log ends.

use tidewater::prelude::*;

use super::article::{ARTICLES, DEAD_LETTERS, FRESH, Item, READS, RECOMMENDATIONS, REPEATS, TRENDS};
use super::input::Corpus;
use super::readers::{Reader, reads};
use super::topology::{PARTITIONS, Version};

/// Items that are sent at once.
const CHUNK: usize = 500;

/// Makes the topics that a version of the pipeline reads and writes.
pub fn create_topics(log: &Log, version: &Version) -> anyhow::Result<()> {
    // One partition keeps the order of the source.
    log.create_topic(&ARTICLES, 1)?;
    log.create_topic(&READS, 1)?;
    log.create_topic(&DEAD_LETTERS, 1)?;
    let partitions = PARTITIONS as i32;
    log.create_topic(&version.topic(&FRESH), partitions)?;
    log.create_topic(&version.topic(&REPEATS), partitions)?;
    log.create_topic(&version.topic(&TRENDS), partitions)?;
    log.create_topic(&version.topic(&RECOMMENDATIONS), partitions)?;
    Ok(())
}

/// Sends the items up to `end`, as far as they are not in the log.
pub fn load(log: &Log, corpus: &Corpus, readers: &[Reader], end: usize) -> anyhow::Result<()> {
    let sent = |topic: &str| -> anyhow::Result<usize> {
        Ok(log.end_offsets(topic)?.iter().map(|offset| offset.0 as usize).sum())
    };
    let (items_sent, mut reads_sent) = (sent(ARTICLES.name())?, sent(READS.name())?);
    for (chunk, items) in corpus.items[..end].chunks(CHUNK).enumerate() {
        let first = chunk * CHUNK;
        let record = |(at, item): &(i64, Item)| Record::new(item.id.clone(), item.clone(), *at);
        log.send(&ARTICLES, items.iter().skip(items_sent.saturating_sub(first)).map(record))?;
        let reads = items.iter().enumerate().flat_map(|(n, (at, item))| reads(readers, first + n, *at, item));
        let reads: Vec<_> = reads.collect();
        let known = reads_sent.min(reads.len());
        reads_sent -= known;
        log.send(&READS, reads.into_iter().skip(known))?;
    }
    Ok(())
}
