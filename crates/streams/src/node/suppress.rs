//! Holding back a table's updates until a window closes or a time has passed.
//!
//! The buffer is in memory, ordered by buffer time and key bytes, and written to its changelog when the task commits:
//! key, and the value of a [`Buffered`] update. The header `v` is `03`, and the timestamp is left to the producer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tidewater_state::KeyRange;
use tidewater_types::{Header, Headers, Record, Timestamp};

use super::Boxed;
use super::buffered::{Buffered, read_entry, write_entry};
use super::change::Change;
use super::table::ValueGetter;
use crate::codec::{CodecError, Data, Serde};
use crate::error::{FailureKind, TaskError};
use crate::task::{Core, Node, NodeId, OutRecord, PartitionBy, StoreId, take_record};

/// What happens when the buffer is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhenFull {
    EmitEarly,
    Fail,
}

/// How long updates wait, and how many may.
#[derive(Clone)]
pub(crate) struct SuppressRules<K> {
    /// The time that an update waits from: the end of its window, or its record's timestamp.
    pub time_of: Arc<dyn Fn(&K, Timestamp) -> i64 + Send + Sync>,
    pub wait_ms: i64,
    pub max_records: u64,
    pub max_bytes: u64,
    pub when_full: WhenFull,
    pub drop_tombstones: bool,
}

impl Buffered {
    /// Kafka Streams' estimate, which `max_bytes` counts in.
    fn size(&self, key: &[u8]) -> u64 {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let old = if self.old == self.prior { 0 } else { length(&self.old) };
        let topic = self.context.place.as_ref().map_or(0, |place| place.topic.len());
        let headers: usize = self
            .context
            .headers
            .iter()
            .map(|header| header.name.len() + header.value.as_ref().map_or(0, Bytes::len))
            .sum();
        (8 + key.len() + length(&self.prior) + old + length(&self.new) + 20 + topic + headers) as u64
    }
}

/// The updates that wait, in bytes; the task holds it, so that others can look up what was before.
#[derive(Default)]
pub(crate) struct SuppressBuffer {
    waiting: BTreeMap<(i64, Vec<u8>), Buffered>,
    times: BTreeMap<Vec<u8>, i64>,
    /// Keys whose changes are not in the changelog yet.
    dirty: BTreeSet<Vec<u8>>,
    bytes: u64,
}

impl SuppressBuffer {
    fn put(&mut self, time: i64, key: Vec<u8>, mut entry: Buffered) {
        // A key that waits already keeps its place, and what it was before it began to wait.
        let time = *self.times.entry(key.clone()).or_insert(time);
        let place = (time, key);
        if let Some(waiting) = self.waiting.remove(&place) {
            self.bytes -= waiting.size(&place.1);
            entry.prior = waiting.prior;
        }
        self.bytes += entry.size(&place.1);
        self.waiting.insert(place, entry);
    }

    fn remove(&mut self, place: &(i64, Vec<u8>)) {
        if let Some(entry) = self.waiting.remove(place) {
            self.bytes -= entry.size(&place.1);
            self.times.remove(&place.1);
            self.dirty.insert(place.1.clone());
        }
    }

    /// What a waiting key was before it began to wait; the outer `None` if it does not wait.
    fn prior(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        let time = *self.times.get(key)?;
        self.waiting.get(&(time, key.to_vec())).map(|entry| entry.prior.as_deref())
    }
}

/// The node of `suppress`.
pub(crate) struct Suppress<K, V> {
    pub id: NodeId,
    pub store: StoreId,
    pub key: Serde<K>,
    pub value: Serde<V>,
    pub rules: SuppressRules<K>,
    observed: i64,
}

impl<K: Data, V: Data> Suppress<K, V> {
    pub fn new(id: NodeId, store: StoreId, key: Serde<K>, value: Serde<V>, rules: SuppressRules<K>) -> Self {
        Suppress { id, store, key, value, rules, observed: -1 }
    }

    fn buffer<'a>(&self, core: &'a mut Core) -> &'a mut SuppressBuffer {
        core.suppressed.entry(self.store).or_default()
    }

    fn is_full(&self, core: &mut Core) -> bool {
        let buffer = self.buffer(core);
        buffer.waiting.len() as u64 > self.rules.max_records || buffer.bytes > self.rules.max_bytes
    }

    /// Sends the first waiting update on. It leaves the buffer only then, so that lookups on the way see what was before.
    fn emit_first(&mut self, core: &mut Core) -> Result<(), TaskError> {
        let first = self.buffer(core).waiting.first_key_value();
        let Some((place, entry)) = first.map(|(place, entry)| (place.clone(), entry.clone())) else { return Ok(()) };
        let read = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(|bytes| self.value.read(bytes)).transpose();
        let change = Change::new(read(&entry.new)?, read(&entry.old)?);
        let key = self.key.read(&place.1)?;
        let mut result = Ok(());
        if change.new.is_some() || !self.rules.drop_tombstones {
            let Buffered { context, .. } = entry;
            let (timestamp, headers) = (context.timestamp, context.headers.clone());
            let record = Record { key, value: change, timestamp, headers };
            result = core.within(context, |core| core.forward(self.id, record));
        }
        self.buffer(core).remove(&place);
        result
    }
}

