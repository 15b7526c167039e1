//! What can be typed: the parts of rbee, and the keeper's verbs beside them.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand};

use rbee_wire::token::Token;

use crate::config::{self, Config};

/// Declarative LLM inference: declare Models and Workers, rbee runs them on one machine, a rack, or Kubernetes.
#[derive(Parser, Debug)]
#[command(name = "rbee", version, propagate_version = true, arg_required_else_help = true, subcommand_required = true)]
#[command(
    after_help = "Every flag can be set by its environment variable, or in config.yaml under RBEE_HOME (default ~/.rbee) by the name that its help gives."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run queen and hive in one process, on this machine, until Ctrl+C
    Up(Up),
    /// Run the controllers, the gateway and, without --kubeconfig, the API server
    Queen(Queen),
    /// Run the node agent of this machine; without --queen it carries queen and API server itself
    Hive(Hive),
    /// Serve one model in this process (hives start it)
    Worker(rbee_worker::Args),
    #[command(flatten)]
    Keeper(rbee_keeper::Command),
}

/// Where the queen listens.
#[derive(Args, Clone, Debug)]
pub struct QueenListen {
    /// Where the gateway answers OpenAI clients; port 0 takes a free one
    #[arg(long, env = "RBEE_GATEWAY_LISTEN", value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub gateway_listen: SocketAddr,
    /// Where the API server answers kubectl, keepers and hives; always TLS; port 0 takes a free one
    #[arg(long, env = "RBEE_API_LISTEN", value_name = "HOST:PORT", default_value = "127.0.0.1:8443")]
    pub api_listen: SocketAddr,
    /// How long the gateway holds a request while a replica starts
    #[arg(long = "hold", env = "RBEE_HOLD", value_name = "DURATION", default_value = "30s")]
    pub hold: rbee_crds::Duration,
    /// A file with the keys that the gateway wants, one a line; needed where it listens off loopback
    #[arg(long, value_name = "FILE")]
    pub gateway_keys_file: Option<PathBuf>,
}

/// What a hive is called and where it listens.
#[derive(Args, Clone, Debug)]
pub struct HiveCommon {
    /// Where the hive's HTTP API listens; port 0 takes a free one
    #[arg(long, env = "RBEE_HIVE_LISTEN", value_name = "HOST:PORT", default_value = "127.0.0.1:9200")]
    pub hive_listen: SocketAddr,
    /// Name of the Hive; the host's name when not given
    #[arg(long, env = "RBEE_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// A label of the Hive; may be given several times
    #[arg(long = "label", env = "RBEE_LABEL", value_name = "KEY=VALUE", value_delimiter = ',')]
    pub labels: Vec<String>,
}

#[derive(Args, Clone, Debug)]
pub struct Up {
    #[command(flatten)]
    pub listen: QueenListen,
    #[command(flatten)]
    pub hive: HiveCommon,
}

/// A cluster's API server in place of the embedded one.
#[derive(Args, Clone, Debug)]
pub struct Cluster {
    /// Kubeconfig file of the cluster whose API server is used
    #[arg(long, env = "RBEE_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, env = "RBEE_CONTEXT", value_name = "NAME", requires = "kubeconfig")]
    pub context: Option<String>,
}

#[derive(Args, Clone, Debug)]
pub struct Queen {
    #[command(flatten)]
    pub listen: QueenListen,
    #[command(flatten)]
    pub cluster: Cluster,
    /// Folder of the store and the keys; RBEE_HOME/queen when not given
    #[arg(long, env = "RBEE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub struct Hive {
    #[command(flatten)]
    pub listen: QueenListen,
    #[command(flatten)]
    pub hive: HiveCommon,
    #[command(flatten)]
    pub cluster: Cluster,
    /// API server of the queen to join, as in https://HOST:8443
    #[arg(long, env = "RBEE_QUEEN", value_name = "URL", conflicts_with = "kubeconfig")]
    pub queen: Option<String>,
    /// Token that `rbee token` printed; needed the first time
    #[arg(long, env = "RBEE_TOKEN", value_name = "TOKEN", hide_env_values = true, requires = "queen", value_parser = Token::parse)]
    pub token: Option<Token>,
    /// File with that token
    #[arg(long, env = "RBEE_TOKEN_FILE", value_name = "FILE", requires = "queen", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Folder of models, logs and run state; RBEE_HOME/hive when not given
    #[arg(long, env = "RBEE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// The arguments with the part's name put in where the program was called by one of its other names.
pub fn by_name(mut args: Vec<String>) -> Vec<String> {
    let called = args.first().and_then(|a| a.rsplit('/').next()).unwrap_or_default();
    let part = match called {
        "queen-rbee" => "queen",
        "rbee-hive" => "hive",
        "llm-worker-rbee" => "worker",
        _ => return args,
    };
    if part == "hive" && args.get(1).is_some_and(|a| a == "daemon") {
        args.remove(1);
    }
    args.insert(1, part.to_owned());
    args
}

/// The whole command line, dressed with environment variables and the values of config.yaml.
pub fn command(values: &Config, file: &std::path::Path) -> anyhow::Result<clap::Command> {
    config::apply(Cli::command(), values, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(args: &[&str]) -> Vec<String> {
        by_name(args.iter().map(|a| (*a).to_owned()).collect())
    }

    #[test]
    fn links_are_their_part() {
        assert_eq!(named(&["/usr/bin/queen-rbee", "--help"])[1..], ["queen", "--help"]);
        assert_eq!(named(&["rbee-hive", "daemon", "--name", "a"])[1..], ["hive", "--name", "a"]);
        assert_eq!(named(&["llm-worker-rbee", "--version"])[1..], ["worker", "--version"]);
        assert_eq!(named(&["rbee-keeper", "apply"])[1..], ["apply"]);
    }

    #[test]
    fn the_command_line_is_sound() {
        command(&Config::new(), std::path::Path::new("config.yaml")).unwrap().debug_assert();
    }
}
