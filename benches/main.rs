//! What the log costs, and what the embedded runtime takes for each workload: CPU seconds a million records, log included.
//!
//! `cargo xtask bench log [--passes N]`
//!
//! `cargo xtask bench core [--workload W]`
//!
//! `cargo xtask bench log --peer` runs `produce`, `consume` and `floor`.
//!
//! `cargo xtask bench streams [--workload W] [--input I] [--threads N] [--passes N] [--json FILE] [--hashes]`
//!
//! The input is in the log before the clock starts; a pass is a new application id from offset 0, until all is committed.

#![allow(clippy::disallowed_methods, reason = "a bench reads the clock, and writes its results")]

mod allocations;
mod core;
mod input;
mod log;
mod peer;
mod workloads;

use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use tidewater::App;
use tidewater::prelude::*;
use workloads::{OUT, Workload};

const PARTITIONS: i32 = 4;
/// How often the end is looked for.
const POLL: Duration = Duration::from_millis(30);

#[derive(Parser)]
struct Arguments {
    /// What to measure.
    #[arg(value_enum, default_value = "streams")]
    what: What,
    /// One workload by name; all without it.
    #[arg(long)]
    workload: Option<String>,
    /// One input of the workloads by name; all without it.
    #[arg(long)]
    input: Option<String>,
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Measured passes, after one that is not.
    #[arg(long, default_value_t = 3)]
    passes: usize,
    /// Appends a line of JSON for each pass.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Prints the hashes of the inputs, and ends.
    #[arg(long)]
    hashes: bool,
    #[command(flatten)]
    run: peer::Run,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum What {
    /// The workloads on the task core alone, with its allocations.
    Core,
    /// The log, through its door.
    Log,
    /// The workloads on the embedded log.
    Streams,
    /// Writing to a broker with librdkafka.
    Produce,
    /// Reading from a broker with librdkafka.
    Consume,
    /// What a broker cannot do without.
    Floor,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.what {
        What::Log => return log::measure(arguments.passes),
        What::Produce => return peer::produce(&arguments.run),
        What::Consume => return peer::consume(&arguments.run),
        What::Floor => return peer::floor(&arguments.run),
        What::Core | What::Streams => {}
    }
    let is = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
    let wanted =
        |workload: &Workload| is(&arguments.workload, workload.name) && is(&arguments.input, workload.input_name);
    if arguments.what == What::Core {
        return core::measure(&workloads::all().into_iter().filter(wanted).collect::<Vec<_>>());
    }
    if arguments.hashes {
        for workload in workloads::all().iter().filter(|workload| wanted(workload)) {
            for (topic, input) in &workload.inputs {
                println!("{} {} {}: {:016x}", workload.name, workload.input_name, topic.name(), input.hash());
            }
        }
        return Ok(());
    }
    println!("Kafka s/M was recorded before (Apache Kafka Streams 4.3, application and broker), not in this run.");
    println!("The ratio is a direction, and becomes a figure only with both sides run by turns on one machine.");
    println!("workload  input              krec/s   CPU s/M   Kafka s/M   ratio  output");
    for workload in workloads::all().into_iter().filter(wanted) {
        measure(&workload, &arguments).await?;
    }
    Ok(())
}

async fn measure(workload: &Workload, arguments: &Arguments) -> anyhow::Result<()> {
    let mut costs = Vec::new();
    for pass in 0..=arguments.passes {
        let folder = tempfile::tempdir()?;
        let log = Log::open(folder.path())?;
        for (topic, input) in &workload.inputs {
            log.create_topic(topic, PARTITIONS)?;
            log.send(topic, input.records())?;
        }
        log.create_topic(&OUT, PARTITIONS)?;
        let total: u64 = workload.inputs.iter().map(|(_, input)| input.records).sum();
        let records = workload.records();

        // As for Kafka Streams: from the first record until the committed offsets have reached the ends.
        let app = Tidewater::app("bench").log(&log).threads(arguments.threads).start((workload.topology)()?).await?;
        wait_until(&app, Duration::from_millis(1), || Ok(app.processed() > 0))?;
        let (started, cpu) = (Instant::now(), cpu_seconds());
        wait_until(&app, POLL, || Ok(app.lag()? == 0))?;
        let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        // Those of repartition topics come on top.
        anyhow::ensure!(app.processed() >= total, "{} of {total} records were worked through", app.processed());
        app.stop().await?;
        let output = log.end_offsets(OUT.name())?.iter().map(|offset| offset.0).sum::<i64>();
        if pass == 0 {
            continue;
        }
        let per_million = cpu / records as f64 * 1e6;
        costs.push((per_million, records as f64 / seconds, output));
        if let Some(file) = &arguments.json {
            let mut text = std::fs::read_to_string(file).unwrap_or_default();
            writeln!(
                text,
                "{{\"mode\":\"run\",\"workload\":\"{}\",\"guarantee\":\"alos\",\"threads\":{},\"commit_ms\":100,\"cache_bytes\":10485760,\"store\":\"rocksdb\",\"input\":\"{}\",\"pass\":{},\"records\":{records},\"seconds\":{seconds:.3},\"records_s\":{:.0},\"app_cpu_s\":{cpu:.3},\"broker_cpu_s\":0,\"app_cpu_s_per_m\":{per_million:.3},\"broker_cpu_s_per_m\":0,\"output_end_offsets\":{output}}}",
                workload.name,
                arguments.threads,
                workload.input_name,
                pass - 1,
                records as f64 / seconds,
            )?;
            std::fs::write(file, text)?;
        }
    }
    costs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let Some(&(cpu, rate, output)) = costs.get(costs.len() / 2) else { return Ok(()) };
    println!(
        "{:9} {:18} {:6.0}   {cpu:7.3}   {:9.1}   1/{:<4.1} {output}",
        workload.name,
        workload.input_name,
        rate / 1e3,
        workload.kafka_cpu_s_per_m,
        workload.kafka_cpu_s_per_m / cpu,
    );
    Ok(())
}

/// Waits for an application, and fails when it does.
fn wait_until(app: &App, pause: Duration, done: impl Fn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    while !done()? {
        anyhow::ensure!(!app.has_failed(), "the application failed");
        std::thread::sleep(pause);
    }
    Ok(())
}

/// User and system time of this process so far.
fn cpu_seconds() -> f64 {
    // Fields 14 and 15 behind the program's name, in clock ticks of a hundredth of a second.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}
