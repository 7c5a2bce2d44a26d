//! The records that a case feeds in.

use bytes::Bytes;
use serde_json::Value as Json;
use tidewater_types::{Header, Headers};

use super::program::Program;
use super::value::{Type, from_hex};

/// A record for a topic.
#[derive(Debug)]
pub struct Event {
    pub topic: String,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub timestamp: i64,
    pub headers: Headers,
}

impl Event {
    /// Reads an event of a case, by the types that the program gives its topic.
    pub fn parse(event: &Json, program: &Program) -> Self {
        let topic = event.get("topic").and_then(Json::as_str).unwrap_or_default();
        let by_pattern = || {
            let matches =
                |pattern: &str| regex::Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|whole| whole.is_match(topic));
            let found = program.patterns.iter().find(|(pattern, ..)| matches(pattern));
            found.map(|(_, key, value)| (key.clone(), value.clone()))
        };
        let types = program.inputs.get(topic).cloned().or_else(by_pattern);
        let (key, value) = types.unwrap_or((Type::Str, Type::Str));
        let bytes = |raw: &str, field: &str, of: &Type| -> Option<Bytes> {
            if let Some(hex) = event.get(raw) {
                return hex.as_str().and_then(from_hex).map(Bytes::from);
            }
            let value = of.parse_json(event.get(field)?)?;
            of.serde().to_bytes(&value).ok().map(Bytes::from)
        };
        let header = |header: &Json| Header {
            name: header[0].as_str().unwrap_or_default().into(),
            value: header[1].as_str().map(|text| Bytes::copy_from_slice(text.as_bytes())),
        };
        Event {
            topic: topic.to_owned(),
            key: bytes("keyHex", "key", &key),
            value: bytes("valueHex", "value", &value),
            timestamp: event.get("ts").and_then(Json::as_i64).unwrap_or(0),
            headers: event.get("headers").and_then(Json::as_array).into_iter().flatten().map(header).collect(),
        }
    }
}
