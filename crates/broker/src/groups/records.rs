//! The records of `__consumer_offsets`, in Apache Kafka's formats. A group's are in the partition of its name's Java hash.
//!
//! | key | value |
//! |---|---|
//! | version 1, group, topic, partition (4) | version 4, offset (8), leader epoch (4), metadata, commit time (8), tag 0: the topic's id |
//! | version 2, group | version 3, protocol type, generation (4), protocol, leader, time of the state (8), members |
//!
//! A member: id, instance, client id, client host, rebalance timeout (4), session timeout (4), subscription, assignment. A version is 2 bytes;
//! key 1 with value 4 is compact; see [`crate::wire`]. A null value deletes. Older versions are read.

use bytes::Bytes;
use tidewater_types::{Offset, Timestamp, TopicPartition};
use uuid::Uuid;

use super::offsets::Committed;
use crate::wire::{Reader, Writer};

/// The topic.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// The longest name of a group: a length in the record is 16 bits wide, with a sign.
pub(crate) const GROUP_LIMIT_BYTES: usize = i16::MAX as usize;

const OFFSET_KEY: i16 = 1;
const GROUP_KEY: i16 = 2;
const OFFSET_VALUE: i16 = 4;
const GROUP_VALUE: i16 = 3;
/// The tag of the topic's id in an offset's value.
const TOPIC_ID_TAG: u32 = 0;

/// A record: its key, and its value if it deletes nothing.
pub(crate) type Record = (Vec<u8>, Option<Vec<u8>>);

/// What a record is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Key {
    Offset(String, TopicPartition),
    Group(String),
}

/// A group of the classic protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GroupValue {
    pub protocol_type: String,
    pub generation: i32,
    pub protocol: Option<String>,
    pub leader: Option<String>,
    /// When the group came into its state; −1 if that is not known.
    pub since: i64,
    pub members: Vec<MemberValue>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MemberValue {
    pub id: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub subscription: Bytes,
    pub assignment: Bytes,
}

/// The partition of `__consumer_offsets` that a group's records are in.
pub(crate) fn partition_of(group: &str, partitions: i32) -> i32 {
    let hash = group.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // Java's Utils.abs: the smallest number stands for 0.
    let positive = if hash == i32::MIN { 0 } else { hash.abs() };
    positive % partitions.max(1)
}

/// `None` for a key of another kind, or that is none.
pub(super) fn read_key(key: &[u8]) -> Option<Key> {
    let mut key = Reader::new(key);
    match key.i16()? {
        0..=OFFSET_KEY => {
            let (group, topic) = (key.text()?.to_owned(), key.text()?);
            Some(Key::Offset(group, TopicPartition::new(topic, key.i32()?)))
        }
        GROUP_KEY => Some(Key::Group(key.text()?.to_owned())),
        _ => None,
    }
}

pub(super) fn offset_key(group: &str, place: &TopicPartition) -> Vec<u8> {
    let mut out = Writer::new(OFFSET_KEY);
    out.text(group);
    out.text(&place.topic);
    out.i32(place.partition);
    out.finish()
}

pub(super) fn group_key(group: &str) -> Vec<u8> {
    let mut out = Writer::new(GROUP_KEY);
    out.text(group);
    out.finish()
}

pub(super) fn offset_value(committed: &Committed) -> Vec<u8> {
    let mut out = Writer::new(OFFSET_VALUE);
    out.i64(committed.offset.0);
    out.i32(committed.leader_epoch);
    out.compact_text(&committed.metadata);
    out.i64(committed.at.0);
    match &committed.topic_id {
        Some(id) => out.tagged(&[(TOPIC_ID_TAG, id.as_bytes())]),
        None => out.tagged(&[]),
    }
    out.finish()
}

pub(super) fn read_offset_value(value: &[u8]) -> Option<Committed> {
    let mut value = Reader::new(value);
    let version = value.i16()?;
    let offset = Offset(value.i64()?);
    let leader_epoch = if version >= 3 { value.i32()? } else { -1 };
    let metadata = if version >= OFFSET_VALUE { value.compact_text()? } else { value.text()? }.to_owned();
    let at = Timestamp(value.i64()?);
    let mut topic_id = None;
    if version >= OFFSET_VALUE {
        value.tagged(|tag, field| {
            if tag == TOPIC_ID_TAG {
                topic_id = Uuid::from_slice(field).ok();
            }
        })?;
    }
    Some(Committed { offset, leader_epoch, metadata, at, topic_id })
}

pub(super) fn group_value(group: &GroupValue) -> Vec<u8> {
    let mut out = Writer::new(GROUP_VALUE);
    out.text(&group.protocol_type);
    out.i32(group.generation);
    out.nullable_text(group.protocol.as_deref());
    out.nullable_text(group.leader.as_deref());
    out.i64(group.since);
    out.i32(group.members.len() as i32);
    for member in &group.members {
        out.text(&member.id);
        out.nullable_text(member.instance.as_deref());
        out.text(&member.client_id);
        out.text(&member.client_host);
        out.i32(member.rebalance_timeout_ms);
        out.i32(member.session_timeout_ms);
        out.bytes(&member.subscription);
        out.bytes(&member.assignment);
    }
    out.finish()
}

