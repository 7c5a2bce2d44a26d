//! The workloads on the task core alone: no log, state in memory, one task with all partitions in one. CPU and allocations of
//! each record, those of decoding its key and value among them. What goes through a repartition topic is handed back to the task.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use tidewater::prelude::*;
use tidewater::{Collector, Handlers, Offset, OutRecord, RawRecord, Task, TaskId, TaskOptions, UserError};
use tidewater_state::MemoryBackend;

use crate::allocations::allocations;
use crate::cpu_seconds;
use crate::workloads::{TABLE, Workload};

/// The end of the names of topics that a task reads again.
const REPARTITION: &str = "-repartition";

/// Takes records, counts their bytes, and keeps those of repartition topics.
struct Outputs {
    bytes: usize,
    again: Sender<(String, RawRecord)>,
}

impl Collector for Outputs {
    fn send(&mut self, record: OutRecord<'_>) -> Result<(), UserError> {
        self.bytes += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        if record.topic.ends_with(REPARTITION) {
            let bytes = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice);
            let raw = RawRecord {
                offset: Offset(0),
                timestamp: record.timestamp.unwrap_or(Timestamp(0)),
                key: bytes(record.key),
                value: bytes(record.value),
                headers: record.headers.clone(),
            };
            self.again.send((record.topic.to_string(), raw))?;
        }
        Ok(())
    }
}

/// A task with what it is to read again.
struct Core {
    task: Task,
    again: Receiver<(String, RawRecord)>,
    /// Next offset of what is read again.
    offset: i64,
}

/// Records of the input that are worked through between two commits: what comes in 100 ms on the embedded log.
const COMMIT_RECORDS: usize = 50_000;

/// Keys and values without memory of their own: what is counted is the framework's.
const NUMBERS: Topic<i64, i64> = Topic::new("in");
const NUMBERS_OUT: Topic<i64, i64> = Topic::new("out");

fn numbers() -> Result<Topology, BuildError> {
    let builder = StreamsBuilder::new();
    builder.stream(&NUMBERS).filter(|_, n| *n >= 0).map_values(|n| n + 1).to(&NUMBERS_OUT);
    builder.build()
}

fn core(topology: &Topology) -> anyhow::Result<Core> {
    let options = TaskOptions {
        id: TaskId { subtopology: 0, partition: 0 },
        application_id: "bench".to_owned(),
        cache_bytes: 10 << 20,
        row_bytes: 0,
        waiting_bytes: 0,
        handlers: Handlers::default(),
        emit_interval_ms: 1000,
        wall_clock: Timestamp(0),
        global_stores: None,
        executor: None,
    };
    let (sender, again) = channel();
    let collector = Box::new(Outputs { bytes: 0, again: sender });
    let mut task = Task::new(topology, &topology.whole(), options, Box::new(MemoryBackend), collector)?;
    task.init()?;
    Ok(Core { task, again, offset: 0 })
}

impl Core {
    fn work(&mut self) -> anyhow::Result<()> {
        while self.task.process_next()? {
            self.task.punctuate_stream_time()?;
        }
        Ok(())
    }

    /// Works through what comes between two commits, and commits.
    fn round(&mut self, inputs: Vec<(&str, Vec<RawRecord>)>) -> anyhow::Result<()> {
        for (topic, records) in inputs {
            self.task.add_records(topic, records)?;
        }
        self.work()?;
        let mut topics: BTreeMap<String, Vec<RawRecord>> = BTreeMap::new();
        for (topic, record) in self.again.try_iter() {
            topics.entry(topic).or_default().push(RawRecord { offset: Offset(self.offset), ..record });
            self.offset += 1;
        }
        for (topic, records) in topics {
            self.task.add_records(&topic, records)?;
        }
        self.work()?;
        self.task.flush_caches()?;
        Ok(self.task.commit_stores(&BTreeMap::new())?)
    }
}

/// Works through the records of some topics, side by side; gives CPU seconds and allocations a record of the second half.
fn run(core: &mut Core, inputs: Vec<(&str, Vec<RawRecord>)>) -> anyhow::Result<(f64, f64)> {
    let all: usize = inputs.iter().map(|(_, records)| records.len()).sum();
    let step = COMMIT_RECORDS / inputs.len();
    let mut inputs: Vec<_> = inputs.into_iter().map(|(topic, records)| (topic, records.into_iter())).collect();
    let (mut done, mut measured, mut begun) = (0, 0, (cpu_seconds(), allocations()));
    while done < all {
        if done <= all / 2 {
            (measured, begun) = (0, (cpu_seconds(), allocations()));
        }
        let some: Vec<(&str, Vec<_>)> =
            inputs.iter_mut().map(|(topic, records)| (*topic, records.by_ref().take(step).collect())).collect();
        let count: usize = some.iter().map(|(_, records)| records.len()).sum();
        core.round(some)?;
        done += count;
        measured += count;
    }
    let allocations = (allocations() - begun.1) as f64 / measured as f64;
    Ok(((cpu_seconds() - begun.0) / measured as f64, allocations))
}

fn raw(offset: usize, timestamp: Timestamp, key: Bytes, value: Bytes) -> RawRecord {
    RawRecord { offset: Offset(offset as i64), timestamp, key: Some(key), value: Some(value), headers: Headers::EMPTY }
}

/// Measures the workloads, and one of numbers.
pub fn measure(workloads: &[Workload]) -> anyhow::Result<()> {
    println!("workload  input              CPU s/M   allocations a record");
    let number = |n: i64| Bytes::copy_from_slice(&n.to_be_bytes());
    let records = (0..2_000_000).map(|n| raw(n, Timestamp(n as i64), number(n as i64 % 1000), number(n as i64)));
    let (cpu, allocations) = run(&mut core(&numbers()?)?, vec![(NUMBERS.name(), records.collect())])?;
    println!("{:9} {:18} {:7.3}   {allocations:.4}", "numbers", "in", cpu * 1e6);
    for workload in workloads {
        let mut core = core(&(workload.topology)()?)?;
        let inputs = workload.inputs.iter().map(|(topic, input)| {
            let records = input.records().enumerate().map(|(offset, record)| {
                raw(offset, record.timestamp, record.key.into_bytes().into(), record.value.into_bytes().into())
            });
            (topic.name(), records.collect::<Vec<_>>())
        });
        // Tables first; the streams are what is measured.
        let (tables, streams): (Vec<_>, Vec<_>) = inputs.partition(|(topic, _)| *topic == TABLE.name());
        if !tables.is_empty() {
            run(&mut core, tables)?;
        }
        let (cpu, allocations) = run(&mut core, streams)?;
        println!("{:9} {:18} {:7.3}   {allocations:.4}", workload.name, workload.input_name, cpu * 1e6);
    }
    Ok(())
}
