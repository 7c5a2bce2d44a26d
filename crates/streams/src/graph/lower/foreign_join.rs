//! Joins of tables by a foreign key: two internal topics, one each way, and a store of registrations.

use super::*;
use crate::topology::SinkTopic;

impl Lowering<'_> {
    pub(super) fn foreign_join(&mut self, id: OpId, op: &Op, join: &ForeignJoinOp) -> Result<Lowered, BuildError> {
        if let Some(name) = &op.name {
            check_name(name)?;
        }
        const PREFIX: &str = "KTABLE-FK-JOIN-SUBSCRIPTION-";
        let (left_id, right_id) = (op.inputs[0], op.inputs[1]);
        self.enable_sending_old(right_id, true);
        self.enable_sending_old(left_id, true);
        let (left, right) = (self.lowered(left_id).clone(), self.lowered(right_id).clone());
        let mut named = |suffix: &str, prefix: &str| self.suffixed(op, suffix, prefix);
        let subscription = |part: &str| format!("{PREFIX}{part}-");
        let registration = subscription("REGISTRATION");
        let registration_topic = named("-subscription-registration", &registration) + "-topic";
        let register = named("-subscription-registration-processor", &registration);
        let registration_sink = named("-subscription-registration-sink", "KTABLE-SINK-");
        let registration_source = named("-subscription-registration-source", "KTABLE-SOURCE-");
        let store = named("-subscription-store", &subscription("STATE-STORE"));
        let receive = named("-subscription-receive", &subscription("PROCESSOR"));
        let answer = named("-subscription-join-foreign", &subscription("PROCESSOR"));
        let foreign_change = named("-foreign-join-subscription", &subscription("PROCESSOR"));
        let response_topic = named("-subscription-response", &subscription("RESPONSE")) + "-topic";
        let response_sink = named("-subscription-response-sink", "KTABLE-SINK-");
        let response_source = named("-subscription-response-source", "KTABLE-SOURCE-");
        let resolve = named("-subscription-response-resolver", &subscription("RESPONSE-RESOLVER-PROCESSOR"));
        let result = named("-result", "KTABLE-FK-JOIN-OUTPUT-");
        let spec = self.store_spec(op, "KTABLE-FK-JOIN-OUTPUT-", &StoreTemplate::KeyValue)?;
        check_name(&store)?;
        let registrations = StoreSpec {
            in_memory: self.settings.in_memory_stores,
            headers: StoreHeaders::Logged,
            ..StoreSpec::new(store, StoreKind::KeyValue { timestamped: true })
        };
        self.graph.facts[id].stores.insert("registrations", registrations.name.clone());
        self.graph.facts[id].versioned_inputs = vec![self.table(left_id).versioned, self.table(right_id).versioned];
        self.materialize(left_id);
        self.materialize(right_id);

        let processor = |name: &str, maker: &NodeMaker, own: Option<&StoreSpec>, connected: Vec<String>| {
            let mut spec = processor_spec(id, name, maker);
            spec.own_stores.extend(own.cloned());
            spec.connected = connected;
            GraphKind::Processor(spec)
        };
        let (left_stores, right_stores) = (self.getter_stores(left_id), self.getter_stores(right_id));
        let mut add = |parents: &[GraphId], name: &str, kind: GraphKind| {
            let node = self.graph.create(name, kind);
            for &parent in parents {
                self.graph.add(parent, node);
            }
            node
        };
        let register = add(&[left.graph], &register, processor(&register, &join.register, None, vec![]));
        let sink = GraphKind::Sink {
            topic: SinkTopic::Named(registration_topic.clone()),
            maker: join.registration_sink.clone(),
        };
        let sink = add(&[register], &registration_sink, sink);
        let maker = join.registration_source.clone();
        let source = GraphKind::InternalSource { topic: registration_topic, maker };
        let source = add(&[sink], &registration_source, source);
        let kind = processor(&receive, &join.receive, Some(&registrations), vec![]);
        let receive = add(&[source], &receive, kind);
        let answer = add(&[receive], &answer, processor(&answer, &join.answer, None, right_stores));
        let kind = processor(&foreign_change, &join.foreign_change, Some(&registrations), vec![]);
        let foreign_change = add(&[right.graph], &foreign_change, kind);
        let sink =
            GraphKind::Sink { topic: SinkTopic::Named(response_topic.clone()), maker: join.response_sink.clone() };
        let sink = add(&[answer, foreign_change], &response_sink, sink);
        let source = GraphKind::InternalSource { topic: response_topic, maker: join.response_source.clone() };
        let source = add(&[sink], &response_source, source);
        let resolve = add(&[source], &resolve, processor(&resolve, &join.resolve, None, left_stores));
        let graph = add(&[resolve], &result, processor(&result, &join.result, None, vec![]));

        let mut registering = right.sources.clone();
        registering.insert(registration_source);
        self.graph.copartitioned.push(registering);
        let mut sources = left.sources.clone();
        sources.insert(response_source);
        self.graph.copartitioned.push(sources.clone());
        let materialized = op.store.as_ref().is_some_and(|store| store.name.is_some());
        self.tables[id] = Some(Table::new(TableKind::Source, Some(spec), materialized));
        Ok(Lowered::new(graph, result, sources))
    }
}
