//! Windows, and aggregation in them.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tidewater_types::Timestamp;

use super::group::{GroupedStream, user_aggregate};
use super::handle::{SerdeSlot, lock, maker};
use super::table::KTable;
use crate::codec::{Data, Field, SessionWindowed, Windowed};
use crate::error::{BuildError, UserError};
use crate::graph::{AggregateOp, OpKind, StoreTemplate};
use crate::node::aggregate::{Add, Init, Merge};
use crate::node::session_aggregate::{self, SessionAggregate, SessionGetter};
use crate::node::table::GetterMaker;
use crate::node::window_aggregate::{self, TimeWindows, WindowAggregate, WindowGetter};

/// A kind of windows: what [`GroupedStream::windowed_by`] takes.
pub trait Windows {
    /// The windowed stream of this kind.
    type Stream<K: Field, V: Field>;

    /// Puts a grouped stream into windows.
    fn apply<K: Field, V: Field>(self, group: &GroupedStream<K, V>) -> Self::Stream<K, V>;
}

/// Windows of one length that follow each other without overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tumbling(TimeWindows);

/// Windows of one length that begin at each advance, and so overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hopping(TimeWindows);

/// Windows that last as long as records of a key follow each other within a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sessions {
    gap_ms: i64,
    grace_ms: i64,
}

fn millis(duration: Duration) -> i64 {
    Timestamp::from(duration).0
}

impl Tumbling {
    /// Windows of this length. Records that come after a window's end are late, unless there is a grace.
    pub fn of(size: Duration) -> Self {
        Tumbling(TimeWindows { size_ms: millis(size), advance_ms: millis(size), grace_ms: 0 })
    }

    /// How long after a window's end its records may still come.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.0.grace_ms = millis(grace);
        self
    }
}

impl Hopping {
    /// Windows of this length.
    pub fn of(size: Duration, advance: Duration) -> Self {
        Hopping(TimeWindows { size_ms: millis(size), advance_ms: millis(advance), grace_ms: 0 })
    }

    /// How long after a window's end its records may still come.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.0.grace_ms = millis(grace);
        self
    }
}

impl Sessions {
    /// Sessions that end when no record of the key comes for longer than this.
    pub fn with_gap(gap: Duration) -> Self {
        Sessions { gap_ms: millis(gap), grace_ms: 0 }
    }

    /// How long after a session's end its records may still come.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace_ms = millis(grace);
        self
    }
}

fn time_windowed<K: Field, V: Field>(group: &GroupedStream<K, V>, windows: TimeWindows) -> TimeWindowedStream<K, V> {
    let error = |what: String| BuildError::InvalidWindow { operator: "windowed_by".to_owned(), what };
    if windows.size_ms <= 0 {
        group.handle.fail(error(format!("a window of {} ms; it must be at least 1 ms long", windows.size_ms)));
    } else if windows.advance_ms <= 0 || windows.advance_ms > windows.size_ms {
        let (advance, size) = (windows.advance_ms, windows.size_ms);
        group.handle.fail(error(format!("an advance of {advance} ms; it must be from 1 ms to the size, {size} ms")));
    }
    TimeWindowedStream { group: group.clone(), windows }
}

impl Windows for Tumbling {
    type Stream<K: Field, V: Field> = TimeWindowedStream<K, V>;

    fn apply<K: Field, V: Field>(self, group: &GroupedStream<K, V>) -> Self::Stream<K, V> {
        time_windowed(group, self.0)
    }
}

impl Windows for Hopping {
    type Stream<K: Field, V: Field> = TimeWindowedStream<K, V>;

    fn apply<K: Field, V: Field>(self, group: &GroupedStream<K, V>) -> Self::Stream<K, V> {
        time_windowed(group, self.0)
    }
}

impl Windows for Sessions {
    type Stream<K: Field, V: Field> = SessionWindowedStream<K, V>;

    fn apply<K: Field, V: Field>(self, group: &GroupedStream<K, V>) -> Self::Stream<K, V> {
        if self.gap_ms <= 0 {
            let what = format!("a gap of {} ms; it must be at least 1 ms", self.gap_ms);
            group.handle.fail(BuildError::InvalidWindow { operator: "windowed_by".to_owned(), what });
        }
        SessionWindowedStream { group: group.clone(), windows: self }
    }
}

/// A grouped stream in tumbling or hopping windows.
pub struct TimeWindowedStream<K, V> {
    group: GroupedStream<K, V>,
    windows: TimeWindows,
}

impl<K: Field, V: Field> TimeWindowedStream<K, V> {
    /// How many records each key has in each window; records without a value count.
    pub fn count(&self) -> KTable<Windowed<K::Some>, i64> {
        let add: Add<K::Some, V, i64> = Arc::new(|_, _, count| Ok(Some(count.unwrap_or(0) + 1)));
        self.aggregated("KSTREAM-AGGREGATE-", true, Arc::new(|| Some(0)), add, SerdeSlot::default())
    }

