//! Joining two tables by a key that is taken from the left one's rows.

use std::marker::PhantomData;
use std::sync::Arc;

use tidewater_types::Partition;

use super::Topic;
use super::builder::source_maker;
use super::handle::{SerdeSlot, lock, maker};
use super::sink::sink_maker;
use super::table::{KTable, source_getter};
use crate::codec::{Data, Field, Serde};
use crate::error::UserError;
use crate::graph::{ForeignJoinOp, OpKind, SinkMaker};
use crate::node::foreign_join::{
    Answer, ChoosePartition, ForeignChange, ForeignKey, JoinForeign, Receive, Register, Registration,
    RegistrationCodec, Resolve, Response, ResponseCodec, ResponseSink,
};
use crate::node::sink::{ChoosePartitions, Routing};
use crate::node::source::TimestampExtractor;
use crate::node::table::{TableSource, TableStore};
use crate::task::Node;

/// How the tables of a join by foreign key are partitioned, if not by the hashes of their keys: Kafka Streams' `TableJoined`.
pub struct TableJoined<K, FK> {
    keys: Option<ChoosePartition<K>>,
    foreign_keys: Option<ChoosePartition<FK>>,
}

impl<K, FK> Default for TableJoined<K, FK> {
    fn default() -> Self {
        TableJoined { keys: None, foreign_keys: None }
    }
}

impl<K, FK> TableJoined<K, FK> {
    /// Names the partition of the left table's keys, given how many there are.
    #[must_use]
    pub fn partitioned_by(mut self, choose: impl Fn(&K, Partition) -> Partition + Send + Sync + 'static) -> Self {
        self.keys = Some(Arc::new(choose));
        self
    }

    /// Names the partition of the other table's keys, given how many there are.
    #[must_use]
    pub fn other_partitioned_by(
        mut self,
        choose: impl Fn(&FK, Partition) -> Partition + Send + Sync + 'static,
    ) -> Self {
        self.foreign_keys = Some(Arc::new(choose));
        self
    }
}

impl<K: Data, V: Data> KTable<K, V> {
    /// Joins each row with the row of another table that it names: `foreign_key` takes that table's key from it. Rows that name
    /// none, or for which there is none, are left out; a joined value of `None` leaves the row out as well.
    ///
    /// Keeps the rows of both tables, and a registration for each left row on the right side. Goes through two topics of the
    /// application's own, so the tables need not be partitioned alike.
    /// Updates count when they come, whatever their time.
    pub fn join_foreign<FK: Data, FV: Data, F: Field<Some = FK>, R: Field>(
        &self,
        other: &KTable<FK, FV>,
        foreign_key: impl Fn(&K, &V) -> F + Send + Sync + 'static,
        join: impl Fn(&V, &FV) -> R + Send + Sync + 'static,
    ) -> KTable<K, R::Some> {
        let foreign_key = move |key: &K, value: &V| Ok(foreign_key(key, value));
        self.try_join_foreign_any(other, false, foreign_key, move |row, other| {
            Ok(other.and_then(|other| join(row, other).into_some()))
        })
    }

    /// The same, with `None` for rows that name none, or for which there is none. State, internal topics and deletions are as with
    /// [`KTable::join_foreign`].
    pub fn left_join_foreign<FK: Data, FV: Data, F: Field<Some = FK>, R: Field>(
        &self,
        other: &KTable<FK, FV>,
        foreign_key: impl Fn(&K, &V) -> F + Send + Sync + 'static,
        join: impl Fn(&V, Option<&FV>) -> R + Send + Sync + 'static,
    ) -> KTable<K, R::Some> {
        let foreign_key = move |key: &K, value: &V| Ok(foreign_key(key, value));
        self.try_join_foreign_any(other, true, foreign_key, move |row, other| Ok(join(row, other).into_some()))
    }

    /// A join by foreign key of either kind, with closures that may fail.
    pub fn try_join_foreign_any<FK: Data, FV: Data, F: Field<Some = FK>, R: Data>(
        &self,
        other: &KTable<FK, FV>,
        left: bool,
        foreign_key: impl Fn(&K, &V) -> Result<F, UserError> + Send + Sync + 'static,
        join: impl Fn(&V, Option<&FV>) -> Result<Option<R>, UserError> + Send + Sync + 'static,
    ) -> KTable<K, R> {
        self.try_join_foreign_with(other, left, TableJoined::default(), foreign_key, join)
    }

