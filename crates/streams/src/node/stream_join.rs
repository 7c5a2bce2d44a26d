//! Joining two streams: records of one key that lie within a window of each other.
//!
//! Each side keeps its records in a window store and looks into the other's. Left and outer joins keep records that have
//! not met a partner in a store ordered by time, and send them when their window is closed. When exactly, and in which
//! order, follows Kafka Streams to the letter (KAFKA-10847).
//!
//! The store of unmatched records: key = time (8), side (1: 1 left, 0 right), key; value = 1 (1), count (4), then for each
//! record its length (4), side (1) and value.

use std::marker::PhantomData;
use std::sync::Arc;

use tidewater_state::{KeyRange, push_window_suffix};
use tidewater_types::{Record, Timestamp};

use super::{Boxed, user};
use crate::codec::{CodecError, Data, Field, Serde};
use crate::error::{FailureKind, TaskError, UserError};
use crate::graph::OpId;
use crate::task::{Core, DropReason, Node, NodeId, StoreAccess, StoreId, take_record};

/// How far apart two records may be, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JoinSpan {
    /// How much earlier than the left record the right one may be.
    pub before_ms: i64,
    /// How much later.
    pub after_ms: i64,
    pub grace_ms: i64,
}

impl JoinSpan {
    /// How long the stores keep records.
    pub fn retention_ms(&self) -> i64 {
        self.before_ms.saturating_add(self.after_ms).saturating_add(self.grace_ms)
    }
}

/// What both sides of a join know of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JoinTimes {
    pub stream_time: i64,
    /// Time of the earliest record that may wait unmatched.
    pub min_time: i64,
    pub next_emit_ms: i64,
}

impl Default for JoinTimes {
    fn default() -> Self {
        JoinTimes { stream_time: -1, min_time: i64::MAX, next_emit_ms: 0 }
    }
}

/// Makes a joined value; called with at least one side. `K` is the stream's key type.
pub(crate) type JoinPair<K, L, R, V> = Arc<dyn Fn(&K, Option<&L>, Option<&R>) -> Result<V, UserError> + Send + Sync>;

/// Keeps a side's records for the other side to find, after this one's results are sent.
pub(crate) struct JoinWindowStore<K: Field, V: Field> {
    id: NodeId,
    access: StoreAccess<K::Some, V::Some>,
    /// The bytes of the record at work.
    full_key: Vec<u8>,
    value: Vec<u8>,
    types: PhantomData<fn(K, V)>,
}

impl<K: Field, V: Field> JoinWindowStore<K, V> {
    pub fn new(id: NodeId, access: StoreAccess<K::Some, V::Some>) -> Self {
        JoinWindowStore { id, access, full_key: Vec::new(), value: Vec::new(), types: PhantomData }
    }
}

impl<K: Field, V: Field> Node for JoinWindowStore<K, V> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let record = take_record::<K, V>(record);
        self.full_key.clear();
        self.value.clear();
        let key = record.key.as_some().map(|key| self.access.key.write(key, &mut self.full_key)).transpose()?;
        let value = record.value.as_some().map(|value| self.access.value.write(value, &mut self.value)).transpose()?;
        let timestamp = record.timestamp;
        core.forward(self.id, record)?;
        if key.is_none() {
            return Ok(());
        }
        // A null value deletes nothing here, but it takes a number and is logged, as in Kafka Streams.
        let number = core.stores[self.access.id].next_window_number();
        push_window_suffix(&mut self.full_key, timestamp.0, number);
        self.access.put_raw(core, &self.full_key, value.map(|()| self.value.as_slice()))
    }
}

/// One side of a stream-stream join. `join` is given this side's value first.
pub(crate) struct StreamJoinSide<K: Field, VThis: Field, VOther: Field, V> {
    pub id: NodeId,
    pub op: OpId,
    pub is_left: bool,
    /// Whether this side's records are sent without a partner.
    pub outer: bool,
    pub span: JoinSpan,
    pub this_value: Serde<VThis::Some>,
    pub other: StoreAccess<K::Some, VOther::Some>,
    pub unmatched: Option<StoreId>,
    pub join: JoinPair<K, VThis::Some, VOther::Some, V>,
    /// The bytes of the key at work.
    pub raw: Vec<u8>,
}

impl<K: Field, VThis: Field, VOther: Field, V: Clone + Send + 'static> Node for StreamJoinSide<K, VThis, VOther, V> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value, timestamp, headers } = take_record::<K, VThis>(record);
        let time = timestamp.0;
        let times = core.join_times.entry(self.op).or_default();
        times.stream_time = times.stream_time.max(time);
        let stream_time = times.stream_time;
        let value = value.into_some();
        let (Some(some_key), Some(value)) = (key.as_some(), &value) else {
            return match value {
                Some(value) if self.outer => {
                    let joined = (self.join)(&key, Some(&value), None).map_err(user)?;
                    core.forward(self.id, Record { key, value: joined, timestamp, headers })
                }
                Some(_) => {
                    core.drop_record(DropReason::NullKey);
                    Ok(())
                }
                None => {
                    core.drop_record(DropReason::NullValue);
                    Ok(())
                }
            };
        };
        let mut raw = std::mem::take(&mut self.raw);
        raw.clear();
        self.other.key.write(some_key, &mut raw)?;
        let result = |value, timestamp| Record { key: key.clone(), value, timestamp, headers: headers.clone() };
        let joined = self.join_with_others(core, &key, value, (time, stream_time), &raw, &result);
        self.raw = raw;
        joined
    }
}

