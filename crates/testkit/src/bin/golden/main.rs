//! Runs recorded cases of Kafka Streams through the public DSL and the test driver.
//!
//! A case is a small program in JSON with its input, and all that Kafka Streams did with it: the topology's description,
//! every record sent to every topic, internal topics, stores, errors. `golden PATH...` takes files and folders; `.json` holds
//! one case, `.ndjson` one a line. The last line counts; the exit status is 1 if a case failed, or could not be run.

mod compare;
mod event;
mod functions;
mod processors;
mod program;
mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Parser;
use compare::Outcome;
use serde_json::Value as Json;
use tidewater_env::Disk;

/// Runs recorded cases of Kafka Streams.
#[derive(Parser)]
struct Arguments {
    /// Files and folders; the latter are searched for `.json` and `.ndjson` files.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Prints the case of this name: its program, what was expected, what was got.
    #[arg(long, value_name = "NAME")]
    show: Option<String>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let disk = Disk::new();
    let mut files = Vec::new();
    for path in &arguments.paths {
        find_files(&disk, path, &mut files).with_context(|| format!("cannot read {}", path.display()))?;
    }
    let (mut passed, mut failed, mut not_yet, mut by_design) = (0, 0, 0, 0);
    let mut deviations: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut missing: BTreeMap<String, usize> = BTreeMap::new();
    for file in files {
        for case in read_cases(&disk, &file)? {
            let name = case["name"].as_str().unwrap_or_default().to_owned();
            if arguments.show.as_ref().is_some_and(|wanted| *wanted != name) {
                continue;
            }
            let outcome = compare::run(&case);
            if arguments.show.is_some() {
                println!("{name}: {}", case["about"].as_str().unwrap_or_default());
                println!("config {}", case.get("config").unwrap_or(&Json::Null));
                for step in case["program"].as_array().into_iter().flatten() {
                    println!("  {step}");
                }
            }
            match outcome {
                Outcome::Passed => passed += 1,
                Outcome::NotYet(what) => {
                    not_yet += 1;
                    *missing.entry(what).or_default() += 1;
                }
                Outcome::ByDesign(rule) => {
                    by_design += 1;
                    deviations.entry(rule).or_default().push(name);
                }
                Outcome::Failed(what, expected, got) => {
                    failed += 1;
                    println!("FAILED {name}: {what}");
                    if arguments.show.is_some() {
                        show(&case, &expected, &got);
                    }
                }
            }
        }
    }
    for (what, count) in &missing {
        println!("not yet: {count:4} {what}");
    }
    for deviation in &compare::DEVIATIONS {
        for name in deviations.get(deviation.name).into_iter().flatten() {
            println!("by design: {name}: {} ({})", deviation.name, deviation.reason);
        }
    }
    println!("{passed} passed, {failed} failed, {not_yet} not yet, {by_design} by design");
    std::process::exit(i32::from(failed + not_yet > 0));
}

fn find_files(disk: &Disk, path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if path.is_dir() {
        for entry in disk.list(path)? {
            find_files(disk, &entry, files)?;
        }
    } else if path.extension().is_some_and(|extension| extension == "json" || extension == "ndjson") {
        files.push(path.to_owned());
    }
    Ok(())
}

/// The cases of a file; a JSON file that is none is left out.
fn read_cases(disk: &Disk, file: &Path) -> anyhow::Result<Vec<Json>> {
    let text = String::from_utf8(disk.read(file)?)?;
    let parse = |text: &str| serde_json::from_str::<Json>(text).with_context(|| format!("in {}", file.display()));
    let cases: Vec<Json> = if file.extension().is_some_and(|extension| extension == "ndjson") {
        text.lines().filter(|line| !line.trim().is_empty()).map(parse).collect::<Result<_, _>>()?
    } else {
        vec![parse(&text)?]
    };
    Ok(cases.into_iter().filter(|case| case.get("program").is_some()).collect())
}

/// Expected and got, part by part.
fn show(case: &Json, expected: &Json, got: &Json) {
    for part in ["describe", "subtopologies", "stores", "dropped", "error", "observed"] {
        if expected.get(part).unwrap_or(&Json::Null) == got.get(part).unwrap_or(&Json::Null) {
            continue;
        }
        println!("--- {part}, expected");
        print_part(expected.get(part));
        println!("--- {part}, got");
        print_part(got.get(part));
    }
    for (index, input) in case["input"].as_array().into_iter().flatten().enumerate() {
        println!("--- step {index}: {input}");
        let records = |side: &Json| side["steps"][index].as_array().cloned().unwrap_or_default();
        for record in records(expected) {
            println!("  expected {record}");
        }
        for record in records(got) {
            println!("  got      {record}");
        }
    }
}

fn print_part(part: Option<&Json>) {
    match part {
        Some(Json::Array(lines)) if lines.iter().all(Json::is_string) => {
            for line in lines {
                println!("{}", line.as_str().unwrap_or_default());
            }
        }
        other => println!("{}", other.unwrap_or(&Json::Null)),
    }
}
