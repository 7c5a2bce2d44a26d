//! A codec as a value, for bytes that depend on run-time settings.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::{CodecError, Data};

/// Writes and reads values of `T`.
pub trait Codec<T>: Send + Sync {
    /// Appends the value's bytes.
    fn write(&self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Reads a value from all of `bytes`.
    fn read(&self, bytes: &[u8]) -> Result<T, CodecError>;

    /// How many bytes at the end of this key do not count for its partition; see [`Data::PARTITION_SUFFIX`].
    fn partition_suffix(&self, _key: &T) -> usize {
        0
    }
}

/// A shared [`Codec`]: by default the type's own.
pub struct Serde<T>(Arc<dyn Codec<T>>);

impl<T> Serde<T> {
    /// A serde of its own.
    pub fn new(codec: impl Codec<T> + 'static) -> Self {
        Serde(Arc::new(codec))
    }

    /// Appends the value's bytes.
    pub fn write(&self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        self.0.write(value, out)
    }

    /// The value's bytes.
    pub fn to_bytes(&self, value: &T) -> Result<Vec<u8>, CodecError> {
        // Room for most keys and numbers, and for what a store puts behind a key.
        let mut out = Vec::with_capacity(32);
        self.0.write(value, &mut out)?;
        Ok(out)
    }

    /// How many bytes at the end of this key do not count for its partition.
    pub fn partition_suffix(&self, key: &T) -> usize {
        self.0.partition_suffix(key)
    }

    /// Reads a value from all of `bytes`.
    pub fn read(&self, bytes: &[u8]) -> Result<T, CodecError> {
        self.0.read(bytes)
    }
}

impl<T> Clone for Serde<T> {
    fn clone(&self) -> Self {
        Serde(self.0.clone())
    }
}

impl<T> fmt::Debug for Serde<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serde<{}>", std::any::type_name::<T>())
    }
}

struct OfType<T>(PhantomData<fn() -> T>);

impl<T: Data> Codec<T> for OfType<T> {
    fn write(&self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        value.write(out)
    }

    fn read(&self, bytes: &[u8]) -> Result<T, CodecError> {
        T::read(bytes)
    }

    fn partition_suffix(&self, _: &T) -> usize {
        T::PARTITION_SUFFIX
    }
}

/// The type's own bytes.
impl<T: Data> Default for Serde<T> {
    fn default() -> Self {
        Serde::new(OfType(PhantomData))
    }
}
