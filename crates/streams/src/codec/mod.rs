//! How keys and values become bytes and back.
//!
//! A type says once how it is written: it implements [`Data`]. Where it is a null that may be missing, a handle's type says
//! `Option`; both are a [`Field`]. A [`Serde`] replaces the type's own bytes in one place, where they need run-time settings.

mod data;
mod field;
mod serde;
mod windowed;

pub use data::{CodecError, Data};
pub use field::{Field, Fits};
pub use serde::{Codec, Serde};
pub use windowed::{SessionWindowed, Window, Windowed};

#[doc(hidden)]
pub use serde_json as __serde_json;

/// Writes a type as JSON, by its `serde` implementations.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidewater_streams::Data;
///
/// #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
/// struct Reading { room: String, celsius: f64 }
/// tidewater_streams::json!(Reading);
///
/// let mut bytes = Vec::new();
/// Reading { room: "attic".into(), celsius: 31.5 }.write(&mut bytes).unwrap();
/// assert_eq!(bytes, br#"{"room":"attic","celsius":31.5}"#);
/// ```
#[macro_export]
macro_rules! json {
    ($($type:ty),+ $(,)?) => {$(
        impl $crate::Data for $type {
            fn write(&self, out: &mut Vec<u8>) -> Result<(), $crate::CodecError> {
                $crate::__serde_json::to_writer(out, self)
                    .map_err(|error| $crate::CodecError::new(stringify!($type), error.to_string()))
            }

            fn read(bytes: &[u8]) -> Result<Self, $crate::CodecError> {
                $crate::__serde_json::from_slice(bytes)
                    .map_err(|error| $crate::CodecError::new(stringify!($type), error.to_string()))
            }
        }
    )+};
}
