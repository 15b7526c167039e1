//! `rbee`: one executable that is every part. This file finds out which, and nothing else.

mod cli;
mod config;
mod home;
mod logging;
mod parts;
mod signals;

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result};
use clap::FromArgMatches;

use cli::{Cli, Command};
use home::Home;

/// A worker's step asks for the same large buffers again and again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // What rbee writes is its owner's, also what a library writes for it.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    // Before anything speaks TLS: with no provider installed, or with two to choose from, rustls panics.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("error: another crypto provider is installed already");
        return ExitCode::FAILURE;
    }
    let (home, mut cli) = match typed() {
        Ok(typed) => typed,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::from(2);
        }
    };
    // While there is one thread: the number of those that compute is part of the environment.
    if let Command::Worker(args) = &mut cli.command {
        rbee_worker::prepare(args);
    }
    logging::start(&cli.command);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run(cli.command, &home)).unwrap_or_else(|error| {
        eprintln!("error: {}", told(&error));
        ExitCode::FAILURE
    });
    // A read of stdin that nobody answers must not keep the process.
    runtime.shutdown_background();
    code
}

/// An error with its causes, each said once.
fn told(error: &anyhow::Error) -> String {
    error
        .chain()
        .skip(1)
        .map(ToString::to_string)
        .fold(error.to_string(), |text, cause| if text.contains(&cause) { text } else { format!("{text}: {cause}") })
}

/// What was typed, with the environment and config.yaml behind it. Wrong usage ends the process here with 2.
fn typed() -> Result<(Home, Cli)> {
    let home = Home::from_environment()?;
    let args = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    let matches = command_line(&home)?.get_matches_from(cli::by_name(args));
    Ok((
        home,
        Cli::from_arg_matches(&matches)
            .map_err(|error| error.exit())
            .unwrap_or_else(|never: std::convert::Infallible| match never {}),
    ))
}

fn command_line(home: &Home) -> Result<clap::Command> {
    let file = home.config_file();
    cli::command(&config::read(&file)?, &file)
}

async fn run(command: Command, home: &Home) -> Result<ExitCode> {
    match command {
        Command::Up(args) => parts::up::run(args, home).await,
        Command::Queen(args) => parts::queen::run(args, home).await,
        Command::Hive(args) => parts::hive::run(args, home).await,
        Command::Worker(args) => parts::worker::run(args).await,
        Command::Keeper(command) => parts::keeper::run(command, home).await,
    }
}

/// The whole command line without the values of config.yaml, for completions.
fn bare_command_line() -> clap::Command {
    let nothing = config::Config::new();
    cli::command(&nothing, Path::new("config.yaml")).context("without values nothing is refused").unwrap_or_default()
}
