//! What tells a record from all others, and is the same when it is read again after a crash.

use tidewater_types::RecordPlace;

use crate::task::Core;

/// Names the records that come to one node.
#[derive(Default)]
pub(crate) struct Origins {
    last: Option<RecordPlace>,
    /// How many records came of the last place before: one upstream may have become several.
    siblings: u32,
}

impl Origins {
    /// The origin of the record at work: offset (8), partition (4), number among its siblings (4), topic.
    pub fn next(&mut self, core: &Core) -> Vec<u8> {
        if self.last == core.context.place {
            self.siblings += 1;
        } else {
            self.last.clone_from(&core.context.place);
            self.siblings = 0;
        }
        let mut out = Vec::new();
        if let Some(place) = &self.last {
            out.extend_from_slice(&place.offset.0.to_be_bytes());
            out.extend_from_slice(&place.partition.to_be_bytes());
            out.extend_from_slice(&self.siblings.to_be_bytes());
            out.extend_from_slice(place.topic.as_bytes());
        }
        out
    }
}
