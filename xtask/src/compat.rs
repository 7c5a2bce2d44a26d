//! `cargo xtask compat`: real clients, each with one script, against Apache Kafka and then against the broker here. What a script
//! prints for a feature on Apache Kafka is what is expected.
//!
//! A client is a folder of `compat/` with a `run.sh HOST:PORT`, which installs what it needs and prints lines `feature: result`.

#![allow(clippy::disallowed_methods, reason = "xtask depends on no crate of the workspace")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::peer::{PORT, start_ours};
use crate::{Step, kafka, root, run, tidy};

/// What both brokers are set to: groups at the pace that Apache Kafka's own tests set, which wait for many a rebalance. Some scripts write
/// records of 1970, which retention would take away whenever it comes by.
const SETTINGS: [&str; 6] = [
    "auto.create.topics.enable=true",
    "group.consumer.heartbeat.interval.ms=500",
    "group.consumer.min.heartbeat.interval.ms=500",
    "group.initial.rebalance.delay.ms=300",
    "group.min.session.timeout.ms=100",
    "log.retention.check.interval.ms=86400000",
];
/// Features that differ, or fail on both sides, and why they may.
const KNOWN: &str = "compat/known.txt";

/// What a client saw, by feature.
type Seen = BTreeMap<String, String>;

/// Runs a client's script; what it says of its own doings goes to a file.
fn see(client: &Path, address: &str, home: &Path, said: &Path) -> Result<Seen, String> {
    let file = fs::File::create(said).map_err(|error| format!("cannot write {}: {error}", said.display()))?;
    let output = Command::new("bash")
        .arg(client.join("run.sh"))
        .arg(address)
        .env("COMPAT_HOME", home)
        .stderr(Stdio::from(file))
        .output()
        .map_err(|error| format!("bash cannot be run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut seen = Seen::new();
    for line in text.lines() {
        if let Some((feature, result)) = line.split_once(": ") {
            seen.entry(feature.to_owned()).or_default().push_str(&format!("{result}\n"));
        }
    }
    if seen.is_empty() {
        return Err(format!("it printed nothing; could it be installed? See {}", said.display()));
    }
    if !output.status.success() {
        eprintln!("{} ended with {}; see {}", client.display(), output.status, said.display());
        seen.insert("the script itself FAILED".to_owned(), format!("{}\n", output.status));
    }
    Ok(seen)
}

/// The features of a client that are known to differ.
fn known(client: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(KNOWN)).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.strip_prefix(client)?.strip_prefix(' ')?.split_once(": "));
    lines.map(|(feature, _)| feature.to_owned()).collect()
}

fn clients(wanted: &[String]) -> Result<Vec<PathBuf>, String> {
    let folder = root().join("compat");
    let entries = fs::read_dir(&folder).map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
    let mut all: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    all.retain(|path| path.join("run.sh").exists());
    all.sort();
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if let Some(unknown) = wanted.iter().find(|wanted| !all.iter().any(|path| name(path) == **wanted)) {
        let known: Vec<String> = all.iter().map(name).collect();
        return Err(format!("there is no client {unknown:?}; there are {}", known.join(", ")));
    }
    all.retain(|path| wanted.is_empty() || wanted.contains(&name(path)));
    Ok(all)
}

pub fn command(arguments: &[String]) -> Step {
    let clients = clients(arguments)?;
    run("build", "cargo", &["build", "--workspace", "--bins", "--examples"])?;
    let metadata = tidy::metadata()?;
    let target =
        PathBuf::from(metadata["target_directory"].as_str().ok_or("cargo metadata names no target directory")?);
    let folder = target.join("compat");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let config = folder.join("server.properties");
    fs::write(&config, SETTINGS.join("\n")).map_err(|error| format!("cannot write {}: {error}", config.display()))?;
    let (mut process, ours) = start_ours(&target.join("debug/tidewater"), &folder.join("tidewater"), Some(&config))?;
    let data = folder.join("kafka").display().to_string();
    let port = PORT.to_string();
    let mut start = vec!["start", "--port", &port, "--dir", &data];
    SETTINGS.iter().for_each(|setting| start.extend(["--set", setting]));
    let theirs = kafka::command(&start.into_iter().map(str::to_owned).collect::<Vec<_>>());
    let compared = theirs.and_then(|()| {
        compare(&clients, &format!("127.0.0.1:{PORT}"), &ours.address, &target.join("compat-clients"), &folder)
    });
    let _ = process.kill();
    let _ = process.wait();
    kafka::command(&["stop".to_owned(), "--dir".to_owned(), data])?;
    compared
}

/// What stands for a feature of which a script has said nothing.
const NOTHING: &str = "nothing\n";

/// How a result begins, for a table.
fn head(result: &str) -> String {
    result.lines().next().unwrap_or_default().chars().take(HEAD).collect()
}

/// Characters of a result in the table.
const HEAD: usize = 22;

/// Whether a script could not see what a feature does, so that two brokers that are alike in it say nothing.
fn has_failed(feature: &str, result: &str) -> bool {
    feature.ends_with(" FAILED") || result.lines().any(|line| line == "FAIL")
}

fn compare(clients: &[PathBuf], theirs: &str, ours: &str, home: &Path, folder: &Path) -> Step {
    let (mut unexpected, mut not_run) = (0, Vec::new());
    println!("{:<16} {:<44} {:<HEAD$}  {:<HEAD$}", "client", "feature", "Apache Kafka", "Tidewater");
    for client in clients {
        let name = client.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        eprintln!("==> {name}");
        let expected = match see(client, theirs, home, &folder.join(format!("{name}-kafka.log"))) {
            Ok(expected) => expected,
            Err(error) => {
                println!("{name:<16} not run: {error}");
                not_run.push(name);
                continue;
            }
        };
        let found = see(client, ours, home, &folder.join(format!("{name}-tidewater.log"))).unwrap_or_default();
        let known = known(&name);
        for (feature, expected) in &expected {
            let found = found.get(feature).map_or(NOTHING, String::as_str);
            let verdict = match found == expected {
                true if !has_failed(feature, expected) => "the same",
                true if known.contains(feature) => "fails, as is known",
                false if known.contains(feature) => "differs, as is known",
                is_same => {
                    unexpected += 1;
                    if is_same { "FAILS" } else { "DIFFERS" }
                }
            };
            println!("{name:<16} {feature:<44} {:<HEAD$}  {:<HEAD$}  {verdict}", head(expected), head(found));
            if verdict == "DIFFERS" {
                print!("    Apache Kafka: {expected}    here:         {found}");
            }
        }
        for feature in found.keys().filter(|feature| !expected.contains_key(*feature) && !known.contains(feature)) {
            unexpected += 1;
            println!("{name:<16} {feature:<44} {:<HEAD$}  {:<HEAD$}  DIFFERS", "nothing", head(&found[feature]));
        }
    }
    if not_run.len() == clients.len() {
        return Err("no client could be run".to_owned());
    }
    if !not_run.is_empty() {
        println!("not run, and so not compared: {}", not_run.join(", "));
    }
    if unexpected > 0 {
        Err(format!("{unexpected} features differ from Apache Kafka, or fail on both sides"))
    } else {
        Ok(())
    }
}
