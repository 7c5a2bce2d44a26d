//! The processors that cases name, written against the public processor API.

use serde_json::Value as Json;
use tidewater_streams::{
    Context, FixedKeyContext, FixedKeyProcessor, FixedKeyRecord, KeyValueStore, Processor, Punctuation,
    PunctuationClock, StoreHandle, Stores, TimestampedStore, UserError, VersionPut, VersionedStore, WindowStore, every,
};
use tidewater_types::{Headers, Record, Timestamp, ms};

use super::functions::predicate;
use super::value::{Type, Val, text};

type Key = Option<Val>;
type Value = Option<Val>;
type Ctx<'a> = Context<'a, Key, Value>;

/// A store that a case added.
#[derive(Clone, Copy)]
pub enum StoreOf {
    KeyValue(StoreHandle<KeyValueStore<Val, Val>>),
    Timestamped(StoreHandle<TimestampedStore<Val, Val>>),
    Window(StoreHandle<WindowStore<Val, Val>>),
    Versioned(StoreHandle<VersionedStore<Val, Val>>),
}

enum Open {
    KeyValue(KeyValueStore<Val, Val>),
    Timestamped(TimestampedStore<Val, Val>),
    Window(WindowStore<Val, Val>),
    Versioned(VersionedStore<Val, Val>),
}

impl StoreOf {
    fn open(&self, stores: &mut Stores<'_>) -> Open {
        match self {
            StoreOf::KeyValue(handle) => Open::KeyValue(stores.open(handle)),
            StoreOf::Timestamped(handle) => Open::Timestamped(stores.open(handle)),
            StoreOf::Window(handle) => Open::Window(stores.open(handle)),
            StoreOf::Versioned(handle) => Open::Versioned(stores.open(handle)),
        }
    }
}

/// What a processor does, read from the case.
#[derive(Clone)]
pub struct Spec {
    pub kind: String,
    pub fields: Json,
}

/// Processors that exist.
const KNOWN: [&str; 22] = [
    "pass",
    "running_count",
    "dedup",
    "window_sum",
    "put",
    "put_and_pass",
    "lookup",
    "buffer_punctuate",
    "tick",
    "set_header",
    "drop_header",
    "headers_to_value",
    "shift_time",
    "copies",
    "metadata",
    "clock",
    "route",
    "throw_on",
    "mutate_header",
    "as_of",
    "versioned_put",
    "none",
];

impl Spec {
    pub fn parse(json: &Json) -> Option<Spec> {
        let kind = json.get("type")?.as_str()?.to_owned();
        KNOWN.contains(&kind.as_str()).then(|| Spec { kind, fields: json.clone() })
    }

    fn text(&self, name: &str) -> String {
        self.fields.get(name).and_then(Json::as_str).unwrap_or_default().to_owned()
    }

    fn number(&self, name: &str) -> i64 {
        self.fields.get(name).and_then(Json::as_i64).unwrap_or(0)
    }

    /// The type of the values that come out.
    pub fn value_type(&self, value: &Type) -> Type {
        match self.kind.as_str() {
            "running_count" | "window_sum" => Type::Long,
            "lookup" | "as_of" | "versioned_put" | "buffer_punctuate" | "tick" | "headers_to_value" | "metadata"
            | "clock" => Type::Str,
            _ => value.clone(),
        }
    }

    /// The type of the keys that come out.
    pub fn key_type(&self, key: &Type) -> Type {
        if self.kind == "tick" { Type::Str } else { key.clone() }
    }
}

/// A processor at work.
pub struct Dynamic {
    spec: Spec,
    store: Option<Open>,
    ticks: i64,
    schedule: Option<usize>,
}

impl Dynamic {
    pub fn new(spec: Spec, connected: &[(String, StoreOf)], stores: &mut Stores<'_>) -> Self {
        let wanted = spec.text("store");
        let mut store = None;
        for (name, of) in connected {
            let opened = of.open(stores);
            if *name == wanted {
                store = Some(opened);
            }
        }
        Dynamic { spec, store, ticks: 0, schedule: None }
    }

