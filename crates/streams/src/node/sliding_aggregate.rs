//! Aggregating a grouped stream in sliding windows: one row for each stretch of a length that ends with a record, or begins
//! right after one.
//!
//! For a record at `t` and windows of length `d`, both ends included: its *left* window `[t-d, t]` holds it with what came
//! before; its *right* window `[t+1, t+1+d]` holds what came after, and is made once there is such a record. Every window
//! that exists between `t-d` and `t` gets the record too. A record before `d` belongs to the window `[0, d]`, since no window
//! begins before 0. Which windows are made, from what, and in which order follows Kafka Streams (KIP-450).

use std::collections::BTreeSet;
use std::marker::PhantomData;

use tidewater_state::window_key;
use tidewater_types::{Headers, Record, Timestamp};

use super::aggregate::{Add, Init};
use super::window_aggregate::WindowTable;
use super::{Boxed, user};
use crate::codec::{Data, Field, Window};
use crate::error::TaskError;
use crate::task::{Core, DropReason, Node, Punctuation, take_record};

/// The length and grace of sliding windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlidingWindows {
    pub difference_ms: i64,
    pub grace_ms: i64,
}

/// The node of the sliding `count`, `reduce` and `aggregate`.
pub(crate) struct SlidingAggregate<K: Field, V: Field, A: Data> {
    pub windows: SlidingWindows,
    pub table: WindowTable<K::Some, A>,
    pub init: Init<A>,
    pub add: Add<K::Some, V, A>,
    pub observed: i64,
    pub types: PhantomData<fn(K, V)>,
}

/// A stored aggregate, and the time of the latest record in it.
type Stored<A> = (A, Timestamp);

/// The record at work.
struct Work<'a, K, V> {
    key: &'a K,
    raw: &'a [u8],
    value: &'a V,
    time: i64,
    headers: &'a Headers,
    close_time: i64,
}

impl<K: Field, V: Field, A: Data> SlidingAggregate<K, V, A> {
    fn window(&self, start: i64) -> Window {
        Window { start, end: start.saturating_add(self.windows.difference_ms) }
    }

    /// Sends the results of the windows that are closed.
    fn send_closed(&mut self, core: &mut Core, headers: &Headers) -> Result<(), TaskError> {
        let SlidingWindows { difference_ms, grace_ms } = self.windows;
        let close_time = self.observed.saturating_sub(grace_ms);
        let last_closed = close_time.saturating_sub(difference_ms).saturating_sub(1);
        self.table.send_closed(core, close_time, last_closed, difference_ms, headers)
    }

    /// The windows of the record's key that begin between two times.
    fn found(
        &self,
        core: &mut Core,
        work: &Work<'_, K::Some, V>,
        from: i64,
        reverse: bool,
    ) -> Result<Vec<(i64, Stored<A>)>, TaskError> {
        let (store, to) = (&mut core.stores[self.table.access.id], work.time.saturating_add(1));
        let found = store.fetch(work.raw, from, to, reverse, |value| self.table.access.read_stamped(value))?;
        found.into_iter().map(|(start, stored)| Ok((start, stored?))).collect()
    }

    /// Adds the record to a window, given what it holds so far.
    fn add_to(
        &mut self,
        core: &mut Core,
        work: &Work<'_, K::Some, V>,
        start: i64,
        so_far: Option<Stored<A>>,
    ) -> Result<(), TaskError> {
        let window = self.window(start);
        if window.end < work.close_time {
            core.drop_record(DropReason::Late);
            return Ok(());
        }
        let (old, time) = match so_far {
            Some((old, time)) => (Some(old), time.max(Timestamp(work.time))),
            None => ((self.init)(), Timestamp(work.time)),
        };
        let sent_old = if self.table.send_old { old.clone() } else { None };
        let new = (self.add)(work.key, work.value.clone(), old).map_err(user)?;
        let full = window_key(work.raw, window.start, 0);
        self.table.update(core, work.key, &full, window, sent_old, new, time, work.headers)
    }

    /// Makes the window that begins right after the record, of what an earlier window has of the records after it.
    fn make_right(
        &mut self,
        core: &mut Core,
        work: &Work<'_, K::Some, V>,
        later: Option<Stored<A>>,
    ) -> Result<(), TaskError> {
        let Some((aggregate, time)) = later.filter(|(_, time)| time.0 > work.time) else { return Ok(()) };
        let window = self.window(work.time.saturating_add(1));
        let full = window_key(work.raw, window.start, 0);
        self.table.update(core, work.key, &full, window, None, Some(aggregate), time, work.headers)
    }

