//! A stream thread: owns its tasks, reads for them, works, commits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tidewater_client::{CommittedOffset, Ports};
use tidewater_protocol::{Batch, BatchError, Records, ResponseError, UNPACK_LIMIT_BYTES};
use tidewater_state::{MemoryBackend, StoreSpec};
use tidewater_types::{Offset, TaskId, Timestamp, TopicPartition};

use super::collector::SharedBatches;
use super::global::GlobalView;
use super::offsets::{Note, read_metadata, write_metadata};
use super::restore::{failed, restore};
use super::settings::AppSettings;
use super::state::open_backend;
use crate::error::{FailureKind, TaskError};
use crate::task::{RawRecord, Task, TaskOptions};
use crate::topology::{OffsetReset, Topology};

/// Bytes that are read of an input at once.
pub(super) const FETCH_BYTES: usize = 1 << 20;
/// An input with this many waiting records is not read further; a batch of the log is taken whole. Kafka Streams'
/// `buffered.records.per.partition` is 1,000; fewer stay in the processor's cache until they are worked through.
const WAITING_RECORDS: usize = 250;
/// Records that a task works through before the thread looks at the clock again.
const ROUND_RECORDS: usize = 1000;
/// Committed writes of a task wait for more until they are of so many bytes.
const WAITING_BYTES: usize = 16 << 20;
/// How often what is written is made to outlast a crash. A store that lags behind its changelog for longer than the changelog keeps
/// deletions (`delete.retention.ms`, a day by default) could find deleted rows again.
const FLUSH_INTERVAL: Duration = Duration::from_secs(300);
/// How long a thread without work sleeps at most.
pub(super) const IDLE: Duration = Duration::from_millis(50);
/// Kafka Streams searches for unmatched records of joins once in this time.
pub(super) const EMIT_INTERVAL_MS: i64 = 1000;

/// What a thread shares with the application.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    pub stop: AtomicBool,
    pub running: AtomicBool,
    /// Whether there may be more to read.
    pub more: AtomicBool,
    pub processed: AtomicU64,
    pub restored: AtomicU64,
    pub commits: AtomicU64,
}

/// Where to read on in an input.
struct Position {
    offset: Offset,
    /// Batches that were fetched and wait: their records are unpacked a batch at a time.
    fetched: Bytes,
    /// The end of what there was to read when it was last looked at.
    high_watermark: Offset,
}

struct RunningTask {
    task: Task,
    batches: SharedBatches,
    /// Where to read on in each input.
    positions: BTreeMap<TopicPartition, Position>,
    /// Stores by name, with their changelog partitions.
    changelogs: Vec<(String, TopicPartition)>,
    /// Whether anything happened since the last commit, or may have.
    dirty: bool,
    /// Whether anything was committed since the backend was flushed.
    unflushed: bool,
}

impl RunningTask {
    /// Hands what was committed to the backend.
    fn write(&mut self) -> Result<(), TaskError> {
        self.task.write_stores(&self.reached())
    }

    /// The changelog offsets that the stores reach, after a commit.
    fn reached(&self) -> BTreeMap<String, Offset> {
        let reached = self.changelogs.iter().filter_map(|(store, place)| {
            // A source topic that serves as changelog is reached as far as it was worked through.
            let worked = self.task.consumed().find(|(topic, ..)| **topic == place.topic).map(|(_, offset, _)| offset);
            Some((store.clone(), worked.or(self.batches.end(place))?))
        });
        reached.collect()
    }
}

/// The thread's own state.
pub(crate) struct StreamThread {
    pub topology: Arc<Topology>,
    pub settings: AppSettings,
    pub ports: Ports,
    pub tasks: Vec<TaskId>,
    pub signals: Arc<Signals>,
    /// Where the global stores will be once they are filled, if there are any.
    pub global_stores: Option<Arc<OnceLock<GlobalView>>>,
    /// The tokio runtime in which the application was started.
    pub executor: Option<tokio::runtime::Handle>,
}

impl StreamThread {
    /// Restores, then works until told to stop; commits at the end. On failure what was not committed is given up.
    pub fn run(self) -> Result<(), TaskError> {
        while self.global_stores.as_ref().is_some_and(|stores| stores.get().is_none()) {
            if self.signals.stop.load(Ordering::SeqCst) {
                return Ok(());
            }
            std::thread::park_timeout(IDLE);
        }
        let mut tasks = Vec::with_capacity(self.tasks.len());
        for &id in &self.tasks {
            let Some(task) = self.open(id)? else { return Ok(()) };
            tasks.push(task);
        }
        self.signals.running.store(true, Ordering::SeqCst);
        if let Err(error) = self.work_until_stopped(&mut tasks) {
            // What was committed of the others need not be restored.
            for mut running in tasks.into_iter().filter(|running| !running.dirty) {
                if let Err(error) = running.write().and_then(|()| running.task.close()) {
                    tracing::warn!(%error, "a task is not closed; its state will be restored from its changelogs");
                }
            }
            return Err(error);
        }
        for mut running in tasks {
            running.write()?;
            running.task.close()?;
        }
        Ok(())
    }

