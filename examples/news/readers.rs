//! Readers who do not exist, with known tastes: what they read is drawn from a seed.

use std::collections::BTreeMap;

use tidewater::prelude::*;

use super::article::{Item, Read};
use super::similar::mix;
use super::terms::terms;

/// How many there are.
const READERS: [&str; 8] = ["Ada", "Ben", "Chen", "Dora", "Emil", "Fatma", "Gus", "Hana"];
/// Topics that a reader likes.
const TASTES: usize = 2;
/// An article to their taste is read by six of ten readers, another one by one of two hundred.
const READ_LIKED: u64 = 600;
const READ_OTHER: u64 = 5;
const SEED: u64 = 1987;

/// A reader.
#[derive(Clone, Debug)]
pub struct Reader {
    /// Their name.
    pub name: &'static str,
    /// The topics they like.
    pub tastes: Vec<String>,
}

/// The readers for these items: each likes two of the topics that there is most about.
pub fn readers(items: &[(i64, Item)]) -> Vec<Reader> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for topic in items.iter().flat_map(|(_, item)| &item.topics) {
        *counts.entry(topic).or_default() += 1;
    }
    let mut topics: Vec<(&str, usize)> = counts.into_iter().collect();
    topics.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let taste = |number: usize| topics.get(number).map(|(topic, _)| (*topic).to_owned());
    let tastes = |reader: usize| (0..TASTES).filter_map(|n| taste(reader + n * READERS.len())).collect();
    READERS.iter().enumerate().map(|(reader, name)| Reader { name, tastes: tastes(reader) }).collect()
}

/// Who reads an item, and when: some minutes after it came.
pub fn reads(readers: &[Reader], number: usize, at: i64, item: &Item) -> Vec<Record<String, Read>> {
    let mut found = Vec::new();
    for (who, reader) in readers.iter().enumerate() {
        let draw = mix(SEED ^ mix((number * READERS.len() + who) as u64));
        let is_liked = item.topics.iter().any(|topic| reader.tastes.contains(topic));
        if draw % 1000 < if is_liked { READ_LIKED } else { READ_OTHER } {
            let terms = terms(&format!("{} {}", item.title, item.body), &item.topics);
            let read = Read { id: item.id.clone(), terms, simulated: true };
            let minutes = 1 + (draw / 1000) % 60;
            found.push(Record::new(reader.name.to_owned(), read, at + minutes as i64 * 60_000));
        }
    }
    found
}
