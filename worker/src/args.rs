//! The worker's command line: what was typed, and how it becomes a [`Config`].

use crate::config::{Config, HiveLink, Secret};
use rbee_engine::{Device, Isa};
use rbee_wire::ErrorCode;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Flags of `rbee worker`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// GGUF file to serve, or the folder of a checkpoint in safetensors with config.json and tokenizer.json
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,

    /// Port on loopback, or HOST:PORT; when it is taken the next free one is used, 0 takes any
    #[arg(long, alias = "addr", value_name = "PORT", default_value = "8001", value_parser = parse_listen)]
    pub port: SocketAddr,

    /// Requests computed at the same time; memory is taken for those that are used
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub slots: u16,

    /// Tokens of one sequence [default: the model's own, at most 8192]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub context_length: Option<u32>,

    /// Name of this worker at its hive
    #[arg(long, value_name = "ID")]
    pub worker_id: Option<String>,

    /// Model id in the OpenAI API [default: the file's name without its ending]
    #[arg(long, value_name = "REF")]
    pub model_ref: Option<String>,

    /// Where to report readiness
    #[arg(long, value_name = "URL")]
    pub callback_url: Option<http::Uri>,

    /// Unix socket of the hive; without a hive behind it for 50 s the worker drains and exits
    #[arg(long, value_name = "PATH")]
    pub hive_socket: Option<PathBuf>,

    /// What computes: cpu, or cuda or metal where rbee was built with that feature
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    pub backend: String,

    /// Device of the backend
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub device: u32,

    /// Threads that compute [default: one per physical core, for a small model one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// Instructions of the CPU that compute: avx512, avxvnni, avx2, neon or portable [default: the best that this machine has]
    #[arg(long, value_name = "NAME")]
    pub instructions: Option<String>,
}

/// Secrets that come by the environment, never by flags.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// `RBEE_API_KEY`
    pub api_key: Option<Secret>,
    /// `RBEE_NONCE`
    pub nonce: Option<Secret>,
}

impl Secrets {
    /// Looks the variables up; empty ones count as absent.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name| lookup(name).filter(|v| !v.is_empty()).map(Secret::new);
        Self { api_key: get("RBEE_API_KEY"), nonce: get("RBEE_NONCE") }
    }
}

/// Settings that cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("backend {0:?} is not available in this worker; there is: {there_is}", there_is = BACKENDS.join(", "))]
    Backend(String),
    #[error("device {0} of backend cpu does not exist; there is: 0")]
    Device(u32),
    #[error("instructions {name:?} are not available on this machine; there is: {there_is}")]
    Instructions { name: String, there_is: String },
    #[error("--instructions are the CPU's: they do not go with backend {0}")]
    InstructionsOf(String),
    #[error("{0} is not a loopback address: set RBEE_API_KEY, without a key a worker listens on loopback only")]
    NeedsKey(SocketAddr),
    #[error("--callback-url {0}: only http:// URLs with a host are supported")]
    Callback(String),
}

impl ConfigError {
    /// The code that goes with it.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Backend(_) => ErrorCode::BackendNotAvailable,
            Self::Device(_) | Self::Instructions { .. } => ErrorCode::DeviceNotAvailable,
            Self::InstructionsOf(_) | Self::NeedsKey(_) | Self::Callback(_) => ErrorCode::InvalidRequest,
        }
    }

    /// What the process exits with: 2 for wrong usage, 1 for what this machine does not have.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Backend(_) | Self::Device(_) | Self::Instructions { .. } => 1,
            Self::InstructionsOf(_) | Self::NeedsKey(_) | Self::Callback(_) => 2,
        }
    }
}

impl Args {
    /// Makes every choice that was left open. `cores` is the number of physical cores.
    pub fn resolve(self, secrets: Secrets, cores: usize) -> Result<Config, ConfigError> {
        let compute_device = compute_device(&self.backend, self.device, self.instructions.as_deref())?;
        if !self.port.ip().is_loopback() && secrets.api_key.is_none() {
            return Err(ConfigError::NeedsKey(self.port));
        }
        if let Some(url) = &self.callback_url
            && (url.scheme_str() != Some("http") || url.host().is_none())
        {
            return Err(ConfigError::Callback(url.to_string()));
        }
        // A folder's name may have dots that begin no ending.
        let is_file = self.model.extension().is_some_and(|ending| ending == "gguf" || ending == "safetensors");
        let stem = if is_file { self.model.file_stem() } else { self.model.file_name() };
        let stem = stem.map_or_else(|| "model".into(), |s| s.to_string_lossy().into_owned());
        let model_ref = self.model_ref.unwrap_or_else(|| stem.clone());
        Ok(Config {
            worker_id: self.worker_id.unwrap_or(stem),
            model: self.model,
            model_ref,
            listen: self.port,
            slots: usize::from(self.slots),
            context_length: self.context_length,
            threads: self.threads.map_or(cores, usize::from).max(1),
            backend: self.backend,
            device: self.device,
            compute_device,
            api_key: secrets.api_key,
            hive: HiveLink { callback_url: self.callback_url, socket: self.hive_socket, nonce: secrets.nonce },
        })
    }
}

