//! Rows that leave a key-value store once they are old enough: which they are is found in sweeps, a part at a time.

use std::ops::ControlFlow;

use crate::rows::Known;
use crate::{KeyRange, StateError, Store};

/// How many rows one call of [`Store::take_expired`] looks at: a few milliseconds' worth, and two for each row that was written
/// since the last call, so that sweeps are faster than writes.
const SWEEP_ROWS: usize = 20_000;

/// What is known of the ages of a store's rows.
#[derive(Debug)]
pub(crate) struct Sweep {
    ttl_ms: i64,
    /// No row is older than this.
    oldest: i64,
    /// The oldest row that was written since the last commit, and is not in the engine yet.
    unwritten: i64,
    writes: usize,
    /// Where the sweep under way goes on, and the oldest row that it has left.
    under_way: Option<(Vec<u8>, i64)>,
}

impl Sweep {
    /// For a store that may hold rows of any age already, or is empty.
    pub fn new(ttl_ms: i64, is_empty: bool) -> Self {
        Sweep {
            ttl_ms,
            oldest: if is_empty { i64::MAX } else { i64::MIN },
            unwritten: i64::MAX,
            writes: 0,
            under_way: None,
        }
    }

    /// A value was written, in the layout that begins with its timestamp.
    pub fn written(&mut self, value: &[u8]) {
        let Some(time) = time_of(value) else { return };
        self.unwritten = self.unwritten.min(time);
        self.writes += 1;
    }

    /// What was written is on its way to the engine, where the next sweep meets it.
    pub fn committed(&mut self) {
        let time = std::mem::replace(&mut self.unwritten, i64::MAX);
        self.oldest = self.oldest.min(time);
        if let Some((_, left)) = &mut self.under_way {
            *left = (*left).min(time);
        }
    }
}

fn time_of(value: &[u8]) -> Option<i64> {
    value.split_first_chunk::<8>().map(|(time, _)| i64::from_be_bytes(*time))
}

/// A row that is too old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiredRow {
    /// Its key.
    pub key: Vec<u8>,
    /// When it became too old, in event time.
    pub at: i64,
}

impl Store {
    /// The rows whose timestamps lie the store's time to live or more before `stream_time`: those that a bounded stretch of the
    /// store has; the next call goes on behind it. They are still there; deleting them is the caller's. What waits in a record
    /// cache, or for its commit, is found in a later call.
    ///
    /// # Errors
    /// When the engine cannot be read.
    pub fn take_expired(&mut self, stream_time: i64) -> Result<Vec<ExpiredRow>, StateError> {
        let Some(sweep) = &mut self.sweep else { return Ok(Vec::new()) };
        let dead = stream_time.saturating_sub(sweep.ttl_ms);
        if sweep.under_way.is_none() && sweep.oldest.min(sweep.unwritten) > dead {
            return Ok(Vec::new());
        }
        let (ttl_ms, rows) = (sweep.ttl_ms, SWEEP_ROWS + 2 * std::mem::take(&mut sweep.writes));
        let (from, mut left) = sweep.under_way.take().unwrap_or((Vec::new(), i64::MAX));
        let (mut seen, mut stopped_at, mut old) = (0, None, Vec::new());
        self.scan_written(&KeyRange { from, to: None }, &mut |key, value| {
            if seen == rows {
                stopped_at = Some(key.to_vec());
                return ControlFlow::Break(());
            }
            seen += 1;
            match time_of(value) {
                Some(time) if time <= dead => old.push((key.to_vec(), time)),
                Some(time) => left = left.min(time),
                None => {}
            }
            ControlFlow::Continue(())
        })?;
        let mut expired = Vec::with_capacity(old.len());
        for (key, time) in old {
            // What was written since the last commit is not in the engine yet.
            let time = match self.rows.as_mut().map(|rows| rows.get(&key)) {
                Some(Known::Value(value)) => value.and_then(time_of),
                _ => Some(time),
            };
            match time {
                Some(time) if time <= dead => expired.push(ExpiredRow { key, at: time.saturating_add(ttl_ms) }),
                Some(time) => left = left.min(time),
                None => {}
            }
        }
        if let Some(sweep) = &mut self.sweep {
            match stopped_at {
                Some(key) => sweep.under_way = Some((key, left)),
                None => sweep.oldest = left.min(sweep.unwritten),
            }
        }
        Ok(expired)
    }
}
