//! MurmurHash3 of 128 bits for 64-bit machines (Austin Appleby, public domain), with the seed that Kafka Streams takes.

const SEED: u64 = 104_729;
const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

/// The hash as 16 bytes, both halves big-endian, as foreign-key joins write it.
pub(crate) fn hash128(data: &[u8]) -> [u8; 16] {
    let (mut h1, mut h2) = (SEED, SEED);
    let mut blocks = data.chunks_exact(16);
    for block in &mut blocks {
        h1 ^= mix1(word(&block[..8]));
        h1 = h1.rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 ^= mix2(word(&block[8..]));
        h2 = h2.rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let tail = blocks.remainder();
    if tail.len() > 8 {
        h2 ^= mix2(word(&tail[8..]));
    }
    if !tail.is_empty() {
        h1 ^= mix1(word(&tail[..tail.len().min(8)]));
    }
    h1 ^= data.len() as u64;
    h2 ^= data.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    h1 = finish(h1);
    h2 = finish(h2);
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    let mut out = [0; 16];
    out[..8].copy_from_slice(&h1.to_be_bytes());
    out[8..].copy_from_slice(&h2.to_be_bytes());
    out
}

/// Up to eight bytes, little-endian.
fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

fn mix1(word: u64) -> u64 {
    word.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn mix2(word: u64) -> u64 {
    word.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn finish(mut h: u64) -> u64 {
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ h >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Kafka Streams hashes them.
    #[test]
    fn hashes_are_those_of_kafka_streams() {
        let cases: [(&str, u128); 5] = [
            ("", 0x9d27_64a0_18e3_2942_8c3c_f3b0_3593_8518),
            ("a", 0x3361_634e_7e0f_5188_e9c7_dda2_4eae_326b),
            ("k1|1", 0xd6bc_a92b_69c3_ea0c_aa14_eb4f_a8bf_75fa),
            ("0123456789abcdef", 0x1a6e_941e_c6a7_6967_d7d8_2808_f505_d6b1),
            ("0123456789abcdef0123456789", 0x54ca_2060_811f_1d7e_6788_ce78_47e4_e62b),
        ];
        for (text, hash) in cases {
            assert_eq!(u128::from_be_bytes(hash128(text.as_bytes())), hash, "{text:?}");
        }
    }
}
