//! The verbs alone, without the other parts: `cargo run --release -p rbee-keeper --example keeper -- get models`.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use rbee_keeper::{Command, Context};
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
#[command(name = "keeper")]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[tokio::main]
async fn main() -> ExitCode {
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("error: another crypto provider is installed already");
        return ExitCode::FAILURE;
    }
    let command = Line::parse().command;
    let home = std::env::var("RBEE_HOME").unwrap_or_else(|_| ".rbee".into());
    let interrupt = CancellationToken::new();
    let asked = interrupt.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            asked.cancel();
        }
    });
    let context = Context::new(home.into(), env!("CARGO_PKG_VERSION"), interrupt, Line::command);
    rbee_keeper::run(command, context).await.into()
}
