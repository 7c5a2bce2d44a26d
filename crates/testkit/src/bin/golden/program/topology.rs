//! Writing a case's topology node by node.

use tidewater_streams::{NodeHandle, TopologyBuilder};
use tidewater_types::RecordContext;

use super::*;

/// A node that may be a parent, with its types.
type Node = (NodeHandle<Key, Value>, Type, Type);

/// What cannot be written in Tidewater, and is refused by Kafka Streams when it builds.
fn refused<T>(what: String) -> Result<T, Trouble> {
    Err(Trouble::Build(BuildError::Misuse(what)))
}

pub(super) fn write(case: &Json, settings: BuildSettings) -> Result<Program, Trouble> {
    let builder = TopologyBuilder::with_settings(settings);
    let steps: Vec<&Json> = case.get("program").and_then(Json::as_array).into_iter().flatten().collect();
    let mut program = Parts::default();
    // Here stores come before their processors, and are connected by being opened.
    let mut connected: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut connect = |processor: &str, store: &str| {
        connected.entry(processor.to_owned()).or_default().insert(store.to_owned());
    };
    for step in &steps {
        match required(step, "op").as_str() {
            "addStateStore" => {
                let store = step.get("store").cloned().unwrap_or_default();
                program.add_store(&builder, &store)?;
                for processor in strings(step, "processors") {
                    connect(&processor, &required(&store, "name"));
                }
            }
            "addProcessor" => {
                for store in step.get("provides").and_then(Json::as_array).into_iter().flatten() {
                    program.add_store(&builder, store)?;
                    connect(&required(step, "name"), &required(store, "name"));
                }
            }
            "connect" => strings(step, "stores").iter().for_each(|store| connect(&required(step, "processor"), store)),
            "addGlobalStore" | "addReadOnlyStateStore" => program.filled_store(&builder, step)?,
            _ => {}
        }
    }
    let processors: BTreeSet<String> =
        steps.iter().filter(|step| required(step, "op") == "addProcessor").map(|step| required(step, "name")).collect();
    if let Some(unknown) = connected.keys().find(|name| !processors.contains(*name)) {
        return refused(format!("there is no processor {unknown}"));
    }
    for step in &steps {
        program.step(&builder, step, &connected)?;
    }
    Ok(Program {
        topology: builder.build()?,
        observed: Observed::default(),
        inputs: program.inputs,
        patterns: program.patterns,
        outputs: program.outputs,
        stores: program.store_types,
    })
}

fn strings(step: &Json, field: &str) -> Vec<String> {
    step.get(field).and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).map(str::to_owned).collect()
}

#[derive(Default)]
struct Parts {
    nodes: BTreeMap<String, Node>,
    stores: BTreeMap<String, StoreOf>,
    globals: BTreeSet<String>,
    inputs: BTreeMap<String, (Type, Type)>,
    patterns: Vec<(String, Type, Type)>,
    outputs: BTreeMap<String, (Type, Type)>,
    store_types: BTreeMap<String, (Type, Type)>,
}

impl Parts {
    fn add_store(&mut self, builder: &TopologyBuilder, store: &Json) -> Result<(), Trouble> {
        let name = required(store, "name");
        self.store_types.insert(name.clone(), Writer::types(store)?);
        let store = match define_store(store)? {
            Defined::KeyValue(definition) => StoreOf::KeyValue(builder.store(definition)),
            Defined::Timestamped(definition) => StoreOf::Timestamped(builder.store(definition)),
            Defined::Window(definition) => StoreOf::Window(builder.store(definition)),
            Defined::Versioned(definition) => StoreOf::Versioned(builder.store(definition)),
        };
        self.stores.insert(name, store);
        Ok(())
    }

