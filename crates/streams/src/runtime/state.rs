//! Where the state of tasks lasts.

use tidewater_state::{Backend, StoreSpec};

use super::settings::AppSettings;
use crate::error::{FailureKind, TaskError};

/// Opens the stores of one folder of the application's state; `None` if nothing lasts.
#[cfg(feature = "rocksdb")]
pub(crate) fn open_backend(
    settings: &AppSettings,
    folder: &str,
    stores: &[&StoreSpec],
) -> Result<Option<Box<dyn Backend>>, TaskError> {
    let Some(root) = settings.state_folder.as_ref().filter(|_| !stores.is_empty()) else { return Ok(None) };
    let folder = root.join(&settings.application_id).join(folder);
    tidewater_env::Disk::new()
        .create_folder(&folder)
        .map_err(|error| TaskError::new(FailureKind::State, format!("{}: {error}", folder.display())))?;
    let memory = &settings.state_memory.rocks;
    Ok(Some(Box::new(tidewater_state::RocksBackend::open(&folder, stores, memory)?)))
}

/// Without RocksDB nothing lasts.
#[cfg(not(feature = "rocksdb"))]
pub(crate) fn open_backend(_: &AppSettings, _: &str, _: &[&StoreSpec]) -> Result<Option<Box<dyn Backend>>, TaskError> {
    Ok(None)
}
