//! A task at work: records in, one at a time, in order; punctuations; the steps of a commit.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tidewater_state::{Backend, Committed, Engine, Store, StoreMemory, StoreSpec};
use tidewater_types::{Headers, Offset, Partition, RecordContext, RecordPlace, TaskId, Timestamp, Topic};

use super::TaskBuild;
use super::core::{Collector, Core, DropReason, NodeId, NodeSlot, Outbox};
use super::handlers::Handlers;
use super::punctuate::{Punctuation, PunctuationClock, Schedules};
use super::queue::{JavaHeap, RawRecord, RecordQueue};
use crate::error::{FailureKind, TaskError};
use crate::node::Source;
use crate::topology::{SubTopology, TopicPattern, Topology};

/// How a task is built.
pub struct TaskOptions {
    /// Which task.
    pub id: TaskId,
    /// `application.id`, the beginning of internal topics' names.
    pub application_id: String,
    /// Bytes of the record caches of all stores of this task together.
    pub cache_bytes: usize,
    /// Bytes of the rows of persistent stores that are kept in memory beyond that.
    pub row_bytes: usize,
    /// Committed writes to persistent stores that wait in memory until they are of so many bytes: those of a key that is written
    /// again reach the disk once. After a crash the changelog has them; a task with a store that has none, or with rows that live
    /// for a time, keeps none waiting.
    pub waiting_bytes: usize,
    /// What happens to records that fail.
    pub handlers: Handlers,
    /// The least wall-clock time between two searches for unmatched records of joins. Kafka Streams: 1,000; its driver: 0.
    pub emit_interval_ms: i64,
    /// The wall clock as the task begins.
    pub wall_clock: Timestamp,
    /// Finds the global stores; `None` if the task fills the global stores itself, as in a test driver.
    pub global_stores: Option<GlobalStores>,
    /// The tokio runtime on which calls to the outside run; on one of their own if there is none.
    pub executor: Option<tokio::runtime::Handle>,
}

/// Finds global stores to read, by name.
pub type GlobalStores = Arc<dyn Fn(&str) -> Option<Arc<dyn Committed>> + Send + Sync>;

struct Input {
    topic: Topic,
    source: Box<dyn Source>,
    queue: RecordQueue,
    /// Offset behind the last record that was processed.
    consumed: Option<Offset>,
}

/// Makes a source of a pattern for a topic that it matches.
type MakeSource = Box<dyn Fn() -> Box<dyn Source> + Send>;

/// A sub-topology's nodes and stores for one partition.
pub struct Task {
    id: TaskId,
    core: Core,
    inputs: Vec<Input>,
    by_topic: BTreeMap<Topic, usize>,
    /// The sources of global stores, whose records are worked at once.
    globals: BTreeMap<Topic, Box<dyn Source>>,
    /// Sources whose topics turn up by name.
    patterns: Vec<(TopicPattern, MakeSource)>,
    ready: JavaHeap,
    backend: Box<dyn Backend>,
    /// Writes of fewer bytes wait for more.
    waiting_bytes: usize,
}

