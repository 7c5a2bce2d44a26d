//! The bytes of a type, and those of the common ones: as Kafka's own serdes have them.

use bytes::Bytes;
use thiserror::Error;

/// A type that knows its bytes. Never implemented for `Option`: a missing value has no bytes.
///
/// Text is UTF-8, numbers are big-endian, `Bytes` are themselves. For your own types, [`json!`](crate::json) is the short way.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no bytes: it cannot be a key or value in a topic or store",
    note = "write `tidewater::json!({Self});` beside the type, or implement `Data` for it",
    note = "on a stream of `Option` values, `.filter_some()` drops the missing ones"
)]
pub trait Data: Clone + Send + Sync + 'static {
    /// How many bytes at the end of a key do not count for its partition: the window of a windowed key.
    const PARTITION_SUFFIX: usize = 0;

    /// Appends the value's bytes.
    ///
    /// # Errors
    /// When the value has no form in bytes.
    fn write(&self, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Reads a value from all of `bytes`.
    ///
    /// # Errors
    /// When the bytes are none that [`Data::write`] makes.
    fn read(bytes: &[u8]) -> Result<Self, CodecError>;
}

/// Bytes that are not of the expected type, or a value that has no bytes.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("not a valid {type_name}: {reason}")]
pub struct CodecError {
    type_name: String,
    reason: String,
}

impl CodecError {
    /// An error about `type_name`, for the reason given.
    pub fn new(type_name: impl Into<String>, reason: impl Into<String>) -> Self {
        CodecError { type_name: type_name.into(), reason: reason.into() }
    }
}

impl Data for String {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(self.as_bytes());
        Ok(())
    }

    fn read(bytes: &[u8]) -> Result<Self, CodecError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(CodecError::new("UTF-8 text", error.to_string())),
        }
    }
}

impl Data for Bytes {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(self);
        Ok(())
    }

    fn read(bytes: &[u8]) -> Result<Self, CodecError> {
        Ok(Bytes::copy_from_slice(bytes))
    }
}

/// Nothing at all: always null-like, zero bytes.
impl Data for () {
    fn write(&self, _: &mut Vec<u8>) -> Result<(), CodecError> {
        Ok(())
    }

    fn read(bytes: &[u8]) -> Result<Self, CodecError> {
        if bytes.is_empty() {
            Ok(())
        } else {
            Err(CodecError::new("()", format!("{} bytes, expected none", bytes.len())))
        }
    }
}

macro_rules! number {
    ($($type:ty),+) => {$(
        impl Data for $type {
            fn write(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
                out.extend_from_slice(&self.to_be_bytes());
                Ok(())
            }

            fn read(bytes: &[u8]) -> Result<Self, CodecError> {
                match bytes.try_into() {
                    Ok(raw) => Ok(<$type>::from_be_bytes(raw)),
                    Err(_) => Err(CodecError::new(
                        stringify!($type),
                        format!("{} bytes, expected {}", bytes.len(), size_of::<$type>()),
                    )),
                }
            }
        }
    )+};
}

number!(i16, i32, i64, u16, u32, u64, f32, f64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_big_endian_as_in_kafka() {
        let mut out = Vec::new();
        258i64.write(&mut out).unwrap();
        assert_eq!(out, [0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(i64::read(&out), Ok(258));
        assert_eq!(i32::read(&out).unwrap_err().to_string(), "not a valid i32: 8 bytes, expected 4");
    }

    #[test]
    fn text_must_be_utf8() {
        assert!(String::read(&[0xff]).is_err());
    }
}
