//! A task: a sub-topology's processors and stores for one partition, worked by one thread.
//!
//! Everything here is synchronous and owned: nodes and stores stand in arenas, an edge is a list of node numbers, and a
//! record goes depth first from its source to the sinks. Effects leave through a [`Collector`]; time comes in as a number.
//! The same task runs under a stream thread, under the test driver, and in a bench.

mod build;
pub(crate) mod context;
mod core;
pub(crate) mod handlers;
mod punctuate;
mod queue;
mod run;
pub(crate) mod stores;

pub(crate) use build::TaskBuild;
pub use context::{AsCore, Context, FixedKeyContext, FixedKeyProcessor, FixedKeyRecord, Processor};
pub use core::{Collector, Core, DropReason, OutRecord, PartitionBy};
pub(crate) use core::{FlushListener, Node, NodeId, RawBytes, StoreId, take_record};
pub use handlers::{Decision, Handlers};
pub use punctuate::{Every, Punctuation, PunctuationClock, every};
pub use queue::RawRecord;
pub use run::{GlobalStores, Task, TaskOptions};
pub(crate) use stores::DefinedStore;
pub(crate) use stores::StoreAccess;
pub(crate) use stores::versioned_kind;
pub use stores::{
    AggregationWithHeaders, KeyValueStore, SessionStore, StoreDefinition, StoreHandle, Stores, TimestampedStore,
    ValueAndTimestamp, ValueTimestampHeaders, Versioned, VersionedStore, WindowStore,
};
