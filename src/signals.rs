//! Ctrl+C and SIGTERM: the first asks to end, the second ends at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code of an interrupted command.
pub const INTERRUPTED: u8 = 130;

/// A token that the first SIGINT or SIGTERM cancels; a second one exits the process with 130.
pub fn shutdown() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let asked = token.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if asked.is_cancelled() {
                std::process::exit(i32::from(INTERRUPTED));
            }
            asked.cancel();
        }
    });
    Ok(token)
}
