//! The one dynamic type of the cases, its types, and its bytes.

use serde_json::{Value as Json, json};
use tidewater_streams::{Codec, CodecError, Data, Serde};

/// A value of any of the cases' types.
#[derive(Clone, Debug, PartialEq)]
pub enum Val {
    Str(String),
    Long(i64),
    Int(i32),
    Double(f64),
    Bytes(Vec<u8>),
    Windowed { key: Box<Val>, start: i64, end: i64 },
    Session { key: Box<Val>, start: i64, end: i64 },
}

/// A type of the cases.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    Str,
    Long,
    Int,
    Double,
    Bytes,
    Windowed(i64, Box<Type>),
    Session(Box<Type>),
}

impl Type {
    pub fn parse(text: &str) -> Option<Type> {
        Some(match text {
            "string" => Type::Str,
            "long" => Type::Long,
            "integer" => Type::Int,
            "double" => Type::Double,
            "bytes" => Type::Bytes,
            other => {
                if let Some(rest) = other.strip_prefix("windowed:") {
                    let (size, inner) = rest.split_once(':')?;
                    Type::Windowed(size.parse().ok()?, Box::new(Type::parse(inner)?))
                } else {
                    Type::Session(Box::new(Type::parse(other.strip_prefix("session:")?)?))
                }
            }
        })
    }

    pub fn serde(&self) -> Serde<Val> {
        Serde::new(ValCodec(self.clone()))
    }

    /// A value from its JSON form; `None` for null.
    pub fn parse_json(&self, json: &Json) -> Option<Val> {
        match self {
            Type::Str => json.as_str().map(|text| Val::Str(text.to_owned())),
            Type::Long => json.as_i64().map(Val::Long),
            Type::Int => json.as_i64().map(|number| Val::Int(number as i32)),
            Type::Double => json.as_f64().map(Val::Double),
            Type::Bytes => json.as_str().and_then(from_hex).map(Val::Bytes),
            Type::Windowed(size, inner) => {
                let (key, start) = (inner.parse_json(json.get("key")?)?, json.get("start")?.as_i64()?);
                Some(Val::Windowed { key: Box::new(key), start, end: start + size })
            }
            Type::Session(inner) => {
                let key = Box::new(inner.parse_json(json.get("key")?)?);
                Some(Val::Session { key, start: json.get("start")?.as_i64()?, end: json.get("end")?.as_i64()? })
            }
        }
    }
}

struct ValCodec(Type);

impl Codec<Val> for ValCodec {
    fn write(&self, value: &Val, out: &mut Vec<u8>) -> Result<(), CodecError> {
        match (&self.0, value) {
            (Type::Str, Val::Str(text)) => out.extend_from_slice(text.as_bytes()),
            (Type::Long, Val::Long(number)) => out.extend_from_slice(&number.to_be_bytes()),
            (Type::Int, Val::Int(number)) => out.extend_from_slice(&number.to_be_bytes()),
            (Type::Double, Val::Double(number)) => out.extend_from_slice(&number.to_be_bytes()),
            (Type::Bytes, Val::Bytes(bytes)) => out.extend_from_slice(bytes),
            (Type::Windowed(_, inner), Val::Windowed { key, start, .. }) => {
                ValCodec((**inner).clone()).write(key, out)?;
                out.extend_from_slice(&start.to_be_bytes());
            }
            (Type::Session(inner), Val::Session { key, start, end }) => {
                ValCodec((**inner).clone()).write(key, out)?;
                out.extend_from_slice(&end.to_be_bytes());
                out.extend_from_slice(&start.to_be_bytes());
            }
            (expected, got) => return Err(CodecError::new(format!("{expected:?}"), format!("{got:?}"))),
        }
        Ok(())
    }

    fn read(&self, bytes: &[u8]) -> Result<Val, CodecError> {
        Ok(match &self.0 {
            Type::Str => Val::Str(String::read(bytes)?),
            Type::Long => Val::Long(i64::read(bytes)?),
            Type::Int => Val::Int(i32::read(bytes)?),
            Type::Double => Val::Double(f64::read(bytes)?),
            Type::Bytes => Val::Bytes(bytes.to_vec()),
            Type::Windowed(size, inner) => {
                let (key, start) = split(bytes)?;
                let key = Box::new(ValCodec((**inner).clone()).read(key)?);
                Val::Windowed { key, start, end: start.saturating_add(*size) }
            }
            Type::Session(inner) => {
                let (rest, start) = split(bytes)?;
                let (key, end) = split(rest)?;
                Val::Session { key: Box::new(ValCodec((**inner).clone()).read(key)?), start, end }
            }
        })
    }

    fn partition_suffix(&self, _: &Val) -> usize {
        match self.0 {
            Type::Windowed(..) => 8,
            Type::Session(_) => 16,
            _ => 0,
        }
    }
}

fn split(bytes: &[u8]) -> Result<(&[u8], i64), CodecError> {
    let cut = || CodecError::new("windowed key", "too short");
    let (rest, number) = bytes.split_at_checked(bytes.len().checked_sub(8).ok_or_else(cut)?).ok_or_else(cut)?;
    Ok((rest, i64::read(number)?))
}

/// Kafka Streams' default serde in these cases is that of text; anything else fails where no serde was given.
impl Data for Val {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        ValCodec(Type::Str).write(self, out)
    }

    fn read(bytes: &[u8]) -> Result<Self, CodecError> {
        ValCodec(Type::Str).read(bytes)
    }
}

/// The text of a value, as the cases' functions see it.
pub fn text(value: Option<&Val>) -> String {
    match value {
        None => "null".to_owned(),
        Some(Val::Str(text)) => text.clone(),
        Some(Val::Long(number)) => number.to_string(),
        Some(Val::Int(number)) => number.to_string(),
        Some(Val::Double(number)) => format!("{number:?}"),
        Some(Val::Bytes(bytes)) => to_hex(bytes),
        Some(Val::Windowed { key, start, end } | Val::Session { key, start, end }) => {
            format!("{}@{start}-{end}", text(Some(key)))
        }
    }
}

/// The JSON form of a value.
pub fn to_json(value: Option<&Val>) -> Json {
    match value {
        None => Json::Null,
        Some(Val::Str(text)) => json!(text),
        Some(Val::Long(number)) => json!(number),
        Some(Val::Int(number)) => json!(number),
        Some(Val::Double(number)) => json!(number),
        Some(Val::Bytes(bytes)) => json!(to_hex(bytes)),
        Some(Val::Windowed { key, start, end } | Val::Session { key, start, end }) => {
            json!({"key": to_json(Some(key)), "start": start, "end": end})
        }
    }
}

pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}
