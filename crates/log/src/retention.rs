//! Dropping whole segments by age and by size.

use tidewater_types::Timestamp;

use crate::{LogError, PartitionLog, RetentionClock};

impl PartitionLog {
    /// Removes closed segments that `retention.ms` and `retention.bytes` no longer keep, and says how many.
    ///
    /// As in Kafka, age is that of a segment's largest timestamp, and an active segment that is too old is closed first.
    /// Where the topic says so, age is measured against the partition's own newest record: see [`RetentionClock`].
    ///
    /// # Errors
    /// When the files cannot be removed, or the active segment cannot be closed; those before it are gone then.
    pub fn expire(&mut self, now: Timestamp) -> Result<usize, LogError> {
        if !self.config.cleanup.delete || self.is_retired() {
            return Ok(0);
        }
        let now = match self.config.retention_clock {
            RetentionClock::Wall => now,
            RetentionClock::Records => now.min(self.max_timestamp()),
        };
        let too_old = |newest: Timestamp, retention: Option<_>| {
            retention.is_some_and(|retention| now.0.saturating_sub(newest.0) > Timestamp::from(retention).0)
        };
        let retention = self.config.retention;
        // Nothing at all is to be kept.
        let keeps_nothing = self.config.retention_bytes == Some(0);
        let is_over = self.active.size > 0 && (keeps_nothing || too_old(self.active.newest(), retention));
        // A log that was stopped, or has no room for another segment, gives back room all the same.
        let rolled = if is_over && self.is_in_service() { self.roll() } else { Ok(()) };
        let mut surplus = self.config.retention_bytes.map_or(0, |limit| self.size().saturating_sub(limit));
        let mut removed = 0;
        while let Some(oldest) = self.closed.first() {
            // Readers see what lies below the high watermark; nothing above it is dropped.
            let by_age = too_old(oldest.newest(), retention);
            let by_size = oldest.size <= surplus && surplus > 0;
            if !(by_age || by_size) || oldest.next_offset > self.high_watermark() {
                break;
            }
            surplus = surplus.saturating_sub(oldest.size);
            let oldest = self.closed.remove(0);
            self.log_start = self.log_start.max(self.closed.first().map_or(self.active.base, |next| next.base));
            oldest.files.remove(&self.disk)?;
            removed += 1;
        }
        rolled.map(|()| removed)
    }
}
