//! Writing a case's program in the public DSL.

mod aggregates;
mod processing;
mod tables;
mod topology;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value as Json;
use tidewater_streams::{
    BuildError, BuildSettings, CogroupedStream, Data, DefaultTimestamps, EmitStrategy, GlobalKTable, GroupedStream,
    GroupedTable, Hopping, JoinWindows, KStream, KTable, KeyValueStore, OffsetReset, Optimizations, SessionWindowed,
    SessionWindowedCogroup, SessionWindowedStream, Sessions, Sliding, StoreDefinition, StreamsBuilder, Suppress,
    TimeWindowedCogroup, TimeWindowedStream, TimestampedStore, Topic, Topology, Tumbling, Unlimited, VersionedStore,
    WindowStore, Windowed,
};
use tidewater_types::{Record, ms};

use super::functions as f;
use super::processors::{Dynamic, FixedDynamic, Spec, StoreOf};
use super::value::{Type, Val, text as val_text};
use processing::{Defined, define_store};
use tables::*;

type Key = Option<Val>;
type Value = Option<Val>;
type Stream = KStream<Key, Value>;

/// Why a program was not written.
#[derive(Debug)]
pub enum Trouble {
    /// It needs something that Tidewater does not have yet.
    NotYet(String),
    /// It is wrong, as the case may want it to be.
    Build(BuildError),
}

impl From<BuildError> for Trouble {
    fn from(error: BuildError) -> Self {
        Trouble::Build(error)
    }
}

fn not_yet<T>(what: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::NotYet(what.into()))
}

/// What `peek` and `foreach` saw: step, key, value.
pub type Observed = Arc<Mutex<Vec<(String, Key, Value)>>>;

/// A table under any of the three kinds of keys.
#[derive(Clone)]
enum Table {
    Plain(KTable<Val, Val>),
    Windowed(KTable<Windowed<Val>, Val>),
    Session(KTable<SessionWindowed<Val>, Val>),
}

/// Does the same with a table of any kind of key.
macro_rules! each {
    ($table:expr, $t:ident => $body:expr) => {
        match $table {
            Table::Plain($t) => Table::Plain($body),
            Table::Windowed($t) => Table::Windowed($body),
            Table::Session($t) => Table::Session($body),
        }
    };
}

enum Handle {
    Stream(Stream, Type, Type),
    Table(Table, Type, Type),
    Global(GlobalKTable<Val, Val>, Type),
    Grouped(GroupedStream<Key, Value>, Type, Type),
    GroupedTable(GroupedTable<Val, Val>, Type, Type),
    TimeWindowed(TimeWindowedStream<Key, Value>, Type, Type, i64),
    SessionWindowed(SessionWindowedStream<Key, Value>, Type, Type),
    /// The last text is the first function, which gives the initial value.
    Cogroup(CogroupedStream<Key, Value>, Type, Type, String),
    WindowedCogroup(TimeWindowedCogroup<Key, Value>, Type, Type, String, i64),
    SessionCogroup(SessionWindowedCogroup<Key, Value>, Type, Type, String),
}

/// A written program.
pub struct Program {
    pub topology: Topology,
    pub observed: Observed,
    /// The types that the first reader of each topic gives.
    pub inputs: BTreeMap<String, (Type, Type)>,
    /// The same by patterns of topics.
    pub patterns: Vec<(String, Type, Type)>,
    /// Types of keys and values by sink topic.
    pub outputs: BTreeMap<String, (Type, Type)>,
    /// Types of keys and values by store.
    pub stores: BTreeMap<String, (Type, Type)>,
}

struct Writer {
    builder: StreamsBuilder,
    handles: BTreeMap<String, Handle>,
    stores: BTreeMap<String, StoreOf>,
    globals: BTreeSet<String>,
    table_stores: BTreeMap<String, StoreOf>,
    observed: Observed,
    inputs: BTreeMap<String, (Type, Type)>,
    patterns: Vec<(String, Type, Type)>,
    outputs: BTreeMap<String, (Type, Type)>,
    store_types: BTreeMap<String, (Type, Type)>,
}

fn text<'a>(step: &'a Json, field: &str) -> Option<&'a str> {
    step.get(field).and_then(Json::as_str)
}

fn number(step: &Json, field: &str) -> Option<i64> {
    step.get(field).and_then(Json::as_i64)
}

