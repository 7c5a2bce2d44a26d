//! Looking into a store.

use tidewater_state::{
    Backend, KeyRange, MemoryBackend, StateError, Store, StoreHeaders, StoreKind, StoreMemory, StoreSpec, split_headers,
};
use tidewater_types::Timestamp;

use crate::driver::SentRecord;

/// An entry of a store, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreEntry {
    /// The key's bytes.
    pub key: Vec<u8>,
    /// The value's bytes.
    pub value: Vec<u8>,
    /// The value's timestamp, in stores that keep it.
    pub timestamp: Option<Timestamp>,
    /// Start of the window or session.
    pub start: Option<i64>,
    /// End of the session.
    pub end: Option<i64>,
    /// The time from which another version of a versioned store holds; `None` for the newest.
    pub valid_to: Option<i64>,
}

/// The contents of a store, in its order.
#[derive(Clone, Debug)]
pub struct StoreView {
    /// What the store is.
    pub spec: StoreSpec,
    /// Its entries.
    pub entries: Vec<StoreEntry>,
}

impl StoreView {
    /// What a store of this description holds once it is restored from the records of its changelog.
    ///
    /// # Errors
    /// When a record is not in the layout of such a store's changelog.
    pub fn restored(spec: &StoreSpec, changelog: &[SentRecord]) -> Result<Self, StateError> {
        let engine = MemoryBackend.open(spec)?;
        let mut store = Store::new(spec.clone(), 0, engine, StoreMemory::default());
        for record in changelog {
            let (key, value) = (record.key.as_deref().unwrap_or_default(), record.value.as_deref());
            store.restore(key, value, record.timestamp.unwrap_or(Timestamp::NONE), &record.headers)?;
        }
        Self::read(&mut store)
    }

    pub(crate) fn read(store: &mut Store) -> Result<Self, StateError> {
        let spec = store.spec().clone();
        let stamped = spec.is_timestamped();
        let with_headers = spec.headers == StoreHeaders::Kept;
        let plain = |raw: &[u8]| match split_headers(raw) {
            Some((_, value)) if with_headers => value.to_vec(),
            _ => raw.to_vec(),
        };
        let split = |raw: Vec<u8>| match raw.split_first_chunk::<8>() {
            Some((time, value)) if stamped => (Some(Timestamp(i64::from_be_bytes(*time))), plain(value)),
            _ => (None, plain(&raw)),
        };
        let entries = match spec.kind {
            StoreKind::Window { .. } => store
                .fetch_all(i64::MIN, i64::MAX)?
                .into_iter()
                .map(|entry| {
                    let (timestamp, value) = split(entry.value);
                    StoreEntry { key: entry.key, value, timestamp, start: Some(entry.start), end: None, valid_to: None }
                })
                .collect(),
            StoreKind::Session { .. } => store
                .all_sessions()?
                .into_iter()
                .map(|entry| StoreEntry {
                    key: entry.key,
                    value: plain(&entry.value),
                    timestamp: None,
                    start: Some(entry.start),
                    end: Some(entry.end),
                    valid_to: None,
                })
                .collect(),
            StoreKind::Versioned { .. } => store
                .all_versions()?
                .into_iter()
                .map(|(key, version)| StoreEntry {
                    key,
                    value: version.value,
                    timestamp: Some(Timestamp(version.valid_from)),
                    start: None,
                    end: None,
                    valid_to: version.valid_to,
                })
                .collect(),
            StoreKind::KeyValue { .. } | StoreKind::Internal => store
                .scan(&KeyRange::all(), false)?
                .into_iter()
                .map(|(key, raw)| {
                    let (timestamp, value) = split(raw);
                    StoreEntry { key, value, timestamp, start: None, end: None, valid_to: None }
                })
                .collect(),
        };
        Ok(StoreView { spec, entries })
    }
}
