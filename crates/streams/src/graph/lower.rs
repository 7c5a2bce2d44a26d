//! From operators to graph nodes: names and numbers, repartitions, stores, and which tables must keep rows.
//!
//! Kafka Streams decides all this while the program makes its calls; here the calls are replayed in their order once all
//! options are known, so that the same numbers come out.

mod aggregates;
mod foreign_join;
mod joins;

use std::collections::BTreeSet;

use tidewater_state::{Logging, Retention, StoreHeaders, StoreKind, StoreSpec};

use super::node::{Graph, GraphId, GraphKind, ProcessorSpec, ROOT};
use super::plan::{
    AggregateOp, ForeignJoinOp, GroupedTableOp, JoinStore, NodeMaker, Op, OpFacts, OpId, OpKind, Plan,
    RepartitionMaker, SourceMaker, StatefulOp, StoreOptions, StoreTemplate, StreamJoinOp, StreamTableJoinOp,
    SuppressOp, TableJoinOp,
};
use crate::config::BuildSettings;
use crate::error::BuildError;
use crate::task::versioned_kind;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const REPARTITION: &str = "-repartition";

/// How a table gets at its rows, and what that means for those it comes from.
#[derive(Clone)]
enum TableKind {
    /// Read from a topic or stream: keeps rows if anybody asks.
    Source,
    /// Always has a store: aggregations.
    Stored,
    /// Keeps rows only if the program says so; else works them out from the one it comes from.
    Derived(OpId),
    Joined(OpId, OpId),
    Suppressed(OpId),
}

#[derive(Clone)]
struct Table {
    kind: TableKind,
    /// The store's description, whether or not it will be needed.
    spec: Option<StoreSpec>,
    materialized: bool,
    send_old: bool,
    /// Whether late changes come out of it, marked as such.
    versioned: bool,
}

impl Table {
    fn new(kind: TableKind, spec: Option<StoreSpec>, materialized: bool) -> Self {
        let versioned = spec.as_ref().is_some_and(|spec| matches!(spec.kind, StoreKind::Versioned { .. }));
        Table { kind, spec, materialized, send_old: false, versioned }
    }
}

/// What an operator has become.
#[derive(Clone)]
struct Lowered {
    graph: GraphId,
    /// What Kafka Streams calls the handle's name.
    name: String,
    repartition_required: bool,
    /// The source nodes of its sub-topology.
    sources: BTreeSet<String>,
    /// The name given to a grouping.
    group_name: Option<String>,
    /// A repartition that several operators behind this one share.
    shared_repartition: Option<GraphId>,
}

impl Lowered {
    /// What needs no repartition, and has no grouping behind it.
    fn new(graph: GraphId, name: String, sources: BTreeSet<String>) -> Self {
        Lowered { graph, name, repartition_required: false, sources, group_name: None, shared_repartition: None }
    }
}

struct Lowering<'a> {
    plan: &'a Plan,
    settings: &'a BuildSettings,
    graph: Graph,
    ops: Vec<Option<Lowered>>,
    tables: Vec<Option<Table>>,
}

pub(crate) fn lower(plan: &Plan, settings: &BuildSettings) -> Result<Graph, BuildError> {
    if let Some(error) = plan.errors.first() {
        return Err(error.clone());
    }
    let mut lowering = Lowering {
        plan,
        settings,
        graph: Graph::new(),
        ops: vec![None; plan.ops.len()],
        tables: vec![None; plan.ops.len()],
    };
    lowering.graph.facts = vec![OpFacts::default(); plan.ops.len()];
    for (id, op) in plan.ops.iter().enumerate() {
        let lowered = lowering.op(id, op)?;
        let facts = &mut lowering.graph.facts[id];
        facts.name = lowered.name.clone();
        facts.key_serde = op.key_serde.clone();
        facts.value_serde = op.value_serde.clone();
        lowering.ops[id] = Some(lowered);
    }
    for (id, table) in lowering.tables.iter().enumerate() {
        let Some(table) = table else { continue };
        lowering.graph.facts[id].send_old = table.send_old;
        if table.materialized
            && let Some(spec) = &table.spec
        {
            lowering.graph.facts[id].store = Some(spec.name.clone());
            lowering.graph.store_specs.insert(id, spec.clone());
        }
    }
    lowering.connect_tables();
    Ok(lowering.graph)
}

