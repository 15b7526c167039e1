//! One side: a process with a port, that can be stopped, continued and weighed.

use crate::client::complete;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Longest start that is waited for.
const START: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(3);

/// How a side is started.
#[derive(Clone)]
pub struct Command {
    pub name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    slots: usize,
    /// Tokens of one slot.
    context: usize,
    /// Tokens of all slots together, which llama.cpp keeps in one pool.
    cells: usize,
}

impl Command {
    pub fn worker(model: &Path, threads: usize) -> Self {
        let arguments = ["worker", "--model", &model.to_string_lossy(), "--threads", &threads.to_string()];
        let program = PathBuf::from(env!("CARGO_BIN_EXE_rbee"));
        let arguments = arguments.map(str::to_owned).to_vec();
        Self { name: "rbee", program, arguments, slots: 8, context: 4096, cells: 4096 }
    }

    pub fn llama(program: &Path, model: &Path, threads: usize) -> Self {
        let threads = threads.to_string();
        let mut arguments: Vec<String> =
            ["-m", &model.to_string_lossy(), "-t", &threads, "-tb", &threads].map(str::to_owned).to_vec();
        let more = ["--no-warmup", "-fit", "off", "--no-cache-prompt", "-cram", "0", "--no-slots", "-lv", "1"];
        arguments.extend(more.map(str::to_owned));
        Self { name: "llama.cpp", program: program.to_owned(), arguments, slots: 8, context: 4096, cells: 4096 }
    }

    /// Every slot with so many tokens of its own.
    pub fn with_slots(&self, slots: usize, context: usize) -> Self {
        Self { slots, context, cells: slots * context, ..self.clone() }
    }

    fn spawn(&self, port: u16) -> Result<Child> {
        let (slots, port) = (self.slots.to_string(), port.to_string());
        let own: Vec<String> = match self.name {
            "rbee" => vec!["--slots".into(), slots, "--context-length".into(), self.context.to_string()],
            _ => vec!["-np".into(), slots, "-kvu".into(), "-c".into(), self.cells.to_string()],
        };
        std::process::Command::new(&self.program)
            .args(&self.arguments)
            .args(own)
            .args(["--port", &port])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))
    }
}

/// A running side; killed when dropped.
pub struct Server {
    pub url: String,
    pub command: Command,
    child: Child,
}

impl Server {
    /// Starts a side; also the seconds until the first token of a short prompt.
    pub async fn start(command: &Command) -> Result<(Self, f64)> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let begun = Instant::now();
        let child = command.spawn(port)?;
        let mut server = Self { url: format!("http://127.0.0.1:{port}"), command: command.clone(), child };
        loop {
            match complete(&server.url, "a small bee", 1).await {
                Ok(timed) => return Ok((server, (timed.first - begun).as_secs_f64())),
                Err(error) if begun.elapsed() > START => return Err(error.context("it did not start in time")),
                Err(_) => {}
            }
            if let Some(status) = server.child.try_wait()? {
                bail!("{} ended with {status} while it started", command.name);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        // A process that is gone already shows itself at the next request.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Most bytes that were resident at once, mapped pages of files included.
    pub fn peak_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
