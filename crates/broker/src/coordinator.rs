//! The edge of the groups: what they write goes to `__consumer_offsets`, and a thread tells them the time.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tidewater_env::{random_id, spawn};
use tidewater_log::LogError;
use tidewater_protocol::{Batch, RequestContext, ResponseError};
use tidewater_types::Offset;
use uuid::Uuid;

use crate::BrokerError;
use crate::api::explain;
use crate::broker::{Shared, keyed_batch};
use crate::groups::{Client, Groups, Journal, OFFSETS_TOPIC, Outside, Record, Topics, partition_of};
use crate::topics::OpenTopic;

const REPLAY_BYTES: usize = 1 << 20;
/// How long the thread rests when the topic of groups cannot be written.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The topic of groups as their journal.
struct OffsetsLog<'a> {
    shared: &'a Shared,
    topic: &'a OpenTopic,
}

impl Journal for OffsetsLog<'_> {
    fn append(&mut self, group: &str, records: Vec<Record>) -> Result<(), ResponseError> {
        let number = partition_of(group, self.topic.record.partitions);
        let partition = self.topic.partition(number).ok_or(ResponseError::NotCoordinator)?;
        let now = self.shared.now();
        let append = || {
            let batch = keyed_batch(&records, now)?;
            let mut log = partition.lock();
            let appended = log.append(batch, now)?;
            log.raise_high_watermark(appended.next);
            Ok(())
        };
        let result: Result<(), LogError> = append();
        partition.wake();
        result.map_err(|error| {
            tracing::error!(group, partition = number, %error, "records of a group cannot be written");
            match error {
                LogError::BatchTooLarge { .. } => ResponseError::UnknownServerError,
                _ => ResponseError::NotCoordinator,
            }
        })
    }
}

/// The topics as groups see them.
pub(crate) struct TopicsNow<'a> {
    pub shared: &'a Shared,
    pub topics: &'a BTreeMap<String, Arc<OpenTopic>>,
}

impl Topics for TopicsNow<'_> {
    fn version(&self) -> u64 {
        self.shared.topics_version.load(Ordering::Acquire)
    }

    fn find(&self, name: &str) -> Option<(Uuid, i32)> {
        self.topics.get(name).map(|topic| (topic.record.id, topic.record.partitions))
    }

    fn name_of(&self, id: Uuid) -> Option<String> {
        self.shared.topic_names.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.topics.keys().cloned().collect()
    }
}

impl Shared {
    /// The groups, to look at.
    pub fn groups(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the groups do something. They are given the topics, which stay as they are meanwhile.
    ///
    /// # Errors
    /// When there is no topic to write to, and none can be made.
    pub fn change_groups<R>(
        &self,
        change: impl FnOnce(&mut Groups, &mut Outside<'_>, &BTreeMap<String, Arc<OpenTopic>>) -> R,
    ) -> Result<R, ResponseError> {
        let topic = self.offsets_topic().map_err(|error| {
            let (code, message) = explain(OFFSETS_TOPIC, error);
            tracing::error!(code = ?code, message, "the topic of groups cannot be made");
            ResponseError::CoordinatorNotAvailable
        })?;
        let topics = self.topics();
        Ok(self.change_groups_over(&topic, &topics, |groups, outside| change(groups, outside, &topics)))
    }

    /// Has the groups do something, for one who has locked the topics.
    pub fn change_groups_over<R>(
        &self,
        topic: &OpenTopic,
        topics: &BTreeMap<String, Arc<OpenTopic>>,
        change: impl FnOnce(&mut Groups, &mut Outside<'_>) -> R,
    ) -> R {
        let mut groups = self.groups();
        let before = groups.next_deadline();
        let mut journal = OffsetsLog { shared: self, topic };
        let mut outside = Outside {
            now: self.settings.clock.monotonic(),
            wall: self.now(),
            settings: &self.settings.groups,
            journal: &mut journal,
            topics: &TopicsNow { shared: self, topics },
            new_id: &mut random_id,
        };
        let result = change(&mut groups, &mut outside);
        let after = groups.next_deadline();
        drop(groups);
        if after.is_some_and(|after| before.is_none_or(|before| after < before))
            && let Some(thread) = self.groups_thread.get()
        {
            thread.unpark();
        }
        result
    }
}

/// Who asks, as it is shown to administrators.
pub(crate) fn client_of(context: &RequestContext) -> Client {
    let id = context.client_id.as_ref().map(ToString::to_string).unwrap_or_default();
    let host = context.caller.host.map(|host| format!("/{host}")).unwrap_or_default();
    Client { id, host }
}

/// Reads the groups from their topic.
pub(crate) fn replay(topic: &OpenTopic, groups: &mut Groups) -> Result<(), BrokerError> {
    for partition in &topic.partitions {
        let log = partition.lock();
        let mut next: Offset = log.log_start();
        while next < log.log_end() {
            let mut chunk = log.read(next, REPLAY_BYTES)?;
            while !chunk.is_empty() {
                let batch = Batch::parse(&chunk).map_err(LogError::from)?;
                if !batch.is_control() {
                    for record in batch.records(REPLAY_BYTES).map_err(LogError::from)?.iter() {
                        let record = record.map_err(LogError::from)?;
                        if let Some(key) = record.key {
                            groups.replay(key, record.value);
                        }
                    }
                }
                next = batch.next_offset();
                chunk = chunk.slice(batch.len()..);
            }
        }
    }
    Ok(())
}

/// Starts the thread that tells groups what has become due.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<JoinHandle<()>, BrokerError> {
    let (path, shared) = (shared.folder.path.clone(), shared.clone());
    let thread = spawn("tidewater-groups", {
        let shared = shared.clone();
        move || {
            while !shared.stopping.load(Ordering::SeqCst) {
                let deadline = shared.groups().next_deadline();
                let now = shared.settings.clock.monotonic();
                match deadline.map(|deadline| deadline.saturating_sub(now)) {
                    None => std::thread::park(),
                    Some(Duration::ZERO) => {
                        if shared.change_groups(|groups, outside, _| groups.pass_time(outside)).is_err() {
                            std::thread::park_timeout(RETRY_PAUSE);
                        }
                    }
                    Some(wait) => std::thread::park_timeout(wait),
                }
            }
        }
    });
    let thread = thread.map_err(BrokerError::io("start a thread for", path))?;
    // There is one thread for each broker.
    let _ = shared.groups_thread.set(thread.thread().clone());
    Ok(thread)
}
