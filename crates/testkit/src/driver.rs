//! The driver: one task that holds the whole topology, with one partition of each topic.
//!
//! It works a record through as Kafka Streams' own test driver does: process, stream-time punctuations, commit, then what
//! was sent to topics that the program reads goes back in, until nothing waits. So the order of everything that is sent
//! is defined, and equal to that of Kafka Streams.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tidewater_state::MemoryBackend;
use tidewater_streams::{
    Collector, DropReason, Field, Handlers, OutRecord, PartitionBy, RawRecord, Serde, Task, TaskError, TaskOptions,
    Topic, Topology, UserError,
};
use tidewater_types::{Headers, Offset, Record, TaskId, Timestamp};

use crate::stores::StoreView;

/// How a topology is driven.
#[derive(Clone, Debug)]
pub struct DriverSettings {
    /// `application.id`, the beginning of internal topics' names. Default: `test`.
    pub application_id: String,
    /// Bytes of the record caches. Default: 10 MiB; 0 turns them off.
    pub cache_bytes: usize,
    /// What happens to records that fail. Default: the test fails.
    pub handlers: Handlers,
    /// The wall clock at the beginning. Default: 0.
    pub wall_clock: Timestamp,
}

impl Default for DriverSettings {
    fn default() -> Self {
        DriverSettings {
            application_id: "test".to_owned(),
            cache_bytes: 10 << 20,
            handlers: Handlers::default(),
            wall_clock: Timestamp(0),
        }
    }
}

/// A record that the topology sent, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentRecord {
    /// The topic, internal ones under their full names.
    pub topic: String,
    /// The key's bytes.
    pub key: Option<Bytes>,
    /// The value's bytes.
    pub value: Option<Bytes>,
    /// Event time; `None` where it is left to the producer.
    pub timestamp: Option<Timestamp>,
    /// The headers.
    pub headers: Headers,
    /// The partition that was named, if one was.
    pub partition: Option<i32>,
}

type Sent = Arc<Mutex<Vec<SentRecord>>>;

struct Capture(Sent);

impl Collector for Capture {
    fn send(&mut self, record: OutRecord<'_>) -> Result<(), UserError> {
        let sent = SentRecord {
            topic: record.topic.to_string(),
            key: record.key.map(Bytes::copy_from_slice),
            value: record.value.map(Bytes::copy_from_slice),
            timestamp: record.timestamp,
            headers: record.headers.clone(),
            partition: match record.partition {
                PartitionBy::Fixed(partition) => Some(partition),
                PartitionBy::Key | PartitionBy::Bytes(_) => None,
            },
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(sent);
        Ok(())
    }
}

struct Inner {
    task: Task,
    sent: Sent,
    outputs: BTreeMap<String, VecDeque<SentRecord>>,
    offsets: BTreeMap<String, i64>,
    wall_clock: Timestamp,
}

/// Drives a topology in a test.
pub struct TestDriver {
    inner: Rc<RefCell<Inner>>,
}

impl TestDriver {
    /// A driver with the default settings.
    ///
    /// # Panics
    /// When the topology cannot start.
    #[track_caller]
    pub fn new(topology: Topology) -> Self {
        match Self::with_settings(&topology, DriverSettings::default()) {
            Ok(driver) => driver,
            Err(error) => panic!("{error}"),
        }
    }

    /// A driver with settings of its own.
    ///
    /// # Errors
    /// When the topology cannot start.
    pub fn with_settings(topology: &Topology, settings: DriverSettings) -> Result<Self, TaskError> {
        let sent = Sent::default();
        let options = TaskOptions {
            id: TaskId { subtopology: 0, partition: 0 },
            application_id: settings.application_id,
            cache_bytes: settings.cache_bytes,
            row_bytes: 0,
            waiting_bytes: 0,
            handlers: settings.handlers,
            emit_interval_ms: 0,
            wall_clock: settings.wall_clock,
            global_stores: None,
            executor: None,
        };
        let collector = Box::new(Capture(sent.clone()));
        let mut task = Task::new(topology, &topology.whole(), options, Box::new(MemoryBackend), collector)?;
        task.init()?;
        let (outputs, offsets) = (BTreeMap::new(), BTreeMap::new());
        let inner = Inner { task, sent, outputs, offsets, wall_clock: settings.wall_clock };
        Ok(TestDriver { inner: Rc::new(RefCell::new(inner)) })
    }

