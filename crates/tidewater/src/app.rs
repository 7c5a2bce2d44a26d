//! Starting an application: its id, its log, and what else it should know.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tidewater_client::NativeClient;
use tidewater_env::Disk;
use tidewater_streams::{App, AppSettings, Handlers, SettingError, StartError, StateMemory, Topology};

use crate::Log;
use crate::log::LOG_VARIABLE;

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

    /// A setting by Kafka Streams' name, such as `num.stream.threads`; `state.memory.max.bytes` is Tidewater's own.
    ///
    /// # Errors
    /// When the name is unknown, with the nearest one, or the value is not allowed.
    pub fn set(mut self, name: &str, value: &str) -> Result<Self, SettingError> {
        self.settings.set(name, value)?;
        Ok(self)
    }

    /// The settings of a properties file, as Kafka Streams has them.
    ///
    /// # Errors
    /// When the file cannot be read, a name is unknown, or a value is not allowed.
    pub fn properties(mut self, file: impl AsRef<Path>) -> Result<Self, SettingError> {
        let file = file.as_ref();
        let text = Disk::new().read(file).map_err(|error| SettingError {
            name: file.display().to_string(),
            what: format!("cannot read the file: {error}"),
        })?;
        self.settings.set_properties(&String::from_utf8_lossy(&text))?;
        Ok(self)
    }

    /// The settings of the environment: `TIDEWATER_NUM_STREAM_THREADS` for `num.stream.threads`.
    ///
    /// # Errors
    /// When a variable that begins with `TIDEWATER_` names no setting, or its value is not allowed.
    pub fn settings_from_env(mut self) -> Result<Self, SettingError> {
        for (variable, value) in std::env::vars_os().filter(|(variable, _)| variable != LOG_VARIABLE) {
            let Some(name) = variable.to_str().and_then(|variable| variable.strip_prefix("TIDEWATER_")) else {
                continue;
            };
            let name = name.to_lowercase().replace('_', ".");
            let value = value
                .to_str()
                .ok_or_else(|| SettingError { name: name.clone(), what: format!("{value:?} is not text in UTF-8") })?;
            self.settings.set(&name, value)?;
        }
        Ok(self)
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

    /// Memory of all persistent stores together. Default: 192 MiB.
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
    /// Starts the topology: its internal topics are made, and its threads set to work. These restore the stores first; what
    /// fails there is told by [`App::failed`] and [`App::stop`].
    ///
    /// # Errors
    /// When a topic that it reads or writes does not exist, an internal one has other partitions, or the log refuses.
    pub async fn start(mut self, topology: Topology) -> Result<App, StartError> {
        if self.in_memory {
            self.settings.state_folder = None;
        } else if self.settings.state_folder.is_none() {
            self.settings.state_folder = Some(self.log.state_folder());
        }
        let client = NativeClient::new(self.log.door(), self.settings.application_id.clone());
        App::start(topology, self.settings, client.ports())
    }
}
