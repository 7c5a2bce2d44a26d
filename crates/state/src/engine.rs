//! The bottom of a store: sorted bytes.

use std::ops::ControlFlow;

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

/// Sorted bytes, with the writes since the last commit visible to reads.
pub trait Engine: Send {
    /// Hands the value of `key` to `read`, if there is one; says whether there was.
    fn get(&self, key: &[u8], read: &mut dyn FnMut(&[u8])) -> Result<bool, StateError>;

    /// Puts a value, or deletes it.
    fn put(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError>;

    /// Visits the entries of a range in the order of their keys' bytes, or backwards.
    fn scan(&self, range: &KeyRange, reverse: bool, visit: Visit<'_>) -> Result<(), StateError>;

    /// Hands over the writes since the last commit, if this engine holds them back until then.
    fn take_uncommitted(&mut self) -> Vec<(Vec<u8>, Option<Vec<u8>>)>;

    /// Bytes of writes that wait for a commit.
    fn uncommitted_bytes(&self) -> usize;

    /// Drops the writes since the last commit, if this engine holds them back.
    fn roll_back(&mut self);
}
