//! What the build needs beside Rust: a C++ compiler, and libclang with its headers, which bindgen reads RocksDB's API with.

#![allow(clippy::disallowed_methods, reason = "xtask depends on no crate of the workspace")]

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{Step, root, run};

/// Looks for everything; installs what is missing with `yes`, or where `CI` is set, else says how.
pub fn check(yes: bool) -> Step {
    let install = yes || std::env::var("CI").is_ok_and(|value| value == "true");
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    let only_libclang = packages == ["libclang-dev"];
    if !starts("clang++") {
        packages.push("clang"); // Not needed, but it takes a quarter off the time that RocksDB takes.
    }
    for (what, package) in &missing {
        eprintln!("==> setup: {what} is missing (package {package})");
    }
    let how = format!("apt-get update && apt-get install -y {}", packages.join(" "));
    if !install {
        let or = if only_libclang { format!(", or without root:\n  {}", wheel_command()) } else { String::new() };
        return Err(format!("run `cargo xtask setup --yes`, or yourself, as root:\n  {how}{or}"));
    }
    if is_root() && starts("apt-get") {
        run("update of the package lists", "apt-get", &["update"])?;
        let mut arguments = vec!["install", "-y"];
        arguments.extend(&packages);
        run("installation", "apt-get", &arguments).map_err(|error| format!("{error}; as root: {how}"))?;
    } else if only_libclang {
        run("libclang from its wheel", "sh", &["-c", &wheel_command()])?;
    } else {
        return Err(format!("without root only libclang can be installed; as root: {how}"));
    }
    match self::missing().first() {
        None => Ok(()),
        Some((what, _)) => Err(format!("{what} is still missing after the installation")),
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.starts_with(b"0"))
}

/// Where the wheel of libclang is unpacked.
fn wheel_folder() -> PathBuf {
    let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    home.unwrap_or_else(std::env::temp_dir).join("tidewater/libclang")
}

fn wheel_command() -> String {
    format!("python3 -m pip install --quiet --no-deps --target {} libclang", wheel_folder().display())
}

/// What the build needs in its environment: nothing, unless libclang came from its wheel. That has no headers of its own;
/// those of gcc serve.
pub fn environment() -> Vec<(&'static str, String)> {
    let library = wheel_folder().join("clang/native");
    if has_libclang_package() || !library.join("libclang.so").exists() {
        return Vec::new();
    }
    let include = Command::new("gcc").arg("-print-file-name=include").output();
    let include = include.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    vec![("LIBCLANG_PATH", library.display().to_string()), ("BINDGEN_EXTRA_CLANG_ARGS", format!("-isystem {include}"))]
}

fn missing() -> Vec<(&'static str, &'static str)> {
    let mut missing = Vec::new();
    if !compiles_cpp() {
        missing.push(("a C++ compiler with its headers", "g++"));
    }
    if !starts("cmake") {
        missing.push(("cmake", "cmake"));
    }
    // librdkafka, which the tests use as a client, is built by it.
    if !starts("make") {
        missing.push(("make", "make"));
    }
    if !has_libclang() {
        missing.push(("libclang with its headers", "libclang-dev"));
    }
    missing
}

/// Whether the compiler that the build will take compiles a program with headers of the standard library.
fn compiles_cpp() -> bool {
    let arguments = ["-std=c++20", "-x", "c++", "-fsyntax-only", "-include", "optional", "/dev/null"];
    let status = Command::new(root().join("xtask/cxx")).args(arguments).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn starts(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Whether there is a libclang, with the headers (`stddef.h` and others) that belong to it.
fn has_libclang() -> bool {
    // Whoever names a library also says where its headers are.
    let is_named =
        std::env::var_os("LIBCLANG_PATH").is_some() && std::env::var_os("BINDGEN_EXTRA_CLANG_ARGS").is_some();
    is_named || has_libclang_package() || wheel_folder().join("clang/native/libclang.so").exists()
}

fn has_libclang_package() -> bool {
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
