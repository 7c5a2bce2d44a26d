//! Counts words: reads lines, splits them, counts each word, and prints the counts.
//!
//! `cargo run --example word_count`, or with a file: `cargo run --example word_count -- FILE`

use std::collections::BTreeMap;

use tidewater::prelude::*;

const LINES: Topic<Option<String>, String> = Topic::new("lines");
const COUNTS: Topic<String, Option<i64>> = Topic::new("word-counts");

const TEXT: &str = "\
There is a tide in the affairs of men,
which, taken at the flood, leads on to fortune;
omitted, all the voyage of their life
is bound in shallows and in miseries.";

fn topology() -> Result<Topology, BuildError> {
    let builder = StreamsBuilder::new();
    builder
        .stream(&LINES)
        .flat_map_values(|line| {
            let words = line.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
            words.map(str::to_lowercase).collect::<Vec<_>>()
        })
        .group_by(|_, word| word.clone())
        .count()
        .store("counts")
        .to_stream()
        .to(&COUNTS);
    builder.build()
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let text = match std::env::args().nth(1) {
        Some(file) => String::from_utf8(read_file(&file)?)?,
        None => TEXT.to_owned(),
    };
    let folder = tempfile::tempdir()?;
    let log = Log::open(folder.path())?;
    log.create_topic(&LINES, 2)?;
    log.create_topic(&COUNTS, 2)?;
    let lines = log.send(&LINES, text.lines().map(|line| Record::new(None, line.to_owned(), 0)))?;

    let app = Tidewater::app("word-count").log(&log).threads(2).start(topology()?).await?;
    let words = text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).count() as i64;
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    // The last count of each word adds up to all words once everything is counted.
    while counts.values().sum::<i64>() < words {
        counts = log.read(&COUNTS, 1)?.into_iter().filter_map(|record| Some((record.key, record.value?))).collect();
    }
    app.stop().await?;

    let mut sorted: Vec<_> = counts.into_iter().collect();
    sorted.sort_by_key(|(word, count)| (-count, word.clone()));
    println!("{lines} lines, {words} words, {} of them different", sorted.len());
    for (word, count) in sorted.iter().take(10) {
        println!("{count:6}  {word}");
    }
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "an example reads its input as any program does")]
fn read_file(file: &str) -> std::io::Result<Vec<u8>> {
    std::fs::read(file)
}
