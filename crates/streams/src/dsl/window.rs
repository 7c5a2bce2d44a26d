//! Windows, and aggregation in them.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tidewater_types::Timestamp;

use super::cogroup::{CogroupedStream, SessionWindowedCogroup, TimeWindowedCogroup};
use super::group::{GroupedStream, user_aggregate};
use super::handle::{Handle, SerdeSlot, lock, maker};
use super::table::KTable;
use crate::codec::{Data, Field, SessionWindowed, Windowed};
use crate::error::{BuildError, UserError};
use crate::graph::{AggregateOp, OpId, OpKind, StoreTemplate};
use crate::node::aggregate::{Add, Init, Merge};
use crate::node::closing::Emit;
use crate::node::session_aggregate::{self, SessionAggregate, SessionGetter};
use crate::node::sliding_aggregate::{SlidingAggregate, SlidingWindows};
use crate::node::table::GetterMaker;
use crate::node::window_aggregate::{self, TimeWindows, WindowAggregate, WindowGetter, WindowTable};
use crate::task::TaskBuild;

/// A kind of windows: what [`GroupedStream::windowed_by`] and [`CogroupedStream::windowed_by`] take.
pub trait Windows {
    /// The windowed stream of this kind.
    type Stream<K: Field, V: Field>;
    /// The windowed cogroup of this kind.
    type Cogroup<K: Field, A: Field>;

    /// Puts a grouped stream into windows.
    fn apply<K: Field, V: Field>(self, group: &GroupedStream<K, V>) -> Self::Stream<K, V>;

    /// Puts a cogroup into windows.
    fn apply_to_cogroup<K: Field, A: Field>(self, cogroup: &CogroupedStream<K, A>) -> Self::Cogroup<K, A>;
}

/// Windows of one length that follow each other without overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tumbling {
    size_ms: i64,
    grace_ms: i64,
}

/// Windows of one length that begin at each advance, and so overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hopping {
    size_ms: i64,
    advance_ms: i64,
    grace_ms: i64,
}

/// Windows of one length for every stretch of records of a key: one that ends with each record, and one that begins 1 ms after
/// it if more records follow. Both ends belong to a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding(SlidingWindows);

/// One window that begins at a time and never ends. Records before it are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unlimited {
    start_ms: i64,
}

/// Windows that last as long as records of a key follow each other within a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sessions {
    pub(crate) gap_ms: i64,
    pub(crate) grace_ms: i64,
}

/// When the results of windows are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmitStrategy {
    /// With each record that changes them.
    #[default]
    OnWindowUpdate,
    /// Once, when stream time has passed the window's end and grace. The windows that are open are known in memory, by key and
    /// time; their values are in the store.
    OnWindowClose,
}

fn millis(duration: Duration) -> i64 {
    Timestamp::from(duration).0
}

impl Tumbling {
    /// Windows of this length. Records that come after a window's end are late, unless there is a grace.
    pub fn of(size: Duration) -> Self {
        Tumbling { size_ms: millis(size), grace_ms: 0 }
    }

    /// How long after a window's end its records may still come.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace_ms = millis(grace);
        self
    }
}

impl Hopping {
    /// Windows of this length that begin at the multiples of an advance.
    pub fn of(size: Duration, advance: Duration) -> Self {
        Hopping { size_ms: millis(size), advance_ms: millis(advance), grace_ms: 0 }
    }

    /// How long after a window's end its records may still come.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace_ms = millis(grace);
        self
    }
}

impl Sliding {
    /// Windows of records that are at most this far apart.
    pub fn of(difference: Duration) -> Self {
        Sliding(SlidingWindows { difference_ms: millis(difference), grace_ms: 0 })
    }

    /// How long after a window's end its records may still come.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.0.grace_ms = millis(grace);
        self
    }
}

impl Unlimited {
    /// The window that begins here.
    pub fn starting(start: impl Into<Timestamp>) -> Self {
        Unlimited { start_ms: start.into().0 }
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

/// Windows that a key and a time tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeKind {
    Aligned(TimeWindows),
    Sliding(SlidingWindows),
}

impl TimeKind {
    pub fn size_ms(&self) -> i64 {
        match self {
            TimeKind::Aligned(windows) => windows.size_ms(),
            TimeKind::Sliding(windows) => windows.difference_ms,
        }
    }

