//! The one door for whoever works on Tidewater: `cargo xtask COMMAND`.
//!
//! It only finds and starts programs, so that it compiles in seconds. Each step says what it does and how long it took.

mod compat;
mod fuzz;
mod kafka;
mod peer;
mod setup;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

const HELP: &str = "\
cargo xtask COMMAND

  setup [--yes]         finds what the build needs, and installs what is missing (with --yes, or CI=true)
  demo [..]             runs the news pipeline on real newswire (--help lists its options)
  test [--long]         runs all tests; --long also those that take longer
  tidy                  format, lints, docs, arrows between crates, and the rest of what makes code tidy
  bench log [--peer]    measures the log: append, fetch, recovery; or the broker beside Apache Kafka (--pairs N, --size BYTES)
  bench core            measures the workloads on the task core alone, and its allocations
  bench streams [..]    measures the workloads (--workload W, --threads N, --json FILE)
  compat [CLIENT..]     real clients against Apache Kafka, then against the broker here: a table
  kafka start|stop|tool a real Apache Kafka of one node or three (kafka --help)
  fuzz [TARGET..]       random bytes at what reads bytes of others (--seconds N of each; needs the nightly compiler)
  golden PATH...        runs recorded cases of Kafka Streams (files or folders; --show NAME prints one)
";

/// Ends the program with a message.
type Step = Result<(), String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    let result = match command {
        "setup" => setup::check(rest.iter().any(|argument| argument == "--yes")),
        "demo" => setup::check(false).and_then(|()| demo(rest)),
        "test" => setup::check(false).and_then(|()| test(rest)),
        "tidy" => setup::check(false).and_then(|()| tidy::check()),
        "bench" => setup::check(false).and_then(|()| bench(rest)),
        "compat" => setup::check(false).and_then(|()| compat::command(rest)),
        "fuzz" => fuzz::command(rest),
        "kafka" => kafka::command(rest),
        "golden" => setup::check(false).and_then(|()| golden(rest)),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        other => Err(format!("there is no command {other:?}\n\n{HELP}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's folder: as cargo says when it runs this, since checkouts may share the program in one target folder.
fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let manifest = PathBuf::from(manifest);
    manifest.parent().map_or_else(|| manifest.clone(), Path::to_owned)
}

/// Runs a program in the workspace, and says how long it took.
fn run(what: &str, program: &str, arguments: &[&str]) -> Step {
    run_with(what, program, arguments, Vec::new())
}

/// [`run`], with more in the program's environment.
#[allow(clippy::disallowed_methods, reason = "xtask times programs, and depends on no crate of the workspace")]
fn run_with(what: &str, program: &str, arguments: &[&str], more: Vec<(&str, String)>) -> Step {
    eprintln!("==> {what}: {program} {}", arguments.join(" "));
    let started = Instant::now();
    let environment = setup::environment();
    let status = Command::new(program).args(arguments).envs(environment).envs(more).current_dir(root()).status();
    let seconds = started.elapsed().as_secs_f64();
    match status {
        Ok(status) if status.success() => {
            eprintln!("==> {what}: done in {seconds:.1} s");
            Ok(())
        }
        Ok(status) => Err(format!("{what} failed ({status}) after {seconds:.1} s")),
        Err(error) => Err(format!("{what}: cannot start {program}: {error}")),
    }
}

/// Builds what is named, then runs a program of it. Always with `--workspace`, and with an example in it: so there is one set
/// of features, and RocksDB is compiled once; `cargo run` would build with features of its own.
fn run_built(what: &str, targets: &[&str], program: &str, arguments: &[String]) -> Step {
    run("build", "cargo", &[&["build", "--workspace"], targets].concat())?;
    let metadata = tidy::metadata()?;
    let target = metadata["target_directory"].as_str().ok_or("cargo metadata names no target directory")?;
    let program = Path::new(target).join("debug").join(program);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    run(what, &program.display().to_string(), &arguments)
}

fn demo(arguments: &[String]) -> Step {
    run_built("demo", &["--example", "news", "--example", "news_truth"], "examples/news", arguments)
}

fn test(arguments: &[String]) -> Step {
    if let Some(unknown) = arguments.iter().find(|argument| *argument != "--long") {
        return Err(format!("test takes --long only, not {unknown:?}"));
    }
    let long = arguments.iter().any(|argument| argument == "--long");
    let which: &[&str] = if long { &["--", "--include-ignored"] } else { &[] };
    let tools = match kafka::class_path() {
        Ok(class_path) => vec![("KAFKA_TOOLS_CLASS_PATH", class_path)],
        Err(error) => {
            eprintln!("==> tests under Apache Kafka's own tools are not run: {error}");
            Vec::new()
        }
    };
    run_with("tests", "cargo", &[&["test", "--workspace"], which].concat(), tools)?;
    if long && fuzz::is_possible() {
        fuzz::command(&[])?;
    } else if long {
        eprintln!(
            "==> nothing is fuzzed: that needs Linux on x86-64, and the nightly compiler (rustup toolchain install nightly)"
        );
    }
    if long {
        compat::command(&[])?;
    }
    golden(&["tests/golden".to_owned()])
}

fn bench(arguments: &[String]) -> Step {
    if let [log, peer, rest @ ..] = arguments
        && (log.as_str(), peer.as_str()) == ("log", "--peer")
    {
        run("build", "cargo", &["build", "--workspace", "--bins", "--examples"])?;
        return peer::command(rest);
    }
    run_built("bench", &["--example", "bench"], "examples/bench", arguments)
}

fn golden(arguments: &[String]) -> Step {
    run_built("recorded cases", &["--bins", "--examples"], "golden", arguments)
}
