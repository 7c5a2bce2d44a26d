//! Work in the background: retention and compaction, one partition after another.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use tidewater_env::spawn;
use tidewater_log::{Compactor, LogError};
use tidewater_types::{Offset, Timestamp, TopicPartition};

use crate::BrokerError;
use crate::broker::Shared;
use crate::folder::CLEANER_POINTS;
use crate::topics::SharedPartition;

/// `producer.id.expiration.ms`: a producer that has written nothing for so long is forgotten.
const PRODUCER_EXPIRATION_MS: i64 = 24 * 3600 * 1000;

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
            if !shared.stopping.load(Ordering::SeqCst)
                && let Err(error) = run_once(&shared, retains)
            {
                tracing::error!(%error, "retention or compaction failed; it is tried again");
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
    (now, retains): (Timestamp, bool),
    stops: &dyn Fn() -> bool,
) -> Result<Option<Offset>, LogError> {
    let plan = {
        let mut log = partition.lock();
        if retains {
            log.expire_producers(Timestamp(now.0.saturating_sub(PRODUCER_EXPIRATION_MS)));
            log.expire(now)?;
        }
        log.plan_compaction(clean_to, now)
    };
    let Some(plan) = plan else { return Ok(None) };
    // The log is not locked while its closed segments are read and written anew.
    let result = compactor.run(&plan, stops)?;
    let clean_to = result.clean_to;
    partition.lock().finish_compaction(result)?;
    Ok(Some(clean_to))
}

/// One round over all partitions.
pub(crate) fn run_once(shared: &Shared, retains: bool) -> Result<(), BrokerError> {
    let points = shared.folder.read_points(CLEANER_POINTS);
    let mut compactor = Compactor::new(shared.settings.compaction_memory_bytes);
    let stops = || shared.stopping.load(Ordering::SeqCst);
    let topics: Vec<_> = shared.topics().iter().map(|(name, topic)| (name.clone(), topic.clone())).collect();
    for (name, topic) in topics {
        for (number, partition) in topic.partitions.iter().enumerate() {
            if stops() {
                return Ok(());
            }
            let place = TopicPartition::new(name.as_str(), number as i32);
            let clean_to = points.get(&place).copied().unwrap_or_default();
            match maintain(partition, &mut compactor, clean_to, (shared.now(), retains), &stops) {
                Ok(None) => {}
                Ok(Some(clean_to)) => {
                    // A topic that was deleted meanwhile has no marks, and one made anew not these.
                    let topics = shared.topics();
                    if topics.get(&name).is_some_and(|now| now.record.id == topic.record.id) {
                        shared.folder.change_points(CLEANER_POINTS, |points| {
                            points.insert(place, clean_to);
                        })?;
                    }
                }
                Err(LogError::Interrupted) => return Ok(()),
                // The others go on.
                Err(error) => tracing::error!(%place, %error, "retention or compaction failed; it is tried again"),
            }
        }
    }
    Ok(())
}