    /// Reads, works and commits, until told to stop; commits at the end.
    fn work_until_stopped(&self, tasks: &mut [RunningTask]) -> Result<(), TaskError> {
        let repartitions = self.repartition_topics();
        let mut last_commit = self.settings.clock.monotonic();
        let (mut last_purge, mut last_flush) = (last_commit, last_commit);
        while !self.signals.stop.load(Ordering::SeqCst) {
            self.signals.more.store(false, Ordering::SeqCst);
            let mut worked = false;
            for running in tasks.iter_mut() {
                let result = self.read(running).and_then(|any| Ok(any | self.work(running)?));
                // One that failed has done things that no commit will know of.
                running.dirty |= result.is_err();
                worked |= result?;
            }
            let now = self.settings.clock.monotonic();
            let is_due = |task: &Task| task.wants_commit() || task.unwritten_bytes() >= self.settings.uncommitted_bytes;
            let is_early = tasks.iter().any(|running| is_due(&running.task));
            if is_early || now - last_commit >= self.settings.commit_interval {
                let committed = self.commit_all(tasks)?;
                last_commit = now;
                if !committed.is_empty() && now - last_purge >= self.settings.purge_interval {
                    self.purge(committed, &repartitions);
                    last_purge = now;
                }
                if now - last_flush >= FLUSH_INTERVAL {
                    for running in tasks.iter_mut().filter(|running| running.unflushed) {
                        running.dirty = true;
                        running.write()?;
                        running.task.flush_backend()?;
                        (running.dirty, running.unflushed) = (false, false);
                    }
                    last_flush = now;
                }
            }
            if !worked && !self.signals.more.load(Ordering::SeqCst) {
                let is_dirty = tasks.iter().any(|running| running.dirty);
                std::thread::park_timeout(if is_dirty { IDLE.min(self.settings.commit_interval) } else { IDLE });
            }
        }
        self.commit_all(tasks).map(drop)
    }

    /// Makes a task and restores its stores; `None` if the thread was told to stop meanwhile.
    fn open(&self, id: TaskId) -> Result<Option<RunningTask>, TaskError> {
        let Some(subtopology) = self.topology.subtopologies().iter().find(|each| each.id == id.subtopology) else {
            return Err(TaskError::new(FailureKind::State, format!("there is no sub-topology for task {id}")));
        };
        let batches = SharedBatches::new(self.ports.clone(), self.settings.clock.now());
        let tasks = self.settings.threads.max(1) * self.tasks.len().max(1);
        let options = TaskOptions {
            id,
            application_id: self.settings.application_id.clone(),
            cache_bytes: self.settings.cache_bytes / tasks,
            row_bytes: self.settings.state_memory.row_bytes / tasks,
            waiting_bytes: WAITING_BYTES
                .min(self.settings.state_memory.row_bytes / tasks)
                .min(self.settings.uncommitted_bytes),
            handlers: self.settings.handlers.clone(),
            emit_interval_ms: EMIT_INTERVAL_MS,
            wall_clock: self.settings.clock.now(),
            global_stores: self.global_stores.as_ref().and_then(|stores| stores.get()).map(|view| view.stores.clone()),
            executor: self.executor.clone(),
        };
        let stores: Vec<&StoreSpec> =
            subtopology.stores.iter().map(|&store| self.topology.store(store)).filter(|spec| !spec.in_memory).collect();
        let backend = open_backend(&self.settings, &id.to_string(), &stores)?.unwrap_or(Box::new(MemoryBackend));
        let mut task = Task::new(&self.topology, subtopology, options, backend, Box::new(batches.clone()))?;

        let inputs: Vec<TopicPartition> =
            task.input_topics().map(|topic| TopicPartition { topic: topic.clone(), partition: id.partition }).collect();
        let committed = self.ports.group.committed(&inputs).map_err(failed)?;
        let mut positions = BTreeMap::new();
        for place in inputs {
            if self.ports.admin.partitions(&place.topic).map_err(failed)?.is_none_or(|count| place.partition >= count) {
                continue; // A topic with fewer partitions than the one it stands beside.
            }
            let position = match committed.get(&place) {
                Some(committed) => {
                    if let Some(note) = read_metadata(&committed.metadata) {
                        task.set_partition_time(&place.topic, note.partition_time);
                        note.emitted.into_iter().for_each(|(store, time)| task.set_emitted(store, time));
                    }
                    self.within_log(&place, committed.offset)?
                }
                None => self.first_position(&place)?,
            };
            positions.insert(place, Position { offset: position, fetched: Bytes::new(), high_watermark: position });
        }

        let mut changelogs = Vec::new();
        for (number, &store) in subtopology.stores.iter().enumerate() {
            let spec = self.topology.store(store);
            if !spec.is_logged() {
                continue;
            }
            let topic = self.topology.changelog_topic(store, &self.settings.application_id);
            let place = TopicPartition::new(topic, id.partition);
            // A source topic that serves as changelog counts only as far as it was worked through.
            let end = match self.topology.is_source_changelog(store) {
                true => positions.get(&place).map(|position| position.offset).unwrap_or_default(),
                false => self.ports.consumer.latest(&place).map_err(failed)?,
            };
            let restored = restore(&mut task, number, &place, end, &self.ports, &self.signals.stop)?;
            self.signals.restored.fetch_add(restored, Ordering::Relaxed);
            if self.signals.stop.load(Ordering::SeqCst) {
                return Ok(None);
            }
            changelogs.push((spec.name.clone(), place));
        }
        task.init()?;
        Ok(Some(RunningTask { task, batches, positions, changelogs, dirty: false, unflushed: false }))
    }