impl<K: Field, VThis: Field, VOther: Field, V: Clone + Send + 'static> StreamJoinSide<K, VThis, VOther, V> {
    /// Joins a record with those of the other side, `raw` being the bytes of its key; without any, it may go on alone.
    fn join_with_others(
        &self,
        core: &mut Core,
        key: &K,
        value: &VThis::Some,
        (time, stream_time): (i64, i64),
        raw: &[u8],
        result: &dyn Fn(V, Timestamp) -> Record<K, V>,
    ) -> Result<(), TaskError> {
        if time == stream_time && self.unmatched.is_some() {
            self.send_unmatched(core, result)?;
        }
        let (before, after) = self.reach();
        let (from, to) = (time.saturating_sub(before).max(0), time.saturating_add(after).max(0));
        let partners = core.stores[self.other.id].fetch(raw, from, to, false, |value| self.other.value.read(value))?;
        let is_alone = partners.is_empty();
        for (start, other) in partners {
            if let Some(unmatched) = self.unmatched {
                let waiting = unmatched_key(start, !self.is_left, raw);
                if core.stores[unmatched].get(&waiting, |_| ())?.is_some() {
                    put_unmatched(core, unmatched, &waiting, None)?;
                }
            }
            let joined = (self.join)(key, Some(value), Some(&other?)).map_err(user)?;
            core.forward(self.id, result(joined, Timestamp(time.max(start))))?;
        }
        if !self.outer || !is_alone {
            return Ok(());
        }
        match self.unmatched {
            Some(unmatched) if to >= stream_time => {
                let times = core.join_times.entry(self.op).or_default();
                times.min_time = times.min_time.min(time);
                let waiting = unmatched_key(time, self.is_left, raw);
                let mut list = core.stores[unmatched].get(&waiting, <[u8]>::to_vec)?.unwrap_or_else(new_list);
                push_to_list(&mut list, self.is_left, &self.this_value.to_bytes(value)?)?;
                put_unmatched(core, unmatched, &waiting, Some(&list))
            }
            _ => {
                let joined = (self.join)(key, Some(value), None).map_err(user)?;
                core.forward(self.id, result(joined, Timestamp(time)))
            }
        }
    }

    /// How far back and ahead this side looks.
    fn reach(&self) -> (i64, i64) {
        if self.is_left { (self.span.before_ms, self.span.after_ms) } else { (self.span.after_ms, self.span.before_ms) }
    }

    /// Sends the waiting records whose window is closed.
    fn send_unmatched(&self, core: &mut Core, result: &dyn Fn(V, Timestamp) -> Record<K, V>) -> Result<(), TaskError> {
        let Some(unmatched) = self.unmatched else { return Ok(()) };
        let now = core.wall_clock.0;
        let interval = core.emit_interval_ms;
        let times = core.join_times.entry(self.op).or_default();
        let stream_time = times.stream_time;
        let (_, after) = self.reach();
        let is_open =
            |time: i64, after: i64| time.saturating_add(after).saturating_add(self.span.grace_ms) >= stream_time;
        // After a restart it is not known whether any wait, nor since when.
        let is_known = times.min_time != i64::MAX;
        if is_known && is_open(times.min_time, after) || now < times.next_emit_ms {
            return Ok(());
        }
        times.next_emit_ms = now + interval;
        times.min_time = i64::MAX;
        let (mut left_open, mut right_open) = (false, false);
        let mut sent: Option<Vec<u8>> = None;
        for (waiting, list) in core.stores[unmatched].scan(&KeyRange::all(), false)? {
            let (time, is_left, raw) = split_unmatched_key(&waiting)?;
            core.join_times.entry(self.op).or_default().min_time = time;
            if left_open && right_open {
                break;
            }
            if is_open(time, if is_left { self.span.after_ms } else { self.span.before_ms }) {
                left_open |= is_left;
                right_open |= !is_left;
                continue;
            }
            let key = self.other.key.read(raw)?;
            for value in split_list(&list)? {
                let key = K::from_some(key.clone());
                let joined = if is_left == self.is_left {
                    (self.join)(&key, Some(&self.this_value.read(value)?), None)
                } else {
                    (self.join)(&key, None, Some(&self.other.value.read(value)?))
                };
                let record = result(joined.map_err(user)?, Timestamp(time)).with_key(key);
                core.forward(self.id, record)?;
                // The one before goes once the first of this one is sent.
                if sent.as_ref() != Some(&waiting)
                    && let Some(previous) = sent.replace(waiting.clone())
                {
                    put_unmatched(core, unmatched, &previous, None)?;
                }
            }
        }
        match sent {
            Some(previous) => put_unmatched(core, unmatched, &previous, None),
            None => Ok(()),
        }
    }
}

