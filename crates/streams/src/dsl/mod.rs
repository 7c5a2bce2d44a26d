//! The typed DSL: thin handles on the operators of a plan.
//!
//! A handle is a cheap value; using it twice forks the stream. Operators are numbered when the topology is built, in the
//! order of the calls.

mod builder;
mod cogroup;
mod distinct;
mod foreign_join;
mod global;
mod group;
mod handle;
mod hold;
mod joins;
mod map_async;
mod printed;
mod rate_limit;
mod sink;
mod stream;
mod stream_join;
mod suppress;
mod table;
mod table_group;
mod topic;
mod topology_builder;
mod window;

pub use builder::StreamsBuilder;
pub use cogroup::{CogroupedStream, SessionWindowedCogroup, TimeWindowedCogroup};
pub use distinct::Distinct;
pub use foreign_join::TableJoined;
pub use global::{GlobalKTable, GlobalStore};
pub use group::GroupedStream;
pub use hold::Wait;
pub use joins::JoinWindows;
pub use map_async::Concurrency;
pub use printed::Printed;
pub use rate_limit::RateLimit;
pub use sink::{SinkHandle, Terminal};
pub use stream::{KStream, Split};
pub use suppress::Suppress;
pub use table::KTable;
pub use table_group::GroupedTable;
pub use topic::Topic;
pub use topology_builder::{NodeHandle, TopologyBuilder};
pub use window::{
    EmitStrategy, Hopping, SessionWindowedStream, Sessions, Sliding, TimeWindowedStream, Tumbling, Unlimited, Windows,
};