impl Task {
    /// Builds the nodes, opens the stores.
    ///
    /// # Errors
    /// When a store cannot be opened, or a processor's `init` fails.
    pub fn new(
        topology: &Topology,
        subtopology: &SubTopology,
        options: TaskOptions,
        mut backend: Box<dyn Backend>,
        collector: Box<dyn Collector>,
    ) -> Result<Self, TaskError> {
        let mut stores = Vec::new();
        let mut store_ids = BTreeMap::new();
        let mut changelogs = Vec::new();
        let count = |counts: fn(&StoreSpec) -> bool| {
            subtopology.stores.iter().filter(|&&store| counts(topology.store(store))).count().max(1)
        };
        let (cached, on_disk) = (count(|store| store.cached), count(|store| !store.in_memory));
        for &index in &subtopology.stores {
            let spec = topology.store(index);
            let number = stores.len();
            store_ids.insert(spec.name.clone(), number);
            changelogs.push(spec.is_logged().then(|| topology.changelog_topic(index, &options.application_id).into()));
            let engine = backend.open(spec)?;
            // A source topic that serves as changelog is not written again.
            let mut spec = spec.clone();
            if topology.is_source_changelog(index) {
                spec.logging = tidewater_state::Logging::Off;
            }
            let memory =
                StoreMemory { cache_bytes: options.cache_bytes / cached, row_bytes: options.row_bytes / on_disk };
            stores.push(Store::new(spec, number, engine, memory));
        }

        if let Some(open) = &options.global_stores {
            let missing = topology.global_store_indexes().filter(|index| !subtopology.stores.contains(index));
            for index in missing {
                let (spec, number) = (topology.store(index), stores.len());
                let Some(reader) = open(&spec.name) else { continue };
                store_ids.insert(spec.name.clone(), number);
                changelogs.push(None);
                stores.push(Store::new(spec.clone(), number, Engine::ReadOnly(reader), StoreMemory::default()));
            }
        }

        let mut listeners = vec![None; stores.len()];
        let places: BTreeMap<usize, NodeId> =
            subtopology.nodes.iter().enumerate().map(|(place, &node)| (node, place)).collect();
        let mut nodes = Vec::with_capacity(places.len());
        let mut inputs: Vec<Input> = Vec::new();
        let mut by_topic = BTreeMap::new();
        let mut globals = BTreeMap::new();
        let mut patterns = Vec::new();
        for (place, &index) in subtopology.nodes.iter().enumerate() {
            let node = topology.node(index);
            let mut build = TaskBuild {
                node: place,
                topology,
                application_id: &options.application_id,
                store_ids: &store_ids,
                executor: options.executor.as_ref(),
                listeners: &mut listeners,
            };
            for name in node.source_topics() {
                let topic: Topic = topology.topic_name(name, &options.application_id).into();
                let source = node.make_source(place, topology.default_timestamps);
                if topology.global_topics().any(|global| global == name) {
                    globals.insert(topic, source);
                    continue;
                }
                by_topic.insert(topic.clone(), inputs.len());
                let queue = RecordQueue { partition_time: Timestamp::NONE, ..RecordQueue::default() };
                inputs.push(Input { topic, source, queue, consumed: None });
            }
            if let Some(pattern) = node.source_pattern() {
                let (node, default) = (node.clone(), topology.default_timestamps);
                let make: MakeSource = Box::new(move || node.make_source(place, default));
                patterns.push((pattern.clone(), make));
            }
            let made = node.make(&mut build);
            let children = node.children.iter().map(|child| places[child]).collect();
            nodes.push(NodeSlot { name: node.name.clone(), children, node: made });
        }
        // Deleting old rows looks for them in the backend; and what no changelog has is to be found there.
        let may_not_wait = |store: &StoreSpec, index| {
            store.ttl_ms.is_some() || !store.is_logged() && !topology.is_source_changelog(index)
        };
        let mut specs = subtopology.stores.iter().map(|&index| (topology.store(index), index));
        let waiting_bytes = match specs.any(|(spec, index)| !spec.in_memory && may_not_wait(spec, index)) {
            true => 0,
            false => options.waiting_bytes,
        };
        let outbox = Outbox { collector, changelogs, partition: options.id.partition, failure: None };
        let core = Core {
            id: options.id,
            application_id: options.application_id,
            nodes,
            stores,
            listeners,
            outbox,
            context: RecordContext { place: None, timestamp: Timestamp::NONE, headers: Headers::EMPTY },
            stream_time: Timestamp::NONE,
            wall_clock: options.wall_clock,
            dropped: BTreeMap::new(),
            handlers: options.handlers,
            schedules: Schedules::default(),
            raw: None,
            join_times: BTreeMap::new(),
            emit_interval_ms: options.emit_interval_ms,
            emitted: BTreeMap::new(),
            suppressed: BTreeMap::new(),
            buffering: BTreeMap::new(),
            calling: Vec::new(),
            calls: 0,
            commits: 0,
            commit_requested: false,
            inputs_waiting: false,
        };
        let ready = JavaHeap::default();
        Ok(Task { id: options.id, core, inputs, by_topic, globals, patterns, ready, backend, waiting_bytes })
    }