    /// The same, for tables that are not partitioned by the hashes of their keys.
    pub fn try_join_foreign_with<FK: Data, FV: Data, F: Field<Some = FK>, R: Data>(
        &self,
        other: &KTable<FK, FV>,
        left: bool,
        joined: TableJoined<K, FK>,
        foreign_key: impl Fn(&K, &V) -> Result<F, UserError> + Send + Sync + 'static,
        join: impl Fn(&V, Option<&FV>) -> Result<Option<R>, UserError> + Send + Sync + 'static,
    ) -> KTable<K, R> {
        let op = lock(&self.handle.plan).ops.len();
        let (key, value) = (self.key.get::<K>(), self.value.get::<V>());
        let (foreign_serde, foreign_value) = (other.key.get::<FK>(), other.value.get::<FV>());
        let registration = Serde::new(RegistrationCodec(key.clone()));
        let response = Serde::new(ResponseCodec(foreign_value));
        let foreign_key: ForeignKey<K, V, FK> =
            Arc::new(move |key, value| foreign_key(key, value).map(Field::into_some));
        let join: JoinForeign<V, FV, R> = Arc::new(join);

        let register = {
            let (foreign_serde, value) = (foreign_serde.clone(), value.clone());
            maker(move |build| Register {
                id: build.node,
                foreign_key: foreign_key.clone(),
                foreign_serde: foreign_serde.clone(),
                value: value.clone(),
                left,
                versioned: build.facts(op).versioned_inputs.first() == Some(&true),
            })
        };
        let receive = {
            let (foreign_serde, registration, key) = (foreign_serde.clone(), registration.clone(), key.clone());
            maker(move |build| {
                let store = build.access(&build.facts(op).stores["registrations"], &foreign_serde, &registration);
                Receive::<K, FK> { id: build.node, store, primary_serde: key.clone() }
            })
        };
        let answer = {
            let right = other.getter.clone();
            maker(move |build| Answer::<K, FK, FV> { id: build.node, right: right(build), types: PhantomData })
        };
        let foreign_change = {
            let (foreign_serde, registration) = (foreign_serde.clone(), registration.clone());
            maker(move |build| {
                let store = build.access(&build.facts(op).stores["registrations"], &foreign_serde, &registration);
                let versioned = build.facts(op).versioned_inputs.get(1) == Some(&true);
                ForeignChange::<K, FK, FV> { id: build.node, store, versioned, types: PhantomData }
            })
        };
        let resolve = {
            let (rows, value) = (self.getter.clone(), value);
            maker(move |build| Resolve {
                id: build.node,
                rows: rows(build),
                value: value.clone(),
                join: join.clone(),
                left,
            })
        };
        let result_value = Serde::<R>::default();
        let getter = source_getter(op, key.clone(), result_value.clone());
        let result = {
            let key = key.clone();
            maker(move |build| {
                let (store, send_old) = (build.facts(op).store.clone(), build.facts(op).send_old);
                let store = store.map(|store| {
                    let access = build.access_of(op, &store, &key, &result_value);
                    TableStore::open(build, access, send_old)
                });
                TableSource::<K, R, K, Option<R>> { id: build.node, store, types: PhantomData }
            })
        };
        let registration_topic =
            Topic::<Option<FK>, Registration<K>>::named("").with_serdes(foreign_serde.clone(), registration.clone());
        let response_topic = Topic::<K, Response<FV>>::named("").with_serdes(key.clone(), response.clone());
        let TableJoined { keys, foreign_keys } = joined;
        let response_sink: SinkMaker = Arc::new(move |build, topic| {
            let (topic, partition) = (build.topic(topic), keys.clone());
            Box::new(ResponseSink { partition, topic, key: key.clone(), value: response.clone() }) as Box<dyn Node>
        });
        let partitions = foreign_keys.map(|choose| {
            let choose = move |_: &str, key: &Option<FK>, _: &Registration<K>, count| {
                key.as_ref().map(|key| vec![choose(key, count)])
            };
            Arc::new(choose) as ChoosePartitions<Option<FK>, Registration<K>>
        });
        let kind = OpKind::ForeignJoin(Box::new(ForeignJoinOp {
            register,
            registration_sink: sink_maker::<Option<FK>, Registration<K>, Option<FK>, Registration<K>>(
                foreign_serde,
                registration,
                Routing { topic: None, partitions },
            ),
            registration_source: source_maker(&registration_topic, TimestampExtractor::FailOnInvalid),
            receive,
            answer,
            foreign_change,
            response_sink,
            response_source: source_maker(&response_topic, TimestampExtractor::FailOnInvalid),
            resolve,
            result,
        }));
        KTable::new(self.handle.join(&[&other.handle], kind), self.key.clone(), SerdeSlot::default(), getter)
    }
}
