//! Joining a stream with a table: each record looks the table's row up as it is now, or, if the table is versioned, as it was at
//! the record's time.
//!
//! With a grace, records wait in a buffer until stream time has passed theirs by so much, so that late updates of the table are
//! seen. The buffer has the keys and, in its changelog, the bytes of Kafka Streams: key = 0 (1), time (8), key, a number that
//! each record raises (4); the value is that of suppress, without an old value and with buffer time 0.

use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::sync::Arc;

use tidewater_state::KeyRange;
use tidewater_types::{Headers, Record, RecordContext, Timestamp};

use super::buffered::{Buffered, read_entry, write_entry};
use super::table::ValueGetter;
use super::{Boxed, user};
use crate::codec::{CodecError, Data, Field, Serde};
use crate::error::{FailureKind, TaskError, UserError};
use crate::task::{Core, DropReason, Node, NodeId, OutRecord, PartitionBy, StoreId, take_record};

/// The first byte of the buffer's keys: they are ordered by time.
const PREFIX: u8 = 0;

/// Makes a joined value of a record and the table's row.
pub(crate) type JoinRow<K, V, T, V2> = Arc<dyn Fn(&K, &V, Option<&T>) -> Result<V2, UserError> + Send + Sync>;

/// The node of `join_table` and `left_join_table`.
pub(crate) struct StreamTableJoin<K: Field, V: Field, T, V2> {
    pub id: NodeId,
    pub table: Box<dyn ValueGetter<K::Some, T>>,
    pub join: JoinRow<K, V::Some, T, V2>,
    pub left: bool,
    pub buffer: Option<JoinBuffer<K::Some, V::Some>>,
    pub types: PhantomData<fn(K, V)>,
}

/// The records that wait for a table.
pub(crate) struct JoinBuffer<K, V> {
    pub store: StoreId,
    pub key: Serde<K>,
    pub value: Serde<V>,
    pub grace_ms: i64,
    observed: i64,
    sequence: u32,
    /// No record waits from before this time.
    waits_from: i64,
}

impl<K, V> JoinBuffer<K, V> {
    pub fn new(store: StoreId, key: Serde<K>, value: Serde<V>, grace_ms: i64) -> Self {
        JoinBuffer { store, key, value, grace_ms, observed: -1, sequence: 0, waits_from: i64::MIN }
    }

    fn put(&mut self, core: &mut Core, key: &K, value: &V, timestamp: Timestamp) -> Result<(), TaskError> {
        self.observed = self.observed.max(timestamp.0);
        self.sequence = (self.sequence + 1) & 0x7fff_ffff;
        let mut full = vec![PREFIX];
        full.extend_from_slice(&timestamp.0.to_be_bytes());
        self.key.write(key, &mut full)?;
        full.extend_from_slice(&self.sequence.to_be_bytes());
        let new = Some(self.value.to_bytes(value)?);
        let entry = write_entry(&Buffered { context: core.context.clone(), prior: None, old: None, new }, 0);
        self.write(core, &full, Some(&entry))
    }

    /// Takes the first record that has waited long enough.
    fn first_due(&mut self, core: &mut Core) -> Result<Option<(Vec<u8>, K, V, RecordContext)>, TaskError> {
        let due = self.observed.saturating_sub(self.grace_ms);
        if due < 0 || self.waits_from > due {
            return Ok(None);
        }
        let to = [&[PREFIX][..], &due.saturating_add(1).to_be_bytes()].concat();
        let range = KeyRange { from: Vec::new(), to: Some(to) };
        let mut first = None;
        core.stores[self.store].visit(&range, &mut |full, raw| {
            first = Some((full.to_vec(), raw.to_vec()));
            ControlFlow::Break(())
        })?;
        let Some((full, raw)) = first else {
            self.waits_from = due.saturating_add(1);
            return Ok(None);
        };
        let malformed = || TaskError::new(FailureKind::State, CodecError::new("waiting record", "not in its layout"));
        let key = full.get(9..full.len().saturating_sub(4)).ok_or_else(malformed)?;
        let (entry, _) = read_entry(&raw).ok_or_else(malformed)?;
        let (key, value) = (self.key.read(key)?, self.value.read(&entry.new.ok_or_else(malformed)?)?);
        Ok(Some((full, key, value, entry.context)))
    }

