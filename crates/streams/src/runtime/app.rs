//! A running application.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError};
use std::thread::JoinHandle;

use thiserror::Error;
use tidewater_client::{ClientError, Ports};
use tidewater_env::{asked_to_end, spawn};
use tidewater_protocol::Wake;
use tidewater_types::{Partition, TopicPartition};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::watch;

use super::global::{GlobalThread, GlobalView};
use super::plan::deploy;
use super::settings::AppSettings;
use super::thread::{Signals, StreamThread};
use crate::error::TaskError;
use crate::topology::Topology;

/// Why an application did not start: a wrong deployment.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// A topic that the program reads or writes does not exist.
    #[error("topic {0} does not exist; create it, then start again")]
    MissingTopic(String),
    /// Topics that are joined have different numbers of partitions.
    #[error("{left} and {right} are joined, but have different numbers of partitions; put .repartition() before one")]
    NotCopartitioned {
        /// One of them.
        left: String,
        /// The other one.
        right: String,
    },
    /// A repartition topic or changelog was made for another number of partitions.
    #[error(
        "internal topic {topic} has {found} partitions, and {needed} are needed: the topics before it have other numbers than when it was made. Give those their old numbers, or take another application id and read from the beginning"
    )]
    InternalPartitions {
        /// The topic.
        topic: String,
        /// How many it has.
        found: Partition,
        /// How many it should have.
        needed: Partition,
    },
    /// The log refused.
    #[error(transparent)]
    Log(#[from] ClientError),
    /// The system gives no more threads.
    #[error("cannot start a stream thread: {0}")]
    Thread(io::Error),
}

/// An application at work. Dropping it asks the threads to commit and end, without waiting for them; [`App::stop`] waits.
///
/// Its stream threads are threads of the operating system; the futures here only wait for them.
pub struct App {
    ports: Ports,
    /// Every partition that the application reads.
    inputs: Vec<TopicPartition>,
    threads: Vec<(JoinHandle<Result<(), TaskError>>, Arc<Signals>)>,
    /// What the log calls when there may be more to read: held here, so that it ends with the application.
    wakes: Vec<Wake>,
    /// The global stores, once they are filled, if there are any.
    global_stores: Option<Arc<OnceLock<GlobalView>>>,
    /// How many threads have ended.
    ended: watch::Receiver<usize>,
}

/// Counts a thread that ends, in whatever way.
struct CountEnd(watch::Sender<usize>);

impl Drop for CountEnd {
    fn drop(&mut self) {
        self.0.send_modify(|ended| *ended += 1);
    }
}

impl App {
    /// Makes the topics that the application needs, and starts its threads, which restore its stores first.
    ///
    /// # Errors
    /// When the deployment is wrong, or the log refuses.
    pub fn start(topology: Topology, settings: AppSettings, ports: Ports) -> Result<Self, StartError> {
        let topology = if topology.has_patterns() {
            let known = ports.admin.topics()?;
            topology.with_matched(known.keys().map(String::as_str))
        } else {
            topology
        };
        let mut existing = BTreeMap::new();
        for subtopology in topology.subtopologies() {
            let topics = topology.topics(subtopology, &settings.application_id);
            for topic in topics.sources.into_iter().chain(topics.sinks).chain(topics.changelogs.into_keys()) {
                if let Some(count) = ports.admin.partitions(&topic)? {
                    existing.insert(topic, count);
                }
            }
        }
        for topic in topology.global_topics() {
            if ports.admin.partitions(topic)?.is_none() {
                return Err(StartError::MissingTopic(topic.to_owned()));
            }
        }
        if let Some(topic) = &settings.handlers.dead_letters
            && ports.admin.partitions(topic)?.is_none()
        {
            return Err(StartError::MissingTopic(topic.to_string()));
        }
        let deployment = deploy(&topology, &settings.application_id, &existing)?;
        for (name, partitions, configs) in &deployment.topics {
            ports.admin.create_topic(name, *partitions, configs)?;
        }
        let sources =
            topology.subtopologies().iter().flat_map(|each| topology.topics(each, &settings.application_id).sources);
        let inputs = sources.flat_map(|topic| {
            let count = deployment.partitions.get(&topic).copied().unwrap_or_default();
            (0..count).map(move |partition| TopicPartition::new(&*topic, partition))
        });
        let inputs = inputs.collect();
        let topology = Arc::new(topology);
        let (end, ended) = watch::channel(0);
        let global_stores = topology.globals().map(|_| Arc::new(OnceLock::new()));
        let (threads, wakes) = (Vec::new(), Vec::new());
        let mut app = App { ports: ports.clone(), inputs, threads, wakes, global_stores: global_stores.clone(), ended };
        // Where a thread does not start, what was started before ends as the application is dropped.
        if let Some(filled) = global_stores.clone() {
            let (topology, settings, ports) = (topology.clone(), settings.clone(), ports.clone());
            let name = format!("{}-global", settings.application_id);
            app.spawn(&name, end.clone(), move |signals| {
                let Some(thread) = GlobalThread::open(&topology, &settings, &ports, signals)? else { return Ok(()) };
                let _ = filled.set(thread.view());
                thread.run()
            })?;
        }
        // One that has a single thread may stand still while that thread does; calls must not.
        let executor = Handle::try_current().ok();
        let executor = executor.filter(|handle| handle.runtime_flavor() != RuntimeFlavor::CurrentThread);
        for (number, tasks) in ports.group.assign(&deployment.tasks, settings.threads).into_iter().enumerate() {
            let (topology, ports, settings) = (topology.clone(), ports.clone(), settings.clone());
            let (name, global_stores) = (format!("{}-{}", settings.application_id, number + 1), global_stores.clone());
            let executor = executor.clone();
            app.spawn(&name, end.clone(), move |signals| {
                StreamThread { topology, settings, ports, tasks, signals, global_stores, executor }.run()
            })?;
        }
        Ok(app)
    }

