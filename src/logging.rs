//! Log lines on stderr: parts that stay tell what they do, commands only what went wrong.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::{EnvFilter, fmt};

use crate::cli::Command;

/// `RBEE_LOG` (a filter such as `info` or `rbee_agent=debug`) decides; without it the command does.
pub fn start(command: &Command) {
    let usual = match command {
        // What a server refuses is told by the verb itself.
        Command::Keeper(_) => "error,kube_client=off",
        Command::Worker(_) => "info",
        Command::Up(_) | Command::Queen(_) | Command::Hive(_) => {
            "warn,rbee=info,rbee_agent=info,rbee_controller=info,rbee_gateway=info,rbee_apiserver=info"
        }
    };
    let filter = EnvFilter::try_from_env("RBEE_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    fmt().with_env_filter(filter).with_writer(stderr).with_ansi(stderr().is_terminal()).with_target(true).init();
}