    /// Combines the values of each key in each window, two at a time; the first one stands for itself.
    pub fn reduce(&self, reduce: impl Fn(V, V) -> V + Send + Sync + 'static) -> KTable<Windowed<K::Some>, V::Some> {
        let add: Add<K::Some, V, V::Some> = Arc::new(move |_, value, old| Ok(reduced(&reduce, old, value)));
        self.aggregated("KSTREAM-REDUCE-", false, Arc::new(|| None), add, self.group.value.clone())
    }

    /// Aggregates the values of each key in each window, beginning with `init`.
    pub fn aggregate<A: Field>(
        &self,
        init: impl Fn() -> A + Send + Sync + 'static,
        add: impl Fn(&K::Some, V, A) -> A + Send + Sync + 'static,
    ) -> KTable<Windowed<K::Some>, A::Some> {
        self.try_aggregate(init, move |key, value, aggregate| Ok(add(key, value, aggregate)))
    }

    /// [`TimeWindowedStream::aggregate`] with an aggregator that may fail.
    pub fn try_aggregate<A: Field>(
        &self,
        init: impl Fn() -> A + Send + Sync + 'static,
        add: impl Fn(&K::Some, V, A) -> Result<A, UserError> + Send + Sync + 'static,
    ) -> KTable<Windowed<K::Some>, A::Some> {
        let (first, add) = user_functions(init, add);
        self.aggregated("KSTREAM-AGGREGATE-", false, first, add, SerdeSlot::default())
    }

    fn aggregated<A: Data>(
        &self,
        prefix: &'static str,
        is_count: bool,
        init: Init<A>,
        add: Add<K::Some, V, A>,
        value: SerdeSlot,
    ) -> KTable<Windowed<K::Some>, A> {
        let windows = self.windows;
        let op = lock(&self.group.handle.plan).ops.len();
        let (key_serde, value_serde) = (self.group.key.get::<K>(), value.get::<A>());
        let getter: GetterMaker<Windowed<K::Some>, A> = {
            let (key, value) = (key_serde.clone(), value_serde.clone());
            Arc::new(move |build| {
                let store = build.facts(op).store.clone().unwrap_or_default();
                Box::new(WindowGetter(build.access_of(op, &store, &key, &value)))
            })
        };
        let table_key = SerdeSlot::of(Windowed::serde(key_serde.clone(), windows.size_ms));
        let node = maker(move |build| {
            let facts = build.facts(op);
            let (store, send_old) = (facts.store.clone().unwrap_or_default(), facts.send_old);
            let access = build.access_of(op, &store, &key_serde, &value_serde);
            window_aggregate::listen(build, &access, windows.size_ms, send_old);
            WindowAggregate::<K, V, A> {
                id: build.node,
                windows,
                access,
                send_old,
                init: init.clone(),
                add: add.clone(),
                observed: -1,
                types: PhantomData,
            }
        });
        let template = StoreTemplate::Window { size_ms: windows.size_ms, grace_ms: windows.grace_ms };
        let kind =
            OpKind::Aggregate(AggregateOp { prefix, is_count, node, template, repartition: self.group.repartition() });
        KTable::new(self.group.handle.then(kind), table_key, value, getter)
    }
}

/// A grouped stream in sessions.
pub struct SessionWindowedStream<K, V> {
    group: GroupedStream<K, V>,
    windows: Sessions,
}

impl<K: Field, V: Field> SessionWindowedStream<K, V> {
    /// How many records each session has; records without a value count.
    pub fn count(&self) -> KTable<SessionWindowed<K::Some>, i64> {
        let add: Add<K::Some, V, i64> = Arc::new(|_, _, count| Ok(Some(count.unwrap_or(0) + 1)));
        let merge: Merge<K::Some, i64> = Arc::new(|_, a, b| Ok(Some(a.unwrap_or(0) + b.unwrap_or(0))));
        self.aggregated("KSTREAM-AGGREGATE-", true, Arc::new(|| Some(0)), add, merge, SerdeSlot::default())
    }

    /// Combines the values of each session, two at a time; the first one stands for itself.
    pub fn reduce(
        &self,
        reduce: impl Fn(V, V) -> V + Send + Sync + 'static,
    ) -> KTable<SessionWindowed<K::Some>, V::Some> {
        let reduce = Arc::new(reduce);
        let adding = reduce.clone();
        let add: Add<K::Some, V, V::Some> = Arc::new(move |_, value, old| Ok(reduced(&*adding, old, value)));
        let merge: Merge<K::Some, V::Some> = Arc::new(move |_, a, b| match (a, b) {
            (None, b) => Ok(b),
            (Some(a), Some(b)) => Ok(reduce(V::from_some(a), V::from_some(b)).into_some()),
            (a, None) => Ok(a),
        });
        self.aggregated("KSTREAM-REDUCE-", false, Arc::new(|| None), add, merge, self.group.value.clone())
    }

