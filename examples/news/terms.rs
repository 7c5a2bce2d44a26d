//! The words that say most about a text: those it repeats, without those that every text has.

use std::collections::BTreeMap;

/// How many words stand for a text.
const TERMS: usize = 8;
/// Shorter words say little.
const SHORTEST: usize = 4;
/// Words of every newswire story.
const COMMON: [&str; 64] = [
    "about", "added", "after", "also", "been", "before", "between", "billion", "both", "company", "corp", "could",
    "dlrs", "down", "during", "each", "earlier", "expected", "first", "from", "have", "into", "last", "made", "make",
    "march", "million", "month", "more", "most", "much", "only", "other", "over", "pct", "reuter", "reuters", "said",
    "says", "share", "shares", "should", "since", "some", "still", "such", "than", "that", "their", "them", "then",
    "there", "these", "they", "this", "those", "through", "under", "week", "were", "which", "will", "with", "would",
];

/// The terms of a text: what its source says it is about, then its most frequent words.
pub fn terms(text: &str, topics: &[String]) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for word in text.split(|letter: char| !letter.is_alphabetic()) {
        let word = word.to_lowercase();
        if word.len() >= SHORTEST && COMMON.binary_search(&word.as_str()).is_err() {
            *counts.entry(word).or_default() += 1;
        }
    }
    let mut words: Vec<(String, usize)> = counts.into_iter().collect();
    words.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let words = words.into_iter().map(|(word, _)| word).filter(|word| !topics.contains(word));
    topics.iter().cloned().chain(words).take(TERMS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_words_are_sorted_for_the_search() {
        assert!(COMMON.is_sorted());
    }

    #[test]
    fn topics_come_first_then_what_is_repeated() {
        let found = terms("Wheat rises. Farmers said wheat, wheat and barley; barley fell.", &["grain".to_owned()]);
        assert_eq!(&found[..3], ["grain", "wheat", "barley"]);
        assert!(!found.contains(&"said".to_owned()));
    }
}
