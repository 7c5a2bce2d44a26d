//! Aggregations of streams and tables, and what is made of them: repartitions, cogroups, `distinct`.

use super::*;

impl Lowering<'_> {
    pub(super) fn aggregate(&mut self, id: OpId, op: &Op, aggregate: &AggregateOp) -> Result<Lowered, BuildError> {
        if aggregate.is_count && op.store.as_ref().is_some_and(|store| store.name.is_none()) {
            self.graph.next_number += 1; // Kafka Streams asks for a name it does not use.
        }
        let mut spec = self.store_spec(op, aggregate.prefix, &aggregate.template)?;
        spec.cached &= aggregate.cacheable;
        spec.time_ordered = aggregate.time_ordered;
        let name = self.name(op, aggregate.prefix)?;
        let group_id = op.inputs[0];
        let group = self.lowered(group_id).clone();
        let mut parent = group.graph;
        let mut sources = group.sources.clone();
        if group.repartition_required {
            let prefix = group.group_name.clone().unwrap_or_else(|| spec.name.clone());
            let repartition = create_repartition(&mut self.graph, &prefix, aggregate.repartition.clone(), None, true);
            sources = [self.graph.nodes[repartition].name.clone()].into();
            // Aggregations of one named grouping share its repartition.
            let shared = match group.shared_repartition {
                Some(shared) if group.group_name.is_some() => shared,
                _ => repartition,
            };
            if let Some(group) = &mut self.ops[group_id] {
                group.shared_repartition = Some(shared);
            }
            self.graph.add(parent, shared);
            parent = shared;
        }
        let mut processor = processor_spec(id, &name, &aggregate.node);
        processor.own_stores.push(spec.clone());
        let graph = self.graph.create(&name, GraphKind::Processor(processor));
        self.graph.nodes[graph].grace_ms = grace_of(&aggregate.template);
        self.graph.add(parent, graph);
        self.tables[id] = Some(Table::new(TableKind::Stored, Some(spec), true));
        Ok(Lowered::new(graph, name, sources))
    }

    pub(super) fn cogroup(
        &mut self,
        id: OpId,
        op: &Op,
        sides: &[AggregateOp],
        merge: &NodeMaker,
    ) -> Result<Lowered, BuildError> {
        let Some(first) = sides.first() else {
            return Err(BuildError::Misuse(
                "a cogroup has no grouped stream; begin with .cogroup(..) of one".to_owned(),
            ));
        };
        let spec = self.store_spec(op, "COGROUPKSTREAM-AGGREGATE-", &first.template)?;
        let mut parents = Vec::new();
        let mut sources = BTreeSet::new();
        for (side, &group) in sides.iter().zip(&op.inputs) {
            let group = self.lowered(group).clone();
            if group.repartition_required {
                let prefix = group.group_name.clone().unwrap_or_else(|| spec.name.clone());
                let repartition = create_repartition(&mut self.graph, &prefix, side.repartition.clone(), None, true);
                self.graph.add(group.graph, repartition);
                sources.insert(self.graph.nodes[repartition].name.clone());
                parents.push(repartition);
            } else {
                sources.extend(group.sources.clone());
                parents.push(group.graph);
            }
        }
        self.graph.copartitioned.push(sources);
        let mut processors = Vec::new();
        for (number, (side, parent)) in sides.iter().zip(parents).enumerate() {
            let name = self.suffixed(op, &format!("-cogroup-agg-{number}"), "COGROUPKSTREAM-AGGREGATE-");
            let mut processor = processor_spec(id, &name, &side.node);
            processor.own_stores.push(spec.clone());
            let graph = self.graph.create(&name, GraphKind::Processor(processor));
            self.graph.nodes[graph].grace_ms = grace_of(&side.template);
            self.graph.add(parent, graph);
            processors.push(graph);
        }
        let name = self.suffixed(op, "-cogroup-merge", "COGROUPKSTREAM-MERGE-");
        let graph = self.graph.create(&name, GraphKind::Processor(processor_spec(id, &name, merge)));
        for processor in processors {
            self.graph.add(processor, graph);
        }
        self.tables[id] = Some(Table::new(TableKind::Stored, Some(spec), true));
        Ok(Lowered::new(graph, name.clone(), [name].into()))
    }

    pub(super) fn table_of_stream(
        &mut self,
        id: OpId,
        op: &Op,
        node: &NodeMaker,
        repartition: &RepartitionMaker,
    ) -> Result<Lowered, BuildError> {
        let name = self.name(op, "KSTREAM-TOTABLE-")?;
        let spec = self.store_spec(op, "KSTREAM-TOTABLE-", &StoreTemplate::KeyValue)?;
        let stream = self.lowered(op.inputs[0]).clone();
        let (mut parent, mut sources) = (stream.graph, stream.sources.clone());
        if stream.repartition_required {
            parent = create_repartition(&mut self.graph, &name, repartition.clone(), None, true);
            self.graph.add(stream.graph, parent);
            sources = [self.graph.nodes[parent].name.clone()].into();
        }
        let graph = self.graph.create(&name, GraphKind::Processor(processor_spec(id, &name, node)));
        self.graph.add(parent, graph);
        let materialized = op.store.as_ref().is_some_and(|store| store.name.is_some());
        self.tables[id] = Some(Table::new(TableKind::Source, Some(spec), materialized));
        Ok(Lowered::new(graph, name, sources))
    }

    pub(super) fn table_aggregate(
        &mut self,
        id: OpId,
        op: &Op,
        aggregate: &GroupedTableOp,
    ) -> Result<Lowered, BuildError> {
        let spec = self.store_spec(op, "KTABLE-AGGREGATE-", &StoreTemplate::KeyValue)?;
        let sink = self.suffixed(op, "-sink", "KSTREAM-SINK-");
        let source = self.suffixed(op, "-source", "KSTREAM-SOURCE-");
        let name = self.name(op, aggregate.prefix)?;
        let group_id = op.inputs[0];
        let group = self.lowered(group_id).clone();
        let topic = format!("{}{REPARTITION}", group.group_name.as_ref().unwrap_or(&spec.name));
        let repartition = match group.shared_repartition {
            Some(shared) if group.group_name.is_some() => shared,
            _ => {
                let kind = GraphKind::TableRepartition {
                    source: source.clone(),
                    sink,
                    topic,
                    source_maker: aggregate.source.clone(),
                    sink_maker: aggregate.sink.clone(),
                };
                self.graph.create(&source, kind)
            }
        };
        if let Some(group) = &mut self.ops[group_id] {
            group.shared_repartition = Some(repartition);
        }
        self.graph.add(group.graph, repartition);
        let mut processor = processor_spec(id, &name, &aggregate.node);
        processor.own_stores.push(spec.clone());
        let graph = self.graph.create(&name, GraphKind::Processor(processor));
        self.graph.add(repartition, graph);
        self.tables[id] = Some(Table::new(TableKind::Stored, Some(spec), true));
        Ok(Lowered::new(graph, name, [source].into()))
    }

    /// The stream itself, or a repartition of it if its key may have changed.
    pub(super) fn repartitioned(&mut self, id: OpId, name: &str, maker: &RepartitionMaker) -> Lowered {
        let stream = self.lowered(id).clone();
        let mut unique = name.to_owned();
        // The same stream under another type has the same name, but cannot share its repartition.
        let is_retyped = matches!(self.plan.ops[id].kind, OpKind::Retype { .. });
        while is_retyped && stream.shared_repartition.is_none() && self.graph.has_repartition(&unique) {
            unique.push_str("-retyped");
        }
        let repartition = create_repartition(&mut self.graph, &unique, maker.clone(), None, true);
        let shared = match stream.shared_repartition {
            // One unnamed repartition serves several joins of the stream.
            Some(shared) if stream.name == name => shared,
            _ => {
                self.graph.add(stream.graph, repartition);
                repartition
            }
        };
        if let Some(stream) = &mut self.ops[id] {
            stream.shared_repartition = Some(shared);
        }
        let source = self.graph.nodes[repartition].name.clone();
        Lowered::new(shared, source.clone(), [source].into())
    }

    /// A processor with a store of its own, behind a repartition if it works by key and the key may have changed.
    pub(super) fn stateful(&mut self, id: OpId, op: &Op, stateful: &StatefulOp) -> Result<Lowered, BuildError> {
        let mut stream = self.lowered(op.inputs[0]).clone();
        let name = self.name(op, stateful.prefix)?;
        if let Some(maker) = stateful.repartition.as_ref().filter(|_| stream.repartition_required) {
            let repartition = create_repartition(&mut self.graph, &name, maker.clone(), None, true);
            self.graph.add(stream.graph, repartition);
            stream.graph = repartition;
            stream.sources = [self.graph.nodes[repartition].name.clone()].into();
            stream.repartition_required = false;
        }
        let store = format!("{name}-store");
        check_name(&store)?;
        let spec = StoreSpec {
            in_memory: self.settings.in_memory_stores,
            ttl_ms: stateful.ttl_ms,
            ..StoreSpec::new(store, stateful.store.clone())
        };
        self.graph.facts[id].stores.insert("own", spec.name.clone());
        let mut processor = processor_spec(id, &name, &stateful.node);
        processor.own_stores.push(spec);
        let graph = self.graph.create(&name, GraphKind::Processor(processor));
        self.graph.add(stream.graph, graph);
        Ok(Lowered { graph, name, shared_repartition: None, ..stream })
    }
}
