//! A worker's settings with every choice made.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A text that no log and no Debug shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where the hive of this worker is and how the worker proves who it is.
#[derive(Debug, Clone)]
pub struct HiveLink {
    /// `POST` here once the model is loaded. Only `http://`.
    pub callback_url: Option<http::Uri>,
    /// Unix socket to which the worker holds a stream.
    pub socket: Option<PathBuf>,
    /// One-time secret from the hive.
    pub nonce: Option<Secret>,
}

/// Everything [`crate::run()`] needs.
#[derive(Debug, Clone)]
pub struct Config {
    /// A GGUF file or a checkpoint's folder.
    pub model: PathBuf,
    /// Id in `/v1/models` and in the callback.
    pub model_ref: String,
    pub worker_id: String,
    /// Port 0 takes any; a taken port is followed by the next free one, at most [`PORT_TRIES`] further.
    pub listen: SocketAddr,
    /// Requests computed at the same time, 1 to 64.
    pub slots: usize,
    /// Tokens of one sequence; None takes what the model was trained with, at most 8192.
    pub context_length: Option<u32>,
    pub threads: usize,
    /// cpu, cuda or metal.
    pub backend: String,
    /// The backend's device, by its number.
    pub device: u32,
    /// Backend and device as the engine calls them.
    pub compute_device: rbee_engine::Device,
    /// Without one the worker listens on loopback only.
    pub api_key: Option<Secret>,
    pub hive: HiveLink,
}

/// Ports that are tried after the wanted one.
pub const PORT_TRIES: u16 = 200;
