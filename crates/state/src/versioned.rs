//! What is particular to versioned stores: each key has the versions of its value, one after the other in time.
//!
//! The newest version stands apart, so that it is one look-up away. An older one is found by the end of its validity: the one
//! that holds at a time is the first that ends later, if it begins no later. Which versions there are after which puts is that
//! of Kafka Streams (KIP-889), to the quirks: a deletion is itself a version, except where it is of the very time of a newest
//! version without predecessor. Versions whose end lies further back than the history are gone, in steps of segments.

use std::ops::ControlFlow;

use tidewater_types::Timestamp;

use crate::schema::{history_key, latest_key, split_history_key, split_latest_key};
use crate::{ChangelogSink, KeyRange, StateError, Store};

/// A version of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The time from which it holds.
    pub valid_from: i64,
    /// The time from which another one holds; `None` for the newest.
    pub valid_to: Option<i64>,
    /// The value's bytes.
    pub value: Vec<u8>,
}

/// What became of a put into a versioned store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionPut {
    /// It is the newest version of its key.
    Latest,
    /// It holds until this time, when the next version begins.
    Until(i64),
    /// It is older than the history, and was not kept.
    TooOld,
}

/// A version that another one replaced.
struct Older {
    valid_from: i64,
    valid_to: i64,
    /// None for a deletion.
    value: Option<Vec<u8>>,
}

impl Store {
    /// Puts a version, or a deletion, from a time on. The change is logged, kept or not.
    pub fn put_version(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        timestamp: i64,
        changelog: &mut dyn ChangelogSink,
    ) -> Result<VersionPut, StateError> {
        let put = self.put_version_here(key, value, timestamp)?;
        self.log_change(key, value, Timestamp(timestamp), changelog);
        Ok(put)
    }

    /// Puts a version without logging it.
    pub(crate) fn put_version_here(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        timestamp: i64,
    ) -> Result<VersionPut, StateError> {
        if timestamp < self.history_begins() {
            return Ok(VersionPut::TooOld);
        }
        if let Some(expiry) = &mut self.expiry {
            expiry.note(timestamp);
            if let Some(dead_before) = expiry.sweep_due() {
                self.sweep(dead_before);
            }
        }
        let latest = self.get_latest(key)?;
        if let Some(latest) = &latest
            && timestamp >= latest.valid_from
        {
            if timestamp > latest.valid_from {
                self.write_older(key, latest.valid_from, timestamp, Some(&latest.value))?;
            }
            self.write_latest(key, value, timestamp)?;
            return Ok(VersionPut::Latest);
        }
        // The version that holds at this time ends there; the new one takes over what follows.
        let next = self.first_ending_after(key, timestamp)?;
        let valid_to = match next {
            Some(holds) if holds.valid_from <= timestamp => {
                if holds.valid_from < timestamp {
                    self.write_older(key, holds.valid_from, timestamp, holds.value.as_deref())?;
                }
                holds.valid_to
            }
            Some(later) => later.valid_from,
            None => match latest {
                Some(latest) => latest.valid_from,
                None if value.is_some() => {
                    self.write_latest(key, value, timestamp)?;
                    return Ok(VersionPut::Latest);
                }
                None => {
                    // The end of the version before says already that there is none from here on.
                    if self.get(&history_key(key, timestamp), |_| ())?.is_none() {
                        self.write_older(key, timestamp, timestamp, None)?;
                    }
                    return Ok(VersionPut::Latest);
                }
            },
        };
        self.write_older(key, timestamp, valid_to, value)?;
        Ok(VersionPut::Until(valid_to))
    }

    /// The newest version of a key.
    pub fn get_latest(&mut self, key: &[u8]) -> Result<Option<Version>, StateError> {
        let read = |raw: &[u8]| {
            let (time, value) = raw.split_first_chunk::<8>()?;
            Some(Version { valid_from: i64::from_be_bytes(*time), valid_to: None, value: value.to_vec() })
        };
        match self.get(&latest_key(key), read)? {
            Some(None) => Err(self.malformed(key)),
            found => Ok(found.flatten()),
        }
    }

