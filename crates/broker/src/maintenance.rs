//! Work in the background: retention and compaction, one partition after another.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use tidewater_env::spawn;
use tidewater_log::{Compactor, LogError};
use tidewater_types::{Offset, Timestamp, TopicPartition};
use uuid::Uuid;

use crate::BrokerError;
use crate::broker::Shared;
use crate::folder::{CLEANER_POINTS, RECOVERY_POINTS};
use crate::topics::SharedPartition;

/// A producer that has written nothing for so long is forgotten; may be changed while the broker runs.
const PRODUCER_EXPIRATION: &str = "producer.id.expiration.ms";

/// What is done to each partition besides compaction, and when it is.
struct Round {
    now: Timestamp,
    /// Whether it is time for retention.
    retains: bool,
    /// Producers that have written nothing since are forgotten, if it is time for that.
    forgets_before: Option<Timestamp>,
}

/// When something that is done again and again is done next, by the monotonic clock.
struct Turn {
    next: Duration,
    interval: Duration,
}

impl Turn {
    /// Whether it is done now; if so, the next time is an interval later.
    fn is_due(&mut self, now: Duration) -> bool {
        let is_due = now >= self.next;
        if is_due {
            self.next = now + self.interval;
        }
        is_due
    }
}

/// Starts the thread, if the settings want one.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<Option<JoinHandle<()>>, BrokerError> {
    let Some(interval) = shared.settings.maintenance_interval else { return Ok(None) };
    let shared = shared.clone();
    let path = shared.folder.path.clone();
    let thread = spawn("tidewater-maintenance", move || {
        let settings = &shared.settings;
        let start = settings.clock.monotonic();
        let mut compaction = Turn { next: start + interval, interval };
        let mut retention = Turn { next: start + settings.initial_delay, interval: settings.retention_interval };
        let mut producers =
            Turn { next: start + settings.producer_check_interval, interval: settings.producer_check_interval };
        while !shared.stopping.load(Ordering::SeqCst) {
            let next = compaction.next.min(retention.next).min(producers.next);
            std::thread::park_timeout(next.saturating_sub(settings.clock.monotonic()));
            let now = settings.clock.monotonic();
            if shared.stopping.load(Ordering::SeqCst) || now < next {
                continue;
            }
            compaction.is_due(now);
            run_once(&shared, retention.is_due(now), producers.is_due(now));
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
        if let Some(before) = round.forgets_before {
            log.expire_producers(before);
        }
        if round.retains {
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
        shared
            .complain("checkpoints", |left_out| tracing::warn!(file, %error, left_out, "checkpoints cannot be noted"));
    }
}

/// One round over all partitions.
pub(crate) fn run_once(shared: &Shared, retains: bool, forgets: bool) {
    let now = shared.now();
    let forgets_before = forgets.then(|| {
        let expiration = shared.dynamic_number(PRODUCER_EXPIRATION).map(Duration::from_millis);
        let expiration = expiration.unwrap_or(shared.settings.producer_expiration);
        Timestamp(now.0.saturating_sub(i64::try_from(expiration.as_millis()).unwrap_or(i64::MAX)))
    });
    let mut durable = Vec::new();
    maintain_all(shared, &Round { now, retains, forgets_before }, &mut durable);
    note(shared, RECOVERY_POINTS, durable);
}

fn maintain_all(shared: &Shared, round: &Round, durable: &mut Vec<Reached>) {
    let points = shared.folder.read_points(CLEANER_POINTS);
    let mut compactor = Compactor::new(shared.settings.compaction_memory_bytes);
    let stops = || shared.stopping.load(Ordering::SeqCst);
    let topics: Vec<_> = shared.topics().iter().map(|(name, topic)| (name.clone(), topic.clone())).collect();
    for (name, topic) in topics {
        for (number, partition) in topic.partitions.iter().enumerate() {
            if stops() {
                return;
            }
            let place = TopicPartition::new(name.as_str(), number as i32);
            let clean_to = points.get(&place).copied().unwrap_or_default();
            match maintain(partition, &mut compactor, clean_to, round, &stops) {
                Ok(None) => {}
                Ok(Some(clean_to)) => {
                    note(shared, CLEANER_POINTS, vec![(topic.record.id, place.clone(), clean_to)]);
                }
                Err(LogError::Interrupted) => return,
                // The others go on.
                Err(error) => shared.complain("retention", |left_out| {
                    tracing::error!(%place, %error, left_out, "retention or compaction failed; it is tried again");
                }),
            }
            match partition.sync_closed() {
                // Of one that was stopped, it is known.
                Ok(None) | Err(LogError::Stopped { .. }) => {}
                Ok(Some(end)) => durable.push((topic.record.id, place, end)),
                Err(error) => shared.complain("closed segments", |left_out| {
                    tracing::error!(%place, %error, left_out, "closed segments cannot be made durable");
                }),
            }
        }
    }
}
