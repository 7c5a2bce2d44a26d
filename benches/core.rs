//! The workloads on the task core alone: no log, state in memory, one task with all partitions in one. CPU and allocations of
//! each record, those of decoding its key and value among them. What goes through a repartition topic is handed back to the task.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use tidewater::prelude::*;
use tidewater::{Collector, Handlers, Offset, OutRecord, RawRecord, Task, TaskId, TaskOptions, UserError};
use tidewater_state::MemoryBackend;

use crate::allocations::allocations;
use crate::cpu_seconds;
use crate::workloads::{TABLE, Workload};

const BUFFER_BYTES: usize = 1 << 16;
/// Records of the input after which the task is handed what it is to read again.
const STRETCH_RECORDS: usize = 2000;
/// The end of the names of topics that a task reads again.
const REPARTITION: &str = "-repartition";

/// Takes records, counts their bytes, and keeps those of repartition topics.
struct Outputs {
    bytes: usize,
    /// Records of repartition topics so far.
    sent: i64,
    /// Keys and values of one stretch of records lie in one piece of memory, as in what is fetched from a log.
    buffer: BytesMut,
    again: Again,
}

/// Records that a task is to read again, by topic.
type Again = Arc<Mutex<Vec<(String, Vec<RawRecord>)>>>;

impl Collector for Outputs {
    fn send(&mut self, record: OutRecord<'_>) -> Result<(), UserError> {
        self.bytes += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        if record.topic.ends_with(REPARTITION) {
            if self.buffer.capacity() < BUFFER_BYTES / 16 {
                self.buffer = BytesMut::with_capacity(BUFFER_BYTES);
            }
            let mut bytes = |bytes: Option<&[u8]>| {
                self.buffer.extend_from_slice(bytes?);
                Some(self.buffer.split().freeze())
            };
            let raw = RawRecord {
                offset: Offset(self.sent),
                timestamp: record.timestamp.unwrap_or(Timestamp(0)),
                key: bytes(record.key),
                value: bytes(record.value),
                headers: record.headers.clone(),
            };
            self.sent += 1;
            let mut again = self.again.lock().unwrap_or_else(PoisonError::into_inner);
            match again.iter_mut().find(|(topic, _)| **topic == **record.topic) {
                Some((_, records)) => records.push(raw),
                None => again.push((record.topic.to_string(), vec![raw])),
            }
        }
        Ok(())
    }
}

/// A task with what it is to read again.
struct Core {
    task: Task,
    again: Again,
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
    let again = Again::default();
    let collector = Box::new(Outputs { bytes: 0, sent: 0, buffer: BytesMut::new(), again: again.clone() });
    let mut task = Task::new(topology, &topology.whole(), options, Box::new(MemoryBackend), collector)?;
    task.init()?;
    Ok(Core { task, again })
}

impl Core {
    fn work(&mut self) -> anyhow::Result<()> {
        while self.task.process_next()? {
            self.task.punctuate_stream_time()?;
        }
        Ok(())
    }

    /// Works through a stretch of the input.
    fn stretch(&mut self, inputs: Vec<(&str, Vec<RawRecord>)>) -> anyhow::Result<()> {
        for (topic, records) in inputs {
            self.task.add_records(topic, records)?;
        }
        self.work()?;
        let mut again = std::mem::take(&mut *self.again.lock().unwrap_or_else(PoisonError::into_inner));
        for (topic, records) in &mut again {
            let room = Vec::with_capacity(records.len());
            self.task.add_records(topic, std::mem::replace(records, room))?;
        }
        *self.again.lock().unwrap_or_else(PoisonError::into_inner) = again;
        self.work()
    }

    fn commit(&mut self) -> anyhow::Result<()> {
        self.task.flush_caches()?;
        Ok(self.task.commit_stores(&BTreeMap::new())?)
    }
}

/// Works through the records of some topics, side by side; gives CPU seconds and allocations a record of the second half.
fn run(core: &mut Core, inputs: Vec<(&str, Vec<RawRecord>)>) -> anyhow::Result<(f64, f64)> {
    let all: usize = inputs.iter().map(|(_, records)| records.len()).sum();
    let step = STRETCH_RECORDS / inputs.len();
    let mut uncommitted = 0;
    let mut inputs: Vec<_> = inputs.into_iter().map(|(topic, records)| (topic, records.into_iter())).collect();
    let (mut done, mut measured, mut begun) = (0, 0, (cpu_seconds(), allocations()));
    while done < all {
        if done <= all / 2 {
            (measured, begun) = (0, (cpu_seconds(), allocations()));
        }
        let some: Vec<(&str, Vec<_>)> =
            inputs.iter_mut().map(|(topic, records)| (*topic, records.by_ref().take(step).collect())).collect();
        let count: usize = some.iter().map(|(_, records)| records.len()).sum();
        core.stretch(some)?;
        uncommitted += count;
        if uncommitted >= COMMIT_RECORDS || done + count == all {
            core.commit()?;
            uncommitted = 0;
        }
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