/// A repartition node with its three generated names.
pub(crate) fn create_repartition(
    graph: &mut Graph,
    prefix: &str,
    maker: RepartitionMaker,
    partitions: Option<u32>,
    optimizable: bool,
) -> GraphId {
    let topic = if prefix.ends_with(REPARTITION) { prefix.to_owned() } else { format!("{prefix}{REPARTITION}") };
    let mut sink = graph.new_name("KSTREAM-SINK-");
    let mut filter = graph.new_name("KSTREAM-FILTER-");
    let mut source = graph.new_name("KSTREAM-SOURCE-");
    if !is_generated(prefix) {
        sink = format!("{topic}-sink");
        source = format!("{topic}-source");
        filter = format!("{topic}-filter");
    }
    let kind = GraphKind::Repartition {
        source: source.clone(),
        sink,
        filter,
        topic,
        maker,
        partitions,
        optimizable,
        drop_null_keys: false,
    };
    graph.create(source, kind)
}

/// `KSTREAM.*-[0-9]{10}`
fn is_generated(prefix: &str) -> bool {
    prefix.starts_with("KSTREAM")
        && prefix.len() > 10
        && prefix.is_char_boundary(prefix.len() - 10)
        && prefix[prefix.len() - 10..].bytes().all(|byte| byte.is_ascii_digit())
        && prefix[..prefix.len() - 10].ends_with('-')
}

/// Names become parts of topic names.
fn check_name(name: &str) -> Result<(), BuildError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > 249 || name == "." || name == ".." || !name.bytes().all(legal) {
        return Err(BuildError::InvalidName(name.to_owned()));
    }
    Ok(())
}

