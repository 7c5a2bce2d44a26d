//! `tidewater`: topics, records and segments at a shell, on the log in a folder.

mod broker;
mod log;
mod records;
mod topics;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tidewater::Log;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

/// The bundled log at a shell.
#[derive(Parser)]
#[command(name = "tidewater", version, arg_required_else_help = true)]
struct Arguments {
    /// The folder that holds the log. Default: tidewater-data.
    #[arg(long, global = true, env = "TIDEWATER_LOG")]
    data: Option<PathBuf>,
    /// Prints JSON, a line each, for programs.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists, makes, describes, alters and deletes topics. Example: tidewater topics create words --partitions 3
    #[command(subcommand)]
    Topics(topics::Topics),
    /// Writes lines of the standard input to a topic. Example: echo 'ann:hello' | tidewater produce words -K :
    Produce(records::Produce),
    /// Prints a topic's records. Example: tidewater consume words --count 10
    Consume(records::Consume),
    /// Serves the log to Kafka clients until it is asked to end. Example: tidewater broker --listen 127.0.0.1:9092
    Broker(broker::Serve),
    /// Looks into the files of a partition. Example: tidewater log verify tidewater-data/log/words-0
    #[command(subcommand)]
    Log(log::LogCommand),
}

/// Where the log is unless somebody says otherwise.
const DEFAULT_DATA: &str = "tidewater-data";

fn main() -> ExitCode {
    let Arguments { data, json, command } = Arguments::parse();
    write_log(matches!(command, Command::Broker(_)));
    let default = Path::new(DEFAULT_DATA);
    let folder = data.as_deref().unwrap_or(default);
    let result = match command {
        Command::Topics(command) => topics::run(command, folder, json),
        Command::Produce(command) => records::produce(&command, folder, json),
        Command::Consume(command) => records::consume(&command, folder, json),
        Command::Broker(command) => broker::run(&command, data.as_deref(), default),
        Command::Log(command) => log::run(&command, json),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of our output went away, as `head` does: no failure of ours.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", whole_reason(&error));
            ExitCode::FAILURE
        }
    }
}

/// Has warnings and errors written to the standard error, or what the variable `RUST_LOG` says; with the time where that matters.
fn write_log(with_time: bool) {
    let what = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).from_env_lossy();
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(what);
    if with_time { log.init() } else { log.without_time().init() }
}

/// An error with those of its causes that it does not name itself.
fn whole_reason(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| match said {
        said if said.is_empty() => cause,
        said if said.contains(&cause) => said,
        said => format!("{said}: {cause}"),
    })
}

/// Opens the log in a folder, which must hold one, does something with it, and closes it whatever came of that.
fn with_log<T>(data: &Path, work: impl FnOnce(&Log) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let here = data.display();
    anyhow::ensure!(
        Log::exists(data) || data.to_string_lossy().contains("://"), // Opening says what is wrong with an address.
        "there is no log in {here}; name its folder with --data, or begin one with `tidewater topics create`"
    );
    with_new_log(data, work)
}

/// The same with a folder that may be new.
fn with_new_log<T>(data: &Path, work: impl FnOnce(&Log) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let log = Log::open(data)?;
    let result = work(&log);
    let closed = log.close();
    let result = result?;
    closed?;
    Ok(result)
}

/// A topic's name, if there is a topic of it.
fn check_topic(log: &Log, topic: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        log.topics()?.contains_key(topic),
        "topic {topic} does not exist; `tidewater topics list` shows those that do, `tidewater topics create {topic}` makes it"
    );
    Ok(())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
