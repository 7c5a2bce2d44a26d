//! A number by which a group sees that its topics have changed.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::xxh3_64;

use super::Topics;

/// A number that changes when the subscribed topics do, or their partitions (KIP-1101): XXH3 over each topic, and over these numbers
/// in the order of the topics' names; 0 without topics.
pub(super) fn metadata_hash(subscribed: &BTreeSet<String>, topics: &dyn Topics) -> i64 {
    let mut all: Vec<u8> = Vec::new();
    for name in subscribed {
        let Some((id, partitions)) = topics.find(name) else { continue };
        let (most, least) = id.as_u64_pair();
        let mut topic: Vec<u8> = vec![0];
        topic.extend_from_slice(&most.to_le_bytes());
        topic.extend_from_slice(&least.to_le_bytes());
        let units: Vec<u16> = name.encode_utf16().collect();
        units.iter().for_each(|unit| topic.extend_from_slice(&unit.to_le_bytes()));
        topic.extend_from_slice(&(units.len() as i32).to_le_bytes());
        topic.extend_from_slice(&partitions.to_le_bytes());
        (0..partitions).for_each(|partition| topic.extend_from_slice(&partition.to_le_bytes()));
        all.extend_from_slice(&xxh3_64(&topic).to_le_bytes());
    }
    if all.is_empty() { 0 } else { xxh3_64(&all) as i64 }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    struct OneTopic;

    impl Topics for OneTopic {
        fn version(&self) -> u64 {
            0
        }

        fn find(&self, name: &str) -> Option<(Uuid, i32)> {
            (name == "t").then_some((Uuid::from_u128(0x50db_e0ef_c42f_4996_b14f_4a9d_f650_f749), 4))
        }

        fn name_of(&self, _: Uuid) -> Option<String> {
            None
        }

        fn names(&self) -> Vec<String> {
            vec!["t".to_owned()]
        }
    }

    /// What Apache Kafka 4.3.1 had for this topic.
    #[test]
    fn the_hash_of_topics_is_apaches() {
        let hash = metadata_hash(&["gone".to_owned(), "t".to_owned()].into(), &OneTopic);
        assert_eq!(hash as u64, 0x833d_cfaf_bf4f_3f4b);
        assert_eq!(metadata_hash(&BTreeSet::new(), &OneTopic), 0);
    }
}
