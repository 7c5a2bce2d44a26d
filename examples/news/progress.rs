//! What one sees while the pipeline works: records a second, lag, and the size of the state.

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use tidewater::App;

/// How often there is news of the work.
const EVERY: Duration = Duration::from_millis(50);

/// Shows an application's work: a bar on a terminal, else a line on standard output whenever it has committed.
pub struct Progress {
    name: String,
    state: PathBuf,
    started: Instant,
    bar: ProgressBar,
    commits: u64,
}

impl Progress {
    /// For an application whose state is in this folder.
    pub fn new(name: &str, state: &Path) -> Self {
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
        let template = "{prefix} [{bar:30}] {pos}/{len} records, {msg}, {elapsed} gone, {eta} to go";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(name.to_owned());
        Progress { name: name.to_owned(), state: state.to_owned(), started: Instant::now(), bar, commits: 0 }
    }

    /// Looks at the application once; gives its lag.
    pub fn look(&mut self, app: &App) -> anyhow::Result<u64> {
        let (lag, done) = (app.lag()?, app.processed());
        let rate = done as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        self.bar.set_length(done + lag);
        self.bar.set_position(done);
        let state = HumanBytes(folder_bytes(&self.state));
        self.bar.set_message(format!("{rate:.0} records/s, lag {lag}, state {state}"));
        let commits = app.commits();
        if self.bar.is_hidden() && commits > self.commits {
            self.commits = commits;
            println!("{}: {commits} commits, {done} records, {rate:.0} records/s, lag {lag}, state {state}", self.name);
            std::io::stdout().flush()?;
        }
        Ok(lag)
    }

    /// Waits until the application has worked through all there is.
    pub fn wait_until_caught_up(&mut self, app: &App) -> anyhow::Result<()> {
        while self.look(app)? > 0 {
            if app.has_failed() {
                self.finish();
                return Ok(());
            }
            std::thread::sleep(EVERY);
        }
        self.finish();
        Ok(())
    }

    fn finish(&self) {
        self.bar.finish();
    }
}

/// Bytes of all files under a folder; files that come and go meanwhile count or do not.
fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
