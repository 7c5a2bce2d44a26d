//! The arenas of a task, and how a record goes from node to node.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tidewater_state::{ChangelogSink, DirtyEntry, ExpiredRow, Store};
use tidewater_types::{Headers, Partition, Record, RecordContext, RecordPlace, TaskId, Timestamp, Topic};

use super::handlers::Handlers;
use super::punctuate::Schedules;
use crate::error::{FailureKind, TaskError, UserError};
use crate::node::stream_join::JoinTimes;
use crate::node::suppress::SuppressBuffer;

/// A node's place in its task.
pub(crate) type NodeId = usize;
/// A store's place in its task.
pub(crate) type StoreId = usize;

/// A processor of a task. Its record is an `Option<Record<K, V>>` of the types that the DSL checked.
pub(crate) trait Node: Send {
    fn init(&mut self, _core: &mut Core) -> Result<(), TaskError> {
        Ok(())
    }

    fn process(&mut self, core: &mut Core, record: &mut dyn Any) -> Result<(), TaskError>;

    /// Writes what waits in this node to its changelog: part of a commit.
    fn write_changes(&mut self, _core: &mut Core) -> Result<(), TaskError> {
        Ok(())
    }

    /// Sends on what calls to the outside have answered so far; says whether there was anything.
    fn take_answers(&mut self, _core: &mut Core) -> Result<bool, TaskError> {
        Ok(false)
    }

    /// Waits until all calls to the outside have ended: part of a commit.
    fn await_answers(&mut self, _core: &mut Core) -> Result<(), TaskError> {
        Ok(())
    }

    /// The task is closed in good order.
    fn close(&mut self) {}

    /// A due punctuation of this node's.
    fn punctuate(&mut self, _core: &mut Core, _due: super::Punctuation) -> Result<(), TaskError> {
        Ok(())
    }
}

/// Takes the record out of the box in which it travelled.
#[inline]
pub(crate) fn take_record<K: 'static, V: 'static>(record: &mut dyn Any) -> Record<K, V> {
    match record.downcast_mut::<Option<Record<K, V>>>().and_then(Option::take) {
        Some(record) => record,
        None => unreachable!("the DSL's types tie each edge to one record type, and each record is taken once"),
    }
}

/// Where a record goes within its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionBy<'a> {
    /// By the hash of its key, or any if it has none.
    Key,
    /// By the hash of these bytes: the inner key of a window.
    Bytes(&'a [u8]),
    /// To this one.
    Fixed(Partition),
}

/// A record that leaves a task.
#[derive(Clone, Copy, Debug)]
pub struct OutRecord<'a> {
    /// Its topic.
    pub topic: &'a Topic,
    /// Where in the topic.
    pub partition: PartitionBy<'a>,
    /// The key's bytes.
    pub key: Option<&'a [u8]>,
    /// The value's bytes.
    pub value: Option<&'a [u8]>,
    /// Event time; `None` leaves it to the producer.
    pub timestamp: Option<Timestamp>,
    /// The headers.
    pub headers: &'a Headers,
}

/// Takes the records that a task sends, in order.
pub trait Collector: Send {
    /// Takes a record.
    ///
    /// # Errors
    /// When it cannot be sent, now or ever.
    fn send(&mut self, record: OutRecord<'_>) -> Result<(), UserError>;

    /// How many partitions a topic has.
    ///
    /// # Errors
    /// When there is no such topic.
    fn partitions(&mut self, _topic: &Topic) -> Result<Partition, UserError> {
        Ok(1)
    }
}

/// Why a record went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// Its key is null where one is needed.
    NullKey,
    /// Its value is null where one is needed.
    NullValue,
    /// Its window is closed.
    Late,
    /// Its store no longer keeps its time.
    Expired,
    /// Its bytes cannot be read, and the handler skipped it.
    Undecodable,
    /// It has no usable timestamp.
    NoTimestamp,
    /// Processing failed, and the handler skipped it.
    Failed,
    /// It could not be sent, and the handler skipped it.
    Unsent,
    /// More records of its key came in a time than may go on.
    OverLimit,
    /// A partitioner named no partition for it.
    NoPartition,
}

