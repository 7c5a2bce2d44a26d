//! Starting an application: its id, its log, and what else it should know.

use std::path::PathBuf;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tidewater_client::NativeClient;
use tidewater_streams::{App, AppSettings, Handlers, StartError, StateMemory, TaskError, Topology};

use crate::Log;

/// Where an application begins.
pub struct Tidewater;

impl Tidewater {
    /// An application with this `application.id`.
    pub fn app(id: impl Into<String>) -> AppBuilder<()> {
        AppBuilder { settings: AppSettings::new(id), in_memory: false, log: () }
    }
}

/// An application that is not started yet. It needs a log.
pub struct AppBuilder<L> {
    settings: AppSettings,
    in_memory: bool,
    log: L,
}

impl<L> AppBuilder<L> {
    /// On this log.
    #[must_use]
    pub fn log(self, log: &Log) -> AppBuilder<Log> {
        AppBuilder { settings: self.settings, in_memory: self.in_memory, log: log.clone() }
    }

    /// `num.stream.threads`. Default: 1.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.settings.threads = threads.max(1);
        self
    }

    /// `commit.interval.ms`. Default: 100 ms.
    #[must_use]
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.settings.commit_interval = interval;
        self
    }

    /// `statestore.cache.max.bytes`. Default: 10 MiB; 0 turns record caches off.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.settings.cache_bytes = bytes;
        self
    }

    /// Memory of all persistent stores together. Default: 96 MiB.
    #[must_use]
    pub fn state_memory(mut self, bytes: usize) -> Self {
        self.settings.state_memory = StateMemory::new(bytes);
        self
    }

    /// Where persistent stores go. Default: beside the log.
    #[must_use]
    pub fn state_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.settings.state_folder = Some(folder.into());
        self
    }

    /// Keeps all state in memory; it is restored from the changelogs at each start.
    #[must_use]
    pub fn state_in_memory(mut self) -> Self {
        self.in_memory = true;
        self
    }

    /// What happens to records that fail. Default: the application stops.
    #[must_use]
    pub fn handlers(mut self, handlers: Handlers) -> Self {
        self.settings.handlers = handlers;
        self
    }
}

impl AppBuilder<Log> {
    /// Starts the topology: its topics are made, its stores restored, its threads set to work.
    ///
    /// # Errors
    /// When a topic that it reads does not exist, or the log refuses.
    pub fn start(mut self, topology: Topology) -> Result<App, StartError> {
        if self.in_memory {
            self.settings.state_folder = None;
        } else if self.settings.state_folder.is_none() {
            self.settings.state_folder = Some(self.log.state_folder());
        }
        let client = NativeClient::new(self.log.door(), self.settings.application_id.clone());
        App::start(topology, self.settings, client.ports())
    }
}

/// How often a waiting program looks for a signal, or a failure.
const LOOK: Duration = Duration::from_millis(50);

/// Waits for ctrl-c or SIGTERM, then stops the application in good order; ends at once when the application fails.
///
/// # Errors
/// When a thread of the application has failed.
pub fn run_until_signal(app: App) -> Result<(), TaskError> {
    let mut signals = Signals::new([SIGINT, SIGTERM]);
    let mut is_signalled = || signals.as_mut().is_ok_and(|signals| signals.pending().next().is_some());
    while !app.has_failed() && !is_signalled() {
        std::thread::park_timeout(LOOK);
    }
    app.stop()
}
