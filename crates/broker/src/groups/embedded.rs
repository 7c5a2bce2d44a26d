//! What consumers of the classic protocol tell each other through the broker: subscriptions and assignments.
//!
//! As in Apache Kafka's `ConsumerProtocolSubscription` and `ConsumerProtocolAssignment`: a version (2 bytes), and fields of which later
//! versions add some at the end. Texts have their length in 2 bytes, arrays and bytes in 4.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::Topics;
use super::assign::Partitions;
use crate::wire::{Reader, Writer};

/// The newest version of both; a later one is read as this.
const NEWEST: i16 = 3;
/// From this version on, a subscription says what its member has.
const OWNED: i16 = 1;
/// From this version on, a subscription says in which generation it was made.
const GENERATION: i16 = 2;
/// From this version on, a subscription says in which rack its member is.
const RACK: i16 = 3;

/// A subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subscription {
    pub topics: BTreeSet<String>,
    /// What the member has, by topic.
    pub owned: Vec<(String, Vec<i32>)>,
    pub rack: Option<String>,
}

/// An assignment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Assignment {
    pub partitions: Vec<(String, Vec<i32>)>,
    /// Whether an assignor has left a note in it.
    pub has_user_data: bool,
}

fn version(from: &mut Reader<'_>) -> Option<i16> {
    let version = from.i16()?;
    (version >= 0).then_some(version.min(NEWEST))
}

/// The version of a subscription, in which its member is answered.
pub(super) fn version_of(subscription: &[u8]) -> Option<i16> {
    version(&mut Reader::new(subscription))
}

fn array<T>(from: &mut Reader<'_>, mut read: impl FnMut(&mut Reader<'_>) -> Option<T>) -> Option<Vec<T>> {
    let count = usize::try_from(from.i32()?).ok()?;
    (0..count).map(|_| read(from)).collect()
}

fn partitions(from: &mut Reader<'_>) -> Option<Vec<(String, Vec<i32>)>> {
    array(from, |from| Some((from.text()?.to_owned(), array(from, |from| from.i32())?)))
}

/// The topics of a subscription.
pub(super) fn subscribed_topics(subscription: &[u8]) -> Option<BTreeSet<String>> {
    let mut from = Reader::new(subscription);
    let _version = from.i16()?;
    Some(array(&mut from, |from| from.text().map(str::to_owned))?.into_iter().collect())
}

/// `None` for bytes that are no subscription.
pub(super) fn read_subscription(bytes: &[u8]) -> Option<Subscription> {
    let mut from = Reader::new(bytes);
    let version = version(&mut from)?;
    let topics = array(&mut from, |from| from.text().map(str::to_owned))?.into_iter().collect();
    let _user_data = from.nullable_bytes()?;
    let owned = if version >= OWNED { partitions(&mut from)? } else { Vec::new() };
    if version >= GENERATION {
        from.i32()?;
    }
    let rack = if version >= RACK { from.nullable_text()? } else { None };
    Some(Subscription { topics, owned, rack: rack.filter(|rack| !rack.is_empty()).map(str::to_owned) })
}

/// `None` for bytes that are no assignment; no bytes assign nothing.
pub(super) fn read_assignment(bytes: &[u8]) -> Option<Assignment> {
    if bytes.is_empty() {
        return Some(Assignment::default());
    }
    let mut from = Reader::new(bytes);
    let _version = version(&mut from)?;
    let partitions = partitions(&mut from)?;
    let has_user_data = from.nullable_bytes()?.is_some_and(|data| !data.is_empty());
    Some(Assignment { partitions, has_user_data })
}

/// An assignment of some version.
pub(super) fn write_assignment(version: i16, partitions: &Partitions, topics: &dyn Topics) -> Vec<u8> {
    let named: Vec<(String, &BTreeSet<i32>)> =
        partitions.iter().filter_map(|(topic, partitions)| Some((topics.name_of(*topic)?, partitions))).collect();
    let mut out = Writer::new(version);
    out.i32(named.len() as i32);
    for (topic, partitions) in named {
        out.text(&topic);
        out.i32(partitions.len() as i32);
        partitions.iter().for_each(|partition| out.i32(*partition));
    }
    // No user data.
    out.i32(-1);
    out.finish()
}

/// Partitions by the ids of their topics, as far as those are there.
pub(super) fn by_id(partitions: &[(String, Vec<i32>)], topics: &dyn Topics) -> Partitions {
    let mut found = Partitions::new();
    for (topic, numbers) in partitions {
        if let Some((id, _)) = topics.find(topic) {
            found.entry(id).or_default().extend(numbers);
        }
    }
    found.retain(|_: &Uuid, numbers| !numbers.is_empty());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Java's consumer 4.3.1 wrote: topic t, and partitions 0 and 1 of it.
    const OWNS_TWO: &[u8] =
        b"\0\x03\0\0\0\x01\0\x01t\xff\xff\xff\xff\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\x05\xff\xff";

    #[test]
    fn subscriptions_of_all_versions_are_read() {
        let whole = read_subscription(OWNS_TWO).unwrap();
        assert_eq!((whole.topics.len(), whole.owned, whole.rack), (1, vec![("t".to_owned(), vec![0, 1])], None));
        let mut later = OWNS_TWO.to_vec();
        later[1] = 9;
        assert!(read_subscription(&later).is_some());
        let first = b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff";
        assert_eq!(read_subscription(first).unwrap().topics, ["t".to_owned()].into());
        assert!((0..OWNS_TWO.len()).all(|cut| read_subscription(&OWNS_TWO[..cut]).is_none()));
        assert_eq!(read_subscription(b"\xff\xff\0\0\0\0"), None);
        assert_eq!(read_assignment(b""), Some(Assignment::default()));
    }
}