/// Key, value and headers of a record as it was read.
pub(crate) type RawBytes = (Option<Bytes>, Option<Bytes>, Headers);

/// What sends an update on that leaves a record cache: its key and value. The context is that of the record that wrote it.
pub(crate) type FlushListener = Arc<dyn Fn(&mut Core, &[u8], Option<&[u8]>) -> Result<(), TaskError> + Send + Sync>;

pub(crate) struct NodeSlot {
    pub name: String,
    pub children: Vec<NodeId>,
    /// Empty while the node is at work.
    pub node: Option<Box<dyn Node>>,
}

/// The outgoing side of a task, apart from its stores so that both can be borrowed at once.
pub(crate) struct Outbox {
    pub collector: Box<dyn Collector>,
    /// Changelog topics by store.
    pub changelogs: Vec<Option<Topic>>,
    pub partition: Partition,
    /// The first failure to send a change; stores have no place for it.
    pub failure: Option<UserError>,
}

impl ChangelogSink for Outbox {
    fn log(&mut self, store: usize, key: &[u8], value: Option<&[u8]>, timestamp: Timestamp, headers: &Headers) {
        let Some(topic) = &self.changelogs[store] else { return };
        let record = OutRecord {
            topic,
            partition: PartitionBy::Fixed(self.partition),
            key: Some(key),
            value,
            timestamp: Some(timestamp),
            headers,
        };
        if let Err(error) = self.collector.send(record) {
            self.failure.get_or_insert(error);
        }
    }
}

/// The inside of a task: what nodes work with.
pub struct Core {
    pub(crate) id: TaskId,
    pub(crate) application_id: String,
    pub(crate) nodes: Vec<NodeSlot>,
    pub(crate) stores: Vec<Store>,
    pub(crate) listeners: Vec<Option<FlushListener>>,
    pub(crate) outbox: Outbox,
    pub(crate) context: RecordContext,
    pub(crate) stream_time: Timestamp,
    pub(crate) wall_clock: Timestamp,
    pub(crate) dropped: BTreeMap<DropReason, u64>,
    pub(crate) handlers: Handlers,
    pub(crate) schedules: Schedules,
    /// The record as it was read, for dead letters; kept only if there is a topic for them.
    pub(crate) raw: Option<RawBytes>,
    /// What the stream-stream joins know of time, by operator.
    pub(crate) join_times: BTreeMap<usize, JoinTimes>,
    /// The least wall-clock time between two searches for unmatched records.
    pub(crate) emit_interval_ms: i64,
    /// For stores of windows whose results are sent when they close: the close time up to which they were sent.
    pub(crate) emitted: BTreeMap<String, i64>,
    /// The updates that suppressing nodes hold back, by their stores.
    pub(crate) suppressed: BTreeMap<StoreId, SuppressBuffer>,
    /// How many records wait for the answers to such calls.
    pub(crate) calls: usize,
    /// Whether a processor has asked for a commit.
    pub(crate) commit_requested: bool,
    /// How often the task has committed.
    pub(crate) commits: u64,
    /// Whether records waited when the wall clock was last looked at.
    pub(crate) inputs_waiting: bool,
    /// Nodes that have calls to the outside under way.
    pub(crate) calling: Vec<NodeId>,
    /// Nodes that write the changelog of their store themselves, at a commit.
    pub(crate) buffering: BTreeMap<StoreId, NodeId>,
}

impl Core {
    /// Sends a record to all children of a node, depth first, in the order in which they were added.
    pub(crate) fn forward<K, V>(&mut self, from: NodeId, record: Record<K, V>) -> Result<(), TaskError>
    where
        K: Clone + 'static,
        V: Clone + 'static,
    {
        match *self.nodes[from].children {
            [] => Ok(()),
            [child] => self.forward_to(child, record),
            [_, ..] => self.forward_to_all(from, record),
        }
    }

