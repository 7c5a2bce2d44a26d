//! How fields of messages stand on the wire, where lengths are varints and structures end in tagged fields.

use anyhow::{Context, Result, ensure};
use bytes::{Buf, BufMut};
use kafka_protocol::messages::{GroupId, TopicName};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::protocol::buf::{ByteBuf, ByteBufMut};

/// A field.
pub(crate) trait Field: Sized {
    fn put<B: ByteBufMut>(&self, out: &mut B);

    fn take<B: ByteBuf>(from: &mut B) -> Result<Self>;
}

/// What may be one less than nothing: a text, or an array. Its length is written as one more than it is, so that 0 is null.
pub(crate) trait Counted: Sized {
    fn put_counted<B: ByteBufMut>(&self, out: &mut B);

    fn take_counted<B: ByteBuf>(from: &mut B, length: usize) -> Result<Self>;
}

macro_rules! numbers {
    ($($number:ty, $put:ident, $get:ident;)*) => {
        $(impl Field for $number {
            fn put<B: ByteBufMut>(&self, out: &mut B) {
                out.$put(*self);
            }

            fn take<B: ByteBuf>(from: &mut B) -> Result<Self> {
                ensure!(from.remaining() >= size_of::<Self>(), "it ends within a number");
                Ok(from.$get())
            }
        })*
    };
}

numbers! {
    i8, put_i8, get_i8;
    i16, put_i16, get_i16;
    u16, put_u16, get_u16;
    i32, put_i32, get_i32;
    i64, put_i64, get_i64;
}

impl Field for bool {
    fn put<B: ByteBufMut>(&self, out: &mut B) {
        out.put_u8(u8::from(*self));
    }

    fn take<B: ByteBuf>(from: &mut B) -> Result<Self> {
        i8::take(from).map(|byte| byte != 0)
    }
}

pub(crate) fn put_varint<B: BufMut>(out: &mut B, mut value: u32) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn take_varint<B: Buf>(from: &mut B) -> Result<u32> {
    let mut value = 0u32;
    for shift in (0..35).step_by(7) {
        ensure!(from.has_remaining(), "it ends within a length");
        let byte = from.get_u8();
        value |= u32::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    anyhow::bail!("a length is too long")
}

impl Counted for StrBytes {
    fn put_counted<B: ByteBufMut>(&self, out: &mut B) {
        put_varint(out, self.len() as u32 + 1);
        out.put_slice(self.as_bytes());
    }

    fn take_counted<B: ByteBuf>(from: &mut B, length: usize) -> Result<Self> {
        let bytes = from.try_get_bytes(length).context("it ends within a text")?;
        Ok(StrBytes::from_utf8(bytes)?)
    }
}

impl<T: Field> Counted for Vec<T> {
    fn put_counted<B: ByteBufMut>(&self, out: &mut B) {
        put_varint(out, self.len() as u32 + 1);
        self.iter().for_each(|element| element.put(out));
    }

    fn take_counted<B: ByteBuf>(from: &mut B, length: usize) -> Result<Self> {
        // Each element takes a byte at least.
        ensure!(length <= from.remaining(), "it ends within an array");
        (0..length).map(|_| T::take(from)).collect()
    }
}

/// A text or an array that is there.
macro_rules! counted {
    ($(($($generic:tt)*) $kind:ty;)*) => {
        $(
            impl<$($generic)*> Field for $kind {
                fn put<B: ByteBufMut>(&self, out: &mut B) {
                    self.put_counted(out);
                }

                fn take<B: ByteBuf>(from: &mut B) -> Result<Self> {
                    <Option<$kind> as Field>::take(from)?.context("a field is null that may not be")
                }
            }

            impl<$($generic)*> Field for Option<$kind> {
                fn put<B: ByteBufMut>(&self, out: &mut B) {
                    match self {
                        Some(value) => value.put_counted(out),
                        None => put_varint(out, 0),
                    }
                }

                fn take<B: ByteBuf>(from: &mut B) -> Result<Self> {
                    match take_varint(from)? {
                        0 => Ok(None),
                        length => <$kind>::take_counted(from, length as usize - 1).map(Some),
                    }
                }
            }
        )*
    };
}

counted! {
    () StrBytes;
    (T: Field) Vec<T>;
}

/// A text with a meaning.
macro_rules! names {
    ($($name:ident;)*) => {
        $(impl Field for $name {
            fn put<B: ByteBufMut>(&self, out: &mut B) {
                self.0.put(out);
            }

            fn take<B: ByteBuf>(from: &mut B) -> Result<Self> {
                StrBytes::take(from).map($name)
            }
        })*
    };
}

names! {
    GroupId;
    TopicName;
}

/// Reads the tagged fields at the end of a structure, none of which is known.
pub(crate) fn skip_tagged<B: ByteBuf>(from: &mut B) -> Result<()> {
    for _ in 0..take_varint(from)? {
        let _tag = take_varint(from)?;
        let length = take_varint(from)?;
        from.try_get_bytes(length as usize).context("it ends within a tagged field")?;
    }
    Ok(())
}

/// An empty list of tagged fields.
pub(crate) fn put_no_tags<B: BufMut>(out: &mut B) {
    put_varint(out, 0);
}

/// A structure with its fields in the order of the wire: each with its setter, its type, and what it is if nobody says, unless that is
/// the type's own default.
macro_rules! structure {
    (
        $(#[$doc:meta])*
        $name:ident {
            $($(#[$field_doc:meta])* $field:ident, $with:ident: $kind:ty $(= $default:expr)?;)*
        }
    ) => {
        $(#[$doc])*
        #[non_exhaustive]
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $kind,)*
        }

        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $crate::messages::fields::or_default!($($default)?),)* }
            }
        }

        impl $name {
            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
                pub fn $with(mut self, value: $kind) -> Self {
                    self.$field = value;
                    self
                }
            )*
        }

        impl $crate::messages::fields::Field for $name {
            fn put<B: kafka_protocol::protocol::buf::ByteBufMut>(&self, out: &mut B) {
                $($crate::messages::fields::Field::put(&self.$field, out);)*
                $crate::messages::fields::put_no_tags(out);
            }

            fn take<B: kafka_protocol::protocol::buf::ByteBuf>(from: &mut B) -> anyhow::Result<Self> {
                let read = $name { $($field: $crate::messages::fields::Field::take(from)?,)* };
                $crate::messages::fields::skip_tagged(from)?;
                Ok(read)
            }
        }

        /// One that may be missing, as a byte before it says.
        impl $crate::messages::fields::Field for Option<$name> {
            fn put<B: kafka_protocol::protocol::buf::ByteBufMut>(&self, out: &mut B) {
                match self {
                    Some(value) => {
                        out.put_i8(1);
                        $crate::messages::fields::Field::put(value, out);
                    }
                    None => out.put_i8(-1),
                }
            }

            fn take<B: kafka_protocol::protocol::buf::ByteBuf>(from: &mut B) -> anyhow::Result<Self> {
                let is_there = <i8 as $crate::messages::fields::Field>::take(from)? >= 0;
                is_there.then(|| $crate::messages::fields::Field::take(from)).transpose()
            }
        }
    };
}

