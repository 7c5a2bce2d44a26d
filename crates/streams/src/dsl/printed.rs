//! Where a stream is printed, and how its records look.

use std::fmt::Debug;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::UserError;

/// How [`KStream::print`](super::KStream::print) prints: Kafka Streams' `Printed`.
pub struct Printed<K, V> {
    output: Option<Box<dyn Write + Send>>,
    label: Option<String>,
    text: Arc<dyn Fn(&K, &V) -> String + Send + Sync>,
}

impl<K: Debug, V: Debug> Printed<K, V> {
    /// To standard output, with the name of the stream that is printed as label.
    pub fn new() -> Self {
        let text = Arc::new(|key: &K, value: &V| format!("{key:?}, {value:?}"));
        Printed { output: None, label: None, text }
    }

    /// To a file, or whatever else takes bytes. If that fails, processing the record does.
    pub fn to(output: impl Write + Send + 'static) -> Self {
        Printed { output: Some(Box::new(output)), ..Self::new() }
    }
}

impl<K, V> Printed<K, V> {
    /// What stands before each record in brackets; by default the name of the stream.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// What stands behind the label, in place of key and value.
    #[must_use]
    pub fn mapped(mut self, text: impl Fn(&K, &V) -> String + Send + Sync + 'static) -> Self {
        self.text = Arc::new(text);
        self
    }

    /// What prints a record of a stream, given the stream's name.
    pub(super) fn action(self) -> impl Fn(&str, &K, &V) -> Result<(), UserError> + Send + Sync {
        let Printed { output, label, text } = self;
        // Shared by the tasks of all threads.
        let output = output.map(Mutex::new);
        move |stream, key, value| {
            let label = label.as_deref().unwrap_or(stream);
            let line = format!("[{label}]: {}\n", text(key, value));
            match &output {
                Some(output) => output.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes())?,
                // Whoever reads the output may have gone; that is no failure of the stream.
                None => drop(std::io::stdout().lock().write_all(line.as_bytes())),
            }
            Ok(())
        }
    }
}

impl<K: Debug, V: Debug> Default for Printed<K, V> {
    fn default() -> Self {
        Printed::new()
    }
}

impl<K: Debug, V: Debug> From<&str> for Printed<K, V> {
    fn from(label: &str) -> Self {
        Printed::new().label(label)
    }
}

impl<K: Debug, V: Debug> From<String> for Printed<K, V> {
    fn from(label: String) -> Self {
        Printed::new().label(label)
    }
}
