//! Aggregating a grouped stream in time windows: one row a key and window.

use std::marker::PhantomData;

use tidewater_state::{WINDOW_SUFFIX, push_window_suffix, split_window_key, window_key};
use tidewater_types::{Headers, Record, Timestamp};

use super::aggregate::{Add, Init};
use super::change::{Change, change_listener};
use super::closing::{ClosingWindows, OpenWindow};
use super::table::ValueGetter;
use super::{Boxed, user};
use crate::codec::{Data, Field, Window, Windowed};
use crate::error::TaskError;
use crate::task::{Core, DropReason, Node, NodeId, Punctuation, StoreAccess, TaskBuild, take_record};

/// Windows that are known by the time alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeWindows {
    /// Windows of one length that begin at the multiples of an advance.
    Fixed { size_ms: i64, advance_ms: i64, grace_ms: i64 },
    /// One window without end.
    Unlimited { start_ms: i64 },
}

impl TimeWindows {
    /// The windows that hold a time, by start.
    pub fn windows_for(&self, timestamp: i64) -> impl Iterator<Item = Window> + use<> {
        let (first, advance, size) = match *self {
            TimeWindows::Fixed { size_ms, advance_ms, .. } => {
                let first = ((timestamp - size_ms + advance_ms).max(0) / advance_ms) * advance_ms;
                (first, Some(advance_ms), size_ms)
            }
            TimeWindows::Unlimited { start_ms } => (start_ms, None, i64::MAX),
        };
        std::iter::successors(Some(first), move |start| start.checked_add(advance?))
            .take_while(move |&start| start <= timestamp)
            .map(move |start| Window { start, end: start.saturating_add(size) })
    }

    pub fn size_ms(&self) -> i64 {
        match *self {
            TimeWindows::Fixed { size_ms, .. } => size_ms,
            TimeWindows::Unlimited { .. } => i64::MAX,
        }
    }

    pub fn grace_ms(&self) -> i64 {
        match *self {
            TimeWindows::Fixed { grace_ms, .. } => grace_ms,
            TimeWindows::Unlimited { .. } => 0,
        }
    }
}

/// A windowed table under aggregation: its store, and how its changes go on.
pub(crate) struct WindowTable<K: Data, A: Data> {
    pub id: NodeId,
    pub access: StoreAccess<K, A>,
    pub send_old: bool,
    /// The open windows, if results are sent only when windows close.
    pub closing: Option<ClosingWindows>,
}

impl<K: Data, A: Data> WindowTable<K, A> {
    /// Puts a window's new aggregate, `full` being its key in the store, and sends the change on, unless it waits for the cache or for the window's end.
    #[expect(clippy::too_many_arguments, reason = "the parts of one update")]
    pub fn update(
        &mut self,
        core: &mut Core,
        key: &K,
        full: &[u8],
        window: Window,
        old: Option<A>,
        new: Option<A>,
        timestamp: Timestamp,
        headers: &Headers,
    ) -> Result<(), TaskError> {
        self.access.put_stamped(core, full, new.as_ref(), timestamp)?;
        if let Some(closing) = &mut self.closing {
            closing.add(OpenWindow { time: window.start, start: 0, key: full[..full.len() - WINDOW_SUFFIX].to_vec() });
            return Ok(());
        }
        if core.stores[self.access.id].is_cached() {
            return Ok(());
        }
        let key = Windowed { key: key.clone(), window };
        let value = Change::new(new, old.filter(|_| self.send_old));
        core.forward(self.id, Record { key, value, timestamp, headers: headers.clone() })
    }

    /// Sends the results of the windows that are closed.
    pub fn send_closed(
        &mut self,
        core: &mut Core,
        close_time: i64,
        last_closed: i64,
        size_ms: i64,
        headers: &Headers,
    ) -> Result<(), TaskError> {
        let Some(closing) = &mut self.closing else { return Ok(()) };
        for OpenWindow { time: start, key: raw, .. } in closing.take_closed(core, close_time, last_closed) {
            let full = window_key(&raw, start, 0);
            let found = core.stores[self.access.id].get_kept(&full, |raw| self.access.read_stamped(raw))?;
            let Some((value, timestamp)) = found.transpose()? else { continue };
            let window = Window { start, end: start.saturating_add(size_ms) };
            let key = Windowed { key: self.access.key.read(&raw)?, window };
            let value = Change::new(Some(value), None);
            core.forward(self.id, Record { key, value, timestamp, headers: headers.clone() })?;
        }
        Ok(())
    }
}

/// The node of the windowed `count`, `reduce` and `aggregate`.
pub(crate) struct WindowAggregate<K: Field, V: Field, A: Data> {
    pub windows: TimeWindows,
    pub table: WindowTable<K::Some, A>,
    pub init: Init<A>,
    pub add: Add<K::Some, V, A>,
    pub observed: i64,
    pub types: PhantomData<fn(K, V)>,
}