    /// The values and times to send for a record; shared by both kinds of processors.
    fn results<C: Surroundings>(
        &mut self,
        key: &Key,
        value: Value,
        timestamp: Timestamp,
        headers: &Headers,
        ctx: &mut C,
    ) -> Result<Vec<(Value, Timestamp, Headers)>, UserError> {
        let one = |value: Value| vec![(value, timestamp, headers.clone())];
        let string = |text: String| Some(Val::Str(text));
        Ok(match self.spec.kind.as_str() {
            "running_count" => {
                let Some(key) = key else { return Ok(vec![]) };
                let count = match self.get(key, ctx)? {
                    Some(Val::Long(count)) => count + 1,
                    _ => 1,
                };
                self.put(key, Some(&Val::Long(count)), timestamp, ctx)?;
                one(Some(Val::Long(count)))
            }
            "dedup" => {
                let (Some(key), Some(Open::Window(store))) = (key, &self.store) else { return Ok(vec![]) };
                let ttl = self.spec.number("ttlMs");
                let (from, to) = ((timestamp.0 - ttl).max(0), timestamp.0 + ttl);
                if store.contains(ctx, key, from, to)? {
                    return Ok(vec![]);
                }
                store.put(ctx, key, &Val::Long(timestamp.0), timestamp)?;
                one(value)
            }
            "window_sum" => {
                let (Some(key), Some(Open::Window(store))) = (key, &self.store) else { return Ok(vec![]) };
                let size = self.spec.number("sizeMs").max(1);
                let start = timestamp.0 - timestamp.0 % size;
                let old = match store.get(ctx, key, start)? {
                    Some(Val::Long(sum)) => sum,
                    _ => 0,
                };
                let added = match &value {
                    Some(Val::Long(number)) => *number,
                    Some(Val::Int(number)) => i64::from(*number),
                    _ => 0,
                };
                let sum = Val::Long(old.wrapping_add(added));
                store.put(ctx, key, &sum, start)?;
                one(Some(sum))
            }
            "put" | "put_and_pass" => {
                if let Some(key) = key {
                    self.put(key, value.as_ref(), timestamp, ctx)?;
                }
                if self.spec.kind == "put" { vec![] } else { one(value) }
            }
            "lookup" => {
                let found = match key {
                    Some(key) => self.get(key, ctx)?,
                    None => None,
                };
                one(string(format!("{}|{}", text(value.as_ref()), text(found.as_ref()))))
            }
            "as_of" => {
                let found = match (key, &self.store) {
                    (Some(key), Some(Open::Versioned(store))) => {
                        store.get_as_of(ctx, key, timestamp.0 + self.spec.number("offsetMs"))?
                    }
                    _ => None,
                };
                let found = found.map_or("none".to_owned(), |version| {
                    format!("{}@{}", text(Some(&version.value)), version.valid_from)
                });
                one(string(format!("{}|{found}", text(value.as_ref()))))
            }
            "versioned_put" => {
                let (Some(key), Some(Open::Versioned(store))) = (key, &self.store) else { return Ok(vec![]) };
                let until = match store.put(ctx, key, value.as_ref(), timestamp)? {
                    VersionPut::Latest => -1,
                    VersionPut::Until(time) => time,
                    VersionPut::TooOld => i64::MIN,
                };
                one(string(format!("{} until {until}", text(value.as_ref()))))
            }
            "buffer_punctuate" => {
                if let Some(key) = key {
                    self.put(key, value.as_ref(), timestamp, ctx)?;
                }
                vec![]
            }
            "tick" => one(string(text(value.as_ref()))),
            "set_header" | "mutate_header" => {
                let mut headers = headers.clone();
                headers.add(self.spec.text("header"), Some(self.spec.text("value").into_bytes().into()));
                vec![(value, timestamp, headers)]
            }
            "drop_header" => {
                let mut headers = headers.clone();
                headers.remove(&self.spec.text("header"));
                vec![(value, timestamp, headers)]
            }
            "headers_to_value" => {
                let listed: Vec<String> = headers
                    .iter()
                    .map(|header| {
                        let value = header.value.as_ref();
                        let value = value.map_or("null".into(), |value| String::from_utf8_lossy(value).into_owned());
                        format!("{}={value}", header.name)
                    })
                    .collect();
                one(string(listed.join(",")))
            }
            "shift_time" => vec![(value, Timestamp(timestamp.0 + self.spec.number("ms")), headers.clone())],
            "copies" => (0..self.spec.number("n")).map(|_| (value.clone(), timestamp, headers.clone())).collect(),
            "metadata" => one(string(ctx.place_text())),
            "clock" => {
                let (stream, wall) = ctx.times();
                one(string(format!("{} stream={stream} wall={wall}", text(value.as_ref()))))
            }
            "throw_on" if text(value.as_ref()) == self.spec.text("value") => {
                return Err(format!("thrown on {}", text(value.as_ref())).into());
            }
            _ => one(value),
        })
    }

    fn get<C: Surroundings>(&self, key: &Val, ctx: &mut C) -> Result<Option<Val>, UserError> {
        Ok(match &self.store {
            Some(Open::KeyValue(store)) => store.get(ctx, key)?,
            Some(Open::Timestamped(store)) => store.get(ctx, key)?.map(|(value, _)| value),
            Some(Open::Versioned(store)) => store.get(ctx, key)?.map(|version| version.value),
            Some(Open::Window(_)) | None => return Err("the store is of another kind".into()),
        })
    }

    fn put<C: Surroundings>(
        &self,
        key: &Val,
        value: Option<&Val>,
        timestamp: Timestamp,
        ctx: &mut C,
    ) -> Result<(), UserError> {
        match (&self.store, value) {
            (Some(Open::KeyValue(store)), Some(value)) => store.put(ctx, key, value)?,
            (Some(Open::KeyValue(store)), None) => drop(store.delete(ctx, key)?),
            (Some(Open::Timestamped(store)), Some(value)) => store.put(ctx, key, value, timestamp)?,
            (Some(Open::Timestamped(store)), None) => drop(store.delete(ctx, key)?),
            (Some(Open::Window(_) | Open::Versioned(_)) | None, _) => return Err("the store is of another kind".into()),
        }
        Ok(())
    }