fn required(step: &Json, field: &str) -> String {
    text(step, field).unwrap_or_default().to_owned()
}

fn duration(millis: i64) -> Result<std::time::Duration, Trouble> {
    // A negative duration cannot be written in Rust: the type says it, where Kafka Streams throws.
    match u64::try_from(millis) {
        Ok(millis) => Ok(ms(millis)),
        Err(_) => Err(Trouble::Build(BuildError::InvalidWindow {
            operator: "a duration".to_owned(),
            what: format!("{millis} ms is negative"),
        })),
    }
}

/// The builder's settings of a case.
pub fn settings(config: &Json) -> Result<BuildSettings, Trouble> {
    let mut settings = BuildSettings::default();
    for (name, value) in config.as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        match name.as_str() {
            "statestore.cache.max.bytes"
            | "processing.exception.handler"
            | "deserialization.exception.handler"
            | "errors.dead.letter.queue.topic.name" => {}
            // A driver's one task has no group and no transactions: its records are the same.
            "processing.guarantee" => {}
            "ensure.explicit.internal.resource.naming" => settings.require_names = value == "true",
            "default.timestamp.extractor" => {
                settings.default_timestamps = match value.rsplit('.').next().unwrap_or_default() {
                    "LogAndSkipOnInvalidTimestamp" => DefaultTimestamps::SkipOnInvalid,
                    "UsePartitionTimeOnInvalidTimestamp" => DefaultTimestamps::PartitionTimeOnInvalid,
                    "FailOnInvalidTimestamp" => DefaultTimestamps::FailOnInvalid,
                    other => return not_yet(format!("default.timestamp.extractor={other}")),
                };
            }
            "topology.optimization" => {
                for part in value.split(',') {
                    match part.trim() {
                        "all" => settings.optimize = Optimizations::ALL,
                        "none" | "" => {}
                        "reuse.ktable.source.topics" => settings.optimize.reuse_table_sources = true,
                        "merge.repartition.topics" => settings.optimize.merge_repartitions = true,
                        "single.store.self.join" => settings.optimize.self_joins = true,
                        other => return not_yet(format!("topology.optimization={other}")),
                    }
                }
            }
            "windowstore.changelog.additional.retention.ms" => {
                settings.additional_retention_ms = value.parse().ok();
            }
            "dsl.store.suppliers.class" if value.ends_with("InMemoryDslStoreSuppliers") => {
                settings.in_memory_stores = true;
            }
            "dsl.store.suppliers.class" if value.ends_with("RocksDBDslStoreSuppliers") => {}
            "dsl.store.format" => settings.keep_headers = value == "headers",
            other => return not_yet(other),
        }
    }
    Ok(settings)
}

/// Writes the program of a case.
pub fn write(case: &Json) -> Result<Program, Trouble> {
    let settings = settings(case.get("config").unwrap_or(&Json::Null))?;
    if text(case, "api") == Some("topology") {
        return topology::write(case, settings);
    }
    let mut writer = Writer {
        builder: StreamsBuilder::with_settings(settings),
        handles: BTreeMap::new(),
        stores: BTreeMap::new(),
        globals: BTreeSet::new(),
        table_stores: BTreeMap::new(),
        observed: Observed::default(),
        inputs: BTreeMap::new(),
        patterns: Vec::new(),
        outputs: BTreeMap::new(),
        store_types: BTreeMap::new(),
    };
    for step in case.get("program").and_then(Json::as_array).into_iter().flatten() {
        writer.step(step)?;
    }
    Ok(Program {
        topology: writer.builder.build()?,
        observed: writer.observed,
        inputs: writer.inputs,
        patterns: writer.patterns,
        outputs: writer.outputs,
        stores: writer.store_types,
    })
}

impl Writer {
    fn stream(&self, step: &Json, field: &str) -> Result<(Stream, Type, Type), Trouble> {
        match self.handles.get(text(step, field).unwrap_or_default()) {
            Some(Handle::Stream(stream, key, value)) => Ok((stream.clone(), key.clone(), value.clone())),
            _ => not_yet(format!("{} of something else than a stream", required(step, "op"))),
        }
    }

