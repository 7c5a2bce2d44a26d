//! Asking the outside about each record without waiting for one answer after the other: beyond Kafka Streams.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::hash::Hash;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, LazyLock};
use std::thread::Thread;
use std::time::Duration;

use tidewater_types::{Record, RecordContext};
use tokio::runtime::{Handle, Runtime};

use super::KStream;
use super::handle::{SerdeSlot, maker};
use super::stream::keeps;
use crate::error::{FailureKind, TaskError, UserError};
use crate::node::{Boxed, user};
use crate::task::{Core, Node, NodeId, RawBytes, take_record};

/// How many calls of [`KStream::map_async`] may be under way at once, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    calls: NonZeroUsize,
    timeout: Duration,
}

impl Concurrency {
    /// So many calls in each task, of different keys: the next record of a key waits for the call of the one before it. 0 counts
    /// as 1.
    pub fn per_key(calls: usize) -> Self {
        Concurrency { calls: NonZeroUsize::new(calls).unwrap_or(NonZeroUsize::MIN), timeout: Duration::from_secs(30) }
    }

    /// How long a call may take; a longer one has failed. Default: 30 s.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Concurrency { timeout, ..self }
    }
}

type Answer<V> = Pin<Box<dyn Future<Output = Result<V, UserError>> + Send>>;
type Call<V, V2> = Arc<dyn Fn(V) -> Answer<V2> + Send + Sync>;

impl<K, V> KStream<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Maps each value by a future, as for a call to another service: an addition to Kafka Streams.
    ///
    /// Results of one key go on in the order of its records; those of different keys as they come. Key, timestamp and headers
    /// stay. Nothing is kept in state and nothing repartitioned: a commit waits until all calls under way have ended, so that
    /// offsets are committed only past what is finished, and after a crash a call may be made again. When as many records wait
    /// as calls may be under way, the task reads on when one has ended.
    ///
    /// The futures run on the tokio runtime in which the application was started, or on one of their own.
    pub fn map_async<V2, F>(
        &self,
        concurrency: Concurrency,
        call: impl Fn(V) -> F + Send + Sync + 'static,
    ) -> KStream<K, V2>
    where
        V2: Clone + Send + 'static,
        F: Future<Output = V2> + Send + 'static,
    {
        self.try_map_async(concurrency, move |value| {
            let answer = call(value);
            async { Ok(answer.await) }
        })
    }

    /// [`KStream::map_async`] with a call that may fail. A failure, or a call that takes too long, is the record's, and goes to
    /// the processing handler. A panic ends the application, as it does elsewhere.
    pub fn try_map_async<V2, F>(
        &self,
        concurrency: Concurrency,
        call: impl Fn(V) -> F + Send + Sync + 'static,
    ) -> KStream<K, V2>
    where
        V2: Clone + Send + 'static,
        F: Future<Output = Result<V2, UserError>> + Send + 'static,
    {
        let call: Call<V, V2> = Arc::new(move |value| Box::pin(call(value)));
        let node = maker(move |build| {
            let (done, answers) = channel();
            MapAsync {
                id: build.node,
                concurrency,
                call: call.clone(),
                executor: build.executor.cloned().unwrap_or_else(|| OWN_RUNTIME.handle().clone()),
                keys: HashMap::new(),
                held: 0,
                done,
                answers,
                types: PhantomData::<fn(K)>,
            }
        });
        self.op(keeps("KSTREAM-MAPASYNC-"), self.key.clone(), SerdeSlot::default(), vec![], node)
    }
}

/// For programs that run without a tokio runtime, such as tests.
static OWN_RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    match builder.worker_threads(1).thread_name("map-async").enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => panic!("cannot start a thread for asynchronous calls: {error}"),
    }
});

/// Sends a call's result to the task, and wakes it.
struct Sending<K, V> {
    key: Option<K>,
    done: Sender<(K, Result<V, TaskError>)>,
    waiting: Thread,
}

impl<K, V> Sending<K, V> {
    fn send(&mut self, result: Result<V, TaskError>) {
        if let Some(key) = self.key.take() {
            // Where nobody listens any more the task was closed, and the record will be read again.
            let _ = self.done.send((key, result));
            self.waiting.unpark();
        }
    }
}

impl<K, V> Drop for Sending<K, V> {
    /// A runtime that is shut down drops its calls.
    fn drop(&mut self) {
        let what = "the tokio runtime ended while calls were under way; stop the application first";
        self.send(Err(TaskError::new(FailureKind::Processing, what)));
    }
}

