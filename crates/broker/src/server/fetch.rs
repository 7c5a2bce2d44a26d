//! Fetches that wait until there is enough: woken by appends, not by a timer.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tidewater_protocol::messages::fetch_request::{FetchTopic, ForgottenTopic};
use tidewater_protocol::messages::{FetchRequest, TopicName};
use tidewater_protocol::{RequestContext, StrBytes};
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::State;
use super::sessions::refused;
use crate::api::fetch::{BY_ID, Found, find, partitions};
use crate::broker::Shared;
use crate::topics::SharedPartition;

/// The longest wait, whatever is asked for.
const WAIT_LIMIT: Duration = Duration::from_secs(3600);
/// Who names more partitions than so many that are not there does not wait: each that waits is kept.
const MISSING_LIMIT: usize = 1000;

/// Is woken by appends to some partitions, as long as it lives.
struct Watch {
    wake: Arc<Notify>,
    partitions: Vec<Arc<SharedPartition>>,
}

impl Watch {
    fn of(partitions: Vec<Arc<SharedPartition>>) -> Self {
        let wake = Arc::new(Notify::new());
        partitions.iter().for_each(|partition| partition.watch(&wake));
        Watch { wake, partitions }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.partitions.iter().for_each(|partition| partition.unwatch(&self.wake));
    }
}

/// What matters of a fetch, without what it came in. A partition that is named several times is wanted as it is named last, in its first
/// place.
pub(super) fn detached(request: &FetchRequest) -> FetchRequest {
    let name = |name: &TopicName| TopicName(StrBytes::from_string(name.to_string()));
    let mut topics: Vec<FetchTopic> = Vec::with_capacity(request.topics.len());
    let mut places: BTreeMap<(&TopicName, Uuid, i32), (usize, usize)> = BTreeMap::new();
    for topic in &request.topics {
        let mut new = FetchTopic::default()
            .with_topic(name(&topic.topic))
            .with_topic_id(topic.topic_id)
            .with_partitions(Vec::new());
        for wanted in &topic.partitions {
            let place = (topics.len(), new.partitions.len());
            let (of, at) = *places.entry((&topic.topic, topic.topic_id, wanted.partition)).or_insert(place);
            let wanted = wanted.clone().with_unknown_tagged_fields(BTreeMap::new());
            let partitions = topics.get_mut(of).map_or(&mut new.partitions, |topic| &mut topic.partitions);
            match partitions.get_mut(at) {
                Some(before) => *before = wanted,
                None => partitions.push(wanted),
            }
        }
        if !new.partitions.is_empty() {
            topics.push(new);
        }
    }
    let forgotten = |topic: &ForgottenTopic| {
        ForgottenTopic::default()
            .with_topic(name(&topic.topic))
            .with_topic_id(topic.topic_id)
            .with_partitions(topic.partitions.clone())
    };
    FetchRequest::default()
        .with_replica_id(request.replica_id)
        .with_max_wait_ms(request.max_wait_ms)
        .with_min_bytes(request.min_bytes)
        .with_max_bytes(request.max_bytes)
        .with_isolation_level(request.isolation_level)
        .with_session_id(request.session_id)
        .with_session_epoch(request.session_epoch)
        .with_topics(topics)
        .with_forgotten_topics_data(request.forgotten_topics_data.iter().map(forgotten).collect())
}

/// What a fetch finds, within its session if it has one. While it waits, it holds no memory of a large request.
pub(super) async fn answer(
    state: &State,
    context: &RequestContext,
    mut request: FetchRequest,
    memory: &mut Option<OwnedSemaphorePermit>,
    stopped: &mut watch::Receiver<bool>,
) -> Found {
    let is_by_id = context.version >= BY_ID;
    let now = || state.shared.settings.clock.monotonic();
    let sessions = || state.sessions.lock().unwrap_or_else(PoisonError::into_inner);
    let begun = sessions().begin(&mut request, is_by_id, now());
    let role = match begun {
        Ok(role) => role,
        Err(error) => return refused(error),
    };
    request.forgotten_topics_data = Vec::new();
    if is_by_id {
        name_topics(&state.shared, &mut request);
    }
    let mut found = wait(&state.shared, context, &request, memory, stopped).await;
    sessions().end(role, &request, is_by_id, now(), &mut found);
    found
}

/// Says what topics are called that are asked for by their ids, so that those that are deleted from now on are told from those that never were.
fn name_topics(shared: &Shared, request: &mut FetchRequest) {
    for topic in request.topics.iter_mut().filter(|topic| topic.topic.is_empty()) {
        if let Some((name, _)) = shared.topic_by_id(topic.topic_id) {
            topic.topic = TopicName(StrBytes::from_string(name));
        }
    }
}

/// What a fetch finds, at the latest when it has waited for as long as it wants to.
async fn wait(
    shared: &Shared,
    context: &RequestContext,
    request: &FetchRequest,
    memory: &mut Option<OwnedSemaphorePermit>,
    stopped: &mut watch::Receiver<bool>,
) -> Found {
    // More than it may have is not waited for.
    let least = usize::try_from(request.min_bytes.min(request.max_bytes)).unwrap_or(0);
    let least = least.min(shared.settings.fetch_max_bytes);
    let found = find(shared, context, request);
    let missing = found.missing;
    // A deletion is told at once, too.
    let is_enough = |found: &Found| found.has_error || found.bytes >= least || found.missing > missing;
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(WAIT_LIMIT);
    if is_enough(&found) || wait.is_zero() || missing > MISSING_LIMIT {
        return found;
    }
    // What it names is there, which has its bounds.
    drop(found);
    *memory = None;
    let deadline = Instant::now() + wait;
    let topics_version = || shared.topics_version.load(Ordering::Acquire);
    let mut version = topics_version();
    let mut watch = Watch::of(partitions(shared, context, request));
    loop {
        if topics_version() != version {
            // There may be another topic of the same name.
            version = topics_version();
            watch = Watch::of(partitions(shared, context, request));
        }
        // After the watch began: what came before it is found.
        let found = find(shared, context, request);
        if is_enough(&found) {
            return found;
        }
        drop(found);
        let is_over = tokio::select! {
            // Where there is always something new, too, the time is over at some time.
            woken = timeout_at(deadline, watch.wake.notified()) => woken.is_err() || Instant::now() >= deadline,
            _ = stopped.wait_for(|stop| *stop) => true,
        };
        if is_over {
            return find(shared, context, request);
        }
    }
}

#[cfg(test)]
mod tests {
    use tidewater_protocol::messages::fetch_request::FetchPartition;

    use super::*;

    #[test]
    fn a_partition_that_is_named_twice_is_wanted_once() {
        let topic = |name: &'static str, partitions: &[(i32, i64)]| {
            let partition = |&(number, offset): &(i32, i64)| {
                FetchPartition::default().with_partition(number).with_fetch_offset(offset)
            };
            FetchTopic::default()
                .with_topic(TopicName(StrBytes::from_static_str(name)))
                .with_partitions(partitions.iter().map(partition).collect())
        };
        let request = FetchRequest::default().with_topics(vec![
            topic("a", &[(0, 1), (1, 2), (0, 3)]),
            topic("b", &[(0, 4)]),
            topic("of no partition", &[]),
            topic("a", &[(1, 5), (2, 6)]),
        ]);
        let expected = [topic("a", &[(0, 3), (1, 5)]), topic("b", &[(0, 4)]), topic("a", &[(2, 6)])];
        assert_eq!(detached(&request).topics, expected);
    }
}
