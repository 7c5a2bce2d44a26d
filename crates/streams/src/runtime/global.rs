//! The thread that fills the global stores: it reads their topics to the end before the tasks begin, and on from there.
//!
//! What it commits is seen by the tasks at once. A store that lasts remembers how far each partition was read, under names that
//! join the store's with the partition; it goes on there after a restart.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use tidewater_client::Ports;
use tidewater_protocol::{Batch, ResponseError, UNPACK_LIMIT_BYTES};
use tidewater_state::{SharedBackend, StoreSpec};
use tidewater_types::{Offset, TaskId, TopicPartition};

use super::restore::failed;
use super::settings::AppSettings;
use super::state::open_backend;
use super::thread::{EMIT_INTERVAL_MS, FETCH_BYTES, IDLE, Signals, raw_records};
use crate::error::{FailureKind, TaskError, UserError};
use crate::task::{Collector, GlobalStores, Handlers, OutRecord, Task, TaskOptions};
use crate::topology::Topology;

/// The folder of global stores, beside those of the tasks.
const FOLDER: &str = "global";

/// How far each partition of the global topics is in the stores.
pub(crate) type Positions = Arc<Mutex<BTreeMap<TopicPartition, Offset>>>;

/// What the rest of the application needs of the global stores, once they are filled.
pub(crate) struct GlobalView {
    /// How the tasks open them.
    pub stores: GlobalStores,
    pub positions: Positions,
}

/// Global stores that are open and filled up to the present.
pub(crate) struct GlobalThread {
    task: Task,
    /// Where to read on, for others to see.
    positions: Positions,
    /// The names under which offsets are kept, for stores that last.
    names: BTreeMap<TopicPartition, String>,
    ports: Ports,
    signals: Arc<Signals>,
    stores: GlobalStores,
}

/// What fills global stores sends nothing on.
struct Nowhere;

impl Collector for Nowhere {
    fn send(&mut self, record: OutRecord<'_>) -> Result<(), UserError> {
        Err(format!("the processor of a global store cannot send to {}", record.topic).into())
    }
}

impl GlobalThread {
    /// Opens the global stores of a topology, and fills them with all that their topics hold; `None` if it has none.
    pub fn open(
        topology: &Topology,
        settings: &AppSettings,
        ports: &Ports,
        signals: Arc<Signals>,
    ) -> Result<Option<Self>, TaskError> {
        let Some(subtopology) = topology.globals() else { return Ok(None) };
        let specs = subtopology.stores.iter().map(|&store| topology.store(store));
        let lasting: Vec<&StoreSpec> = specs.clone().filter(|spec| !spec.in_memory).collect();
        let backend = SharedBackend::new(open_backend(settings, FOLDER, &lasting)?);
        let options = TaskOptions {
            id: TaskId { subtopology: 0, partition: 0 },
            application_id: settings.application_id.clone(),
            cache_bytes: 0,
            row_bytes: 0,
            waiting_bytes: 0,
            // What is left out here was not sent by anybody; there is no place for it.
            handlers: Handlers { dead_letters: None, ..settings.handlers.clone() },
            emit_interval_ms: EMIT_INTERVAL_MS,
            wall_clock: settings.clock.now(),
            global_stores: None,
            executor: None,
        };
        let mut task = Task::new(topology, &subtopology, options, Box::new(backend), Box::new(Nowhere))?;
        task.init()?;
        let mut readers = BTreeMap::new();
        for spec in specs {
            readers.insert(spec.name.clone(), task.share(&spec.name)?);
        }
        let stores: GlobalStores = Arc::new(move |name: &str| readers.get(name).map(Arc::clone));
        let (mut positions, mut names) = (BTreeMap::new(), BTreeMap::new());
        for topic in task.global_topics().cloned().collect::<Vec<_>>() {
            let partitions = ports.admin.partitions(&topic).map_err(failed)?.unwrap_or_default();
            for partition in 0..partitions {
                let place = TopicPartition { topic: topic.clone(), partition };
                let earliest = ports.consumer.earliest(&place).map_err(failed)?;
                let mut position = earliest;
                if topology.global_store_of(&topic).is_some_and(|spec| !spec.in_memory) {
                    let name = format!("{FOLDER}:{place}");
                    position = task.restored_offset(&name)?.unwrap_or(earliest).max(earliest);
                    names.insert(place.clone(), name);
                }
                positions.insert(place, position);
            }
        }
        let positions = Arc::new(Mutex::new(positions));
        let mut thread = GlobalThread { task, positions, names, ports: ports.clone(), signals, stores };
        thread.catch_up()?;
        Ok(Some(thread))
    }

    /// What others need.
    pub fn view(&self) -> GlobalView {
        GlobalView { stores: self.stores.clone(), positions: self.positions.clone() }
    }

    fn places(&self) -> Vec<TopicPartition> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    fn position(&self, place: &TopicPartition) -> Offset {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner)[place]
    }

    /// Reads up to where the topics end now.
    fn catch_up(&mut self) -> Result<(), TaskError> {
        for place in self.places() {
            let end = self.ports.consumer.latest(&place).map_err(failed)?;
            while self.position(&place) < end && !self.signals.stop.load(Ordering::SeqCst) {
                if !self.read(&place)? {
                    break; // Compaction took the last records away.
                }
            }
        }
        Ok(())
    }

    /// Works through a chunk of a partition, and lets the tasks see it; says whether there was one.
    fn read(&mut self, place: &TopicPartition) -> Result<bool, TaskError> {
        let mut position = self.position(place);
        let fetched = match self.ports.consumer.fetch(place, position, FETCH_BYTES) {
            Err(error) if error.code() == Some(ResponseError::OffsetOutOfRange) => {
                position = self.ports.consumer.earliest(place).map_err(failed)?;
                tracing::warn!(%place, offset = %position, "the log does not hold the next offset of a global table any more: goes on at the earliest");
                self.ports.consumer.fetch(place, position, FETCH_BYTES)
            }
            fetched => fetched,
        };
        let mut chunk = fetched.map_err(failed)?.records;
        if chunk.is_empty() {
            return Ok(false);
        }
        while !chunk.is_empty() {
            let unreadable = |error| TaskError::new(FailureKind::Deserialization, format!("{place}: {error}"));
            let batch = Batch::parse(&chunk).map_err(unreadable)?;
            batch.check_crc().map_err(unreadable)?;
            if !batch.is_control() {
                let records = batch.records(UNPACK_LIMIT_BYTES).map_err(unreadable)?;
                for raw in raw_records(&records, position) {
                    self.task.process_global(&place.topic, place.partition, &raw.map_err(unreadable)?)?;
                }
            }
            position = batch.next_offset().max(position);
            chunk = chunk.slice(batch.len()..);
        }
        let offsets = self.names.get(place).map(|name| (name.clone(), position)).into_iter().collect();
        self.task.commit_stores(&offsets)?;
        self.positions.lock().unwrap_or_else(PoisonError::into_inner).insert(place.clone(), position);
        Ok(true)
    }

    /// Reads on until told to stop.
    pub fn run(mut self) -> Result<(), TaskError> {
        self.signals.running.store(true, Ordering::SeqCst);
        while !self.signals.stop.load(Ordering::SeqCst) {
            self.signals.more.store(false, Ordering::SeqCst);
            let mut worked = false;
            for place in self.places() {
                worked |= self.read(&place)?;
            }
            if !worked && !self.signals.more.load(Ordering::SeqCst) {
                std::thread::park_timeout(IDLE);
            }
        }
        self.task.close()
    }
}
