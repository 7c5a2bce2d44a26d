//! What flows between tables: a row's new value with the one it replaces.

use std::sync::Arc;

use tidewater_types::Timestamp;

use crate::codec::{Codec, CodecError, Data, Serde};
use crate::error::TaskError;
use crate::task::{Core, DropReason, FlushListener, StoreId};

/// A change of a table's row. Both sides missing stands for a delete of a row that was never there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change<V> {
    pub new: Option<V>,
    pub old: Option<V>,
    /// Whether nothing later is known of the row; only versioned tables send late changes on.
    pub is_latest: bool,
}

impl<V> Change<V> {
    /// A change to the latest that is known of the row.
    pub fn new(new: Option<V>, old: Option<V>) -> Self {
        Change { new, old, is_latest: true }
    }
}

/// Sends what leaves a store's record cache on as a change against what the store holds. `read` reads a value of the store and
/// its timestamp, if it has one; `send` gets the full key, the change, and the time of the new value, or else the record's.
pub(crate) fn change_listener<V: 'static>(
    store: StoreId,
    send_old: bool,
    read: impl Fn(&[u8]) -> Result<(V, Option<Timestamp>), CodecError> + Send + Sync + 'static,
    send: impl Fn(&mut Core, &[u8], Change<V>, Timestamp) -> Result<(), TaskError> + Send + Sync + 'static,
) -> FlushListener {
    Arc::new(move |core, key, value| {
        let new = value.map(&read).transpose()?;
        let mut old = None;
        if send_old || new.is_none() {
            old = core.stores[store].get_flushed(key, &read)?.transpose()?;
            if old.is_none() && new.is_none() {
                return Ok(());
            }
        }
        if !core.write_through(store, key, value)? {
            core.drop_record(DropReason::Expired);
        }
        let timestamp = new.as_ref().and_then(|(_, timestamp)| *timestamp).unwrap_or(core.context.timestamp);
        let change = Change::new(new.map(|(new, _)| new), old.filter(|_| send_old).map(|(old, _)| old));
        send(core, key, change, timestamp)
    })
}

/// The bytes of a change in a table's repartition topic: `NEW 01`, `OLD 00`, or the length of NEW as a zig-zag varint, NEW,
/// OLD, `02`.
pub(crate) struct ChangeCodec<V>(pub Serde<V>);

const OLD_ONLY: u8 = 0;
const NEW_ONLY: u8 = 1;
const BOTH: u8 = 2;

impl<V: Data> Codec<Change<V>> for ChangeCodec<V> {
    fn write(&self, change: &Change<V>, out: &mut Vec<u8>) -> Result<(), CodecError> {
        match (&change.new, &change.old) {
            (Some(new), Some(old)) => {
                let new = self.0.to_bytes(new)?;
                put_varint(out, new.len() as i64);
                out.extend_from_slice(&new);
                self.0.write(old, out)?;
                out.push(BOTH);
            }
            (Some(new), None) => {
                self.0.write(new, out)?;
                out.push(NEW_ONLY);
            }
            (None, Some(old)) => {
                self.0.write(old, out)?;
                out.push(OLD_ONLY);
            }
            (None, None) => return Err(CodecError::new("change", "both the new and the old value are null")),
        }
        Ok(())
    }

    fn read(&self, bytes: &[u8]) -> Result<Change<V>, CodecError> {
        let malformed = || CodecError::new("change", format!("{} bytes that are not in the layout", bytes.len()));
        let (&flag, rest) = bytes.split_last().ok_or_else(malformed)?;
        match flag {
            NEW_ONLY => Ok(Change::new(Some(self.0.read(rest)?), None)),
            OLD_ONLY => Ok(Change::new(None, Some(self.0.read(rest)?))),
            BOTH => {
                let (length, rest) = take_varint(rest).ok_or_else(malformed)?;
                let length = usize::try_from(length).map_err(|_| malformed())?;
                let (new, old) = rest.split_at_checked(length).ok_or_else(malformed)?;
                Ok(Change::new(Some(self.0.read(new)?), Some(self.0.read(old)?)))
            }
            _ => Err(malformed()),
        }
    }
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn take_varint(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut value = 0u64;
    for (index, &byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some(((value >> 1) as i64 ^ -((value & 1) as i64), &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(new: Option<&str>, old: Option<&str>) -> Vec<u8> {
        let change = Change::new(new.map(str::to_owned), old.map(str::to_owned));
        let codec = ChangeCodec::<String>(Serde::default());
        let mut out = Vec::new();
        codec.write(&change, &mut out).unwrap();
        assert_eq!(codec.read(&out).unwrap(), change);
        out
    }

    /// From the recorded bytes of Kafka Streams.
    #[test]
    fn the_bytes_are_those_of_kafka_streams() {
        assert_eq!(bytes(Some("new"), None), b"new\x01");
        assert_eq!(bytes(None, Some("old")), b"old\x00");
        assert_eq!(bytes(Some("new"), Some("old")), b"\x06newold\x02");
        assert_eq!(bytes(Some(""), Some("old")), b"\x00old\x02");
        assert_eq!(bytes(Some("n"), Some("")), b"\x02n\x02");
        let long = "0123456789".repeat(20);
        assert_eq!(bytes(Some(&long), Some("old"))[..2], [0x90, 0x03]);
    }
}
