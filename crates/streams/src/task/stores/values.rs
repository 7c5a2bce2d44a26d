//! What stores hold beside plain values, and the layouts: a timestamp (8 bytes), then headers, then the value, as far as there
//! are any. The changelog has the value alone; timestamp and headers are those of its records (KIP-1271).

use tidewater_state::{split_headers, write_headers};
use tidewater_types::{Headers, Timestamp};

use crate::codec::{Codec, CodecError, Data, Serde};

/// A value with the timestamp of the record that it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueAndTimestamp<V> {
    /// The value.
    pub value: V,
    /// Its timestamp.
    pub timestamp: Timestamp,
}

/// A value with a timestamp and headers.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueTimestampHeaders<V> {
    /// The value.
    pub value: V,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// Its headers.
    pub headers: Headers,
}

/// A session's value with headers.
#[derive(Clone, Debug, PartialEq)]
pub struct AggregationWithHeaders<V> {
    /// The value.
    pub value: V,
    /// Its headers.
    pub headers: Headers,
}

/// Writes and reads what a store holds, given the serde of the value in it.
pub(super) struct InStore<V>(pub Serde<V>);

impl<V> Codec<ValueAndTimestamp<V>> for InStore<V> {
    fn write(&self, content: &ValueAndTimestamp<V>, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(&content.timestamp.0.to_be_bytes());
        self.0.write(&content.value, out)
    }

    fn read(&self, bytes: &[u8]) -> Result<ValueAndTimestamp<V>, CodecError> {
        let (timestamp, plain) = split_timestamp(bytes)?;
        Ok(ValueAndTimestamp { value: self.0.read(plain)?, timestamp })
    }
}

impl<V> Codec<ValueTimestampHeaders<V>> for InStore<V> {
    fn write(&self, content: &ValueTimestampHeaders<V>, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(&content.timestamp.0.to_be_bytes());
        write_headers(&content.headers, out);
        self.0.write(&content.value, out)
    }

    fn read(&self, bytes: &[u8]) -> Result<ValueTimestampHeaders<V>, CodecError> {
        let (timestamp, rest) = split_timestamp(bytes)?;
        let (headers, plain) = split_headers(rest).ok_or_else(malformed)?;
        Ok(ValueTimestampHeaders { value: self.0.read(plain)?, timestamp, headers })
    }
}

impl<V> Codec<AggregationWithHeaders<V>> for InStore<V> {
    fn write(&self, content: &AggregationWithHeaders<V>, out: &mut Vec<u8>) -> Result<(), CodecError> {
        write_headers(&content.headers, out);
        self.0.write(&content.value, out)
    }

    fn read(&self, bytes: &[u8]) -> Result<AggregationWithHeaders<V>, CodecError> {
        let (headers, plain) = split_headers(bytes).ok_or_else(malformed)?;
        Ok(AggregationWithHeaders { value: self.0.read(plain)?, headers })
    }
}

macro_rules! as_in_store {
    ($($content:ident),+) => {$(
        /// As stores hold it, the value in its type's own bytes.
        impl<V: Data> Data for $content<V> {
            fn write(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
                InStore(Serde::<V>::default()).write(self, out)
            }

            fn read(bytes: &[u8]) -> Result<Self, CodecError> {
                InStore(Serde::<V>::default()).read(bytes)
            }
        }
    )+};
}

as_in_store!(ValueAndTimestamp, ValueTimestampHeaders, AggregationWithHeaders);

fn split_timestamp(bytes: &[u8]) -> Result<(Timestamp, &[u8]), CodecError> {
    let (timestamp, rest) =
        bytes.split_first_chunk::<8>().ok_or_else(|| CodecError::new("timestamped value", "shorter than 8 bytes"))?;
    Ok((Timestamp(i64::from_be_bytes(*timestamp)), rest))
}

fn malformed() -> CodecError {
    CodecError::new("value with headers", "not in its layout")
}
