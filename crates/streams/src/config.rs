//! What shapes a topology when it is built.

/// Which rewrites the optimiser makes; Kafka Streams' `topology.optimization`. Default: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Optimizations {
    /// `reuse.ktable.source.topics`: a table's source topic serves as its changelog.
    pub reuse_table_sources: bool,
    /// `merge.repartition.topics`: repartitions behind one key change become one.
    pub merge_repartitions: bool,
    /// `single.store.self.join`: a join of a stream with itself has one store.
    pub self_joins: bool,
}

impl Optimizations {
    /// All of them: `topology.optimization=all`.
    pub const ALL: Optimizations =
        Optimizations { reuse_table_sources: true, merge_repartitions: true, self_joins: true };
}

/// The settings that `build` takes into account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BuildSettings {
    /// The optimiser's rewrites.
    pub optimize: Optimizations,
    /// Whether stores of operators are in memory unless told otherwise (`default.dsl.store=in_memory`).
    pub in_memory_stores: bool,
    /// `windowstore.changelog.additional.retention.ms`: added to the retention of windowed changelogs. Default: a day.
    pub additional_retention_ms: Option<i64>,
}
