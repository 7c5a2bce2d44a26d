//! What the build needs beside Rust: a C++ compiler, and libclang with its headers, which bindgen reads RocksDB's API with.

#![allow(clippy::disallowed_methods, reason = "xtask depends on no crate of the workspace")]

use std::path::PathBuf;
use std::process::Command;

use crate::{Step, run};

/// Looks for everything; installs what is missing with `yes`, or where `CI` is set, else says how.
pub fn check(yes: bool) -> Step {
    let install = yes || std::env::var("CI").is_ok_and(|value| value == "true");
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    for (what, package) in &missing {
        eprintln!("==> setup: {what} is missing (package {package})");
    }
    let how = format!("apt-get update && apt-get install -y {}", packages.join(" "));
    if !install {
        return Err(format!("run `cargo xtask setup --yes`, or yourself:\n  {how}"));
    }
    run("update of the package lists", "apt-get", &["update"])?;
    let mut arguments = vec!["install", "-y"];
    arguments.extend(&packages);
    run("installation", "apt-get", &arguments).map_err(|error| format!("{error}; as root: {how}"))?;
    match self::missing().first() {
        None => Ok(()),
        Some((what, _)) => Err(format!("{what} is still missing after the installation")),
    }
}

fn missing() -> Vec<(&'static str, &'static str)> {
    let mut missing = Vec::new();
    let compiles = ["c++", "g++", "clang++"].iter().any(|compiler| starts(compiler));
    if !compiles {
        missing.push(("a C++ compiler", "g++"));
    }
    if !starts("make") && !starts("ninja") {
        missing.push(("make", "make"));
    }
    if !has_libclang() {
        missing.push(("libclang with its headers", "libclang-dev"));
    }
    missing
}

fn starts(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Whether there is a libclang, with the headers (`stddef.h` and others) that belong to it.
fn has_libclang() -> bool {
    if std::env::var_os("LIBCLANG_PATH").is_some() {
        return true;
    }
    let folders = |pattern: &str| -> Vec<PathBuf> {
        let (above, name) = pattern.rsplit_once('/').unwrap_or(("/", pattern));
        let entries = std::fs::read_dir(above).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.filter(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name))).collect()
    };
    let versions = folders("/usr/lib/llvm-");
    let library = versions.iter().any(|folder| {
        folders(&format!("{}/lib/libclang", folder.display())).iter().any(|path| path.to_string_lossy().contains(".so"))
    });
    let headers = versions.iter().any(|folder| {
        folders(&format!("{}/lib/clang/", folder.display()))
            .iter()
            .any(|version| version.join("include/stddef.h").exists())
    });
    (library && headers) || cfg!(target_os = "macos")
}