    /// Where to begin without a committed offset: as the source says, or at the first record.
    fn first_position(&self, place: &TopicPartition) -> Result<Offset, TaskError> {
        let topic = self.topology.plain_topic(&place.topic, &self.settings.application_id);
        let consumer = &self.ports.consumer;
        let position = match self.topology.offset_reset(topic) {
            None | Some(OffsetReset::Earliest) => consumer.earliest(place),
            Some(OffsetReset::Latest) => consumer.latest(place),
            Some(OffsetReset::ByDuration(age)) => {
                let since = Timestamp(self.settings.clock.now().0.saturating_sub(Timestamp::from(age).0));
                consumer.at_time(place, since).and_then(|found| found.map_or_else(|| consumer.latest(place), Ok))
            }
            Some(OffsetReset::None) => {
                let what = format!(
                    "no offset is committed for {place}, and its source says OffsetReset::None; commit one, or let it begin elsewhere"
                );
                return Err(TaskError::new(FailureKind::State, what));
            }
        };
        position.map_err(failed)
    }

    /// A committed offset, or the first one if the log does not hold it any more: as Kafka's `auto.offset.reset=earliest`.
    fn within_log(&self, place: &TopicPartition, committed: Offset) -> Result<Offset, TaskError> {
        let earliest = self.ports.consumer.earliest(place).map_err(failed)?;
        let latest = self.ports.consumer.latest(place).map_err(failed)?;
        if (earliest..=latest).contains(&committed) {
            return Ok(committed);
        }
        tracing::warn!(%place, offset = %committed, %earliest, %latest, "the log does not hold the next offset any more: goes on at the earliest");
        Ok(earliest)
    }

    /// Reads more for inputs that are short of records.
    fn read(&self, running: &mut RunningTask) -> Result<bool, TaskError> {
        let mut any = false;
        for (place, position) in &mut running.positions {
            let mut may_fetch = true;
            while running.task.waiting(&place.topic) < WAITING_RECORDS {
                if position.fetched.is_empty() && (!std::mem::take(&mut may_fetch) || !self.fetch(place, position)?) {
                    break;
                }
                add_batch(&mut running.task, place, position)?;
                any = true;
            }
        }
        // Also what was skipped at once, for want of a time, is consumed and to be committed.
        running.dirty |= any;
        Ok(any)
    }

    /// Fetches the next batches of an input; says whether there are any.
    fn fetch(&self, place: &TopicPartition, position: &mut Position) -> Result<bool, TaskError> {
        let fetched = match self.ports.consumer.fetch(place, position.offset, FETCH_BYTES) {
            // Retention was faster than this task.
            Err(error) if error.code() == Some(ResponseError::OffsetOutOfRange) => {
                position.offset = self.within_log(place, position.offset)?;
                self.ports.consumer.fetch(place, position.offset, FETCH_BYTES)
            }
            fetched => fetched,
        };
        let fetched = fetched.map_err(failed)?;
        let any = !fetched.records.is_empty();
        position.high_watermark = if any { fetched.high_watermark } else { position.offset };
        position.fetched = fetched.records;
        Ok(any)
    }

