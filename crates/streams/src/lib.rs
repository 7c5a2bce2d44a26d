//! Stream processing in the Kafka Streams model: a typed DSL, its plan, the topology, and the tasks that run it.
//!
//! A program is written against [`StreamsBuilder`]; what it builds is a [`Topology`], which a test driver or a runtime runs.
//!
//! ```
//! use tidewater_streams::{StreamsBuilder, Topic};
//!
//! const LINES: Topic<Option<String>, String> = Topic::new("lines");
//! const COUNTS: Topic<String, Option<i64>> = Topic::new("counts");
//!
//! let builder = StreamsBuilder::new();
//! builder
//!     .stream(&LINES)
//!     .flat_map_values(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
//!     .group_by(|_, word| word.clone())
//!     .count()
//!     .store("counts")
//!     .to_stream()
//!     .to(&COUNTS);
//! let topology = builder.build()?;
//! assert_eq!(topology.subtopologies().len(), 2);
//! # Ok::<(), tidewater_streams::BuildError>(())
//! ```

mod codec;
mod config;
mod dsl;
mod error;
mod graph;
mod node;
mod runtime;
mod task;
mod topology;

pub use codec::{__serde_json, Codec, CodecError, Data, Field, Fits, Serde, SessionWindowed, Window, Windowed};
pub use config::{BuildSettings, DefaultTimestamps, Optimizations};
pub use dsl::{
    CogroupedStream, Concurrency, Distinct, EmitStrategy, GlobalKTable, GlobalStore, GroupedStream, GroupedTable,
    Hopping, JoinWindows, KStream, KTable, NodeHandle, Printed, RateLimit, SessionWindowedCogroup,
    SessionWindowedStream, Sessions, SinkHandle, Sliding, Split, StreamsBuilder, Suppress, TableJoined, Terminal,
    TimeWindowedCogroup, TimeWindowedStream, Topic, TopologyBuilder, Tumbling, Unlimited, Wait, Windows,
};
pub use error::{BuildError, FailureKind, TaskError, UserError};
pub use node::source::TimestampExtractor;
pub use node::transform::ValueTransformer;
pub use runtime::{App, AppSettings, SettingError, StartError, StateMemory};
pub use task::{
    AggregationWithHeaders, AsCore, Collector, Context, Core, Decision, DropReason, Every, FixedKeyContext,
    FixedKeyProcessor, FixedKeyRecord, GlobalStores, Handlers, KeyValueStore, OutRecord, PartitionBy, Processor,
    Punctuation, PunctuationClock, RawRecord, SessionStore, StoreDefinition, StoreHandle, Stores, Task, TaskOptions,
    TimestampedStore, ValueAndTimestamp, ValueTimestampHeaders, Versioned, VersionedStore, WindowStore, every,
};
pub use tidewater_client::ClientError;
pub use tidewater_state::VersionPut;
pub use topology::{InternalTopicSettings, OffsetReset, SubTopology, SubTopologyTopics, Topology};
