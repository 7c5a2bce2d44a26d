//! Work in the background: retention and compaction, one partition after another.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use tidewater_env::spawn;
use tidewater_log::Compactor;
use tidewater_types::TopicPartition;

use crate::BrokerError;
use crate::broker::Shared;
use crate::folder::CLEANER_POINTS;

/// Starts the thread, if the settings want one.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<Option<JoinHandle<()>>, BrokerError> {
    let Some(interval) = shared.settings.maintenance_interval else { return Ok(None) };
    let shared = shared.clone();
    let path = shared.folder.path.clone();
    let thread = spawn("tidewater-maintenance", move || {
        while !shared.stopping.load(Ordering::SeqCst) {
            std::thread::park_timeout(interval);
            if !shared.stopping.load(Ordering::SeqCst)
                && let Err(error) = run_once(&shared)
            {
                tracing::error!(%error, "retention or compaction failed; it is tried again");
            }
        }
    });
    thread.map(Some).map_err(BrokerError::io("start a thread for", path))
}

/// One round over all partitions.
pub(crate) fn run_once(shared: &Shared) -> Result<(), BrokerError> {
    let mut points = shared.folder.read_points(CLEANER_POINTS);
    let mut compactor = Compactor::new(shared.settings.compaction_memory_bytes);
    let topics: Vec<_> = shared.topics().iter().map(|(name, topic)| (name.clone(), topic.clone())).collect();
    let mut moved = false;
    for (name, topic) in topics {
        for (number, partition) in topic.partitions.iter().enumerate() {
            if shared.stopping.load(Ordering::SeqCst) {
                return Ok(());
            }
            let now = shared.now();
            let place = TopicPartition::new(name.as_str(), number as i32);
            let clean_to = points.get(&place).copied().unwrap_or_default();
            let plan = {
                let mut log = partition.lock();
                log.expire(now)?;
                log.plan_compaction(clean_to, now)
            };
            let Some(plan) = plan else { continue };
            // The log is not locked while its closed segments are read and written anew.
            let result = compactor.run(&plan)?;
            points.insert(place, result.clean_to);
            moved = true;
            partition.lock().finish_compaction(result)?;
        }
    }
    if moved { shared.folder.write_points(CLEANER_POINTS, &points) } else { Ok(()) }
}