/// Backends that this executable was built with.
const BACKENDS: &[&str] = &[
    "cpu",
    #[cfg(feature = "cuda")]
    "cuda",
    #[cfg(feature = "metal")]
    "metal",
];

fn compute_device(backend: &str, number: u32, instructions: Option<&str>) -> Result<Device, ConfigError> {
    if backend != "cpu" && instructions.is_some() {
        return Err(ConfigError::InstructionsOf(backend.to_owned()));
    }
    match (backend, number) {
        ("cpu", 0) => instructions.map_or(Ok(Device::Cpu), |name| Ok(Device::CpuWith(instruction_set(name)?))),
        ("cpu", other) => Err(ConfigError::Device(other)),
        #[cfg(feature = "cuda")]
        ("cuda", number) => Ok(Device::Cuda(number as usize)),
        #[cfg(feature = "metal")]
        ("metal", number) => Ok(Device::Metal(number as usize)),
        (other, _) => Err(ConfigError::Backend(other.to_owned())),
    }
}

fn instruction_set(name: &str) -> Result<Isa, ConfigError> {
    let all = Isa::available();
    all.iter().copied().find(|isa| isa.name() == name).ok_or_else(|| {
        let there_is = all.iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", ");
        ConfigError::Instructions { name: name.to_owned(), there_is }
    })
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    let text = text.strip_prefix("localhost:").map_or(text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| "expected a port from 0 to 65535, or HOST:PORT with an IP address".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(more: &[&str]) -> Result<Args, clap::Error> {
        Cli::try_parse_from(["worker", "--model", "/m/tiny.Q8_0.gguf"].iter().chain(more)).map(|c| c.args)
    }

    fn key() -> Secrets {
        Secrets::from_env(|name| (name == "RBEE_API_KEY").then(|| "k3y".to_owned()))
    }

    #[test]
    fn what_was_left_open_is_chosen() {
        let config = parse(&[]).unwrap().resolve(Secrets::default(), 4).unwrap();
        assert_eq!((config.model_ref.as_str(), config.worker_id.as_str()), ("tiny.Q8_0", "tiny.Q8_0"));
        assert_eq!((config.listen.to_string().as_str(), config.slots, config.threads), ("127.0.0.1:8001", 8, 4));
        let config = parse(&["--addr", "0.0.0.0:9", "--slots", "64", "--threads", "2"]).unwrap();
        let config = config.resolve(key(), 4).unwrap();
        assert_eq!((config.listen.to_string().as_str(), config.slots, config.threads), ("0.0.0.0:9", 64, 2));
        assert!(!format!("{config:?}").contains("k3y"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for wrong in
            [["--port", "65536"], ["--slots", "0"], ["--slots", "65"], ["--context-length", "0"], ["--threads", "0"]]
        {
            assert!(parse(&wrong).is_err(), "{wrong:?}");
        }
        let refuse = |more: &[&str]| parse(more).unwrap().resolve(Secrets::default(), 1).unwrap_err();
        assert_eq!(refuse(&["--backend", "cuda"]).code(), ErrorCode::BackendNotAvailable);
        assert_eq!(refuse(&["--device", "1"]).code(), ErrorCode::DeviceNotAvailable);
        let of_another = refuse(&["--instructions", "z80"]);
        assert_eq!((of_another.code(), of_another.exit_code()), (ErrorCode::DeviceNotAvailable, 1));
        assert!(of_another.to_string().contains("there is: portable"), "{of_another}");
        let portable = parse(&["--instructions", "portable"]).unwrap().resolve(Secrets::default(), 1).unwrap();
        assert_eq!(portable.compute_device, Device::CpuWith(Isa::Portable));
        assert_eq!(refuse(&["--port", "0.0.0.0:1"]).exit_code(), 2);
        assert!(matches!(refuse(&["--callback-url", "https://h/x"]), ConfigError::Callback(_)));
    }
}
