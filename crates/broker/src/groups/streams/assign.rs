//! Who gets which tasks: members keep what they have as long as all have about as many, a standby task becomes active where its state
//! already is, and the rest goes to the processes with the least to do for their members.
//!
//! As in Apache Kafka's `StickyTaskAssignor` (KIP-1071).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::task::{Task, Tasks};

/// A member, and what it has.
#[derive(Clone, Debug)]
pub(super) struct Wants {
    pub process: String,
    pub has: Tasks,
}

/// A part of the topology.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    pub tasks: i32,
    /// Whether its tasks have state that standby tasks can keep.
    pub is_stateful: bool,
}

/// A process, in which several members may run.
#[derive(Debug, Default)]
struct Process {
    /// How many tasks each member has.
    counts: BTreeMap<Arc<str>, usize>,
    tasks: BTreeSet<Task>,
    count: usize,
}

impl Process {
    fn load(&self) -> f64 {
        self.count as f64 / self.counts.len().max(1) as f64
    }

    fn count_of(&self, member: &str) -> usize {
        self.counts.get(member).copied().unwrap_or(0)
    }
}

/// A share of tasks that goes down to what is left for the rest, once a member has its full share.
#[derive(Debug)]
struct Quota {
    tasks: usize,
    members: usize,
    per_member: usize,
}

impl Quota {
    fn new(tasks: usize, members: usize) -> Self {
        Quota { tasks, members, per_member: tasks.div_ceil(members.max(1)) }
    }

    /// A member has so many now.
    fn note(&mut self, count: usize) {
        if count == self.per_member {
            self.members = self.members.saturating_sub(1);
            self.tasks = self.tasks.saturating_sub(count);
            self.per_member = match self.members {
                0 => 0,
                members => self.tasks.div_ceil(members),
            };
        }
    }
}

/// A member in its process.
#[derive(Clone, Copy, Debug)]
struct Owner<'a> {
    process: &'a str,
    member: &'a Arc<str>,
}

struct Assignment<'a> {
    processes: BTreeMap<&'a str, Process>,
    target: BTreeMap<Arc<str>, Tasks>,
    active_before: BTreeMap<&'a Task, Owner<'a>>,
    standby_before: BTreeMap<&'a Task, Vec<Owner<'a>>>,
    active: Quota,
    all: Quota,
}

/// The tasks of each member; and how many standby tasks nobody has, since there are too few processes for them.
pub(super) fn assign(
    members: &BTreeMap<Arc<str>, Wants>,
    work: &BTreeMap<Arc<str>, Work>,
    standby_replicas: usize,
) -> (BTreeMap<Arc<str>, Tasks>, usize) {
    let tasks = |is_wanted: fn(&Work) -> bool| -> Vec<Task> {
        let of_part = |(subtopology, work): (&Arc<str>, &Work)| {
            let subtopology = subtopology.clone();
            (0..work.tasks).map(move |partition| Task { subtopology: subtopology.clone(), partition })
        };
        work.iter().filter(|(_, work)| is_wanted(work)).flat_map(of_part).collect()
    };
    let (all, stateful) = (tasks(|_| true), tasks(|work| work.is_stateful));
    let mut assignment = Assignment {
        processes: BTreeMap::new(),
        target: members.keys().map(|id| (id.clone(), Tasks::default())).collect(),
        active_before: BTreeMap::new(),
        standby_before: BTreeMap::new(),
        active: Quota::new(all.len(), members.len()),
        all: Quota::new(all.len() + stateful.len() * standby_replicas, members.len()),
    };
    for (member, wants) in members {
        let owner = Owner { process: &wants.process, member };
        assignment.processes.entry(owner.process).or_default().counts.insert(member.clone(), 0);
        assignment.active_before.extend(wants.has.active.iter().map(|task| (task, owner)));
        for task in &wants.has.standby {
            assignment.standby_before.entry(task).or_default().push(owner);
        }
    }
    assignment.assign_active(all);
    let missing = assignment.assign_standby(stateful, standby_replicas);
    (assignment.target, missing)
}

impl<'a> Assignment<'a> {
    /// Gives a member a task; says how many it has then.
    fn give(&mut self, process: &str, member: &Arc<str>, task: Task, is_active: bool) -> usize {
        let count = match self.processes.get_mut(process) {
            Some(process) => {
                process.count += 1;
                process.tasks.insert(task.clone());
                let count = process.counts.entry(member.clone()).or_default();
                *count += 1;
                *count
            }
            None => 0,
        };
        if let Some(target) = self.target.get_mut(member) {
            if is_active {
                target.active.insert(task)
            } else {
                target.standby.insert(task)
            };
        }
        count
    }

