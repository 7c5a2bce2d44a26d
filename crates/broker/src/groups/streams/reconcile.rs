//! One member's way to its target: it gives up what it must first, and is given what nobody else has any more.
//!
//! As in Apache Kafka's `CurrentAssignmentBuilder` of streams groups.

use std::collections::{BTreeMap, BTreeSet};

use tidewater_protocol::ResponseError;

use super::super::consumer::Refusal;
use super::records::{Current, MemberState};
use super::task::{Assigned, Task, Tasks};

/// In which processes tasks are, or are not yet given up.
#[derive(Debug, Default)]
pub(super) struct Owners {
    active: BTreeMap<Task, String>,
    standby: BTreeMap<Task, BTreeSet<String>>,
    warmup: BTreeMap<Task, BTreeSet<String>>,
}

impl Owners {
    /// Of members, each with its process.
    pub fn of<'a>(members: impl Iterator<Item = (&'a str, &'a Current)>) -> Self {
        let mut owners = Owners::default();
        for (process, current) in members {
            for assigned in [&current.assigned, &current.revoking] {
                owners.active.extend(assigned.active.keys().map(|task| (task.clone(), process.to_owned())));
                for (tasks, of) in [(&assigned.standby, &mut owners.standby), (&assigned.warmup, &mut owners.warmup)] {
                    for task in tasks {
                        of.entry(task.clone()).or_default().insert(process.to_owned());
                    }
                }
            }
        }
        owners
    }

    /// Whether a process has a task without working on it.
    fn keeps_state(&self, task: &Task, process: &str) -> bool {
        [&self.standby, &self.warmup].into_iter().any(|of| of.get(task).is_some_and(|in_| in_.contains(process)))
    }

    fn is_active_anywhere(&self, task: &Task) -> bool {
        self.active.contains_key(task)
    }

    fn is_active_in(&self, task: &Task, process: &str) -> bool {
        self.active.get(task).is_some_and(|active_in| active_in == process)
    }
}

/// A member's next step to its target; `owned` is what it says that it has, if it does.
pub(super) fn reconcile(
    current: &Current,
    process: &str,
    (target_epoch, target): (i32, &Tasks),
    owned: Option<&Tasks>,
    owners: &Owners,
) -> Result<Current, Refusal> {
    let still_has = |tasks: &Assigned| owned.is_none_or(|owned| owned.has_any(tasks));
    let epoch = match current.state {
        MemberState::Stable if current.epoch == target_epoch => return Ok(current.clone()),
        MemberState::Unrevoked if still_has(&current.revoking) => return Ok(current.clone()),
        // It has given up what it had to.
        MemberState::Unrevoked => current.epoch + 1,
        MemberState::Stable | MemberState::Unreleased => current.epoch,
        MemberState::Unknown if owned.is_some_and(Tasks::is_empty) => target_epoch,
        MemberState::Unknown => {
            let text =
                "The streams group member is in a unknown state. The member must abandon all its tasks and rejoin.";
            return Err((ResponseError::FencedMemberEpoch, text.to_owned()));
        }
    };
    let next = |state: MemberState, epoch: i32, assigned: Assigned, revoking: Assigned| Current {
        epoch,
        previous_epoch: current.epoch,
        state,
        assigned,
        revoking,
    };
    let before = &current.assigned;
    let (active, to_revoke) = before.active.clone().into_iter().partition(|(task, _)| target.active.contains(task));
    let mut assigned =
        Assigned { active, standby: &before.standby & &target.standby, warmup: &before.warmup & &target.warmup };
    let revoking = Assigned {
        active: to_revoke,
        standby: &before.standby - &target.standby,
        warmup: &before.warmup - &target.warmup,
    };
    if !revoking.is_empty() && still_has(&revoking) {
        return Ok(next(MemberState::Unrevoked, epoch, assigned, revoking));
    }
    // Two members of a process cannot have the state of the same task.
    let mut waits = false;
    let mut is_free = |is_held: bool| {
        waits |= is_held;
        !is_held
    };
    for task in &target.active {
        let is_held = owners.is_active_anywhere(task) || owners.keeps_state(task, process);
        if !assigned.active.contains_key(task) && is_free(is_held) {
            assigned.active.insert(task.clone(), target_epoch);
        }
    }
    for (wanted, has) in [(&target.standby, &mut assigned.standby), (&target.warmup, &mut assigned.warmup)] {
        for task in wanted {
            let is_held = owners.is_active_in(task, process) || owners.keeps_state(task, process);
            if !has.contains(task) && is_free(is_held) {
                has.insert(task.clone());
            }
        }
    }
    let state = if waits { MemberState::Unreleased } else { MemberState::Stable };
    Ok(next(state, target_epoch, assigned, Assigned::default()))
}
