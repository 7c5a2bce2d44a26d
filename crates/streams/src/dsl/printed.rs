//! Where a stream is printed, and how its records look.

use std::fmt::Debug;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::UserError;

/// How [`KStream::print`](super::KStream::print) prints: Kafka Streams' `Printed`.
pub struct Printed<K, V> {
    output: Option<Box<dyn Write + Send>>,
    label: String,
    text: Arc<dyn Fn(&K, &V) -> String + Send + Sync>,
}

impl<K: Debug, V: Debug> Printed<K, V> {
    /// To standard output.
    pub fn to_stdout(label: impl Into<String>) -> Self {
        let text = Arc::new(|key: &K, value: &V| format!("{key:?}, {value:?}"));
        Printed { output: None, label: label.into(), text }
    }

    /// To a file, or whatever else takes bytes. If that fails, processing the record does.
    pub fn to(output: impl Write + Send + 'static, label: impl Into<String>) -> Self {
        Printed { output: Some(Box::new(output)), ..Self::to_stdout(label) }
    }
}

impl<K, V> Printed<K, V> {
    /// What stands behind the label, in place of key and value.
    #[must_use]
    pub fn mapped(mut self, text: impl Fn(&K, &V) -> String + Send + Sync + 'static) -> Self {
        self.text = Arc::new(text);
        self
    }

    pub(super) fn action(self) -> impl Fn(&K, &V) -> Result<(), UserError> + Send + Sync {
        let Printed { output, label, text } = self;
        // Shared by the tasks of all threads.
        let output = output.map(Mutex::new);
        move |key, value| {
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

impl<K: Debug, V: Debug> From<&str> for Printed<K, V> {
    fn from(label: &str) -> Self {
        Printed::to_stdout(label)
    }
}

impl<K: Debug, V: Debug> From<String> for Printed<K, V> {
    fn from(label: String) -> Self {
        Printed::to_stdout(label)
    }
}
