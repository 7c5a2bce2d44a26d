//! The records of `__consumer_offsets`, in Apache Kafka's formats. A group's are in the partition of its name's Java hash.
//!
//! | key | value |
//! |---|---|
//! | version 1, group, topic, partition (4) | version 4, offset (8), leader epoch (4), metadata, commit time (8), tag 0: the topic's id |
//! | version 2, group | version 3, protocol type, generation (4), protocol, leader, time of the state (8), members |
//! | version 3, group | version 0, epoch (4), tag 0: hash of the subscribed topics (8) |
//! | version 5, group, member | version 0, instance, rack, client id, client host, topics, regular expression, rebalance timeout (4), assignor; tag 0: null, or of a member of the classic protocol its session timeout (4) and its protocols with their subscriptions |
//! | version 6, group | version 0, epoch of the target (4), tag 0: its time (8) |
//! | version 7, group, member | version 0, target: topics with their partitions |
//! | version 8, group, member | version 0, epoch (4), epoch before (4), state (1), assigned partitions, partitions to give up; tag 0 of a topic: the epochs in which its partitions were assigned |
//! | version 16, group, regular expression | version 0, topics, version of the topics (8), time (8) |
//!
//! Version 2 is of the classic protocol, those from 3 on of the consumer protocol; for those of the streams protocol, see [`streams`].
//!
//! A member: id, instance, client id, client host, rebalance timeout (4), session timeout (4), subscription, assignment. A version is 2 bytes;
//! value 4 of key 1 and the values of keys from 3 on are compact; see [`crate::wire`]. A null value deletes. Older versions are read.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tidewater_types::{Offset, Timestamp, TopicPartition};
use uuid::Uuid;

use super::Client;
use super::assign::Partitions;
use super::offsets::Committed;
use super::streams;
use crate::journal::Record;
use crate::wire::{Reader, Writer};

/// The topic.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// The longest name of a group: a length in the record is 16 bits wide, with a sign.
pub(crate) const GROUP_LIMIT_BYTES: usize = i16::MAX as usize;

/// `MemberState`.
const STABLE: i8 = 0;
const UNREVOKED: i8 = 1;
const UNRELEASED: i8 = 2;

const OFFSET_KEY: i16 = 1;
const GROUP_KEY: i16 = 2;
const EPOCH_KEY: i16 = 3;
const TOPICS_KEY: i16 = 4;
const MEMBER_KEY: i16 = 5;
const TARGET_EPOCH_KEY: i16 = 6;
const TARGET_KEY: i16 = 7;
const CURRENT_KEY: i16 = 8;
const REGEX_KEY: i16 = 16;
const OFFSET_VALUE: i16 = 4;
/// Of an offset that goes at a time that was said with it.
const EXPIRING_OFFSET_VALUE: i16 = 1;
const GROUP_VALUE: i16 = 3;
/// The tag of what a member of the classic protocol has besides.
const CLASSIC_TAG: u32 = 0;
/// The tag of the topic's id in an offset's value.
const TOPIC_ID_TAG: u32 = 0;

/// What a record is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Key {
    Offset(String, TopicPartition),
    Group(String),
    /// Of a group of the consumer protocol.
    Consumer(String, Part),
    /// Of a group of the streams protocol.
    Streams(String, streams::Part),
}

/// What of a group of the consumer protocol a record is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Epoch,
    Member(String),
    TargetEpoch,
    Target(String),
    Current(String),
    Regex(String),
}

/// A change of a group of the consumer protocol; `None` deletes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Of the group's epoch, with the hash of the topics that its members subscribe to.
    Epoch(Option<(i32, i64)>),
    Member(String, Option<Metadata>),
    /// With the time.
    TargetEpoch(Option<(i32, i64)>),
    Target(String, Option<Partitions>),
    Current(String, Option<Current>),
    Regex(String, Option<Resolved>),
}

