//! `rbee worker`: one model in this process.

use std::process::ExitCode;

use crate::signals;

/// Serves until it is drained. Exit 0: drained; 1: failed; 2: wrong usage.
pub async fn run(args: rbee_worker::Args) -> anyhow::Result<ExitCode> {
    let shutdown = signals::shutdown()?;
    let secrets = rbee_worker::Secrets::from_env(|name| std::env::var(name).ok());
    let cores = rbee_worker::physical_cores();
    match args.resolve(secrets, cores) {
        Ok(config) => rbee_worker::run(config, shutdown).await.map(|()| ExitCode::SUCCESS).map_err(anyhow::Error::new),
        Err(error) => {
            eprintln!("error: {error}");
            Ok(ExitCode::from(error.exit_code()))
        }
    }
}
