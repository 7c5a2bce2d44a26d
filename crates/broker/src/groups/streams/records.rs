//! The records of groups of the streams protocol, in Apache Kafka's formats.
//!
//! | key | value, of version 0 |
//! |---|---|
//! | version 17, group | epoch (4), hash of the topics (8); tag 0: the epoch of the topology whose topics are right (4); tag 1: settings of the last assignment |
//! | version 19, group, member | instance, rack, client id, client host, rebalance timeout (4), epoch of its topology (4), process, endpoint, tags |
//! | version 20, group | epoch of the target (4); tag 0: its time (8) |
//! | version 21, group, member | target: active, standby, and warm-up tasks |
//! | version 22, group, member | epoch (4), epoch before (4), state (1), active, standby, and warm-up tasks, and the same of those to give up; tag 0 of active tasks: the epochs in which they were assigned |
//! | version 23, group | the topology, as a heartbeat has it |
//!
//! A version is 2 bytes, all else is compact; see [`crate::wire`]. Tasks stand by their subtopologies. A null value deletes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tidewater_protocol::messages::streams_group_heartbeat_request::Topology;
use tidewater_protocol::{Decodable, Encodable};

use super::super::Client;
use super::task::{Assigned, Task, Tasks, by_subtopology, numbers};
use crate::journal::Record;
use crate::wire::{Reader, Writer};

const EPOCH_KEY: i16 = 17;
const MEMBER_KEY: i16 = 19;
const TARGET_EPOCH_KEY: i16 = 20;
const TARGET_KEY: i16 = 21;
const CURRENT_KEY: i16 = 22;
const TOPOLOGY_KEY: i16 = 23;
const VALUE: i16 = 0;
/// The one version of the topology's layout.
const TOPOLOGY_VERSION: i16 = 0;

/// What of a group a record is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Part {
    Epoch,
    Member(String),
    TargetEpoch,
    Target(String),
    Current(String),
    Topology,
}

/// A change of a group; `None` deletes.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum Change {
    Epoch(Option<Epoch>),
    Member(String, Option<Metadata>),
    /// With the time.
    TargetEpoch(Option<(i32, i64)>),
    Target(String, Option<Tasks>),
    Current(String, Option<Current>),
    Topology(Option<Topology>),
}

/// The group's epoch, and what was known when it rose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Epoch {
    pub epoch: i32,
    /// Of the topics that the topology names.
    pub metadata_hash: i64,
    /// The epoch of the topology whose topics are all there and right; −1 if there are none such.
    pub validated_topology: i32,
    /// The settings that the assignment is made with.
    pub configs: BTreeMap<String, String>,
}

/// What a member has said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Metadata {
    pub instance: Option<String>,
    pub rack: Option<String>,
    pub client: Client,
    pub rebalance_timeout_ms: i32,
    pub topology_epoch: i32,
    pub process: String,
    pub endpoint: Option<(String, u16)>,
    pub tags: BTreeMap<String, String>,
}

impl Default for Metadata {
    fn default() -> Self {
        Metadata {
            instance: None,
            rack: None,
            client: Client::default(),
            rebalance_timeout_ms: -1,
            topology_epoch: -1,
            process: String::new(),
            endpoint: None,
            tags: BTreeMap::new(),
        }
    }
}

/// Where a member stands; the numbers are those of Apache Kafka's `MemberState`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(i8)]
pub(in super::super) enum MemberState {
    #[default]
    Stable = 1,
    /// It has yet to give tasks up.
    Unrevoked = 2,
    /// Others have yet to give tasks up.
    Unreleased = 3,
    /// Written by a version that has other states.
    Unknown = 127,
}

/// Where a member is on its way to its target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Current {
    pub epoch: i32,
    pub previous_epoch: i32,
    pub state: MemberState,
    pub assigned: Assigned,
    pub revoking: Assigned,
}

/// What a key of a group of the streams protocol is about, given what stands after the group; `None` for another kind.
pub(in super::super) fn read_part(kind: i16, key: &mut Reader<'_>) -> Option<Part> {
    let mut member = || key.text().map(str::to_owned);
    Some(match kind {
        EPOCH_KEY => Part::Epoch,
        MEMBER_KEY => Part::Member(member()?),
        TARGET_EPOCH_KEY => Part::TargetEpoch,
        TARGET_KEY => Part::Target(member()?),
        CURRENT_KEY => Part::Current(member()?),
        TOPOLOGY_KEY => Part::Topology,
        _ => return None,
    })
}

/// A change as a record of its group.
pub(super) fn record_of(group: &str, change: &Change) -> Record {
    let (kind, member) = match change {
        Change::Epoch(_) => (EPOCH_KEY, None),
        Change::Member(id, _) => (MEMBER_KEY, Some(id)),
        Change::TargetEpoch(_) => (TARGET_EPOCH_KEY, None),
        Change::Target(id, _) => (TARGET_KEY, Some(id)),
        Change::Current(id, _) => (CURRENT_KEY, Some(id)),
        Change::Topology(_) => (TOPOLOGY_KEY, None),
    };
    let mut key = Writer::new(kind);
    key.text(group);
    if let Some(member) = member {
        key.text(member);
    }
    let value = match change {
        Change::Epoch(value) => value.as_ref().map(epoch_value),
        Change::Member(_, value) => value.as_ref().map(metadata_value),
        Change::TargetEpoch(value) => value.as_ref().map(|value| target_epoch_value(*value)),
        Change::Target(_, value) => value.as_ref().map(target_value),
        Change::Current(_, value) => value.as_ref().map(current_value),
        Change::Topology(value) => value.as_ref().map(topology_value),
    };
    (key.finish(), value)
}

