//! Aggregating a grouped stream in time windows: one row a key and window.

use std::marker::PhantomData;

use tidewater_state::split_window_key;
use tidewater_types::Record;

use super::aggregate::{Add, Init};
use super::change::{Change, change_listener};
use super::table::ValueGetter;
use super::{Boxed, user};
use crate::codec::{Data, Field, Window, Windowed};
use crate::error::TaskError;
use crate::task::{Core, DropReason, Node, NodeId, StoreAccess, TaskBuild, take_record};

/// Windows of one length that begin at the multiples of an advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeWindows {
    pub size_ms: i64,
    pub advance_ms: i64,
    pub grace_ms: i64,
}

impl TimeWindows {
    /// The windows that hold a time, by start.
    pub fn windows_for(&self, timestamp: i64) -> impl Iterator<Item = Window> + use<> {
        let first = ((timestamp - self.size_ms + self.advance_ms).max(0) / self.advance_ms) * self.advance_ms;
        let (size, advance) = (self.size_ms, self.advance_ms);
        (0..)
            .map(move |n| first + n * advance)
            .take_while(move |&start| start <= timestamp)
            .map(move |start| Window { start, end: start.saturating_add(size) })
    }
}

/// The node of the windowed `count`, `reduce` and `aggregate`.
pub(crate) struct WindowAggregate<K: Field, V: Field, A: Data> {
    pub id: NodeId,
    pub windows: TimeWindows,
    pub access: StoreAccess<K::Some, A>,
    pub send_old: bool,
    pub init: Init<A>,
    pub add: Add<K::Some, V, A>,
    pub observed: i64,
    pub types: PhantomData<fn(K, V)>,
}

impl<K: Field, V: Field, A: Data> Node for WindowAggregate<K, V, A> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value, timestamp, headers } = take_record::<K, V>(record);
        let Some(key) = key.into_some() else {
            core.drop_record(DropReason::NullKey);
            return Ok(());
        };
        self.observed = self.observed.max(timestamp.0);
        let close_time = self.observed.saturating_sub(self.windows.grace_ms);
        let raw = self.access.key_bytes(&key)?;
        for window in self.windows.windows_for(timestamp.0) {
            if window.end <= close_time {
                core.drop_record(DropReason::Late);
                continue;
            }
            let (old, new_time) = match self.access.get_window(core, &raw, window.start)? {
                Some((old, old_time)) => (Some(old), timestamp.max(old_time)),
                None => ((self.init)(), timestamp),
            };
            let sent_old = if self.send_old { old.clone() } else { None };
            let new = (self.add)(&key, value.clone(), old).map_err(user)?;
            self.access.put_window(core, &raw, window.start, new.as_ref(), new_time)?;
            if !core.stores[self.access.id].is_cached() {
                let key = Windowed { key: key.clone(), window };
                let value = Change::new(new, sent_old);
                core.forward(self.id, Record { key, value, timestamp: new_time, headers: headers.clone() })?;
            }
        }
        Ok(())
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
    fn get(&self, core: &mut Core, key: &Windowed<K>) -> Result<Option<(A, tidewater_types::Timestamp)>, TaskError> {
        let raw = self.0.key_bytes(&key.key)?;
        self.0.get_window(core, &raw, key.window.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_begin_at_multiples_of_the_advance() {
        let windows = TimeWindows { size_ms: 10, advance_ms: 4, grace_ms: 0 };
        let starts = |t| windows.windows_for(t).map(|w| w.start).collect::<Vec<_>>();
        assert_eq!(starts(0), [0]);
        assert_eq!(starts(9), [0, 4, 8]);
        assert_eq!(starts(21), [12, 16, 20]);
    }
}
