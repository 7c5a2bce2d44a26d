//! Aggregating a grouped stream in sessions: records of a key that follow each other within a gap.

use std::marker::PhantomData;

use tidewater_state::{session_key, split_session_key};
use tidewater_types::{Headers, Record, Timestamp};

use super::aggregate::{Add, Init, Merge};
use super::change::{Change, change_listener};
use super::closing::{ClosingWindows, OpenWindow};
use super::table::ValueGetter;
use super::{Boxed, user};
use crate::codec::{Data, Field, SessionWindowed, Window};
use crate::error::TaskError;
use crate::task::{Core, DropReason, Node, NodeId, Punctuation, StoreAccess, TaskBuild, take_record};

/// The node of the sessions' `count`, `reduce` and `aggregate`.
pub(crate) struct SessionAggregate<K: Field, V: Field, A: Data> {
    pub id: NodeId,
    pub gap_ms: i64,
    pub grace_ms: i64,
    pub access: StoreAccess<K::Some, A>,
    pub send_old: bool,
    /// The open sessions, if results are sent only when sessions close.
    pub closing: Option<ClosingWindows>,
    pub init: Init<A>,
    pub add: Add<K::Some, V, A>,
    pub merge: Merge<K::Some, A>,
    pub observed: i64,
    pub types: PhantomData<fn(K, V)>,
}

impl<K: Field, V: Field, A: Data> SessionAggregate<K, V, A> {
    /// Sends an update on, unless it waits in the cache. Results have no headers, as in Kafka Streams.
    fn send(
        &self,
        core: &mut Core,
        key: &K::Some,
        window: Window,
        old: Option<A>,
        new: Option<A>,
    ) -> Result<(), TaskError> {
        if self.closing.is_some() || core.stores[self.access.id].is_cached() {
            return Ok(());
        }
        let old = if self.send_old { old } else { None };
        let key = SessionWindowed { key: key.clone(), window };
        let timestamp = Timestamp(window.end);
        core.forward(self.id, Record { key, value: Change::new(new, old), timestamp, headers: Headers::EMPTY })
    }

    /// Sends the results of the sessions that are closed.
    fn send_closed(&mut self, core: &mut Core, close_time: i64, headers: &Headers) -> Result<(), TaskError> {
        let Some(closing) = &mut self.closing else { return Ok(()) };
        for OpenWindow { time: end, start, key: raw } in closing.take_closed(core, close_time, close_time - 1) {
            let full = session_key(&raw, start, end);
            let found = core.stores[self.access.id].get_kept(&full, |value| self.access.read_plain(value))?;
            let Some(value) = found.transpose()? else { continue };
            let key = SessionWindowed { key: self.access.key.read(&raw)?, window: Window { start, end } };
            let value = Change::new(Some(value), None);
            let timestamp = Timestamp(end);
            core.forward(self.id, Record { key, value, timestamp, headers: headers.clone() })?;
        }
        Ok(())
    }
}

impl<K: Field, V: Field, A: Data> Node for SessionAggregate<K, V, A> {
    fn init(&mut self, core: &mut Core) -> Result<(), TaskError> {
        let id = self.id;
        self.closing.as_mut().map_or(Ok(()), |closing| closing.init(core, id))
    }

