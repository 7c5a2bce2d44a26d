//! The offsets that groups commit, in a table; and beside it those of transactions that have not ended.

use std::collections::{BTreeMap, BTreeSet};

use tidewater_protocol::ControlKind;
use tidewater_types::{Offset, Timestamp, TopicPartition};
use uuid::Uuid;

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub offset: Offset,
    pub leader_epoch: i32,
    pub metadata: String,
    /// When it was committed.
    pub at: Timestamp,
    /// When it goes, if whoever committed it has said so, as early versions can.
    pub expires: Option<Timestamp>,
    /// The topic's id, where it was noted: an offset of another topic of that name is nobody's.
    pub topic_id: Option<Uuid>,
}

/// A committed offset, and its place among all that were written.
#[derive(Debug)]
struct Written {
    committed: Committed,
    order: u64,
}

type Table = BTreeMap<String, BTreeMap<TopicPartition, Written>>;

/// All committed offsets, by group.
#[derive(Debug, Default)]
pub(crate) struct GroupOffsets {
    committed: Table,
    /// By the producer whose transaction they are of.
    pending: BTreeMap<i64, Table>,
    /// The producers that have such, by group and partition.
    open: BTreeMap<String, BTreeMap<TopicPartition, BTreeSet<i64>>>,
    /// How many were written.
    written: u64,
}

impl GroupOffsets {
    /// Takes an offset in; one of a producer's transaction counts when that is committed.
    pub fn set(&mut self, producer: Option<i64>, group: &str, place: TopicPartition, committed: Committed) {
        self.written += 1;
        let written = Written { committed, order: self.written };
        let Some(producer) = producer else { return insert(&mut self.committed, group, place, written) };
        let open = self.open.entry(group.to_owned()).or_default();
        open.entry(place.clone()).or_default().insert(producer);
        insert(self.pending.entry(producer).or_default(), group, place, written);
    }

    /// Forgets an offset, and those of open transactions for the same.
    pub fn remove(&mut self, group: &str, place: &TopicPartition) {
        take(&mut self.committed, group, place);
        for producer in self.open.get(group).and_then(|open| open.get(place)).cloned().unwrap_or_default() {
            if let Some(pending) = self.pending.get_mut(&producer) {
                take(pending, group, place);
            }
            self.close(group, place, producer);
        }
    }

    fn close(&mut self, group: &str, place: &TopicPartition, producer: i64) {
        let Some(places) = self.open.get_mut(group) else { return };
        if let Some(producers) = places.get_mut(place) {
            producers.remove(&producer);
            if producers.is_empty() {
                places.remove(place);
            }
        }
        if places.is_empty() {
            self.open.remove(group);
        }
    }

    /// A producer's transaction has ended for some groups. What was written for a partition since then stays.
    pub fn end_transaction(&mut self, producer: i64, kind: ControlKind, is_there: impl Fn(&str) -> bool) {
        let Some(pending) = self.pending.remove(&producer) else { return };
        let (ended, open): (Table, Table) = pending.into_iter().partition(|(group, _)| is_there(group));
        if !open.is_empty() {
            self.pending.insert(producer, open);
        }
        for (group, offsets) in ended {
            for (place, written) in offsets {
                self.close(&group, &place, producer);
                let later = self.committed.get(&group).and_then(|offsets| offsets.get(&place));
                if kind == ControlKind::Commit && later.is_none_or(|later| later.order < written.order) {
                    insert(&mut self.committed, &group, place, written);
                }
            }
        }
    }

    pub fn get(&self, group: &str, place: &TopicPartition) -> Option<&Committed> {
        self.committed.get(group)?.get(place).map(|written| &written.committed)
    }

    /// Whether a transaction that has not ended has an offset for a partition.
    pub fn is_open(&self, group: &str, place: &TopicPartition) -> bool {
        self.open.get(group).is_some_and(|open| open.contains_key(place))
    }