/// A record whose call is under way, or waits for the one before it.
struct Held<V> {
    value: V,
    context: RecordContext,
    /// As it was read, for dead letters.
    raw: Option<RawBytes>,
}

struct MapAsync<K, V, V2> {
    id: NodeId,
    concurrency: Concurrency,
    call: Call<V, V2>,
    executor: Handle,
    /// The records of each key whose call has not ended, in order; the call of the first is under way.
    keys: HashMap<K, VecDeque<Held<V>>>,
    held: usize,
    done: Sender<(K, Result<V2, TaskError>)>,
    answers: Receiver<(K, Result<V2, TaskError>)>,
    types: PhantomData<fn(K)>,
}

impl<K, V, V2> MapAsync<K, V, V2>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + 'static,
    V2: Clone + Send + 'static,
{
    /// Begins the call of a key's first record.
    fn start(&mut self, key: K) {
        let Some(first) = self.keys.get(&key).and_then(VecDeque::front) else { return };
        let (value, call, limit) = (first.value.clone(), self.call.clone(), self.concurrency.timeout);
        let (done, waiting) = (self.done.clone(), std::thread::current());
        // The call runs in a task of its own, so that its panic is seen here.
        let answer = self.executor.spawn(async move { tokio::time::timeout(limit, call(value)).await });
        let mut sending = Sending { key: Some(key), done, waiting };
        self.executor.spawn(async move {
            let result = match answer.await {
                Ok(Ok(result)) => result.map_err(user),
                Ok(Err(_)) => Err(TaskError::new(
                    FailureKind::Processing,
                    format!("the call took longer than {limit:?}; give it more with Concurrency::timeout"),
                )),
                Err(panic) => {
                    let mut error = TaskError::new(FailureKind::Panic, panic);
                    error.handled = true;
                    Err(error)
                }
            };
            sending.send(result);
        });
    }

    /// Sends a result on, or has its failure decided, and begins the next call of its key.
    fn finish(&mut self, core: &mut Core, key: K, result: Result<V2, TaskError>) -> Result<(), TaskError> {
        let Some(held) = self.keys.get_mut(&key).and_then(VecDeque::pop_front) else { return Ok(()) };
        self.held -= 1;
        core.calls -= 1;
        match self.keys.get(&key).is_some_and(VecDeque::is_empty) {
            true => drop(self.keys.remove(&key)),
            false => self.start(key.clone()),
        }
        let (timestamp, headers) = (held.context.timestamp, held.context.headers.clone());
        core.within(held.context, |core| {
            core.raw = held.raw;
            match result {
                Ok(value) => core.forward(self.id, Record { key, value, timestamp, headers }),
                Err(error) => core.decide(self.id, error),
            }
        })
    }

    /// Sends on what has been answered.
    fn take_answers(&mut self, core: &mut Core) -> Result<bool, TaskError> {
        let mut any = false;
        loop {
            match self.answers.try_recv() {
                Ok((key, result)) => self.finish(core, key, result)?,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return Ok(any),
            }
            any = true;
        }
    }

    /// Waits until at most so many records are held.
    fn wait_for(&mut self, core: &mut Core, most: usize) -> Result<(), TaskError> {
        while self.held > most {
            // Every call ends, by its time at the latest, and this node has a sender itself.
            let Ok((key, result)) = self.answers.recv() else { return Ok(()) };
            self.finish(core, key, result)?;
        }
        Ok(())
    }
}

impl<K, V, V2> Node for MapAsync<K, V, V2>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + 'static,
    V2: Clone + Send + 'static,
{
    fn init(&mut self, core: &mut Core) -> Result<(), TaskError> {
        core.calling.push(self.id);
        Ok(())
    }

    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value, .. } = take_record::<K, V>(record);
        self.take_answers(core)?;
        self.wait_for(core, self.concurrency.calls.get() - 1)?;
        let held = Held { value, context: core.context.clone(), raw: core.raw.clone() };
        let queue = self.keys.entry(key.clone()).or_default();
        queue.push_back(held);
        let is_first = queue.len() == 1;
        self.held += 1;
        core.calls += 1;
        if is_first {
            self.start(key);
        }
        Ok(())
    }

    fn take_answers(&mut self, core: &mut Core) -> Result<bool, TaskError> {
        MapAsync::take_answers(self, core)
    }

    fn await_answers(&mut self, core: &mut Core) -> Result<(), TaskError> {
        self.wait_for(core, 0)
    }
}
