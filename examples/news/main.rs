//! From news feeds to recommendations, on the embedded log: `cargo run --example news`, or `-- --help`.
//!
//! `articles` are normalised, exact and near repeats are dropped into topics of their own, what is fresh is counted by topic
//! and source, and offered to readers by what they read before. Killed at any moment and started again on the same `--data`
//! folder, it goes on where it had committed. `reprocess` runs another version of the pipeline beside it, from offset 0.

#![allow(clippy::disallowed_methods, reason = "an example reads files and the clock as any program does")]

pub mod article;
mod input;
mod load;
mod near;
mod normalise;
mod poll;
mod progress;
mod readers;
mod report;
mod reprocess;
mod similar;
mod terms;
mod topology;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use tidewater::prelude::*;
use tidewater::{App, Decision, Handlers};

use self::article::DEAD_LETTERS;
use self::input::Corpus;
use self::progress::Progress;
use self::report::Report;
use self::topology::{V1, Version};

/// From news feeds to recommendations.
#[derive(Parser)]
#[command(after_help = "Example: cargo run --example news -- --feeds my-feeds --data news-data --keep")]
struct Options {
    /// What to do.
    #[arg(value_enum, default_value = "run")]
    mode: Mode,
    /// `reuters` (fetched by npm), or a folder of files of that form.
    #[arg(long)]
    corpus: Option<String>,
    /// A folder of RSS or Atom feeds.
    #[arg(long, conflicts_with = "corpus")]
    feeds: Option<PathBuf>,
    /// Live feeds, until ctrl-c.
    #[arg(long, num_args = 1.., value_name = "URL", conflicts_with_all = ["corpus", "feeds"])]
    poll: Vec<String>,
    /// Where log and state go, and stay; started again with it, the job goes on. Default: a folder that is removed.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Keeps the folder, to look into it with `tidewater consume`.
    #[arg(long)]
    keep: bool,
    /// Writes the summary of a run as JSON, too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Stream threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Milliseconds between commits.
    #[arg(long, default_value_t = 100)]
    commit_ms: u64,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Mode {
    /// Run the pipeline over the input, and sum up.
    Run,
    /// Run another version of it beside, from offset 0, and compare.
    Reprocess,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .init();
    let only_run = "--json is for the summary of a run; reprocess compares";
    anyhow::ensure!(options.json.is_none() || options.mode == Mode::Run, only_run);
    let temporary = tempfile::tempdir()?;
    let folder = options.data.clone().unwrap_or_else(|| temporary.path().to_owned());
    let log = Log::open(&folder)?;
    match options.mode {
        Mode::Run if !options.poll.is_empty() => poll(&log, &options).await?,
        Mode::Run => run(&log, &folder, &corpus(&options)?, &options).await?,
        Mode::Reprocess => reprocess::reprocess(&log, &folder, &corpus(&options)?, &options).await?,
    }
    log.close()?;
    if options.keep || options.data.is_some() {
        let folder = if options.data.is_some() { folder } else { temporary.keep() };
        println!("\nThe log is in {0}: tidewater consume --data {0} --from-beginning articles-fresh", folder.display());
    }
    Ok(())
}

/// The input that the options name; else Reuters, else the feeds that come with the parser.
fn corpus(options: &Options) -> anyhow::Result<Corpus> {
    match (options.corpus.as_deref(), &options.feeds) {
        (_, Some(folder)) => input::feeds(folder),
        (Some("reuters"), _) => input::reuters(&cache()?),
        (Some(folder), _) => input::folder(Path::new(folder)),
        (None, None) => input::reuters(&cache()?).or_else(|error| {
            eprintln!("the Reuters corpus cannot be had ({error:#}); taking the feeds that come with the parser");
            input::feeds(&input::parsers_own_feeds()?)
        }),
    }
}

/// What is fetched stays beside the programs that cargo built.
fn cache() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.ancestors().nth(3).unwrap_or(Path::new(".")).join("corpus"))
}

/// Starts a version of the pipeline.
async fn start(id: &str, version: &Version, log: &Log, options: &Options) -> anyhow::Result<App> {
    let handlers = Handlers {
        processing: Arc::new(|_| Decision::Skip),
        deserialization: Arc::new(|_| Decision::Skip),
        dead_letters: Some(DEAD_LETTERS.name().into()),
        ..Handlers::default()
    };
    let app = Tidewater::app(id).log(log).threads(options.threads).handlers(handlers);
    Ok(app.commit_interval(Duration::from_millis(options.commit_ms)).start(topology::topology(version)?).await?)
}

async fn run(log: &Log, folder: &Path, corpus: &Corpus, options: &Options) -> anyhow::Result<()> {
    let started = Instant::now();
    load::create_topics(log, &V1)?;
    let readers = readers::readers(&corpus.items);
    let app = start("news", &V1, log, options).await?;
    load::load(log, corpus, &readers, corpus.items.len())?;
    Progress::new("news", &folder.join("state")).wait_until_caught_up(&app)?;
    app.stop().await?;
    let report = Report::read(log, &V1, &readers, started.elapsed().as_secs_f64())?;
    report.print(&corpus.name, &readers);
    write_json(&report, options)
}

fn write_json(report: &Report, options: &Options) -> anyhow::Result<()> {
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_string_pretty(report)?)?;
    }
    Ok(())
}

/// Polls feeds into the running pipeline until ctrl-c.
async fn poll(log: &Log, options: &Options) -> anyhow::Result<()> {
    load::create_topics(log, &V1)?;
    let app = start("news", &V1, log, options).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let polling = std::thread::spawn({
        let (log, stop, mut poller) = (log.clone(), stop.clone(), poll::Poller::new(&options.poll)?);
        move || poller.run(&log, &stop)
    });
    app.run_until_signal().await?;
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    polling.join().unwrap_or_else(|_| anyhow::bail!("the poller panicked"))?;
    let report = Report::read(log, &V1, &[], 0.0)?;
    report.print("feeds", &[]);
    write_json(&report, options)
}
