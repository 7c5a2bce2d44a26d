//! Cogroups: several grouped streams of one key, aggregated into one table.

use std::marker::PhantomData;
use std::sync::Arc;

use super::group::{GroupedStream, aggregate_op};
use super::handle::{Handle, SerdeSlot, lock, maker};
use super::table::{KTable, store_getter};
use super::window::{
    Aggregator, Sessions, TimeKind, Windows, session_getter, session_op, user_functions, user_merge, window_getter,
    windowed_op,
};
use crate::codec::{Data, Field, Serde, SessionWindowed, Windowed};
use crate::error::UserError;
use crate::graph::{AggregateOp, OpId, OpKind};
use crate::node::aggregate::Merge;
use crate::node::change::Change;
use crate::node::closing::Emit;
use crate::node::stateless::Pass;
use crate::node::table::GetterMaker;

const PREFIX: &str = "COGROUPKSTREAM-AGGREGATE-";

/// What a cogroup is aggregated by: nothing but the key, windows, or sessions.
#[derive(Clone)]
enum By<K: Field, A: Field> {
    Key,
    Windows(TimeKind),
    Sessions(Sessions, Merge<K::Some, A::Some>),
}

type Initial<A> = Arc<dyn Fn() -> A + Send + Sync>;

/// One side of a cogroup: its operator, made once the initial value and the windows are known.
type Side<K, A> = Arc<dyn Fn(OpId, Initial<A>, By<K, A>) -> AggregateOp>;

/// Several grouped streams of one key, to be aggregated into one table.
///
/// Keeps one store for all streams. Each stream is repartitioned if its key may have changed. Records whose key is null are
/// left out; without windows also those whose value is.
pub struct CogroupedStream<K: Field, A: Field> {
    pub(crate) handle: Handle,
    key: SerdeSlot,
    sides: Vec<(Handle, Side<K, A>)>,
}

impl<K: Field, A: Field> Clone for CogroupedStream<K, A> {
    fn clone(&self) -> Self {
        CogroupedStream { handle: self.handle.clone(), key: self.key.clone(), sides: self.sides.clone() }
    }
}

impl<K: Field, A: Field> CogroupedStream<K, A> {
    pub(crate) fn new(handle: Handle, key: SerdeSlot) -> Self {
        CogroupedStream { handle, key, sides: vec![] }
    }

    /// Adds a grouped stream and how its values are aggregated.
    ///
    /// Each grouped stream repartitions if its key may have changed; all have equally many partitions, or the application does not
    /// start. State, nulls and late records are those of the aggregation that ends the cogroup: one store for all streams.
    #[must_use]
    pub fn cogroup<V: Field>(
        self,
        group: &GroupedStream<K, V>,
        add: impl Fn(&K::Some, V, A) -> A + Send + Sync + 'static,
    ) -> Self {
        self.try_cogroup(group, move |key, value, aggregate| Ok(add(key, value, aggregate)))
    }

    /// [`CogroupedStream::cogroup`] with an aggregator that may fail.
    #[must_use]
    pub fn try_cogroup<V: Field>(
        mut self,
        group: &GroupedStream<K, V>,
        add: impl Fn(&K::Some, V, A) -> Result<A, UserError> + Send + Sync + 'static,
    ) -> Self {
        let (side_group, add) = (group.clone(), Arc::new(add));
        let side: Side<K, A> = Arc::new(move |op, init, by| {
            let add = add.clone();
            let no_serde = SerdeSlot::default();
            let (init, add) = user_functions(move || init(), move |key: &K::Some, value: V, a: A| add(key, value, a));
            let functions = Aggregator { prefix: PREFIX, is_count: false, init, add };
            match by {
                By::Key => {
                    let Aggregator { init, add, .. } = functions;
                    let add = Arc::new(move |key: &K::Some, value: V::Some, a| add(key, V::from_some(value), a));
                    aggregate_op::<K, V, A::Some>(op, &side_group, PREFIX, false, init, add, no_serde)
                }
                By::Windows(kind) => windowed_op(op, &side_group, kind, Emit::default(), functions, &no_serde),
                By::Sessions(windows, merge) => {
                    session_op(op, &side_group, windows, Emit::default(), functions, merge, &no_serde)
                }
            }
        });
        self.sides.push((group.handle.clone(), side));
        self
    }