    fn template(&self) -> StoreTemplate {
        match self {
            TimeKind::Aligned(windows) => {
                let size_ms = windows.size_ms();
                StoreTemplate::Window { size_ms, span_ms: size_ms, grace_ms: windows.grace_ms() }
            }
            // The window before a record's own is looked for as well.
            TimeKind::Sliding(windows) => StoreTemplate::Window {
                size_ms: windows.difference_ms,
                span_ms: windows.difference_ms.saturating_mul(2),
                grace_ms: windows.grace_ms,
            },
        }
    }

    /// Says so where windows of this kind cannot be.
    fn check(&self, handle: &Handle) {
        let what = match *self {
            TimeKind::Aligned(TimeWindows::Fixed { size_ms, .. }) if size_ms <= 0 => {
                format!("a window of {size_ms} ms; it must be at least 1 ms long")
            }
            TimeKind::Aligned(TimeWindows::Fixed { size_ms, advance_ms, .. })
                if advance_ms <= 0 || advance_ms > size_ms =>
            {
                format!("an advance of {advance_ms} ms; it must be from 1 ms to the size, {size_ms} ms")
            }
            TimeKind::Aligned(TimeWindows::Unlimited { start_ms }) if start_ms < 0 => {
                format!("a window that begins at {start_ms}; time begins at 0")
            }
            _ => return,
        };
        handle.fail(BuildError::InvalidWindow { operator: "windowed_by".to_owned(), what });
    }
}

macro_rules! time_windows {
    ($($windows:ty, $self:ident => $kind:expr);+ $(;)?) => {$(
        impl Windows for $windows {
            type Stream<K: Field, V: Field> = TimeWindowedStream<K, V>;
            type Cogroup<K: Field, A: Field> = TimeWindowedCogroup<K, A>;

            fn apply<K: Field, V: Field>($self, group: &GroupedStream<K, V>) -> Self::Stream<K, V> {
                let kind = $kind;
                kind.check(&group.handle);
                TimeWindowedStream { group: group.clone(), kind, emit: Emit::default() }
            }

            fn apply_to_cogroup<K: Field, A: Field>($self, cogroup: &CogroupedStream<K, A>) -> Self::Cogroup<K, A> {
                let kind = $kind;
                kind.check(&cogroup.handle);
                TimeWindowedCogroup { cogroup: cogroup.clone(), kind }
            }
        }
    )+};
}

time_windows! {
    Tumbling, self => {
        let Tumbling { size_ms, grace_ms } = self;
        TimeKind::Aligned(TimeWindows::Fixed { size_ms, advance_ms: size_ms, grace_ms })
    };
    Hopping, self => {
        let Hopping { size_ms, advance_ms, grace_ms } = self;
        TimeKind::Aligned(TimeWindows::Fixed { size_ms, advance_ms, grace_ms })
    };
    Sliding, self => TimeKind::Sliding(self.0);
    Unlimited, self => TimeKind::Aligned(TimeWindows::Unlimited { start_ms: self.start_ms });
}

impl Sessions {
    fn check(&self, handle: &Handle) {
        if self.gap_ms <= 0 {
            let what = format!("a gap of {} ms; it must be at least 1 ms", self.gap_ms);
            handle.fail(BuildError::InvalidWindow { operator: "windowed_by".to_owned(), what });
        }
    }
}

impl Windows for Sessions {
    type Stream<K: Field, V: Field> = SessionWindowedStream<K, V>;
    type Cogroup<K: Field, A: Field> = SessionWindowedCogroup<K, A>;

    fn apply<K: Field, V: Field>(self, group: &GroupedStream<K, V>) -> Self::Stream<K, V> {
        self.check(&group.handle);
        SessionWindowedStream { group: group.clone(), windows: self, emit: Emit::default() }
    }

