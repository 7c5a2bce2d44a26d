//! Kappa: another version of the pipeline reads the same topics from offset 0, beside the version that runs.

use std::collections::BTreeSet;
use std::path::Path;

use tidewater::prelude::*;

use super::article::{FRESH, REPEATS};
use super::input::Corpus;
use super::load::{create_topics, load};
use super::progress::Progress;
use super::readers::readers;
use super::topology::{V1, V2, Version};
use super::{Options, start};

/// The part of the corpus that comes while the second version catches up.
const STILL_TO_COME: usize = 10;
/// Items that come at once.
const STEP: usize = 50;
/// Differences that are shown.
const SHOWN: usize = 5;

/// Runs version 1, reprocesses with version 2 beside it, and compares what they wrote.
pub async fn reprocess(log: &Log, folder: &Path, corpus: &Corpus, options: &Options) -> anyhow::Result<()> {
    let readers = readers(&corpus.items);
    create_topics(log, &V1)?;
    create_topics(log, &V2)?;
    let mut sent = corpus.items.len() - corpus.items.len() / STILL_TO_COME;
    load(log, corpus, &readers, sent)?;
    let first = start("news", &V1, log, options).await?;
    Progress::new("version 1", &folder.join("state/news")).wait_until_caught_up(&first)?;

    println!("version 1 has caught up with {sent} articles; version 2 begins at offset 0 under its own application id");
    let (before, mut behind) = (first.processed(), 0);
    let second = start("news-v2", &V2, log, options).await?;
    let mut progress = Progress::new("version 2", &folder.join("state/news-v2"));
    loop {
        let lag = progress.look(&second)?;
        behind = behind.max(first.lag()?);
        anyhow::ensure!(
            !first.has_failed() && !second.has_failed(),
            "{:?} {:?}",
            first.stop().await,
            second.stop().await
        );
        if lag == 0 && sent == corpus.items.len() {
            break;
        }
        sent = (sent + STEP).min(corpus.items.len());
        load(log, corpus, &readers, sent)?;
        std::thread::park_timeout(ms(20));
    }
    progress.wait_until_caught_up(&second)?;
    Progress::new("version 1", &folder.join("state/news")).wait_until_caught_up(&first)?;
    println!(
        "version 1 went on meanwhile: {} more records, at most {behind} behind, {} articles in all",
        first.processed() - before,
        sent
    );
    first.stop().await?;
    second.stop().await?;
    compare(log)
}

/// What both versions let through, and what one alone did, by id.
fn compare(log: &Log) -> anyhow::Result<()> {
    let fresh = |version: &Version| -> anyhow::Result<BTreeSet<String>> {
        Ok(log.read(&version.topic(&FRESH), 0)?.into_iter().map(|record| record.key).collect())
    };
    let (one, two) = (fresh(&V1)?, fresh(&V2)?);
    let both = one.intersection(&two).count();
    let (only_one, only_two) = (one.len() - both, two.len() - both);
    println!("\nfresh in both {both}, in version 1 alone {only_one}, in version 2 alone {only_two}");
    let repeats = log.read(&V2.topic(&REPEATS), 0)?;
    let changed = repeats.iter().filter(|record| one.contains(&record.key)).take(SHOWN);
    for record in changed {
        let of: Vec<String> = record.value.of.iter().map(|(id, alike)| format!("{id} ({alike:.2})")).collect();
        println!("  {} is a repeat in version 2, of {}", record.key, of.join(", "));
    }
    Ok(())
}
