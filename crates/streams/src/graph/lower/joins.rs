//! Joins: of streams, of a stream with a table, of tables.

use super::*;

impl Lowering<'_> {
    pub(super) fn stream_join(&mut self, id: OpId, op: &Op, join: &StreamJoinOp) -> Result<Lowered, BuildError> {
        if let Some(name) = &op.name {
            check_name(name)?;
        }
        let side = |this: &mut Self, input: OpId, suffix: &str, maker: &RepartitionMaker| {
            let stream = this.lowered(input).clone();
            if !stream.repartition_required {
                return stream;
            }
            let name = op.name.as_ref().map_or(stream.name, |name| format!("{name}{suffix}"));
            this.repartitioned(input, &name, maker)
        };
        let left = side(self, op.inputs[0], "-left", &join.left_repartition);
        let right = side(self, op.inputs[1], "-right", &join.right_repartition);
        self.graph.copartitioned.push(&left.sources | &right.sources);

        let this_suffix = if join.right_outer { "-outer-this-join" } else { "-this-join" };
        let other_suffix = if join.left_outer { "-outer-other-join" } else { "-other-join" };
        let left_windowed = self.suffixed(op, "-this-windowed", "KSTREAM-WINDOWED-");
        let right_windowed = self.suffixed(op, "-other-windowed", "KSTREAM-WINDOWED-");
        let this_prefix = if join.right_outer { "KSTREAM-OUTERTHIS-" } else { "KSTREAM-JOINTHIS-" };
        let other_prefix = if join.left_outer { "KSTREAM-OUTEROTHER-" } else { "KSTREAM-JOINOTHER-" };
        let this_generated = self.graph.new_name(this_prefix);
        let other_generated = self.graph.new_name(other_prefix);
        let named = |suffix: &str, generated: &str| {
            op.name.as_ref().map_or_else(|| generated.to_owned(), |name| format!("{name}{suffix}"))
        };
        let this_name = named(this_suffix, &this_generated);
        let other_name = named(other_suffix, &other_generated);
        let merge_name = self.suffixed(op, "-merge", "KSTREAM-MERGE-");

        let base = |suffix: &str, generated: &str| {
            join.store_name.as_ref().map_or_else(|| generated.to_owned(), |name| format!("{name}{suffix}"))
        };
        let in_memory = |store: &JoinStore| store.in_memory.unwrap_or(self.settings.in_memory_stores);
        let logging = |extra: Vec<(String, String)>| {
            if join.without_changelog { Logging::Off } else { Logging::On(extra) }
        };
        let mut window_logging = join.changelog.clone();
        window_logging.push(("cleanup.policy".to_owned(), "delete".to_owned()));
        let window_store = |store: &JoinStore, suffix: &str, generated: &str| StoreSpec {
            name: store.name.clone().unwrap_or_else(|| format!("{}-store", base(suffix, generated))),
            kind: StoreKind::Window {
                timestamped: false,
                retention: Retention { ms: join.retention_ms },
                size_ms: join.size_ms,
                duplicates: true,
            },
            in_memory: in_memory(store),
            logging: logging(window_logging.clone()),
            // Kafka Streams writes the headers of joined records alone.
            headers: StoreHeaders::Logged,
            ..StoreSpec::new(String::new(), StoreKind::Internal)
        };
        let left_store = window_store(&join.left_store, this_suffix, &this_generated);
        let right_store = window_store(&join.right_store, other_suffix, &other_generated);
        for spec in [&left_store, &right_store] {
            check_name(&spec.name)?;
        }
        if left_store.name == right_store.name {
            return Err(BuildError::DuplicateStore(left_store.name));
        }
        let facts = &mut self.graph.facts[id];
        facts.stores.insert("left", left_store.name.clone());
        facts.stores.insert("right", right_store.name.clone());
        let mut outer_stores = Vec::new();
        if join.left_outer {
            // The store of unmatched records goes by the left one's own name, or by the generated number even if the join is named.
            let shared = if join.right_outer { "-outer-shared-join" } else { "-left-shared-join" };
            let number = &this_generated[this_generated.len() - 10..];
            let generated = format!("KSTREAM-OUTERSHARED-{number}");
            let name = match &join.left_store.name {
                Some(left) => format!("{left}{shared}-store"),
                None => format!("{}-store", base(shared, &generated)),
            };
            let logging = logging(join.changelog.clone());
            let in_memory = in_memory(&join.left_store);
            let spec = StoreSpec { in_memory, logging, ..StoreSpec::new(name, StoreKind::Internal) };
            if [&left_store.name, &right_store.name].contains(&&spec.name) {
                return Err(BuildError::DuplicateStore(spec.name));
            }
            facts.stores.insert("unmatched", spec.name.clone());
            outer_stores.push(spec);
        }

        let mut add_windowed = |name: &str, maker: &NodeMaker, store: &StoreSpec, parent: GraphId| {
            let mut processor = processor_spec(id, name, maker);
            processor.own_stores.push(store.clone());
            let graph = self.graph.create(store.name.clone(), GraphKind::Processor(processor));
            self.graph.add(parent, graph);
        };
        add_windowed(&left_windowed, &join.left_window, &left_store, left.graph);
        add_windowed(&right_windowed, &join.right_window, &right_store, right.graph);

        let with_stores = |name: &str, maker: &NodeMaker, store: Option<&StoreSpec>| {
            let mut processor = processor_spec(id, name, maker);
            processor.own_stores.extend(store.cloned());
            processor.own_stores.extend(outer_stores.iter().filter(|_| store.is_some()).cloned());
            processor
        };
        let kind = GraphKind::StreamJoin {
            left: with_stores(&this_name, &join.left_side, Some(&right_store)),
            right: with_stores(&other_name, &join.right_side, Some(&left_store)),
            merge: with_stores(&merge_name, &join.merge, None),
            self_join: join.self_join.as_ref().map(|maker| {
                let mut processor = processor_spec(id, &merge_name, maker);
                processor.own_stores.push(left_store.clone());
                processor
            }),
            left_windowed,
            right_windowed,
            is_self_join: false,
        };
        let graph = self.graph.create(&merge_name, kind);
        self.graph.nodes[graph].relaxed_null_keys = join.left_outer || join.right_outer;
        self.graph.add(left.graph, graph);
        self.graph.add(right.graph, graph);
        Ok(Lowered::new(graph, merge_name, &left.sources | &right.sources))
    }

    pub(super) fn stream_table_join(
        &mut self,
        id: OpId,
        op: &Op,
        join: &StreamTableJoinOp,
    ) -> Result<Lowered, BuildError> {
        let mut stream = self.lowered(op.inputs[0]).clone();
        if stream.repartition_required {
            let name = op.name.clone().unwrap_or(stream.name);
            stream = self.repartitioned(op.inputs[0], &name, &join.repartition);
        }
        let sources = &stream.sources | &self.lowered(op.inputs[1]).sources;
        self.graph.copartitioned.push(sources.clone());
        let name = self.name(op, if join.left { "KSTREAM-LEFTJOIN-" } else { "KSTREAM-JOIN-" })?;
        let mut processor = processor_spec(id, &name, &join.node);
        self.materialize(op.inputs[1]);
        processor.connected = self.getter_stores(op.inputs[1]);
        if let Some(grace_ms) = join.grace_ms {
            self.check_grace(&name, op.inputs[1], grace_ms)?;
            let store = format!("{name}-Buffer");
            self.graph.facts[id].stores.insert("buffer", store.clone());
            processor.own_stores.push(StoreSpec::new(store, StoreKind::Internal));
        }
        let graph = self.graph.create(&name, GraphKind::Processor(processor));
        self.graph.add(stream.graph, graph);
        self.graph.nodes[graph].relaxed_null_keys = join.left;
        Ok(Lowered::new(graph, name, sources))
    }

    /// Records can wait only for a table that knows how it was at their time.
    fn check_grace(&mut self, join: &str, table: OpId, grace_ms: i64) -> Result<(), BuildError> {
        let error = |what: String| Err(BuildError::InvalidWindow { operator: join.to_owned(), what });
        if !self.table(table).versioned {
            return error("a join with a grace needs a versioned table; put .versioned(..) on the table".to_owned());
        }
        for store in self.getter_stores(table) {
            let specs = self.tables.iter().flatten().filter_map(|table| table.spec.as_ref());
            let kinds = specs.filter(|spec| spec.name == store).map(|spec| &spec.kind);
            for kind in kinds {
                if let StoreKind::Versioned { history, .. } = kind
                    && history.ms < grace_ms
                {
                    let history = history.ms;
                    return error(format!(
                        "a grace of {grace_ms} ms is longer than the table's history of {history} ms; make the history longer"
                    ));
                }
            }
        }
        Ok(())
    }

    pub(super) fn table_join(&mut self, id: OpId, op: &Op, join: &TableJoinOp) -> Result<Lowered, BuildError> {
        // Kafka's `Materialized` takes its number before the join does.
        let spec = match &op.store {
            Some(_) => Some(self.store_spec(op, "KTABLE-MERGE-", &StoreTemplate::KeyValue)?),
            None => None,
        };
        let merge_name = self.name(op, "KTABLE-MERGE-")?;
        let (left_id, right_id) = (op.inputs[0], op.inputs[1]);
        let (left, right) = (self.lowered(left_id).clone(), self.lowered(right_id).clone());
        let sources = &left.sources | &right.sources;
        self.graph.copartitioned.push(sources.clone());
        if join.left_outer {
            self.enable_sending_old(left_id, true);
        }
        if join.right_outer {
            self.enable_sending_old(right_id, true);
        }
        let this_name = self.suffixed(op, "-join-this", "KTABLE-JOINTHIS-");
        let other_name = self.suffixed(op, "-join-other", "KTABLE-JOINOTHER-");
        self.materialize(left_id);
        self.materialize(right_id);
        let mut this = processor_spec(id, &this_name, &join.this);
        this.connected = self.getter_stores(right_id);
        let mut other = processor_spec(id, &other_name, &join.other);
        other.connected = self.getter_stores(left_id);
        let mut merge = processor_spec(id, &merge_name, &join.merge);
        merge.own_stores.extend(spec.clone());
        let kind = GraphKind::TableJoin { this, other, merge, this_parent: left.graph, other_parent: right.graph };
        let graph = self.graph.create(&merge_name, kind);
        self.graph.add(left.graph, graph);
        self.graph.add(right.graph, graph);
        self.graph.facts[id].versioned_inputs = vec![self.table(left_id).versioned, self.table(right_id).versioned];
        let is_kept = spec.is_some();
        self.tables[id] = Some(Table::new(TableKind::Joined(left_id, right_id), spec, is_kept));
        Ok(Lowered::new(graph, merge_name, sources))
    }
}