    fn table(&self, step: &Json, field: &str) -> Option<(Table, Type, Type)> {
        match self.handles.get(text(step, field)?)? {
            Handle::Table(table, key, value) => Some((table.clone(), key.clone(), value.clone())),
            _ => None,
        }
    }

    fn put_stream(&mut self, step: &Json, stream: Stream, key: Type, value: Type) {
        let stream = stream.key_serde(key.serde()).value_serde(value.serde());
        self.handles.insert(required(step, "id"), Handle::Stream(stream, key, value));
    }

    fn types(step: &Json) -> Result<(Type, Type), Trouble> {
        let parse = |field| text(step, field).and_then(Type::parse);
        match (parse("key"), parse("value")) {
            (Some(key), Some(value)) => Ok((key, value)),
            _ => not_yet("a type"),
        }
    }

    fn step(&mut self, step: &Json) -> Result<(), Trouble> {
        let op = required(step, "op");
        match op.as_str() {
            "stream" => self.source(step),
            "table" => self.source_table(step),
            "globalTable" => self.global_table(step),
            "addGlobalStore" => self.global_store(step),
            "filter" | "filterNot" | "mapValues" | "transformValues" if self.table(step, "in").is_some() => {
                self.derive(step, &op)
            }
            "filter" | "filterNot" | "mapValues" | "map" | "flatMap" | "flatMapValues" | "selectKey" | "peek"
            | "foreach" => self.stateless(step, &op),
            "merge" => {
                let (stream, key, value) = self.stream(step, "in")?;
                let (other, ..) = self.stream(step, "with")?;
                let merged = named(stream.merge(&other), step);
                self.put_stream(step, merged, key, value);
                Ok(())
            }
            "split" => self.split(step),
            "repartition" => {
                let (stream, key, value) = self.stream(step, "in")?;
                let mut repartitioned = named(stream.repartition(), step);
                if let Some(count) = number(step, "partitions") {
                    repartitioned = repartitioned.partitions(count as u32);
                }
                let mut repartitioned = repartitioned.key_serde(key.serde()).value_serde(value.serde());
                if let Some(partitioner) = text(step, "partitioner") {
                    repartitioned = repartitioned.partitioned_by(f::partitioner(partitioner));
                }
                self.put_stream(step, repartitioned, key, value);
                Ok(())
            }
            "to" => {
                let (stream, key, value) = self.stream(step, "in")?;
                let topic = Topic::<Key, Value>::named(required(step, "topic")).with_serdes(key.serde(), value.serde());
                let mut sink = match text(step, "topicFn").map(str::to_owned) {
                    Some(function) => {
                        let label = format!("by-{function}");
                        stream.to_chosen(label, &topic, move |record, _| chosen_topic(&function, record))
                    }
                    None => {
                        self.outputs.insert(required(step, "topic"), (key, value));
                        stream.to(&topic)
                    }
                };
                if let Some(partitioner) = text(step, "partitioner") {
                    sink = sink.partitioned_by(f::partitioner(partitioner));
                }
                if let Some(name) = text(step, "name") {
                    sink.named(name);
                }
                Ok(())
            }
            "toTable" => {
                let (stream, key, value) = self.stream(step, "in")?;
                let table = named_table(stream.to_table(), step);
                let table = materialize(table, step, false)?;
                self.put_table(step, Table::Plain(table), key, value);
                Ok(())
            }
            "toStream" => self.stream_of_table(step),
            "groupByKey" => {
                let (stream, key, value) = self.stream(step, "in")?;
                let mut grouped = stream.group_by_key().serdes(key.serde(), value.serde());
                if let Some(name) = text(step, "name") {
                    grouped = grouped.named(name);
                }
                self.handles.insert(required(step, "id"), Handle::Grouped(grouped, key, value));
                Ok(())
            }
            "groupBy" => self.group_by(step),
            "windowedBy" => self.windowed_by(step),
            "count" | "reduce" | "aggregate" => self.aggregate(step, &op),
            "cogroup" => self.cogroup(step),
            "join" | "leftJoin" | "outerJoin" => self.join(step, &op),
            "suppress" => self.suppress(step),
            "process" | "processValues" => self.process(step, &op),
            "addStateStore" => self.add_store(step),
            other => not_yet(other),
        }
    }

    fn note_input(&mut self, topic: &str, key: &Type, value: &Type) {
        self.inputs.entry(topic.to_owned()).or_insert_with(|| (key.clone(), value.clone()));
    }