    fn interval(&self) -> Option<tidewater_streams::Every> {
        let clock = match self.spec.text("clock").as_str() {
            "wall" => PunctuationClock::WallClock,
            _ => PunctuationClock::StreamTime,
        };
        let interval = u64::try_from(self.spec.number("intervalMs")).ok().filter(|&interval| interval > 0)?;
        let every = every(ms(interval)).on(clock);
        Some(match self.spec.fields.get("startMs").and_then(Json::as_i64) {
            Some(start) => every.starting(start),
            None => every,
        })
    }
}

/// What both contexts have in common.
trait Surroundings: tidewater_streams::AsCore {
    fn place_text(&self) -> String;
    fn times(&self) -> (i64, i64);
}

fn place_text(place: Option<&tidewater_types::RecordPlace>) -> String {
    place.map_or("null/-1/-1".to_owned(), |place| format!("{}/{}/{}", place.topic, place.partition, place.offset))
}

impl Surroundings for Ctx<'_> {
    fn place_text(&self) -> String {
        place_text(self.place())
    }

    fn times(&self) -> (i64, i64) {
        (self.stream_time().0, self.wall_clock().0)
    }
}

impl Surroundings for FixedKeyContext<'_, Key, Value> {
    fn place_text(&self) -> String {
        place_text(self.place())
    }

    fn times(&self) -> (i64, i64) {
        (self.stream_time().0, self.wall_clock().0)
    }
}

impl Processor for Dynamic {
    type KIn = Key;
    type VIn = Value;
    type KOut = Key;
    type VOut = Value;

    fn init(&mut self, ctx: &mut Ctx<'_>) -> Result<(), UserError> {
        if ["tick", "buffer_punctuate"].contains(&self.spec.kind.as_str()) {
            self.schedule = self.interval().map(|every| ctx.schedule(every));
        }
        Ok(())
    }

    fn process(&mut self, record: Record<Key, Value>, ctx: &mut Ctx<'_>) -> Result<(), UserError> {
        let Record { key, value, timestamp, headers } = record;
        if self.spec.kind == "route" {
            let holds = predicate(&self.spec.text("predicate"), key.as_ref(), value.as_ref())?;
            let child = self.spec.text(if holds { "then" } else { "else" });
            return Ok(ctx.forward_to(&child, Record { key, value, timestamp, headers })?);
        }
        for (value, timestamp, headers) in self.results(&key, value, timestamp, &headers, ctx)? {
            ctx.forward(Record { key: key.clone(), value, timestamp, headers })?;
        }
        Ok(())
    }

    fn punctuate(&mut self, due: Punctuation, ctx: &mut Ctx<'_>) -> Result<(), UserError> {
        let string = |text: String| Some(Val::Str(text));
        if self.spec.kind == "tick" {
            self.ticks += 1;
            let value = string(format!("at {}", due.at));
            ctx.forward(Record::new(string("tick".to_owned()), value, due.at))?;
            let limit = self.spec.number("limit");
            if let Some(schedule) = self.schedule
                && limit > 0
                && self.ticks >= limit
            {
                ctx.cancel(schedule);
            }
            return Ok(());
        }
        let entries: Vec<(Val, Val)> = match &self.store {
            Some(Open::KeyValue(store)) => store.all(ctx)?,
            Some(Open::Timestamped(store)) => store.all(ctx)?.into_iter().map(|(key, value, _)| (key, value)).collect(),
            Some(Open::Window(_) | Open::Versioned(_)) | None => return Err("the store is of another kind".into()),
        };
        let clear = self.spec.fields.get("clear").and_then(Json::as_bool).unwrap_or(false);
        for (key, value) in entries {
            let result = string(format!("{}@{}", text(Some(&value)), due.at));
            ctx.forward(Record::new(Some(key.clone()), result, due.at))?;
            if clear {
                self.put(&key, None, due.at, ctx)?;
            }
        }
        Ok(())
    }
}

/// The same as a processor that leaves keys alone.
pub struct FixedDynamic(pub Dynamic);

impl FixedKeyProcessor for FixedDynamic {
    type K = Key;
    type VIn = Value;
    type VOut = Value;

    fn process(
        &mut self,
        record: FixedKeyRecord<Key, Value>,
        ctx: &mut FixedKeyContext<'_, Key, Value>,
    ) -> Result<(), UserError> {
        let (key, value) = (record.key().clone(), record.value().clone());
        let results = self.0.results(&key, value, record.timestamp(), &record.headers().clone(), ctx)?;
        for (value, timestamp, headers) in results {
            ctx.forward(record.clone().with_value(value).with_timestamp(timestamp).with_headers(headers))?;
        }
        Ok(())
    }
}