    fn give_active(&mut self, process: &str, member: &Arc<str>, task: Task) {
        let count = self.give(process, member, task, true);
        self.active.note(count);
        self.all.note(count);
    }

    fn give_standby(&mut self, process: &str, member: &Arc<str>, task: Task) {
        let count = self.give(process, member, task, false);
        self.all.note(count);
    }

    fn count_of(&self, owner: Owner<'_>) -> usize {
        self.processes.get(owner.process).map_or(0, |process| process.count_of(owner.member))
    }

    fn has_task(&self, process: &str, task: &Task) -> bool {
        self.processes.get(process).is_some_and(|process| process.tasks.contains(task))
    }

    fn assign_active(&mut self, mut tasks: Vec<Task>) {
        tasks.sort_by(|a, b| (a.partition, &a.subtopology).cmp(&(b.partition, &b.subtopology)));
        // To whom has it.
        tasks.retain(|task| match self.active_before.get(task).copied() {
            Some(owner) if self.count_of(owner) < self.active.per_member => {
                self.give_active(owner.process, owner.member, task.clone());
                false
            }
            _ => true,
        });
        // To whom has its state.
        tasks.retain(|task| match self.least_loaded_standby(task, false) {
            Some(owner) if self.count_of(owner) < self.active.per_member => {
                self.give_active(owner.process, owner.member, task.clone());
                false
            }
            _ => true,
        });
        // To whom has the least.
        tasks.sort();
        for task in tasks {
            let Some((process, member)) = self.least_loaded(|_| true) else { return };
            self.give_active(&process, &member, task);
        }
    }

