//! A topic with the types of its keys and values.

use std::borrow::Cow;

use crate::codec::{Field, Serde};

/// A topic: its name, what its keys and values are, and how they are written.
///
/// ```
/// use tidewater_streams::Topic;
///
/// const WORDS: Topic<Option<String>, String> = Topic::new("words");
/// assert_eq!(WORDS.name(), "words");
/// ```
#[derive(Clone, Debug)]
pub struct Topic<K: Field, V: Field> {
    name: Cow<'static, str>,
    pub(crate) key: Option<Serde<K::Some>>,
    pub(crate) value: Option<Serde<V::Some>>,
}

impl<K: Field, V: Field> Topic<K, V> {
    /// A topic whose keys and values have the bytes of their types.
    pub const fn new(name: &'static str) -> Self {
        Topic { name: Cow::Borrowed(name), key: None, value: None }
    }

    /// A topic whose name is known at run time.
    pub fn named(name: impl Into<String>) -> Self {
        Topic { name: Cow::Owned(name.into()), key: None, value: None }
    }

    /// The same topic with other bytes for its keys and values.
    #[must_use]
    pub fn with_serdes(self, key: Serde<K::Some>, value: Serde<V::Some>) -> Self {
        Topic { key: Some(key), value: Some(value), ..self }
    }

    /// The topic's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How keys are written.
    pub fn key_serde(&self) -> Serde<K::Some> {
        self.key.clone().unwrap_or_default()
    }

    /// How values are written.
    pub fn value_serde(&self) -> Serde<V::Some> {
        self.value.clone().unwrap_or_default()
    }
}