    /// Starts a thread, woken when there may be more to read.
    fn spawn(
        &mut self,
        name: &str,
        end: watch::Sender<usize>,
        work: impl FnOnce(Arc<Signals>) -> Result<(), TaskError> + Send + 'static,
    ) -> Result<(), StartError> {
        let signals = Arc::new(Signals::default());
        let (end, own) = (CountEnd(end), signals.clone());
        let run = move || {
            let _end = end;
            let result = work(own);
            if let Err(error) = &result {
                tracing::error!(%error, "a thread of the application has failed");
            }
            result
        };
        let handle = spawn(name, run).map_err(StartError::Thread)?;
        let (sleeper, more) = (handle.thread().clone(), signals.clone());
        let wake: Wake = Arc::new(move || {
            if !more.more.swap(true, Ordering::SeqCst) {
                sleeper.unpark();
            }
        });
        self.ports.consumer.watch(&wake);
        self.wakes.push(wake);
        self.threads.push((handle, signals));
        Ok(())
    }

    /// Whether all threads have restored their stores and are at work.
    pub fn is_running(&self) -> bool {
        self.threads.iter().all(|(handle, signals)| !handle.is_finished() && signals.running.load(Ordering::SeqCst))
    }

    /// Whether a thread has ended, by failure: [`App::stop`] tells why.
    pub fn has_failed(&self) -> bool {
        self.threads.iter().any(|(handle, _)| handle.is_finished())
    }

    /// Records worked through so far.
    pub fn processed(&self) -> u64 {
        self.threads.iter().map(|(_, signals)| signals.processed.load(Ordering::Relaxed)).sum()
    }

    /// Records of changelogs that were restored.
    pub fn restored(&self) -> u64 {
        self.threads.iter().map(|(_, signals)| signals.restored.load(Ordering::Relaxed)).sum()
    }

    /// Commits so far.
    pub fn commits(&self) -> u64 {
        self.threads.iter().map(|(_, signals)| signals.commits.load(Ordering::Relaxed)).sum()
    }

    /// How many records wait in all topics that the application reads, its own repartition topics and those of global tables
    /// among them: those behind
    /// the committed offsets. At 0 everything that was there is worked through and committed.
    ///
    /// # Errors
    /// When the log refuses.
    pub fn lag(&self) -> Result<u64, ClientError> {
        // What was committed first: a record that was counted as worked through has its results in the ends read later.
        let committed = self.ports.group.committed(&self.inputs)?;
        let mut lag = 0;
        for place in &self.inputs {
            let from = match committed.get(place) {
                Some(committed) => committed.offset,
                None => self.ports.consumer.earliest(place)?,
            };
            lag += self.ports.consumer.latest(place)?.0.saturating_sub(from.0).max(0) as u64;
        }
        let Some(global_stores) = &self.global_stores else { return Ok(lag) };
        // Until they are filled for the first time, at least one thing is to be done.
        let Some(view) = global_stores.get() else { return Ok(lag + 1) };
        let positions = view.positions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (place, position) in positions {
            lag += self.ports.consumer.latest(&place)?.0.saturating_sub(position.0).max(0) as u64;
        }
        Ok(lag)
    }

    /// Commits, closes the stores, and ends.
    ///
    /// # Errors
    /// The first failure of a thread.
    pub async fn stop(mut self) -> Result<(), TaskError> {
        self.signal();
        self.wakes.clear();
        let all = self.threads.len();
        let _ = self.ended.wait_for(|&ended| ended >= all).await; // An error says that all have ended, too.
        let mut result = Ok(());
        for (handle, _) in self.threads.drain(..) {
            let ended = handle.join().unwrap_or_else(|_| {
                Err(TaskError::new(crate::FailureKind::Panic, "a stream thread panicked outside of user code"))
            });
            result = result.and(ended);
        }
        result
    }

    /// Waits until a thread has ended, by failure: [`App::stop`] tells why.
    pub async fn failed(&self) {
        let _ = self.ended.clone().wait_for(|&ended| ended > 0).await;
    }

    /// Waits for ctrl-c or SIGTERM, then stops in good order; ends at once when a thread fails. Needs a tokio runtime with
    /// I/O, as `#[tokio::main]` gives.
    ///
    /// # Errors
    /// The first failure of a thread, or when the system lets no signal be waited for.
    pub async fn run_until_signal(self) -> Result<(), TaskError> {
        let asked = match asked_to_end() {
            Ok(asked) => asked,
            Err(error) => {
                self.stop().await?;
                return Err(TaskError::new(crate::FailureKind::State, error));
            }
        };
        tokio::select! {
            () = asked => {}
            () = self.failed() => {}
        }
        self.stop().await
    }

    fn signal(&self) {
        for (handle, signals) in &self.threads {
            signals.stop.store(true, Ordering::SeqCst);
            handle.thread().unpark();
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.signal();
    }
}