    fn source(&mut self, step: &Json) -> Result<(), Trouble> {
        let (key, value) = Self::types(step)?;
        let names: Vec<String> = match step.get("topics").and_then(Json::as_array) {
            Some(topics) => topics.iter().filter_map(Json::as_str).map(str::to_owned).collect(),
            None => vec![required(step, "topic")],
        };
        for name in &names {
            self.note_input(name, &key, &value);
        }
        let topics: Vec<Topic<Key, Value>> =
            names.into_iter().map(|name| Topic::named(name).with_serdes(key.serde(), value.serde())).collect();
        let mut stream = match text(step, "pattern") {
            Some(pattern) => {
                self.patterns.push((pattern.to_owned(), key.clone(), value.clone()));
                let types = Topic::<Key, Value>::named("").with_serdes(key.serde(), value.serde());
                self.builder.stream_matching(pattern, &types)
            }
            None => self.builder.stream_of_all(&topics),
        };
        if let Some(reset) = text(step, "reset") {
            stream = stream.offset_reset(offset_reset(reset)?);
        }
        if let Some(extractor) = text(step, "extractor") {
            stream = stream.timestamps(match f::timestamp_extractor(extractor) {
                Some(extractor) => extractor,
                None => return not_yet(format!("extractor {extractor}")),
            });
        }
        self.put_stream(step, named(stream, step), key, value);
        Ok(())
    }

    fn source_table(&mut self, step: &Json) -> Result<(), Trouble> {
        let (key, value) = Self::types(step)?;
        let name = required(step, "topic");
        self.note_input(&name, &key, &value);
        let topic = Topic::<Key, Value>::named(name).with_serdes(key.serde(), value.serde());
        let mut table = named_table(self.builder.table(&topic), step);
        if let Some(extractor) = text(step, "extractor") {
            table = table.timestamps(match f::timestamp_extractor(extractor) {
                Some(extractor) => extractor,
                None => return not_yet(format!("extractor {extractor}")),
            });
        }
        if let Some(reset) = text(step, "reset") {
            table = table.offset_reset(offset_reset(reset)?);
        }
        let table = materialize(table, step, false)?;
        self.put_table(step, Table::Plain(table), key, value);
        Ok(())
    }

    fn global_table(&mut self, step: &Json) -> Result<(), Trouble> {
        let (key, value) = Self::types(step)?;
        let name = required(step, "topic");
        self.note_input(&name, &key, &value);
        let topic = Topic::<Key, Value>::named(name).with_serdes(key.serde(), value.serde());
        let mut table = self.builder.global_table(&topic);
        if let Some(name) = text(step, "name") {
            table = table.named(name);
        }
        for (option, setting) in step.get("materialized").and_then(Json::as_object).into_iter().flatten() {
            table = match (option.as_str(), setting) {
                ("name", Json::String(name)) => {
                    self.store_types.insert(name.clone(), (key.clone(), value.clone()));
                    table.store(name)
                }
                ("store", Json::String(_)) if step["materialized"].get("name").is_none() => {
                    let what = "Kafka Streams has no kind for a global table's store without a name";
                    return Err(Trouble::Build(BuildError::Misuse(what.to_owned())));
                }
                ("store", Json::String(kind)) if kind.ends_with("in_memory") => table.in_memory(),
                // A global table has no bound, and its rows have their timestamps.
                ("store", Json::String(kind))
                    if kind.starts_with("lru") || ["rocks_db", "plain", "timestamped"].contains(&kind.as_str()) =>
                {
                    table.on_disk()
                }
                ("store", Json::String(kind)) if kind.starts_with("versioned") => {
                    // Cannot be written in Tidewater; Kafka Streams says so when it builds.
                    return Err(Trouble::Build(BuildError::Misuse("a global table cannot be versioned".to_owned())));
                }
                ("caching" | "logging" | "retentionMs", _) => table,
                (other, _) => return not_yet(format!("a global table's {other}")),
            };
        }
        self.handles.insert(required(step, "id"), Handle::Global(table, value));
        Ok(())
    }

