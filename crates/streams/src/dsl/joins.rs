//! How far apart two records may be to be joined, and what their stores are like.

use std::time::Duration;

use tidewater_types::Timestamp;

use crate::graph::JoinStore;
use crate::node::stream_join::JoinSpan;

/// The window of a stream-stream join, and the options of its stores.
#[derive(Clone, Debug)]
pub struct JoinWindows {
    pub(crate) span: JoinSpan,
    pub(crate) store_name: Option<String>,
    pub(crate) left_store: JoinStore,
    pub(crate) right_store: JoinStore,
    pub(crate) without_changelog: bool,
    pub(crate) changelog: Vec<(String, String)>,
}

impl JoinWindows {
    /// Joins records at most this far apart, whichever comes first.
    pub fn of(difference: Duration) -> Self {
        let difference = Timestamp::from(difference).0;
        JoinWindows {
            span: JoinSpan { before_ms: difference, after_ms: difference, grace_ms: 0 },
            store_name: None,
            left_store: JoinStore::default(),
            right_store: JoinStore::default(),
            without_changelog: false,
            changelog: Vec::new(),
        }
    }

    /// How much earlier than the left record the right one may be.
    #[must_use]
    pub fn before(mut self, difference: Duration) -> Self {
        self.span.before_ms = Timestamp::from(difference).0;
        self
    }

    /// How much later than the left record the right one may be.
    #[must_use]
    pub fn after(mut self, difference: Duration) -> Self {
        self.span.after_ms = Timestamp::from(difference).0;
        self
    }

    /// From where to where the right record may lie, in milliseconds after the left one's time; negative for before it.
    ///
    /// `between_ms(5, 10)` joins a left record with right ones that come 5 to 10 ms later.
    #[must_use]
    pub fn between_ms(mut self, from: i64, to: i64) -> Self {
        (self.span.before_ms, self.span.after_ms) = (from.saturating_neg(), to);
        self
    }

    /// How long after its window's end a record may still come.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.span.grace_ms = Timestamp::from(grace).0;
        self
    }

    /// Begins the names of the join's stores, and so of their changelogs.
    #[must_use]
    pub fn store(mut self, name: impl Into<String>) -> Self {
        self.store_name = Some(name.into());
        self
    }

    /// The name of the left side's store, to the letter, in place of one that [`JoinWindows::store`] begins; it begins that of the
    /// records without a partner.
    #[must_use]
    pub fn left_store(mut self, name: impl Into<String>) -> Self {
        self.left_store.name = Some(name.into());
        self
    }

    /// The name of the right side's store, to the letter, in place of one that [`JoinWindows::store`] begins.
    #[must_use]
    pub fn right_store(mut self, name: impl Into<String>) -> Self {
        self.right_store.name = Some(name.into());
        self
    }

    /// Keeps waiting records in memory, not in RocksDB.
    #[must_use]
    pub fn in_memory(self) -> Self {
        self.left_in_memory().right_in_memory()
    }

    /// Keeps the left side's records in memory, and with them those that are still without a partner.
    #[must_use]
    pub fn left_in_memory(mut self) -> Self {
        self.left_store.in_memory = Some(true);
        self
    }

    /// Keeps the right side's records in memory.
    #[must_use]
    pub fn right_in_memory(mut self) -> Self {
        self.right_store.in_memory = Some(true);
        self
    }

    /// Keeps waiting records in RocksDB, whatever [`BuildSettings::in_memory_stores`](crate::BuildSettings) says.
    #[must_use]
    pub fn on_disk(self) -> Self {
        self.left_on_disk().right_on_disk()
    }

    /// Keeps the left side's records in RocksDB, and with them those that are still without a partner.
    #[must_use]
    pub fn left_on_disk(mut self) -> Self {
        self.left_store.in_memory = Some(false);
        self
    }

    /// Keeps the right side's records in RocksDB.
    #[must_use]
    pub fn right_on_disk(mut self) -> Self {
        self.right_store.in_memory = Some(false);
        self
    }

    /// Without changelogs: waiting records are gone with the store's folder.
    #[must_use]
    pub fn without_changelog(mut self) -> Self {
        self.without_changelog = true;
        self
    }

    /// With this setting for the changelog topics.
    #[must_use]
    pub fn changelog_setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.changelog.push((name.into(), value.into()));
        self
    }
}
