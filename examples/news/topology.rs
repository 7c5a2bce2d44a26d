//! The pipeline: normalise, drop exact repeats, set near repeats apart, count trends, recommend.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidewater::prelude::*;

use super::article::{
    ARTICLES, Article, FRESH, READS, RECOMMENDATIONS, REPEATS, Read, Repeat, Shelf, Suggestion, TRENDS,
};
use super::near::{FindRepeats, NearStores, RETENTION, WITHIN};
use super::normalise::normalise;
use super::similar::fingerprint;

/// Partitions of the topics behind the fresh articles.
pub const PARTITIONS: u32 = 4;
/// Trends are counted by day.
pub const TREND_WINDOW: Duration = days(1);
/// News may come late, above all while the pipeline catches up: partitions do not go on in step then, and after a crash it comes
/// again.
const TREND_GRACE: Duration = RETENTION;
/// A reader's terms that count.
const PROFILE_TERMS: usize = 20;
/// What one more article does to the weight of the terms of earlier ones.
const FORGET: f64 = 0.98;
/// A reader's weight for a term below which no article is offered for it.
const WEAK: f64 = 0.5;
/// Articles that are kept for a reader; the first ten are recommended.
const KEPT: usize = 20;
const RECOMMENDED: usize = 10;
/// A suggestion's score halves in this time.
const HALF_LIFE_MS: f64 = 2.0 * 86_400_000.0;

/// What differs between versions of the pipeline.
#[derive(Clone, Debug)]
pub struct Version {
    /// The similarity from which on an article is a near repeat.
    pub threshold: f64,
    /// Added to the names of the topics that it writes.
    pub suffix: &'static str,
}

/// The version that runs.
pub const V1: Version = Version { threshold: 0.8, suffix: "" };
/// The one that it is compared with.
pub const V2: Version = Version { threshold: 0.6, suffix: "-v2" };

impl Version {
    /// This version's topic in the place of another.
    pub fn topic<K: tidewater::Field, V: tidewater::Field>(&self, topic: &Topic<K, V>) -> Topic<K, V> {
        Topic::named(format!("{}{}", topic.name(), self.suffix))
    }
}

/// How much each term means to a reader.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Profile {
    weights: BTreeMap<String, f64>,
}

/// The readers that a term means something to.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Interested {
    readers: BTreeMap<String, f64>,
}

/// One reader's weight for a term.
#[derive(Clone, Serialize, Deserialize)]
pub struct Interest {
    reader: String,
    weight: f64,
}

tidewater::json!(Profile, Interested, Interest);

/// The whole pipeline.
pub fn topology(version: &Version) -> Result<Topology, BuildError> {
    let builder = StreamsBuilder::new();
    let fresh = fresh_articles(&builder, version);
    trends(&fresh).to(&version.topic(&TRENDS));
    recommendations(&builder, &fresh).to(&version.topic(&RECOMMENDATIONS));
    builder.build()
}

