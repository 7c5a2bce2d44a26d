//! From the graph to the topology: parents first, in the order of the graph's priorities.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use tidewater_state::StoreSpec;

use super::node::{Graph, GraphId, GraphKind, ProcessorSpec, ROOT};
use super::plan::Plan;
use crate::config::BuildSettings;
use crate::error::BuildError;
use crate::topology::{InternalTopic, NodeKind, Reads, SinkTopic, Topology, TopologyParts};

pub(crate) fn write(plan: &Plan, graph: Graph, settings: &BuildSettings) -> Result<Topology, BuildError> {
    let mut writer = Writer { graph: &graph, builder: TopologyParts::default(), written: BTreeMap::new() };
    let mut heap = BinaryHeap::from([Reverse((0, ROOT))]);
    let mut offered = BTreeSet::new();
    while let Some(Reverse((_, id))) = heap.pop() {
        let node = &graph.nodes[id];
        if !writer.written.contains_key(&id) && node.parents.iter().all(|parent| writer.written.contains_key(parent)) {
            let names = writer.node(id)?;
            writer.written.insert(id, names);
        }
        if !writer.written.contains_key(&id) || !offered.insert(id) {
            continue;
        }
        for &child in &node.children {
            heap.push(Reverse((graph.nodes[child].priority, child)));
        }
    }
    let builder = writer.builder;
    let mut defined = plan.stores.clone();
    for (index, name) in graph.row_stores {
        defined[index].spec.name = name;
    }
    builder.finish(plan.builder, defined, graph.facts, graph.copartitioned, settings)
}

struct Writer<'a> {
    graph: &'a Graph,
    builder: TopologyParts,
    /// The topology node that stands for a written graph node: where its children hang.
    written: BTreeMap<GraphId, usize>,
}

impl Writer<'_> {
    fn parents(&self, id: GraphId) -> Vec<usize> {
        self.graph.nodes[id].parents.iter().filter_map(|parent| self.written.get(parent).copied()).collect()
    }

    fn node(&mut self, id: GraphId) -> Result<usize, BuildError> {
        let parents = self.parents(id);
        match self.graph.nodes[id].kind.clone() {
            GraphKind::Root => Ok(usize::MAX),
            GraphKind::StateStore(spec) => {
                self.builder.add_store(spec)?;
                Ok(usize::MAX)
            }
            GraphKind::Source { reads, maker, .. } => {
                let name = self.graph.nodes[id].name.clone();
                self.builder.add_node(name, NodeKind::Source { reads, maker }, vec![])
            }
            GraphKind::TableSource { reads, source, maker, processor, reuse, .. } => {
                let topic = reads.topics.first().cloned().unwrap_or_default();
                let kind = NodeKind::Source { reads, maker };
                let source = self.builder.add_node(source, kind, vec![])?;
                let stores: Vec<StoreSpec> = processor.own_stores.clone();
                let node = self.processor(processor, vec![source])?;
                if reuse {
                    // Rows that outlive their time stay in the topic: its records alone do not say what the store has.
                    for store in stores.into_iter().filter(|store| store.ttl_ms.is_none()) {
                        self.builder.reuse_source_topic(&store.name, &topic);
                    }
                }
                Ok(node)
            }
            GraphKind::GlobalSource { topic, source, maker, processor, store } => {
                let source =
                    self.builder.add_node(source, NodeKind::Source { reads: Reads::topic(topic), maker }, vec![])?;
                let node = self.processor(processor, vec![source])?;
                self.builder.add_global_store(node, store)?;
                Ok(node)
            }
            GraphKind::ReadOnlyStore { reads, source, maker, processor } => {
                let topic = reads.topics.first().cloned().unwrap_or_default();
                let source = self.builder.add_node(source, NodeKind::Source { reads, maker }, vec![])?;
                let stores: Vec<String> = processor.own_stores.iter().map(|store| store.name.clone()).collect();
                let node = self.processor(processor, vec![source])?;
                for store in stores {
                    self.builder.reuse_source_topic(&store, &topic);
                }
                Ok(node)
            }
            GraphKind::Processor(spec) => self.processor(spec, parents),
            GraphKind::Hidden(maker) => self.builder.add_hidden(maker, parents),
            GraphKind::Sink { topic, maker } => {
                let name = self.graph.nodes[id].name.clone();
                self.builder.add_node(name, NodeKind::Sink { topic, maker }, parents)
            }
            GraphKind::InternalSource { topic, maker } => {
                self.builder.add_internal_topic(InternalTopic { name: topic.clone(), partitions: None });
                let name = self.graph.nodes[id].name.clone();
                self.builder.add_node(name, NodeKind::Source { reads: Reads::topic(topic), maker }, vec![])
            }
            GraphKind::Repartition { source, sink, filter, topic, maker, partitions, drop_null_keys, .. } => {
                self.builder.add_internal_topic(InternalTopic { name: topic.clone(), partitions });
                let pass = if drop_null_keys { maker.drop_null_keys } else { maker.pass };
                let filter = self.builder.add_node(filter, NodeKind::Processor(pass), parents)?;
                let kind = NodeKind::Sink { topic: SinkTopic::Named(topic.clone()), maker: maker.sink };
                self.builder.add_node(sink, kind, vec![filter])?;
                self.builder.add_node(
                    source,
                    NodeKind::Source { reads: Reads::topic(topic), maker: maker.source },
                    vec![],
                )
            }
            GraphKind::TableRepartition { source, sink, topic, source_maker, sink_maker } => {
                self.builder.add_internal_topic(InternalTopic { name: topic.clone(), partitions: None });
                let kind = NodeKind::Sink { topic: SinkTopic::Named(topic.clone()), maker: sink_maker };
                self.builder.add_node(sink, kind, parents)?;
                self.builder.add_node(
                    source,
                    NodeKind::Source { reads: Reads::topic(topic), maker: source_maker },
                    vec![],
                )
            }
            GraphKind::StreamJoin { left, right, merge, self_join, left_windowed, right_windowed, is_self_join } => {
                let left_parent = self.builder.find(&left_windowed)?;
                if let (true, Some(self_join)) = (is_self_join, self_join) {
                    return self.processor(self_join, vec![left_parent]);
                }
                let right_parent = self.builder.find(&right_windowed)?;
                let left = self.processor(left, vec![left_parent])?;
                let right = self.processor(right, vec![right_parent])?;
                self.processor(merge, vec![left, right])
            }
            GraphKind::TableJoin { this, other, merge, this_parent, other_parent } => {
                let (this_parent, other_parent) = (self.written[&this_parent], self.written[&other_parent]);
                let (this_stores, other_stores) = (this.connected.clone(), other.connected.clone());
                let this = self.processor(ProcessorSpec { connected: vec![], ..this }, vec![this_parent])?;
                let other = self.processor(ProcessorSpec { connected: vec![], ..other }, vec![other_parent])?;
                let merge = self.processor(merge, vec![this, other])?;
                self.builder.connect(this, &this_stores)?;
                self.builder.connect(other, &other_stores)?;
                Ok(merge)
            }
        }
    }

    fn processor(&mut self, spec: ProcessorSpec, parents: Vec<usize>) -> Result<usize, BuildError> {
        let node = self.builder.add_node(spec.name, NodeKind::Processor(spec.maker), parents)?;
        for store in spec.own_stores {
            let name = store.name.clone();
            self.builder.add_store_of(store, spec.op)?;
            self.builder.connect(node, &[name])?;
        }
        self.builder.connect(node, &spec.connected)?;
        Ok(node)
    }
}