    /// Aggregates the values of each session, beginning with `init`. Sessions that grow together are merged, from `init` on,
    /// before the record that joins them is added.
    pub fn aggregate<A: Field>(
        &self,
        init: impl Fn() -> A + Send + Sync + 'static,
        add: impl Fn(&K::Some, V, A) -> A + Send + Sync + 'static,
        merge: impl Fn(&K::Some, A, A) -> A + Send + Sync + 'static,
    ) -> KTable<SessionWindowed<K::Some>, A::Some> {
        let add = move |key: &K::Some, value, aggregate| Ok(add(key, value, aggregate));
        self.try_aggregate(init, add, move |key, a, b| Ok(merge(key, a, b)))
    }

    /// [`SessionWindowedStream::aggregate`] with functions that may fail.
    pub fn try_aggregate<A: Field>(
        &self,
        init: impl Fn() -> A + Send + Sync + 'static,
        add: impl Fn(&K::Some, V, A) -> Result<A, UserError> + Send + Sync + 'static,
        merge: impl Fn(&K::Some, A, A) -> Result<A, UserError> + Send + Sync + 'static,
    ) -> KTable<SessionWindowed<K::Some>, A::Some> {
        let init = Arc::new(init);
        let merge: Merge<K::Some, A::Some> = {
            let init = init.clone();
            Arc::new(move |key, a, b| {
                merge(key, user_aggregate(a, &*init), user_aggregate(b, &*init)).map(Field::into_some)
            })
        };
        let (first, add) = user_functions(move || init(), add);
        self.aggregated("KSTREAM-AGGREGATE-", false, first, add, merge, SerdeSlot::default())
    }

    fn aggregated<A: Data>(
        &self,
        prefix: &'static str,
        is_count: bool,
        init: Init<A>,
        add: Add<K::Some, V, A>,
        merge: Merge<K::Some, A>,
        value: SerdeSlot,
    ) -> KTable<SessionWindowed<K::Some>, A> {
        let Sessions { gap_ms, grace_ms } = self.windows;
        let op = lock(&self.group.handle.plan).ops.len();
        let (key_serde, value_serde) = (self.group.key.get::<K>(), value.get::<A>());
        let getter: GetterMaker<SessionWindowed<K::Some>, A> = {
            let (key, value) = (key_serde.clone(), value_serde.clone());
            Arc::new(move |build| {
                let store = build.facts(op).store.clone().unwrap_or_default();
                Box::new(SessionGetter(build.access_of(op, &store, &key, &value)))
            })
        };
        let table_key = SerdeSlot::of(SessionWindowed::serde(key_serde.clone()));
        let node = maker(move |build| {
            let facts = build.facts(op);
            let (store, send_old) = (facts.store.clone().unwrap_or_default(), facts.send_old);
            let access = build.access_of(op, &store, &key_serde, &value_serde);
            session_aggregate::listen(build, &access, send_old);
            SessionAggregate::<K, V, A> {
                id: build.node,
                gap_ms,
                grace_ms,
                access,
                send_old,
                init: init.clone(),
                add: add.clone(),
                merge: merge.clone(),
                observed: -1,
                types: PhantomData,
            }
        });
        let template = StoreTemplate::Session { gap_ms, grace_ms };
        let kind =
            OpKind::Aggregate(AggregateOp { prefix, is_count, node, template, repartition: self.group.repartition() });
        KTable::new(self.group.handle.then(kind), table_key, value, getter)
    }
}

fn reduced<V: Field>(reduce: &impl Fn(V, V) -> V, old: Option<V::Some>, value: V) -> Option<V::Some> {
    match old {
        None => value.into_some(),
        Some(old) => reduce(V::from_some(old), value).into_some(),
    }
}

/// A user's initial value and aggregator, in the store's terms.
fn user_functions<K: Data, V: Field, A: Field>(
    init: impl Fn() -> A + Send + Sync + 'static,
    add: impl Fn(&K, V, A) -> Result<A, UserError> + Send + Sync + 'static,
) -> (Init<A::Some>, Add<K, V, A::Some>) {
    let init = Arc::new(init);
    let first: Init<A::Some> = {
        let init = init.clone();
        Arc::new(move || init().into_some())
    };
    let add: Add<K, V, A::Some> =
        Arc::new(move |key, value, aggregate| add(key, value, user_aggregate(aggregate, &*init)).map(Field::into_some));
    (first, add)
}