impl<K: Field, V: Field, A: Data> Node for WindowAggregate<K, V, A> {
    fn init(&mut self, core: &mut Core) -> Result<(), TaskError> {
        let id = self.table.id;
        self.table.closing.as_mut().map_or(Ok(()), |closing| closing.init(core, id))
    }

    fn punctuate(&mut self, core: &mut Core, _due: Punctuation) -> Result<(), TaskError> {
        let Some(last) = self.table.closing.as_mut().and_then(|closing| closing.idle_up_to(core)) else {
            return Ok(());
        };
        let (size, grace) = (self.windows.size_ms(), self.windows.grace_ms());
        self.observed = self.observed.max(last.saturating_add(size).saturating_add(grace));
        let close_time = self.observed.saturating_sub(grace);
        self.table.send_closed(core, close_time, close_time.saturating_sub(size), size, &Headers::EMPTY)
    }

    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value, timestamp, headers } = take_record::<K, V>(record);
        let Some(key) = key.into_some() else {
            core.drop_record(DropReason::NullKey);
            return Ok(());
        };
        self.observed = self.observed.max(timestamp.0);
        if let Some(closing) = &mut self.table.closing {
            closing.record_came(core);
        }
        let close_time = self.observed.saturating_sub(self.windows.grace_ms());
        // One buffer for the key in the store: the suffix changes with the window.
        let mut full = self.table.access.key_bytes(&key)?;
        let length = full.len();
        for window in self.windows.windows_for(timestamp.0) {
            if window.end <= close_time {
                core.drop_record(DropReason::Late);
                continue;
            }
            full.truncate(length);
            push_window_suffix(&mut full, window.start, 0);
            let (old, new_time) = match self.table.access.get(core, &full)? {
                Some((old, old_time)) => (Some(old), timestamp.max(old_time)),
                None => ((self.init)(), timestamp),
            };
            let sent_old = if self.table.send_old { old.clone() } else { None };
            let new = (self.add)(&key, value.clone(), old).map_err(user)?;
            self.table.update(core, &key, &full, window, sent_old, new, new_time, &headers)?;
        }
        let size = self.windows.size_ms();
        self.table.send_closed(core, close_time, close_time.saturating_sub(size), size, &headers)
    }
}

/// Lets the updates that leave the cache of a window store go on.
pub(crate) fn listen<K: Data, A: Data>(
    build: &mut TaskBuild<'_>,
    access: &StoreAccess<K, A>,
    size_ms: i64,
    send_old: bool,
) {
    let (node, store_id, values, access) = (build.node, access.id, access.clone(), access.clone());
    let read = move |raw: &[u8]| values.read_stamped(raw).map(|(value, timestamp)| (value, Some(timestamp)));
    let listener = change_listener(store_id, send_old, read, move |core, full, value, timestamp| {
        let Some((raw_key, start, _)) = split_window_key(full) else {
            unreachable!("window keys are put with their suffix")
        };
        let window = Window { start, end: start.saturating_add(size_ms) };
        let (key, headers) = (access.key.read(raw_key)?, core.context.headers.clone());
        core.forward(node, Record { key: Windowed { key, window }, value, timestamp, headers })
    });
    build.listen(store_id, listener);
}

/// Looks up rows of a window store.
pub(crate) struct WindowGetter<K, A>(pub StoreAccess<K, A>);

impl<K: Data, A: Data> ValueGetter<Windowed<K>, A> for WindowGetter<K, A> {
    fn get(&self, core: &mut Core, key: &Windowed<K>) -> Result<Option<(A, Timestamp)>, TaskError> {
        let raw = self.0.key_bytes(&key.key)?;
        self.0.get(core, &window_key(&raw, key.window.start, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_begin_at_multiples_of_the_advance() {
        let windows = TimeWindows::Fixed { size_ms: 10, advance_ms: 4, grace_ms: 0 };
        let starts = |t| windows.windows_for(t).map(|w| w.start).collect::<Vec<_>>();
        assert_eq!(starts(0), [0]);
        assert_eq!(starts(9), [0, 4, 8]);
        assert_eq!(starts(21), [12, 16, 20]);
    }

    #[test]
    fn an_unlimited_window_holds_what_is_not_before_it() {
        let windows = TimeWindows::Unlimited { start_ms: 10 };
        assert_eq!(windows.windows_for(9).count(), 0);
        assert_eq!(windows.windows_for(10).collect::<Vec<_>>(), [Window { start: 10, end: i64::MAX }]);
        assert_eq!(windows.windows_for(i64::MAX).count(), 1);
    }
}