    /// Aggregates in windows.
    pub fn windowed_by<W: Windows>(&self, windows: W) -> W::Cogroup<K, A> {
        windows.apply_to_cogroup(self)
    }

    /// Aggregates the values of each key over all streams, beginning with `init`.
    ///
    /// Keeps one store for all, with a changelog; streams whose keys were changed go through repartition topics. Records
    /// without a key or value are left out.
    pub fn aggregate(&self, init: impl Fn() -> A + Send + Sync + 'static) -> KTable<K::Some, A::Some> {
        let key = self.key.clone();
        self.aggregated(Arc::new(init), By::Key, key, |op| store_getter(op, self.key.get::<K>(), Serde::default()))
    }

    fn aggregated<TK: Data>(
        &self,
        init: Initial<A>,
        by: By<K, A>,
        key: SerdeSlot,
        getter: impl FnOnce(OpId) -> GetterMaker<TK, A::Some>,
    ) -> KTable<TK, A::Some> {
        let op = lock(&self.handle.plan).ops.len();
        let sides = self.sides.iter().map(|(_, side)| side(op, init.clone(), by.clone())).collect();
        let merge = maker(|build| Pass::<TK, Change<A::Some>> { id: build.node, types: PhantomData });
        let others: Vec<&Handle> = self.sides.iter().skip(1).map(|(handle, _)| handle).collect();
        let first = self.sides.first().map_or(&self.handle, |(handle, _)| handle);
        let handle = first.join(&others, OpKind::CogroupAggregate { sides, merge });
        KTable::new(handle, key, SerdeSlot::default(), getter(op))
    }
}

/// A cogroup in tumbling, hopping, sliding or unlimited windows.
pub struct TimeWindowedCogroup<K: Field, A: Field> {
    pub(crate) cogroup: CogroupedStream<K, A>,
    pub(crate) kind: TimeKind,
}

impl<K: Field, A: Field> TimeWindowedCogroup<K, A> {
    /// Aggregates the values of each key in each window over all streams, beginning with `init`.
    ///
    /// Keeps a window store with a changelog; streams whose keys were changed go through repartition topics. Records without
    /// a key or value, and those that come later than the grace, are left out.
    pub fn aggregate(&self, init: impl Fn() -> A + Send + Sync + 'static) -> KTable<Windowed<K::Some>, A::Some> {
        let key = &self.cogroup.key;
        let table_key = SerdeSlot::of(Windowed::serde(key.get::<K>(), self.kind.size_ms()));
        let getter = |op| window_getter::<K, A::Some>(op, key, &SerdeSlot::default());
        self.cogroup.aggregated(Arc::new(init), By::Windows(self.kind), table_key, getter)
    }
}

/// A cogroup in sessions.
pub struct SessionWindowedCogroup<K: Field, A: Field> {
    pub(crate) cogroup: CogroupedStream<K, A>,
    pub(crate) windows: Sessions,
}

impl<K: Field, A: Field> SessionWindowedCogroup<K, A> {
    /// Aggregates the values of each session over all streams, beginning with `init`; `merge` combines sessions that grow
    /// together.
    ///
    /// Keeps a session store with a changelog; streams whose keys were changed go through repartition topics. Records without
    /// a key or value, and those that come later than the grace, are left out.
    pub fn aggregate(
        &self,
        init: impl Fn() -> A + Send + Sync + 'static,
        merge: impl Fn(&K::Some, A, A) -> A + Send + Sync + 'static,
    ) -> KTable<SessionWindowed<K::Some>, A::Some> {
        self.try_aggregate(init, move |key, a, b| Ok(merge(key, a, b)))
    }

    /// [`SessionWindowedCogroup::aggregate`] with a merger that may fail.
    pub fn try_aggregate(
        &self,
        init: impl Fn() -> A + Send + Sync + 'static,
        merge: impl Fn(&K::Some, A, A) -> Result<A, UserError> + Send + Sync + 'static,
    ) -> KTable<SessionWindowed<K::Some>, A::Some> {
        let init: Initial<A> = Arc::new(init);
        let merge = user_merge(init.clone(), merge);
        let key = &self.cogroup.key;
        let table_key = SerdeSlot::of(SessionWindowed::serde(key.get::<K>()));
        let getter = |op| session_getter::<K, A::Some>(op, key, &SerdeSlot::default());
        self.cogroup.aggregated(init, By::Sessions(self.windows, merge), table_key, getter)
    }
}
