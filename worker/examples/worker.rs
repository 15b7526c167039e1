//! A worker by itself, for trials without the whole executable.

use clap::Parser;
use rbee_worker::{Args, Secrets, physical_cores, prepare, run};
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn main() -> std::process::ExitCode {
    let mut args = Cli::parse().args;
    prepare(&mut args);
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(serve(args)),
        Err(error) => {
            eprintln!("error: cannot start the runtime: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn serve(args: Args) -> std::process::ExitCode {
    let secrets = Secrets::from_env(|name| std::env::var(name).ok());
    let config = match args.resolve(secrets, physical_cores()) {
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