/// The change that a record is; `None` if the value has not its layout.
pub(in super::super) fn read_change(part: Part, value: Option<&[u8]>) -> Option<Change> {
    fn read<T>(value: Option<&[u8]>, read: impl FnOnce(&mut Reader<'_>) -> Option<T>) -> Option<Option<T>> {
        let Some(value) = value else { return Some(None) };
        let mut value = Reader::new(value);
        let _version = value.i16()?;
        read(&mut value).map(Some)
    }
    Some(match part {
        Part::Epoch => Change::Epoch(read(value, read_epoch)?),
        Part::Member(id) => Change::Member(id, read(value, read_metadata)?),
        Part::TargetEpoch => Change::TargetEpoch(read(value, read_target_epoch)?),
        Part::Target(id) => Change::Target(id, read(value, read_target)?),
        Part::Current(id) => Change::Current(id, read(value, read_current)?),
        Part::Topology => Change::Topology(match value {
            Some(value) => Some(read_topology(value)?),
            None => None,
        }),
    })
}

fn pairs(out: &mut Writer, pairs: &BTreeMap<String, String>) {
    out.compact_length(pairs.len());
    for (key, value) in pairs {
        out.compact_text(key);
        out.compact_text(value);
        out.tagged(&[]);
    }
}

fn read_pairs(from: &mut Reader<'_>) -> Option<BTreeMap<String, String>> {
    let pairs = from.compact_array(|from| {
        let pair = (from.compact_text()?.to_owned(), from.compact_text()?.to_owned());
        from.tagged(|_, _| {})?;
        Some(pair)
    });
    Some(pairs?.into_iter().collect())
}

fn epoch_value(epoch: &Epoch) -> Vec<u8> {
    let mut out = Writer::new(VALUE);
    out.i32(epoch.epoch);
    out.i64(epoch.metadata_hash);
    let validated = epoch.validated_topology.to_be_bytes();
    let mut configs = Writer::part();
    pairs(&mut configs, &epoch.configs);
    let configs = configs.finish();
    // What is the default is left out: a topology that is not valid, and no settings.
    let mut fields: Vec<(u32, &[u8])> = Vec::new();
    if epoch.validated_topology != -1 {
        fields.push((0, &validated));
    }
    if !epoch.configs.is_empty() {
        fields.push((1, &configs));
    }
    out.tagged(&fields);
    out.finish()
}

fn read_epoch(value: &mut Reader<'_>) -> Option<Epoch> {
    let mut epoch =
        Epoch { epoch: value.i32()?, metadata_hash: value.i64()?, validated_topology: -1, configs: BTreeMap::new() };
    value.tagged(|tag, field| match (tag, field.try_into()) {
        (0, Ok(field)) => epoch.validated_topology = i32::from_be_bytes(field),
        (1, _) => epoch.configs = read_pairs(&mut Reader::new(field)).unwrap_or_default(),
        _ => {}
    })?;
    Some(epoch)
}

fn metadata_value(metadata: &Metadata) -> Vec<u8> {
    let mut out = Writer::new(VALUE);
    out.nullable_compact_text(metadata.instance.as_deref());
    out.nullable_compact_text(metadata.rack.as_deref());
    out.compact_text(&metadata.client.id);
    out.compact_text(&metadata.client.host);
    out.i32(metadata.rebalance_timeout_ms);
    out.i32(metadata.topology_epoch);
    out.compact_text(&metadata.process);
    match &metadata.endpoint {
        Some((host, port)) => {
            out.i8(1);
            out.compact_text(host);
            out.u16(*port);
            out.tagged(&[]);
        }
        None => out.i8(-1),
    }
    pairs(&mut out, &metadata.tags);
    out.tagged(&[]);
    out.finish()
}

fn read_metadata(value: &mut Reader<'_>) -> Option<Metadata> {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Some(Metadata {
        instance: owned(value.nullable_compact_text()?),
        rack: owned(value.nullable_compact_text()?),
        client: Client { id: value.compact_text()?.to_owned(), host: value.compact_text()?.to_owned() },
        rebalance_timeout_ms: value.i32()?,
        topology_epoch: value.i32()?,
        process: value.compact_text()?.to_owned(),
        endpoint: match value.i8()? {
            ..0 => None,
            _ => {
                let endpoint = (value.compact_text()?.to_owned(), value.u16()?);
                value.tagged(|_, _| {})?;
                Some(endpoint)
            }
        },
        tags: read_pairs(value)?,
    })
}

