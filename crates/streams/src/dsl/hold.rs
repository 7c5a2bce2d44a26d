//! Holding records back for a time: beyond Kafka Streams.

use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::time::Duration;

use tidewater_state::{KeyRange, StoreKind};
use tidewater_types::{Record, Timestamp};

use super::KStream;
use super::handle::{lock, maker};
use crate::codec::{CodecError, Field};
use crate::error::{FailureKind, TaskError};
use crate::graph::{OpKind, StatefulOp};
use crate::node::Boxed;
use crate::node::buffered::{Buffered, read_entry, write_entry};
use crate::node::origin::Origins;
use crate::task::{Core, DropReason, Node, NodeId, Punctuation, PunctuationClock, StoreAccess, every, take_record};

/// Records that one look into the store takes out.
const BATCH_RECORDS: usize = 256;
/// The wall clock is looked at ten times in a wait, but not more often than this, nor less often than the second one.
const CHECK_MS: (i64, i64) = (10, 1000);

/// How long records wait, and by which clock: what [`KStream::delay`] and [`KStream::debounce`] take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    wait_ms: i64,
    clock: PunctuationClock,
}

impl Wait {
    /// Until the wall clock is this long past a record's timestamp.
    pub fn of(wait: Duration) -> Self {
        Wait { wait_ms: Timestamp::from(wait).0, clock: PunctuationClock::WallClock }
    }

    /// By this clock. By stream time, records wait until one comes whose timestamp is so much later: the same whenever the
    /// program runs, but the last ones wait for more to come.
    #[must_use]
    pub fn on(self, clock: PunctuationClock) -> Self {
        Wait { clock, ..self }
    }
}

impl From<Duration> for Wait {
    fn from(wait: Duration) -> Self {
        Wait::of(wait)
    }
}

impl<K: Field, V: Field> KStream<K, V> {
    /// Sends each record on once it is old enough: an addition to Kafka Streams.
    ///
    /// A record goes on when the clock is `wait` past its timestamp, with key, value, timestamp and headers as they were, and in
    /// the order of timestamps; one that is old enough when it comes does not wait. The records that wait are in a store with a
    /// changelog, so a restart loses none. No repartition; missing keys and values are fine.
    pub fn delay(&self, wait: impl Into<Wait>) -> Self {
        self.held("KSTREAM-DELAY-", wait.into(), false)
    }

    /// Sends the last record of a burst on: an addition to Kafka Streams.
    ///
    /// A record goes on when the clock is `wait` past its timestamp and no later record of its key has come meanwhile; that one
    /// takes its place, and waits anew. The records that wait, one a key, are in a store with a changelog. A repartition comes
    /// before it if the key may have changed. Records without a key are dropped; ones without a value are records like others.
    /// A record that is older than the one that waits is left out.
    pub fn debounce(&self, wait: impl Into<Wait>) -> Self {
        self.held("KSTREAM-DEBOUNCE-", wait.into(), true)
    }

    fn held(&self, prefix: &'static str, wait: Wait, only_last: bool) -> Self {
        let op = lock(&self.handle.plan).ops.len();
        let (key, value) = (self.key.get::<K>(), self.value.get::<V>());
        let node = maker(move |build| Hold::<K, V> {
            id: build.node,
            store: build.access(&build.facts(op).stores["own"], &key, &value),
            wait,
            only_last,
            observed: -1,
            due_from: i64::MIN,
            origins: Origins::default(),
            unplaced: 0,
            types: PhantomData,
        });
        let repartition = only_last.then(|| self.repartition_maker());
        let kind = StatefulOp { prefix, node, store: StoreKind::Internal, ttl_ms: None, repartition };
        KStream::new(self.handle.then(OpKind::Stateful(kind)), self.key.clone(), self.value.clone())
    }
}

/// First bytes of the keys in the store: records by the time at which they are due (8), and behind it their origin or key; and,
/// if only the last of a key counts, that time by key.
const BY_TIME: u8 = 0;
const BY_KEY: u8 = 1;

fn by_time(due: i64, rest: &[u8]) -> Vec<u8> {
    [&[BY_TIME][..], &due.max(0).to_be_bytes(), rest].concat()
}

struct Hold<K: Field, V: Field> {
    id: NodeId,
    store: StoreAccess<K::Some, V::Some>,
    wait: Wait,
    only_last: bool,
    observed: i64,
    /// No record is due before this.
    due_from: i64,
    origins: Origins,
    /// Numbers the records that come of none.
    unplaced: u64,
    types: PhantomData<fn(K, V)>,
}

fn malformed() -> TaskError {
    TaskError::new(FailureKind::State, CodecError::new("waiting record", "not in its layout"))
}