    fn forward_to_all<K, V>(&mut self, from: NodeId, record: Record<K, V>) -> Result<(), TaskError>
    where
        K: Clone + 'static,
        V: Clone + 'static,
    {
        let saved = self.enter_context(record.timestamp, &record.headers);
        let last = self.nodes[from].children.len() - 1;
        let mut result = Ok(());
        for index in 0..last {
            let child = self.nodes[from].children[index];
            result = self.run(child, &mut Some(record.clone()));
            if result.is_err() {
                break;
            }
        }
        if result.is_ok() {
            let child = self.nodes[from].children[last];
            result = self.run(child, &mut Some(record));
        }
        self.leave_context(saved);
        result
    }

    /// Sends a record to one child of a node.
    pub(crate) fn forward_to<K, V>(&mut self, child: NodeId, record: Record<K, V>) -> Result<(), TaskError>
    where
        K: Clone + 'static,
        V: Clone + 'static,
    {
        let saved = self.enter_context(record.timestamp, &record.headers);
        let result = self.run(child, &mut Some(record));
        self.leave_context(saved);
        result
    }

    /// Makes a record's time and headers those of the context; gives what to put back.
    #[inline]
    fn enter_context(&mut self, timestamp: Timestamp, headers: &Headers) -> (Timestamp, Option<Headers>) {
        let saved_time = std::mem::replace(&mut self.context.timestamp, timestamp);
        let same = headers.is_empty() && self.context.headers.is_empty();
        let saved_headers = (!same).then(|| std::mem::replace(&mut self.context.headers, headers.clone()));
        (saved_time, saved_headers)
    }

    /// Works in the context of another record than the one at work: one that waited. Its bytes as they were read are not known.
    pub(crate) fn within<R>(&mut self, context: RecordContext, work: impl FnOnce(&mut Self) -> R) -> R {
        let saved = std::mem::replace(&mut self.context, context);
        let no_bytes = self.raw.is_some().then_some((None, None, Headers::EMPTY));
        let saved_raw = std::mem::replace(&mut self.raw, no_bytes);
        let result = work(self);
        self.context = saved;
        self.raw = saved_raw;
        result
    }

    #[inline]
    fn leave_context(&mut self, (timestamp, headers): (Timestamp, Option<Headers>)) {
        self.context.timestamp = timestamp;
        if let Some(headers) = headers {
            self.context.headers = headers;
        }
    }

    fn run(&mut self, id: NodeId, record: &mut dyn Any) -> Result<(), TaskError> {
        self.with_node(id, |node, core| node.process(core, record))
    }

    /// Lets a node work; its failure goes to the processing handler, once.
    #[inline]
    pub(crate) fn with_node(
        &mut self,
        id: NodeId,
        work: impl FnOnce(&mut dyn Node, &mut Core) -> Result<(), TaskError>,
    ) -> Result<(), TaskError> {
        match self.work_with(id, work) {
            Ok(()) => Ok(()),
            Err(error) => self.decide(id, error),
        }
    }

    /// Lets a node prepare for its work. A failure is no record's, so no handler is asked.
    pub(crate) fn init_node(&mut self, id: NodeId) -> Result<(), TaskError> {
        self.work_with(id, |node, core| node.init(core)).map_err(|mut error| {
            error.node.get_or_insert_with(|| self.nodes[id].name.clone());
            error.handled = true;
            error
        })
    }

    #[inline]
    fn work_with(
        &mut self,
        id: NodeId,
        work: impl FnOnce(&mut dyn Node, &mut Core) -> Result<(), TaskError>,
    ) -> Result<(), TaskError> {
        let Some(mut node) = self.nodes[id].node.take() else {
            unreachable!("a topology has no cycles, so no node is entered while it is at work")
        };
        let result = work(&mut *node, self);
        self.nodes[id].node = Some(node);
        result
    }

    /// Counts a record that goes no further.
    pub(crate) fn drop_record(&mut self, reason: DropReason) {
        *self.dropped.entry(reason).or_default() += 1;
    }