    fn apply_to_cogroup<K: Field, A: Field>(self, cogroup: &CogroupedStream<K, A>) -> Self::Cogroup<K, A> {
        self.check(&cogroup.handle);
        SessionWindowedCogroup { cogroup: cogroup.clone(), windows: self }
    }
}

/// The functions of an aggregation.
pub(crate) struct Aggregator<K, V, A> {
    pub prefix: &'static str,
    pub is_count: bool,
    pub init: Init<A>,
    pub add: Add<K, V, A>,
}

/// The operator that aggregates a grouped stream in time windows.
pub(crate) fn windowed_op<K: Field, V: Field, A: Data>(
    op: OpId,
    group: &GroupedStream<K, V>,
    kind: TimeKind,
    emit: Emit,
    functions: Aggregator<K::Some, V, A>,
    value: &SerdeSlot,
) -> AggregateOp {
    let Aggregator { prefix, is_count, init, add } = functions;
    // Of sliding windows, Kafka Streams asks for no name that it does not use.
    let is_count = is_count && matches!(kind, TimeKind::Aligned(_));
    let (key, value) = (group.key.get::<K>(), value.get::<A>());
    let reaches = match kind {
        TimeKind::Aligned(windows) => windows.size_ms(),
        TimeKind::Sliding(windows) => windows.difference_ms.saturating_add(1),
    };
    let table = move |build: &mut TaskBuild<'_>| {
        let facts = build.facts(op);
        let (store, send_old) = (facts.store.clone().unwrap_or_default(), facts.send_old);
        let access = build.access_of(op, &store, &key, &value);
        let closing = emit.closing(access.id, reaches);
        if closing.is_none() {
            window_aggregate::listen(build, &access, kind.size_ms(), send_old);
        }
        WindowTable { id: build.node, access, send_old, closing }
    };
    let node = match kind {
        TimeKind::Aligned(windows) => maker(move |build| WindowAggregate::<K, V, A> {
            windows,
            table: table(build),
            init: init.clone(),
            add: add.clone(),
            observed: -1,
            types: PhantomData,
        }),
        TimeKind::Sliding(windows) => maker(move |build| SlidingAggregate::<K, V, A> {
            windows,
            table: table(build),
            init: init.clone(),
            add: add.clone(),
            observed: -1,
            types: PhantomData,
        }),
    };
    // Results that leave when windows close gain nothing from a cache; Kafka Streams keeps one for aligned windows.
    let cacheable = matches!(kind, TimeKind::Aligned(_)) || emit.strategy == EmitStrategy::OnWindowUpdate;
    let (template, repartition) = (kind.template(), group.repartition());
    let time_ordered = emit.strategy == EmitStrategy::OnWindowClose;
    AggregateOp { prefix, is_count, cacheable, time_ordered, node, template, repartition }
}

/// Looks up the rows of a windowed aggregation.
pub(crate) fn window_getter<K: Field, A: Data>(
    op: OpId,
    key: &SerdeSlot,
    value: &SerdeSlot,
) -> GetterMaker<Windowed<K::Some>, A> {
    let (key, value) = (key.get::<K>(), value.get::<A>());
    Arc::new(move |build| {
        let store = build.facts(op).store.clone().unwrap_or_default();
        Box::new(WindowGetter(build.access_of(op, &store, &key, &value)))
    })
}

/// A grouped stream in tumbling, hopping, sliding or unlimited windows.
pub struct TimeWindowedStream<K, V> {
    group: GroupedStream<K, V>,
    kind: TimeKind,
    emit: Emit,
}

impl<K: Field, V: Field> TimeWindowedStream<K, V> {
    /// When results are sent. Default: with each update.
    #[must_use]
    pub fn emit_strategy(mut self, strategy: EmitStrategy) -> Self {
        if strategy == EmitStrategy::OnWindowClose
            && matches!(self.kind, TimeKind::Aligned(TimeWindows::Unlimited { .. }))
        {
            let what = "an unlimited window never closes; send its results with each update".to_owned();
            self.group.handle.fail(BuildError::InvalidWindow { operator: "emit_strategy".to_owned(), what });
        }
        self.emit.strategy = strategy;
        self
    }

    /// Sends the results of all open windows when no record has come for this long by the wall clock, and otherwise when they
    /// close ([`EmitStrategy::OnWindowClose`]): an addition to Kafka Streams, where the last windows of an input that falls
    /// silent stay open.
    ///
    /// It goes by the partition: one that is idle closes its windows, whatever the others do. Records that come to a closed
    /// window afterwards are late.
    #[must_use]
    pub fn close_when_idle(self, after: Duration) -> Self {
        let mut closing = self.emit_strategy(EmitStrategy::OnWindowClose);
        closing.emit.idle_ms = Some(millis(after));
        closing
    }

    /// How many records each key has in each window; records without a value count, except in sliding windows.
    ///
    /// Keeps a row a key and window for size and grace, or for a longer retention, in a store with a changelog, and a record cache if
    /// results go with each update. Repartitions if the key may have changed. Records without a key are dropped, and so, once for each
    /// window, are those of windows that are closed. When windows close, those that the store still has are sent: with stream time
    /// that leaps further than the retention, give a longer one with [`KTable::retention`].
    pub fn count(&self) -> KTable<Windowed<K::Some>, i64> {
        let add: Add<K::Some, V, i64> = Arc::new(|_, _, count| Ok(Some(count.unwrap_or(0) + 1)));
        self.aggregated("KSTREAM-AGGREGATE-", true, Arc::new(|| Some(0)), add, SerdeSlot::default())
    }

