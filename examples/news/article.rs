//! What flows through the news pipeline, and the topics it flows through.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidewater::Windowed;
use tidewater::prelude::*;

/// An item as a feed or corpus has it: nothing is sure about it yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// What the source calls it.
    pub id: String,
    /// Who published it.
    pub source: String,
    /// Where it stands.
    pub url: String,
    /// The headline.
    pub title: String,
    /// The text, plain or HTML.
    pub body: String,
    /// When, as RFC 3339 or as Reuters wrote it.
    pub published: String,
    /// What it is about, as far as the source says.
    pub topics: Vec<String>,
}

/// An item that could be read: plain text, canonical address, a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Article {
    /// What the source calls it.
    pub id: String,
    /// Who published it.
    pub source: String,
    /// Where it stands, without what does not tell pages apart.
    pub url: String,
    /// The headline.
    pub title: String,
    /// Headline and text, words separated by one space.
    pub text: String,
    /// When, in milliseconds since 1970.
    pub published_ms: i64,
    /// What it is about, as far as the source says.
    pub topics: Vec<String>,
    /// The words that say most about it.
    pub terms: Vec<String>,
}

/// An article that repeats earlier ones, and how much.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Repeat {
    /// Its address.
    pub url: String,
    /// The earlier articles by their ids, with the Jaccard similarity to each.
    pub of: BTreeMap<String, f64>,
}

/// A reader opened an article.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Read {
    /// Which article.
    pub id: String,
    /// What the article is about.
    pub terms: Vec<String>,
    /// Always true here: these readers do not exist.
    pub simulated: bool,
}

/// An article for a reader, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Suggestion {
    /// What the source calls it.
    pub id: String,
    /// The headline.
    pub title: String,
    /// What it is about, as far as the source says.
    pub topics: Vec<String>,
    /// When, in milliseconds since 1970.
    pub published_ms: i64,
    /// How well it fits the reader; it halves every two days.
    pub score: f64,
}

/// The best articles for a reader, best first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shelf {
    /// At most as many as are kept.
    pub suggestions: Vec<Suggestion>,
}

tidewater::json!(Item, Article, Repeat, Read, Suggestion, Shelf);

/// Items as they come, by the source's id. One partition: which of two repeats came first is a matter of order.
pub const ARTICLES: Topic<String, Item> = Topic::new("articles");
/// Who read what, by reader.
pub const READS: Topic<String, Read> = Topic::new("reads");
/// Articles that were not there before, by id.
pub const FRESH: Topic<String, Article> = Topic::new("articles-fresh");
/// Articles that repeat others nearly, by id.
pub const REPEATS: Topic<String, Repeat> = Topic::new("articles-near-repeats");
/// Articles per topic and per source in a day.
pub const TRENDS: Topic<Windowed<String>, Option<i64>> = Topic::new("trends");
/// The best articles for each reader.
pub const RECOMMENDATIONS: Topic<String, Option<Shelf>> = Topic::new("recommendations");
/// Items that could not be read, as they came, with the reason in their headers.
pub const DEAD_LETTERS: Topic<String, Item> = Topic::new("articles-dead-letters");
