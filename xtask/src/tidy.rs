//! What makes the tree tidy: format, lints, docs, the arrows between crates, and no loose ends.

#![allow(clippy::disallowed_methods, reason = "xtask depends on no crate of the workspace")]

use std::path::{Path, PathBuf};

use crate::{Step, root, run};

/// A crate, and the crates of the workspace that it may use.
const ARROWS: [(&str, &[&str]); 10] = [
    ("types", &[]),
    ("env", &["types"]),
    ("protocol", &["types"]),
    ("log", &["types", "env", "protocol"]),
    ("state", &["types", "env"]),
    ("broker", &["types", "env", "protocol", "log"]),
    ("client", &["types", "env", "protocol"]),
    ("streams", &["types", "env", "protocol", "client", "state"]),
    ("testkit", &["types", "env", "protocol", "client", "state", "streams"]),
    ("tidewater", &["types", "env", "protocol", "log", "broker", "client", "state", "streams", "testkit"]),
];

/// Files of this many lines are listed: look at them again.
const LONG_FILE_LINES: usize = 800;

/// Runs all checks.
pub fn check() -> Step {
    run("format", "cargo", &["fmt", "--all", "--check"])?;
    run("lints", "cargo", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    arrows()?;
    loose_ends()?;
    Ok(())
}

fn arrows() -> Step {
    for (name, allowed) in ARROWS {
        let manifest = root().join("crates").join(name).join("Cargo.toml");
        let Ok(text) = std::fs::read_to_string(&manifest) else { continue };
        let dependencies = text.split("[dev-dependencies]").next().unwrap_or_default();
        for line in dependencies.lines() {
            let Some(used) = line.strip_prefix("tidewater-") else { continue };
            let used = used.split(['.', ' ', '=']).next().unwrap_or_default();
            if !allowed.contains(&used) {
                return Err(format!("crate {name} may not use {used}; see the arrows in xtask/src/tidy.rs"));
            }
        }
    }
    eprintln!("==> arrows between crates: in order");
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
