//! How a table's updates are held back.

use std::sync::Arc;
use std::time::Duration;

use tidewater_types::Timestamp;

use crate::codec::{Data, SessionWindowed, Windowed};
use crate::node::suppress::{SuppressRules, WhenFull};

/// A key that knows when its window ends.
#[diagnostic::on_unimplemented(
    message = "a table with keys of `{Self}` has no windows that could close",
    note = "put `.windowed_by(..)` before the aggregation, or take `Suppress::until_time_limit(..)`"
)]
pub trait WindowEnd {
    /// The end of the window, in milliseconds.
    fn window_end(&self) -> i64;
}

impl<K> WindowEnd for Windowed<K> {
    fn window_end(&self) -> i64 {
        self.window.end
    }
}

impl<K> WindowEnd for SessionWindowed<K> {
    fn window_end(&self) -> i64 {
        self.window.end
    }
}

/// When updates of a table go on, and how many may wait until then.
#[derive(Clone)]
pub struct Suppress<K> {
    pub(crate) until_window_closes: bool,
    pub(crate) without_changelog: bool,
    pub(crate) changelog: Vec<(String, String)>,
    time_of: Arc<dyn Fn(&K, Timestamp) -> i64 + Send + Sync>,
    wait_ms: i64,
    max_records: u64,
    max_bytes: u64,
    when_full: WhenFull,
}

impl<K: WindowEnd + Data> Suppress<K> {
    /// One result a window, when it is closed. Deletes are never sent.
    pub fn until_window_closes() -> Self {
        Suppress { until_window_closes: true, time_of: Arc::new(|key: &K, _| key.window_end()), ..Self::plain() }
    }
}

impl<K: Data> Suppress<K> {
    fn plain() -> Self {
        Suppress {
            until_window_closes: false,
            without_changelog: false,
            changelog: Vec::new(),
            time_of: Arc::new(|_, timestamp| timestamp.0),
            wait_ms: 0,
            max_records: u64::MAX,
            max_bytes: u64::MAX,
            when_full: WhenFull::Fail,
        }
    }

    /// At most one update of a key in this time, counted from the first that waits. When the buffer is full, the oldest go on.
    pub fn until_time_limit(wait: Duration) -> Self {
        Suppress { wait_ms: Timestamp::from(wait).0, when_full: WhenFull::EmitEarly, ..Self::plain() }
    }

    /// How many keys may wait. Default: any number.
    #[must_use]
    pub fn max_records(mut self, records: u64) -> Self {
        self.max_records = records;
        self
    }

    /// How many bytes may wait, as Kafka Streams counts them. Default: any number.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// A full buffer stops the task.
    #[must_use]
    pub fn fail_when_full(mut self) -> Self {
        self.when_full = WhenFull::Fail;
        self
    }

    /// A full buffer sends its oldest updates early. Not for results of closed windows, of which there is one each.
    #[must_use]
    pub fn emit_early_when_full(mut self) -> Self {
        self.when_full = WhenFull::EmitEarly;
        self
    }

    /// Without a changelog: what waits is gone with the task.
    #[must_use]
    pub fn without_changelog(mut self) -> Self {
        self.without_changelog = true;
        self
    }

    /// With this setting for the changelog topic.
    #[must_use]
    pub fn changelog_setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.changelog.push((name.into(), value.into()));
        self
    }

    pub(crate) fn emits_early(&self) -> bool {
        self.when_full == WhenFull::EmitEarly
    }

    /// What the node goes by; the grace is that of the windows above.
    pub(crate) fn rules(&self, grace_ms: Option<i64>) -> SuppressRules<K> {
        SuppressRules {
            time_of: self.time_of.clone(),
            wait_ms: if self.until_window_closes { grace_ms.unwrap_or(0) } else { self.wait_ms },
            max_records: self.max_records,
            max_bytes: self.max_bytes,
            when_full: self.when_full,
            drop_tombstones: self.until_window_closes,
        }
    }
}