    /// Sends the updates that wait in a store's cache on, in order.
    pub(crate) fn flush_cache(&mut self, store: StoreId) -> Result<(), TaskError> {
        let listener = self.listeners[store].clone();
        while let Some(DirtyEntry { key, value, context }) = self.stores[store].next_dirty() {
            self.within(context, |core| match &listener {
                Some(listener) => listener(core, &key, value.as_deref()),
                None => {
                    if !core.write_through(store, &key, value.as_deref())? {
                        core.drop_record(DropReason::Expired);
                    }
                    Ok(())
                }
            })?;
        }
        self.check_changelog()
    }

    /// Writes a flushed update to changelog and store; says whether the store kept it.
    pub(crate) fn write_through(
        &mut self,
        store: StoreId,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<bool, TaskError> {
        Ok(self.stores[store].write_through(key, value, &self.context, &mut self.outbox)?)
    }

    /// Reports a change that could not be sent.
    pub(crate) fn check_changelog(&mut self) -> Result<(), TaskError> {
        match self.outbox.failure.take() {
            None => Ok(()),
            Some(error) => Err(TaskError::new(FailureKind::Production, error)),
        }
    }

    /// Sends on what calls to the outside have answered so far; says whether there was anything.
    pub(crate) fn take_answers(&mut self) -> Result<bool, TaskError> {
        let mut any = false;
        for node in self.calling.clone() {
            self.with_node(node, |node, core| {
                any |= node.take_answers(core)?;
                Ok(())
            })?;
        }
        Ok(any)
    }

    /// Deletes the rows that have outlived their store's time to live, and sends that on.
    fn delete_expired(&mut self, store: StoreId) -> Result<(), TaskError> {
        for ExpiredRow { key, at } in self.stores[store].take_expired(self.stream_time.0)? {
            let context = RecordContext { place: None, timestamp: Timestamp(at), headers: Headers::EMPTY };
            self.within(context, |core| match core.listeners[store].clone() {
                Some(send) if !core.stores[store].is_cached() => send(core, &key, None),
                _ => Ok(core.stores[store].put(&key, None, &core.context, &mut core.outbox).map(drop)?),
            })?;
        }
        Ok(())
    }

    /// Writes what waits in caches and buffers on: the first step of a commit.
    pub(crate) fn flush_caches(&mut self) -> Result<(), TaskError> {
        self.await_answers()?;
        self.flush_once()?;
        // What left a cache may have begun calls, and their answers may have filled caches.
        while self.await_answers()? {
            self.flush_once()?;
        }
        Ok(())
    }

    /// Waits until all calls to the outside have ended; says whether there were any. Those further down the topology come after
    /// those before them.
    fn await_answers(&mut self) -> Result<bool, TaskError> {
        let mut any = false;
        for node in self.calling.clone() {
            any |= self.calls > 0;
            self.with_node(node, |node, core| node.await_answers(core))?;
        }
        Ok(any)
    }

    fn flush_once(&mut self) -> Result<(), TaskError> {
        for store in 0..self.stores.len() {
            self.delete_expired(store)?;
        }
        for store in 0..self.stores.len() {
            match self.buffering.get(&store).copied() {
                Some(node) => self.with_node(node, |node, core| node.write_changes(core))?,
                None => self.flush_cache(store)?,
            }
        }
        // Caches that were flushed later may have filled buffers that stand before them.
        for node in self.buffering.values().copied().collect::<Vec<_>>() {
            self.with_node(node, |node, core| node.write_changes(core))?;
        }
        self.check_changelog()
    }

    /// Where the record at work came from; `None` in a punctuation.
    pub fn place(&self) -> Option<&RecordPlace> {
        self.context.place.as_ref()
    }

    /// Event time of the record at work.
    pub fn timestamp(&self) -> Timestamp {
        self.context.timestamp
    }

    /// The headers of the record at work.
    pub fn headers(&self) -> &Headers {
        &self.context.headers
    }

    /// The largest event time that this task has met.
    pub fn stream_time(&self) -> Timestamp {
        self.stream_time
    }

    /// The wall clock, as the task looked at it last.
    pub fn wall_clock(&self) -> Timestamp {
        self.wall_clock
    }

    /// The partition that this task works on.
    pub fn partition(&self) -> Partition {
        self.outbox.partition
    }
}