impl Lowering<'_> {
    fn lowered(&self, id: OpId) -> &Lowered {
        match &self.ops[id] {
            Some(lowered) => lowered,
            None => unreachable!("an operator's inputs were called before it"),
        }
    }

    fn table(&mut self, id: OpId) -> &mut Table {
        match &mut self.tables[id] {
            Some(table) => table,
            None => unreachable!("the DSL's types let only tables be used as tables"),
        }
    }

    /// The given name, or a generated one. A number is used up either way, so that naming one operator leaves the others'
    /// names as they were.
    fn name(&mut self, op: &Op, prefix: &str) -> Result<String, BuildError> {
        let generated = self.graph.new_name(prefix);
        self.given_name(op).map(|given| given.unwrap_or(generated))
    }

    /// The given name, or a generated one, which alone uses a number up.
    fn name_or_new(&mut self, op: &Op, prefix: &str) -> Result<String, BuildError> {
        Ok(self.given_name(op)?.unwrap_or_else(|| self.graph.new_name(prefix)))
    }

    /// The name of a node that has one from the beginning.
    fn name_of(&self, op: &Op) -> Result<String, BuildError> {
        Ok(self.given_name(op)?.unwrap_or_default())
    }

    fn given_name(&self, op: &Op) -> Result<Option<String>, BuildError> {
        if let Some(name) = &op.name {
            check_name(name)?;
        }
        Ok(op.name.clone())
    }

    /// The given name with a suffix, or a generated one. A number is used up either way.
    fn suffixed(&mut self, op: &Op, suffix: &str, prefix: &str) -> String {
        let generated = self.graph.new_name(prefix);
        op.name.as_ref().map_or(generated, |name| format!("{name}{suffix}"))
    }

    fn op(&mut self, id: OpId, op: &Op) -> Result<Lowered, BuildError> {
        match &op.kind {
            OpKind::AddSource { reads, source, types } => {
                let name = self.name_of(op)?;
                let kind = GraphKind::Source { reads: reads.clone(), maker: source.clone(), types: *types };
                let graph = self.graph.create(&name, kind);
                self.graph.add(ROOT, graph);
                Ok(Lowered::new(graph, name.clone(), [name].into()))
            }
            OpKind::AddProcessor { node, stores } => {
                let name = self.name_of(op)?;
                let mut spec = processor_spec(id, &name, node);
                spec.connected = self.opened_stores(stores)?;
                let graph = self.graph.create(&name, GraphKind::Processor(spec));
                let mut sources = BTreeSet::new();
                for &parent in &op.inputs {
                    let parent = self.lowered(parent).clone();
                    sources.extend(parent.sources);
                    self.graph.add(parent.graph, graph);
                }
                Ok(Lowered::new(graph, name, sources))
            }
            OpKind::AddReadOnlyStore { reads, source_name, source, node, store, is_global } => {
                let name = self.name_of(op)?;
                check_name(source_name)?;
                let spec = self.plan.stores[*store].spec.clone();
                check_name(&spec.name)?;
                let mut processor = processor_spec(id, &name, node);
                let kind = if *is_global {
                    GraphKind::GlobalSource {
                        topic: reads.topics.first().cloned().unwrap_or_default(),
                        source: source_name.clone(),
                        maker: source.clone(),
                        processor,
                        store: StoreSpec { cached: false, logging: Logging::Off, ..spec },
                    }
                } else {
                    processor.own_stores.push(spec);
                    let (reads, source, maker) = (reads.clone(), source_name.clone(), source.clone());
                    GraphKind::ReadOnlyStore { reads, source, maker, processor }
                };
                let graph = self.graph.create(&name, kind);
                self.graph.add(ROOT, graph);
                Ok(Lowered::new(graph, name, [source_name.clone()].into()))
            }
            OpKind::Stream { reads, source, types } => {
                let name = self.name(op, "KSTREAM-SOURCE-")?;
                let kind = GraphKind::Source { reads: reads.clone(), maker: source.clone(), types: *types };
                let graph = self.graph.create(&name, kind);
                self.graph.add(ROOT, graph);
                Ok(Lowered::new(graph, name.clone(), [name].into()))
            }
            OpKind::Table { reads, source, node } => {
                let topic = reads.topics.first().cloned().unwrap_or_default();
                let spec = self.store_spec(op, &format!("{topic}-"), &StoreTemplate::KeyValue)?;
                let source_name = self.suffixed(op, "-source", "KSTREAM-SOURCE-");
                let name = self.name(op, "KTABLE-SOURCE-")?;
                let kind = GraphKind::TableSource {
                    reads: reads.clone(),
                    source: source_name.clone(),
                    maker: source.clone(),
                    processor: processor_spec(id, &name, node),
                    reuse: false,
                };
                let graph = self.graph.create(&name, kind);
                self.graph.add(ROOT, graph);
                let materialized = op.store.as_ref().is_some_and(|store| store.name.is_some());
                self.tables[id] = Some(Table::new(TableKind::Source, Some(spec), materialized));
                Ok(Lowered::new(graph, name, [source_name].into()))
            }
            OpKind::GlobalTable { topic, source, node } => {
                let spec = self.store_spec(op, &format!("{topic}-"), &StoreTemplate::KeyValue)?;
                self.graph.facts[id].store = Some(spec.name.clone());
                self.global_source(id, op, topic, source, node, spec)
            }
            OpKind::GlobalStore { topic, source, node, store } => {
                let spec = self.plan.stores[*store].spec.clone();
                check_name(&spec.name)?;
                self.global_source(id, op, topic, source, node, spec)
            }
            OpKind::Process { prefix, node, key_changing, value_changing, repartitions, stores, relaxed_null_keys } => {
                let is_process = matches!(*prefix, "KSTREAM-PROCESSOR-" | "KSTREAM-PROCESSVALUES-");
                let name = if is_process { self.name_or_new(op, prefix)? } else { self.name(op, prefix)? };
                let mut spec = processor_spec(id, &name, node);
                spec.connected = self.opened_stores(stores)?;
                let parent = self.lowered(op.inputs[0]).clone();
                let graph = self.graph.create(&name, GraphKind::Processor(spec));
                self.graph.nodes[graph].key_changing = *key_changing;
                self.graph.nodes[graph].value_changing = *value_changing;
                self.graph.nodes[graph].relaxed_null_keys = *relaxed_null_keys;
                self.graph.add(parent.graph, graph);
                let repartition_required = parent.repartition_required || *repartitions;
                Ok(Lowered { graph, name, repartition_required, shared_repartition: None, ..parent })
            }
            OpKind::Retype { node } => {
                let parent = self.lowered(op.inputs[0]).clone();
                let graph = self.graph.create(parent.name.clone(), GraphKind::Hidden(node.clone()));
                // A repartition of the one type is none of the other.
                self.graph.nodes[graph].value_changing = true;
                self.graph.add(parent.graph, graph);
                Ok(Lowered { graph, shared_repartition: None, ..parent })
            }
            OpKind::RetypeTable { node } => {
                let parent = self.lowered(op.inputs[0]).clone();
                let graph = self.graph.create(parent.name.clone(), GraphKind::Hidden(node.clone()));
                self.graph.add(parent.graph, graph);
                let versioned = self.table(op.inputs[0]).versioned;
                let table = Table::new(TableKind::Derived(op.inputs[0]), None, false);
                self.tables[id] = Some(Table { versioned, ..table });
                Ok(Lowered { graph, ..parent })
            }
            OpKind::Merge { node } => {
                let name = self.name(op, "KSTREAM-MERGE-")?;
                let (left, right) = (self.lowered(op.inputs[0]).clone(), self.lowered(op.inputs[1]).clone());
                let graph = self.graph.create(&name, GraphKind::Processor(processor_spec(id, &name, node)));
                self.graph.nodes[graph].is_merge = true;
                self.graph.add(left.graph, graph);
                self.graph.add(right.graph, graph);
                Ok(Lowered {
                    repartition_required: left.repartition_required || right.repartition_required,
                    ..Lowered::new(graph, name, &left.sources | &right.sources)
                })
            }
            OpKind::Split { node } => {
                let name = self.name(op, "KSTREAM-BRANCH-")?;
                let parent = self.lowered(op.inputs[0]).clone();
                let graph = self.graph.create(&name, GraphKind::Processor(processor_spec(id, &name, node)));
                self.graph.add(parent.graph, graph);
                Ok(Lowered { graph, name, shared_repartition: None, ..parent })
            }
            OpKind::Branch { node, number } => {
                let split = self.lowered(op.inputs[0]).clone();
                let suffix = op.name.clone().unwrap_or_else(|| number.to_string());
                let name = format!("{}{suffix}", split.name);
                check_name(&name)?;
                self.graph.next_number += 1;
                let graph = self.graph.create(&name, GraphKind::Processor(processor_spec(id, &name, node)));
                self.graph.add(split.graph, graph);
                Ok(Lowered { graph, name, shared_repartition: None, ..split })
            }
            OpKind::Repartition { maker, partitions } => {
                let parent = self.lowered(op.inputs[0]).clone();
                let prefix = self.name_or_new(op, "KSTREAM-REPARTITION-")?;
                let graph = create_repartition(&mut self.graph, &prefix, maker.clone(), *partitions, false);
                self.graph.add(parent.graph, graph);
                let name = self.graph.nodes[graph].name.clone();
                Ok(Lowered::new(graph, name.clone(), [name].into()))
            }
            OpKind::Sink { topic, sink } => {
                let name = self.name(op, "KSTREAM-SINK-")?;
                let parent = self.lowered(op.inputs[0]).clone();
                let others: Vec<GraphId> = op.inputs[1..].iter().map(|&input| self.lowered(input).graph).collect();
                let kind = GraphKind::Sink { topic: topic.clone(), maker: sink.clone() };
                let graph = self.graph.create(&name, kind);
                self.graph.add(parent.graph, graph);
                for other in others {
                    self.graph.add(other, graph);
                }
                Ok(Lowered { graph, name, ..parent })
            }
            OpKind::GroupByKey => {
                let parent = self.lowered(op.inputs[0]).clone();
                if let Some(name) = &op.name {
                    check_name(name)?;
                }
                Ok(Lowered { group_name: op.name.clone(), shared_repartition: None, ..parent })
            }
            OpKind::GroupBy { node } => {
                let name = self.name(op, "KSTREAM-KEY-SELECT-")?;
                let parent = self.lowered(op.inputs[0]).clone();
                let graph = self.graph.create(&name, GraphKind::Processor(processor_spec(id, &name, node)));
                self.graph.nodes[graph].key_changing = true;
                self.graph.add(parent.graph, graph);
                Ok(Lowered {
                    graph,
                    name,
                    repartition_required: true,
                    group_name: op.name.clone(),
                    shared_repartition: None,
                    ..parent
                })
            }
            OpKind::Aggregate(aggregate) => self.aggregate(id, op, aggregate),
            OpKind::Cogroup => Ok(self.lowered(op.inputs[0]).clone()),
            OpKind::CogroupAggregate { sides, merge } => self.cogroup(id, op, sides, merge),
            OpKind::ToTable { node, repartition } => self.table_of_stream(id, op, node, repartition),
            OpKind::Derive { prefix, node, stores } => {
                let mut spec = None;
                if let Some(store) = &op.store {
                    if store.name.is_none() {
                        self.graph.new_store_name(prefix);
                    } else {
                        spec = Some(self.store_spec(op, prefix, &StoreTemplate::KeyValue)?);
                    }
                }
                let name = self.name(op, prefix)?;
                let parent = self.lowered(op.inputs[0]).clone();
                let mut processor = processor_spec(id, &name, node);
                processor.own_stores.extend(spec.clone());
                processor.connected = self.opened_stores(stores)?;
                let graph = self.graph.create(&name, GraphKind::Processor(processor));
                self.graph.add(parent.graph, graph);
                // A filter over a table with a store gets old values, to leave out deletes of rows it never sent.
                let send_old = *prefix == "KTABLE-FILTER-" && self.enable_sending_old(op.inputs[0], false);
                // With any store option the table is what its store is, else what it comes from.
                let inherited = self.table(op.inputs[0]).versioned;
                self.graph.facts[id].versioned_inputs = vec![inherited];
                let is_kept = spec.is_some();
                let table = Table::new(TableKind::Derived(op.inputs[0]), spec, is_kept);
                let versioned = if op.store.is_some() { table.versioned } else { inherited };
                self.tables[id] = Some(Table { send_old, versioned, ..table });
                Ok(Lowered { graph, name, shared_repartition: None, ..parent })
            }
            OpKind::ToStream { node } => {
                let name = self.name(op, "KTABLE-TOSTREAM-")?;
                let parent = self.lowered(op.inputs[0]).clone();
                let graph = self.graph.create(&name, GraphKind::Processor(processor_spec(id, &name, node)));
                self.graph.add(parent.graph, graph);
                Ok(Lowered { graph, name, repartition_required: false, shared_repartition: None, ..parent })
            }
            OpKind::GroupTable { node } => {
                let name = self.name(op, "KTABLE-SELECT-")?;
                let parent = self.lowered(op.inputs[0]).clone();
                let graph = self.graph.create(&name, GraphKind::Processor(processor_spec(id, &name, node)));
                self.graph.add(parent.graph, graph);
                self.enable_sending_old(op.inputs[0], true);
                self.graph.facts[id].versioned_inputs = vec![self.table(op.inputs[0]).versioned];
                Ok(Lowered { graph, name, group_name: op.name.clone(), shared_repartition: None, ..parent })
            }
            OpKind::TableAggregate(aggregate) => self.table_aggregate(id, op, aggregate),
            OpKind::StreamJoin(join) => self.stream_join(id, op, join),
            OpKind::StreamTableJoin(join) => self.stream_table_join(id, op, join),
            OpKind::ForeignJoin(join) => self.foreign_join(id, op, join),
            OpKind::TableJoin(join) => self.table_join(id, op, join),
            OpKind::Suppress(suppress) => self.suppress(id, op, suppress),
            OpKind::Stateful(stateful) => self.stateful(id, op, stateful),
            OpKind::StateStore { index } => {
                let spec = self.plan.stores[*index].spec.clone();
                check_name(&spec.name)?;
                let graph = self.graph.create(spec.name.clone(), GraphKind::StateStore(spec.clone()));
                self.graph.add(ROOT, graph);
                Ok(Lowered::new(graph, spec.name, BTreeSet::new()))
            }
        }
    }

    /// A topic and the processor that puts it into a global store, which is not cached, and whose changelog is the topic.
    fn global_source(
        &mut self,
        id: OpId,
        op: &Op,
        topic: &str,
        maker: &SourceMaker,
        node: &NodeMaker,
        spec: StoreSpec,
    ) -> Result<Lowered, BuildError> {
        let source = self.suffixed(op, "-source", "KSTREAM-SOURCE-");
        let name = self.name(op, "KTABLE-SOURCE-")?;
        let kind = GraphKind::GlobalSource {
            topic: topic.to_owned(),
            source,
            maker: maker.clone(),
            processor: processor_spec(id, &name, node),
            store: StoreSpec { cached: false, logging: Logging::Off, ..spec },
        };
        let graph = self.graph.create(&name, kind);
        self.graph.add(ROOT, graph);
        Ok(Lowered::new(graph, name, BTreeSet::new()))
    }

    /// The store of an operator; takes a number for its name if none was given.
    fn store_spec(&mut self, op: &Op, prefix: &str, template: &StoreTemplate) -> Result<StoreSpec, BuildError> {
        let default = StoreOptions::default();
        let options = op.store.as_ref().unwrap_or(&default);
        let name = match &options.name {
            Some(name) => {
                check_name(name)?;
                name.clone()
            }
            None => self.graph.new_store_name(prefix),
        };
        let is_windowed = !matches!(template, StoreTemplate::KeyValue);
        let unknown = match options {
            StoreOptions { versioned: Some(_), .. } if is_windowed => Some("versioned; windows have a retention"),
            StoreOptions { max_keys: Some(_), .. } if is_windowed => {
                Some("bound on its keys; windows have a retention")
            }
            StoreOptions { retention: Some(_), .. } if !is_windowed => Some("retention; rows have .ttl(..)"),
            _ => None,
        };
        if let Some(option) = unknown {
            return Err(BuildError::UnknownOption { operator: name, option });
        }
        let kept = options.local_retention.or(options.retention);
        let kind = match *template {
            StoreTemplate::KeyValue => match options.versioned {
                Some((history, segment_ms)) => versioned_kind(history, segment_ms),
                // A record cache keeps the timestamps that the store behind it has no place for.
                None => StoreKind::KeyValue { timestamped: !options.plain || options.cached.unwrap_or(true) },
            },
            StoreTemplate::Window { size_ms, span_ms, grace_ms } => {
                let least = span_ms.saturating_add(grace_ms);
                let retention = kept.unwrap_or(Retention { ms: least });
                let what = if span_ms == size_ms {
                    "the window's size plus its grace"
                } else {
                    "twice the window's size plus its grace"
                };
                check_retention(&name, retention, least, what)?;
                StoreKind::Window { timestamped: true, retention, size_ms, duplicates: false }
            }
            StoreTemplate::Session { gap_ms, grace_ms } => {
                let least = gap_ms.saturating_add(grace_ms);
                let retention = kept.unwrap_or(Retention { ms: least });
                check_retention(&name, retention, least, "the session's gap plus its grace")?;
                StoreKind::Session { retention }
            }
        };
        let ttl_ms = options.ttl_ms;
        if ttl_ms.is_some() && kind != (StoreKind::KeyValue { timestamped: true }) {
            let what = "only rows of a key-value store that has timestamps have a time to live; windows, sessions and versions have a retention";
            return Err(BuildError::Misuse(format!("{name}: {what}")));
        }
        let mut changelog = options.changelog.clone();
        if options.local_retention.is_some()
            && let Some(least) = least_retention(template)
        {
            let kept = options.retention.map_or(least, |retention| retention.ms);
            let additional = self.settings.additional_retention_ms.unwrap_or(DAY_MS);
            changelog.insert(0, ("retention.ms".to_owned(), kept.saturating_add(additional).to_string()));
        }
        let logging = if options.without_changelog { Logging::Off } else { Logging::On(changelog) };
        // Versions are always on disk unless they are asked to be elsewhere, as in Kafka Streams.
        let by_default = self.settings.in_memory_stores && options.versioned.is_none();
        let in_memory = options.max_keys.is_some() || options.in_memory.unwrap_or(by_default);
        let cached = options.cached.unwrap_or(true) && options.versioned.is_none();
        let has_room = !matches!(kind, StoreKind::Versioned { .. } | StoreKind::KeyValue { timestamped: false });
        let headers = match self.settings.keep_headers && has_room && !in_memory {
            true => StoreHeaders::Kept,
            false => StoreHeaders::Dropped,
        };
        Ok(StoreSpec {
            name,
            kind,
            in_memory,
            cached,
            logging,
            headers,
            max_keys: options.max_keys,
            ttl_ms,
            time_ordered: false,
        })
    }

    fn suppress(&mut self, id: OpId, op: &Op, suppress: &SuppressOp) -> Result<Lowered, BuildError> {
        let name = self.name_or_new(op, "KTABLE-SUPPRESS-")?;
        let parent = self.lowered(op.inputs[0]).clone();
        if self.table(op.inputs[0]).versioned {
            return Err(BuildError::Misuse(format!(
                "{name}: suppress cannot hold a versioned table back, and this one is, or comes from one; put .materialized() on a table between"
            )));
        }
        if suppress.until_window_closes {
            let Some(grace) = self.grace_above(parent.graph) else {
                return Err(BuildError::InvalidWindow {
                    operator: name,
                    what: "only a windowed aggregation has windows that close; hold back until a time limit, or aggregate in windows".to_owned(),
                });
            };
            self.graph.facts[id].stores.insert("grace", grace.to_string());
        }
        let store = match &op.name {
            Some(name) => format!("{name}-store"),
            None => self.graph.new_store_name("KTABLE-SUPPRESS-"),
        };
        let logging = if suppress.without_changelog { Logging::Off } else { Logging::On(suppress.changelog.clone()) };
        let spec = StoreSpec { in_memory: true, logging, ..StoreSpec::new(store, StoreKind::Internal) };
        self.enable_sending_old(op.inputs[0], true);
        self.graph.facts[id].stores.insert("buffer", spec.name.clone());
        let mut processor = processor_spec(id, &name, &suppress.node);
        processor.own_stores.push(spec.clone());
        let graph = self.graph.create(&name, GraphKind::Processor(processor));
        self.graph.add(parent.graph, graph);
        self.tables[id] = Some(Table::new(TableKind::Suppressed(op.inputs[0]), Some(spec), false));
        Ok(Lowered::new(graph, name, [parent.name].into()))
    }

    /// The grace of the windowed aggregations above: the largest, if every way up leads to one.
    fn grace_above(&self, id: GraphId) -> Option<i64> {
        let node = &self.graph.nodes[id];
        if node.grace_ms.is_some() {
            return node.grace_ms;
        }
        let mut grace = None;
        for &parent in &node.parents {
            grace = grace.max(Some(self.grace_above(parent)?));
        }
        grace
    }

    /// The names of the stores that a processor opens, but for global ones, which it need not be connected to.
    fn opened_stores(&mut self, stores: &[usize]) -> Result<Vec<String>, BuildError> {
        let mut names = Vec::new();
        for &index in stores {
            let store = &self.plan.stores[index];
            let name = match store.of_table {
                None if store.is_global => continue,
                None => store.spec.name.clone(),
                Some(table) => {
                    let spec = self.table(table).spec.clone();
                    let is_kept = self.table(table).materialized;
                    let Some(spec) = spec.filter(|_| is_kept) else {
                        let what = "a processor opens the rows of a table that keeps none; give it .store(..)";
                        return Err(BuildError::Misuse(what.to_owned()));
                    };
                    let is_right = match store.spec.kind {
                        StoreKind::Versioned { .. } => matches!(spec.kind, StoreKind::Versioned { .. }),
                        _ => spec.kind == store.spec.kind && spec.headers != StoreHeaders::Kept,
                    };
                    if !is_right {
                        let what = "rows() is for key-value tables with timestamps and without headers, versioned_rows() for versioned tables";
                        return Err(BuildError::Misuse(format!("a processor opens the rows of {}: {what}", spec.name)));
                    }
                    self.graph.row_stores.insert(index, spec.name.clone());
                    spec.name
                }
            };
            names.push(name);
        }
        Ok(names)
    }

    /// Makes sure that a table's rows can be looked up.
    fn materialize(&mut self, id: OpId) {
        let table = self.table(id);
        match table.kind.clone() {
            TableKind::Source => table.materialized = true,
            TableKind::Derived(parent) if !table.materialized => self.materialize(parent),
            TableKind::Joined(left, right) if !table.materialized => {
                self.materialize(left);
                self.materialize(right);
            }
            TableKind::Suppressed(parent) => self.materialize(parent),
            TableKind::Stored | TableKind::Derived(_) | TableKind::Joined(..) => {}
        }
    }

    /// The stores that looking up a table's rows reads.
    fn getter_stores(&self, id: OpId) -> Vec<String> {
        let Some(table) = &self.tables[id] else { return Vec::new() };
        let own = || table.spec.iter().map(|spec| spec.name.clone());
        match &table.kind {
            TableKind::Source | TableKind::Stored => own().collect(),
            TableKind::Derived(_) | TableKind::Joined(..) if table.materialized => own().collect(),
            TableKind::Derived(parent) => self.getter_stores(*parent),
            TableKind::Joined(left, right) => {
                let mut stores = self.getter_stores(*left);
                stores.extend(self.getter_stores(*right));
                stores
            }
            TableKind::Suppressed(parent) => own().chain(self.getter_stores(*parent)).collect(),
        }
    }

    /// Asks a table to send old values with its changes; says whether it will.
    fn enable_sending_old(&mut self, id: OpId, force: bool) -> bool {
        let table = self.table(id).clone();
        if table.send_old {
            return true;
        }
        let enabled = match table.kind {
            TableKind::Source => {
                if !force && !table.materialized {
                    return false;
                }
                self.table(id).materialized = true;
                true
            }
            TableKind::Stored => true,
            TableKind::Derived(_) if table.materialized => true,
            TableKind::Derived(parent) | TableKind::Suppressed(parent) => self.enable_sending_old(parent, force),
            TableKind::Joined(left, right) => {
                self.enable_sending_old(left, true) && self.enable_sending_old(right, true)
            }
        };
        self.table(id).send_old = enabled;
        enabled
    }

    /// Gives table sources and tables of streams the stores that turned out to be needed.
    fn connect_tables(&mut self) {
        for (id, table) in self.tables.iter().enumerate() {
            let (Some(table), Some(lowered)) = (table, &self.ops[id]) else { continue };
            if !matches!(table.kind, TableKind::Source) || !table.materialized {
                continue;
            }
            let processor = match &mut self.graph.nodes[lowered.graph].kind {
                GraphKind::TableSource { processor, .. } | GraphKind::Processor(processor) => processor,
                _ => continue,
            };
            processor.own_stores.extend(table.spec.clone());
        }
    }
}

