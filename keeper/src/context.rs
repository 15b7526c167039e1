//! What a command runs with: streams, the home, the way to stop it, and maybe a client that is there already.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use crate::streams::{Input, Out};

/// The surroundings of one command.
#[derive(Clone)]
pub struct Context {
    /// `RBEE_HOME`: where a running queen leaves its address, CA and token.
    pub home: PathBuf,
    /// Version of this executable.
    pub version: &'static str,
    /// Answers, and nothing else.
    pub out: Out,
    /// Everything else.
    pub err: Out,
    /// What `-` reads.
    pub input: Input,
    /// Cancelled by Ctrl+C.
    pub interrupt: CancellationToken,
    /// The whole command line, for completions.
    pub cli: fn() -> clap::Command,
    /// Used instead of a connection: a queen in this process, or a test's server.
    pub client: Option<kube::Client>,
}

impl Context {
    /// On the process's own streams.
    pub fn new(home: PathBuf, version: &'static str, interrupt: CancellationToken, cli: fn() -> clap::Command) -> Self {
        Self {
            home,
            version,
            out: Out::stdout(),
            err: Out::stderr(),
            input: Input::Stdin,
            interrupt,
            cli,
            client: None,
        }
    }
}
