//! The bottom of a store: sorted bytes.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::StateError;

/// A stretch of keys, by bytes: from `from` on, up to but without `to`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key.
    pub from: Vec<u8>,
    /// The key behind the last one; `None` for no end.
    pub to: Option<Vec<u8>>,
}

impl KeyRange {
    /// All keys.
    pub fn all() -> Self {
        KeyRange::default()
    }

    /// From one key up to and with another one.
    pub fn inclusive(from: Vec<u8>, mut to: Vec<u8>) -> Self {
        to.push(0); // The next key in byte order.
        KeyRange { from, to: Some(to) }
    }

    /// The keys that begin with a prefix: up to the first one that is larger than all of them.
    pub fn with_prefix(prefix: &[u8]) -> Self {
        let end = prefix.iter().rposition(|&byte| byte < u8::MAX).map(|last| {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end
        });
        KeyRange { from: prefix.to_vec(), to: end }
    }

    /// Whether a key lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.from.as_slice() && self.to.as_deref().is_none_or(|to| key < to)
    }

    /// Whether no key can lie in the range.
    pub fn is_empty(&self) -> bool {
        self.to.as_deref().is_some_and(|to| to <= self.from.as_slice())
    }
}

/// Called with each key and value of a scan; breaking ends it.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// The bottom of a store.
pub enum Engine {
    /// Nothing: the store's rows are all there is. After a roll-back it is restored from the changelog.
    Memory,
    /// What was committed, through [`crate::Backend::commit`]; writes wait in the store until then.
    Committed(Box<dyn Committed>),
    /// What another task commits: a global store, seen by the tasks that read it.
    ReadOnly(Arc<dyn Committed>),
}

impl Engine {
    /// Hands the value of `key` to `read`, if there is one.
    pub(crate) fn get<R>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, StateError> {
        match self {
            Engine::Memory => Ok(None),
            Engine::Committed(engine) => get_from(&**engine, key, read),
            Engine::ReadOnly(engine) => get_from(&**engine, key, read),
        }
    }

    /// How many entries there are, about.
    pub(crate) fn approximate_count(&self) -> Result<u64, StateError> {
        match self {
            Engine::Memory => Ok(0),
            Engine::Committed(engine) => engine.approximate_count(),
            Engine::ReadOnly(engine) => engine.approximate_count(),
        }
    }

    /// Visits the entries of a range in the order of their keys' bytes, or backwards.
    pub(crate) fn scan(&self, range: &KeyRange, reverse: bool, visit: Visit<'_>) -> Result<(), StateError> {
        match self {
            Engine::Memory => Ok(()),
            Engine::Committed(engine) => engine.scan(range, reverse, visit),
            Engine::ReadOnly(engine) => engine.scan(range, reverse, visit),
        }
    }
}

fn get_from<R>(engine: &dyn Committed, key: &[u8], read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, StateError> {
    let (mut read, mut result) = (Some(read), None);
    engine.get(key, &mut |value| result = read.take().map(|read| read(value)))?;
    Ok(result)
}

/// Sorted bytes as of the last commit.
pub trait Committed: Send + Sync {
    /// Hands the value of `key` to `read`, if there is one.
    fn get(&self, key: &[u8], read: &mut dyn FnMut(&[u8])) -> Result<(), StateError>;

    /// Visits the entries of a range in the order of their keys' bytes, or backwards.
    fn scan(&self, range: &KeyRange, reverse: bool, visit: Visit<'_>) -> Result<(), StateError>;

    /// How many entries there are, about.
    fn approximate_count(&self) -> Result<u64, StateError>;

    /// The newest time that a commit named for this store, as it was when the engine was opened.
    fn newest_time(&self) -> NewestTime;
}

/// What is known of the times of a store's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewestTime {
    /// There are no entries.
    Empty,
    /// None is later.
    At(i64),
    /// There are entries, and nothing is known of their times.
    Unknown,
}