    /// The version of a key that holds at a time. Before the history only the newest one is found, if it holds since then.
    pub fn get_as_of(&mut self, key: &[u8], timestamp: i64) -> Result<Option<Version>, StateError> {
        if let Some(latest) = self.get_latest(key)?.filter(|latest| latest.valid_from <= timestamp) {
            return Ok(Some(latest));
        }
        if timestamp < self.history_begins() {
            return Ok(None);
        }
        let found = self.first_ending_after(key, timestamp)?;
        let found = found.filter(|version| version.valid_from <= timestamp);
        Ok(found.and_then(|Older { valid_from, valid_to, value }| {
            Some(Version { valid_from, valid_to: Some(valid_to), value: value? })
        }))
    }

    /// All versions of all keys that are not gone, by key and time; deletions are left out.
    pub fn all_versions(&mut self) -> Result<Vec<(Vec<u8>, Version)>, StateError> {
        let dead_before = self.expiry.as_ref().map_or(i64::MIN, crate::window::Expiry::dead_before);
        let mut all = Vec::new();
        let mut malformed = None;
        self.visit(&KeyRange::all(), &mut |full, raw| {
            let Some((time, rest)) = raw.split_first_chunk::<8>() else {
                malformed = Some(full.to_vec());
                return ControlFlow::Break(());
            };
            let valid_from = i64::from_be_bytes(*time);
            if let Some(key) = split_latest_key(full) {
                all.push((key.to_vec(), Version { valid_from, valid_to: None, value: rest.to_vec() }));
            } else if let Some((key, valid_to)) = split_history_key(full)
                && let Some((1, value)) = rest.split_first()
                && valid_to >= dead_before
            {
                let version = Version { valid_from, valid_to: Some(valid_to), value: value.to_vec() };
                all.push((key.to_vec(), version));
            }
            ControlFlow::Continue(())
        })?;
        if let Some(key) = malformed {
            return Err(self.malformed(&key));
        }
        all.sort_by(|(a, first), (b, second)| (a, first.valid_from).cmp(&(b, second.valid_from)));
        Ok(all)
    }

    /// The earliest time that the history covers.
    fn history_begins(&self) -> i64 {
        self.expiry.as_ref().map_or(i64::MIN, |expiry| expiry.live_from().saturating_sub(1))
    }

    /// The first older version of a key that ends after a time.
    fn first_ending_after(&mut self, key: &[u8], timestamp: i64) -> Result<Option<Older>, StateError> {
        let Some(from) = timestamp.checked_add(1) else { return Ok(None) };
        let range = KeyRange::inclusive(history_key(key, from.max(0)), history_key(key, i64::MAX));
        let mut found = None;
        self.visit(&range, &mut |full, raw| {
            // Longer keys may lie between.
            let Some((_, valid_to)) = split_history_key(full).filter(|(own, _)| *own == key) else {
                return ControlFlow::Continue(());
            };
            let parts = raw.split_first_chunk::<8>().and_then(|(time, rest)| Some((time, rest.split_first()?)));
            found = Some(parts.map(|(time, (flag, value))| {
                let value = (*flag == 1).then(|| value.to_vec());
                Older { valid_from: i64::from_be_bytes(*time), valid_to, value }
            }));
            ControlFlow::Break(())
        })?;
        match found {
            Some(None) => Err(self.malformed(key)),
            found => Ok(found.flatten()),
        }
    }

    fn write_latest(&mut self, key: &[u8], value: Option<&[u8]>, timestamp: i64) -> Result<(), StateError> {
        let raw = value.map(|value| [&timestamp.to_be_bytes()[..], value].concat());
        self.write_engine(&latest_key(key), raw.as_deref(), false).map(drop)
    }

    fn write_older(
        &mut self,
        key: &[u8],
        valid_from: i64,
        valid_to: i64,
        value: Option<&[u8]>,
    ) -> Result<(), StateError> {
        let mut raw = valid_from.to_be_bytes().to_vec();
        raw.push(u8::from(value.is_some()));
        raw.extend_from_slice(value.unwrap_or_default());
        self.write_engine(&history_key(key, valid_to), Some(&raw), false).map(drop)
    }
}
