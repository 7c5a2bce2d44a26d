//! Where a broker listens, in the form of Kafka's `listeners`: `NAME://HOST:PORT`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The name of a listener that has none.
const DEFAULT_NAME: &str = "PLAINTEXT";

/// An address to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// What it is called; `PLAINTEXT` unless said.
    pub name: String,
    /// The host; empty for all of the machine's addresses.
    pub host: String,
    /// The port; 0 for one that is free.
    pub port: u16,
    /// What clients are told to connect to, if not this: `advertised.listeners`.
    pub advertised: Option<(String, u16)>,
}

/// A text that is no listener.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is no listener; write HOST:PORT or NAME://HOST:PORT, such as PLAINTEXT://127.0.0.1:9092")]
pub struct ListenerError(pub String);

impl Listener {
    /// What to bind. All of the machine's addresses are those of IPv6, which the system takes for those of IPv4 too.
    pub(crate) fn address(&self) -> String {
        self.address_of(if self.host.is_empty() { "::" } else { &self.host })
    }

    /// What to bind if the system has no IPv6.
    pub(crate) fn address_without_ipv6(&self) -> Option<String> {
        self.host.is_empty().then(|| self.address_of("0.0.0.0"))
    }

    fn address_of(&self, host: &str) -> String {
        match host.contains(':') {
            true => format!("[{host}]:{}", self.port),
            false => format!("{host}:{}", self.port),
        }
    }
}

impl FromStr for Listener {
    type Err = ListenerError;

    fn from_str(text: &str) -> Result<Self, ListenerError> {
        let error = || ListenerError(text.to_owned());
        let (name, address) = text.split_once("://").unwrap_or((DEFAULT_NAME, text));
        let (host, port) = address.rsplit_once(':').ok_or_else(error)?;
        let port = port.parse().map_err(|_| error())?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !is_name(name) || host.contains(['/', ' ']) {
            return Err(error());
        }
        Ok(Listener { name: name.to_uppercase(), host, port, advertised: None })
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.name, self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_as_kafka_writes_them() {
        let read = |text: &str| text.parse::<Listener>().map(|listener| (listener.to_string(), listener.address()));
        let of = |shown: &str, bound: &str| Ok((shown.to_owned(), bound.to_owned()));
        assert_eq!(read("127.0.0.1:9092"), of("PLAINTEXT://127.0.0.1:9092", "127.0.0.1:9092"));
        assert_eq!(read("inside://:0"), of("INSIDE://:0", "[::]:0"));
        assert_eq!(read("PLAINTEXT://[::1]:9092"), of("PLAINTEXT://::1:9092", "[::1]:9092"));
        for wrong in ["", "9092", "host", "host:port", "://host:1", "a b://host:1", "http://x/y:1", "host:99999"] {
            assert_eq!(read(wrong), Err(ListenerError(wrong.to_owned())));
        }
    }
}
