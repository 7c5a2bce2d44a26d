//! What makes the tree tidy: format, lints, docs, the arrows between crates, and no loose ends.

#![allow(clippy::disallowed_methods, reason = "xtask depends on no crate of the workspace")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{Step, root, run};

/// A crate, and the crates of the workspace that it may use.
const ARROWS: [(&str, &[&str]); 12] = [
    ("tidewater-types", &[]),
    ("tidewater-env", &["types"]),
    ("tidewater-protocol", &["types"]),
    ("tidewater-log", &["types", "env", "protocol"]),
    ("tidewater-state", &["types", "env"]),
    ("tidewater-broker", &["types", "env", "protocol", "log"]),
    ("tidewater-client", &["types", "env", "protocol"]),
    ("tidewater-streams", &["types", "env", "protocol", "client", "state"]),
    ("tidewater-testkit", &["types", "env", "protocol", "client", "state", "streams"]),
    ("tidewater", &["types", "env", "protocol", "log", "broker", "client", "state", "streams", "testkit"]),
    ("tidewater-cli", &["tidewater"]),
    ("xtask", &[]),
];

/// Licences that code may have which goes into a program of ours; one of several that are offered is enough.
const LICENCES: [&str; 14] = [
    "MIT",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "0BSD",
    "CC0-1.0",
    "MIT-0",
    "Unlicense",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "Apache-2.0 WITH LLVM-exception",
];

/// Files of this many lines are listed: look at them again.
const LONG_FILE_LINES: usize = 800;

/// Runs all checks.
pub fn check() -> Step {
    run("format", "cargo", &["fmt", "--all", "--check"])?;
    run("lints", "cargo", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    // With the examples, so that features are those of the build, and RocksDB is not compiled again.
    let targets = ["doc", "--workspace", "--no-deps", "--lib", "--examples"];
    let strict = ["--quiet", "--config", "build.rustdocflags=[\"-Dwarnings\"]"];
    run("docs", "cargo", &[&targets[..], &strict].concat())?;
    let metadata = metadata()?;
    arrows(&metadata)?;
    licences(&metadata)?;
    loose_ends()
}

/// What cargo knows of the workspace and everything it depends on.
pub fn metadata() -> Result<Value, String> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .map_err(|error| format!("cannot start cargo metadata: {error}"))?;
    serde_json::from_slice(&output.stdout).map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn packages(metadata: &Value) -> impl Iterator<Item = (&Value, &str)> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages.map(|package| (package, package["name"].as_str().unwrap_or_default()))
}

fn arrows(metadata: &Value) -> Step {
    // Packages of this workspace have no source.
    for (package, name) in packages(metadata).filter(|(package, _)| package["source"].is_null()) {
        let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
            if name == "tidewater-workspace" {
                continue; // Examples, tests and benches, which may use everything.
            }
            return Err(format!("crate {name} has no line among the arrows in xtask/src/tidy.rs"));
        };
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        for dependency in dependencies.filter(|dependency| dependency["kind"].is_null()) {
            let used = dependency["name"].as_str().unwrap_or_default();
            if !used.starts_with("tidewater") {
                continue;
            }
            if !allowed.contains(&used.strip_prefix("tidewater-").unwrap_or(used)) {
                return Err(format!("crate {name} may not use {used}; see the arrows in xtask/src/tidy.rs"));
            }
        }
    }
    eprintln!("==> arrows between crates: in order");
    Ok(())
}

fn licences(metadata: &Value) -> Step {
    for (package, name) in packages(metadata).filter(|(package, _)| !package["source"].is_null()) {
        let licence = package["license"].as_str().unwrap_or_default();
        // `A OR B` offers a choice, `A AND B` (in parentheses or not) asks for both; an older form of OR is a slash.
        let is_allowed = |one: &str| LICENCES.contains(&one.trim_matches(['(', ')', ' ']));
        let choices = licence.replace('/', " OR ");
        let fits = choices.split(" OR ").any(|choice| choice.split(" AND ").all(is_allowed));
        if !fits {
            return Err(format!("{name} is under {licence:?}, which is not among the licences in xtask/src/tidy.rs"));
        }
    }
    eprintln!("==> licences: all allowed");
    Ok(())
}

/// Words that say that something is unfinished; written in two parts, so that this file has none.
fn marks() -> [String; 3] {
    [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X"].concat()]
}

fn loose_ends() -> Step {
    let mut files = Vec::new();
    find_sources(&root(), &mut files);
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        for (number, line) in text.lines().enumerate() {
            if let Some(mark) = marks().iter().find(|mark| line.contains(mark.as_str())) {
                return Err(format!("{}:{}: {mark} is left in the tree", file.display(), number + 1));
            }
        }
        let lines = text.lines().count();
        if lines > LONG_FILE_LINES {
            eprintln!("==> {} has {lines} lines", file.display());
        }
    }
    Ok(())
}

fn find_sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if name == "target" || name.to_string_lossy().starts_with('.') {
            continue;
        }
        if path.is_dir() {
            find_sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "md") {
            files.push(path);
        }
    }
}