    fn global_store(&mut self, step: &Json) -> Result<(), Trouble> {
        let (key, value) = Self::types(step)?;
        let topic_name = required(step, "topic");
        self.note_input(&topic_name, &key, &value);
        let topic = Topic::<Key, Value>::named(topic_name).with_serdes(key.serde(), value.serde());
        let store = step.get("store").cloned().unwrap_or_default();
        let Some(spec) = step.get("processor").and_then(Spec::parse) else { return not_yet("a global processor") };
        let name = required(&store, "name");
        let (store_key, store_value) = Self::types(&store)?;
        self.store_types.insert(name.clone(), (store_key.clone(), store_value.clone()));
        /// Adds a store of one kind.
        macro_rules! global {
            ($kind:ident, $definition:expr) => {{
                let own_name = name.clone();
                let global = self.builder.global_store(&topic, $definition, move |stores, store| {
                    Dynamic::new(spec.clone(), &[(own_name.clone(), StoreOf::$kind(*store))], stores)
                });
                StoreOf::$kind(global.handle())
            }};
        }
        let store = match define_store(&store)? {
            Defined::KeyValue(definition) => global!(KeyValue, definition),
            Defined::Timestamped(definition) => global!(Timestamped, definition),
            Defined::Window(definition) => global!(Window, definition),
            Defined::Versioned(definition) => global!(Versioned, definition),
        };
        self.globals.insert(name.clone());
        self.stores.insert(name, store);
        Ok(())
    }

    fn put_table(&mut self, step: &Json, table: Table, key: Type, value: Type) {
        // The stores of aggregations are of windows or sessions; those of what is derived of them have windowed keys.
        let store_key = match &key {
            Type::Windowed(_, inner) | Type::Session(inner)
                if ["count", "reduce", "aggregate"].contains(&&*required(step, "op")) =>
            {
                (**inner).clone()
            }
            whole => whole.clone(),
        };
        if let Some(name) = step.get("materialized").and_then(|m| text(m, "name")) {
            self.store_types.insert(name.to_owned(), (store_key, value.clone()));
            if let Table::Plain(table) = &table {
                let table = table.clone().value_serde(value.serde());
                let kind = step["materialized"]["store"].as_str().unwrap_or_default();
                let store = match kind.starts_with("versioned") {
                    true => StoreOf::Versioned(table.versioned_rows()),
                    false => StoreOf::Timestamped(table.rows()),
                };
                self.table_stores.insert(name.to_owned(), store);
            }
        }
        let table = each!(table, t => t.value_serde(value.serde()));
        self.handles.insert(required(step, "id"), Handle::Table(table, key, value));
    }

    fn derive(&mut self, step: &Json, op: &str) -> Result<(), Trouble> {
        let Some((table, key, value)) = self.table(step, "in") else { return not_yet(op) };
        let function = required(step, "fn");
        let result = if op.starts_with("filter") { value } else { f::value_type(&function, &value) };
        let derived = each!(table, t => derive_table(&t, step, op, &function)?);
        self.put_table(step, derived, key, result);
        Ok(())
    }

    fn stateless(&mut self, step: &Json, op: &str) -> Result<(), Trouble> {
        let (stream, key, value) = self.stream(step, "in")?;
        let function = required(step, "fn");
        let (new_key, new_value) = match op {
            "mapValues" => (key.clone(), f::value_type(&function, &value)),
            "map" => {
                (f::key_type(&required(step, "key"), &key, &value), f::value_type(&required(step, "value"), &value))
            }
            "flatMap" => (if function == "word_keys" { Type::Str } else { key.clone() }, Type::Str),
            "flatMapValues" => (key.clone(), Type::Str),
            "selectKey" => (f::key_type(&function, &key, &value), value.clone()),
            _ => (key.clone(), value.clone()),
        };
        let id = required(step, "id");
        let observed = self.observed.clone();
        let observe = move |key: &Key, value: &Value| {
            let mut observed = observed.lock().unwrap_or_else(PoisonError::into_inner);
            observed.push((id.clone(), key.clone(), value.clone()));
        };
        let made = match op {
            "filter" => stream.try_filter(move |k, v| f::predicate(&function, k.as_ref(), v.as_ref())),
            "filterNot" => stream.try_filter_not(move |k, v| f::predicate(&function, k.as_ref(), v.as_ref())),
            "mapValues" => stream.try_map_values_with_key(move |k, v| f::value_function(&function, k.as_ref(), v)),
            "map" => {
                let (to_key, to_value) = (required(step, "key"), required(step, "value"));
                stream.try_map(move |k, v| {
                    let key = f::key_function(&to_key, k.as_ref(), v.as_ref())?;
                    let value = f::value_function(&to_value, k.as_ref(), v)?;
                    Ok((key, value))
                })
            }
            "flatMap" => stream.flat_map(move |k, v| f::flat(&function, k, v)),
            "flatMapValues" => stream.try_flat_map_values(move |k, v| {
                let made = f::flat(&function, k.clone(), v);
                Ok(made.into_iter().map(|(_, value)| value).collect::<Vec<_>>())
            }),
            "selectKey" => stream.try_select_key(move |k, v| f::key_function(&function, k.as_ref(), v.as_ref())),
            "peek" => stream.peek(observe),
            _ => {
                let end = stream.for_each(observe);
                if let Some(name) = text(step, "name") {
                    end.named(name);
                }
                return Ok(());
            }
        };
        self.put_stream(step, named(made, step), new_key, new_value);
        Ok(())
    }