fn target_epoch_value((epoch, at): (i32, i64)) -> Vec<u8> {
    let mut out = Writer::new(VALUE);
    out.i32(epoch);
    match at {
        0 => out.tagged(&[]),
        at => out.tagged(&[(0, &at.to_be_bytes())]),
    }
    out.finish()
}

fn read_target_epoch(value: &mut Reader<'_>) -> Option<(i32, i64)> {
    let (epoch, mut at) = (value.i32()?, 0);
    value.tagged(|tag, field| {
        if let (0, Ok(field)) = (tag, field.try_into()) {
            at = i64::from_be_bytes(field);
        }
    })?;
    Some((epoch, at))
}

fn tasks(out: &mut Writer, tasks: &BTreeSet<Task>) {
    let grouped = by_subtopology(tasks.iter());
    out.compact_length(grouped.len());
    for (subtopology, tasks) in grouped {
        out.compact_text(subtopology);
        numbers(out, tasks.iter().map(|task| task.partition));
        out.tagged(&[]);
    }
}

/// Active tasks, with the epochs in which they were assigned.
fn active_tasks(out: &mut Writer, tasks: &BTreeMap<Task, i32>) {
    let grouped = by_subtopology(tasks.keys());
    out.compact_length(grouped.len());
    for (subtopology, of_subtopology) in grouped {
        out.compact_text(subtopology);
        numbers(out, of_subtopology.iter().map(|task| task.partition));
        let mut epochs = Writer::part();
        numbers(&mut epochs, of_subtopology.iter().map(|task| tasks[task]));
        out.tagged(&[(0, &epochs.finish())]);
    }
}

/// Tasks, with the epochs in which they were assigned, where that is noted.
fn read_tasks(from: &mut Reader<'_>) -> Option<Vec<(Task, Option<i32>)>> {
    let groups = from.compact_array(|from| {
        let subtopology: Arc<str> = from.compact_text()?.into();
        let partitions = from.compact_array(Reader::i32)?;
        let mut epochs = Vec::new();
        from.tagged(|tag, field| {
            if tag == 0 {
                epochs = Reader::new(field).compact_array(Reader::i32).unwrap_or_default();
            }
        })?;
        let are_told = epochs.len() == partitions.len();
        let task = |(at, partition): (usize, i32)| {
            (Task { subtopology: subtopology.clone(), partition }, epochs.get(at).copied().filter(|_| are_told))
        };
        Some(partitions.into_iter().enumerate().map(task).collect::<Vec<_>>())
    });
    Some(groups?.into_iter().flatten().collect())
}

fn target_value(target: &Tasks) -> Vec<u8> {
    let mut out = Writer::new(VALUE);
    [&target.active, &target.standby, &target.warmup].into_iter().for_each(|kind| tasks(&mut out, kind));
    out.tagged(&[]);
    out.finish()
}

fn read_target(value: &mut Reader<'_>) -> Option<Tasks> {
    let mut tasks = || Some(read_tasks(value)?.into_iter().map(|(task, _)| task).collect());
    Some(Tasks { active: tasks()?, standby: tasks()?, warmup: tasks()? })
}

fn current_value(current: &Current) -> Vec<u8> {
    let mut out = Writer::new(VALUE);
    out.i32(current.epoch);
    out.i32(current.previous_epoch);
    out.i8(current.state as i8);
    for assigned in [&current.assigned, &current.revoking] {
        active_tasks(&mut out, &assigned.active);
        tasks(&mut out, &assigned.standby);
        tasks(&mut out, &assigned.warmup);
    }
    out.tagged(&[]);
    out.finish()
}

fn read_current(value: &mut Reader<'_>) -> Option<Current> {
    let (epoch, previous_epoch) = (value.i32()?, value.i32()?);
    let state = match value.i8()? {
        1 => MemberState::Stable,
        2 => MemberState::Unrevoked,
        3 => MemberState::Unreleased,
        _ => MemberState::Unknown,
    };
    let mut assigned = || {
        // Records of earlier versions do not say in which epoch: as the member's own.
        let active = read_tasks(value)?.into_iter().map(|(task, since)| (task, since.unwrap_or(epoch))).collect();
        let mut others = || Some(read_tasks(value)?.into_iter().map(|(task, _)| task).collect());
        Some(Assigned { active, standby: others()?, warmup: others()? })
    };
    Some(Current { epoch, previous_epoch, state, assigned: assigned()?, revoking: assigned()? })
}

fn topology_value(topology: &Topology) -> Vec<u8> {
    let mut out = BytesMut::from(&VALUE.to_be_bytes()[..]);
    // It has one version, which is this one.
    let written = topology.encode(&mut out, TOPOLOGY_VERSION);
    debug_assert!(written.is_ok());
    out.to_vec()
}

fn read_topology(value: &[u8]) -> Option<Topology> {
    // Of its own, so that it does not keep what it was read from.
    let mut value = Bytes::copy_from_slice(value.get(VALUE.to_be_bytes().len()..)?);
    Topology::decode(&mut value, TOPOLOGY_VERSION).ok()
}

/// A topology of its own, so that it does not keep the request that it came in.
pub(super) fn detached(topology: &Topology) -> Option<Topology> {
    read_topology(&topology_value(topology))
}