macro_rules! or_default {
    () => {
        Default::default()
    };
    ($default:expr) => {
        $default
    };
}

/// What can stand alone, in its one version, 0.
macro_rules! encodable {
    ($name:ident) => {
        impl kafka_protocol::protocol::Encodable for $name {
            fn encode<B: kafka_protocol::protocol::buf::ByteBufMut>(
                &self,
                out: &mut B,
                version: i16,
            ) -> anyhow::Result<()> {
                anyhow::ensure!(version == 0, "there is no version {version}");
                $crate::messages::fields::Field::put(self, out);
                Ok(())
            }

            fn compute_size(&self, version: i16) -> anyhow::Result<usize> {
                let mut out = bytes::BytesMut::new();
                self.encode(&mut out, version)?;
                Ok(out.len())
            }
        }

        impl kafka_protocol::protocol::Decodable for $name {
            fn decode<B: kafka_protocol::protocol::buf::ByteBuf>(from: &mut B, version: i16) -> anyhow::Result<Self> {
                anyhow::ensure!(version == 0, "there is no version {version}");
                $crate::messages::fields::Field::take(from)
            }
        }
    };
}

/// A request or a response that has one version, 0.
macro_rules! message {
    ($name:ident, header $header:literal) => {
        $crate::messages::fields::encodable!($name);

        impl kafka_protocol::protocol::Message for $name {
            const VERSIONS: kafka_protocol::protocol::VersionRange =
                kafka_protocol::protocol::VersionRange { min: 0, max: 0 };
            const DEPRECATED_VERSIONS: Option<kafka_protocol::protocol::VersionRange> = None;
        }

        impl kafka_protocol::protocol::HeaderVersion for $name {
            fn header_version(_version: i16) -> i16 {
                $header
            }
        }
    };
}

pub(crate) use {encodable, message, or_default, structure};
