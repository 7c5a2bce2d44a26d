//! The offsets that groups commit: a table over `__consumer_offsets`, in Apache Kafka's record format.
//!
//! Key: version 1 (2), group (length 2), topic (length 2), partition (4). Value: version 4 (2), offset (8), leader epoch
//! (4), metadata (its length and 1 as a varint), commit time (8), then one tagged field (1): tag 0, length 16, the topic's
//! id; null deletes. Versions 0 to 3 have the metadata's length in 2 bytes and no tagged field; 2 and less no leader epoch. A
//! group's records are in the partition of its name's Java hash.

use std::collections::BTreeMap;

use tidewater_types::{Offset, Timestamp, TopicPartition};
use uuid::Uuid;

/// The topic.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";
const KEY_VERSION: u16 = 1;
const VALUE_VERSION: u16 = 4;
/// The tagged field of a value: one field, tag 0, of 16 bytes.
const TOPIC_ID_TAG: [u8; 3] = [1, 0, 16];
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
    /// The topic's id, where it was noted: an offset of another topic of that name is nobody's.
    pub topic_id: Option<Uuid>,
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

    /// Forgets the offsets in topics that are not there, or that are others of the same names.
    pub fn retain_topics(&mut self, id_of: impl Fn(&str) -> Option<Uuid>) {
        for offsets in self.0.values_mut() {
            offsets.retain(|place, committed| {
                id_of(&place.topic).is_some_and(|id| committed.topic_id.is_none_or(|noted| noted == id))
            });
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
    put_varint(&mut out, committed.metadata.len() as u32 + 1);
    out.extend_from_slice(committed.metadata.as_bytes());
    out.extend_from_slice(&now.0.to_be_bytes());
    match committed.topic_id {
        Some(id) => {
            out.extend_from_slice(&TOPIC_ID_TAG);
            out.extend_from_slice(id.as_bytes());
        }
        None => out.push(0),
    }
    out
}

/// An unsigned number in groups of seven bits, the lowest first.
fn put_varint(out: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_varint(input: &mut &[u8]) -> Option<u32> {
    let mut number = 0;
    for shift in (0..32).step_by(7) {
        let [byte] = *take(input)?;
        number |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
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
    if version < 4 {
        let metadata = take_text(&mut value)?.to_owned();
        return Some(Committed { offset, leader_epoch, metadata, topic_id: None });
    }
    let length = take_varint(&mut value)?.checked_sub(1)?;
    let (metadata, rest) = value.split_at_checked(length as usize)?;
    let metadata = std::str::from_utf8(metadata).ok()?.to_owned();
    value = rest;
    let _commit_time: &[u8; 8] = take(&mut value)?;
    // Fields that are not known are passed over.
    let mut topic_id = None;
    for _ in 0..take_varint(&mut value)? {
        let (tag, length) = (take_varint(&mut value)?, take_varint(&mut value)?);
        let (field, rest) = value.split_at_checked(length as usize)?;
        if tag == 0 {
            topic_id = Uuid::from_slice(field).ok();
        }
        value = rest;
    }
    Some(Committed { offset, leader_epoch, metadata, topic_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_what_they_wrote() {
        let place = TopicPartition::new("articles", 3);
        let topic_id = Some(Uuid::from_u128(7));
        let committed = Committed { offset: Offset(42), leader_epoch: 0, metadata: "Ag==".to_owned(), topic_id };
        let (key, value) = (write_key("news", &place), write_value(&committed, Timestamp(5)));
        let mut offsets = GroupOffsets::default();
        offsets.replay(&key, Some(&value)).unwrap();
        assert_eq!(offsets.get("news", &place), Some(&committed));
        offsets.replay(&key, None).unwrap();
        assert_eq!(offsets.get("news", &place), None);
        assert_eq!(key[..9], [0, 1, 0, 4, b'n', b'e', b'w', b's', 0]);
    }

    /// What Apache Kafka 4.3.1 wrote for offset 1 of t-0, committed by group g.
    const APACHE_KEY: [u8; 12] = *b"\0\x01\0\x01g\0\x01t\0\0\0\0";
    const APACHE_VALUE: [u8; 42] = [
        0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x01,
        0xa1, 0xff, 0x07, 0x90, 0x31, 0x01, 0x00, 0x10, 0xd8, 0x15, 0x7e, 0x16, 0xd9, 0x77, 0x42, 0xa1, 0x86, 0xf8,
        0x40, 0x0d, 0xac, 0xaf, 0x70, 0x6c,
    ];

    #[test]
    fn records_have_apaches_bytes() {
        let place = TopicPartition::new("t", 0);
        let committed = read_value(&APACHE_VALUE).unwrap();
        assert_eq!((committed.offset, committed.leader_epoch, committed.metadata.as_str()), (Offset(1), 0, ""));
        assert_eq!(crate::folder::kafka_id(committed.topic_id.unwrap()), "2BV-Ftl3QqGG-EANrK9wbA");
        assert_eq!(read_key(&APACHE_KEY).unwrap(), ("g".to_owned(), place.clone()));
        assert_eq!(write_key("g", &place), APACHE_KEY);
        assert_eq!(write_value(&committed, Timestamp(1_795_280_048_177)), APACHE_VALUE);
    }

    #[test]
    fn older_versions_are_read() {
        let third =
            [&[0, 3][..], &42i64.to_be_bytes(), &5i32.to_be_bytes(), &[0, 1, b'm'], &7i64.to_be_bytes()].concat();
        let committed = read_value(&third).unwrap();
        assert_eq!((committed.offset, committed.leader_epoch, committed.topic_id), (Offset(42), 5, None));
        assert!((0..APACHE_VALUE.len()).all(|cut| read_value(&APACHE_VALUE[..cut]).is_none()));
    }

    #[test]
    fn a_groups_partition_is_that_of_java() {
        // "hello".hashCode() is 99162322.
        assert_eq!(partition_of("hello", 50), 22);
    }
}
