//! The edge of the coordinators: what they write goes to topics of their own, and a thread tells them the time.
//!
//! Who takes several locks takes that of the transactions first, then that of the topics, of the groups, and of a partition.

mod groups;
mod transactions;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use tidewater_env::spawn;
use tidewater_log::{LogError, PartitionLog};
use tidewater_protocol::{Batch, BatchBuilder, Compression, ProducerStamp, ResponseError};
use tidewater_types::{Headers, Offset};

use crate::BrokerError;
use crate::broker::Shared;
use crate::journal::{Journal, Producer, Record, partition_of};
use crate::topics::OpenTopic;
pub(crate) use groups::{TopicsNow, client_of, replay_groups};
pub(crate) use transactions::{Joining, replay_transactions};

const REPLAY_BYTES: usize = 1 << 20;
/// How long the thread rests when a topic of a coordinator cannot be written.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A coordinator's topic as its journal.
struct TopicJournal<'a> {
    shared: &'a Shared,
    topic: &'a OpenTopic,
    /// What batches say of the number of their first record. Nobody counts; Apache Kafka's two coordinators say different things.
    base_sequence: i32,
}

impl Journal for TopicJournal<'_> {
    fn append_as(
        &mut self,
        owner: &str,
        producer: Option<Producer>,
        records: Vec<Record>,
    ) -> Result<(), ResponseError> {
        let number = partition_of(owner, self.topic.record.partitions);
        let partition = self.topic.partition(number).ok_or(ResponseError::NotCoordinator)?;
        let now = self.shared.now();
        let append = || {
            let mut builder = BatchBuilder::new(Compression::None);
            for (key, value) in &records {
                builder.push(now, Some(key), value.as_deref(), &Headers::EMPTY);
            }
            let base_sequence = self.base_sequence;
            let stamp = match producer {
                Some(Producer { id, epoch }) => ProducerStamp { id, epoch, base_sequence, transactional: true },
                None => ProducerStamp { base_sequence, ..ProducerStamp::default() },
            };
            let batch = builder.finish_as(stamp).map_err(|error| LogError::Batch(error.into()))?;
            partition.append(|log| log.append_coordinators(batch, now))
        };
        append().map(drop).map_err(|error: LogError| match error {
            LogError::Producer(_) => ResponseError::InvalidProducerEpoch,
            error => {
                self.shared.complain("coordinator", |left_out| {
                    let partition = number;
                    tracing::error!(owner, partition, %error, left_out, "records of a coordinator cannot be written");
                });
                match error {
                    LogError::BatchTooLarge { .. } => ResponseError::UnknownServerError,
                    _ => ResponseError::NotCoordinator,
                }
            }
        })
    }
}

/// Hands all batches of a log to `take`.
fn replay(log: &PartitionLog, mut take: impl FnMut(&Batch) -> Result<(), LogError>) -> Result<(), LogError> {
    let mut next: Offset = log.log_start();
    while next < log.log_end() {
        let mut chunk = log.read(next, REPLAY_BYTES)?;
        while !chunk.is_empty() {
            let batch = Batch::parse(&chunk)?;
            take(&batch)?;
            next = batch.next_offset();
            chunk = chunk.slice(batch.len()..);
        }
    }
    Ok(())
}

impl Shared {
    /// Wakes the thread, if a deadline has become earlier.
    fn note_deadline(&self, before: Option<Duration>, after: Option<Duration>) {
        if after.is_some_and(|after| before.is_none_or(|before| after < before))
            && let Some(thread) = self.coordinators_thread.get()
        {
            thread.unpark();
        }
    }

    /// Has the coordinators do what has become due; gives how long there is nothing more.
    fn pass_time(&self) -> Option<Duration> {
        let now = self.settings.clock.monotonic();
        let is_due = |deadline: Option<Duration>| deadline.is_some_and(|deadline| deadline <= now);
        let mut failed = false;
        if is_due(self.transactions().next_deadline()) {
            failed |= self.change_transactions(|transactions, outside| transactions.pass_time(outside)).is_err();
        }
        if is_due(self.groups().next_deadline()) {
            failed |= self.change_groups(|groups, outside, _| groups.pass_time(outside)).is_err();
        }
        let deadlines = [self.transactions().next_deadline(), self.groups().next_deadline()];
        let next = deadlines.into_iter().flatten().min()?;
        let wait = next.saturating_sub(self.settings.clock.monotonic());
        Some(if failed { wait.max(RETRY_PAUSE) } else { wait })
    }
}

/// Starts the thread that tells the coordinators what has become due.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<JoinHandle<()>, BrokerError> {
    let (path, shared) = (shared.folder.path.clone(), shared.clone());
    let thread = spawn("tidewater-coordinators", {
        let shared = shared.clone();
        move || {
            while !shared.stopping.load(Ordering::SeqCst) {
                match shared.pass_time() {
                    None => std::thread::park(),
                    Some(wait) => std::thread::park_timeout(wait),
                }
            }
        }
    });
    let thread = thread.map_err(BrokerError::io("start a thread for", path))?;
    // There is one thread for each broker.
    let _ = shared.coordinators_thread.set(thread.thread().clone());
    Ok(thread)
}