    /// Combines the values of each key in each window, two at a time; the first one stands for itself.
    ///
    /// State, repartition, nulls and late records as with [`TimeWindowedStream::count`].
    pub fn reduce(&self, reduce: impl Fn(V, V) -> V + Send + Sync + 'static) -> KTable<Windowed<K::Some>, V::Some> {
        self.try_reduce(move |old, new| Ok(reduce(old, new)))
    }

    /// [`TimeWindowedStream::reduce`] with a reducer that may fail.
    pub fn try_reduce(
        &self,
        reduce: impl Fn(V, V) -> Result<V, UserError> + Send + Sync + 'static,
    ) -> KTable<Windowed<K::Some>, V::Some> {
        let add: Add<K::Some, V, V::Some> = Arc::new(move |_, value, old| reduced(&reduce, old, value));
        self.aggregated("KSTREAM-REDUCE-", false, Arc::new(|| None), add, self.group.value.clone())
    }

    /// Aggregates the values of each key in each window, beginning with `init`.
    ///
    /// State, repartition, nulls and late records as with [`TimeWindowedStream::count`].
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
        let op = lock(&self.group.handle.plan).ops.len();
        let functions = Aggregator { prefix, is_count, init, add };
        let aggregate = windowed_op(op, &self.group, self.kind, self.emit, functions, &value);
        let getter = window_getter::<K, A>(op, &self.group.key, &value);
        let table_key = SerdeSlot::of(Windowed::serde(self.group.key.get::<K>(), self.kind.size_ms()));
        KTable::new(self.group.handle.then(OpKind::Aggregate(aggregate)), table_key, value, getter)
    }
}

/// The operator that aggregates a grouped stream in sessions.
pub(crate) fn session_op<K: Field, V: Field, A: Data>(
    op: OpId,
    group: &GroupedStream<K, V>,
    windows: Sessions,
    emit: Emit,
    functions: Aggregator<K::Some, V, A>,
    merge: Merge<K::Some, A>,
    value: &SerdeSlot,
) -> AggregateOp {
    let Sessions { gap_ms, grace_ms } = windows;
    let Aggregator { prefix, is_count, init, add } = functions;
    let (key, value) = (group.key.get::<K>(), value.get::<A>());
    let node = maker(move |build| {
        let facts = build.facts(op);
        let (store, send_old) = (facts.store.clone().unwrap_or_default(), facts.send_old);
        let access = build.access_of(op, &store, &key, &value);
        let closing = emit.closing(access.id, 1);
        if closing.is_none() {
            session_aggregate::listen(build, &access, send_old);
        }
        SessionAggregate::<K, V, A> {
            id: build.node,
            gap_ms,
            grace_ms,
            access,
            send_old,
            closing,
            init: init.clone(),
            add: add.clone(),
            merge: merge.clone(),
            observed: -1,
            types: PhantomData,
        }
    });
    let cacheable = emit.strategy == EmitStrategy::OnWindowUpdate;
    let template = StoreTemplate::Session { gap_ms, grace_ms };
    AggregateOp {
        prefix,
        is_count,
        cacheable,
        time_ordered: !cacheable,
        node,
        template,
        repartition: group.repartition(),
    }
}

/// Looks up the rows of an aggregation in sessions.
pub(crate) fn session_getter<K: Field, A: Data>(
    op: OpId,
    key: &SerdeSlot,
    value: &SerdeSlot,
) -> GetterMaker<SessionWindowed<K::Some>, A> {
    let (key, value) = (key.get::<K>(), value.get::<A>());
    Arc::new(move |build| {
        let store = build.facts(op).store.clone().unwrap_or_default();
        Box::new(SessionGetter(build.access_of(op, &store, &key, &value)))
    })
}

/// A grouped stream in sessions.
pub struct SessionWindowedStream<K, V> {
    group: GroupedStream<K, V>,
    windows: Sessions,
    emit: Emit,
}

impl<K: Field, V: Field> SessionWindowedStream<K, V> {
    /// When results are sent. Default: with each update.
    #[must_use]
    pub fn emit_strategy(mut self, strategy: EmitStrategy) -> Self {
        self.emit.strategy = strategy;
        self
    }

