//! Groups under members that do anything in any order, with time passing, writes that fail, and restarts.

mod classic;
mod consumer;
mod mixed;

use tidewater_protocol::StrBytes;
use tidewater_types::{Offset, TopicPartition};

use super::*;
use crate::journal::Producer;

const GROUP: &str = "g";
/// Of requests of the classic protocol.
const VERSION: i16 = 9;
const SESSION_MS: i32 = 10_000;
const REBALANCE_MS: i32 = 20_000;

#[derive(Default)]
pub(super) struct Log {
    pub records: Vec<Record>,
    pub fails: bool,
}

impl Journal for Log {
    fn append_as(&mut self, _: &str, _: Option<Producer>, records: Vec<Record>) -> Result<(), ResponseError> {
        if std::mem::take(&mut self.fails) {
            return Err(ResponseError::NotCoordinator);
        }
        self.records.extend(records);
        Ok(())
    }
}

/// Topics that may change.
#[derive(Default)]
pub(super) struct SomeTopics {
    version: u64,
    pub topics: BTreeMap<String, (Uuid, i32)>,
}

impl SomeTopics {
    pub fn set(&mut self, name: &str, partitions: i32) {
        self.version += 1;
        let id = Uuid::from_u128(1000 + u128::from(name.as_bytes()[0]));
        self.topics.insert(name.to_owned(), (id, partitions));
    }
}

impl Topics for SomeTopics {
    fn version(&self) -> u64 {
        self.version
    }

    fn find(&self, name: &str) -> Option<(Uuid, i32)> {
        self.topics.get(name).copied()
    }

    fn name_of(&self, id: Uuid) -> Option<String> {
        self.topics.iter().find(|(_, (known, _))| *known == id).map(|(name, _)| name.clone())
    }

    fn names(&self) -> Vec<String> {
        self.topics.keys().cloned().collect()
    }
}

/// What the groups of a test have around them.
pub(super) struct Around {
    pub log: Log,
    pub now: Duration,
    pub settings: GroupSettings,
    pub own_settings: OwnSettings,
    pub topics: SomeTopics,
    /// Ids given so far.
    pub made: u128,
}

impl Default for Around {
    fn default() -> Self {
        Around {
            log: Log::default(),
            now: Duration::from_secs(1),
            settings: GroupSettings::default(),
            own_settings: OwnSettings::default(),
            topics: SomeTopics::default(),
            made: 0,
        }
    }
}

impl Around {
    pub fn change<R>(&mut self, groups: &mut Groups, change: impl FnOnce(&mut Groups, &mut Outside<'_>) -> R) -> R {
        let made = &mut self.made;
        let mut outside = Outside {
            now: self.now,
            wall: Timestamp(self.now.as_millis() as i64),
            settings: &self.settings,
            own_settings: &self.own_settings,
            journal: &mut self.log,
            topics: &self.topics,
            new_id: &mut || {
                *made += 1;
                Uuid::from_u128(*made)
            },
        };
        change(groups, &mut outside)
    }

    /// The groups that are in the log.
    pub fn replayed(&self) -> Groups {
        let mut groups = Groups::default();
        for (key, value) in &self.log.records {
            groups.replay(None, key, value.as_deref());
        }
        groups.start(self.now, &self.settings, &self.own_settings);
        groups
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// An offset of the first partition of a topic, of that topic's id if it is noted.
fn offset_of(topic: &str, partition: i32, topic_id: Option<Uuid>, offset: i64) -> (TopicPartition, Committed) {
    let (offset, metadata, at) = (Offset(offset), String::new(), Timestamp(0));
    let committed = Committed { offset, leader_epoch: -1, metadata, at, expires: None, topic_id };
    (TopicPartition::new(topic, partition), committed)
}

fn topic_name(name: &str) -> tidewater_protocol::messages::TopicName {
    tidewater_protocol::messages::TopicName(text(name))
}