    /// Writes to the store and, in Kafka Streams' form, to the changelog, whose records leave their time to the producer.
    fn write(&self, core: &mut Core, key: &[u8], value: Option<&[u8]>) -> Result<(), TaskError> {
        core.stores[self.store].write_unlogged(key, value)?;
        let Some(topic) = core.outbox.changelogs[self.store].clone() else { return Ok(()) };
        let partition = PartitionBy::Fixed(core.outbox.partition);
        let record =
            OutRecord { topic: &topic, partition, key: Some(key), value, timestamp: None, headers: &Headers::EMPTY };
        core.outbox.collector.send(record).map_err(|error| TaskError::new(FailureKind::Production, error))
    }
}

impl<K: Field, V: Field, T: Data, V2: Clone + Send + 'static> StreamTableJoin<K, V, T, V2> {
    fn join(
        &self,
        core: &mut Core,
        key: K,
        value: &V::Some,
        timestamp: Timestamp,
        headers: Headers,
    ) -> Result<(), TaskError> {
        let row = match key.as_some() {
            Some(key) => self.table.get_as_of(core, key, timestamp)?.map(|(row, _)| row),
            None => None,
        };
        if row.is_none() && !self.left {
            return Ok(());
        }
        let value = (self.join)(&key, value, row.as_ref()).map_err(user)?;
        core.forward(self.id, Record { key, value, timestamp, headers })
    }
}

impl<K: Field, V: Field, T: Data, V2: Clone + Send + 'static> Node for StreamTableJoin<K, V, T, V2> {
    fn init(&mut self, core: &mut Core) -> Result<(), TaskError> {
        let Some(buffer) = &mut self.buffer else { return Ok(()) };
        // Numbers go on behind those of the records that wait.
        core.stores[buffer.store].visit_keys(&mut |full| {
            if let (Some((time, _)), Some((_, number))) =
                (full.get(1..).and_then(|rest| rest.split_first_chunk::<8>()), full.split_last_chunk::<4>())
            {
                buffer.observed = buffer.observed.max(i64::from_be_bytes(*time));
                buffer.sequence = buffer.sequence.max(u32::from_be_bytes(*number));
            }
        })?;
        Ok(())
    }

    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value, timestamp, headers } = take_record::<K, V>(record);
        let Some(value) = value.into_some() else {
            core.drop_record(DropReason::NullValue);
            return Ok(());
        };
        let Some(some_key) = key.as_some() else {
            if self.left {
                return self.join(core, key, &value, timestamp, headers);
            }
            core.drop_record(DropReason::NullKey);
            return Ok(());
        };
        let Some(buffer) = &mut self.buffer else { return self.join(core, key, &value, timestamp, headers) };
        if buffer.observed.saturating_sub(buffer.grace_ms) > timestamp.0 {
            return self.join(core, key, &value, timestamp, headers);
        }
        buffer.waits_from = buffer.waits_from.min(timestamp.0);
        buffer.put(core, some_key, &value, timestamp)?;
        loop {
            let Some(buffer) = &mut self.buffer else { return Ok(()) };
            let Some((full, key, value, context)) = buffer.first_due(core)? else { return Ok(()) };
            let (timestamp, headers) = (context.timestamp, context.headers.clone());
            // Its failure is its own, and it leaves the buffer all the same.
            let joined = core.within(context, |core| {
                let joined = self.join(core, K::from_some(key), &value, timestamp, headers);
                joined.or_else(|error| core.decide(self.id, error))
            });
            if let Some(buffer) = &self.buffer {
                buffer.write(core, &full, None)?;
            }
            joined?;
        }
    }
}