    /// Where to send a topic's records.
    pub fn input<K: Field, V: Field>(&self, topic: &Topic<K, V>) -> TestInput<K, V> {
        TestInput {
            inner: self.inner.clone(),
            topic: topic.name().to_owned(),
            key: topic.key_serde(),
            value: topic.value_serde(),
        }
    }

    /// Where to read what was sent to a topic.
    pub fn output<K: Field, V: Field>(&self, topic: &Topic<K, V>) -> TestOutput<K, V> {
        TestOutput {
            inner: self.inner.clone(),
            topic: topic.name().to_owned(),
            key: topic.key_serde(),
            value: topic.value_serde(),
        }
    }

    /// Moves the wall clock, and runs what is due by it.
    ///
    /// # Panics
    /// When processing fails.
    #[track_caller]
    pub fn advance_wall_clock(&self, by: Duration) {
        if let Err(error) = self.try_advance_wall_clock(by) {
            panic!("{error}");
        }
    }

    /// [`TestDriver::advance_wall_clock`], with the failure as a value. Gives what was sent, over all topics, in order.
    pub fn try_advance_wall_clock(&self, by: Duration) -> Result<Vec<SentRecord>, TaskError> {
        let mut inner = self.inner.borrow_mut();
        inner.wall_clock = Timestamp(inner.wall_clock.0 + Timestamp::from(by).0);
        let now = inner.wall_clock;
        let mut all = Vec::new();
        let result = inner.task.punctuate_wall_clock(now).map(drop).and_then(|()| inner.commit(&mut all));
        result.and_then(|()| inner.run(&mut all))?;
        Ok(all)
    }

    /// Sends a record in bytes. Gives what was sent because of it, over all topics, in order; on failure, what was sent
    /// until then.
    pub fn pipe(
        &self,
        topic: &str,
        key: Option<Bytes>,
        value: Option<Bytes>,
        timestamp: impl Into<Timestamp>,
        headers: Headers,
    ) -> (Vec<SentRecord>, Result<(), TaskError>) {
        let mut inner = self.inner.borrow_mut();
        let mut all = Vec::new();
        let result = inner.pipe(topic, key, value, timestamp.into(), headers, &mut all);
        if result.is_err() {
            inner.collect(&mut all);
        }
        (all, result)
    }

    /// Records that went no further, by reason.
    pub fn dropped(&self) -> BTreeMap<DropReason, u64> {
        self.inner.borrow().task.dropped().clone()
    }

    /// The contents of a store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn store(&self, name: &str) -> Option<StoreView> {
        let mut inner = self.inner.borrow_mut();
        let store = inner.task.store(name)?;
        StoreView::read(store).ok()
    }

    /// The names of all stores.
    pub fn store_names(&self) -> Vec<String> {
        self.inner.borrow_mut().task.stores().iter().map(|store| store.spec().name.clone()).collect()
    }
}

impl Inner {
    fn pipe(
        &mut self,
        topic: &str,
        key: Option<Bytes>,
        value: Option<Bytes>,
        timestamp: Timestamp,
        headers: Headers,
        all: &mut Vec<SentRecord>,
    ) -> Result<(), TaskError> {
        self.add(topic, key, value, timestamp, headers)?;
        self.run(all)
    }

    fn add(
        &mut self,
        topic: &str,
        key: Option<Bytes>,
        value: Option<Bytes>,
        timestamp: Timestamp,
        headers: Headers,
    ) -> Result<(), TaskError> {
        // As in Kafka Streams' test driver, the topics of a pattern count together.
        let log = self.task.pattern_of(topic).unwrap_or(topic).to_owned();
        let offset = self.offsets.entry(log).or_default();
        let raw = RawRecord { offset: Offset(*offset), timestamp, key, value, headers };
        *offset += 1;
        if self.task.is_global(topic) {
            return self.task.process_global(topic, 0, &raw);
        }
        self.task.reads(topic);
        self.task.add_records(topic, [raw])
    }