    /// Calls every processor's `init`: after the stores are restored, before the first record.
    ///
    /// # Errors
    /// When one fails.
    pub fn init(&mut self) -> Result<(), TaskError> {
        for node in 0..self.core.nodes.len() {
            if self.core.nodes[node].node.is_some() {
                let core = &mut self.core;
                let result = catch_unwind(AssertUnwindSafe(|| core.init_node(node)));
                result.unwrap_or_else(|panic| Err(panicked(&panic, None)))?;
            }
        }
        Ok(())
    }

    /// Which task this is.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// The topics that this task reads, in the order of its sources.
    pub fn input_topics(&self) -> impl Iterator<Item = &Topic> {
        self.inputs.iter().map(|input| &input.topic)
    }

    /// Whether this task reads a topic, by name or by a pattern; from now on it is an input.
    pub fn reads(&mut self, topic: &str) -> bool {
        if self.by_topic.contains_key(topic) {
            return true;
        }
        let Some((_, make)) = self.patterns.iter().find(|(pattern, _)| pattern.matches(topic)) else { return false };
        let queue = RecordQueue { partition_time: Timestamp::NONE, ..RecordQueue::default() };
        let topic: Topic = topic.into();
        self.by_topic.insert(topic.clone(), self.inputs.len());
        self.inputs.push(Input { topic, source: make(), queue, consumed: None });
        true
    }

    /// The pattern by which this task reads a topic, if it does.
    pub fn pattern_of(&self, topic: &str) -> Option<&str> {
        self.patterns
            .iter()
            .map(|(pattern, _)| pattern)
            .find(|pattern| pattern.matches(topic))
            .map(TopicPattern::as_str)
    }

    /// Puts records behind those that wait. Records of topics that this task does not read are left out.
    pub fn add_records(&mut self, topic: &str, records: impl IntoIterator<Item = RawRecord>) -> Result<(), TaskError> {
        let Some(&input) = self.by_topic.get(topic) else { return Ok(()) };
        let was_waiting = self.inputs[input].queue.head_time.is_some();
        self.inputs[input].queue.waiting.extend(records);
        if was_waiting { Ok(()) } else { self.find_head(input) }
    }

    /// Takes the records of a topic before an offset for consumed, if none of them waits: what there was were no records.
    pub fn skip_to(&mut self, topic: &str, offset: Offset) {
        let Some(&input) = self.by_topic.get(topic) else { return };
        let Input { queue, consumed, .. } = &mut self.inputs[input];
        if queue.waiting.is_empty() && consumed.is_none_or(|consumed| consumed < offset) {
            *consumed = Some(offset);
        }
    }

    /// The place of a topic among the inputs.
    pub fn input(&self, topic: &str) -> Option<usize> {
        self.by_topic.get(topic).copied()
    }

    /// Whether a record of the input in this place waits.
    pub fn has_waiting(&self, input: usize) -> bool {
        !self.inputs[input].queue.waiting.is_empty()
    }

    /// How many records wait for the topic.
    pub fn waiting(&self, topic: &str) -> usize {
        self.by_topic.get(topic).map_or(0, |&input| self.inputs[input].queue.waiting.len())
    }

