//! The offsets that groups commit, in a table.

use std::collections::BTreeMap;

use tidewater_types::{Offset, Timestamp, TopicPartition};
use uuid::Uuid;

/// `offset.metadata.max.bytes`: the longest note beside an offset.
pub(crate) const METADATA_LIMIT_BYTES: usize = 4096;

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub offset: Offset,
    pub leader_epoch: i32,
    pub metadata: String,
    /// When it was committed.
    pub at: Timestamp,
    /// The topic's id, where it was noted: an offset of another topic of that name is nobody's.
    pub topic_id: Option<Uuid>,
}

/// All committed offsets, by group.
#[derive(Debug, Default)]
pub(crate) struct GroupOffsets(BTreeMap<String, BTreeMap<TopicPartition, Committed>>);

impl GroupOffsets {
    pub fn set(&mut self, group: &str, place: TopicPartition, committed: Option<Committed>) {
        match (committed, self.0.get_mut(group)) {
            (Some(committed), Some(offsets)) => drop(offsets.insert(place, committed)),
            (Some(committed), None) => drop(self.0.insert(group.to_owned(), [(place, committed)].into())),
            (None, Some(offsets)) => {
                offsets.remove(&place);
                if offsets.is_empty() {
                    self.0.remove(group);
                }
            }
            (None, None) => {}
        }
    }

    pub fn get(&self, group: &str, place: &TopicPartition) -> Option<&Committed> {
        self.0.get(group)?.get(place)
    }

    /// Forgets the offsets in topics that are not there, or that are others of the same names.
    pub fn retain_topics(&mut self, id_of: impl Fn(&str) -> Option<Uuid>) {
        self.0.retain(|_, offsets| {
            offsets.retain(|place, committed| {
                id_of(&place.topic).is_some_and(|id| committed.topic_id.is_none_or(|noted| noted == id))
            });
            !offsets.is_empty()
        });
    }

    /// The partitions of a topic that groups have committed offsets for, by group.
    pub fn of_topic(&self, topic: &str) -> Vec<(String, Vec<TopicPartition>)> {
        let of_group = |(group, offsets): (&String, &BTreeMap<TopicPartition, Committed>)| {
            let places: Vec<_> = offsets.keys().filter(|place| &*place.topic == topic).cloned().collect();
            (!places.is_empty()).then(|| (group.clone(), places))
        };
        self.0.iter().filter_map(of_group).collect()
    }

    pub fn all(&self, group: &str) -> impl Iterator<Item = (&TopicPartition, &Committed)> {
        self.0.get(group).into_iter().flatten()
    }
}
