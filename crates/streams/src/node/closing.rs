//! Sending the results of windows once, when they are closed.
//!
//! The windows that are still open are kept in memory by the time they close at: key and time of each, not its value. After a
//! restart they are read from the store; what was sent before is known from the note beside the committed offsets, as in
//! Kafka Streams.

use std::collections::BTreeSet;

use tidewater_state::{split_session_key, split_window_key};

use crate::error::TaskError;
use crate::task::{Core, StoreId};

/// A window or session by what orders its leaving: its time, and for sessions also its beginning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OpenWindow {
    /// Start of a window, end of a session.
    pub time: i64,
    /// 0 for a window, start of a session.
    pub start: i64,
    pub key: Vec<u8>,
}

/// The windows of one operator that have not been sent.
pub(crate) struct ClosingWindows {
    store: StoreId,
    open: BTreeSet<OpenWindow>,
    /// Windows that closed before this time were sent; −1 if none were.
    last_close_time: i64,
    next_emit_ms: i64,
}

impl ClosingWindows {
    pub fn new(store: StoreId) -> Self {
        ClosingWindows { store, open: BTreeSet::new(), last_close_time: -1, next_emit_ms: 0 }
    }

    /// Learns what is open from the store and the note. `reaches` is how long before the close time an open window's time may
    /// lie: windows before that were sent.
    pub fn init(&mut self, core: &mut Core, reaches: i64) -> Result<(), TaskError> {
        let name = core.stores[self.store].spec().name.clone();
        if let Some(&last) = core.emitted.get(&name) {
            self.last_close_time = last;
        }
        let sent_before = self.last_close_time.saturating_sub(reaches);
        let nothing_sent = self.last_close_time < 0;
        let is_open = |time: i64| nothing_sent || time > sent_before;
        let is_session = matches!(core.stores[self.store].spec().kind, tidewater_state::StoreKind::Session { .. });
        let open = &mut self.open;
        core.stores[self.store].visit_keys(&mut |full| {
            let window = if is_session {
                split_session_key(full).map(|(key, start, end)| (end, start, key))
            } else {
                split_window_key(full).map(|(key, time, _)| (time, 0, key))
            };
            let window = window.filter(|(time, ..)| is_open(*time));
            open.extend(window.map(|(time, start, key)| OpenWindow { time, start, key: key.to_vec() }));
        })?;
        Ok(())
    }

    pub fn add(&mut self, window: OpenWindow) {
        self.open.insert(window);
    }

    pub fn remove(&mut self, window: &OpenWindow) {
        self.open.remove(window);
    }

    /// The windows to send now, given the time before which windows are closed, and the last time of a window that is.
    pub fn take_closed(&mut self, core: &mut Core, close_time: i64, last_closed: i64) -> Vec<OpenWindow> {
        let now = core.wall_clock.0;
        if now < self.next_emit_ms {
            return Vec::new();
        }
        self.next_emit_ms = now.saturating_add(core.emit_interval_ms);
        if last_closed < 0 || close_time <= self.last_close_time {
            return Vec::new();
        }
        self.last_close_time = close_time;
        let spec = core.stores[self.store].spec();
        core.emitted.insert(spec.name.clone(), close_time);
        let rest = OpenWindow { time: last_closed.saturating_add(1), start: i64::MIN, key: Vec::new() };
        let open = self.open.split_off(&rest);
        let mut closed: Vec<OpenWindow> = std::mem::replace(&mut self.open, open).into_iter().collect();
        if spec.in_memory {
            // Kafka's session store in memory has keys before beginnings.
            closed.sort_by(|a, b| (a.time, &a.key, a.start).cmp(&(b.time, &b.key, b.start)));
        }
        closed
    }
}