/// What a member has said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Metadata {
    pub instance: Option<String>,
    pub rack: Option<String>,
    pub client: Client,
    pub topics: BTreeSet<String>,
    /// A regular expression for more of them; empty for none, as Apache Kafka notes it.
    pub regex: String,
    pub rebalance_timeout_ms: i32,
    pub assignor: Option<String>,
    /// What it has besides if it speaks the classic protocol.
    pub classic: Option<ClassicMetadata>,
}

/// What a member of the classic protocol has said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClassicMetadata {
    pub session_timeout_ms: i32,
    /// Its protocols by preference, each with its subscription.
    pub protocols: Vec<(String, Bytes)>,
}

impl Metadata {
    /// The regular expression, if it has one: an empty one is none.
    pub fn regex(&self) -> Option<&String> {
        Some(&self.regex).filter(|regex| !regex.is_empty())
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum MemberState {
    #[default]
    Stable,
    /// It has yet to give partitions up.
    Unrevoked,
    /// Others have yet to give partitions up.
    Unreleased,
}

/// Where a member is on its way to its target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Current {
    pub epoch: i32,
    pub previous_epoch: i32,
    pub state: MemberState,
    /// By topic and partition, with the epoch in which it was assigned.
    pub assigned: BTreeMap<Uuid, BTreeMap<i32, i32>>,
    pub revoking: BTreeMap<Uuid, BTreeMap<i32, i32>>,
}

/// The topics that a regular expression fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Resolved {
    pub topics: BTreeSet<String>,
    /// Of the topics that there were.
    pub version: i64,
    pub at: Timestamp,
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

/// `None` for a key of another kind, or that is none.
pub(super) fn read_key(key: &[u8]) -> Option<Key> {
    let mut key = Reader::new(key);
    match key.i16()? {
        0..=OFFSET_KEY => {
            let (group, topic) = (key.text()?.to_owned(), key.text()?);
            Some(Key::Offset(group, TopicPartition::new(topic, key.i32()?)))
        }
        GROUP_KEY => Some(Key::Group(key.text()?.to_owned())),
        kind => {
            let group = key.text()?.to_owned();
            if let Some(part) = streams::read_part(kind, &mut key) {
                return Some(Key::Streams(group, part));
            }
            let mut name = || key.text().map(str::to_owned);
            let part = match kind {
                EPOCH_KEY => Part::Epoch,
                MEMBER_KEY => Part::Member(name()?),
                TARGET_EPOCH_KEY => Part::TargetEpoch,
                TARGET_KEY => Part::Target(name()?),
                CURRENT_KEY => Part::Current(name()?),
                REGEX_KEY => Part::Regex(name()?),
                _ => return None,
            };
            Some(Key::Consumer(group, part))
        }
    }
}

/// The key of the topics that a group subscribes to, which earlier versions of Apache Kafka wrote; it goes with the group.
pub(super) fn topics_key(group: &str) -> Vec<u8> {
    let mut key = Writer::new(TOPICS_KEY);
    key.text(group);
    key.finish()
}

/// A change as a record of its group.
pub(super) fn consumer_record(group: &str, change: &Change) -> Record {
    let (kind, name) = match change {
        Change::Epoch(_) => (EPOCH_KEY, None),
        Change::Member(id, _) => (MEMBER_KEY, Some(id)),
        Change::TargetEpoch(_) => (TARGET_EPOCH_KEY, None),
        Change::Target(id, _) => (TARGET_KEY, Some(id)),
        Change::Current(id, _) => (CURRENT_KEY, Some(id)),
        Change::Regex(regex, _) => (REGEX_KEY, Some(regex)),
    };
    let mut key = Writer::new(kind);
    key.text(group);
    if let Some(name) = name {
        key.text(name);
    }
    let value = match change {
        Change::Epoch(value) | Change::TargetEpoch(value) => value.as_ref().map(|value| epoch_value(*value)),
        Change::Member(_, value) => value.as_ref().map(metadata_value),
        Change::Target(_, value) => value.as_ref().map(target_value),
        Change::Current(_, value) => value.as_ref().map(current_value),
        Change::Regex(_, value) => value.as_ref().map(resolved_value),
    };
    (key.finish(), value)
}

/// The change that a record is; `None` if the value has not its layout.
pub(super) fn read_change(part: Part, value: Option<&[u8]>) -> Option<Change> {
    fn read<T>(value: Option<&[u8]>, read: impl FnOnce(&mut Reader<'_>) -> Option<T>) -> Option<Option<T>> {
        let Some(value) = value else { return Some(None) };
        let mut value = Reader::new(value);
        let _version = value.i16()?;
        read(&mut value).map(Some)
    }
    Some(match part {
        Part::Epoch => Change::Epoch(read(value, read_epoch)?),
        Part::Member(id) => Change::Member(id, read(value, read_metadata)?),
        Part::TargetEpoch => Change::TargetEpoch(read(value, read_epoch)?),
        Part::Target(id) => Change::Target(id, read(value, read_target)?),
        Part::Current(id) => Change::Current(id, read(value, read_current)?),
        Part::Regex(regex) => Change::Regex(regex, read(value, read_resolved)?),
    })
}

/// An epoch, and a number beside it that is left out if it is 0.
fn epoch_value((epoch, number): (i32, i64)) -> Vec<u8> {
    let mut out = Writer::new(0);
    out.i32(epoch);
    match number {
        0 => out.tagged(&[]),
        number => out.tagged(&[(0, &number.to_be_bytes())]),
    }
    out.finish()
}

fn read_epoch(value: &mut Reader<'_>) -> Option<(i32, i64)> {
    let epoch = value.i32()?;
    let mut number = 0;
    value.tagged(|tag, field| {
        if let (0, Ok(field)) = (tag, field.try_into()) {
            number = i64::from_be_bytes(field);
        }
    })?;
    Some((epoch, number))
}

fn metadata_value(metadata: &Metadata) -> Vec<u8> {
    let mut out = Writer::new(0);
    out.nullable_compact_text(metadata.instance.as_deref());
    out.nullable_compact_text(metadata.rack.as_deref());
    out.compact_text(&metadata.client.id);
    out.compact_text(&metadata.client.host);
    out.compact_length(metadata.topics.len());
    metadata.topics.iter().for_each(|topic| out.compact_text(topic));
    out.nullable_compact_text(Some(&metadata.regex));
    out.i32(metadata.rebalance_timeout_ms);
    out.nullable_compact_text(metadata.assignor.as_deref());
    match &metadata.classic {
        // A structure without anything is the default, which is left out.
        Some(classic) if *classic == ClassicMetadata::default() => out.tagged(&[]),
        classic => out.tagged(&[(CLASSIC_TAG, &classic_value(classic.as_ref()))]),
    }
    out.finish()
}

/// A structure that may be null, as a byte before it says.
fn classic_value(classic: Option<&ClassicMetadata>) -> Vec<u8> {
    let mut out = Writer::part();
    let Some(classic) = classic else {
        out.varint(0);
        return out.finish();
    };
    out.varint(1);
    out.i32(classic.session_timeout_ms);
    out.compact_length(classic.protocols.len());
    for (name, subscription) in &classic.protocols {
        out.compact_text(name);
        out.compact_bytes(subscription);
        out.tagged(&[]);
    }
    out.tagged(&[]);
    out.finish()
}

fn read_classic(field: &[u8]) -> Option<Option<ClassicMetadata>> {
    let mut field = Reader::new(field);
    if field.varint()? == 0 {
        return Some(None);
    }
    let session_timeout_ms = field.i32()?;
    let protocols = field.compact_array(|field| {
        let protocol = (field.compact_text()?.to_owned(), Bytes::copy_from_slice(field.compact_bytes()?));
        field.tagged(|_, _| {})?;
        Some(protocol)
    });
    Some(Some(ClassicMetadata { session_timeout_ms, protocols: protocols? }))
}

fn read_metadata(value: &mut Reader<'_>) -> Option<Metadata> {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let mut metadata = Metadata {
        instance: owned(value.nullable_compact_text()?),
        rack: owned(value.nullable_compact_text()?),
        client: Client { id: value.compact_text()?.to_owned(), host: value.compact_text()?.to_owned() },
        topics: value.compact_array(|value| value.compact_text().map(str::to_owned))?.into_iter().collect(),
        regex: value.nullable_compact_text()?.unwrap_or_default().to_owned(),
        rebalance_timeout_ms: value.i32()?,
        assignor: owned(value.nullable_compact_text()?),
        classic: Some(ClassicMetadata::default()),
    };
    let mut is_whole = true;
    value.tagged(|tag, field| {
        if tag == CLASSIC_TAG {
            match read_classic(field) {
                Some(classic) => metadata.classic = classic,
                None => is_whole = false,
            }
        }
    })?;
    is_whole.then_some(metadata)
}

fn target_value(target: &Partitions) -> Vec<u8> {
    let mut out = Writer::new(0);
    out.compact_length(target.len());
    for (topic, partitions) in target {
        out.uuid(*topic);
        out.compact_length(partitions.len());
        partitions.iter().for_each(|partition| out.i32(*partition));
        out.tagged(&[]);
    }
    out.tagged(&[]);
    out.finish()
}

fn read_target(value: &mut Reader<'_>) -> Option<Partitions> {
    let topics = value.compact_array(|value| {
        let topic = (value.uuid()?, value.compact_array(Reader::i32)?.into_iter().collect());
        value.tagged(|_, _| {})?;
        Some(topic)
    });
    Some(topics?.into_iter().collect())
}

fn current_value(current: &Current) -> Vec<u8> {
    let mut out = Writer::new(0);
    out.i32(current.epoch);
    out.i32(current.previous_epoch);
    out.i8(match current.state {
        MemberState::Stable => STABLE,
        MemberState::Unrevoked => UNREVOKED,
        MemberState::Unreleased => UNRELEASED,
    });
    for places in [&current.assigned, &current.revoking] {
        out.compact_length(places.len());
        for (topic, partitions) in places {
            out.uuid(*topic);
            out.compact_length(partitions.len());
            partitions.keys().for_each(|partition| out.i32(*partition));
            let mut epochs = Writer::part();
            epochs.compact_length(partitions.len());
            partitions.values().for_each(|epoch| epochs.i32(*epoch));
            out.tagged(&[(0, &epochs.finish())]);
        }
    }
    out.tagged(&[]);
    out.finish()
}

fn read_current(value: &mut Reader<'_>) -> Option<Current> {
    let (epoch, previous_epoch) = (value.i32()?, value.i32()?);
    let state = match value.i8()? {
        STABLE => MemberState::Stable,
        UNREVOKED => MemberState::Unrevoked,
        UNRELEASED => MemberState::Unreleased,
        _ => return None,
    };
    let mut places = || {
        let topics = value.compact_array(|value| {
            let (topic, partitions) = (value.uuid()?, value.compact_array(Reader::i32)?);
            let mut epochs = Vec::new();
            value.tagged(|tag, field| {
                if tag == 0 {
                    epochs = Reader::new(field).compact_array(Reader::i32).unwrap_or_default();
                }
            })?;
            // Records of earlier versions do not say: as the member's own.
            epochs.resize(partitions.len(), epoch);
            Some((topic, partitions.into_iter().zip(epochs).collect()))
        });
        Some(topics?.into_iter().collect())
    };
    let (assigned, revoking) = (places()?, places()?);
    Some(Current { epoch, previous_epoch, state, assigned, revoking })
}

fn resolved_value(resolved: &Resolved) -> Vec<u8> {
    let mut out = Writer::new(0);
    out.compact_length(resolved.topics.len());
    resolved.topics.iter().for_each(|topic| out.compact_text(topic));
    out.i64(resolved.version);
    out.i64(resolved.at.0);
    out.tagged(&[]);
    out.finish()
}

fn read_resolved(value: &mut Reader<'_>) -> Option<Resolved> {
    let topics = value.compact_array(|value| value.compact_text().map(str::to_owned))?;
    Some(Resolved { topics: topics.into_iter().collect(), version: value.i64()?, at: Timestamp(value.i64()?) })
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
    if let Some(expires) = committed.expires {
        // The only version that has it.
        let mut out = Writer::new(EXPIRING_OFFSET_VALUE);
        out.i64(committed.offset.0);
        out.text(&committed.metadata);
        out.i64(committed.at.0);
        out.i64(expires.0);
        return out.finish();
    }
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
    let expires = if version == EXPIRING_OFFSET_VALUE { Some(value.i64()?) } else { None };
    let mut topic_id = None;
    if version >= OFFSET_VALUE {
        value.tagged(|tag, field| {
            if tag == TOPIC_ID_TAG {
                topic_id = Uuid::from_slice(field).ok();
            }
        })?;
    }
    let expires = expires.filter(|expires| *expires >= 0).map(Timestamp);
    Some(Committed { offset, leader_epoch, metadata, at, expires, topic_id })
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

    /// What Apache Kafka 4.3.1 wrote while one consumer joined, gave partitions up, and another one waited for them.
    const APACHE_CONSUMERS: [(&str, &str); 7] = [
        (
            "00050002673100166c484c332d62356152566d6644694a67424842596d67",
            "000000000363310b2f3132372e302e302e3102027401000493e00001000100",
        ),
        ("000300026731", "000000000002010008833dcfafbf4f3f4b"),
        (
            "00070002673100166c484c332d62356152566d6644694a67424842596d67",
            "00000250dbe0efc42f4996b14f4a9df650f74905000000000000000100000002000000030000",
        ),
        ("000600026731", "000000000002010008000001a201a02a6d"),
        (
            "00080002673100166c484c332d62356152566d6644694a67424842596d67",
            "00000000000200000000000250dbe0efc42f4996b14f4a9df650f749050000000000000001000000020000000301001105000000020000000200\
             000002000000020100",
        ),
        (
            "00080002673100166c484c332d62356152566d6644694a67424842596d67",
            "00000000000200000002010250dbe0efc42f4996b14f4a9df650f7490300000000000000010100090300000002000000020250dbe0efc42f4996\
             b14f4a9df650f74903000000020000000301000903000000020000000200",
        ),
        ("0008000267310016356c4a743259776e525f474642694a55396142654567", "0000000000030000000202010100"),
    ];

    /// The end of what Apache Kafka 4.3.1 writes for a member of the classic protocol.
    const APACHE_CLASSIC: &str = "000000000263032f680202740100 0493e000 0100 1201 0000afc8 020672616e67650400030100 00";

    #[test]
    fn members_of_the_classic_protocol_have_apaches_bytes() {
        let Some(Change::Member(_, Some(metadata))) =
            read_change(Part::Member("m".to_owned()), Some(&hex(&APACHE_CLASSIC.replace(' ', ""))))
        else {
            panic!("it is not read")
        };
        let classic = metadata.classic.clone().unwrap();
        assert_eq!((classic.session_timeout_ms, classic.protocols[0].0.as_str()), (45_000, "range"));
        assert_eq!(metadata_value(&metadata), hex(&APACHE_CLASSIC.replace(' ', "")));
    }

    #[test]
    fn consumers_have_apaches_bytes() {
        let mut changes = Vec::new();
        for (key, value) in APACHE_CONSUMERS {
            let Some(Key::Consumer(group, part)) = read_key(&hex(key)) else { panic!("{key}") };
            let change = read_change(part, Some(&hex(value))).unwrap();
            assert_eq!(consumer_record(&group, &change), (hex(key), Some(hex(value))));
            changes.push(change);
        }
        let Change::Member(id, Some(metadata)) = &changes[0] else { panic!("{:?}", changes[0]) };
        assert_eq!(
            (id.as_str(), metadata.client.id.as_str(), metadata.regex()),
            ("lHL3-b5aRVmfDiJgBHBYmg", "c1", None)
        );
        let Change::Current(_, Some(current)) = &changes[5] else { panic!("{:?}", changes[5]) };
        assert_eq!((current.epoch, current.state, current.revoking.len()), (2, MemberState::Unrevoked, 1));
        let Change::Current(_, Some(current)) = &changes[6] else { panic!("{:?}", changes[6]) };
        assert_eq!((current.previous_epoch, current.state), (2, MemberState::Unreleased));
    }
}