impl<K: Field, V: Field> Hold<K, V> {
    /// What tells a record from others that are due at the same time.
    fn place(&mut self, core: &mut Core, due: i64) -> Result<Vec<u8>, TaskError> {
        if let Some(origin) = self.origins.next(core) {
            return Ok(origin);
        }
        // It comes of no record; any free place will do.
        loop {
            self.unplaced += 1;
            let rest = self.unplaced.to_be_bytes().to_vec();
            if core.stores[self.store.id].get(&by_time(due, &rest), |_| ())?.is_none() {
                return Ok(rest);
            }
        }
    }

    /// Takes the place of the record that waits under this key; says whether there is none that is later.
    fn replace(&self, core: &mut Core, key: &[u8], due: i64) -> Result<bool, TaskError> {
        let marker = [&[BY_KEY][..], key].concat();
        let waiting = core.stores[self.store.id].get(&marker, |raw| raw.try_into().map(i64::from_be_bytes).ok())?;
        if let Some(waiting) = waiting {
            let waiting = waiting.ok_or_else(malformed)?;
            if waiting > due {
                return Ok(false);
            }
            self.store.put_raw(core, &by_time(waiting, key), None)?;
        }
        self.store.put_raw(core, &marker, Some(&due.to_be_bytes()))?;
        Ok(true)
    }

    /// Sends on what is due.
    fn send_due(&mut self, core: &mut Core, now: i64) -> Result<(), TaskError> {
        while self.due_from <= now {
            let range = KeyRange { from: by_time(0, &[]), to: Some(by_time(now.saturating_add(1), &[])) };
            let mut due = Vec::new();
            core.stores[self.store.id].visit(&range, &mut |place, raw| {
                due.push((place.to_vec(), raw.to_vec()));
                if due.len() < BATCH_RECORDS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            let are_all = due.len() < BATCH_RECORDS;
            if are_all {
                self.due_from = now.saturating_add(1);
            }
            for (place, raw) in due {
                self.store.put_raw(core, &place, None)?;
                let (Buffered { context, prior: key, new: value, .. }, _) = read_entry(&raw).ok_or_else(malformed)?;
                if let Some(key) = key.as_ref().filter(|_| self.only_last) {
                    self.store.put_raw(core, &[&[BY_KEY][..], key].concat(), None)?;
                }
                let key = key.map(|key| self.store.key.read(&key)).transpose()?;
                let value = value.map(|value| self.store.value.read(&value)).transpose()?;
                let key = K::from_option(key).ok_or_else(malformed)?;
                let value = V::from_option(value).ok_or_else(malformed)?;
                let record = Record { key, value, timestamp: context.timestamp, headers: context.headers.clone() };
                core.within(context, |core| core.forward(self.id, record))?;
            }
            if are_all {
                break;
            }
        }
        Ok(())
    }
}

impl<K: Field, V: Field> Node for Hold<K, V> {
    fn init(&mut self, core: &mut Core) -> Result<(), TaskError> {
        if self.wait.clock == PunctuationClock::WallClock {
            let check_ms = (self.wait.wait_ms / 10).clamp(CHECK_MS.0, CHECK_MS.1);
            let often = every(Duration::from_millis(check_ms as u64)).on(PunctuationClock::WallClock);
            core.schedules.add(self.id, often, core.wall_clock);
        }
        Ok(())
    }

    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value, timestamp, .. } = take_record::<K, V>(record);
        self.observed = self.observed.max(timestamp.0);
        let now = match self.wait.clock {
            PunctuationClock::StreamTime => self.observed,
            PunctuationClock::WallClock => core.wall_clock.0,
        };
        // What is due goes before this record takes its place.
        self.send_due(core, now)?;
        let raw_key = key.as_some().map(|key| self.store.key_bytes(key)).transpose()?;
        let due = timestamp.0.saturating_add(self.wait.wait_ms);
        let rest = match &raw_key {
            _ if !self.only_last => self.place(core, due)?,
            Some(key) if self.replace(core, key, due)? => key.clone(),
            Some(_) => return Ok(()),
            None => {
                core.drop_record(DropReason::NullKey);
                return Ok(());
            }
        };
        let new = value.as_some().map(|value| self.store.value.to_bytes(value)).transpose()?;
        let entry = Buffered { context: core.context.clone(), prior: raw_key, old: None, new };
        self.store.put_raw(core, &by_time(due, &rest), Some(&write_entry(&entry, due)))?;
        self.due_from = self.due_from.min(due);
        self.send_due(core, now)
    }

    fn punctuate(&mut self, core: &mut Core, due: Punctuation) -> Result<(), TaskError> {
        self.send_due(core, due.at.0)
    }
}