    /// Works through what waits, up to a bound.
    fn work(&self, running: &mut RunningTask) -> Result<bool, TaskError> {
        let mut worked = running.task.punctuate_wall_clock(self.settings.clock.now())?;
        worked |= running.task.take_answers()?;
        let mut count = 0;
        // While one input has run dry here and has more in the log, its next record may be the earliest: read first.
        let behind = running.positions.iter().filter(|(_, position)| position.offset < position.high_watermark);
        let behind: Vec<usize> = behind.filter_map(|(place, _)| running.task.input(&place.topic)).collect();
        let is_alone = running.positions.len() == 1;
        let may_go_on = |task: &Task| is_alone || behind.iter().all(|&input| task.has_waiting(input));
        while count < ROUND_RECORDS && may_go_on(&running.task) && running.task.process_next()? {
            running.task.punctuate_stream_time()?;
            count += 1;
        }
        self.signals.processed.fetch_add(count as u64, Ordering::Relaxed);
        worked |= count > 0;
        running.dirty |= worked;
        Ok(worked)
    }

    /// The topics between the application's own sub-topologies.
    fn repartition_topics(&self) -> BTreeSet<String> {
        let subtopologies = self.topology.subtopologies().iter();
        let all: Vec<_> = subtopologies.map(|each| self.topology.topics(each, &self.settings.application_id)).collect();
        let repartitions = all.iter().flat_map(|topics| topics.repartition.keys());
        // One that serves as a changelog keeps its records.
        let is_changelog = |name: &String| all.iter().any(|topics| topics.changelogs.contains_key(name));
        repartitions.filter(|name| !is_changelog(name)).cloned().collect()
    }

    /// Deletes what is worked through of repartition topics. A failure only leaves it for the next time.
    fn purge(&self, committed: BTreeMap<TopicPartition, CommittedOffset>, repartitions: &BTreeSet<String>) {
        let done = committed.into_iter().filter(|(place, _)| repartitions.contains(&*place.topic));
        let done: BTreeMap<_, _> = done.map(|(place, committed)| (place, committed.offset)).collect();
        if !done.is_empty()
            && let Err(error) = self.ports.admin.delete_records(&done)
        {
            tracing::warn!(%error, "records of repartition topics are not deleted");
        }
    }

    /// The four steps of a commit, for all tasks of this thread. Gives the offsets committed.
    fn commit_all(&self, tasks: &mut [RunningTask]) -> Result<BTreeMap<TopicPartition, CommittedOffset>, TaskError> {
        let mut offsets = BTreeMap::new();
        for running in tasks.iter_mut().filter(|running| running.dirty) {
            running.task.flush_caches()?;
            let flushed = running.batches.flush(self.settings.clock.now());
            flushed.map_err(|error| TaskError::new(FailureKind::Production, error))?;
            let partition = running.task.partition();
            for (place, position) in &running.positions {
                running.task.skip_to(&place.topic, position.offset);
            }
            for (topic, offset, time) in running.task.consumed() {
                let place = TopicPartition { topic: topic.clone(), partition };
                let partition_time = if time == Timestamp::NONE { Timestamp(-1) } else { time };
                let metadata = write_metadata(&Note { partition_time, emitted: running.task.emitted().clone() });
                offsets.insert(place, CommittedOffset { offset, metadata });
            }
        }
        if !tasks.iter().any(|running| running.dirty) {
            return Ok(offsets);
        }
        // A task that only punctuates has nothing consumed, and yet writes to its stores.
        if !offsets.is_empty() {
            self.ports.group.commit(&offsets).map_err(failed)?;
        }
        for running in tasks.iter_mut().filter(|running| running.dirty) {
            running.task.commit_stores(&running.reached())?;
            (running.dirty, running.unflushed) = (false, true);
        }
        self.signals.commits.fetch_add(1, Ordering::Relaxed);
        Ok(offsets)
    }
}

/// Unpacks the next of the fetched batches for a task.
fn add_batch(task: &mut Task, place: &TopicPartition, position: &mut Position) -> Result<(), TaskError> {
    let unreadable = |error| TaskError::new(FailureKind::Deserialization, format!("{place}: {error}"));
    let batch = Batch::parse(&position.fetched).map_err(unreadable)?;
    batch.check_crc().map_err(unreadable)?;
    if !batch.is_control() {
        let records = batch.records(UNPACK_LIMIT_BYTES).map_err(unreadable)?;
        let mut bad = None;
        let raw =
            raw_records(&records, position.offset).map_while(|record| record.map_err(|error| bad = Some(error)).ok());
        task.add_records(&place.topic, raw)?;
        if let Some(error) = bad {
            return Err(unreadable(error));
        }
    }
    position.offset = batch.next_offset().max(position.offset);
    position.fetched = position.fetched.slice(batch.len()..);
    Ok(())
}

/// The records of a batch from an offset on.
pub(super) fn raw_records(records: &Records, from: Offset) -> impl Iterator<Item = Result<RawRecord, BatchError>> + '_ {
    records.iter().filter(move |record| record.as_ref().map_or(true, |record| record.offset >= from)).map(|record| {
        let record = record?;
        Ok(RawRecord {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.shared_key(),
            value: record.shared_value(),
            headers: record.headers(),
        })
    })
}
