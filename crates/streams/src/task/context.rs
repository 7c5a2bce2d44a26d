//! What a user's processor sees: records, where they came from, stores, time, and the way on.

use std::any::Any;
use std::marker::PhantomData;

use tidewater_types::{Headers, Partition, Record, RecordPlace, TaskId, Timestamp};

use super::core::{Core, Node, NodeId, take_record};
use super::punctuate::{Every, Punctuation};
use crate::error::{FailureKind, TaskError, UserError};

/// Gives typed stores access to the task; implemented by the contexts.
pub trait AsCore {
    /// The task's inside.
    fn core(&mut self) -> &mut Core;
}

impl AsCore for Core {
    fn core(&mut self) -> &mut Core {
        self
    }
}

/// A user's processor: takes records of one type and forwards records of another.
pub trait Processor: Send + 'static {
    /// Key of the records that come in.
    type KIn: Clone + Send + 'static;
    /// Value of the records that come in.
    type VIn: Clone + Send + 'static;
    /// Key of the records that go out.
    type KOut: Clone + Send + 'static;
    /// Value of the records that go out.
    type VOut: Clone + Send + 'static;

    /// Called once before the first record: the place to schedule punctuations.
    fn init(&mut self, _ctx: &mut Context<'_, Self::KOut, Self::VOut>) -> Result<(), UserError> {
        Ok(())
    }

    /// Called with each record.
    fn process(
        &mut self,
        record: Record<Self::KIn, Self::VIn>,
        ctx: &mut Context<'_, Self::KOut, Self::VOut>,
    ) -> Result<(), UserError>;

    /// Called when a punctuation is due.
    fn punctuate(
        &mut self,
        _due: Punctuation,
        _ctx: &mut Context<'_, Self::KOut, Self::VOut>,
    ) -> Result<(), UserError> {
        Ok(())
    }

    /// Called once when the task is closed in good order, after its last commit. A task that fails is dropped instead.
    fn close(&mut self) {}
}

/// A user's processor that leaves keys alone, so that no repartition is needed behind it.
pub trait FixedKeyProcessor: Send + 'static {
    /// Key of all records.
    type K: Clone + Send + 'static;
    /// Value of the records that come in.
    type VIn: Clone + Send + 'static;
    /// Value of the records that go out.
    type VOut: Clone + Send + 'static;

    /// Called once before the first record: the place to schedule punctuations.
    fn init(&mut self, _ctx: &mut FixedKeyContext<'_, Self::K, Self::VOut>) -> Result<(), UserError> {
        Ok(())
    }

    /// Called with each record.
    fn process(
        &mut self,
        record: FixedKeyRecord<Self::K, Self::VIn>,
        ctx: &mut FixedKeyContext<'_, Self::K, Self::VOut>,
    ) -> Result<(), UserError>;

    /// Called when a punctuation is due.
    fn punctuate(
        &mut self,
        _due: Punctuation,
        _ctx: &mut FixedKeyContext<'_, Self::K, Self::VOut>,
    ) -> Result<(), UserError> {
        Ok(())
    }

    /// Called once when the task is closed in good order, after its last commit. A task that fails is dropped instead.
    fn close(&mut self) {}
}

/// The surroundings of a [`Processor`] at work.
pub struct Context<'a, K, V> {
    core: &'a mut Core,
    node: NodeId,
    types: PhantomData<fn(K, V)>,
}

impl<K, V> AsCore for Context<'_, K, V> {
    fn core(&mut self) -> &mut Core {
        self.core
    }
}

impl<'a, K: Clone + Send + 'static, V: Clone + Send + 'static> Context<'a, K, V> {
    fn new(core: &'a mut Core, node: NodeId) -> Self {
        Context { core, node, types: PhantomData }
    }

    /// Sends a record to all children.
    ///
    /// # Errors
    /// When something further down fails; pass it on with `?`.
    pub fn forward(&mut self, record: Record<K, V>) -> Result<(), TaskError> {
        self.core.forward(self.node, record)
    }

    /// Sends a record to the child of that name.
    ///
    /// # Errors
    /// When there is no such child, or something further down fails.
    pub fn forward_to(&mut self, child: &str, record: Record<K, V>) -> Result<(), TaskError> {
        let found = self.core.nodes[self.node].children.iter().find(|&&id| self.core.nodes[id].name == child);
        match found {
            Some(&id) => self.core.forward_to(id, record),
            None => Err(TaskError::new(
                FailureKind::Processing,
                format!("{} has no child named {child:?}", self.core.nodes[self.node].name),
            )),
        }
    }

    /// Asks for calls of `punctuate`; gives the number that they carry.
    pub fn schedule(&mut self, every: Every) -> usize {
        self.core.schedules.add(self.node, every, self.core.wall_clock)
    }

    /// Ends a schedule.
    pub fn cancel(&mut self, schedule: usize) {
        self.core.schedules.cancel(schedule);
    }

    /// Asks for a commit before the next interval is over, as soon as the record at work is worked through.
    pub fn commit(&mut self) {
        self.core.commit_requested = true;
    }

    /// The application's id.
    pub fn application_id(&self) -> &str {
        &self.core.application_id
    }

    /// Which task this is.
    pub fn task_id(&self) -> TaskId {
        self.core.id
    }

    /// The partition that the task works on.
    pub fn partition(&self) -> Partition {
        self.core.partition()
    }

    /// The largest event time that the task has met, or −1.
    pub fn stream_time(&self) -> Timestamp {
        self.core.stream_time
    }

    /// The wall clock.
    pub fn wall_clock(&self) -> Timestamp {
        self.core.wall_clock
    }

