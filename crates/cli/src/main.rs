//! `tidewater`: topics, records and segments at a shell, on the log in a folder.

mod log;
mod records;
mod topics;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The bundled log at a shell.
#[derive(Parser)]
#[command(name = "tidewater", version, arg_required_else_help = true)]
struct Arguments {
    /// The folder that holds the log.
    #[arg(long, global = true, default_value = "tidewater-data", env = "TIDEWATER_LOG")]
    data: PathBuf,
    /// Prints JSON, a line each, for programs.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists, makes, describes and deletes topics. Example: tidewater topics create words --partitions 3
    #[command(subcommand)]
    Topics(topics::Topics),
    /// Writes lines of the standard input to a topic. Example: echo 'ann:hello' | tidewater produce words -K :
    Produce(records::Produce),
    /// Prints a topic's records. Example: tidewater consume words --count 10
    Consume(records::Consume),
    /// Looks into the files of a partition. Example: tidewater log verify tidewater-data/log/words-0
    #[command(subcommand)]
    Log(log::LogCommand),
}

fn main() -> ExitCode {
    let Arguments { data, json, command } = Arguments::parse();
    let result = match command {
        Command::Topics(command) => topics::run(command, &data, json),
        Command::Produce(command) => records::produce(&command, &data),
        Command::Consume(command) => records::consume(&command, &data, json),
        Command::Log(command) => log::run(&command, json),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of our output went away, as `head` does: no failure of ours.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