    /// Finds the time of the first waiting record; records without one are skipped or fail.
    fn find_head(&mut self, input: usize) -> Result<(), TaskError> {
        let Input { topic, source, queue, consumed } = &mut self.inputs[input];
        queue.head_time = None;
        while let Some(raw) = queue.waiting.front() {
            let partition_time = queue.partition_time;
            let place = || RecordPlace { topic: topic.clone(), partition: self.id.partition, offset: raw.offset };
            let wall_clock = self.core.wall_clock;
            let found = catch_unwind(AssertUnwindSafe(|| source.timestamp(raw, &place, partition_time, wall_clock)));
            match found.unwrap_or_else(|panic| Err(panicked(&panic, Some(place())))) {
                Ok(Some(timestamp)) => {
                    queue.partition_time = queue.partition_time.max(timestamp);
                    queue.head_time = Some(timestamp);
                    self.ready.push(timestamp, input);
                    return Ok(());
                }
                Ok(None) => {
                    *consumed = Some(raw.offset.next());
                    queue.waiting.pop_front();
                    self.core.drop_record(DropReason::NoTimestamp);
                }
                Err(mut error) => {
                    error.place = Some(place());
                    let node = source.node();
                    let (offset, key, value) = (raw.offset, raw.key.clone(), raw.value.clone());
                    if self.core.handlers.dead_letters.is_some() {
                        self.core.raw = Some((key, value, raw.headers.clone()));
                    }
                    if error.kind == FailureKind::Timestamp {
                        error.handled = true;
                        error.node = Some(self.core.nodes[node].name.clone());
                        return Err(error);
                    }
                    self.core.context.timestamp = raw.timestamp;
                    self.core.decide(node, error)?;
                    *consumed = Some(offset.next());
                    queue.waiting.pop_front();
                }
            }
        }
        Ok(())
    }