fn processor_spec(op: OpId, name: &str, maker: &NodeMaker) -> ProcessorSpec {
    ProcessorSpec { op, name: name.to_owned(), maker: maker.clone(), own_stores: Vec::new(), connected: Vec::new() }
}

fn grace_of(template: &StoreTemplate) -> Option<i64> {
    match *template {
        StoreTemplate::KeyValue => None,
        StoreTemplate::Window { grace_ms, .. } => Some(grace_ms),
        StoreTemplate::Session { gap_ms, grace_ms } => Some(gap_ms.saturating_add(grace_ms)),
    }
}

/// How long windows must be kept at least.
fn least_retention(template: &StoreTemplate) -> Option<i64> {
    match *template {
        StoreTemplate::KeyValue => None,
        StoreTemplate::Window { span_ms, grace_ms, .. } => Some(span_ms.saturating_add(grace_ms)),
        StoreTemplate::Session { gap_ms, grace_ms } => Some(gap_ms.saturating_add(grace_ms)),
    }
}

fn check_retention(store: &str, retention: Retention, least: i64, what: &str) -> Result<(), BuildError> {
    if retention.ms < least {
        return Err(BuildError::InvalidWindow {
            operator: store.to_owned(),
            what: format!("a retention of {} ms is less than {what}, {least} ms", retention.ms),
        });
    }
    Ok(())
}
