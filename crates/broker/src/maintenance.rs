//! Work in the background: retention and compaction, one partition after another.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use tidewater_env::spawn;
use tidewater_log::{Compactor, LogError};
use tidewater_types::{Offset, Timestamp, TopicPartition};
use uuid::Uuid;

use crate::BrokerError;
use crate::broker::Shared;
use crate::folder::{CLEANER_POINTS, RECOVERY_POINTS};
use crate::properties::find_known;
use crate::topics::SharedPartition;

/// A producer that has written nothing for so long is forgotten.
const PRODUCER_EXPIRATION: &str = "producer.id.expiration.ms";

/// What is done to each partition, and when it is.
struct Round {
    now: Timestamp,
    /// Whether it is time for retention.
    retains: bool,
    producer_expiration_ms: i64,
}

/// Starts the thread, if the settings want one.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<Option<JoinHandle<()>>, BrokerError> {
    let Some(interval) = shared.settings.maintenance_interval else { return Ok(None) };
    let shared = shared.clone();
    let path = shared.folder.path.clone();
    let thread = spawn("tidewater-maintenance", move || {
        let mut retained = shared.settings.clock.monotonic();
        while !shared.stopping.load(Ordering::SeqCst) {
            std::thread::park_timeout(interval.min(shared.settings.retention_interval));
            let now = shared.settings.clock.monotonic();
            let retains = now.saturating_sub(retained) >= shared.settings.retention_interval;
            if retains {
                retained = now;
            }
            if !shared.stopping.load(Ordering::SeqCst) {
                run_once(&shared, retains);
            }
        }
    });
    thread.map(Some).map_err(BrokerError::io("start a thread for", path))
}

/// Retention, if it is time for it, then compaction of one partition; gives the offset up to which it is compacted now, if it was.
fn maintain(
    partition: &SharedPartition,
    compactor: &mut Compactor,
    clean_to: Offset,
    round: &Round,
    stops: &dyn Fn() -> bool,
) -> Result<Option<Offset>, LogError> {
    let plan = {
        let mut log = partition.lock();
        if round.retains {
            log.expire_producers(Timestamp(round.now.0.saturating_sub(round.producer_expiration_ms)));
            log.expire(round.now)?;
            log.trim()?;
        }
        log.plan_compaction(clean_to, round.now)
    };
    let Some(plan) = plan else { return Ok(None) };
    // The log is not locked while its closed segments are read and written anew.
    compactor.run(&plan, stops, &mut |step| step(&mut partition.lock())).map(Some)
}

/// How far a partition of the topic with this id is.
type Reached = (Uuid, TopicPartition, Offset);

/// Notes how far partitions are, in one of the checkpoint files. A topic that was deleted meanwhile has no marks, and one made anew not these.
fn note(shared: &Shared, file: &str, reached: Vec<Reached>) {
    if reached.is_empty() {
        return;
    }
    let topics = shared.topics();
    let is_there = |id: Uuid, place: &TopicPartition| topics.get(&*place.topic).is_some_and(|now| now.record.id == id);
    let noted = shared.folder.change_points(file, |points| {
        points.extend(
            reached.into_iter().filter(|(id, place, _)| is_there(*id, place)).map(|(_, place, to)| (place, to)),
        );
    });
    if let Err(error) = noted {
        // Lost, it costs work, and nothing else.
        tracing::warn!(file, %error, "checkpoints cannot be noted");
    }
}

/// One round over all partitions.
pub(crate) fn run_once(shared: &Shared, retains: bool) {
    let mut durable = Vec::new();
    maintain_all(shared, retains, &mut durable);
    note(shared, RECOVERY_POINTS, durable);
}

fn maintain_all(shared: &Shared, retains: bool, durable: &mut Vec<Reached>) {
    let points = shared.folder.read_points(CLEANER_POINTS);
    let mut compactor = Compactor::new(shared.settings.compaction_memory_bytes);
    let stops = || shared.stopping.load(Ordering::SeqCst);
    let expiration = find_known(PRODUCER_EXPIRATION).and_then(|known| shared.given_to_broker(known).into_iter().next());
    let round = Round {
        now: shared.now(),
        retains,
        producer_expiration_ms: expiration.and_then(|given| given.value.trim().parse().ok()).unwrap_or(i64::MAX),
    };
    let topics: Vec<_> = shared.topics().iter().map(|(name, topic)| (name.clone(), topic.clone())).collect();
    for (name, topic) in topics {
        for (number, partition) in topic.partitions.iter().enumerate() {
            if stops() {
                return;
            }
            let place = TopicPartition::new(name.as_str(), number as i32);
            let clean_to = points.get(&place).copied().unwrap_or_default();
            match maintain(partition, &mut compactor, clean_to, &round, &stops) {
                Ok(None) => {}
                Ok(Some(clean_to)) => {
                    note(shared, CLEANER_POINTS, vec![(topic.record.id, place.clone(), clean_to)]);
                }
                Err(LogError::Interrupted) => return,
                // The others go on.
                Err(error) => tracing::error!(%place, %error, "retention or compaction failed; it is tried again"),
            }
            match partition.sync_closed() {
                // Of one that was stopped, it is known.
                Ok(None) | Err(LogError::Stopped { .. }) => {}
                Ok(Some(end)) => durable.push((topic.record.id, place, end)),
                Err(error) => tracing::error!(%place, %error, "closed segments cannot be made durable"),
            }
        }
    }
}
