//! `rbee worker`: one model in this process.

use std::process::ExitCode;

use crate::signals;

/// Serves until it is drained. Exit 0: drained; 1: failed; 2: wrong usage.
pub async fn run(args: rbee_worker::Args) -> anyhow::Result<ExitCode> {
    let shutdown = signals::shutdown()?;
    let secrets = rbee_worker::Secrets::from_env(|name| std::env::var(name).ok());
    let cores = rbee_worker::physical_cores();
    match args.resolve(secrets, cores) {
        Ok(config) => match rbee_worker::run(config, shutdown).await {
            Ok(()) => Ok(ExitCode::SUCCESS),
            // The last line on stderr becomes `error: CODE: …`, by which a hive knows whether another start could help.
            Err(error) => Err(match error.code() {
                Some(code) => anyhow::Error::new(error).context(code),
                None => anyhow::Error::new(error),
            }),
        },
        Err(error) => {
            eprintln!("error: {error}");
            Ok(ExitCode::from(error.exit_code()))
        }
    }
}
