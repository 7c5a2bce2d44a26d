//! How alike two texts are: the Jaccard similarity of their sets of shingles, and MinHash to find the alike without
//! comparing all.
//!
//! A shingle is five words in a row. MinHash (Broder, "On the resemblance and containment of documents", 1997): the
//! smallest hash over a set is equal for two sets with the probability of their similarity. Sixteen bands of four such hashes
//! each meet at similarity s with probability 1 - (1 - s^4)^16: 0.9998 at 0.8.

use sha2::{Digest, Sha256};

/// Words in a shingle.
const SHINGLE_WORDS: usize = 5;
const BANDS: usize = 16;
const ROWS: usize = 4;

/// The hashes of a text's shingles, sorted. A text of fewer than five words is one shingle.
pub fn shingles(text: &str) -> Vec<u64> {
    let text = text.to_lowercase();
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut hashes: Vec<u64> = match words.len() {
        0 => Vec::new(),
        short if short < SHINGLE_WORDS => vec![hash(words.join(" ").as_bytes())],
        _ => words.windows(SHINGLE_WORDS).map(|shingle| hash(shingle.join(" ").as_bytes())).collect(),
    };
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}

/// A text's fingerprint, by which exact repeats are known: half a SHA-256 in hexadecimal.
pub fn fingerprint(text: &str) -> String {
    Sha256::digest(text.to_lowercase())[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The Jaccard similarity of two sorted sets.
pub fn similarity(a: &[u64], b: &[u64]) -> f64 {
    let (mut i, mut j, mut both) = (0, 0, 0usize);
    while i < a.len() && j < b.len() {
        both += usize::from(a[i] == b[j]);
        let (x, y) = (a[i], b[j]);
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    let all = a.len() + b.len() - both;
    if all == 0 { 0.0 } else { both as f64 / all as f64 }
}

/// The bands of a set: sets that share a band are worth comparing.
pub fn bands(shingles: &[u64]) -> Vec<u64> {
    let smallest = |seed: u64| shingles.iter().map(|&shingle| mix(shingle ^ mix(seed))).min().unwrap_or_default();
    (0..BANDS)
        .map(|band| {
            let rows = (0..ROWS).map(|row| smallest((band * ROWS + row) as u64));
            rows.fold(band as u64, |sum, hash| mix(sum ^ hash))
        })
        .collect()
}

/// FNV-1a, finished by a mix: the same in every run, as what is stored must be.
fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    mix(bytes.iter().fold(0xCBF2_9CE4_8422_2325, step))
}

/// The finisher of SplitMix64.
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(words: std::ops::Range<usize>) -> String {
        words.map(|n| format!("word{n}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn similarity_is_that_of_the_sets() {
        let (a, b) = (shingles(&text(0..14)), shingles(&text(2..16)));
        assert_eq!((a.len(), b.len()), (10, 10));
        assert_eq!(similarity(&a, &b), 8.0 / 12.0);
        assert_eq!(similarity(&a, &a), 1.0);
        assert_eq!(similarity(&a, &[]), 0.0);
        assert_eq!(shingles("two words"), shingles("Two  WORDS"));
    }

    #[test]
    fn alike_texts_share_a_band_and_others_hardly_ever() {
        let first = bands(&shingles(&text(0..104)));
        let shares = |other: String| bands(&shingles(&other)).iter().any(|band| first.contains(band));
        assert!((1..=10).all(|cut| shares(text(cut..104))), "90 of 100 shingles and more");
        assert!(!shares(text(200..304)));
    }
}
