//! What came of a run: figures for people and for programs, held against the truth about near repeats.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::json;
use tidewater::prelude::*;

use super::article::{ARTICLES, DEAD_LETTERS, FRESH, RECOMMENDATIONS, REPEATS, Shelf, TRENDS};
use super::normalise::normalise;
use super::readers::Reader;
use super::topology::{TREND_WINDOW, Version};

/// Lines of a list that are shown.
const SHOWN: usize = 8;

/// What came of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Items that came in.
    pub articles_in: usize,
    /// Articles that were not there before.
    pub fresh: usize,
    /// Articles word for word as one within a day before.
    pub exact_repeats: usize,
    /// Articles nearly so.
    pub near_repeats: usize,
    /// Of the pairs that were found, the part that is alike in truth; none if there is no truth to hold them against.
    pub near_precision: Option<f64>,
    /// Of the pairs that are alike in truth, the part that was found.
    pub near_recall: Option<f64>,
    /// Items that could not be read.
    pub dead_letters: usize,
    /// Articles for each reader, best first.
    pub recommendations: BTreeMap<String, Vec<String>>,
    /// Of the recommended articles, the part that has a topic to the reader's taste.
    pub to_taste: Option<f64>,
    /// Articles of the last day, by topic and source.
    pub trends: BTreeMap<String, i64>,
    /// How long it took.
    pub seconds: f64,
}

impl Report {
    /// Reads the topics that the pipeline wrote. After a crash they may hold a record twice: what counts is the set.
    pub fn read(log: &Log, version: &Version, readers: &[Reader], seconds: f64) -> anyhow::Result<Self> {
        let articles_in = log.end_offsets(ARTICLES.name())?.iter().map(|offset| offset.0 as usize).sum();
        let ids = |keys: Vec<String>| keys.into_iter().collect::<BTreeSet<_>>().len();
        let fresh = ids(log.read(&version.topic(&FRESH), 0)?.into_iter().map(|record| record.key).collect());
        let dead_letters = ids(log.read(&DEAD_LETTERS, 0)?.into_iter().map(|record| record.key).collect());
        let repeats: BTreeMap<_, _> =
            log.read(&version.topic(&REPEATS), 0)?.into_iter().map(|record| (record.key, record.value)).collect();
        let found = repeats.iter().flat_map(|(id, repeat)| repeat.of.keys().map(|other| pair(id, other))).collect();
        let (near_precision, near_recall) = match true_pairs(log)? {
            Some(truth) => precision_and_recall(&found, &truth),
            None => (None, None),
        };
        let shelves = last_values(log.read(&version.topic(&RECOMMENDATIONS), 0)?);
        Ok(Report {
            articles_in,
            fresh,
            // Ids that come twice may make more of the others than there were articles.
            exact_repeats: articles_in.saturating_sub(dead_letters + fresh + repeats.len()),
            near_repeats: repeats.len(),
            near_precision,
            near_recall,
            dead_letters,
            to_taste: to_taste(&shelves, readers),
            recommendations: shelves.into_iter().map(|(reader, shelf)| (reader, titles(&shelf))).collect(),
            trends: last_day(log, version)?,
            seconds,
        })
    }

    /// For people.
    pub fn print(&self, corpus: &str, readers: &[Reader]) {
        let percent =
            |part: Option<f64>| part.map_or("not checked".to_owned(), |part| format!("{:.1} %", part * 100.0));
        println!("\n{corpus}: {} articles in {:.1} s", self.articles_in, self.seconds);
        println!("  {:6} fresh", self.fresh);
        println!("  {:6} exact repeats", self.exact_repeats);
        let (precision, recall) = (percent(self.near_precision), percent(self.near_recall));
        println!("  {:6} near repeats (precision {precision}, recall {recall})", self.near_repeats);
        println!("  {:6} dead letters", self.dead_letters);
        println!("\nTrends of the last day");
        let mut trends: Vec<_> = self.trends.iter().collect();
        trends.sort_by_key(|(_, count)| -**count);
        for (name, count) in trends.iter().take(SHOWN) {
            println!("  {count:6}  {name}");
        }
        println!(
            "\nRecommendations ({} of all are to the reader's taste; the readers are simulated)",
            percent(self.to_taste)
        );
        for reader in readers.iter().take(2) {
            println!("  {}, who likes {}", reader.name, reader.tastes.join(" and "));
            for title in self.recommendations.get(reader.name).into_iter().flatten() {
                println!("    {title}");
            }
        }
    }
}

