//! Reading the segments of a folder as they are, without opening the log: nothing is locked, mended or written.

use std::path::{Path, PathBuf};

use tidewater_env::Disk;
use tidewater_protocol::{Batch, BatchError};

use crate::LogError;
use crate::segment::BatchScan;

/// What stands at a place of a segment: a batch, or where the segment ceases to be whole.
#[derive(Debug)]
pub struct Inspected {
    /// The segment's file.
    pub segment: PathBuf,
    /// Where in the file.
    pub position: u64,
    /// The batch, checked against its CRC; after an error the segment is not read further.
    pub batch: Result<Batch, BatchError>,
}

/// Visits the batches of all segments of a partition's folder, in order.
///
/// # Errors
/// When the folder or a file cannot be read, or `visit` says so.
pub fn inspect<E: From<LogError>>(
    disk: &Disk,
    folder: &Path,
    mut visit: impl FnMut(Inspected) -> Result<(), E>,
) -> Result<(), E> {
    let files = disk.list(folder).map_err(LogError::io("list", folder))?;
    for path in files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "log")) {
        let file = disk.open_to_read(&path).map_err(LogError::io("open", &path))?;
        let length = file.len().map_err(LogError::io("measure", &path))?;
        let mut scan = BatchScan::new(&file, &path, 0, length);
        let mut position = 0;
        while let Some(batch) = scan.next_batch()? {
            let batch = batch.and_then(|batch| batch.check_crc().map(|()| batch));
            let (length, is_whole) = (batch.as_ref().map_or(0, |batch| batch.len() as u64), batch.is_ok());
            visit(Inspected { segment: path.clone(), position, batch })?;
            position += length;
            if !is_whole {
                break;
            }
        }
    }
    Ok(())
}
