//! Joining a stream with another stream, or with a table.

use std::any::TypeId;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tidewater_types::Timestamp;

use super::handle::{SerdeSlot, lock, maker};
use super::{JoinWindows, KStream, KTable};
use crate::codec::{Data, Field};
use crate::error::{BuildError, UserError};
use crate::graph::{OpKind, StreamJoinOp, StreamTableJoinOp};
use crate::node::stateless::Pass;
use crate::node::stream_join::{JoinPair, JoinWindowStore, SelfJoin, StreamJoinSide};
use crate::node::stream_table_join::{JoinBuffer, JoinRow, StreamTableJoin};

impl<K: Field, V: Field> KStream<K, V> {
    /// Joins records of one key that lie within a window of each other. Null keys and null values are left out.
    ///
    /// Keeps the records of both sides for the window and its grace, in stores with changelogs; records that come later than that
    /// meet nothing. Repartitions a side whose key may have changed; both sides have equally many partitions, or the application does
    /// not start.
    pub fn join<V2: Field, R: Clone + Send + 'static>(
        &self,
        other: &KStream<K, V2>,
        windows: JoinWindows,
        join: impl Fn(&V::Some, &V2::Some) -> R + Send + Sync + 'static,
    ) -> KStream<K, R> {
        self.try_join_any(other, windows, false, false, move |_, left, right| match (left, right) {
            (Some(left), Some(right)) => Ok(join(left, right)),
            _ => unreachable!("an inner join has both sides"),
        })
    }

    /// The same, and left records that find no partner are sent with `None` when their window is closed.
    /// Records without a key are sent alone at once.
    ///
    /// Keeps unmatched records in a further store. One that comes after stream time has passed its window is sent alone at once, though
    /// the grace is not over, as in Kafka Streams.
    pub fn left_join<V2: Field, R: Clone + Send + 'static>(
        &self,
        other: &KStream<K, V2>,
        windows: JoinWindows,
        join: impl Fn(&V::Some, Option<&V2::Some>) -> R + Send + Sync + 'static,
    ) -> KStream<K, R> {
        self.try_join_any(other, windows, true, false, move |_, left, right| match left {
            Some(left) => Ok(join(left, right)),
            None => unreachable!("a left join has the left side"),
        })
    }

    /// The same, for records of either side: one without a key is sent alone at once, one without a value is dropped. Stores,
    /// repartitions and late records are as with [`KStream::left_join`].
    pub fn outer_join<V2: Field, R: Clone + Send + 'static>(
        &self,
        other: &KStream<K, V2>,
        windows: JoinWindows,
        join: impl Fn(Option<&V::Some>, Option<&V2::Some>) -> R + Send + Sync + 'static,
    ) -> KStream<K, R> {
        self.try_join_any(other, windows, true, true, move |_, left, right| Ok(join(left, right)))
    }

    /// A join of any kind, with a joiner that sees the key, either side of which may be missing, and may fail.
    ///
    /// `left_outer` and `right_outer` say whether records of that side are sent without a partner.
    pub fn try_join_any<V2: Field, R: Clone + Send + 'static>(
        &self,
        other: &KStream<K, V2>,
        windows: JoinWindows,
        left_outer: bool,
        right_outer: bool,
        join: impl Fn(&K, Option<&V::Some>, Option<&V2::Some>) -> Result<R, UserError> + Send + Sync + 'static,
    ) -> KStream<K, R> {
        let op = lock(&self.handle.plan).ops.len();
        if right_outer && !left_outer {
            let what =
                "a join that sends only the right side's records alone: begin with that side, and send the left one's";
            self.handle.fail(BuildError::Misuse(what.to_owned()));
        }
        let span = windows.span;
        if span.before_ms.saturating_add(span.after_ms) < 0 {
            let what = format!(
                "a window from {} to {} ms ends before it begins",
                span.before_ms.saturating_neg(),
                span.after_ms
            );
            self.handle.fail(BuildError::InvalidWindow { operator: "join".to_owned(), what });
        }
        let join: JoinPair<K, V::Some, V2::Some, R> = Arc::new(join);
        let reversed: JoinPair<K, V2::Some, V::Some, R> = {
            let join = join.clone();
            Arc::new(move |key, right, left| join(key, left, right))
        };
        let (key, left_value, right_value) = (self.key.get::<K>(), self.value.get::<V>(), other.value.get::<V2>());

        let left_window = {
            let (key, value) = (key.clone(), left_value.clone());
            maker(move |build| {
                let store = build.facts(op).stores["left"].clone();
                let access = build.access(&store, &key, &value);
                JoinWindowStore::<K, V>::new(build.node, access)
            })
        };
        let right_window = {
            let (key, value) = (key.clone(), right_value.clone());
            maker(move |build| {
                let store = build.facts(op).stores["right"].clone();
                let access = build.access(&store, &key, &value);
                JoinWindowStore::<K, V2>::new(build.node, access)
            })
        };
        let left_side = {
            let (key, this, other, join) = (key.clone(), left_value.clone(), right_value.clone(), join.clone());
            maker(move |build| {
                let stores = build.facts(op).stores.clone();
                StreamJoinSide::<K, V, V2, R> {
                    id: build.node,
                    op,
                    is_left: true,
                    outer: left_outer,
                    span,
                    this_value: this.clone(),
                    other: build.access(&stores["right"], &key, &other),
                    unmatched: stores.get("unmatched").map(|store| build.store_id(store)),
                    join: join.clone(),
                    raw: Vec::new(),
                }
            })
        };
        let right_side = {
            let (key, this, other) = (key.clone(), right_value, left_value.clone());
            maker(move |build| {
                let stores = build.facts(op).stores.clone();
                StreamJoinSide::<K, V2, V, R> {
                    id: build.node,
                    op,
                    is_left: false,
                    outer: right_outer,
                    span,
                    this_value: this.clone(),
                    other: build.access(&stores["left"], &key, &other),
                    unmatched: stores.get("unmatched").map(|store| build.store_id(store)),
                    join: reversed.clone(),
                    raw: Vec::new(),
                }
            })
        };
        let merge = maker(|build| Pass::<K, R> { id: build.node, types: PhantomData });
        let is_self = self.handle.op == other.handle.op && TypeId::of::<V::Some>() == TypeId::of::<V2::Some>();
        let self_join = is_self.then(|| {
            let value = self.value.get::<V>();
            // Both sides have one type, so the partner is of the right type too.
            let join: JoinPair<K, V::Some, V::Some, R> = Arc::new(move |key, left, right| {
                let right = right.and_then(|right| (right as &dyn std::any::Any).downcast_ref::<V2::Some>());
                join(key, left, right)
            });
            maker(move |build| {
                let store = build.facts(op).stores["left"].clone();
                let access = build.access(&store, &key, &value);
                SelfJoin::<K, V, R> { id: build.node, op, span, access, join: join.clone() }
            })
        });
        let kind = OpKind::StreamJoin(Box::new(StreamJoinOp {
            left_outer,
            right_outer,
            left_repartition: self.repartition_maker(),
            right_repartition: other.repartition_maker(),
            left_window,
            right_window,
            left_side,
            right_side,
            merge,
            self_join,
            size_ms: span.before_ms.saturating_add(span.after_ms),
            retention_ms: span.retention_ms(),
            store_name: windows.store_name,
            left_store: windows.left_store,
            right_store: windows.right_store,
            without_changelog: windows.without_changelog,
            changelog: windows.changelog,
        }));
        KStream::new(self.handle.join(&[&other.handle], kind), self.key.clone(), SerdeSlot::default())
    }

    /// Joins each record with the table's row of its key, if there is one. Null keys and null values are left out.
    ///
    /// Keeps nothing but the table's rows. Repartitions the stream if its key may have changed; stream and table have equally many
    /// partitions, or the application does not start. A record meets the row as it is then; of a versioned table, that of its time.
    pub fn join_table<T: Data, R: Clone + Send + 'static>(
        &self,
        table: &KTable<K::Some, T>,
        join: impl Fn(&V::Some, &T) -> R + Send + Sync + 'static,
    ) -> KStream<K, R> {
        self.try_join_table_any(table, false, move |_, value, row| match row {
            Some(row) => Ok(join(value, row)),
            None => unreachable!("an inner join has both sides"),
        })
    }

    /// Joins each record with the table's row of its key, or with `None`. Records without a value are left out; those without a
    /// key are joined with `None`.
    ///
    /// State, repartition and partitions as with [`KStream::join_table`].
    pub fn left_join_table<T: Data, R: Clone + Send + 'static>(
        &self,
        table: &KTable<K::Some, T>,
        join: impl Fn(&V::Some, Option<&T>) -> R + Send + Sync + 'static,
    ) -> KStream<K, R> {
        self.try_join_table_any(table, true, move |_, value, row| Ok(join(value, row)))
    }

    /// A join with a table of either kind, with a joiner that sees the key, and may fail.
    pub fn try_join_table_any<T: Data, R: Clone + Send + 'static>(
        &self,
        table: &KTable<K::Some, T>,
        left: bool,
        join: impl Fn(&K, &V::Some, Option<&T>) -> Result<R, UserError> + Send + Sync + 'static,
    ) -> KStream<K, R> {
        self.joined_table(table, left, None, Arc::new(join))
    }

    /// The same with a versioned table, for records that wait for it: each is joined once stream time has passed its own by
    /// `grace`, with the row as it was at its time. One that comes later than that is joined at once.
    ///
    /// Keeps the waiting records in a store, and in its changelog.
    pub fn try_join_table_with_grace<T: Data, R: Clone + Send + 'static>(
        &self,
        table: &KTable<K::Some, T>,
        left: bool,
        grace: Duration,
        join: impl Fn(&K, &V::Some, Option<&T>) -> Result<R, UserError> + Send + Sync + 'static,
    ) -> KStream<K, R> {
        self.joined_table(table, left, Some(Timestamp::from(grace).0), Arc::new(join))
    }

    fn joined_table<T: Data, R: Clone + Send + 'static>(
        &self,
        table: &KTable<K::Some, T>,
        left: bool,
        grace_ms: Option<i64>,
        join: JoinRow<K, V::Some, T, R>,
    ) -> KStream<K, R> {
        let op = lock(&self.handle.plan).ops.len();
        let getter = table.getter.clone();
        let (key, value) = (self.key.get::<K>(), self.value.get::<V>());
        let node = maker(move |build| {
            let buffer = grace_ms.map(|grace_ms| {
                let store = build.store_id(&build.facts(op).stores["buffer"]);
                JoinBuffer::new(store, key.clone(), value.clone(), grace_ms)
            });
            StreamTableJoin::<K, V, T, R> {
                id: build.node,
                table: getter(build),
                join: join.clone(),
                left,
                buffer,
                types: PhantomData,
            }
        });
        let repartition = self.repartition_maker();
        let kind = OpKind::StreamTableJoin(StreamTableJoinOp { left, node, repartition, grace_ms });
        KStream::new(self.handle.join(&[&table.handle], kind), self.key.clone(), SerdeSlot::default())
    }
}