    /// Whether a transaction that has not ended has offsets of a group.
    pub fn has_open(&self, group: &str) -> bool {
        self.open.contains_key(group)
    }

    /// Whether there is an offset, or will be.
    pub fn knows(&self, group: &str, place: &TopicPartition) -> bool {
        self.get(group, place).is_some() || self.is_open(group, place)
    }

    /// The partitions that a group has offsets for, or will have.
    pub fn known(&self, group: &str) -> Vec<TopicPartition> {
        let open = self.open.get(group).into_iter().flatten().map(|(place, _)| place);
        let places: BTreeSet<_> = self.all(group).map(|(place, _)| place).chain(open).collect();
        places.into_iter().cloned().collect()
    }

    /// Forgets the offsets in topics that are not there, or that are others of the same names.
    pub fn retain_topics(&mut self, id_of: impl Fn(&str) -> Option<Uuid>) {
        let is_there = |place: &TopicPartition, committed: &Committed| {
            id_of(&place.topic).is_some_and(|id| committed.topic_id.is_none_or(|noted| noted == id))
        };
        for table in self.pending.values_mut().chain([&mut self.committed]) {
            table.retain(|_, offsets| {
                offsets.retain(|place, written| is_there(place, &written.committed));
                !offsets.is_empty()
            });
        }
        let pending = &self.pending;
        self.open.retain(|group, places| {
            places.retain(|place, producers| {
                producers.retain(|producer| {
                    let offsets = pending.get(producer).and_then(|table| table.get(group));
                    offsets.is_some_and(|offsets| offsets.contains_key(place))
                });
                !producers.is_empty()
            });
            !places.is_empty()
        });
    }

    /// The partitions of a topic that groups have offsets for, or will have, by group.
    pub fn of_topic(&self, topic: &str) -> Vec<(String, Vec<TopicPartition>)> {
        let groups: BTreeSet<&String> = self.committed.keys().chain(self.open.keys()).collect();
        let of_group = |group: &String| {
            let places: Vec<_> = self.known(group).into_iter().filter(|place| &*place.topic == topic).collect();
            (!places.is_empty()).then(|| (group.clone(), places))
        };
        groups.into_iter().filter_map(of_group).collect()
    }

    pub fn all(&self, group: &str) -> impl Iterator<Item = (&TopicPartition, &Committed)> {
        self.committed.get(group).into_iter().flatten().map(|(place, written)| (place, &written.committed))
    }
}

fn insert(table: &mut Table, group: &str, place: TopicPartition, written: Written) {
    match table.get_mut(group) {
        Some(offsets) => drop(offsets.insert(place, written)),
        None => drop(table.insert(group.to_owned(), [(place, written)].into())),
    }
}

