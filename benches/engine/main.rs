//! The worker beside llama.cpp's server: the same work, the same HTTP client, the same threads, in turns.
//!
//! `cargo bench --bench engine -- --llama-server PATH` prints medians, ranges and the ratio of medians for each model, and in front of them
//! the class of the CPU and the load of the machine. The side that waits is stopped with SIGSTOP. Prompts are new in every request, so no
//! cache of prefixes helps; everything is greedy; tokens are counted from `usage`. Nothing here passes or fails by a clock.

mod client;
mod models;
mod plan;
mod report;
mod server;

use anyhow::{Result, ensure};
use clap::Parser;
use plan::{Metric, Settings};
use report::Figures;
use server::{Command, Server};
use std::path::{Path, PathBuf};

#[derive(Parser)]
struct Args {
    /// llama.cpp's `llama-server`; without it only the worker is measured
    #[arg(long, value_name = "PATH")]
    llama_server: Option<PathBuf>,
    /// Models to measure, by a part of their name
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    models: Vec<String>,
    /// GGUF files to measure in place of the generated ones
    #[arg(long, value_name = "FILE", num_args = 1..)]
    files: Vec<PathBuf>,
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    metrics: Vec<Metric>,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Threads of each side [default: the physical cores]
    #[arg(long)]
    threads: Option<usize>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    // The client is built with TLS, which wants a provider even where nothing is encrypted.
    rustls::crypto::aws_lc_rs::default_provider().install_default().expect("the first provider");
    ensure!(args.rounds > 0, "--rounds must be at least 1");
    let threads = args.threads.unwrap_or_else(rbee_worker::physical_cores);
    let metrics = if args.metrics.is_empty() { Metric::ALL.to_vec() } else { args.metrics };
    println!("{}", report::machine(threads));
    let models = if args.files.is_empty() { models::generated(&args.models)? } else { args.files };
    ensure!(!models.is_empty(), "no model has such a name");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("{}", report::HEAD);
    for model in &models {
        let settings = Settings { model, metrics: &metrics, rounds: args.rounds };
        let figures = runtime.block_on(measure(&settings, args.llama_server.as_deref(), threads))?;
        figures.print(&settings);
    }
    Ok(())
}

/// All rounds of one model.
async fn measure(settings: &Settings<'_>, llama: Option<&Path>, threads: usize) -> Result<Figures> {
    let mut commands = vec![Command::worker(settings.model, threads)];
    commands.extend(llama.map(|path| Command::llama(path, settings.model, threads)));
    models::read_through(settings.model)?;
    let mut figures = Figures::new(commands.iter().map(|c| c.name).collect());
    for round in 0..settings.rounds {
        figures.load(report::load_average());
        // Who begins changes with the round.
        let order: Vec<usize> = match round % 2 {
            0 => (0..commands.len()).collect(),
            _ => (0..commands.len()).rev().collect(),
        };
        let mut servers: Vec<Option<Server>> = commands.iter().map(|_| None).collect();
        for &side in &order {
            servers.iter().flatten().for_each(Server::freeze);
            let (server, seconds) = Server::start(&commands[side]).await?;
            figures.add(side, Metric::Start, seconds);
            servers[side] = Some(server);
        }
        let servers: Vec<Server> = servers.into_iter().flatten().collect();
        for server in &servers {
            servers.iter().for_each(Server::freeze);
            server.thaw();
            plan::warm(server, round).await?;
        }
        for &metric in settings.metrics.iter().filter(|m| **m != Metric::Start) {
            for &side in &order {
                servers.iter().for_each(Server::freeze);
                servers[side].thaw();
                figures.add(side, metric, plan::measure(&servers[side], metric, settings, round).await?);
            }
        }
        servers.iter().for_each(Server::thaw);
    }
    Ok(figures)
}
