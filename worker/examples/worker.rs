//! A worker by itself, for trials without the whole executable.

use clap::Parser;
use rbee_worker::{Args, Secrets, physical_cores, run};
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let secrets = Secrets::from_env(|name| std::env::var(name).ok());
    let config = match Cli::parse().args.resolve(secrets, physical_cores()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("error: {error}");
            return error.exit_code().into();
        }
    };
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        stop.cancel();
    });
    match run(config, shutdown).await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
