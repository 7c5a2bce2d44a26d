//! What tells a record from all others, and is the same when it is read again after a crash.

use std::collections::HashMap;

use tidewater_types::{Offset, RecordPlace, Topic};

use crate::task::Core;

/// The numbers of records that come again, after others, begin here: of a flushed cache, or of calls that were answered.
const COMES_AGAIN: u32 = 1 << 31;

/// Names the records that come to one node.
#[derive(Default)]
pub(crate) struct Origins {
    last: Option<RecordPlace>,
    /// How many records came of the last place before: one upstream may have become several.
    siblings: u32,
    /// The largest offset that came, by topic.
    highest: Vec<(Topic, Offset)>,
    /// How often places below that have come again since the last commit, before which all of theirs have come.
    again: HashMap<(Topic, Offset), u32>,
    commits: u64,
}

impl Origins {
    /// The origin of the record at work: offset (8), partition (4), number among its siblings (4), topic. `None` if it comes of
    /// no record, as from a punctuation.
    pub fn next(&mut self, core: &Core) -> Option<Vec<u8>> {
        let place = core.context.place.as_ref()?;
        if self.commits != core.commits {
            self.commits = core.commits;
            self.again.clear();
        }
        if self.last.as_ref() == Some(place) {
            self.siblings += 1;
        } else {
            self.siblings = self.first_number(place);
            self.last = Some(place.clone());
        }
        if self.siblings >= COMES_AGAIN {
            self.again.insert((place.topic.clone(), place.offset), self.siblings + 1);
        }
        let mut out = Vec::with_capacity(16 + place.topic.len());
        out.extend_from_slice(&place.offset.0.to_be_bytes());
        out.extend_from_slice(&place.partition.to_be_bytes());
        out.extend_from_slice(&self.siblings.to_be_bytes());
        out.extend_from_slice(place.topic.as_bytes());
        Some(out)
    }

    fn first_number(&mut self, place: &RecordPlace) -> u32 {
        match self.highest.iter_mut().find(|(topic, _)| *topic == place.topic) {
            Some((_, highest)) if place.offset > *highest => *highest = place.offset,
            Some(_) => {
                let again = self.again.get(&(place.topic.clone(), place.offset));
                return again.copied().unwrap_or(COMES_AGAIN);
            }
            None => self.highest.push((place.topic.clone(), place.offset)),
        }
        0
    }
}