    /// A record before the first window's end.
    fn process_early(&mut self, core: &mut Core, work: &Work<'_, K::Some, V>) -> Result<(), TaskError> {
        let mut first = None;
        let mut later = None;
        let mut has_right = false;
        let mut starts = BTreeSet::new();
        let mut previous = None;
        for (start, stored) in self.found(core, work, 0, false)? {
            starts.insert(start);
            if start == 0 {
                if stored.1.0 < work.time {
                    previous = Some(stored.1.0);
                }
                first = Some(stored);
            } else if start <= work.time {
                later = Some(stored.clone());
                self.add_to(core, work, start, Some(stored))?;
            } else {
                has_right = true;
            }
        }
        // The first window has nothing that is not after the record, or else a later one would have been found.
        if later.is_none() {
            later = first.clone();
        }
        if !has_right {
            self.make_right(core, work, later)?;
        }
        if let Some(start) = previous.map(|previous| previous + 1).filter(|start| !starts.contains(start)) {
            self.add_to(core, work, start, None)?;
        }
        self.add_to(core, work, 0, first)
    }

    fn process_at(&mut self, core: &mut Core, work: &Work<'_, K::Some, V>) -> Result<(), TaskError> {
        let difference = self.windows.difference_ms;
        let mut starts = BTreeSet::new();
        let mut earlier = None;
        let mut later = None;
        let (mut has_left, mut has_right) = (false, false);
        let mut previous = None;
        let from = work.time.saturating_sub(difference.saturating_mul(2)).max(0);
        for (start, stored) in self.found(core, work, from, true)? {
            starts.insert(start);
            let (end, latest) = (start.saturating_add(difference), stored.1.0);
            if start > work.time {
                has_right = true;
            } else if end > work.time {
                later.get_or_insert_with(|| stored.clone());
                self.add_to(core, work, start, Some(stored))?;
            } else if end == work.time {
                has_left = true;
                self.add_to(core, work, start, Some(stored))?;
                if latest >= work.time {
                    // There was a record at this time already: all its windows are made.
                    return Ok(());
                }
                previous = Some(latest);
            } else {
                previous = Some(latest);
                earlier = Some(stored);
                break;
            }
        }
        if let Some(start) = previous.map(|previous| previous + 1)
            && !starts.contains(&start)
            && start.saturating_add(difference) >= work.time
        {
            self.add_to(core, work, start, None)?;
        }
        if !has_left {
            let is_near = previous.is_some_and(|previous| work.time - difference <= previous);
            let so_far = earlier.filter(|_| is_near).map(|(aggregate, _)| (aggregate, Timestamp(work.time)));
            self.add_to(core, work, work.time - difference, so_far)?;
        }
        if has_right { Ok(()) } else { self.make_right(core, work, later) }
    }
}

impl<K: Field, V: Field, A: Data> Node for SlidingAggregate<K, V, A> {
    fn init(&mut self, core: &mut Core) -> Result<(), TaskError> {
        let id = self.table.id;
        self.table.closing.as_mut().map_or(Ok(()), |closing| closing.init(core, id))
    }

    fn punctuate(&mut self, core: &mut Core, _due: Punctuation) -> Result<(), TaskError> {
        let Some(last) = self.table.closing.as_mut().and_then(|closing| closing.idle_up_to(core)) else {
            return Ok(());
        };
        let SlidingWindows { difference_ms, grace_ms } = self.windows;
        let closing = last.saturating_add(difference_ms).saturating_add(1);
        self.observed = self.observed.max(closing.saturating_add(grace_ms));
        self.send_closed(core, &Headers::EMPTY)
    }

    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value, timestamp, headers } = take_record::<K, V>(record);
        let Some(key) = key.into_some() else {
            core.drop_record(DropReason::NullKey);
            return Ok(());
        };
        if value.as_some().is_none() {
            core.drop_record(DropReason::NullValue);
            return Ok(());
        }
        let time = timestamp.0;
        self.observed = self.observed.max(time);
        if let Some(closing) = &mut self.table.closing {
            closing.record_came(core);
        }
        let close_time = self.observed.saturating_sub(self.windows.grace_ms);
        let difference = self.windows.difference_ms;
        if time.saturating_add(difference) < close_time {
            core.drop_record(DropReason::Late);
            return Ok(());
        }
        let raw = self.table.access.key_bytes(&key)?;
        let work = Work { key: &key, raw: &raw, value: &value, time, headers: &headers, close_time };
        if time < difference {
            return self.process_early(core, &work);
        }
        self.process_at(core, &work)?;
        self.send_closed(core, &headers)
    }
}
