//! The offsets that groups commit: a table over `__consumer_offsets`, in Apache Kafka's record format.
//!
//! Key: version 1 (2), group (length 2), topic (length 2), partition (4). Value: version 3 (2), offset (8), leader epoch
//! (4), metadata (length 2), commit time (8); null deletes. A group's records are in the partition of its name's Java hash.

use std::collections::BTreeMap;

use tidewater_types::{Offset, Timestamp, TopicPartition};

/// The topic.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";
const KEY_VERSION: u16 = 1;
const VALUE_VERSION: u16 = 3;
/// The longest name of a group: a length in the record is 16 bits wide, with a sign in the protocol.
pub(crate) const GROUP_LIMIT_BYTES: usize = i16::MAX as usize;
/// `offset.metadata.max.bytes`: the longest note beside an offset.
pub(crate) const METADATA_LIMIT_BYTES: usize = 4096;

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub offset: Offset,
    pub leader_epoch: i32,
    pub metadata: String,
}

/// All committed offsets, by group.
#[derive(Debug, Default)]
pub(crate) struct GroupOffsets(BTreeMap<String, BTreeMap<TopicPartition, Committed>>);

impl GroupOffsets {
    pub fn set(&mut self, group: &str, place: TopicPartition, committed: Option<Committed>) {
        let offsets = self.0.entry(group.to_owned()).or_default();
        match committed {
            Some(committed) => offsets.insert(place, committed),
            None => offsets.remove(&place),
        };
    }

    pub fn get(&self, group: &str, place: &TopicPartition) -> Option<&Committed> {
        self.0.get(group)?.get(place)
    }

    /// Forgets the offsets in topics that are not `known`.
    pub fn retain_topics(&mut self, known: impl Fn(&str) -> bool) {
        for offsets in self.0.values_mut() {
            offsets.retain(|place, _| known(&place.topic));
        }
    }

    /// The partitions of a topic that groups have committed offsets for, by group.
    pub fn of_topic(&self, topic: &str) -> Vec<(String, Vec<TopicPartition>)> {
        let of_group = |(group, offsets): (&String, &BTreeMap<TopicPartition, Committed>)| {
            let places: Vec<_> = offsets.keys().filter(|place| &*place.topic == topic).cloned().collect();
            (!places.is_empty()).then(|| (group.clone(), places))
        };
        self.0.iter().filter_map(of_group).collect()
    }

    pub fn all(&self, group: &str) -> impl Iterator<Item = (&TopicPartition, &Committed)> {
        self.0.get(group).into_iter().flatten()
    }

    /// Takes a record of the topic in; keys of other kinds (group metadata) are left alone.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Option<()> {
        let (group, place) = read_key(key)?;
        let committed = match value {
            Some(value) => Some(read_value(value)?),
            None => None,
        };
        self.set(&group, place, committed);
        Some(())
    }
}

/// The partition of `__consumer_offsets` that a group's records are in.
pub(crate) fn partition_of(group: &str, partitions: i32) -> i32 {
    let hash = group.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // Java's Utils.abs: the smallest number stands for 0.
    let positive = if hash == i32::MIN { 0 } else { hash.abs() };
    positive % partitions.max(1)
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn write_key(group: &str, place: &TopicPartition) -> Vec<u8> {
    let mut out = KEY_VERSION.to_be_bytes().to_vec();
    put_text(&mut out, group);
    put_text(&mut out, &place.topic);
    out.extend_from_slice(&place.partition.to_be_bytes());
    out
}

pub(crate) fn write_value(committed: &Committed, now: Timestamp) -> Vec<u8> {
    let mut out = VALUE_VERSION.to_be_bytes().to_vec();
    out.extend_from_slice(&committed.offset.0.to_be_bytes());
    out.extend_from_slice(&committed.leader_epoch.to_be_bytes());
    put_text(&mut out, &committed.metadata);
    out.extend_from_slice(&now.0.to_be_bytes());
    out
}

fn take<'a, const N: usize>(input: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(taken)
}

fn take_text<'a>(input: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::from(u16::from_be_bytes(*take(input)?));
    let (text, rest) = input.split_at_checked(length)?;
    *input = rest;
    std::str::from_utf8(text).ok()
}

fn read_key(mut key: &[u8]) -> Option<(String, TopicPartition)> {
    let version = u16::from_be_bytes(*take(&mut key)?);
    if version > KEY_VERSION {
        return None;
    }
    let group = take_text(&mut key)?.to_owned();
    let topic = take_text(&mut key)?;
    Some((group, TopicPartition::new(topic, i32::from_be_bytes(*take(&mut key)?))))
}

fn read_value(mut value: &[u8]) -> Option<Committed> {
    let version = u16::from_be_bytes(*take(&mut value)?);
    let offset = Offset(i64::from_be_bytes(*take(&mut value)?));
    let leader_epoch = if version >= 3 { i32::from_be_bytes(*take(&mut value)?) } else { -1 };
    let metadata = take_text(&mut value)?.to_owned();
    Some(Committed { offset, leader_epoch, metadata })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_what_they_wrote() {
        let place = TopicPartition::new("articles", 3);
        let committed = Committed { offset: Offset(42), leader_epoch: 0, metadata: "Ag==".to_owned() };
        let (key, value) = (write_key("news", &place), write_value(&committed, Timestamp(5)));
        let mut offsets = GroupOffsets::default();
        offsets.replay(&key, Some(&value)).unwrap();
        assert_eq!(offsets.get("news", &place), Some(&committed));
        offsets.replay(&key, None).unwrap();
        assert_eq!(offsets.get("news", &place), None);
        assert_eq!(key[..9], [0, 1, 0, 4, b'n', b'e', b'w', b's', 0]);
    }

    #[test]
    fn a_groups_partition_is_that_of_java() {
        // "hello".hashCode() is 99162322.
        assert_eq!(partition_of("hello", 50), 22);
    }
}