impl<K: Data, V: Data> Node for Suppress<K, V> {
    fn init(&mut self, core: &mut Core) -> Result<(), TaskError> {
        core.buffering.insert(self.store, self.id);
        // What was restored from the changelog stands in the store.
        for (key, raw) in core.stores[self.store].scan(&KeyRange::all(), false)? {
            let (entry, time) = read_entry(&raw).ok_or_else(|| {
                TaskError::new(FailureKind::State, CodecError::new("buffered update", "not in its layout"))
            })?;
            self.buffer(core).put(time, key, entry);
        }
        Ok(())
    }

    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value: change, timestamp, .. } = take_record::<K, Change<V>>(record);
        self.observed = self.observed.max(timestamp.0);
        let time = (self.rules.time_of)(&key, timestamp);
        let bytes = |value: &Option<V>| value.as_ref().map(|value| self.value.to_bytes(value)).transpose();
        let (new, old) = (bytes(&change.new)?, bytes(&change.old)?);
        let raw_key = self.key.to_bytes(&key)?;
        let entry = Buffered { context: core.context.clone(), prior: old.clone(), old, new };
        let buffer = self.buffer(core);
        buffer.dirty.insert(raw_key.clone());
        buffer.put(time, raw_key, entry);

        let expiry = self.observed.saturating_sub(self.rules.wait_ms);
        while self.buffer(core).waiting.first_key_value().is_some_and(|((time, _), _)| *time <= expiry) {
            self.emit_first(core)?;
        }
        while self.is_full(core) {
            let (records, bytes) = (self.buffer(core).waiting.len(), self.buffer(core).bytes);
            if self.rules.when_full == WhenFull::Fail {
                return Err(TaskError::new(
                    FailureKind::Processing,
                    format!(
                        "the buffer holds {} records and {} bytes, more than {} records or {} bytes. Raise the bound, or let it emit early",
                        records, bytes, self.rules.max_records, self.rules.max_bytes
                    ),
                ));
            }
            self.emit_first(core)?;
        }
        Ok(())
    }

    fn write_changes(&mut self, core: &mut Core) -> Result<(), TaskError> {
        let Some(topic) = core.outbox.changelogs[self.store].clone() else {
            self.buffer(core).dirty.clear();
            return Ok(());
        };
        let version: Headers =
            [Header { name: "v".into(), value: Some(Bytes::from_static(&[3])) }].into_iter().collect();
        for key in std::mem::take(&mut self.buffer(core).dirty) {
            let buffer = self.buffer(core);
            let place = buffer.times.get(&key).map(|&time| (time, key.clone()));
            let value = place.and_then(|place| Some(write_entry(buffer.waiting.get(&place)?, place.0)));
            let record = OutRecord {
                topic: &topic,
                partition: PartitionBy::Fixed(core.outbox.partition),
                key: Some(&key),
                value: value.as_deref(),
                timestamp: None,
                headers: if value.is_some() { &version } else { &Headers::EMPTY },
            };
            core.outbox.collector.send(record).map_err(|error| TaskError::new(FailureKind::Production, error))?;
        }
        Ok(())
    }
}

/// Looks up rows as they were before their updates began to wait.
pub(crate) struct SuppressGetter<K, V> {
    pub parent: Box<dyn ValueGetter<K, V>>,
    pub store: StoreId,
    pub key: Serde<K>,
    pub value: Serde<V>,
}

impl<K: Data, V: Data> ValueGetter<K, V> for SuppressGetter<K, V> {
    fn get(&self, core: &mut Core, key: &K) -> Result<Option<(V, Timestamp)>, TaskError> {
        let raw = self.key.to_bytes(key)?;
        match core.suppressed.entry(self.store).or_default().prior(&raw) {
            Some(prior) => Ok(prior.map(|prior| self.value.read(prior)).transpose()?.map(|row| (row, Timestamp::NONE))),
            None => self.parent.get(core, key),
        }
    }
}
