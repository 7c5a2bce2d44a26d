//! What groups have committed: whether a commit is taken, and how offsets come and go with groups.

use std::sync::Arc;

use tidewater_protocol::ResponseError;
use tidewater_types::TopicPartition;
use uuid::Uuid;

use super::classic::ClassicGroup;
use super::records::{GROUP_LIMIT_BYTES, offset_key, offset_value};
use super::{Committed, Committer, Group, GroupOffsets, Groups, Outside, Timer};
use crate::journal::Producer;

/// About how large a batch is that deletes offsets: less than a topic takes.
const DELETION_BYTES: usize = 512 << 10;
/// The most that a deletion takes beside the name of the group: a topic's name, a partition, and what frames a record.
const PLACE_BYTES: usize = 300;

impl Groups {
    /// Whether a commit is taken.
    pub fn check_commit(
        &self,
        group: &str,
        committer: &Committer<'_>,
        commits: &[(TopicPartition, Committed)],
        unknown: ResponseError,
    ) -> Result<(), ResponseError> {
        if group.len() > GROUP_LIMIT_BYTES {
            return Err(ResponseError::InvalidGroupId);
        }
        match self.groups.get(group) {
            Some(Group::Classic(group)) => group.check_commit(committer),
            Some(Group::Consumer(group)) => {
                let places = commits.iter().map(|(place, commit)| (commit.topic_id, place.partition));
                group.check_commit(committer, places)
            }
            Some(Group::Streams(group)) => {
                let places = commits.iter().map(|(place, _)| (&*place.topic, place.partition));
                group.check_commit(committer, places)
            }
            None if committer.generation < 0 => Ok(()),
            None => Err(unknown),
        }
    }

    /// Writes offsets of a group, and takes them in; those of a producer's transaction count when it is committed.
    pub fn commit(
        &mut self,
        outside: &mut Outside<'_>,
        group: &str,
        producer: Option<Producer>,
        commits: Vec<(TopicPartition, Committed)>,
    ) -> Result<(), ResponseError> {
        if commits.is_empty() {
            return Ok(());
        }
        let records = commits.iter().map(|(place, commit)| (offset_key(group, place), Some(offset_value(commit))));
        outside.journal.append_as(group, producer, records.collect())?;
        if !self.groups.contains_key(group) {
            self.put(outside, group, Group::Classic(ClassicGroup::new(group.into(), outside.wall)));
        }
        for (place, commit) in commits {
            self.offsets.set(producer.map(|producer| producer.id), group, place, commit);
        }
        Ok(())
    }

    pub fn offsets(&self) -> &GroupOffsets {
        &self.offsets
    }

    /// Whether a member may read a group's offsets; −1 for one that does not say its epoch.
    pub fn check_fetch(&self, group: &str, member: Option<&str>, epoch: i32) -> Result<(), ResponseError> {
        match self.groups.get(group) {
            Some(Group::Consumer(group)) => group.check_fetch(member, epoch),
            Some(Group::Streams(group)) => group.check_fetch(member, epoch),
            Some(Group::Classic(_)) | None => Ok(()),
        }
    }

    /// Forgets the offsets in topics that are not there, or that are others of the same names.
    pub fn retain_topics(&mut self, id_of: impl Fn(&str) -> Option<Uuid>) {
        self.offsets.retain_topics(id_of);
    }

    /// Deletes what all groups have committed for a topic.
    pub fn forget_topic(&mut self, outside: &mut Outside<'_>, topic: &str) -> Result<(), ResponseError> {
        let mut result = Ok(());
        for (group, places) in self.offsets.of_topic(topic) {
            // The others go all the same.
            result = result.and(self.delete_offsets(outside, &group, places));
        }
        result
    }

    fn delete_offsets(
        &mut self,
        outside: &mut Outside<'_>,
        group: &str,
        places: Vec<TopicPartition>,
    ) -> Result<(), ResponseError> {
        if places.is_empty() {
            return Ok(());
        }
        // So many that they fit into a batch. Part of them may be done when one cannot be written; they are not wanted any more.
        let at_once = DELETION_BYTES / (group.len() + PLACE_BYTES);
        for places in places.chunks(at_once.max(1)) {
            outside.journal.append(group, places.iter().map(|place| (offset_key(group, place), None)).collect())?;
            places.iter().for_each(|place| self.offsets.remove(group, place));
        }
        Ok(())
    }

    /// Deletes offsets at an administrator's word; each is told whether somebody has subscribed to its topic.
    pub fn delete_offsets_of(
        &mut self,
        outside: &mut Outside<'_>,
        group: &str,
        places: &[TopicPartition],
    ) -> Result<Vec<Result<(), ResponseError>>, ResponseError> {
        let found = self.groups.get(group).ok_or(ResponseError::GroupIdNotFound)?;
        if let Group::Classic(found) = found {
            found.check_offset_delete()?;
        }
        let check = |place: &TopicPartition| match found.is_subscribed(&place.topic) {
            true => Err(ResponseError::GroupSubscribedToTopic),
            false => Ok(()),
        };
        let checks: Vec<_> = places.iter().map(check).collect();
        let free = places.iter().zip(&checks).filter(|(_, check)| check.is_ok()).map(|(place, _)| place);
        let there = free.filter(|place| self.offsets.knows(group, place)).cloned().collect();
        self.delete_offsets(outside, group, there)?;
        Ok(checks)
    }

    /// Deletes a group without members, with its offsets.
    pub fn delete(&mut self, outside: &mut Outside<'_>, group: &str) -> Result<(), ResponseError> {
        let found = self.groups.get(group).ok_or(ResponseError::GroupIdNotFound)?;
        if !found.is_empty() {
            return Err(ResponseError::NonEmptyGroup);
        }
        let tombstones = found.tombstones(group);
        let places = self.offsets.known(group).into_iter().collect();
        self.delete_offsets(outside, group, places)?;
        outside.journal.append(group, tombstones)?;
        self.timers.cancel(&Timer::FirstAssignment(group.into()));
        self.groups.remove(group);
        Ok(())
    }

    /// Deletes the offsets that nobody has needed for long, and groups that have none left, nor members.
    pub(super) fn expire_offsets(&mut self, outside: &mut Outside<'_>) {
        let retention_ms = i64::try_from(outside.settings.offsets_retention.as_millis()).unwrap_or(i64::MAX);
        let mut expired: Vec<(Arc<str>, Vec<TopicPartition>, bool)> = Vec::new();
        for (name, group) in &self.groups {
            let is_old = |place: &TopicPartition, committed: &Committed| {
                let age_from = group.offset_age_from(committed.at);
                let is_old = age_from.is_some_and(|from| match committed.expires {
                    Some(expires) => outside.wall >= expires,
                    None => outside.wall.0.saturating_sub(from.0) >= retention_ms,
                });
                is_old && !group.is_subscribed(&place.topic) && !self.offsets.is_open(name, place)
            };
            let (old, kept): (Vec<_>, Vec<_>) = self.offsets.all(name).partition(|(place, at)| is_old(place, at));
            let is_over = kept.is_empty() && group.is_empty() && !self.offsets.has_open(name);
            let old: Vec<_> = old.into_iter().map(|(place, _)| place.clone()).collect();
            if is_over || !old.is_empty() {
                expired.push((name.clone(), old, is_over));
            }
        }
        for (group, places, is_over) in expired {
            let done =
                if is_over { self.delete(outside, &group) } else { self.delete_offsets(outside, &group, places) };
            if let Err(error) = done {
                tracing::debug!(group = &*group, %error, "old offsets could not be deleted; it is tried again");
            }
        }
    }
}
