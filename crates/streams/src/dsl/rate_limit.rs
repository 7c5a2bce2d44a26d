//! Letting only so many records of a key through in a time: beyond Kafka Streams.

use std::marker::PhantomData;
use std::time::Duration;

use tidewater_state::StoreKind;
use tidewater_types::{Record, Timestamp};

use super::KStream;
use super::handle::{lock, maker};
use crate::codec::{CodecError, Field, Serde};
use crate::error::{BuildError, FailureKind, TaskError};
use crate::graph::{OpKind, StatefulOp};
use crate::node::origin::Origins;
use crate::node::{Boxed, murmur3};
use crate::task::{Core, DropReason, Node, NodeId, StoreAccess, take_record};

/// How many records of a key may go on in any stretch of time; see [`KStream::rate_limit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    records: usize,
    per_ms: i64,
}

impl RateLimit {
    /// At most so many records of a key in any stretch of event time of this length. The store has 24 bytes for each of them.
    pub fn of(records: usize, per: Duration) -> Self {
        RateLimit { records, per_ms: Timestamp::from(per).0 }
    }

    /// How long records that went on are remembered.
    fn remembered_ms(self) -> i64 {
        self.per_ms.saturating_mul(2)
    }
}

impl<K: Field, V: Field> KStream<K, V> {
    /// Lets at most so many records of a key through in a time, and drops the others, which are counted as
    /// [`DropReason::OverLimit`]: an addition to Kafka Streams.
    ///
    /// It goes by the records' timestamps: no stretch of that length has more records that went on, in whatever order they
    /// came. The store has a changelog, and keeps the times and places of the records of a key that went on, until twice the
    /// time has passed; a record that is older than that, by stream time, is late, and dropped. A record that is read again after a crash goes on again. A repartition comes before it if the key may
    /// have changed. Records without a key are dropped; ones without a value are records like others.
    pub fn rate_limit(&self, limit: RateLimit) -> Self {
        if limit.records == 0 || limit.per_ms <= 0 {
            let what = format!("{} records in {} ms; it must be at least 1 in 1 ms", limit.records, limit.per_ms);
            self.handle.fail(BuildError::InvalidSetting { name: "rate_limit".to_owned(), what });
        }
        let op = lock(&self.handle.plan).ops.len();
        let key = self.key.get::<K>();
        let node = maker(move |build| {
            let passed = build.access(&build.facts(op).stores["own"], &key, &Serde::<()>::default());
            RateLimitNode::<K, V> { id: build.node, passed, limit, origins: Origins::default(), types: PhantomData }
        });
        let kind = OpKind::Stateful(StatefulOp {
            prefix: "KSTREAM-RATELIMIT-",
            node,
            store: StoreKind::KeyValue { timestamped: true },
            ttl_ms: Some(limit.remembered_ms()),
            repartition: Some(self.repartition_maker()),
        });
        KStream::new(self.handle.then(kind), self.key.clone(), self.value.clone())
    }
}

/// A record that went on: its time, and what tells where it came from.
type Passed = (i64, [u8; 16]);
const PASSED_BYTES: usize = 24;

struct RateLimitNode<K: Field, V> {
    id: NodeId,
    /// By key, behind the newest time (8): time (8) and place (16) of each record that went on, by time.
    passed: StoreAccess<K::Some, ()>,
    limit: RateLimit,
    origins: Origins,
    types: PhantomData<fn(V)>,
}

/// Whether one more record fits: no `limit.records + 1` neighbours may lie within the time.
fn fits(passed: &[Passed], at: usize, time: i64, limit: RateLimit) -> bool {
    let time_at = |index: usize| match index.cmp(&at) {
        std::cmp::Ordering::Less => passed[index].0,
        std::cmp::Ordering::Equal => time,
        std::cmp::Ordering::Greater => passed[index - 1].0,
    };
    let firsts = at.saturating_sub(limit.records)..=at;
    firsts
        .filter(|first| first + limit.records <= passed.len())
        .all(|first| time_at(first + limit.records) - time_at(first) >= limit.per_ms)
}

fn read_passed(raw: &[u8]) -> Option<Vec<Passed>> {
    let entries = raw.get(8..)?.chunks_exact(PASSED_BYTES);
    entries
        .map(|entry| {
            let (time, place) = entry.split_first_chunk::<8>()?;
            Some((i64::from_be_bytes(*time), place.try_into().ok()?))
        })
        .collect()
}

impl<K: Field, V: Field> Node for RateLimitNode<K, V> {
    fn process(&mut self, core: &mut Core, record: Boxed<'_>) -> Result<(), TaskError> {
        let record: Record<K, V> = take_record(record);
        let Some(key) = record.key.as_some() else {
            core.drop_record(DropReason::NullKey);
            return Ok(());
        };
        let raw_key = self.passed.key_bytes(key)?;
        let time = record.timestamp.0;
        if time.saturating_add(self.limit.remembered_ms()) <= core.stream_time.0 {
            // What went on at its time is forgotten.
            core.drop_record(DropReason::Late);
            return Ok(());
        }
        let origin = self.origins.next(core);
        let place = origin.as_deref().map_or([0; 16], murmur3::hash128);
        let malformed = || TaskError::new(FailureKind::State, CodecError::new("rate limit", "not in its layout"));
        let found = core.stores[self.passed.id].get(&raw_key, read_passed)?;
        let mut passed = found.map_or(Ok(Vec::new()), |passed| passed.ok_or_else(malformed))?;
        if origin.is_some() && passed.contains(&(time, place)) {
            // It was here before a crash.
            return core.forward(self.id, record);
        }
        let at = passed.partition_point(|(other, _)| *other <= time);
        if !fits(&passed, at, time, self.limit) {
            core.drop_record(DropReason::OverLimit);
            return Ok(());
        }
        passed.insert(at, (time, place));
        let newest = passed.last().map_or(time, |(newest, _)| *newest);
        let kept_from = newest.saturating_sub(self.limit.remembered_ms());
        let mut raw = newest.to_be_bytes().to_vec();
        for (time, place) in passed.iter().filter(|(time, _)| *time > kept_from) {
            raw.extend_from_slice(&time.to_be_bytes());
            raw.extend_from_slice(place);
        }
        self.passed.put_raw(core, &raw_key, Some(&raw))?;
        core.forward(self.id, record)
    }
}