    fn filled_store(&mut self, builder: &TopologyBuilder, step: &Json) -> Result<(), Trouble> {
        let (key, value) = Writer::types(step)?;
        let topic_name = required(step, "topic");
        self.inputs.insert(topic_name.clone(), (key.clone(), value.clone()));
        let topic = Topic::<Key, Value>::named(topic_name).with_serdes(key.serde(), value.serde());
        let store = step.get("store").cloned().unwrap_or_default();
        let Some(spec) = step.get("processor").and_then(Spec::parse) else { return not_yet("this processor") };
        let name = required(&store, "name");
        self.store_types.insert(name.clone(), Writer::types(&store)?);
        let (source, processor) = (required(step, "name"), required(step, "processorName"));
        let is_global = required(step, "op") == "addGlobalStore";
        if is_global {
            self.globals.insert(name.clone());
        }
        /// Adds a store of one kind.
        macro_rules! filled {
            ($kind:ident, $definition:expr) => {{
                let own = name.clone();
                let make = move |stores: &mut tidewater_streams::Stores<'_>, store: &_| {
                    Dynamic::new(spec.clone(), &[(own.clone(), StoreOf::$kind(*store))], stores)
                };
                StoreOf::$kind(match is_global {
                    true => builder.add_global_store(source, &topic, processor, $definition, make),
                    false => builder.add_read_only_store(source, &topic, processor, $definition, make),
                })
            }};
        }
        let store = match define_store(&store)? {
            Defined::KeyValue(definition) => filled!(KeyValue, definition),
            Defined::Timestamped(definition) => filled!(Timestamped, definition),
            Defined::Window(definition) => filled!(Window, definition),
            Defined::Versioned(definition) => filled!(Versioned, definition),
        };
        self.stores.insert(name, store);
        Ok(())
    }

    fn parents(&self, step: &Json) -> Result<Vec<&Node>, Trouble> {
        let found = strings(step, "parents").into_iter().map(|name| match self.nodes.get(&name) {
            Some(node) => Ok(node),
            None => refused(format!("there is no node {name} that could be a parent")),
        });
        found.collect()
    }

    fn step(
        &mut self,
        builder: &TopologyBuilder,
        step: &Json,
        connected: &BTreeMap<String, BTreeSet<String>>,
    ) -> Result<(), Trouble> {
        let name = required(step, "name");
        match required(step, "op").as_str() {
            "addSource" => {
                let (key, value) = Writer::types(step)?;
                let typed = |name: &str| Topic::<Key, Value>::named(name).with_serdes(key.serde(), value.serde());
                let extractor = text(step, "extractor").and_then(f::timestamp_extractor);
                let timestamps = extractor.unwrap_or(tidewater_streams::TimestampExtractor::Default);
                let reset = text(step, "reset").map(offset_reset).transpose()?;
                let node = if let Some(pattern) = text(step, "pattern") {
                    self.patterns.push((pattern.to_owned(), key.clone(), value.clone()));
                    builder.add_source_matching_with(name.clone(), pattern, &typed(""), timestamps, reset)
                } else {
                    let mut names = strings(step, "topics");
                    names.extend(text(step, "topic").map(str::to_owned));
                    for name in &names {
                        self.inputs.entry(name.clone()).or_insert((key.clone(), value.clone()));
                    }
                    let topics: Vec<_> = names.iter().map(|name| typed(name)).collect();
                    builder.add_source_with(name.clone(), &topics, timestamps, reset)
                };
                self.nodes.insert(name, (node, key, value));
            }
            "addProcessor" => {
                let parents = self.parents(step)?;
                let Some(spec) = step.get("processor").and_then(Spec::parse) else { return not_yet("this processor") };
                let Some((_, key, value)) = parents.first() else { return refused("no parent".to_owned()) };
                let (new_key, new_value) = (spec.key_type(key), spec.value_type(value));
                let mut stores = Vec::new();
                let wanted = step["processor"]["store"].as_str().unwrap_or_default();
                let is_connected = connected.get(&name).is_some_and(|stores| stores.contains(wanted));
                if let Some(&store) = self.stores.get(wanted).filter(|_| is_connected || self.globals.contains(wanted))
                {
                    stores.push((wanted.to_owned(), store));
                }
                for other in connected.get(&name).into_iter().flatten().filter(|other| *other != wanted) {
                    match self.stores.get(other) {
                        Some(&store) => stores.push((other.clone(), store)),
                        None => return refused(format!("there is no store {other}")),
                    }
                }
                let handles: Vec<_> = parents.iter().map(|(node, ..)| node).collect();
                let node = builder
                    .add_processor(name.clone(), &handles, move |opened| Dynamic::new(spec.clone(), &stores, opened));
                self.nodes.insert(name, (node, new_key, new_value));
            }
            "addSink" => {
                let parents = self.parents(step)?;
                let (key, value) = Writer::types(step)?;
                let handles: Vec<_> = parents.iter().map(|(node, ..)| node).collect();
                let topic = Topic::<Key, Value>::named(required(step, "topic")).with_serdes(key.serde(), value.serde());
                let sink = match text(step, "topicFn").map(str::to_owned) {
                    Some(function) => {
                        let label = format!("by-{function}");
                        let choose =
                            move |record: &Record<Key, Value>, _: &RecordContext| chosen_topic(&function, record);
                        builder.add_sink_chosen(name, label, &topic, choose, &handles)
                    }
                    None => builder.add_sink(name, &topic, &handles),
                };
                if let Some(partitioner) = text(step, "partitioner") {
                    sink.partitioned_by(f::partitioner(partitioner));
                }
                self.outputs.insert(required(step, "topic"), (key, value));
            }
            "addStateStore" | "connect" | "addGlobalStore" | "addReadOnlyStateStore" => {}
            other => return not_yet(format!("{other} of the low-level API")),
        }
        Ok(())
    }
}
