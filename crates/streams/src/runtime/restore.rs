//! Bringing a task's stores up to their changelogs.

use std::sync::atomic::{AtomicBool, Ordering};

use tidewater_client::{ClientError, Ports};
use tidewater_protocol::{Batch, UNPACK_LIMIT_BYTES};
use tidewater_types::{Offset, TopicPartition};

use crate::error::{FailureKind, TaskError};
use crate::task::Task;

/// Bytes that are read of a changelog at once.
const FETCH_BYTES: usize = 1 << 20;
/// Uncommitted state that is made to last while restoring.
const COMMIT_BYTES: usize = 16 << 20;

pub(crate) fn failed(error: ClientError) -> TaskError {
    TaskError::new(FailureKind::State, error)
}

/// Reads the changelog of a store from where its contents end, up to `end`, or until it is told to stop. Gives the records
/// that were restored.
pub(crate) fn restore(
    task: &mut Task,
    store: usize,
    changelog: &TopicPartition,
    end: Offset,
    ports: &Ports,
    stop: &AtomicBool,
) -> Result<u64, TaskError> {
    let spec = task.stores()[store].spec().clone();
    let earliest = ports.consumer.earliest(changelog).map_err(failed)?;
    let stored = if spec.in_memory { None } else { task.restored_offset(&spec.name)? };
    if let Some(stored) = stored.filter(|stored| *stored < earliest) {
        tracing::warn!(store = spec.name, %changelog, %stored, %earliest, "the changelog has lost records since the last commit");
    }
    let mut next = stored.unwrap_or(earliest).max(earliest);
    if next > end {
        return Err(TaskError::new(
            FailureKind::State,
            format!(
                "store {} reaches offset {next} of {changelog}, which ends at {end}: was the log removed? Remove the task's state folder too",
                spec.name
            ),
        ));
    }
    let mut restored = 0;
    while next < end {
        if stop.load(Ordering::SeqCst) {
            task.write_stores(&[(spec.name.clone(), next)].into())?;
            return Ok(restored);
        }
        let fetched = ports.consumer.fetch(changelog, next, FETCH_BYTES).map_err(failed)?;
        let mut chunk = fetched.records;
        if chunk.is_empty() {
            break; // Compaction took the last records away.
        }
        while !chunk.is_empty() {
            let unreadable = |error| TaskError::new(FailureKind::State, format!("{changelog}: {error}"));
            let batch = Batch::parse(&chunk).map_err(unreadable)?;
            batch.check_crc().map_err(unreadable)?;
            if !batch.is_control() {
                for record in batch.records(UNPACK_LIMIT_BYTES).map_err(unreadable)?.iter() {
                    let record = record.map_err(unreadable)?;
                    if record.offset < next || record.offset >= end {
                        continue;
                    }
                    if let Some(key) = record.key {
                        task.restore(store, key, record.value, record.timestamp, &record.headers())?;
                        restored += 1;
                    }
                }
            }
            next = batch.next_offset().max(next);
            chunk = chunk.slice(batch.len()..);
        }
        if task.unwritten_bytes() > COMMIT_BYTES {
            task.write_stores(&[(spec.name.clone(), next.min(end))].into())?;
        }
    }
    task.write_stores(&[(spec.name.clone(), end)].into())?;
    Ok(restored)
}