    fn punctuate(&mut self, core: &mut Core, _due: Punctuation) -> Result<(), TaskError> {
        let Some(last) = self.closing.as_mut().and_then(|closing| closing.idle_up_to(core)) else { return Ok(()) };
        let close_time = last.saturating_add(1);
        let observed = close_time.saturating_add(self.grace_ms).saturating_add(self.gap_ms);
        self.observed = self.observed.max(observed);
        self.send_closed(core, close_time, &Headers::EMPTY)
    }

    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let Record { key, value, timestamp, headers } = take_record::<K, V>(record);
        let Some(key) = key.into_some() else {
            core.drop_record(DropReason::NullKey);
            return Ok(());
        };
        let time = timestamp.0;
        self.observed = self.observed.max(time);
        if let Some(closing) = &mut self.closing {
            closing.record_came(core);
        }
        let close_time = self.observed.saturating_sub(self.grace_ms).saturating_sub(self.gap_ms);
        let raw = self.access.key_bytes(&key)?;
        let (from, to) = (time.saturating_sub(self.gap_ms), time.saturating_add(self.gap_ms));
        let found = core.stores[self.access.id].find_sessions(&raw, from, to)?;
        let mut merged = Vec::with_capacity(found.len());
        let mut window = Window { start: time, end: time };
        let mut aggregate = (self.init)();
        // Those that were closed for want of records are not open to any more.
        let closes_when_idle = self.closing.as_ref().is_some_and(ClosingWindows::closes_when_idle);
        for session in found.into_iter().filter(|session| !closes_when_idle || session.end >= close_time) {
            let old = self.access.read_plain(&session.value)?;
            aggregate = (self.merge)(&key, aggregate, Some(old.clone())).map_err(user)?;
            let old_window = Window { start: session.start, end: session.end };
            window = Window { start: window.start.min(old_window.start), end: window.end.max(old_window.end) };
            merged.push((old_window, old));
        }
        if window.end < close_time {
            core.drop_record(DropReason::Late);
            return self.send_closed(core, close_time, &headers);
        }
        if window != (Window { start: time, end: time }) {
            for (old_window, old) in merged {
                self.access.put_raw(core, &session_key(&raw, old_window.start, old_window.end), None)?;
                if let Some(closing) = &mut self.closing {
                    closing.remove(&open_session(old_window, &raw));
                }
                self.send(core, &key, old_window, Some(old), None)?;
            }
        }
        let aggregate = (self.add)(&key, value, aggregate).map_err(user)?;
        let bytes = aggregate.as_ref().map(|aggregate| self.access.write_plain(aggregate)).transpose()?;
        self.access.put_raw(core, &session_key(&raw, window.start, window.end), bytes.as_deref())?;
        if let Some(closing) = &mut self.closing {
            closing.add(open_session(window, &raw));
        }
        self.send(core, &key, window, None, aggregate)?;
        self.send_closed(core, close_time, &headers)
    }
}

fn open_session(window: Window, key: &[u8]) -> OpenWindow {
    OpenWindow { time: window.end, start: window.start, key: key.to_vec() }
}

/// Lets the updates that leave the cache of a session store go on.
pub(crate) fn listen<K: Data, A: Data>(build: &mut TaskBuild<'_>, access: &StoreAccess<K, A>, send_old: bool) {
    let (node, store_id, values, access) = (build.node, access.id, access.clone(), access.clone());
    let read = move |raw: &[u8]| values.read_plain(raw).map(|value| (value, None));
    let listener = change_listener(store_id, send_old, read, move |core, full, value, _| {
        let Some((raw_key, start, end)) = split_session_key(full) else {
            unreachable!("session keys are put with their suffix")
        };
        // With headers of its own the aggregate has none, as in Kafka Streams.
        let headers = if access.with_headers { Headers::EMPTY } else { core.context.headers.clone() };
        let key = access.key.read(raw_key)?;
        let key = SessionWindowed { key, window: Window { start, end } };
        core.forward(node, Record { key, value, timestamp: Timestamp(end), headers })
    });
    build.listen(store_id, listener);
}

/// Looks up rows of a session store.
pub(crate) struct SessionGetter<K, A>(pub StoreAccess<K, A>);

impl<K: Data, A: Data> ValueGetter<SessionWindowed<K>, A> for SessionGetter<K, A> {
    fn get(&self, core: &mut Core, key: &SessionWindowed<K>) -> Result<Option<(A, Timestamp)>, TaskError> {
        let raw = session_key(&self.0.key_bytes(&key.key)?, key.window.start, key.window.end);
        let value = core.stores[self.0.id].get(&raw, |raw| self.0.read_plain(raw))?.transpose()?;
        Ok(value.map(|value| (value, Timestamp(key.window.end))))
    }
}
