//! The workloads on the task core alone: no log, state in memory, one task with all partitions in one. CPU and allocations of
//! each record, those of decoding its key and value among them.

use bytes::Bytes;
use tidewater::prelude::*;
use tidewater::{Collector, Handlers, Offset, OutRecord, RawRecord, Task, TaskId, TaskOptions, UserError};
use tidewater_state::MemoryBackend;

use crate::allocations::allocations;
use crate::cpu_seconds;
use crate::workloads::Workload;

/// Takes records, and counts their bytes.
#[derive(Default)]
struct Nowhere {
    bytes: usize,
}

impl Collector for Nowhere {
    fn send(&mut self, record: OutRecord<'_>) -> Result<(), UserError> {
        self.bytes += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        Ok(())
    }
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

fn task(topology: &Topology) -> anyhow::Result<Task> {
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
    let collector = Box::<Nowhere>::default();
    let mut task = Task::new(topology, &topology.whole(), options, Box::new(MemoryBackend), collector)?;
    task.init()?;
    Ok(task)
}

/// Works through records of a topic; gives CPU seconds and allocations a record of the second half.
fn run(task: &mut Task, topic: &str, records: Vec<RawRecord>) -> anyhow::Result<(f64, f64)> {
    let half = records.len() / 2;
    let (mut measured, mut begun) = (0, (cpu_seconds(), allocations()));
    let mut records = records.into_iter().peekable();
    let mut done = 0;
    while records.peek().is_some() {
        if done <= half {
            (measured, begun) = (0, (cpu_seconds(), allocations()));
        }
        let some: Vec<_> = records.by_ref().take(COMMIT_RECORDS).collect();
        let count = some.len();
        task.add_records(topic, some)?;
        while task.process_next()? {
            task.punctuate_stream_time()?;
        }
        task.flush_caches()?;
        task.commit_stores(&std::collections::BTreeMap::new())?;
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
    let (cpu, allocations) = run(&mut task(&numbers()?)?, NUMBERS.name(), records.collect())?;
    println!("{:9} {:18} {:7.3}   {allocations:.4}", "numbers", "in", cpu * 1e6);
    for workload in workloads {
        let topology = (workload.topology)()?;
        if topology.subtopologies().len() > 1 {
            continue; // It needs a log between its parts.
        }
        let mut task = task(&topology)?;
        // Tables first, the stream last: it is what is measured.
        let mut figures = (0.0, 0.0);
        for (topic, input) in workload.inputs.iter().rev() {
            let records = input.records().enumerate().map(|(offset, record)| {
                raw(offset, record.timestamp, record.key.into_bytes().into(), record.value.into_bytes().into())
            });
            figures = run(&mut task, topic.name(), records.collect())?;
        }
        let (cpu, allocations) = figures;
        println!("{:9} {:18} {:7.3}   {allocations:.4}", workload.name, workload.input_name, cpu * 1e6);
    }
    Ok(())
}
