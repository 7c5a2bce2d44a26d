//! The logical plan: what the program said, as data, and how it becomes a topology.
//!
//! ```text
//!   DSL calls ──> Plan (operators in the order of the calls, with their options)
//!        build() ──> lower: names and numbers, as Kafka Streams gives them; stores; repartitions
//!                ──> optimise: merged repartitions, reused source topics, self-joins
//!                ──> write: the topology's nodes
//! ```

mod lower;
mod node;
mod optimize;
mod plan;
mod write;

pub(crate) use plan::{
    AggregateOp, AnySerde, ForeignJoinOp, GroupedTableOp, JoinStore, NodeMaker, OpFacts, OpId, OpKind, Plan,
    RepartitionMaker, SinkMaker, SourceMaker, StatefulOp, StoreOptions, StoreTemplate, StreamJoinOp, StreamTableJoinOp,
    SuppressOp, TableJoinOp,
};

use crate::error::BuildError;
use crate::topology::Topology;

/// Turns a plan into a topology.
pub(crate) fn build(plan: &Plan, settings: &crate::config::BuildSettings) -> Result<Topology, BuildError> {
    let mut lowered = lower::lower(plan, settings)?;
    optimize::optimize(&mut lowered, settings.optimize)?;
    write::write(plan, lowered, settings)
}