    /// Topic, partition and offset of the record at work; `None` in a wall-clock punctuation.
    pub fn place(&self) -> Option<&RecordPlace> {
        self.core.context.place.as_ref()
    }
}

/// A record whose key cannot be changed.
#[derive(Clone, Debug, PartialEq)]
pub struct FixedKeyRecord<K, V>(Record<K, V>);

impl<K, V> FixedKeyRecord<K, V> {
    /// The key.
    pub fn key(&self) -> &K {
        &self.0.key
    }

    /// The value.
    pub fn value(&self) -> &V {
        &self.0.value
    }

    /// Event time.
    pub fn timestamp(&self) -> Timestamp {
        self.0.timestamp
    }

    /// The headers.
    pub fn headers(&self) -> &Headers {
        &self.0.headers
    }

    /// The same record with another value.
    pub fn with_value<V2>(self, value: V2) -> FixedKeyRecord<K, V2> {
        FixedKeyRecord(self.0.with_value(value))
    }

    /// The same record with another timestamp.
    #[must_use]
    pub fn with_timestamp(self, timestamp: impl Into<Timestamp>) -> Self {
        FixedKeyRecord(self.0.with_timestamp(timestamp))
    }

    /// The same record with other headers.
    #[must_use]
    pub fn with_headers(self, headers: Headers) -> Self {
        FixedKeyRecord(self.0.with_headers(headers))
    }
}

/// The surroundings of a [`FixedKeyProcessor`] at work.
pub struct FixedKeyContext<'a, K, V>(Context<'a, K, V>);

impl<K, V> AsCore for FixedKeyContext<'_, K, V> {
    fn core(&mut self) -> &mut Core {
        self.0.core
    }
}

impl<K: Clone + Send + 'static, V: Clone + Send + 'static> FixedKeyContext<'_, K, V> {
    /// Sends a record to all children.
    ///
    /// # Errors
    /// When something further down fails; pass it on with `?`.
    pub fn forward(&mut self, record: FixedKeyRecord<K, V>) -> Result<(), TaskError> {
        self.0.forward(record.0)
    }

    /// Asks for calls of `punctuate`; gives the number that they carry.
    pub fn schedule(&mut self, every: Every) -> usize {
        self.0.schedule(every)
    }

    /// Ends a schedule.
    pub fn cancel(&mut self, schedule: usize) {
        self.0.cancel(schedule);
    }

    /// Sends a record to the child of that name.
    ///
    /// # Errors
    /// When there is no such child, or something further down fails.
    pub fn forward_to(&mut self, child: &str, record: FixedKeyRecord<K, V>) -> Result<(), TaskError> {
        self.0.forward_to(child, record.0)
    }

    /// Asks for a commit before the next interval is over, as soon as the record at work is worked through.
    pub fn commit(&mut self) {
        self.0.commit();
    }

    /// The application's id.
    pub fn application_id(&self) -> &str {
        self.0.application_id()
    }

    /// Which task this is.
    pub fn task_id(&self) -> TaskId {
        self.0.task_id()
    }

    /// The partition that the task works on.
    pub fn partition(&self) -> Partition {
        self.0.partition()
    }

    /// The largest event time that the task has met, or −1.
    pub fn stream_time(&self) -> Timestamp {
        self.0.stream_time()
    }

    /// The wall clock.
    pub fn wall_clock(&self) -> Timestamp {
        self.0.wall_clock()
    }

    /// Topic, partition and offset of the record at work; `None` in a wall-clock punctuation.
    pub fn place(&self) -> Option<&RecordPlace> {
        self.0.place()
    }
}

fn processing(result: Result<(), UserError>) -> Result<(), TaskError> {
    result.map_err(|error| TaskError::new(FailureKind::Processing, error))
}

/// The node around a [`Processor`].
pub(crate) struct ProcessorNode<P> {
    pub id: NodeId,
    pub processor: P,
}

impl<P: Processor> Node for ProcessorNode<P> {
    fn init(&mut self, core: &mut Core) -> Result<(), TaskError> {
        processing(self.processor.init(&mut Context::new(core, self.id)))
    }

    fn process(&mut self, core: &mut Core, record: &mut dyn Any) -> Result<(), TaskError> {
        let record = take_record::<P::KIn, P::VIn>(record);
        processing(self.processor.process(record, &mut Context::new(core, self.id)))
    }

    fn punctuate(&mut self, core: &mut Core, due: Punctuation) -> Result<(), TaskError> {
        processing(self.processor.punctuate(due, &mut Context::new(core, self.id)))
    }

    fn close(&mut self) {
        self.processor.close();
    }
}

/// The node around a [`FixedKeyProcessor`].
pub(crate) struct FixedKeyNode<P> {
    pub id: NodeId,
    pub processor: P,
}

impl<P: FixedKeyProcessor> Node for FixedKeyNode<P> {
    fn init(&mut self, core: &mut Core) -> Result<(), TaskError> {
        processing(self.processor.init(&mut FixedKeyContext(Context::new(core, self.id))))
    }

    fn process(&mut self, core: &mut Core, record: &mut dyn Any) -> Result<(), TaskError> {
        let record = FixedKeyRecord(take_record::<P::K, P::VIn>(record));
        processing(self.processor.process(record, &mut FixedKeyContext(Context::new(core, self.id))))
    }

    fn punctuate(&mut self, core: &mut Core, due: Punctuation) -> Result<(), TaskError> {
        processing(self.processor.punctuate(due, &mut FixedKeyContext(Context::new(core, self.id))))
    }

    fn close(&mut self) {
        self.processor.close();
    }
}