    fn split(&mut self, step: &Json) -> Result<(), Trouble> {
        let (stream, key, value) = self.stream(step, "in")?;
        let mut split = stream.split();
        if let Some(name) = text(step, "name") {
            split = split.named(name);
        }
        for branch in step.get("branches").and_then(Json::as_array).into_iter().flatten() {
            let function = required(branch, "fn");
            let made = split.try_branch(move |k, v| f::predicate(&function, k.as_ref(), v.as_ref()));
            self.put_stream(branch, named(made, branch), key.clone(), value.clone());
        }
        if let Some(default) = step.get("default").filter(|default| !default.is_null()) {
            self.put_stream(default, named(split.otherwise(), default), key, value);
        }
        Ok(())
    }

    fn stream_of_table(&mut self, step: &Json) -> Result<(), Trouble> {
        let Some((table, key, value)) = self.table(step, "in") else { return not_yet("toStream") };
        let stream = match table {
            Table::Plain(table) => open_table(&table, step),
            Table::Windowed(table) => open_table(&table, step),
            Table::Session(table) => open_table(&table, step),
        };
        let stream = stream.key_serde(key.serde()).value_serde(value.serde());
        match text(step, "fn").map(str::to_owned) {
            None => self.put_stream(step, stream, key, value),
            Some(function) => {
                let new_key = f::key_type(&function, &key, &value);
                let keyed = stream.try_select_key(move |k, v| f::key_function(&function, k.as_ref(), v.as_ref()));
                self.put_stream(step, keyed, new_key, value);
            }
        }
        Ok(())
    }