    /// Sends the results of all open windows when no record has come for this long by the wall clock, and otherwise when they
    /// close ([`EmitStrategy::OnWindowClose`]): an addition to Kafka Streams, where the last windows of an input that falls
    /// silent stay open.
    ///
    /// It goes by the partition: one that is idle closes its windows, whatever the others do. Records that come to a closed
    /// window afterwards are late.
    #[must_use]
    pub fn close_when_idle(self, after: Duration) -> Self {
        let mut closing = self.emit_strategy(EmitStrategy::OnWindowClose);
        closing.emit.idle_ms = Some(millis(after));
        closing
    }

    /// How many records each session has; records without a value count.
    ///
    /// Keeps a row a session for gap and grace, or for a longer retention, in a store with a changelog. Repartitions if the key may have
    /// changed. Records without a key are dropped, and so are those whose session is closed. Sessions that grow into another are
    /// deleted downstream.
    pub fn count(&self) -> KTable<SessionWindowed<K::Some>, i64> {
        let add: Add<K::Some, V, i64> = Arc::new(|_, _, count| Ok(Some(count.unwrap_or(0) + 1)));
        let merge: Merge<K::Some, i64> = Arc::new(|_, a, b| Ok(Some(a.unwrap_or(0) + b.unwrap_or(0))));
        self.aggregated("KSTREAM-AGGREGATE-", true, Arc::new(|| Some(0)), add, merge, SerdeSlot::default())
    }

    /// Combines the values of each session, two at a time; the first one stands for itself.
    ///
    /// State, repartition, nulls and late records as with [`SessionWindowedStream::count`].
    pub fn reduce(
        &self,
        reduce: impl Fn(V, V) -> V + Send + Sync + 'static,
    ) -> KTable<SessionWindowed<K::Some>, V::Some> {
        self.try_reduce(move |old, new| Ok(reduce(old, new)))
    }

    /// [`SessionWindowedStream::reduce`] with a reducer that may fail.
    pub fn try_reduce(
        &self,
        reduce: impl Fn(V, V) -> Result<V, UserError> + Send + Sync + 'static,
    ) -> KTable<SessionWindowed<K::Some>, V::Some> {
        let reduce = Arc::new(reduce);
        let adding = reduce.clone();
        let add: Add<K::Some, V, V::Some> = Arc::new(move |_, value, old| reduced(&*adding, old, value));
        let merge: Merge<K::Some, V::Some> = Arc::new(move |_, a, b| match (a, b) {
            (None, b) => Ok(b),
            (Some(a), Some(b)) => Ok(reduce(V::from_some(a), V::from_some(b))?.into_some()),
            (a, None) => Ok(a),
        });
        self.aggregated("KSTREAM-REDUCE-", false, Arc::new(|| None), add, merge, self.group.value.clone())
    }

    /// Aggregates the values of each session, beginning with `init`. Sessions that grow together are merged, from `init` on,
    /// before the record that joins them is added.
    ///
    /// Keeps sessions in a store with a changelog, and repartitions if the key may have changed. Records without a key, and late
    /// ones, are dropped; a null value is added like others.
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
        let merge = user_merge(init.clone(), merge);
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
        let op = lock(&self.group.handle.plan).ops.len();
        let functions = Aggregator { prefix, is_count, init, add };
        let aggregate = session_op(op, &self.group, self.windows, self.emit, functions, merge, &value);
        let getter = session_getter::<K, A>(op, &self.group.key, &value);
        let table_key = SerdeSlot::of(SessionWindowed::serde(self.group.key.get::<K>()));
        KTable::new(self.group.handle.then(OpKind::Aggregate(aggregate)), table_key, value, getter)
    }
}

fn reduced<V: Field>(
    reduce: &impl Fn(V, V) -> Result<V, UserError>,
    old: Option<V::Some>,
    value: V,
) -> Result<Option<V::Some>, UserError> {
    match old {
        None => Ok(value.into_some()),
        Some(old) => Ok(reduce(V::from_some(old), value)?.into_some()),
    }
}

/// A user's merger of sessions, in the store's terms.
pub(crate) fn user_merge<K, A: Field>(
    init: Arc<impl Fn() -> A + Send + Sync + ?Sized + 'static>,
    merge: impl Fn(&K, A, A) -> Result<A, UserError> + Send + Sync + 'static,
) -> Merge<K, A::Some> {
    Arc::new(move |key, a, b| merge(key, user_aggregate(a, &*init), user_aggregate(b, &*init)).map(Field::into_some))
}

/// A user's initial value and aggregator, in the store's terms.
pub(crate) fn user_functions<K: Data, V: 'static, A: Field>(
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
