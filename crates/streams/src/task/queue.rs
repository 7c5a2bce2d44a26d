//! The records that wait at a task, and which one is next: that of the smallest timestamp.
//!
//! Topics whose first records have equal timestamps leave in the order of Java's `PriorityQueue`, because Kafka Streams uses
//! one, and the order of a join's results depends on it.

use std::collections::VecDeque;

use bytes::Bytes;
use tidewater_types::{Headers, Offset, Timestamp};

/// A record as it came from the log.
#[derive(Clone, Debug)]
pub struct RawRecord {
    /// Its place in the partition.
    pub offset: Offset,
    /// The timestamp that the log has for it.
    pub timestamp: Timestamp,
    /// The key's bytes.
    pub key: Option<Bytes>,
    /// The value's bytes.
    pub value: Option<Bytes>,
    /// The headers.
    pub headers: Headers,
}

/// The waiting records of one input partition.
#[derive(Debug, Default)]
pub(crate) struct RecordQueue {
    pub waiting: VecDeque<RawRecord>,
    /// Timestamp of the first waiting record, if it is known.
    pub head_time: Option<Timestamp>,
    /// The largest timestamp met so far, or −1.
    pub partition_time: Timestamp,
}

/// Java's binary heap over (timestamp, queue): strict comparisons, ties as they fall.
#[derive(Debug, Default)]
pub(crate) struct JavaHeap(Vec<(Timestamp, usize)>);

impl JavaHeap {
    pub fn push(&mut self, timestamp: Timestamp, queue: usize) {
        self.0.push((timestamp, queue));
        let mut at = self.0.len() - 1;
        while at > 0 {
            let parent = (at - 1) / 2;
            if self.0[at].0 >= self.0[parent].0 {
                break;
            }
            self.0.swap(at, parent);
            at = parent;
        }
    }

    pub fn pop(&mut self) -> Option<usize> {
        let last = self.0.len().checked_sub(1)?;
        let (_, first) = self.0.swap_remove(0);
        let mut at = 0;
        loop {
            let mut child = 2 * at + 1;
            if child >= last {
                break;
            }
            if child + 1 < last && self.0[child + 1].0 < self.0[child].0 {
                child += 1;
            }
            if self.0[at].0 <= self.0[child].0 {
                break;
            }
            self.0.swap(at, child);
            at = child;
        }
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_leave_as_java_has_them() {
        let mut heap = JavaHeap::default();
        for queue in 0..3 {
            heap.push(Timestamp(5), queue);
        }
        // Removal moves the last entry to the root: 2 overtakes 1.
        assert_eq!([heap.pop(), heap.pop(), heap.pop(), heap.pop()], [Some(0), Some(2), Some(1), None]);
    }
}
