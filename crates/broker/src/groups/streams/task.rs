//! Tasks: a partition of a part of the topology.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidewater_protocol::StrBytes;
use tidewater_protocol::messages::streams_group_heartbeat_request::TaskIds;

use crate::wire::Writer;

/// A task.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Task {
    /// One name for all tasks that come together.
    pub subtopology: Arc<str>,
    pub partition: i32,
}

/// Tasks by what is done with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Tasks {
    pub active: BTreeSet<Task>,
    pub standby: BTreeSet<Task>,
    pub warmup: BTreeSet<Task>,
}

impl Tasks {
    pub fn is_empty(&self) -> bool {
        self.active.is_empty() && self.standby.is_empty() && self.warmup.is_empty()
    }

    /// Whether one of these is among others.
    pub fn has_any(&self, others: &Assigned) -> bool {
        self.active.iter().any(|task| others.active.contains_key(task))
            || !self.standby.is_disjoint(&others.standby)
            || !self.warmup.is_disjoint(&others.warmup)
    }

    /// Whether all of these are among others.
    pub fn is_within(&self, others: &Assigned) -> bool {
        self.active.iter().all(|task| others.active.contains_key(task))
            && self.standby.is_subset(&others.standby)
            && self.warmup.is_subset(&others.warmup)
    }
}

/// Tasks that a member was given; the active ones with the epoch in which it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Assigned {
    pub active: BTreeMap<Task, i32>,
    pub standby: BTreeSet<Task>,
    pub warmup: BTreeSet<Task>,
}

impl Assigned {
    pub fn is_empty(&self) -> bool {
        self.active.is_empty() && self.standby.is_empty() && self.warmup.is_empty()
    }
}

/// Tasks by their subtopologies, in order.
pub(super) fn by_subtopology<'a>(tasks: impl Iterator<Item = &'a Task>) -> BTreeMap<&'a str, Vec<&'a Task>> {
    let mut grouped: BTreeMap<&str, Vec<&Task>> = BTreeMap::new();
    tasks.for_each(|task| grouped.entry(&task.subtopology).or_default().push(task));
    grouped
}

/// Writes numbers as an array.
pub(super) fn numbers(out: &mut Writer, numbers: impl ExactSizeIterator<Item = i32>) {
    out.compact_length(numbers.len());
    numbers.for_each(|number| out.i32(number));
}

/// Tasks as a message has them.
pub(super) fn to_message<'a>(tasks: impl Iterator<Item = &'a Task>) -> Vec<TaskIds> {
    let ids = |(subtopology, tasks): (&str, Vec<&Task>)| {
        TaskIds::default()
            .with_subtopology_id(StrBytes::from_string(subtopology.to_owned()))
            .with_partitions(tasks.iter().map(|task| task.partition).collect())
    };
    by_subtopology(tasks).into_iter().map(ids).collect()
}

/// Tasks that a message has.
pub(super) fn of_message(ids: &[TaskIds]) -> BTreeSet<Task> {
    let mut tasks = BTreeSet::new();
    for ids in ids {
        let subtopology: Arc<str> = (&*ids.subtopology_id).into();
        let task = |partition: &i32| Task { subtopology: subtopology.clone(), partition: *partition };
        tasks.extend(ids.partitions.iter().map(task));
    }
    tasks
}
