//! Dropping repeats: beyond Kafka Streams, in the sense of its proposal KIP-655.

use std::marker::PhantomData;
use std::time::Duration;

use tidewater_state::{Retention, StoreKind};
use tidewater_types::{Record, Timestamp};

use super::KStream;
use super::handle::{lock, maker};
use crate::codec::{Field, Serde};
use crate::error::TaskError;
use crate::graph::{OpKind, StatefulOp};
use crate::node::Boxed;
use crate::node::origin::Origins;
use crate::task::{Core, DropReason, Node, NodeId, StoreAccess, take_record};

/// What counts as a repeat: a record whose key was seen within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distinct {
    within_ms: i64,
    retention_ms: i64,
}

impl Distinct {
    /// Of the records of a key that lie this close together in event time, the first one that comes goes on.
    pub fn within(time: Duration) -> Self {
        let within_ms = Timestamp::from(time).0;
        // A sighting `within` before the newest record, and one `within` before that record's earliest repeat.
        Distinct { within_ms, retention_ms: within_ms.saturating_mul(2).saturating_add(1) }
    }

    /// How long sightings are kept, in event time. Default: twice `within`; less than that is not taken.
    ///
    /// A record that is older than that when it comes is let through, for nothing is known any more. After a crash, records
    /// come again that lie as far behind the newest one as one commit reaches; where that is more, as when years are read
    /// within seconds, a longer retention keeps their repeats out.
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention_ms = self.retention_ms.max(Timestamp::from(retention).0);
        self
    }
}

impl<K: Field, V: Field> KStream<K, V> {
    /// Drops repeats of a key. Records without a key are left out.
    ///
    /// The store keeps for each key and time where the first sighting came from, and lets that same record through again:
    /// so a replay after a crash loses nothing. A repartition comes before it if the key
    /// may have changed.
    pub fn distinct(&self, distinct: Distinct) -> Self {
        let op = lock(&self.handle.plan).ops.len();
        let within_ms = distinct.within_ms;
        let key = self.key.get::<K>();
        let node = maker(move |build| {
            let store = build.facts(op).stores["own"].clone();
            let seen = build.access(&store, &key, &Serde::<()>::default());
            DistinctNode::<K, V> { id: build.node, seen, within_ms, origins: Origins::default(), types: PhantomData }
        });
        let kind = OpKind::Stateful(StatefulOp {
            prefix: "KSTREAM-DISTINCT-",
            node,
            store: StoreKind::Window {
                timestamped: false,
                retention: Retention { ms: distinct.retention_ms },
                size_ms: distinct.retention_ms,
                duplicates: false,
            },
            ttl_ms: None,
            repartition: Some(self.repartition_maker()),
        });
        KStream::new(self.handle.then(kind), self.key.clone(), self.value.clone())
    }
}

struct DistinctNode<K: Field, V> {
    id: NodeId,
    seen: StoreAccess<K::Some, ()>,
    within_ms: i64,
    origins: Origins,
    types: PhantomData<fn(V)>,
}

impl<K: Field, V: Field> Node for DistinctNode<K, V> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let record: Record<K, V> = take_record(record);
        let Some(key) = record.key.as_some() else {
            core.drop_record(DropReason::NullKey);
            return Ok(());
        };
        let raw = self.seen.key_bytes(key)?;
        let time = record.timestamp.0;
        let origin = self.origins.next(core);
        // A record that comes of none, as from a punctuation, is never one that is read again.
        let is_same = |sighting: &[u8]| origin.as_deref() == Some(sighting);
        let store = &mut core.stores[self.seen.id];
        let (from, to) = (time.saturating_sub(self.within_ms), time.saturating_add(self.within_ms));
        let sightings = store.fetch(&raw, from, to, false, is_same)?;
        if sightings.is_empty() {
            let full = core.stores[self.seen.id].next_window_key(&raw, time);
            self.seen.put_raw(core, &full, Some(origin.as_deref().unwrap_or_default()))?;
        } else if !sightings.iter().any(|&(_, is_same)| is_same) {
            return Ok(());
        }
        core.forward(self.id, record)
    }
}
