//! The order in which a Java `HashSet<String>` gives its elements.
//!
//! Kafka Streams keeps some names in such sets, and prints and opens stores in their order, which is therefore part of what
//! a topology's description looks like. Strings hash by `31 * h + c` over their UTF-16 units, the high half is folded into
//! the low one, and the table doubles from 16 buckets when it is three quarters full.

/// The elements in the set's order.
pub(crate) fn order(names: &[String]) -> Vec<String> {
    let mut unique: Vec<&String> = Vec::with_capacity(names.len());
    for name in names {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    let mut buckets = 16usize;
    while unique.len() * 4 > buckets * 3 {
        buckets *= 2;
    }
    let mut ordered: Vec<(usize, usize, &String)> = unique
        .into_iter()
        .enumerate()
        .map(|(inserted, name)| (spread(hash(name)) as usize & (buckets - 1), inserted, name))
        .collect();
    ordered.sort_by_key(|&(bucket, inserted, _)| (bucket, inserted));
    ordered.into_iter().map(|(_, _, name)| name.clone()).collect()
}

/// Java's `String.hashCode`.
pub(crate) fn hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

fn spread(hash: i32) -> u32 {
    let hash = hash as u32;
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_java() {
        assert_eq!(hash("hello"), 99_162_322);
        assert_eq!(hash(""), 0);
    }

    #[test]
    fn short_strings_come_by_their_last_letters() {
        let names = ["b", "a", "q"].map(str::to_owned);
        // 'a' = 97 = 6 * 16 + 1, 'q' = 113 = 7 * 16 + 1, 'b' = 98.
        assert_eq!(order(&names), ["a", "q", "b"]);
    }
}