fn titles(shelf: &Shelf) -> Vec<String> {
    let words = |title: &str| title.split_whitespace().collect::<Vec<_>>().join(" ");
    let title = |each: &super::article::Suggestion| format!("{} [{}]", words(&each.title), each.topics.join(", "));
    shelf.suggestions.iter().map(title).collect()
}

fn to_taste(shelves: &BTreeMap<String, Shelf>, readers: &[Reader]) -> Option<f64> {
    let fits = readers.iter().flat_map(|reader| {
        let suggestions = shelves.get(reader.name).into_iter().flat_map(|shelf| &shelf.suggestions);
        suggestions.map(|each| each.topics.iter().any(|topic| reader.tastes.contains(topic)))
    });
    let fits: Vec<bool> = fits.collect();
    (!fits.is_empty()).then(|| fits.iter().filter(|fit| **fit).count() as f64 / fits.len() as f64)
}

/// The last value of each key that has one.
fn last_values<K: Ord, V>(records: Vec<Record<K, Option<V>>>) -> BTreeMap<K, V> {
    let mut last = BTreeMap::new();
    for record in records {
        match record.value {
            Some(value) => last.insert(record.key, value),
            None => last.remove(&record.key),
        };
    }
    last
}

fn last_day(log: &Log, version: &Version) -> anyhow::Result<BTreeMap<String, i64>> {
    let size = Timestamp::from(TREND_WINDOW).0;
    let topic = version.topic(&TRENDS);
    let topic = topic.clone().with_serdes(tidewater::Windowed::serde(Default::default(), size), topic.value_serde());
    let windows = last_values(
        log.read(&topic, 0)?
            .into_iter()
            .map(|record| {
                let key = (record.key.window.start, record.key.key.clone());
                record.with_key(key)
            })
            .collect(),
    );
    let last = windows.keys().map(|(start, _)| *start).max();
    Ok(windows
        .into_iter()
        .filter(|((start, _), _)| Some(*start) == last)
        .map(|((_, name), count)| (name, count))
        .collect())
}

/// Two ids, the smaller one first.
pub type Pair = (String, String);

fn pair(a: &str, b: &str) -> Pair {
    if a < b { (a.to_owned(), b.to_owned()) } else { (b.to_owned(), a.to_owned()) }
}

/// Of what was found, the part that is true; of what is true, the part that was found.
fn precision_and_recall(found: &BTreeSet<Pair>, truth: &BTreeSet<Pair>) -> (Option<f64>, Option<f64>) {
    let both = found.intersection(truth).count() as f64;
    let part = |of: usize| Some(if of == 0 { 1.0 } else { both / of as f64 });
    (part(found.len()), part(truth.len()))
}

/// The truth about near repeats, from a program of its own that stands beside this one; none if it was not built.
fn true_pairs(log: &Log) -> anyhow::Result<Option<BTreeSet<Pair>>> {
    let program = std::env::current_exe()?.with_file_name("news_truth");
    if !program.exists() {
        eprintln!("near repeats are not checked: `cargo build --examples` builds the program that knows the truth");
        return Ok(None);
    }
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("news_truth takes no input")?;
    for record in log.read(&ARTICLES, 0)? {
        if let Ok(article) = normalise(record.value) {
            let (id, at, text) = (article.id, record.timestamp.0, article.text);
            writeln!(input, "{}", json!({ "id": id, "at_ms": at, "text": text }))?;
        }
    }
    drop(input);
    let output = child.wait_with_output()?;
    anyhow::ensure!(output.status.success(), "news_truth ended with {}", output.status);
    let mut pairs = BTreeSet::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let (a, b) = line.split_once('\t').with_context(|| format!("news_truth said {line:?}"))?;
        pairs.insert(pair(a, b));
    }
    Ok(Some(pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_is_of_what_was_found_and_recall_of_what_is_true() {
        let pairs = |ids: &[&str]| ids.iter().map(|id| pair("0", id)).collect::<BTreeSet<_>>();
        let (found, truth) = (pairs(&["1", "2", "3", "4"]), pairs(&["1", "2", "5"]));
        assert_eq!(precision_and_recall(&found, &truth), (Some(0.5), Some(2.0 / 3.0)));
        assert_eq!(pair("2", "1"), pair("1", "2"));
    }
}