    /// Works the next record through to the end; says whether there was one.
    ///
    /// # Errors
    /// When it fails and the handler stops the task. The task must then be closed and built again.
    pub fn process_next(&mut self) -> Result<bool, TaskError> {
        let Some(input) = self.ready.pop() else { return Ok(false) };
        let Input { topic, source, queue, consumed } = &mut self.inputs[input];
        let (Some(raw), Some(timestamp)) = (queue.waiting.pop_front(), queue.head_time.take()) else {
            unreachable!("a queue is ready only while a record of known time waits in it")
        };
        *consumed = Some(raw.offset.next());
        let core = &mut self.core;
        core.stream_time = core.stream_time.max(timestamp);
        match &mut core.context.place {
            // Mostly the record before was of the same topic; its name need not be shared once more.
            Some(place) if Arc::ptr_eq(&place.topic, topic) => {
                (place.partition, place.offset) = (self.id.partition, raw.offset);
            }
            place => {
                let (topic, partition) = (topic.clone(), self.id.partition);
                *place = Some(RecordPlace { topic, partition, offset: raw.offset });
            }
        }
        core.context.timestamp = timestamp;
        core.context.headers = raw.headers.clone();
        if core.handlers.dead_letters.is_some() {
            core.raw = Some((raw.key.clone(), raw.value.clone(), raw.headers.clone()));
        }
        let result = catch_unwind(AssertUnwindSafe(|| source.process(core, &raw, timestamp)));
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.handled => return Err(error),
            Ok(Err(error)) => core.decide(source.node(), error)?,
            Err(panic) => return Err(panicked(&panic, core.context.place.clone())),
        }
        self.find_head(input)?;
        Ok(true)
    }

    /// Whether a topic fills a global store of this task.
    pub fn is_global(&self, topic: &str) -> bool {
        self.globals.contains_key(topic)
    }

    /// The topics that fill global stores of this task.
    pub fn global_topics(&self) -> impl Iterator<Item = &Topic> {
        self.globals.keys()
    }

    /// Puts a record of a global topic into its store, at once; stream time stays what it was.
    ///
    /// # Errors
    /// When it fails and the handler does not skip it.
    pub fn process_global(&mut self, topic: &str, partition: Partition, raw: &RawRecord) -> Result<(), TaskError> {
        let Some((topic, source)) = self.globals.get_key_value(topic) else { return Ok(()) };
        let (topic, node) = (topic.clone(), source.node());
        let place = RecordPlace { topic, partition, offset: raw.offset };
        let core = &mut self.core;
        core.context = RecordContext { place: Some(place), timestamp: raw.timestamp, headers: raw.headers.clone() };
        if core.handlers.dead_letters.is_some() {
            core.raw = Some((raw.key.clone(), raw.value.clone(), raw.headers.clone()));
        }
        if raw.timestamp.0 < 0 {
            // No handler is asked, and no extractor, as in Kafka Streams.
            let what = format!(
                "timestamp {} of a record for a global store is negative; write it with another",
                raw.timestamp
            );
            return Err(TaskError { handled: true, ..TaskError::new(FailureKind::Timestamp, what) });
        }
        let result = catch_unwind(AssertUnwindSafe(|| source.process(core, raw, raw.timestamp)));
        match result {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.handled => Err(error),
            Ok(Err(error)) => core.decide(node, error),
            Err(panic) => Err(panicked(&panic, core.context.place.clone())),
        }
    }

    /// What other tasks read of a store of this one.
    pub fn share(&self, store: &str) -> Result<Arc<dyn Committed>, TaskError> {
        Ok(self.backend.reader(store)?)
    }

    /// Runs the stream-time punctuations that are due.
    pub fn punctuate_stream_time(&mut self) -> Result<bool, TaskError> {
        let now = self.core.stream_time;
        if self.core.schedules.is_empty() || now == Timestamp::NONE {
            return Ok(false);
        }
        self.punctuate(PunctuationClock::StreamTime, now)
    }

    /// Moves the task's wall clock, and runs the wall-clock punctuations that are due.
    pub fn punctuate_wall_clock(&mut self, now: Timestamp) -> Result<bool, TaskError> {
        self.core.wall_clock = now;
        self.core.inputs_waiting = self.inputs.iter().any(|input| !input.queue.waiting.is_empty());
        self.punctuate(PunctuationClock::WallClock, now)
    }

    fn punctuate(&mut self, clock: PunctuationClock, now: Timestamp) -> Result<bool, TaskError> {
        let mut any = false;
        while let Some((node, schedule)) = self.core.schedules.take_due(clock, now) {
            any = true;
            let context = RecordContext { place: None, timestamp: now, headers: Headers::EMPTY };
            let due = Punctuation { schedule, at: now };
            let core = &mut self.core;
            let result = catch_unwind(AssertUnwindSafe(|| {
                core.within(context, |core| core.with_node(node, |node, core| node.punctuate(core, due)))
            }));
            result.unwrap_or_else(|panic| Err(panicked(&panic, None)))?;
        }
        Ok(any)
    }

    /// Sends on what calls to the outside have answered; says whether there was anything.
    ///
    /// # Errors
    /// When processing an answer fails, or the call did and the handler stops the task.
    pub fn take_answers(&mut self) -> Result<bool, TaskError> {
        let core = &mut self.core;
        let result = catch_unwind(AssertUnwindSafe(|| core.take_answers()));
        result.unwrap_or_else(|panic| Err(panicked(&panic, None)))
    }

    /// Sends on what waits in caches and buffers: the first step of a commit.
    ///
    /// # Errors
    /// When processing what is sent on fails.
    pub fn flush_caches(&mut self) -> Result<(), TaskError> {
        let core = &mut self.core;
        let result = catch_unwind(AssertUnwindSafe(|| core.flush_caches()));
        result.unwrap_or_else(|panic| Err(panicked(&panic, None)))
    }

    /// The last step of a commit: hands the stores' writes to the backend, with the changelog offsets that they reach, if there
    /// are enough of them.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn commit_stores(&mut self, offsets: &BTreeMap<String, Offset>) -> Result<(), TaskError> {
        self.core.commits += 1;
        self.core.commit_requested = false;
        self.core.stores.iter_mut().for_each(Store::committed);
        if self.unwritten_bytes() >= self.waiting_bytes { self.write_stores(offsets) } else { Ok(()) }
    }

    /// Hands all writes of the stores to the backend, with the changelog offsets that they reach.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_stores(&mut self, offsets: &BTreeMap<String, Offset>) -> Result<(), TaskError> {
        let writes = self.core.stores.iter().map(Store::unwritten);
        self.backend.commit(writes.filter(|writes| !writes.entries.is_empty()).collect(), offsets)?;
        self.core.stores.iter_mut().for_each(Store::all_written);
        Ok(())
    }

    /// Whether a processor has asked for a commit since the last one.
    pub fn wants_commit(&self) -> bool {
        self.core.commit_requested
    }

    /// Makes what the backend has outlast a crash.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn flush_backend(&mut self) -> Result<(), TaskError> {
        Ok(self.backend.flush()?)
    }

    /// Bytes of writes that the backend does not have yet.
    pub fn unwritten_bytes(&self) -> usize {
        self.core.stores.iter().map(Store::unwritten_bytes).sum()
    }

    /// For each input topic the offset behind the last record processed, and the largest timestamp met.
    pub fn consumed(&self) -> impl Iterator<Item = (&Topic, Offset, Timestamp)> {
        self.inputs.iter().filter_map(|input| Some((&input.topic, input.consumed?, input.queue.partition_time)))
    }

    /// Sets the partition time of an input, as a committed offset remembers it.
    pub fn set_partition_time(&mut self, topic: &str, time: Timestamp) {
        if let Some(&input) = self.by_topic.get(topic) {
            let queue = &mut self.inputs[input].queue;
            queue.partition_time = queue.partition_time.max(time);
            self.core.stream_time = self.core.stream_time.max(time);
        }
    }

    /// For stores of windows whose results are sent when they close: the close time up to which they were sent.
    pub fn emitted(&self) -> &BTreeMap<String, i64> {
        &self.core.emitted
    }

    /// Sets up to which close time the windows of a store were sent, as a committed offset remembers it.
    pub fn set_emitted(&mut self, store: String, close_time: i64) {
        let emitted = self.core.emitted.entry(store).or_insert(close_time);
        *emitted = close_time.max(*emitted);
    }

    /// The stores, in the order of their registration.
    pub fn stores(&mut self) -> &mut [Store] {
        &mut self.core.stores
    }

    /// The store of that name.
    pub fn store(&mut self, name: &str) -> Option<&mut Store> {
        self.core.stores.iter_mut().find(|store| store.spec().name == name)
    }

    /// The changelog offset that a store's lasting contents reach.
    pub fn restored_offset(&self, store: &str) -> Result<Option<Offset>, TaskError> {
        Ok(self.backend.offset(store)?)
    }

    /// Puts a changelog record into a store, or into the buffer that keeps its changelog under that store's name.
    pub fn restore(
        &mut self,
        store: usize,
        key: &[u8],
        value: Option<&[u8]>,
        timestamp: Timestamp,
        headers: &Headers,
    ) -> Result<(), TaskError> {
        Ok(self.core.stores[store].restore(key, value, timestamp, headers)?)
    }

    /// Records that went no further, by reason.
    pub fn dropped(&self) -> &BTreeMap<DropReason, u64> {
        &self.core.dropped
    }

    /// When the wall clock makes a punctuation due next.
    pub fn next_wall_clock(&self) -> Option<Timestamp> {
        self.core.schedules.next_wall_clock()
    }

    /// The largest event time met.
    pub fn stream_time(&self) -> Timestamp {
        self.core.stream_time
    }

    /// The partition that this task works on.
    pub fn partition(&self) -> Partition {
        self.id.partition
    }

    /// Closes the processors and the stores. What was not committed is lost, as after a crash.
    pub fn close(mut self) -> Result<(), TaskError> {
        for node in self.core.nodes.iter_mut().filter_map(|slot| slot.node.as_mut()) {
            catch_unwind(AssertUnwindSafe(|| node.close())).map_err(|panic| panicked(&panic, None))?;
        }
        Ok(self.backend.close()?)
    }
}

fn panicked(panic: &Box<dyn std::any::Any + Send>, place: Option<RecordPlace>) -> TaskError {
    let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
    let mut error = TaskError::new(FailureKind::Panic, message.unwrap_or_else(|| "a panic without text".to_owned()));
    error.place = place;
    error.handled = true;
    error
}
