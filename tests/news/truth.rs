//! The truth about near repeats, by comparing: reads articles as lines of JSON (`id`, `at_ms`, `text`) in the order of their
//! time, and writes the ids of each pair that is alike.
//!
//! Alike are two articles at most 24 hours apart whose sets of five-word shingles, of the lower-cased text, have a Jaccard
//! similarity of 0.8 or more. An article that repeats an earlier one word for word within that time is left out. Nothing is
//! hashed or drawn here, and nothing is shared with the pipeline.

#![allow(clippy::unwrap_used, reason = "a program of the tests")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead, Write};

const WITHIN_MS: i64 = 24 * 3600 * 1000;
const ALIKE: f64 = 0.8;

struct Article {
    id: String,
    at_ms: i64,
    shingles: BTreeSet<String>,
}

fn main() {
    let mut kept: Vec<Article> = Vec::new();
    let mut last_seen: HashMap<String, i64> = HashMap::new();
    // Articles that have a shingle: only those can be alike.
    let mut with_shingle: HashMap<String, Vec<usize>> = HashMap::new();
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        // Whoever writes may be killed amid a line.
        let Ok(line) = serde_json::from_str::<serde_json::Value>(&line.unwrap()) else { std::process::exit(1) };
        let (id, at_ms) = (line["id"].as_str().unwrap().to_owned(), line["at_ms"].as_i64().unwrap());
        let text = line["text"].as_str().unwrap().to_lowercase();
        let words: Vec<&str> = text.split_whitespace().collect();
        let same = words.join(" ");
        if last_seen.get(&same).is_some_and(|seen| at_ms - seen <= WITHIN_MS) {
            continue;
        }
        last_seen.insert(same, at_ms);
        let shingles: BTreeSet<String> = words.windows(words.len().clamp(1, 5)).map(|five| five.join(" ")).collect();
        let mut shared: BTreeMap<usize, usize> = BTreeMap::new();
        for shingle in &shingles {
            let others = with_shingle.entry(shingle.clone()).or_default();
            for &other in others.iter().rev().take_while(|&&other| at_ms - kept[other].at_ms <= WITHIN_MS) {
                *shared.entry(other).or_default() += 1;
            }
            others.push(kept.len());
        }
        for (other, both) in shared {
            let all = shingles.len() + kept[other].shingles.len() - both;
            if both as f64 / all as f64 >= ALIKE {
                // And so may whoever reads.
                if writeln!(output, "{}\t{id}", kept[other].id).is_err() {
                    std::process::exit(1);
                }
            }
        }
        kept.push(Article { id, at_ms, shingles });
    }
}
