//! The input of the workloads: bytes that depend on the options alone, so that another program can make the same.
//!
//! Field f of record i is output 16 i + f of SplitMix64 seeded with the topic's seed. A record's content c is its own
//! number, or that of an earlier record where it repeats one. Its key is `k` and eight digits; its value 16 hexadecimal
//! digits (the id), then letters, or words of a vocabulary of 10,000 of which the n-th is 1/n as frequent as the first; its time
//! rises with the rate.

use tidewater::prelude::*;

/// Keys are drawn, or taken in turn.
#[derive(Clone, Copy)]
pub enum Keys {
    Uniform,
    InTurn,
}

/// What values are.
#[derive(Clone, Copy)]
pub enum Values {
    /// An id and letters.
    Text,
    /// Words, with spaces between.
    Words,
}

/// What a topic of input holds.
#[derive(Clone, Copy)]
pub struct Input {
    pub records: u64,
    pub keys: u64,
    pub order: Keys,
    pub seed: u64,
    /// Repeats, in percent.
    pub repeats: u64,
    pub base_ms: i64,
    /// Records a second of event time.
    pub rate: u64,
    pub values: Values,
}

impl Input {
    pub const fn new(records: u64, keys: u64, seed: u64) -> Self {
        Input {
            records,
            keys,
            order: Keys::Uniform,
            seed,
            repeats: 0,
            base_ms: 1_700_000_000_000,
            rate: 20_000,
            values: Values::Text,
        }
    }

    /// All records, in order.
    pub fn records(self) -> impl Iterator<Item = Record<String, String>> {
        let vocabulary = match self.values {
            Values::Text => Vec::new(),
            Values::Words => running_weights(),
        };
        (0..self.records).map(move |i| self.record(i, &vocabulary))
    }

    fn record(&self, i: u64, vocabulary: &[u64]) -> Record<String, String> {
        let draw = |content: u64, field: u64| at(self.seed, 16 * content + field);
        let d = draw(i, 1);
        let content = if i > 0 && d % 100 < self.repeats { i - 1 - (d / 100) % i.min(1000) } else { i };
        let key = match self.order {
            Keys::Uniform => draw(content, 0) % self.keys,
            Keys::InTurn => content % self.keys,
        };
        let value = match self.values {
            Values::Text => text(draw(content, 2), draw(content, 4)),
            Values::Words => words(draw(content, 4), vocabulary),
        };
        Record::new(format!("k{key:08}"), value, self.base_ms + (1000 * i / self.rate) as i64)
    }

    /// The FNV-1a hash over times, keys and values, by which generators are compared.
    pub fn hash(self) -> u64 {
        let mut hash = 0xCBF2_9CE4_8422_2325u64;
        let mut add = |bytes: &[u8]| {
            for &byte in bytes {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
            }
        };
        for record in self.records() {
            add(&record.timestamp.0.to_be_bytes());
            add(record.key.as_bytes());
            add(record.value.as_bytes());
        }
        hash
    }
}

const VALUE_BYTES: usize = 100;
const VOCABULARY: u64 = 10_000;

fn text(id: u64, letters: u64) -> String {
    let mut value = format!("{id:016x}");
    let letter = |byte: u8| char::from(b'a' + ((u32::from(byte) * 26) >> 8) as u8);
    let letters = (0..).flat_map(|n| at(letters, n).to_le_bytes()).map(letter);
    value.extend(letters.take(VALUE_BYTES - value.len()));
    value
}

/// The sums of the weights of the first word, of the first two, and so on.
fn running_weights() -> Vec<u64> {
    let weights = (1..=VOCABULARY).map(|rank| (1 << 40) / rank);
    weights.scan(0, |sum, weight| Some(std::mem::replace(sum, *sum + weight) + weight)).collect()
}

fn words(seed: u64, vocabulary: &[u64]) -> String {
    let all = vocabulary.last().copied().unwrap_or(1);
    let word = |n| format!("w{:04}", vocabulary.partition_point(|&sum| sum <= at(seed, n) % all));
    (0..(VALUE_BYTES as u64 + 1) / 6).map(word).collect::<Vec<_>>().join(" ")
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Output n of SplitMix64.
fn at(seed: u64, n: u64) -> u64 {
    mix(seed.wrapping_add(0x9E37_79B9_7F4A_7C15u64.wrapping_mul(n + 1)))
}
