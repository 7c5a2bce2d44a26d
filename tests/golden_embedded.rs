//! Recorded cases of Kafka Streams on the embedded log, with RocksDB and changelogs: each topic gets the records that it got
//! there, in their order.
//!
//! Kafka's test driver works all sub-topologies in one task, and commits after each record. Here each sub-topology has a task of
//! its own, with a stream time of its own, as on a cluster; records are sent one at a time, the next when all is committed.

#[allow(dead_code, reason = "the runner of cases uses more of it")]
#[path = "../crates/testkit/src/bin/golden"]
mod interpreter {
    pub mod event;
    pub mod functions;
    pub mod processors;
    pub mod program;
    pub mod value;
}

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use interpreter::event::Event;
use interpreter::program::{Program, write};
use interpreter::value::to_hex;
use serde_json::{Value as Json, json};
use tidewater::prelude::*;

/// How many cases must have run, all of them equal.
const CASES: usize = 100;

type Raw = Topic<Option<Bytes>, Option<Bytes>>;

/// Records by topic: key, value, time, headers.
type Sent = BTreeMap<String, Vec<Json>>;

#[tokio::test]
async fn cases_on_the_embedded_log_send_what_kafka_streams_sent() {
    let mut files = Vec::new();
    find(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"), &mut files);
    files.sort();
    let (mut ran, mut differing) = (0, Vec::new());
    for file in files {
        let case: Json = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let Some(program) = runnable(&case) else { continue };
        let name = case["name"].as_str().unwrap().to_owned();
        let (expected, got) = (expected(&case), run(&case, &program).await);
        if let Some(topic) = expected.keys().chain(got.keys()).find(|topic| expected.get(*topic) != got.get(*topic)) {
            let (expected, got) = (expected.get(topic), got.get(topic));
            let of = |sent: Option<&Vec<Json>>, place: usize| sent.and_then(|sent| sent.get(place)).cloned();
            let place = (0..).find(|&place| of(expected, place) != of(got, place)).unwrap_or_default();
            let (expected, got) = (of(expected, place), of(got, place));
            differing.push(format!("{name}: {topic}, record {place}: expected {expected:?}, got {got:?}"));
        }
        ran += 1;
    }
    println!("{ran} cases ran on the embedded log, {} differ", differing.len());
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert!(ran >= CASES, "only {ran} cases ran");
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
}

/// The program of a case that means the same on a log: one sub-topology (several have one stream time in the driver alone), no
/// failure, no time that the test moves, no topic that is read and written, and no wait for unmatched records.
fn runnable(case: &Json) -> Option<Program> {
    let none = Json::Null;
    let config = case.get("config").and_then(Json::as_object);
    let known = ["statestore.cache.max.bytes", "topology.optimization"];
    let inputs: BTreeSet<&str> =
        case["input"].as_array()?.iter().map(|event| event["topic"].as_str()).collect::<Option<_>>()?;
    let expect = case.get("expect")?;
    let globals = case["program"].as_array()?.iter().filter(|step| step["op"] == "globalTable");
    let inputs: BTreeSet<&str> = globals.filter_map(|step| step["topic"].as_str()).chain(inputs).collect();
    let writes_input = records(expect).any(|record| inputs.contains(record["topic"].as_str().unwrap_or_default()));
    let is_before_1970 = case["input"].as_array()?.iter().any(|event| event["ts"].as_i64().unwrap_or(0) < 0);
    // What is unmatched is looked for once in a second, and at once only in the driver.
    let waits =
        |step: &Json| step.get("window").is_some() && ["leftJoin", "outerJoin"].iter().any(|op| step["op"] == *op);
    // What has closed is looked for as seldom; and a pattern matches the topics that are there when the program starts.
    let closes = |step: &Json| step["emit"] == "on_window_close" || step.get("pattern").is_some();
    // Headers are values here: a processor's change of them is not seen by its siblings.
    let mutates = |step: &Json| step["processor"]["type"] == "mutate_header";
    let fits = expect["subtopologies"].as_array()?.len() == 1
        && expect.get("error").unwrap_or(&none).is_null()
        && config.is_none_or(|config| config.keys().all(|name| known.contains(&name.as_str())))
        && !writes_input
        && !case["program"].as_array()?.iter().any(|step| waits(step) || closes(step) || mutates(step))
        && !is_before_1970;
    if fits { write(case).ok() } else { None }
}

fn records(expect: &Json) -> impl Iterator<Item = &Json> {
    expect["steps"].as_array().into_iter().flatten().flat_map(|step| step.as_array().into_iter().flatten())
}

/// Puts the changes of a suppress buffer in a fixed order: theirs within a commit is not defined. Their time is the producer's.
fn fixed_order(mut sent: Sent, buffers: &BTreeSet<String>) -> Sent {
    for records in sent.iter_mut().filter(|(topic, _)| buffers.contains(*topic)).map(|(_, records)| records) {
        for record in records.iter_mut() {
            record[2] = Json::Null;
        }
        records.sort_by_key(Json::to_string);
    }
    sent
}

/// The topics whose records have the producer's time.
fn buffers(case: &Json) -> BTreeSet<String> {
    let untimed = records(&case["expect"]).filter(|record| record["ts"].is_null());
    untimed.map(|record| record["topic"].as_str().unwrap_or_default().to_owned()).collect()
}

fn expected(case: &Json) -> Sent {
    let mut sent = Sent::new();
    for record in records(&case["expect"]) {
        let headers = record.get("headers").cloned().unwrap_or(json!([]));
        let parts = json!([record["key"], record["value"], record["ts"], headers]);
        sent.entry(record["topic"].as_str().unwrap().to_owned()).or_default().push(parts);
    }
    fixed_order(sent, &buffers(case))
}

async fn run(case: &Json, program: &Program) -> Sent {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path()).unwrap();
    let mut inputs = BTreeSet::new();
    for subtopology in program.topology.subtopologies() {
        let topics = program.topology.topics(subtopology, "golden");
        for topic in topics.sources.iter().chain(&topics.sinks) {
            log.create_topic(&Raw::named(topic.clone()), 1).unwrap();
        }
        inputs.extend(topics.sources.into_iter().filter(|topic| !topics.repartition.contains_key(topic)));
    }
    let topics = program.topology.global_topics().map(str::to_owned);
    let chosen = records(&case["expect"]).filter_map(|record| record["topic"].as_str().map(str::to_owned));
    let chosen = chosen.filter(|topic| !topic.starts_with("golden-"));
    for topic in topics.chain(chosen).collect::<BTreeSet<_>>() {
        if !log.topics().unwrap().contains_key(&topic) {
            log.create_topic(&Raw::named(topic), 1).unwrap();
        }
    }
    inputs.extend(program.topology.global_topics().map(str::to_owned));
    let cache = case["config"]["statestore.cache.max.bytes"].as_str().map_or(10 << 20, |bytes| bytes.parse().unwrap());
    let topology = write(case).unwrap_or_else(|_| unreachable!("it was written before")).topology;
    let app =
        Tidewater::app("golden").log(&log).commit_interval(ms(1)).cache_bytes(cache).start(topology).await.unwrap();
    for event in case["input"].as_array().into_iter().flatten() {
        let Event { topic, key, value, timestamp, headers } = Event::parse(event, program);
        log.send(&Raw::named(topic), [Record::new(key, value, timestamp).with_headers(headers)]).unwrap();
        while app.lag().unwrap() > 0 {
            assert!(!app.has_failed(), "{}: {:?}", case["name"], app.stop().await);
            std::thread::park_timeout(ms(1));
        }
    }
    app.stop().await.unwrap();
    let hex = |bytes: Option<Bytes>| bytes.map_or(Json::Null, |bytes| json!(to_hex(&bytes)));
    let mut sent = Sent::new();
    for topic in log.topics().unwrap().into_keys() {
        if inputs.contains(&topic) || topic.starts_with("__") {
            continue;
        }
        let read = log.records(&Raw::named(topic.clone())).unwrap().into_iter().map(|(_, _, record)| {
            let header = |header: &tidewater::Header| json!([&*header.name, hex(header.value.clone())]);
            let headers: Vec<Json> = record.headers.iter().map(header).collect();
            json!([hex(record.key), hex(record.value), record.timestamp.0, headers])
        });
        let read: Vec<Json> = read.collect();
        if !read.is_empty() {
            sent.insert(topic, read);
        }
    }
    fixed_order(sent, &buffers(case))
}