fn put_unmatched(core: &mut Core, store: StoreId, key: &[u8], value: Option<&[u8]>) -> Result<(), TaskError> {
    core.stores[store].put(key, value, &core.context, &mut core.outbox)?;
    core.check_changelog()
}

fn unmatched_key(time: i64, is_left: bool, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(9 + key.len());
    out.extend_from_slice(&time.to_be_bytes());
    out.push(u8::from(is_left));
    out.extend_from_slice(key);
    out
}

fn malformed(what: &str) -> TaskError {
    TaskError::new(FailureKind::State, CodecError::new(what, "not in its layout"))
}

fn split_unmatched_key(raw: &[u8]) -> Result<(i64, bool, &[u8]), TaskError> {
    let (time, rest) = raw.split_first_chunk::<8>().ok_or_else(|| malformed("key of an unmatched record"))?;
    let (&side, key) = rest.split_first().ok_or_else(|| malformed("key of an unmatched record"))?;
    Ok((i64::from_be_bytes(*time), side == 1, key))
}

fn new_list() -> Vec<u8> {
    vec![1, 0, 0, 0, 0]
}

fn push_to_list(list: &mut Vec<u8>, is_left: bool, value: &[u8]) -> Result<(), TaskError> {
    let count = list.get(1..5).ok_or_else(|| malformed("list of unmatched records"))?;
    let count = u32::from_be_bytes([count[0], count[1], count[2], count[3]]) + 1;
    list[1..5].copy_from_slice(&count.to_be_bytes());
    list.extend_from_slice(&(value.len() as u32 + 1).to_be_bytes());
    list.push(u8::from(is_left));
    list.extend_from_slice(value);
    Ok(())
}

fn split_list(list: &[u8]) -> Result<Vec<&[u8]>, TaskError> {
    let mut rest = list.get(5..).ok_or_else(|| malformed("list of unmatched records"))?;
    let mut values = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let entry = after.get(..length).ok_or_else(|| malformed("list of unmatched records"))?;
        values.push(entry.get(1..).ok_or_else(|| malformed("list of unmatched records"))?);
        rest = &after[length..];
    }
    Ok(values)
}

/// A stream joined with itself, over one store.
pub(crate) struct SelfJoin<K: Field, V: Field, V2> {
    pub id: NodeId,
    pub op: OpId,
    pub span: JoinSpan,
    pub access: StoreAccess<K::Some, V::Some>,
    pub join: JoinPair<K, V::Some, V::Some, V2>,
}

impl<K: Field, V: Field, V2: Clone + Send + 'static> Node for SelfJoin<K, V, V2>
where
    V::Some: Data,
{
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value, timestamp, headers } = take_record::<K, V>(record);
        let (Some(some_key), Some(value)) = (key.as_some(), value.as_some()) else {
            core.drop_record(DropReason::NullKey);
            return Ok(());
        };
        let time = timestamp.0;
        let raw = self.access.key_bytes(some_key)?;
        let times = core.join_times.entry(self.op).or_default();
        times.stream_time = times.stream_time.max(time);
        let with_itself = time > times.stream_time.saturating_sub(self.span.retention_ms()).saturating_add(1);
        let result = |value, timestamp| Record { key: key.clone(), value, timestamp, headers: headers.clone() };
        let fetch = |core: &mut Core, before: i64, after: i64| {
            let (from, to) = (time.saturating_sub(before).max(0), time.saturating_add(after).max(0));
            core.stores[self.access.id].fetch(&raw, from, to, false, |value| self.access.value.read(value))
        };
        for (start, other) in fetch(core, self.span.before_ms, self.span.after_ms)? {
            let joined = (self.join)(&key, Some(value), Some(&other?)).map_err(user)?;
            core.forward(self.id, result(joined, Timestamp(time.max(start))))?;
        }
        let mut itself_sent = !with_itself;
        let itself = (self.join)(&key, Some(value), Some(value)).map_err(user)?;
        for (start, other) in fetch(core, self.span.after_ms, self.span.before_ms)? {
            if !itself_sent && time < start {
                itself_sent = true;
                core.forward(self.id, result(itself.clone(), timestamp))?;
            }
            let joined = (self.join)(&key, Some(&other?), Some(value)).map_err(user)?;
            core.forward(self.id, result(joined, Timestamp(time.max(start))))?;
        }
        if itself_sent { Ok(()) } else { core.forward(self.id, result(itself, timestamp)) }
    }
}
