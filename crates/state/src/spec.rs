//! What a store is, as data: the plan carries it, the backend and the changelog are made after it.

use std::time::Duration;

/// How long windows or sessions are kept, in milliseconds of event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Milliseconds behind the newest event time that the store still answers for.
    pub ms: i64,
}

impl From<Duration> for Retention {
    fn from(duration: Duration) -> Self {
        Retention { ms: i64::try_from(duration.as_millis()).unwrap_or(i64::MAX) }
    }
}

/// The kinds of stores.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreKind {
    /// Key to value.
    KeyValue {
        /// Whether the local value begins with the record's timestamp (8 bytes).
        timestamped: bool,
    },
    /// Key and window start to value.
    Window {
        /// Whether the local value begins with the record's timestamp (8 bytes).
        timestamped: bool,
        /// How long windows are kept.
        retention: Retention,
        /// Length of a window in milliseconds.
        size_ms: i64,
        /// Whether one key and start may have several values, as stream-stream joins need.
        duplicates: bool,
    },
    /// Key and session to value.
    Session {
        /// How long sessions are kept.
        retention: Retention,
    },
    /// Key to the versions of its value, each from a time on.
    Versioned {
        /// How long versions are kept after others have replaced them.
        history: Retention,
        /// Versions leave in steps of this many milliseconds.
        segment_ms: i64,
    },
    /// Any keys, for operators that lay out their own: buffers of suppress, unmatched join records.
    Internal,
}

/// Whether and how changes are written to a changelog topic.
#[derive(Clone, Debug, PartialEq)]
pub enum Logging {
    /// To a topic of these settings beyond Kafka Streams' own.
    On(Vec<(String, String)>),
    /// Not at all.
    Off,
}

/// What becomes of the headers of the records that change a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreHeaders {
    /// Neither the store nor its changelog has them.
    #[default]
    Dropped,
    /// The changelog has them.
    Logged,
    /// Each value has headers of its own, which are those of its record in the changelog (KIP-1271); a deletion is logged with
    /// those of the record at work.
    Kept,
}

/// A store's description.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreSpec {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: StoreKind,
    /// Whether it lives in memory, not in RocksDB.
    pub in_memory: bool,
    /// Whether the record cache stands before it.
    pub cached: bool,
    /// Its changelog.
    pub logging: Logging,
    /// What becomes of the headers of the records that change it.
    pub headers: StoreHeaders,
    /// How many keys the store has room for, if it is in memory; the least recently used leave first. `None` for no bound.
    pub max_keys: Option<usize>,
    /// How long rows of a timestamped key-value store live, in milliseconds of event time. `None` for ever.
    pub ttl_ms: Option<i64>,
    /// Whether the windows of all keys come by their times, as Kafka Streams keeps them where results are sent when windows
    /// close.
    pub time_ordered: bool,
}

impl StoreSpec {
    /// A key-value store that is persistent, not cached, and logged.
    pub fn new(name: impl Into<String>, kind: StoreKind) -> Self {
        StoreSpec {
            name: name.into(),
            kind,
            in_memory: false,
            cached: false,
            logging: Logging::On(Vec::new()),
            headers: StoreHeaders::Dropped,
            max_keys: None,
            ttl_ms: None,
            time_ordered: false,
        }
    }

    /// Whether the store has a changelog topic.
    pub fn is_logged(&self) -> bool {
        self.logging != Logging::Off
    }

    /// Whether one key and window start may have several values.
    pub fn has_duplicates(&self) -> bool {
        matches!(self.kind, StoreKind::Window { duplicates: true, .. })
    }

    /// Whether local values begin with a timestamp.
    pub fn is_timestamped(&self) -> bool {
        matches!(self.kind, StoreKind::KeyValue { timestamped: true } | StoreKind::Window { timestamped: true, .. })
    }

    /// The retention, for stores that have one.
    pub fn retention(&self) -> Option<Retention> {
        match self.kind {
            StoreKind::Window { retention, .. } | StoreKind::Session { retention } => Some(retention),
            StoreKind::KeyValue { .. } | StoreKind::Versioned { .. } | StoreKind::Internal => None,
        }
    }

    /// Whether entries leave as time goes on.
    pub fn expires(&self) -> bool {
        self.retention().is_some() || matches!(self.kind, StoreKind::Versioned { .. })
    }
}
