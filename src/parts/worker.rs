//! `rbee worker`: one model in this process.

use std::process::ExitCode;

use crate::signals;

/// Serves until it is drained. Exit 0: drained; 1: failed.
pub async fn run(args: rbee_worker::Args) -> anyhow::Result<ExitCode> {
    let shutdown = signals::shutdown()?;
    rbee_worker::run(args.into_config()?, shutdown).await?;
    Ok(ExitCode::SUCCESS)
}