    fn join(&mut self, step: &Json, op: &str) -> Result<(), Trouble> {
        let function = required(step, "fn");
        if let Some((left, key, left_type)) = self.table(step, "in") {
            let Some((right, _, right_type)) = self.table(step, "with") else { return not_yet("this join") };
            let result = f::joiner_type(&function, &left_type, &right_type);
            if let Some(foreign) = text(step, "foreignKey") {
                let left = match left {
                    Table::Plain(left) => Table::Plain(join_foreign(&left, &right, step, op, foreign, function)?),
                    Table::Windowed(left) => Table::Windowed(join_foreign(&left, &right, step, op, foreign, function)?),
                    Table::Session(left) => Table::Session(join_foreign(&left, &right, step, op, foreign, function)?),
                };
                self.put_table(step, left, key, result);
                return Ok(());
            }
            let table = match (left, right) {
                (Table::Plain(left), Table::Plain(right)) => {
                    Table::Plain(join_tables(&left, &right, step, op, function)?)
                }
                (Table::Windowed(left), Table::Windowed(right)) => {
                    Table::Windowed(join_tables(&left, &right, step, op, function)?)
                }
                (Table::Session(left), Table::Session(right)) => {
                    Table::Session(join_tables(&left, &right, step, op, function)?)
                }
                _ => return not_yet("a join of tables of different keys"),
            };
            self.put_table(step, table, key, result);
            return Ok(());
        }
        let (left, key, left_type) = self.stream(step, "in")?;
        if let Some(Handle::Global(table, row)) = self.handles.get(&required(step, "with")) {
            let (select, result) = (required(step, "keyFn"), f::joiner_type(&function, &left_type, row));
            let joined = left.try_join_global_any(
                table,
                op == "leftJoin",
                move |k, v| f::key_function(&select, k.as_ref(), Some(v)),
                move |k, l, r| Ok(f::joiner(&function, k.as_ref(), Some(l), r)),
            );
            self.put_stream(step, named(joined, step), key, result);
            return Ok(());
        }
        if let Some((table, _, table_type)) = self.table(step, "with") {
            let result = f::joiner_type(&function, &left_type, &table_type);
            let joined = match table {
                Table::Plain(table) => join_rows(&left, &table, step, op, function)?,
                Table::Windowed(table) => join_table(&left, &key, &table, step, op, function)?,
                Table::Session(table) => join_table(&left, &key, &table, step, op, function)?,
            };
            self.put_stream(step, joined, key, result);
            return Ok(());
        }
        let (right, _, right_type) = self.stream(step, "with")?;
        let window = step.get("window").cloned().unwrap_or_default();
        let mut windows = JoinWindows::of(duration(number(&window, "differenceMs").unwrap_or(0))?);
        let difference = number(&window, "differenceMs").unwrap_or(0);
        let before = number(&window, "beforeMs").unwrap_or(difference);
        let after = number(&window, "afterMs").unwrap_or(difference);
        windows = windows.between_ms(-before, after);
        if let Some(grace) = number(&window, "graceMs") {
            windows = windows.grace(duration(grace)?);
        }
        if let Some(name) = text(step, "storeName") {
            windows = windows.store(name);
        }
        match text(step, "store") {
            Some("in_memory") => windows = windows.in_memory(),
            Some(other) => return not_yet(format!("{other} join stores")),
            None => {}
        }
        match step.get("logging") {
            Some(Json::Bool(false)) => windows = windows.without_changelog(),
            Some(Json::Object(settings)) => {
                for (name, value) in settings {
                    windows = windows.changelog_setting(name, value.as_str().unwrap_or_default());
                }
            }
            _ => {}
        }
        let (left_outer, right_outer) = (op != "join", op == "outerJoin");
        let result = f::joiner_type(&function, &left_type, &right_type);
        let joined = left.try_join_any(&right, windows, left_outer, right_outer, move |k, l, r| {
            Ok(f::joiner(&function, k.as_ref(), l, r))
        });
        self.put_stream(step, named(joined, step), key, result);
        Ok(())
    }

    fn suppress(&mut self, step: &Json) -> Result<(), Trouble> {
        let Some((table, key, value)) = self.table(step, "in") else { return not_yet("suppress") };
        let suppressed = match table {
            Table::Plain(table) if text(step, "until") == Some("window_closes") => {
                // Does not compile in Tidewater; Kafka Streams says so when it builds.
                drop(table);
                return Err(Trouble::Build(BuildError::InvalidWindow {
                    operator: "suppress".to_owned(),
                    what: "only a windowed table has windows that close".to_owned(),
                }));
            }
            Table::Plain(table) => Table::Plain(suppress(&table, None, step)?),
            Table::Windowed(table) => Table::Windowed(suppress(&table, Some(Suppress::until_window_closes()), step)?),
            Table::Session(table) => Table::Session(suppress(&table, Some(Suppress::until_window_closes()), step)?),
        };
        self.put_table(step, suppressed, key, value);
        Ok(())
    }
}

fn chosen_topic(function: &str, record: &Record<Key, Value>) -> String {
    let chosen = f::key_function(function, record.key.as_ref(), record.value.as_ref());
    format!("to-{}", val_text(chosen.ok().flatten().as_ref()))
}

fn offset_reset(reset: &str) -> Result<OffsetReset, Trouble> {
    Ok(match reset {
        "earliest" => OffsetReset::Earliest,
        "latest" => OffsetReset::Latest,
        "none" => OffsetReset::None,
        other => match other.strip_prefix("by_duration:").and_then(|millis| millis.parse().ok()) {
            Some(millis) => OffsetReset::ByDuration(duration(millis)?),
            None => return not_yet(format!("reset {other}")),
        },
    })
}

fn named(stream: Stream, step: &Json) -> Stream {
    match text(step, "name") {
        Some(name) => stream.named(name),
        None => stream,
    }
}
