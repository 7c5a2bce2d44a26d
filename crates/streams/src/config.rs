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
    /// Whether every store and repartition topic must be named by the program
    /// (`ensure.explicit.internal.resource.naming`), so that a change of the program changes no names.
    pub require_names: bool,
    /// Where records' times come from if a source says nothing (`default.timestamp.extractor`).
    pub default_timestamps: DefaultTimestamps,
    /// Whether stores keep the headers of records (`dsl.store.format=headers`, KIP-1271).
    pub keep_headers: bool,
}

/// Where a record's time comes from if its source says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultTimestamps {
    /// The log's timestamp; one that is negative stops the task.
    #[default]
    FailOnInvalid,
    /// The log's timestamp; a record with a negative one is skipped.
    SkipOnInvalid,
    /// The log's timestamp; in place of a negative one, the largest of the partition so far.
    PartitionTimeOnInvalid,
    /// The wall clock as the record is taken up.
    WallClock,
}