fn take(table: &mut Table, group: &str, place: &TopicPartition) {
    if let Some(offsets) = table.get_mut(group) {
        offsets.remove(place);
        if offsets.is_empty() {
            table.remove(group);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn committed(offset: i64) -> Committed {
        let (metadata, at) = (String::new(), Timestamp(0));
        Committed { offset: Offset(offset), leader_epoch: -1, metadata, at, expires: None, topic_id: None }
    }

    fn place() -> TopicPartition {
        TopicPartition::new("t", 0)
    }

    fn offset(offsets: &GroupOffsets) -> Option<i64> {
        offsets.get("g", &place()).map(|committed| committed.offset.0)
    }

    #[test]
    fn offsets_of_a_transaction_count_when_it_is_committed() {
        let mut offsets = GroupOffsets::default();
        offsets.set(None, "g", place(), committed(1));
        offsets.set(Some(7), "g", place(), committed(2));
        assert_eq!((offset(&offsets), offsets.is_open("g", &place())), (Some(1), true));
        offsets.end_transaction(7, ControlKind::Commit, |group| group != "g");
        assert_eq!(offset(&offsets), Some(1), "the marker was in another group's partition");
        offsets.end_transaction(7, ControlKind::Commit, |group| group == "g");
        assert_eq!((offset(&offsets), offsets.has_open("g")), (Some(2), false));
        offsets.set(Some(7), "g", place(), committed(3));
        offsets.end_transaction(7, ControlKind::Abort, |_| true);
        assert_eq!((offset(&offsets), offsets.has_open("g")), (Some(2), false));
    }

    #[test]
    fn what_was_written_later_stays() {
        let mut offsets = GroupOffsets::default();
        offsets.set(Some(7), "g", place(), committed(2));
        offsets.set(None, "g", place(), committed(5));
        offsets.end_transaction(7, ControlKind::Commit, |_| true);
        assert_eq!(offset(&offsets), Some(5));
    }

    #[test]
    fn what_is_deleted_does_not_come_back_with_a_commit() {
        let mut offsets = GroupOffsets::default();
        offsets.set(Some(7), "g", place(), committed(2));
        offsets.set(Some(8), "g", place(), committed(3));
        assert_eq!(offsets.known("g"), [place()]);
        offsets.remove("g", &place());
        offsets.end_transaction(7, ControlKind::Commit, |_| true);
        offsets.end_transaction(8, ControlKind::Commit, |_| true);
        assert_eq!((offset(&offsets), offsets.has_open("g")), (None, false));
        offsets.set(Some(7), "g", place(), committed(2));
        offsets.retain_topics(|_| None);
        assert!(!offsets.has_open("g"));
    }

    /// What a model knows of one commit: its place, its offset, and the transaction that it is of.
    struct Told {
        partition: i32,
        offset: i64,
        of: Option<i64>,
    }

    #[derive(Clone, Debug)]
    enum Step {
        Commit(Option<i64>, i32),
        Remove(i32),
        End(i64, bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        let producer = || 1i64..4;
        prop_oneof![
            6 => (prop::option::weighted(0.7, producer()), 0i32..3).prop_map(|(of, partition)| Step::Commit(of, partition)),
            1 => (0i32..3).prop_map(Step::Remove),
            2 => (producer(), any::<bool>()).prop_map(|(producer, commits)| Step::End(producer, commits)),
        ]
    }

    proptest! {
        /// Of what counts, that counts which was written last, whenever its transaction has ended.
        #[test]
        fn the_last_write_of_those_that_count_counts(steps in prop::collection::vec(step(), 1..60)) {
            let mut offsets = GroupOffsets::default();
            let mut written: Vec<Told> = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                let offset = number as i64;
                match step {
                    Step::Commit(of, partition) => {
                        offsets.set(of, "g", TopicPartition::new("t", partition), committed(offset));
                        written.push(Told { partition, offset, of });
                    }
                    Step::Remove(partition) => {
                        offsets.remove("g", &TopicPartition::new("t", partition));
                        written.retain(|told| told.partition != partition);
                    }
                    Step::End(producer, commits) => {
                        let kind = if commits { ControlKind::Commit } else { ControlKind::Abort };
                        offsets.end_transaction(producer, kind, |_| true);
                        written.retain(|told| commits || told.of != Some(producer));
                        written.iter_mut().filter(|told| told.of == Some(producer)).for_each(|told| told.of = None);
                    }
                }
                for partition in 0..3 {
                    let place = TopicPartition::new("t", partition);
                    let of_place = || written.iter().filter(|told| told.partition == partition);
                    let expected = of_place().filter(|told| told.of.is_none()).map(|told| told.offset).max();
                    prop_assert_eq!(offsets.get("g", &place).map(|committed| committed.offset.0), expected);
                    prop_assert_eq!(offsets.is_open("g", &place), of_place().any(|told| told.of.is_some()));
                }
                prop_assert_eq!(offsets.has_open("g"), written.iter().any(|told| told.of.is_some()));
            }
        }
    }
}