    fn run(&mut self, all: &mut Vec<SentRecord>) -> Result<(), TaskError> {
        while self.task.process_next()? {
            self.task.punctuate_stream_time()?;
            self.commit(all)?;
        }
        Ok(())
    }

    fn commit(&mut self, all: &mut Vec<SentRecord>) -> Result<(), TaskError> {
        self.task.flush_caches()?;
        self.task.commit_stores(&BTreeMap::new())?;
        for record in self.collect(all) {
            if self.task.reads(&record.topic) || self.task.is_global(&record.topic) {
                let timestamp = record.timestamp.unwrap_or(self.wall_clock);
                self.add(&record.topic, record.key, record.value, timestamp, record.headers)?;
            }
        }
        Ok(())
    }

    /// Takes what was sent since the last time.
    fn collect(&mut self, all: &mut Vec<SentRecord>) -> Vec<SentRecord> {
        let sent = std::mem::take(&mut *self.sent.lock().unwrap_or_else(PoisonError::into_inner));
        for record in &sent {
            self.outputs.entry(record.topic.clone()).or_default().push_back(record.clone());
        }
        all.extend(sent.iter().cloned());
        sent
    }
}

/// Sends records to a topic.
pub struct TestInput<K: Field, V: Field> {
    inner: Rc<RefCell<Inner>>,
    topic: String,
    key: Serde<K::Some>,
    value: Serde<V::Some>,
}

impl<K: Field, V: Field> TestInput<K, V> {
    /// Sends a record, and works it through to the end.
    ///
    /// # Panics
    /// When processing fails.
    #[track_caller]
    pub fn send(&self, key: K, value: V, timestamp: impl Into<Timestamp>) {
        if let Err(error) = self.try_send(Record::new(key, value, timestamp)) {
            panic!("{error}");
        }
    }

    /// Sends a record, with the failure as a value.
    ///
    /// # Errors
    /// When processing fails, or the record has no bytes.
    pub fn try_send(&self, record: Record<K, V>) -> Result<(), TaskError> {
        let bytes = |result: Result<Vec<u8>, _>| result.map(Bytes::from);
        let key = record.key.as_some().map(|key| bytes(self.key.to_bytes(key))).transpose()?;
        let value = record.value.as_some().map(|value| bytes(self.value.to_bytes(value))).transpose()?;
        let mut all = Vec::new();
        self.inner.borrow_mut().pipe(&self.topic, key, value, record.timestamp, record.headers, &mut all)
    }
}

/// Reads what was sent to a topic.
pub struct TestOutput<K: Field, V: Field> {
    inner: Rc<RefCell<Inner>>,
    topic: String,
    key: Serde<K::Some>,
    value: Serde<V::Some>,
}

impl<K: Field, V: Field> TestOutput<K, V> {
    /// The records since the last read.
    ///
    /// # Panics
    /// When a record does not have the topic's types.
    #[track_caller]
    pub fn read(&self) -> Vec<Record<K, V>> {
        let records = self.inner.borrow_mut().outputs.remove(&self.topic).unwrap_or_default();
        records.into_iter().map(|record| self.decode(record)).collect()
    }

    #[track_caller]
    fn decode(&self, record: SentRecord) -> Record<K, V> {
        let key = record.key.map(|key| self.key.read(&key)).transpose();
        let value = record.value.map(|value| self.value.read(&value)).transpose();
        match (key, value) {
            (Ok(key), Ok(value)) => match (K::from_option(key), V::from_option(value)) {
                (Some(key), Some(value)) => {
                    let timestamp = record.timestamp.unwrap_or(Timestamp::NONE);
                    Record { key, value, timestamp, headers: record.headers }
                }
                _ => panic!("{} has a null where its type has none", self.topic),
            },
            (Err(error), _) | (_, Err(error)) => panic!("{}: {error}", self.topic),
        }
    }

    /// The values since the last read.
    #[track_caller]
    pub fn read_values(&self) -> Vec<V> {
        self.read().into_iter().map(|record| record.value).collect()
    }

    /// The keys and values since the last read.
    #[track_caller]
    pub fn read_key_values(&self) -> Vec<(K, V)> {
        self.read().into_iter().map(|record| (record.key, record.value)).collect()
    }
}
