//! Sending the results of windows once, when they are closed.
//!
//! The windows that are still open are kept in memory by the time they close at: key and time of each, not its value. After a
//! restart they are read from the store; what was sent before is known from the note beside the committed offsets, as in
//! Kafka Streams.

use std::collections::BTreeSet;
use std::time::Duration;

use tidewater_state::{split_session_key, split_window_key};

use crate::dsl::EmitStrategy;
use crate::error::TaskError;
use crate::task::{Core, NodeId, PunctuationClock, StoreId, every};

/// A window or session by what orders its leaving: its time, and for sessions also its beginning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OpenWindow {
    /// Start of a window, end of a session.
    pub time: i64,
    /// 0 for a window, start of a session.
    pub start: i64,
    pub key: Vec<u8>,
}

/// When the results of windows are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Emit {
    pub strategy: EmitStrategy,
    /// After how long without a record all windows are closed.
    pub idle_ms: Option<i64>,
}

impl Emit {
    /// What an operator needs to send results when windows close, if it is to. `reaches` is how long before the close time an
    /// open window's time may lie.
    pub fn closing(self, store: StoreId, reaches: i64) -> Option<ClosingWindows> {
        (self.strategy == EmitStrategy::OnWindowClose).then(|| ClosingWindows {
            store,
            reaches,
            open: BTreeSet::new(),
            last_close_time: -1,
            next_emit_ms: 0,
            idle_ms: self.idle_ms,
            last_record_ms: None,
        })
    }
}

/// An idle input is looked for four times in the time without records, but not more often than the first of these, nor less
/// often than the second.
const CHECK_MS: (i64, i64) = (10, 1000);

/// The windows of one operator that have not been sent.
pub(crate) struct ClosingWindows {
    store: StoreId,
    reaches: i64,
    open: BTreeSet<OpenWindow>,
    /// Windows that closed before this time were sent; −1 if none were.
    last_close_time: i64,
    next_emit_ms: i64,
    idle_ms: Option<i64>,
    /// The wall clock when the last record came, or when it was first looked at.
    last_record_ms: Option<i64>,
}

impl ClosingWindows {
    /// Learns what is open from the store and the note.
    pub fn init(&mut self, core: &mut Core, node: NodeId) -> Result<(), TaskError> {
        if let Some(idle_ms) = self.idle_ms {
            let often = (idle_ms / 4).clamp(CHECK_MS.0, CHECK_MS.1);
            let often = every(Duration::from_millis(often as u64)).on(PunctuationClock::WallClock);
            core.schedules.add(node, often, core.wall_clock);
        }
        let name = core.stores[self.store].spec().name.clone();
        if let Some(&last) = core.emitted.get(&name) {
            self.last_close_time = last;
        }
        let sent_before = self.sent_before();
        let is_open = |time: i64| sent_before.is_none_or(|sent_before| time > sent_before);
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

    /// The latest time of windows that were sent.
    fn sent_before(&self) -> Option<i64> {
        (self.last_close_time >= 0).then(|| self.last_close_time.saturating_sub(self.reaches))
    }

    pub fn add(&mut self, window: OpenWindow) {
        // After a restart a record may come to a window that was sent before; it is not sent again.
        if self.sent_before().is_none_or(|sent_before| window.time > sent_before) {
            self.open.insert(window);
        }
    }

    /// Takes note of a record.
    pub fn record_came(&mut self, core: &Core) {
        self.last_record_ms = Some(core.wall_clock.0);
    }

    /// Whether windows are closed when the input is idle.
    pub fn closes_when_idle(&self) -> bool {
        self.idle_ms.is_some()
    }

    /// If the input is idle, the time of the last window, up to which all are to be closed.
    pub fn idle_up_to(&mut self, core: &Core) -> Option<i64> {
        let now = core.wall_clock.0;
        if core.inputs_waiting || core.calls > 0 {
            // The task was busy with something else.
            self.last_record_ms = Some(now);
        }
        // After a restart the time begins to count once all is restored.
        let last_record = *self.last_record_ms.get_or_insert(now);
        if now.saturating_sub(last_record) < self.idle_ms? {
            return None;
        }
        let last = self.open.last()?.time;
        self.next_emit_ms = now;
        Some(last)
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
