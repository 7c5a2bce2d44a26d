//! `cargo xtask fuzz`: random bytes, under AddressSanitizer, at everything that reads bytes which others wrote. It does what
//! `cargo fuzz` does, with the nightly compiler alone.

#![allow(clippy::disallowed_methods, reason = "xtask depends on no crate of the workspace")]

use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Step, root, run, run_with};

/// What is fuzzed; each has a folder of first inputs in `fuzz/corpus`.
const TARGETS: [&str; 3] = ["batch", "request", "segment"];
const DEFAULT_SECONDS: &str = "60";
/// How much memory one input may take, in MiB.
const MEMORY_MIB: u32 = 1024;
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// What libFuzzer wants of the compiler.
const FLAGS: &str = "--cfg fuzzing -Zsanitizer=address -Cdebug-assertions -Ccodegen-units=1 -Cpasses=sancov-module \
                     -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Whether there is a nightly compiler, without which nothing is fuzzed.
pub fn is_possible() -> bool {
    let mut version = Command::new("cargo");
    version.args(["+nightly", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    cfg!(all(target_os = "linux", target_arch = "x86_64")) && version.status().is_ok_and(|status| status.success())
}

/// Builds all targets, and runs those that are named, or all, each for so many seconds.
pub fn command(arguments: &[String]) -> Step {
    let (mut seconds, mut targets) = (DEFAULT_SECONDS, Vec::new());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--seconds" => seconds = rest.next().ok_or("--seconds wants a number")?,
            target if TARGETS.contains(&target) => targets.push(target),
            other => return Err(format!("fuzz takes {} and --seconds N, not {other:?}", TARGETS.join(", "))),
        }
    }
    if targets.is_empty() {
        targets = TARGETS.to_vec();
    }
    let folder = root().join("target/fuzz");
    let built = folder.display().to_string();
    let build =
        ["build", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target", TARGET, "--target-dir", &built];
    // The build of the workspace has flags of its own, which are not these.
    let flags = vec![("RUSTFLAGS", FLAGS.to_owned()), ("RUSTUP_TOOLCHAIN", "nightly".to_owned())];
    run_with("build", "cargo", &build, flags)?;
    for target in targets {
        let found = folder.join("found").join(target);
        std::fs::create_dir_all(&found).map_err(|error| format!("cannot make {}: {error}", found.display()))?;
        let program = folder.join(TARGET).join("release").join(target).display().to_string();
        let (found, first) =
            (format!("{}/", found.display()), Path::new("fuzz/corpus").join(target).display().to_string());
        let (time, memory) = (format!("-max_total_time={seconds}"), format!("-rss_limit_mb={MEMORY_MIB}"));
        let artifacts = format!("-artifact_prefix={}/", folder.display());
        run(target, &program, &[&time, &memory, &artifacts, "-print_final_stats=1", "-verbosity=0", &found, &first])?;
    }
    Ok(())
}
