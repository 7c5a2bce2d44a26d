//! Steps with processors, and the stores that they open.

use super::*;

impl Writer {
    pub(super) fn process(&mut self, step: &Json, op: &str) -> Result<(), Trouble> {
        let (stream, key, value) = self.stream(step, "in")?;
        let spec = step.get("processor").and_then(Spec::parse);
        let Some(spec) = spec else {
            return not_yet(format!("processor {}", step.get("processor").unwrap_or(&Json::Null)));
        };
        for store in step.get("provides").and_then(Json::as_array).into_iter().flatten() {
            self.add_store_of(store)?;
        }
        let mut connected = Vec::new();
        // A global store is there for everybody.
        let wanted = step["processor"]["store"].as_str().unwrap_or_default();
        if let Some(&store) = self.stores.get(wanted).filter(|_| self.globals.contains(wanted)) {
            connected.push((wanted.to_owned(), store));
        }
        let wanted_stores = step.get("stores").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
        let provided = step.get("provides").and_then(Json::as_array).into_iter().flatten();
        for name in wanted_stores.chain(provided.filter_map(|store| text(store, "name"))) {
            match self.stores.get(name) {
                Some(&store) => connected.push((name.to_owned(), store)),
                // A table's own store.
                None if self.table_stores.contains_key(name) => {
                    connected.push((name.to_owned(), self.table_stores[name]));
                }
                // Cannot be written in Tidewater, where a store is named by its handle.
                None => return Err(Trouble::Build(BuildError::Misuse(format!("there is no store {name}")))),
            }
        }
        let (new_key, new_value) = (spec.key_type(&key), spec.value_type(&value));
        if op == "process" {
            let made = stream.process(move |stores| Dynamic::new(spec.clone(), &connected, stores));
            self.put_stream(step, named(made, step), new_key, new_value);
        } else {
            let made =
                stream.process_values(move |stores| FixedDynamic(Dynamic::new(spec.clone(), &connected, stores)));
            self.put_stream(step, named(made, step), new_key, new_value);
        }
        Ok(())
    }

    pub(super) fn add_store(&mut self, step: &Json) -> Result<(), Trouble> {
        self.add_store_of(&step.get("store").cloned().unwrap_or_default())
    }

    pub(super) fn add_store_of(&mut self, store: &Json) -> Result<(), Trouble> {
        let (key, value) = Self::types(store)?;
        let name = required(store, "name");
        self.store_types.insert(name.clone(), (key, value));
        let store = match define_store(store)? {
            Defined::KeyValue(definition) => StoreOf::KeyValue(self.builder.store(definition)),
            Defined::Timestamped(definition) => StoreOf::Timestamped(self.builder.store(definition)),
            Defined::Window(definition) => StoreOf::Window(self.builder.store(definition)),
            Defined::Versioned(definition) => StoreOf::Versioned(self.builder.store(definition)),
        };
        self.stores.insert(name, store);
        Ok(())
    }
}

/// A store as a case describes it.
pub(super) enum Defined {
    KeyValue(StoreDefinition<KeyValueStore<Val, Val>>),
    Timestamped(StoreDefinition<TimestampedStore<Val, Val>>),
    Window(StoreDefinition<WindowStore<Val, Val>>),
    Versioned(StoreDefinition<VersionedStore<Val, Val>>),
}

pub(super) fn define_store(store: &Json) -> Result<Defined, Trouble> {
    fn options<S>(mut definition: StoreDefinition<S>, store: &Json) -> StoreDefinition<S> {
        if text(store, "store") == Some("in_memory") {
            definition = definition.in_memory();
        }
        if store.get("caching").and_then(Json::as_bool) == Some(true) {
            definition = definition.cached(true);
        }
        match store.get("logging") {
            Some(Json::Bool(false)) => definition.without_changelog(),
            Some(Json::Object(settings)) => settings.iter().fold(definition, |definition, (name, value)| {
                definition.changelog_setting(name, value.as_str().unwrap_or_default())
            }),
            _ => definition,
        }
    }
    let (key, value) = Writer::types(store)?;
    let (key, value) = (key.serde(), value.serde());
    let name = required(store, "name");
    let millis = |field: &str| duration(number(store, field).unwrap_or(0));
    Ok(match text(store, "type").unwrap_or_default() {
        "keyValue" => Defined::KeyValue(options(KeyValueStore::define_with(name, key, value), store)),
        "timestampedKeyValue" => Defined::Timestamped(options(TimestampedStore::define_with(name, key, value), store)),
        "window" => {
            let definition = WindowStore::define_with(name, millis("retentionMs")?, millis("windowMs")?, key, value);
            let definition = options(definition, store);
            let duplicates = store.get("duplicates").and_then(Json::as_bool) == Some(true);
            Defined::Window(if duplicates { definition.duplicates() } else { definition })
        }
        "versioned" => {
            let definition = VersionedStore::define_with(name, millis("retentionMs")?, key, value);
            Defined::Versioned(options(definition, store))
        }
        other => return not_yet(format!("a {other} store")),
    })
}
