//! Keys of windows and sessions.

use super::{Codec, CodecError, Data, Serde};

/// A stretch of event time, in milliseconds: from `start` up to `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// The first moment.
    pub start: i64,
    /// The moment behind the last one; of a session, its last record's time.
    pub end: i64,
}

/// A key in a time window.
///
/// Its bytes are those of the key, then the start (8). The end is not written: read back without a serde that knows the
/// window's size ([`Windowed::serde`]), it is `i64::MAX`, as in Kafka Streams.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Windowed<K> {
    /// The key.
    pub key: K,
    /// The window.
    pub window: Window,
}

/// A key in a session. Its bytes are those of the key, then the session's end (8) and start (8).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionWindowed<K> {
    /// The key.
    pub key: K,
    /// The session; both ends belong to it.
    pub window: Window,
}

impl<K: Data> Windowed<K> {
    /// The serde of windows of one size over the serde of their keys.
    pub fn serde(inner: Serde<K>, size_ms: i64) -> Serde<Self> {
        Serde::new(WindowedCodec { inner, size_ms })
    }
}

impl<K: Data> SessionWindowed<K> {
    /// The serde of sessions over the serde of their keys.
    pub fn serde(inner: Serde<K>) -> Serde<Self> {
        Serde::new(SessionCodec { inner })
    }
}

impl<K: Data> Data for Windowed<K> {
    const PARTITION_SUFFIX: usize = 8;

    fn write(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        self.key.write(out)?;
        out.extend_from_slice(&self.window.start.to_be_bytes());
        Ok(())
    }

    fn read(bytes: &[u8]) -> Result<Self, CodecError> {
        let (key, [start]) = split::<1>(bytes)?;
        Ok(Windowed { key: K::read(key)?, window: Window { start, end: i64::MAX } })
    }
}

impl<K: Data> Data for SessionWindowed<K> {
    const PARTITION_SUFFIX: usize = 16;

    fn write(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        self.key.write(out)?;
        out.extend_from_slice(&self.window.end.to_be_bytes());
        out.extend_from_slice(&self.window.start.to_be_bytes());
        Ok(())
    }

    fn read(bytes: &[u8]) -> Result<Self, CodecError> {
        let (key, [end, start]) = split::<2>(bytes)?;
        Ok(SessionWindowed { key: K::read(key)?, window: Window { start, end } })
    }
}

struct WindowedCodec<K> {
    inner: Serde<K>,
    size_ms: i64,
}

impl<K: Data> Codec<Windowed<K>> for WindowedCodec<K> {
    fn write(&self, value: &Windowed<K>, out: &mut Vec<u8>) -> Result<(), CodecError> {
        self.inner.write(&value.key, out)?;
        out.extend_from_slice(&value.window.start.to_be_bytes());
        Ok(())
    }

    fn read(&self, bytes: &[u8]) -> Result<Windowed<K>, CodecError> {
        let (key, [start]) = split::<1>(bytes)?;
        let end = start.saturating_add(self.size_ms);
        Ok(Windowed { key: self.inner.read(key)?, window: Window { start, end } })
    }

    fn partition_suffix(&self, _: &Windowed<K>) -> usize {
        8
    }
}

struct SessionCodec<K> {
    inner: Serde<K>,
}

impl<K: Data> Codec<SessionWindowed<K>> for SessionCodec<K> {
    fn write(&self, value: &SessionWindowed<K>, out: &mut Vec<u8>) -> Result<(), CodecError> {
        self.inner.write(&value.key, out)?;
        out.extend_from_slice(&value.window.end.to_be_bytes());
        out.extend_from_slice(&value.window.start.to_be_bytes());
        Ok(())
    }

    fn read(&self, bytes: &[u8]) -> Result<SessionWindowed<K>, CodecError> {
        let (key, [end, start]) = split::<2>(bytes)?;
        Ok(SessionWindowed { key: self.inner.read(key)?, window: Window { start, end } })
    }

    fn partition_suffix(&self, _: &SessionWindowed<K>) -> usize {
        16
    }
}

/// Takes `N` numbers off the end.
fn split<const N: usize>(bytes: &[u8]) -> Result<(&[u8], [i64; N]), CodecError> {
    let cut = || CodecError::new("windowed key", format!("{} bytes, expected at least {}", bytes.len(), 8 * N));
    let (key, raw) = bytes.split_at_checked(bytes.len().checked_sub(8 * N).ok_or_else(cut)?).ok_or_else(cut)?;
    let mut numbers = [0; N];
    for (number, raw) in numbers.iter_mut().zip(raw.chunks_exact(8)) {
        *number = i64::from_be_bytes(raw.try_into().map_err(|_| cut())?);
    }
    Ok((key, numbers))
}