/// `None` for a version that is not known, and for what has not its layout.
pub(super) fn read_group_value(value: &[u8]) -> Option<GroupValue> {
    let mut value = Reader::new(value);
    let version = value.i16()?;
    if !(0..=GROUP_VALUE).contains(&version) {
        return None;
    }
    let mut group = GroupValue {
        protocol_type: value.text()?.to_owned(),
        generation: value.i32()?,
        protocol: value.nullable_text()?.map(str::to_owned),
        leader: value.nullable_text()?.map(str::to_owned),
        since: if version >= 2 { value.i64()? } else { -1 },
        members: Vec::new(),
    };
    for _ in 0..value.i32()? {
        let (id, instance) = (value.text()?, if version >= 3 { value.nullable_text()? } else { None });
        let (client_id, client_host) = (value.text()?.to_owned(), value.text()?.to_owned());
        let rebalance = if version >= 1 { value.i32()? } else { -1 };
        let session_timeout_ms = value.i32()?;
        group.members.push(MemberValue {
            id: id.to_owned(),
            instance: instance.map(str::to_owned),
            client_id,
            client_host,
            rebalance_timeout_ms: if rebalance == -1 { session_timeout_ms } else { rebalance },
            session_timeout_ms,
            subscription: Bytes::copy_from_slice(value.bytes()?),
            assignment: Bytes::copy_from_slice(value.bytes()?),
        });
    }
    Some(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Apache Kafka 4.3.1 wrote for offset 1 of t-0, committed by group g.
    const APACHE_KEY: [u8; 12] = *b"\0\x01\0\x01g\0\x01t\0\0\0\0";
    const APACHE_VALUE: [u8; 42] = [
        0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x01,
        0xa1, 0xff, 0x07, 0x90, 0x31, 0x01, 0x00, 0x10, 0xd8, 0x15, 0x7e, 0x16, 0xd9, 0x77, 0x42, 0xa1, 0x86, 0xf8,
        0x40, 0x0d, 0xac, 0xaf, 0x70, 0x6c,
    ];

    #[test]
    fn offsets_have_apaches_bytes() {
        let place = TopicPartition::new("t", 0);
        let committed = read_offset_value(&APACHE_VALUE).unwrap();
        assert_eq!((committed.offset, committed.leader_epoch, committed.metadata.as_str()), (Offset(1), 0, ""));
        assert_eq!(committed.at, Timestamp(1_795_280_048_177));
        assert_eq!(crate::folder::kafka_id(committed.topic_id.unwrap()), "2BV-Ftl3QqGG-EANrK9wbA");
        assert_eq!(read_key(&APACHE_KEY), Some(Key::Offset("g".to_owned(), place.clone())));
        assert_eq!(offset_key("g", &place), APACHE_KEY);
        assert_eq!(offset_value(&committed), APACHE_VALUE);
    }

    #[test]
    fn older_versions_are_read() {
        let third =
            [&[0, 3][..], &42i64.to_be_bytes(), &5i32.to_be_bytes(), &[0, 1, b'm'], &7i64.to_be_bytes()].concat();
        let committed = read_offset_value(&third).unwrap();
        assert_eq!((committed.offset, committed.leader_epoch, committed.topic_id), (Offset(42), 5, None));
        assert!((0..APACHE_VALUE.len()).all(|cut| read_offset_value(&APACHE_VALUE[..cut]).is_none()));
    }

    #[test]
    fn groups_read_what_they_wrote() {
        let member = MemberValue {
            id: "c-1".to_owned(),
            instance: Some("static".to_owned()),
            client_id: "c".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            rebalance_timeout_ms: 300_000,
            session_timeout_ms: 45_000,
            subscription: Bytes::from_static(b"topics"),
            assignment: Bytes::from_static(b"partitions"),
        };
        let other = MemberValue { instance: None, id: "c-2".to_owned(), ..member.clone() };
        let group = GroupValue {
            protocol_type: "consumer".to_owned(),
            generation: 3,
            protocol: Some("range".to_owned()),
            leader: Some("c-1".to_owned()),
            since: 7,
            members: vec![member, other],
        };
        let bytes = group_value(&group);
        assert_eq!(read_group_value(&bytes), Some(group));
        assert!((0..bytes.len()).all(|cut| read_group_value(&bytes[..cut]).is_none()));
        assert_eq!(read_key(&group_key("news")), Some(Key::Group("news".to_owned())));
    }

    /// What Apache Kafka 4.3.1 wrote for a group of one consumer, and for one that has just been made.
    const APACHE_GROUP: &str = "00030008636f6e73756d657200000001000572616e6765002763322d34376538333231352d353062342d343130342d61\
        6534652d633636613230646335626237000001a20166a78300000001002763322d34376538333231352d353062342d343130342d616534652d633636\
        613230646335626237ffff00026332000a2f3132372e302e302e31000493e00000afc800000017000300000001000174ffffffff00000000ffffffff\
        ffff00000019000300000001000174000000020000000200000003ffffffff";
    const APACHE_NEW_GROUP: &str = "0003000000000000ffffffff000001a20166a50800000000";

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn groups_have_apaches_bytes() {
        let group = read_group_value(&hex(APACHE_GROUP)).unwrap();
        assert_eq!((group.generation, group.protocol.as_deref(), group.members.len()), (1, Some("range"), 1));
        assert_eq!(group.members[0].client_host, "/127.0.0.1");
        assert_eq!(group_value(&group), hex(APACHE_GROUP));
        let new = GroupValue { since: 1_795_319_833_864, ..GroupValue::default() };
        assert_eq!(group_value(&new), hex(APACHE_NEW_GROUP));
        assert_eq!(group_key("g1"), hex("000200026731"));
    }

    #[test]
    fn a_groups_partition_is_that_of_java() {
        // "hello".hashCode() is 99162322.
        assert_eq!(partition_of("hello", 50), 22);
    }
}
