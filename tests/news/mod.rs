//! The news example as a whole: killed at any moment it loses nothing, and another version runs beside it.

mod corpus;

// With the example's own tests.
#[allow(dead_code, reason = "cargo builds the program itself as an example")]
#[path = "../../examples/news/main.rs"]
mod example;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tidewater::prelude::*;

use corpus::Draw;
use example::article::{FRESH, TRENDS};

/// The program, which cargo builds beside the tests.
fn news(data: &Path, corpus: &str, more: &[&str]) -> Command {
    let test = std::env::current_exe().unwrap();
    let program: PathBuf = test.parent().unwrap().parent().unwrap().join("examples").join("news");
    let mut command = Command::new(program);
    command.args(more).args(["--corpus", corpus]).arg("--data").arg(data);
    command
}

/// What the pipeline wrote: the ids of the fresh articles, how many records there are for them, and all trends.
struct Written {
    fresh: BTreeSet<String>,
    records: usize,
    trends: BTreeMap<(String, i64), i64>,
}

fn written(data: &Path) -> Written {
    let log = Log::open(data).unwrap();
    let fresh: Vec<String> = log.read(&FRESH, 0).unwrap().into_iter().map(|record| record.key).collect();
    let trends = log.read(&TRENDS, 0).unwrap().into_iter();
    let trends = trends.filter_map(|record| Some(((record.key.key, record.key.window.start), record.value?))).collect();
    Written { records: fresh.len(), fresh: fresh.into_iter().collect(), trends }
}

fn run_to_the_end(data: &Path, corpus: &str) -> Written {
    let output = news(data, corpus, &[]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    written(data)
}

/// Kills the job again and again until it was killed so often, with a new job whenever one has come to its end; each job
/// ends with what an undisturbed one writes. Gives how many kills fell between a job's first and last commit.
fn kill(kills: usize, corpus: &str, seed: u64) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let undisturbed = run_to_the_end(&folder.path().join("undisturbed"), corpus);
    let mut draw = Draw(seed);
    let (mut killed, mut amid, mut jobs) = (0, 0, 0);
    while killed < kills {
        jobs += 1;
        let data = folder.path().join(format!("job-{jobs}"));
        let mut has_committed = false;
        loop {
            // With more time between commits, more batches are full and in the log before their offsets are committed.
            let commit_ms = ["20", "100", "500"][draw.below(3)];
            let mut process = news(&data, corpus, &["--commit-ms", commit_ms]).stdout(Stdio::piped()).spawn().unwrap();
            let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
            let mut is_at_work = true;
            for _ in 0..draw.below(3) {
                let line = lines.next();
                has_committed |= line.is_some();
                is_at_work = line.is_some_and(|line| !line.contains("lag 0,"));
            }
            // No condition to wait for: the moment of a kill is any moment, drawn from the seed.
            std::thread::sleep(Duration::from_millis(draw.below(300) as u64));
            if !is_at_work || killed == kills {
                // It had come to its end, or is let go there.
                assert!(process.wait().unwrap().success());
                drop(lines.collect::<Vec<_>>());
                break;
            }
            process.kill().unwrap();
            process.wait().unwrap();
            killed += 1;
            amid += usize::from(has_committed);
        }
        let written = run_to_the_end(&data, corpus);
        assert_eq!(written.fresh, undisturbed.fresh, "job {jobs}");
        let more = |(key, count): (&(String, i64), &i64)| {
            let counted = written.trends.get(key).copied().unwrap_or_default();
            assert!(counted >= *count, "{key:?} was counted {counted} times, not {count}");
            counted - count
        };
        let more: i64 = undisturbed.trends.iter().map(more).sum();
        let again = written.records - written.fresh.len();
        println!(
            "job {jobs}: {killed} kills so far; {again} fresh articles written again, {more} counted again in trends"
        );
    }
    println!("{killed} kills of {jobs} jobs, {amid} of them between the first and the last commit");
    amid
}

#[test]
fn killed_at_any_moment_it_lets_the_same_articles_through() {
    let folder = tempfile::tempdir().unwrap();
    corpus::write(folder.path(), 4000);
    kill(8, folder.path().to_str().unwrap(), 1);
}

#[test]
#[ignore = "long: a hundred kills"]
fn killed_a_hundred_times_it_lets_the_same_articles_through() {
    let (folder, first) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let reuters = news(first.path(), "reuters", &[]).output().unwrap();
    let corpus = if reuters.status.success() {
        "reuters"
    } else {
        println!("without Reuters, on generated stories: {}", String::from_utf8_lossy(&reuters.stderr));
        corpus::write(folder.path(), 20_000);
        folder.path().to_str().unwrap()
    };
    assert!(kill(100, corpus, 2) >= 80);
}

#[test]
fn near_repeats_are_those_of_the_truth() {
    let folder = tempfile::tempdir().unwrap();
    corpus::write(folder.path(), 3000);
    let (data, json) = (folder.path().join("data"), folder.path().join("report.json"));
    let arguments = ["--json", json.to_str().unwrap()];
    let output = news(&data, folder.path().to_str().unwrap(), &arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    let (precision, recall) = (report["near_precision"].as_f64().unwrap(), report["near_recall"].as_f64().unwrap());
    assert!(precision >= 0.95 && recall >= 0.95, "precision {precision}, recall {recall}");
    assert!(report["near_repeats"].as_u64().unwrap() > 50, "{report}");
    assert!(report["exact_repeats"].as_u64().unwrap() > 50, "{report}");
    assert!(report["dead_letters"].as_u64().unwrap() > 20, "{report}");
    assert_eq!(report["articles_in"], 3000);
}

#[test]
fn another_version_reprocesses_beside_the_first() {
    let folder = tempfile::tempdir().unwrap();
    corpus::write(folder.path(), 3000);
    let corpus = folder.path().to_str().unwrap();
    let undisturbed = run_to_the_end(&folder.path().join("undisturbed"), corpus);
    let data = folder.path().join("data");
    let output = news(&data, corpus, &["reprocess"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let compared = said.lines().find(|line| line.starts_with("fresh in both")).unwrap();
    // A lower threshold finds more repeats, and no fewer.
    assert!(compared.ends_with("in version 2 alone 0") && !compared.contains("in version 1 alone 0"), "{compared}");
    assert!(said.contains("version 1 went on meanwhile"), "{said}");
    assert_eq!(written(&data).fresh, undisturbed.fresh);
}
