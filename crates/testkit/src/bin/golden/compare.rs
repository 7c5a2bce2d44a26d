//! Running a case and holding what happened against what Kafka Streams did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tidewater_state::{StoreKind, split_session_key, split_window_key};
use tidewater_streams::{Decision, Handlers, InternalTopicSettings, TaskError, Topology};
use tidewater_testkit::{DriverSettings, SentRecord, StoreView, TestDriver};
use tidewater_types::{Header, Timestamp, ms};

use super::event::Event;
use super::program::{Program, Trouble, write};
use super::value::{Type, from_hex, to_hex, to_json};

/// The application id of all cases.
const APPLICATION_ID: &str = "golden";

/// How a case ended.
pub enum Outcome {
    Passed,
    NotYet(String),
    /// It differs on purpose, by this rule.
    ByDesign(&'static str),
    /// What differs, then what was expected and what was got.
    Failed(String, Json, Json),
}

/// Runs one case. Its `expect` is read only after the run.
pub fn run(case: &Json) -> Outcome {
    let got = match execute(case) {
        Ok(got) => got,
        Err(what) => return Outcome::NotYet(what),
    };
    let expect = case.get("expect").cloned().unwrap_or_default();
    let what = difference(&expect, &got).or_else(|| restored_difference(&expect, &got));
    let Some(what) = what else { return Outcome::Passed };
    match DEVIATIONS.iter().find(|deviation| (deviation.holds)(case, &expect, &got)) {
        Some(deviation) => Outcome::ByDesign(deviation.name),
        None => Outcome::Failed(what, expect, got.json()),
    }
}

/// Where Tidewater differs on purpose: a condition on the program and what happened, and why.
pub struct Deviation {
    pub name: &'static str,
    pub reason: &'static str,
    holds: fn(&Json, &Json, &Got) -> bool,
}

/// All deviations on purpose.
pub const DEVIATIONS: [Deviation; 5] = [
    Deviation {
        name: "a dead letter names our kind of failure",
        reason: "there is no Java exception whose class could stand in the header",
        holds: |case, expect, got| {
            case["config"].get("errors.dead.letter.queue.topic.name").is_some()
                && got.error.is_none()
                && steps_agree(expect, got, |record| {
                    let headers = record.as_array_mut().and_then(|fields| fields[4].as_array_mut());
                    headers.is_some_and(|headers| {
                        headers.retain(|header| header[0] != "__streams.errors.exception");
                        true
                    })
                })
        },
    },
    Deviation {
        name: "headers are values",
        reason: "a processor's headers are its own; changing them in place is not seen by its siblings",
        holds: |case, expect, got| {
            let mutates = |step: &Json| step["processor"]["type"] == "mutate_header";
            case["program"].as_array().is_some_and(|steps| steps.iter().any(mutates))
                && got.error.is_none()
                && steps_agree(expect, got, |record| record.as_array_mut().map(|fields| fields.truncate(4)).is_some())
        },
    },
    Deviation {
        name: "a null key is no crash",
        reason: "where Kafka Streams ends in a NullPointerException, the record is sent or skipped",
        holds: |_, expect, got| {
            let classes = expect["error"]["classes"].as_array().cloned().unwrap_or_default();
            let event = expect["error"]["event"].as_u64().unwrap_or(0) as usize;
            classes.contains(&json!("NullPointerException")) && got.error.is_none() && agree_before(expect, got, event)
        },
    },
    Deviation {
        name: "a partitioner is asked for every topic",
        reason: "Kafka's driver knows no partitions of topics that are chosen by record, and asks none there; a broker does",
        holds: |case, expect, got| {
            let drops = |step: &Json| step["partitioner"] == "drop" && step.get("topicFn").is_some();
            let is_chosen = |record: &&Json| record["topic"].as_str().is_some_and(|topic| topic.starts_with("to-"));
            let steps = expect["steps"].as_array().map_or(&[][..], Vec::as_slice);
            case["program"].as_array().is_some_and(|steps| steps.iter().any(drops))
                && got.error.is_none()
                && steps.len() == got.steps.len()
                && steps.iter().zip(&got.steps).all(|(expected, sent)| {
                    let others = expected.as_array().into_iter().flatten().filter(|record| !is_chosen(record));
                    others.map(comparable).eq(sent.iter().map(comparable))
                })
        },
    },
    Deviation {
        name: "a failure commits nothing more",
        reason: "Kafka's driver writes buffers to changelogs as it closes after a failure; here what was not committed is not written",
        holds: |_, expect, got| {
            let event = expect["error"]["event"].as_u64().unwrap_or(0) as usize;
            let last = |steps: &Json| steps[event].as_array().cloned().unwrap_or_default();
            let (expected, sent) = (last(&expect["steps"]), got.steps.get(event).cloned().unwrap_or_default());
            got.error.as_ref().is_some_and(|error| error["event"] == expect["error"]["event"])
                && error_difference(expect.get("error"), got.error.as_ref()).is_none()
                && agree_before(expect, got, event)
                && expected.len() > sent.len()
                && expected.iter().zip(&sent).all(|(expected, sent)| comparable(expected) == comparable(sent))
                && expected[sent.len()..]
                    .iter()
                    .all(|record| record["topic"].as_str().is_some_and(|topic| topic.ends_with("-changelog")))
        },
    },
];

/// Whether the steps before an event are as expected.
fn agree_before(expect: &Json, got: &Got, event: usize) -> bool {
    (0..event).all(|step| {
        let expected: Vec<Json> = expect["steps"][step].as_array().into_iter().flatten().map(comparable).collect();
        let sent: Vec<Json> = got.steps.get(step).into_iter().flatten().map(comparable).collect();
        ordered(expected, &got.unordered) == ordered(sent, &got.unordered)
    })
}

/// Whether all steps agree once something is taken from each record.
fn steps_agree(expect: &Json, got: &Got, strip: fn(&mut Json) -> bool) -> bool {
    let steps = expect["steps"].as_array().map_or(0, Vec::len);
    (0..steps).all(|step| {
        let stripped = |records: Vec<Json>| -> Vec<Json> {
            records
                .iter()
                .map(|record| {
                    let mut record = comparable(record);
                    strip(&mut record);
                    record
                })
                .collect()
        };
        let expected = expect["steps"][step].as_array().cloned().unwrap_or_default();
        stripped(expected) == stripped(got.steps.get(step).cloned().unwrap_or_default())
    })
}

/// What a run did, in the form of `expect`.
#[derive(Default)]
pub struct Got {
    describe: Vec<String>,
    subtopologies: Json,
    steps: Vec<Vec<Json>>,
    observed: Vec<Vec<Json>>,
    stores: BTreeMap<String, Json>,
    dropped: u64,
    error: Option<Json>,
    /// The logged stores, and how their contents are read.
    views: Vec<StoreView>,
    program: Option<Program>,
    /// Changelogs of suppress buffers, whose order within a step is not defined.
    unordered: BTreeSet<String>,
}

impl Got {
    fn json(&self) -> Json {
        json!({
            "describe": self.describe, "subtopologies": self.subtopologies, "steps": self.steps,
            "observed": self.observed, "stores": self.stores, "dropped": self.dropped, "error": self.error,
        })
    }
}

fn execute(case: &Json) -> Result<Got, String> {
    let mut got = Got::default();
    let program = match write(case) {
        Ok(program) => program,
        Err(Trouble::NotYet(what)) => return Err(what),
        Err(Trouble::Build(error)) => {
            got.error = Some(json!({"phase": "build", "message": error.to_string()}));
            return Ok(got);
        }
    };
    got.describe = program.topology.describe().split('\n').map(str::to_owned).collect();
    got.subtopologies = subtopologies(&program.topology);
    let driver = match TestDriver::with_settings(&program.topology, driver_settings(case)) {
        Ok(driver) => driver,
        Err(error) => {
            got.error = Some(json!({"phase": "start", "message": error.to_string()}));
            return Ok(got);
        }
    };
    for name in driver.store_names() {
        if let Some(view) = driver.store(&name)
            && matches!(view.spec.kind, StoreKind::Internal)
            && view.spec.in_memory
            && !name.contains("OUTERSHARED")
            && !name.contains("-shared-join")
        {
            got.unordered.insert(format!("{APPLICATION_ID}-{name}-changelog"));
        }
    }
    for (index, event) in case.get("input").and_then(Json::as_array).into_iter().flatten().enumerate() {
        let (sent, result) = feed(&driver, &program, event);
        got.steps.push(sent.iter().map(|record| record_json(record, &program)).collect());
        let observed = std::mem::take(&mut *program.observed.lock().unwrap_or_else(PoisonError::into_inner));
        let observed = observed
            .into_iter()
            .map(|(step, key, value)| json!([step, to_json(key.as_ref()), to_json(value.as_ref())]));
        got.observed.push(observed.collect());
        if let Err(error) = result {
            let kind = format!("{:?}", error.kind);
            got.error = Some(json!({"phase": "process", "event": index, "kind": kind, "message": error.to_string()}));
            return Ok(got);
        }
    }
    got.dropped = driver.dropped().values().sum();
    for name in driver.store_names() {
        if let Some(view) = driver.store(&name) {
            got.stores.extend(store_json(&view, &program).map(|store| (name, store)));
            got.views.push(view);
        }
    }
    got.program = Some(program);
    Ok(got)
}

fn driver_settings(case: &Json) -> DriverSettings {
    let mut settings = DriverSettings { application_id: APPLICATION_ID.to_owned(), ..DriverSettings::default() };
    let setting = |name: &str| case.get("config").and_then(|config| config.get(name)).and_then(Json::as_str);
    if let Some(bytes) = setting("statestore.cache.max.bytes") {
        settings.cache_bytes = bytes.parse().unwrap_or(settings.cache_bytes);
    }
    let skips = |name: &str| setting(name).is_some_and(|class| class.contains("LogAndContinue"));
    let skip: Arc<dyn Fn(&TaskError) -> Decision + Send + Sync> = Arc::new(|_| Decision::Skip);
    let mut handlers = Handlers::default();
    if skips("processing.exception.handler") {
        handlers.processing = skip.clone();
    }
    if skips("deserialization.exception.handler") {
        handlers.deserialization = skip;
    }
    handlers.dead_letters = setting("errors.dead.letter.queue.topic.name").map(Into::into);
    settings.handlers = handlers;
    settings
}

fn feed(driver: &TestDriver, program: &Program, event: &Json) -> (Vec<SentRecord>, Result<(), TaskError>) {
    if let Some(millis) = event.get("advanceWallClockMs").and_then(Json::as_u64) {
        return match driver.try_advance_wall_clock(ms(millis)) {
            Ok(sent) => (sent, Ok(())),
            Err(error) => (vec![], Err(error)),
        };
    }
    let Event { topic, key, value, timestamp, headers } = Event::parse(event, program);
    driver.pipe(&topic, key, value, timestamp, headers)
}

fn hex(bytes: Option<&Bytes>) -> Json {
    bytes.map_or(Json::Null, |bytes| json!(to_hex(bytes)))
}

fn record_json(record: &SentRecord, program: &Program) -> Json {
    let mut json = json!({
        "topic": record.topic,
        "key": hex(record.key.as_ref()),
        "value": hex(record.value.as_ref()),
        "ts": record.timestamp.map(|timestamp| timestamp.0),
    });
    if !record.headers.is_empty() {
        let headers: Vec<Json> =
            record.headers.iter().map(|header| json!([&*header.name, hex(header.value.as_ref())])).collect();
        json["headers"] = json!(headers);
    }
    if let Some((key, value)) = program.outputs.get(&record.topic) {
        let read =
            |of: &Type, bytes: Option<&Bytes>| to_json(bytes.and_then(|bytes| of.serde().read(bytes).ok()).as_ref());
        json["k"] = read(key, record.key.as_ref());
        json["v"] = read(value, record.value.as_ref());
    }
    json
}

fn subtopologies(topology: &Topology) -> Json {
    let settings = |topics: BTreeMap<String, InternalTopicSettings>| -> Json {
        topics
            .into_iter()
            .map(|(name, settings)| {
                let mut json = json!(settings.configs);
                if let Some(partitions) = settings.partitions {
                    json["partitions"] = json!(partitions);
                }
                (name, json)
            })
            .collect()
    };
    topology
        .subtopologies()
        .iter()
        .map(|subtopology| (subtopology, topology.topics(subtopology, APPLICATION_ID)))
        // Nobody knows yet which topics a pattern matches; the recorder leaves such sub-topologies out.
        .filter(|(_, topics)| !topics.sources.is_empty())
        .map(|(subtopology, topics)| {
            json!({
                "id": subtopology.id.to_string(),
                "sources": topics.sources,
                "sinks": topics.sinks,
                "repartition": settings(topics.repartition),
                "changelog": settings(topics.changelogs),
            })
        })
        .collect()
}

/// A store in the form of `expect`, if that form has it.
fn store_json(view: &StoreView, program: &Program) -> Option<Json> {
    let kind = match view.spec.kind {
        StoreKind::KeyValue { .. } => "keyValue",
        StoreKind::Window { size_ms: 0, duplicates: true, .. } if !view.spec.in_memory => return None,
        // Kafka Streams finds none of their windows when it lists them.
        StoreKind::Window { size_ms: 0, duplicates: true, .. } => {
            return Some(json!({"type": "window", "entries": []}));
        }
        StoreKind::Window { .. } => "window",
        StoreKind::Session { .. } => "session",
        StoreKind::Versioned { .. } => "versioned",
        StoreKind::Internal if view.spec.name.ends_with("-Buffer") => return None,
        StoreKind::Internal if view.spec.in_memory && view.spec.name.contains("SUPPRESS") => return None,
        StoreKind::Internal => "keyValue",
    };
    let types = program.stores.get(&view.spec.name);
    let entries: Vec<Json> = view
        .entries
        .iter()
        .map(|entry| {
            let read = |of: Option<&Type>, bytes: &[u8]| match of {
                Some(of) => to_json(of.serde().read(bytes).ok().as_ref()),
                None => json!(to_hex(bytes)),
            };
            let mut json = json!({
                "key": read(types.map(|types| &types.0), &entry.key),
                "value": read(types.map(|types| &types.1), &entry.value),
            });
            if let Some(timestamp) = entry.timestamp {
                json["ts"] = json!(timestamp.0);
            }
            if let Some(start) = entry.start {
                json["start"] = json!(start);
            }
            if let Some(end) = entry.end {
                json["end"] = json!(end);
            }
            if let Some(valid_to) = entry.valid_to {
                json["validTo"] = json!(valid_to);
            }
            json
        })
        .collect();
    let duplicates = matches!(view.spec.kind, StoreKind::Window { duplicates: true, .. });
    // A session store cannot list its keys; the recorder asked for those that it read in the changelog.
    let listed = kind != "session" || view.spec.is_logged();
    Some(json!({
        "type": kind, "entries": entries, "typed": types.is_some(), "duplicates": duplicates, "listed": listed
    }))
}

/// The first difference.
fn difference(expect: &Json, got: &Got) -> Option<String> {
    if let Some(what) = error_difference(expect.get("error"), got.error.as_ref()) {
        return Some(what);
    }
    if expect.get("error").is_some_and(|error| error["phase"] == "build") {
        return None;
    }
    let describe: Vec<&str> = expect["describe"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    if describe != got.describe.iter().map(String::as_str).collect::<Vec<_>>() {
        return Some("describe".to_owned());
    }
    if expect.get("subtopologies").is_some_and(|expected| !same_topics(expected, &got.subtopologies)) {
        return Some("internal topics".to_owned());
    }
    let none = Vec::new();
    let steps = expect["steps"].as_array().unwrap_or(&none);
    for (index, expected) in steps.iter().enumerate() {
        let expected: Vec<Json> = expected.as_array().into_iter().flatten().map(comparable).collect();
        let Some(sent) = got.steps.get(index) else { return Some(format!("step {index} is missing")) };
        let sent: Vec<Json> = sent.iter().map(comparable).collect();
        if ordered(expected, &got.unordered) != ordered(sent, &got.unordered) {
            return Some(format!("step {index}"));
        }
    }
    if let Some(observed) = expect.get("observed").and_then(Json::as_array) {
        let same = observed.iter().zip(&got.observed).all(|(expected, got)| *expected == json!(got));
        if !same || observed.len() != got.observed.len() {
            return Some("observed".to_owned());
        }
    }
    if expect.get("error").is_some_and(|error| !error.is_null()) {
        return None;
    }
    if let Some(dropped) = expect.get("dropped").and_then(Json::as_u64)
        && dropped != got.dropped
    {
        return Some(format!("dropped: expected {dropped}, got {}", got.dropped));
    }
    for (name, expected) in expect.get("stores").and_then(Json::as_object).into_iter().flatten() {
        let Some(store) = got.stores.get(name) else { return Some(format!("store {name} is missing")) };
        if let Some(what) = store_difference(expected, store) {
            return Some(format!("store {name}: {what}"));
        }
    }
    None
}

/// The first store that holds something else than recorded once it is restored from the changelog that Kafka Streams wrote.
fn restored_difference(expect: &Json, got: &Got) -> Option<String> {
    let program = got.program.as_ref()?;
    let sent: Vec<&Json> = expect["steps"].as_array()?.iter().filter_map(Json::as_array).flatten().collect();
    for view in got.views.iter().filter(|view| view.spec.is_logged() && view.spec.max_keys.is_none()) {
        let Some(expected) = expect["stores"].get(&view.spec.name) else { continue };
        let topic = format!("{APPLICATION_ID}-{}-changelog", view.spec.name);
        let changelog: Vec<SentRecord> =
            sent.iter().filter(|record| record["topic"] == *topic).map(|record| changelog_record(record)).collect();
        // A source topic may serve as the changelog; what was sent to it is not among what was recorded.
        if changelog.is_empty() {
            continue;
        }
        let restored = match StoreView::restored(&view.spec, &changelog) {
            Ok(restored) => restored,
            Err(error) => return Some(format!("store {} cannot be restored: {error}", view.spec.name)),
        };
        let mut restored = store_json(&restored, program)?;
        let mut expected = expected.clone();
        if let Some(retention) = view.spec.retention() {
            // What is past retention stood in Kafka Streams' record cache alone.
            let time = |entry: &Json| entry["end"].as_i64().or(entry["start"].as_i64());
            let newest = changelog.iter().filter_map(|record| window_time(view, record)).max().unwrap_or(-1);
            for entries in [&mut expected["entries"], &mut restored["entries"]] {
                if let Some(entries) = entries.as_array_mut() {
                    entries.retain(|entry| time(entry).is_some_and(|time| time > newest.saturating_sub(retention.ms)));
                }
            }
        }
        if let Some(what) = store_difference(&expected, &restored) {
            return Some(format!("store {} once restored: {what}: {restored}", view.spec.name));
        }
    }
    None
}

/// The time that a record of a window or session store's changelog has in its key.
fn window_time(view: &StoreView, record: &SentRecord) -> Option<i64> {
    let key = record.key.as_deref()?;
    match view.spec.kind {
        StoreKind::Session { .. } => split_session_key(key).map(|(_, _, end)| end),
        _ => split_window_key(key).map(|(_, start, _)| start),
    }
}

fn changelog_record(json: &Json) -> SentRecord {
    let bytes = |json: &Json| json.as_str().and_then(from_hex).map(Bytes::from);
    let header =
        |header: &Json| Header { name: header[0].as_str().unwrap_or_default().into(), value: bytes(&header[1]) };
    SentRecord {
        topic: json["topic"].as_str().unwrap_or_default().to_owned(),
        key: bytes(&json["key"]),
        value: bytes(&json["value"]),
        timestamp: json["ts"].as_i64().map(Timestamp),
        headers: json["headers"].as_array().into_iter().flatten().map(header).collect(),
        partition: None,
    }
}

fn store_difference(expected: &Json, got: &Json) -> Option<String> {
    if expected["type"] != got["type"] {
        return Some("its type".to_owned());
    }
    if got["listed"] == false {
        return None;
    }
    let strip = |entries: &Json| -> Vec<Json> {
        entries
            .as_array()
            .into_iter()
            .flatten()
            .map(|entry| {
                let mut entry = entry.clone();
                if let Some(entry) = entry.as_object_mut() {
                    entry.remove("headers");
                    if let Some(value) = entry["value"].as_str().and_then(aggregation_of) {
                        entry["value"] = value;
                    }
                    if got["duplicates"] == true {
                        // Join stores have room for a timestamp in Kafka Streams' own layout, without meaning.
                        entry.remove("ts");
                    }
                    if got["typed"] != true {
                        // The bytes were compared in the changelog; here the types are not known.
                        entry.remove("key");
                        entry.remove("value");
                    }
                }
                entry
            })
            .collect()
    };
    (strip(&expected["entries"]) != strip(&got["entries"])).then(|| "its entries".to_owned())
}

/// The aggregate in the text that the recorder wrote of one with headers; they are compared in the changelog.
fn aggregation_of(text: &str) -> Option<Json> {
    let (aggregate, _) =
        text.strip_prefix("AggregationWithHeaders{aggregation=")?.split_once(", headers=RecordHeaders(")?;
    Some(serde_json::from_str(aggregate).unwrap_or_else(|_| json!(aggregate)))
}

/// What counts of a record.
fn comparable(record: &Json) -> Json {
    let field = |name: &str| record.get(name).cloned().unwrap_or(Json::Null);
    // The texts of failures are not compared, only that they are there.
    let mut headers = field("headers");
    for header in headers.as_array_mut().into_iter().flatten() {
        if ["__streams.errors.message", "__streams.errors.stacktrace"].iter().any(|unstable| header[0] == *unstable) {
            header[1] = json!("unstable");
        }
    }
    json!([field("topic"), field("key"), field("value"), field("ts"), headers, field("k"), field("v")])
}

/// Sorts the records of topics whose order is not defined, in the places where they stand.
fn ordered(mut records: Vec<Json>, unordered: &BTreeSet<String>) -> Vec<Json> {
    for topic in unordered {
        let places: Vec<usize> = (0..records.len()).filter(|&place| records[place][0] == json!(topic)).collect();
        let mut these: Vec<Json> = places.iter().map(|&place| records[place].clone()).collect();
        these.sort_by_key(Json::to_string);
        for (place, record) in places.into_iter().zip(these) {
            records[place] = record;
        }
    }
    records
}

fn same_topics(expected: &Json, got: &Json) -> bool {
    let sorted = |list: &Json| -> BTreeSet<String> {
        list.as_array().into_iter().flatten().filter_map(Json::as_str).map(str::to_owned).collect()
    };
    let (Some(expected), Some(got)) = (expected.as_array(), got.as_array()) else { return false };
    expected.len() == got.len()
        && expected.iter().zip(got).all(|(expected, got)| {
            expected["id"] == got["id"]
                && sorted(&expected["sources"]) == sorted(&got["sources"])
                && sorted(&expected["sinks"]) == sorted(&got["sinks"])
                && expected["repartition"] == got["repartition"]
                && expected["changelog"] == got["changelog"]
        })
}

/// Java's exception chains, and the kinds of failures that they stand for.
const KINDS: [(&[&str], &[&str]); 6] = [
    (&["StreamsException", "SerializationException"], &["Deserialization"]),
    (&["StreamsException", "NullPointerException"], &["Processing"]),
    (&["StreamsException", "IllegalStateException"], &["Processing"]),
    (&["StreamsException", "StreamsException"], &["Processing", "Timestamp", "Serialization"]),
    (&["ProcessorStateException", "StreamsException"], &["Processing"]),
    (&["StreamsException"], &["Timestamp", "Processing"]),
];

fn error_difference(expected: Option<&Json>, got: Option<&Json>) -> Option<String> {
    match (expected.filter(|error| !error.is_null()), got) {
        (None, None) => None,
        (None, Some(got)) => Some(format!("unexpected error: {got}")),
        (Some(expected), None) => Some(format!("expected an error: {expected}")),
        (Some(expected), Some(got)) => {
            let same_phase = expected["phase"] == got["phase"];
            let same_event = expected["phase"] != "process" || expected["event"] == got["event"];
            if !same_phase || !same_event {
                return Some(format!("another error: expected {expected}, got {got}"));
            }
            if expected["phase"] != "process" {
                return None;
            }
            let classes: Vec<&str> =
                expected["classes"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
            let kinds = KINDS.iter().find(|(chain, _)| classes.starts_with(chain)).map(|(_, kinds)| *kinds);
            let known = kinds.is_some_and(|kinds| kinds.iter().any(|kind| got["kind"] == *kind));
            (!known).then(|| format!("another kind of error: expected {expected}, got {got}"))
        }
    }
}
