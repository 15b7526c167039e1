//! The command line and the environment of a worker. Pure: values of the API become single arguments, never words of a
//! shell, and of the hive's own environment only an allow-list goes on.

use std::{
    ffi::{OsStr, OsString},
    net::{IpAddr, SocketAddr},
    path::Path,
};

use crate::{config::WorkerCommand, plan::Desired};

/// Variables that a worker may see besides `RBEE_…`.
const ALLOWED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "RAYON_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
];

/// Parts of a name that mark a secret.
const SECRET: &[&str] = &["TOKEN", "KEY", "SECRET", "PASSWORD", "NONCE"];

/// `RBEE_…` variables that set what the hive sets by arguments.
const OWN: &[&str] = &["RBEE_PORT", "RBEE_HIVE_LISTEN", "RBEE_DATA_DIR", "RBEE_NAME", "RBEE_QUEEN"];

/// What of the hive's own environment a worker gets.
pub fn environment(own: &[(OsString, OsString)]) -> Vec<(OsString, OsString)> {
    own.iter().filter(|(name, _)| name.to_str().is_some_and(is_allowed)).cloned().collect()
}

fn is_allowed(name: &str) -> bool {
    let ours = name.starts_with("RBEE_") && !OWN.contains(&name) && !SECRET.iter().any(|s| name.contains(s));
    ours || ALLOWED.contains(&name)
}

/// Where a worker finds its hive.
#[derive(Clone, Debug)]
pub struct HiveAddress<'a> {
    /// Where its workers listen: where it does itself.
    pub ip: IpAddr,
    pub callback_url: &'a str,
    pub socket: &'a Path,
}

/// The arguments after the executable. Each value is one element together with its flag, so that none can be taken for
/// another flag.
pub fn arguments(
    command: &WorkerCommand,
    desired: &Desired,
    model: &Path,
    port: u16,
    hive: &HiveAddress<'_>,
) -> Vec<OsString> {
    let mut args = command.args.clone();
    let mut flag = |name: &str, value: &OsStr| {
        let mut arg = OsString::from(format!("--{name}="));
        arg.push(value);
        args.push(arg);
    };
    flag("model", model.as_os_str());
    flag("model-ref", desired.model_id.as_ref());
    flag("port", SocketAddr::new(hive.ip, port).to_string().as_ref());
    flag("worker-id", desired.key.name.as_ref());
    flag("slots", desired.slots.to_string().as_ref());
    if let Some(length) = desired.context_length {
        flag("context-length", length.to_string().as_ref());
    }
    flag("backend", desired.backend.to_string().as_ref());
    flag("device", desired.device.to_string().as_ref());
    flag("callback-url", hive.callback_url.as_ref());
    flag("hive-socket", hive.socket.as_os_str());
    args
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::desired;

    #[test]
    fn secrets_and_loader_tricks_stay_behind() {
        let own = [
            "PATH",
            "LD_PRELOAD",
            "RBEE_HOME",
            "RBEE_TOKEN",
            "RBEE_API_KEY",
            "RBEE_NONCE",
            "RBEE_PORT",
            "AWS_SECRET",
            "HF_TOKEN",
            "RUST_LOG",
        ]
        .map(|name| (OsString::from(name), OsString::from("x")));
        let kept: Vec<_> = environment(&own).into_iter().map(|(name, _)| name).collect();
        assert_eq!(kept, ["PATH", "RBEE_HOME", "RUST_LOG"]);
    }

    #[test]
    fn hostile_values_stay_single_arguments() {
        let mut wanted = desired("a");
        wanted.model_id = "x; rm -rf / $(id) --port=1".into();
        let command = WorkerCommand::subcommand_of("/bin/rbee".into());
        let (ip, callback_url) = (IpAddr::from([10, 0, 0, 2]), "http://10.0.0.2:9200/v1/workers/ready");
        let hive = HiveAddress { ip, callback_url, socket: Path::new("/s/hive.sock") };
        let args = arguments(&command, &wanted, Path::new("/m/-model x.gguf"), 8001, &hive);
        assert_eq!(args[0], "worker");
        assert_eq!(args[1], "--model=/m/-model x.gguf");
        assert_eq!(args[2], "--model-ref=x; rm -rf / $(id) --port=1");
        assert!(args.iter().skip(1).all(|a| a.to_str().unwrap().starts_with("--")), "{args:?}");
        let ports: Vec<_> = args.iter().filter(|a| a.to_str().unwrap().starts_with("--port=")).collect();
        assert_eq!(ports, ["--port=10.0.0.2:8001"]);
    }
}