/// Articles that are neither malformed, nor seen before, nor nearly so.
fn fresh_articles(builder: &StreamsBuilder, version: &Version) -> KStream<String, Article> {
    let stores = NearStores::add(builder);
    let threshold = version.threshold;
    let compared = builder
        .stream(&ARTICLES)
        .try_map_values(|item| Ok(normalise(item)?))
        .named("normalise")
        .select_key(|_, article| fingerprint(&article.text))
        .repartition()
        .partitions(1) // Any two articles may be alike: there is no key that brings the alike together.
        .named("by-fingerprint")
        .distinct(Distinct::within(WITHIN).retention(RETENTION))
        .named("exact-repeats")
        .process(move |open: &mut Stores<'_>| FindRepeats::open(open, &stores, threshold))
        .named("near-repeats");
    compared
        .filter(|_, (_, repeat): &(Article, Repeat)| !repeat.of.is_empty())
        .map_values(|(_, repeat)| repeat)
        .to(&version.topic(&REPEATS));
    let fresh = compared.filter(|_, (_, repeat)| repeat.of.is_empty()).map_values(|(article, _)| article);
    fresh.to(&version.topic(&FRESH));
    fresh
}

/// Articles a day, for each topic and each source.
fn trends(fresh: &KStream<String, Article>) -> KStream<tidewater::Windowed<String>, Option<i64>> {
    fresh
        .flat_map(|_, article| {
            let topics = article.topics.into_iter().map(|topic| format!("topic/{topic}"));
            let keys: Vec<String> = topics.chain([format!("source/{}", article.source)]).collect();
            keys.into_iter().map(|key| (key, ()))
        })
        .repartition()
        .partitions(PARTITIONS)
        .named("trends")
        .group_by_key()
        .windowed_by(Tumbling::of(TREND_WINDOW).grace(TREND_GRACE))
        .count()
        .store("trends")
        .to_stream()
}

/// Articles are offered to the readers of their terms; each reader keeps the best.
fn recommendations(builder: &StreamsBuilder, fresh: &KStream<String, Article>) -> KStream<String, Option<Shelf>> {
    let profiles = builder.stream(&READS).group_by_key().aggregate(Profile::default, learn).store("profiles");
    let interested = profiles
        .to_stream()
        .filter_some()
        .flat_map(|reader, profile: Profile| {
            let interest = move |(term, weight)| (term, Interest { reader: reader.clone(), weight });
            profile.weights.into_iter().map(interest).collect::<Vec<_>>()
        })
        .repartition()
        .partitions(PARTITIONS)
        .named("interests")
        .group_by_key()
        .aggregate(Interested::default, |_, Interest { reader, weight }, mut interested| {
            interested.readers.insert(reader, weight);
            interested
        })
        .store("interested");
    fresh
        .flat_map(|_, article| {
            let Article { id, title, topics, published_ms, terms, .. } = article;
            let suggestion = Suggestion { id, title, topics, published_ms, score: 0.0 };
            terms.into_iter().map(move |term| (term, suggestion.clone()))
        })
        .repartition()
        .partitions(PARTITIONS)
        .named("mentions")
        .join_table(&interested, offers)
        .flat_map(|_, offers| offers)
        .group_by_key()
        .aggregate(Shelf::default, |_, suggestion, shelf| place(shelf, suggestion))
        .store("shelves")
        .to_stream()
        .map_values(|shelf| {
            shelf.map(|shelf| Shelf {
                suggestions: shelf.suggestions[..RECOMMENDED.min(shelf.suggestions.len())].to_vec(),
            })
        })
}

/// A reader's profile after one more article.
fn learn(_: &String, read: Read, mut profile: Profile) -> Profile {
    for weight in profile.weights.values_mut() {
        *weight *= FORGET;
    }
    for term in read.terms {
        *profile.weights.entry(term).or_default() += 1.0;
    }
    while profile.weights.len() > PROFILE_TERMS {
        let weakest = profile.weights.iter().min_by(|a, b| a.1.total_cmp(b.1)).map(|(term, _)| term.clone());
        profile.weights.retain(|term, _| Some(term) != weakest.as_ref());
    }
    profile
}

/// An article for each reader that one of its terms means something to.
fn offers(article: &Suggestion, interested: &Interested) -> Vec<(String, Suggestion)> {
    let strong = interested.readers.iter().filter(|(_, weight)| **weight >= WEAK);
    strong.map(|(reader, &score)| (reader.clone(), Suggestion { score, ..article.clone() })).collect()
}

/// Puts a suggestion among a reader's others; what one article gets for several terms adds up.
fn place(mut shelf: Shelf, suggestion: Suggestion) -> Shelf {
    match shelf.suggestions.iter_mut().find(|each| each.id == suggestion.id) {
        Some(known) => known.score += suggestion.score,
        None => shelf.suggestions.push(suggestion),
    }
    let now = shelf.suggestions.iter().map(|each| each.published_ms).max().unwrap_or_default();
    let worth = |each: &Suggestion| each.score * (-((now - each.published_ms) as f64) / HALF_LIFE_MS).exp2();
    shelf.suggestions.sort_by(|a, b| worth(b).total_cmp(&worth(a)));
    shelf.suggestions.truncate(KEPT);
    shelf
}
