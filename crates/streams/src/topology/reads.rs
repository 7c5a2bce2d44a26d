//! What a source reads: topics by name or by a pattern of names, and where it begins.

use std::fmt;
use std::time::Duration;

use regex::Regex;

use crate::error::BuildError;

/// Where a source begins in a partition for which no offset was committed (`auto.offset.reset`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetReset {
    /// At the first record that the log has.
    Earliest,
    /// Behind the last record.
    Latest,
    /// At the first record that is younger than this.
    ByDuration(Duration),
    /// Nowhere: a missing offset stops the application.
    None,
}

/// A pattern that whole names of topics match: a regular expression.
#[derive(Clone, Debug)]
pub(crate) struct TopicPattern {
    text: String,
    regex: Regex,
}

impl TopicPattern {
    pub fn new(text: &str) -> Result<Self, BuildError> {
        let whole = Regex::new(&format!("^(?:{text})$"));
        let regex = whole.map_err(|error| BuildError::Misuse(format!("{text:?} is no pattern of topics: {error}")))?;
        Ok(TopicPattern { text: text.to_owned(), regex })
    }

    /// The regular expression as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn matches(&self, topic: &str) -> bool {
        self.regex.is_match(topic)
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a source reads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reads {
    /// Topics by name; none if there is a pattern.
    pub topics: Vec<String>,
    pub pattern: Option<TopicPattern>,
    /// `None` leaves it to the application.
    pub reset: Option<OffsetReset>,
}

impl Reads {
    pub fn topic(name: impl Into<String>) -> Self {
        Reads { topics: vec![name.into()], ..Reads::default() }
    }

    /// Whether the other one reads just the same topics.
    pub fn same_topics(&self, other: &Reads) -> bool {
        let text = |reads: &Reads| reads.pattern.as_ref().map(ToString::to_string);
        text(self) == text(other)
            && self.topics.len() == other.topics.len()
            && self.topics.iter().all(|topic| other.topics.contains(topic))
    }

    /// A topic that both read, or the pattern by which they do.
    pub fn overlap(&self, other: &Reads) -> Option<String> {
        let matched = |pattern: &Option<TopicPattern>, topics: &[String]| {
            let pattern = pattern.as_ref()?;
            topics.iter().find(|topic| pattern.matches(topic)).cloned()
        };
        if let (Some(pattern), Some(other)) = (&self.pattern, &other.pattern)
            && pattern.text == other.text
        {
            return Some(pattern.text.clone());
        }
        self.topics
            .iter()
            .find(|topic| other.topics.contains(topic))
            .cloned()
            .or_else(|| matched(&self.pattern, &other.topics))
            .or_else(|| matched(&other.pattern, &self.topics))
    }
}

/// Where a sink writes: to a topic, or to one that each record names.
#[derive(Clone, Debug)]
pub(crate) enum SinkTopic {
    Named(String),
    /// By an extractor of this name.
    Extracted(String),
}

impl SinkTopic {
    pub fn name(&self) -> &str {
        match self {
            SinkTopic::Named(name) | SinkTopic::Extracted(name) => name,
        }
    }
}
