//! Record headers: few, small, and most often none, so that the empty case costs nothing.

use std::sync::Arc;

use bytes::Bytes;

/// One header: a name, and a value that may be null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name; names may repeat within one record.
    pub name: Arc<str>,
    /// The value, or `None` for null.
    pub value: Option<Bytes>,
}

/// The headers of a record, in their order. A clone shares them; [`Headers::add`] copies them first if they are shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Option<Arc<Vec<Header>>>);

impl Headers {
    /// No headers.
    pub const EMPTY: Headers = Headers(None);

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// All headers, in their order.
    #[inline]
    pub fn as_slice(&self) -> &[Header] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    /// The headers, one after another.
    pub fn iter(&self) -> std::slice::Iter<'_, Header> {
        self.as_slice().iter()
    }

    /// The value of the last header of that name, as Kafka's `lastHeader` finds it.
    pub fn last(&self, name: &str) -> Option<&Header> {
        self.iter().rev().find(|header| &*header.name == name)
    }

    /// Appends a header.
    pub fn add(&mut self, name: impl Into<Arc<str>>, value: Option<Bytes>) {
        let headers = Arc::make_mut(self.0.get_or_insert_default());
        headers.push(Header { name: name.into(), value });
    }

    /// Removes all headers of that name.
    pub fn remove(&mut self, name: &str) {
        if self.last(name).is_some() {
            let headers = Arc::make_mut(self.0.get_or_insert_default());
            headers.retain(|header| &*header.name != name);
        }
    }
}

impl FromIterator<Header> for Headers {
    fn from_iter<I: IntoIterator<Item = Header>>(headers: I) -> Self {
        let headers: Vec<Header> = headers.into_iter().collect();
        Headers((!headers.is_empty()).then(|| Arc::new(headers)))
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = &'a Header;
    type IntoIter = std::slice::Iter<'a, Header>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_not_seen_by_those_who_shared() {
        let mut first = Headers::EMPTY;
        first.add("a", Some(Bytes::from_static(b"1")));
        let mut second = first.clone();
        second.add("b", None);
        second.remove("a");
        assert_eq!(first.as_slice().len(), 1);
        assert_eq!(second.as_slice(), [Header { name: "b".into(), value: None }]);
    }
}