    /// Of those that had a standby task, one with little to do; none if its process has the task and `elsewhere` is asked for.
    ///
    /// One takes the place of the one before if both its process and itself have less to do. As Apache Kafka does, whether the process
    /// has the task already is asked of the first one.
    fn least_loaded_standby(&self, task: &Task, elsewhere: bool) -> Option<Owner<'a>> {
        let owners = self.standby_before.get(task)?;
        let load = |owner: Owner<'_>| self.processes.get(owner.process).map_or(0.0, Process::load);
        let first = *owners.first()?;
        let mut best = first;
        for owner in owners.iter().copied().skip(1) {
            let is_elsewhere = !(elsewhere && self.has_task(owner.process, task));
            if load(owner) < load(best) && is_elsewhere && self.count_of(owner) < self.count_of(best) {
                best = owner;
            }
        }
        if elsewhere && self.has_task(first.process, task) { None } else { Some(best) }
    }

    /// The process with the least to do for its members, among some, and the member of it with the fewest tasks.
    fn least_loaded(&self, is_wanted: impl Fn(&Process) -> bool) -> Option<(String, Arc<str>)> {
        let wanted = self.processes.iter().filter(|(_, process)| is_wanted(process));
        let (name, process) = wanted.min_by(|(_, a), (_, b)| a.load().total_cmp(&b.load()))?;
        let (member, _) = process.counts.iter().min_by_key(|(_, count)| **count)?;
        Some(((*name).to_owned(), member.clone()))
    }

    /// Says how many replicas nobody has.
    fn assign_standby(&mut self, mut tasks: Vec<Task>, replicas: usize) -> usize {
        tasks.sort_by(|a, b| (b.partition, &b.subtopology).cmp(&(a.partition, &a.subtopology)));
        let mut left: Vec<(Task, usize)> = Vec::new();
        for task in tasks {
            for replica in 0..replicas {
                let was_active = self.active_before.get(&task).copied();
                let was_active = was_active.filter(|owner| !self.has_task(owner.process, &task));
                let owner = was_active
                    .filter(|owner| self.count_of(*owner) < self.all.per_member)
                    .or_else(|| self.least_loaded_standby(&task, true))
                    .filter(|owner| self.count_of(*owner) < self.all.per_member);
                match owner {
                    Some(owner) => self.give_standby(owner.process, owner.member, task.clone()),
                    None => {
                        left.push((task, replicas - replica));
                        break;
                    }
                }
            }
        }
        left.sort_by(|(a, _), (b, _)| b.cmp(a));
        let mut missing = 0;
        for (task, replicas) in left {
            for replica in 0..replicas {
                let Some((process, member)) = self.least_loaded(|process| !process.tasks.contains(&task)) else {
                    missing += replicas - replica;
                    break;
                };
                self.give_standby(&process, &member, task.clone());
            }
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn work(parts: &[(&str, i32, bool)]) -> BTreeMap<Arc<str>, Work> {
        parts
            .iter()
            .map(|(name, tasks, is_stateful)| ((*name).into(), Work { tasks: *tasks, is_stateful: *is_stateful }))
            .collect()
    }

    fn members(of: &[(&str, &str)]) -> BTreeMap<Arc<str>, Wants> {
        let wants = |process: &str| Wants { process: process.to_owned(), has: Tasks::default() };
        of.iter().map(|(member, process)| (Arc::from(*member), wants(process))).collect()
    }

    fn task(subtopology: &str, partition: i32) -> Task {
        Task { subtopology: subtopology.into(), partition }
    }

    #[test]
    fn a_standby_takes_over_and_the_others_keep_what_they_have() {
        let work = work(&[("0", 4, true)]);
        let mut members = members(&[("a", "p1"), ("b", "p2"), ("c", "p3")]);
        let first = assign(&members, &work, 1).0;
        for (member, tasks) in first.clone() {
            members.get_mut(&member).unwrap().has = tasks;
        }
        let gone = members.remove("a").unwrap().has;
        let second = assign(&members, &work, 1).0;
        for (member, tasks) in &second {
            assert!(first[member].active.is_subset(&tasks.active), "{member} gives up an active task");
        }
        // What had a standby elsewhere is active there, unless that one has its share.
        let taken = gone.active.iter().filter(|task| {
            second.iter().any(|(member, tasks)| tasks.active.contains(task) && first[member].standby.contains(task))
        });
        assert!(taken.count() > 0);
        assert_eq!(second.values().map(|tasks| tasks.standby.len()).sum::<usize>(), 4);
    }

    #[test]
    fn a_process_with_more_members_gets_more() {
        let (assigned, _) = assign(&members(&[("a", "p1"), ("b", "p1"), ("c", "p2")]), &work(&[("0", 6, false)]), 1);
        assert!(assigned.values().all(|tasks| tasks.active.len() == 2 && tasks.standby.is_empty()));
        assert!(assign(&BTreeMap::new(), &work(&[("0", 6, true)]), 1).0.is_empty());
        let (alone, missing) = assign(&members(&[("a", "p1")]), &work(&[("0", 1, true)]), 2);
        assert_eq!(missing, 2);
        assert_eq!((&alone["a"].active, alone["a"].standby.len()), (&[task("0", 0)].into(), 0));
    }

    proptest! {
        /// Every task is active once; its standbys are in other processes, as many as there can be; all members have about as many active
        /// ones; and assigning again changes nothing.
        #[test]
        fn tasks_are_shared_out_whole_and_even(
            processes in prop::collection::vec(1usize..4, 1..5), parts in prop::collection::vec((1i32..6, any::<bool>()), 1..4),
            replicas in 0usize..3,
        ) {
            let mut wanting: BTreeMap<Arc<str>, Wants> = BTreeMap::new();
            for (number, count) in processes.iter().enumerate() {
                for member in 0..*count {
                    let wants = Wants { process: format!("p{number}"), has: Tasks::default() };
                    wanting.insert(format!("m{number}-{member}").into(), wants);
                }
            }
            let work: BTreeMap<Arc<str>, Work> = parts.iter().enumerate()
                .map(|(number, (tasks, is_stateful))| (number.to_string().into(), Work { tasks: *tasks, is_stateful: *is_stateful })).collect();
            let (assigned, missing) = assign(&wanting, &work, replicas);
            for (subtopology, part) in &work {
                for partition in 0..part.tasks {
                    let task = task(subtopology, partition);
                    let having = |is_active: bool| -> Vec<&str> {
                        let has = |tasks: &Tasks| if is_active { tasks.active.contains(&task) } else { tasks.standby.contains(&task) };
                        wanting.iter().filter(|(id, _)| has(&assigned[*id])).map(|(_, wants)| wants.process.as_str()).collect()
                    };
                    let (active, standby) = (having(true), having(false));
                    prop_assert_eq!(active.len(), 1);
                    let others = if part.is_stateful { replicas.min(processes.len() - 1) } else { 0 };
                    prop_assert_eq!(standby.len(), others);
                    let places: BTreeSet<&str> = active.iter().chain(&standby).copied().collect();
                    prop_assert_eq!(places.len(), 1 + others);
                }
            }
            let stateful: i32 = work.values().filter(|part| part.is_stateful).map(|part| part.tasks).sum();
            prop_assert_eq!(missing, stateful as usize * (replicas - replicas.min(processes.len() - 1)));
            let counts: Vec<usize> = assigned.values().map(|tasks| tasks.active.len()).collect();
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            // Whole processes are filled evenly, and within them members.
            prop_assert!(most - least <= 2, "{:?}", counts);
            wanting.iter_mut().for_each(|(id, wants)| wants.has = assigned[id].clone());
            let (again, _) = assign(&wanting, &work, replicas);
            for (id, tasks) in &again {
                prop_assert_eq!(&tasks.active, &assigned[id].active);
            }
        }
    }
}
