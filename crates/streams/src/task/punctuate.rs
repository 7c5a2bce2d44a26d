//! Punctuation: calls that are due by stream time or by the wall clock.

use std::time::Duration;

use tidewater_types::Timestamp;

use super::core::NodeId;

/// Which time a punctuation goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PunctuationClock {
    /// The largest event time that the task has met. Due times are the multiples of the interval.
    StreamTime,
    /// The wall clock. Due times count from the moment of the call to `schedule`.
    WallClock,
}

/// How often, and by which clock; made by [`every`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Every {
    pub(crate) interval_ms: i64,
    pub(crate) clock: PunctuationClock,
    pub(crate) first: Option<Timestamp>,
}

/// Once in each interval, on stream time unless told otherwise with [`Every::on`].
pub fn every(interval: Duration) -> Every {
    Every { interval_ms: Timestamp::from(interval).0.max(1), clock: PunctuationClock::StreamTime, first: None }
}

impl Every {
    /// By this clock.
    #[must_use]
    pub fn on(self, clock: PunctuationClock) -> Self {
        Every { clock, ..self }
    }

    /// First at this time, then in intervals from it.
    #[must_use]
    pub fn starting(self, first: impl Into<Timestamp>) -> Self {
        Every { first: Some(first.into()), ..self }
    }
}

/// A due call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Punctuation {
    /// The number that `schedule` gave.
    pub schedule: usize,
    /// The time that made it due: not the due time itself, which may lie before.
    pub at: Timestamp,
}

#[derive(Debug)]
struct Schedule {
    node: NodeId,
    interval_ms: i64,
    clock: PunctuationClock,
    next: i64,
    cancelled: bool,
}

/// All schedules of a task.
#[derive(Debug, Default)]
pub(crate) struct Schedules(Vec<Schedule>);

impl Schedules {
    pub fn add(&mut self, node: NodeId, every: Every, wall_clock: Timestamp) -> usize {
        let next = match (every.first, every.clock) {
            (Some(first), _) => first.0,
            (None, PunctuationClock::StreamTime) => 0,
            (None, PunctuationClock::WallClock) => wall_clock.0 + every.interval_ms,
        };
        self.0.push(Schedule { node, interval_ms: every.interval_ms, clock: every.clock, next, cancelled: false });
        self.0.len() - 1
    }

    pub fn cancel(&mut self, schedule: usize) {
        if let Some(schedule) = self.0.get_mut(schedule) {
            schedule.cancelled = true;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next schedule that is due, by due time, already moved on to its next one.
    pub fn take_due(&mut self, clock: PunctuationClock, now: Timestamp) -> Option<(NodeId, usize)> {
        let (number, schedule) = self
            .0
            .iter_mut()
            .enumerate()
            .filter(|(_, schedule)| !schedule.cancelled && schedule.clock == clock && schedule.next <= now.0)
            .min_by_key(|(number, schedule)| (schedule.next, *number))?;
        // Missed due times make one call.
        let missed = (now.0 - schedule.next) / schedule.interval_ms + 1;
        schedule.next += missed * schedule.interval_ms;
        Some((schedule.node, number))
    }

    /// When the wall clock makes a call due next.
    pub fn next_wall_clock(&self) -> Option<Timestamp> {
        let wall =
            self.0.iter().filter(|schedule| !schedule.cancelled && schedule.clock == PunctuationClock::WallClock);
        wall.map(|schedule| Timestamp(schedule.next)).min()
    }
}
