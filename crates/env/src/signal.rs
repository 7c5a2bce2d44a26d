//! What asks a program to end.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Gives what waits for ctrl-c or SIGTERM; from now on, not from the first poll, they do not end the program. Needs a tokio runtime
/// with I/O.
///
/// # Errors
/// When the system lets no signal be waited for.
pub fn asked_to_end() -> io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
