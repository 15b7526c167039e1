//! Which API server a command talks to: the one that was named, else the running queen of RBEE_HOME, else KUBECONFIG.

use std::{
    fmt, fs,
    fs::TryLockError,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde::Deserialize;

use crate::{
    bootstrap,
    context::Context,
    error::{Error, chain},
    server::Server,
};

/// A value that appears in no Debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Flags that name an API server.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectArgs {
    /// Kubeconfig file of the server to use
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// URL of a queen's API server, as in https://HOST:8443
    #[arg(long, value_name = "URL")]
    pub queen: Option<String>,
    /// Token for it
    #[arg(long, value_name = "TOKEN", hide_env_values = true)]
    pub token: Option<Secret>,
    /// Used when no queen runs and no server is named
    #[arg(long, value_name = "FILES", env = "KUBECONFIG", hide = true)]
    pub default_kubeconfig: Option<String>,
}

/// The namespace of a command.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct NamespaceArg {
    /// Namespace of the objects
    #[arg(short = 'n', long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
}

/// `queen.json`: where a running queen of this home answers.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueenFile {
    pub api_url: Option<String>,
    pub gateway_url: Option<String>,
}

/// A server that was found, not yet spoken to.
#[derive(Clone)]
pub struct Target {
    pub client: kube::Client,
    /// The namespace of objects that name none.
    pub namespace: String,
    /// URL and where it came from.
    pub name: String,
    pub url: String,
    /// Whether it is on this machine.
    pub local: bool,
    /// The gateway beside it, where known.
    pub gateway: Option<String>,
    /// The server's CA in PEM, where known.
    pub ca_pem: Option<String>,
    /// The bearer token, where one is used.
    pub token: Option<Secret>,
}

impl Target {
    pub fn server(&self) -> Server {
        Server::new(self.client.clone())
    }

    /// Names a server that is not local, before something is written to it.
    pub fn announce(&self, context: &Context) {
        if !self.local {
            context.err.note(&format!("using {}", self.name));
        }
    }
}

/// Finds the server for a command.
///
/// # Errors
/// [`Error::NoServer`] where nothing runs and nothing is named; [`Error::Failed`] where what is named cannot be used.
pub async fn connect(args: &ConnectArgs, context: &Context) -> Result<Target, Error> {
    if let Some(client) = &context.client {
        return Ok(Target {
            client: client.clone(),
            namespace: client.default_namespace().to_owned(),
            name: "the API server in this process".into(),
            url: "https://127.0.0.1".into(),
            local: true,
            gateway: None,
            ca_pem: None,
            token: None,
        });
    }
    if let Some(file) = &args.kubeconfig {
        return kubeconfig(std::slice::from_ref(file), args.context.as_deref(), "--kubeconfig").await;
    }
    if let Some(url) = &args.queen {
        return by_token(url, args.token.as_ref()).await;
    }
    if let Some(target) = running_queen(&context.home, args.token.as_ref()).await? {
        return Ok(target);
    }
    if let Some(files) = args.default_kubeconfig.as_deref().filter(|f| !f.is_empty()) {
        let files: Vec<PathBuf> = std::env::split_paths(files).collect();
        return kubeconfig(&files, args.context.as_deref(), "KUBECONFIG").await;
    }
    Err(Error::NoServer(format!(
        "no queen is running with {} as its home: start one with `rbee up`, or name a server with --queen URL --token T or --kubeconfig FILE",
        context.home.display()
    )))
}

async fn kubeconfig(files: &[PathBuf], context: Option<&str>, source: &str) -> Result<Target, Error> {
    let mut merged = Kubeconfig::default();
    for file in files {
        let failed = |e: kube::config::KubeconfigError| {
            Error::failed(format!("cannot use the kubeconfig {} ({source}): {}", file.display(), chain(&e)))
        };
        merged = merged.merge(Kubeconfig::read_from(file).map_err(failed)?).map_err(failed)?;
    }
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(merged, &options)
        .await
        .map_err(|e| Error::failed(format!("cannot use the kubeconfig ({source}): {}", chain(&e))))?;
    target(config, source, None, None)
}

/// A queen known by its URL; its CA is the one that the token vouches for.
async fn by_token(url: &str, token: Option<&Secret>) -> Result<Target, Error> {
    let token = token.ok_or_else(|| {
        Error::usage("--queen needs --token: print one with `rbee token --role admin` where the queen runs")
    })?;
    let ca_pem = bootstrap::ca_of(url, token.reveal()).await.map_err(|e| Error::failed(e.to_string()))?;
    target(config(url, &ca_pem, token)?, "--queen", Some(ca_pem), Some(token.clone()))
}

/// The queen that runs with this home, if one does.
async fn running_queen(home: &Path, token: Option<&Secret>) -> Result<Option<Target>, Error> {
    let folder = home.join("queen");
    let Some(file) = queen_file(&folder).await? else { return Ok(None) };
    let Some(url) = &file.api_url else { return Ok(None) };
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path)
            .map_err(|e| Error::failed(format!("a queen runs, and {} cannot be read: {e}", path.display())))
    };
    if !folder.join("pki/ca.crt").exists() {
        // It serves no API itself: it works on another server's.
        return Ok(None);
    }
    let ca_pem = read("pki/ca.crt")?;
    let token = match token {
        Some(token) => token.clone(),
        None => Secret(read("admin.token")?.trim().to_owned()),
    };
    let mut target = target(config(url, &ca_pem, &token)?, "the queen of this home", Some(ca_pem), Some(token))?;
    target.local = true;
    target.gateway = file.gateway_url;
    Ok(Some(target))
}

/// What a running queen says of itself. One that is just starting gets some seconds to say it.
async fn queen_file(folder: &Path) -> Result<Option<QueenFile>, Error> {
    let path = folder.join("queen.json");
    for _ in 0..100 {
        if !is_locked(&folder.join("queen.lock")) {
            return Ok(None);
        }
        match fs::read(&path) {
            Ok(bytes) => {
                let read = serde_json::from_slice(&bytes);
                return read.map(Some).map_err(|e| Error::failed(format!("{} cannot be read: {e}", path.display())));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    Err(Error::failed(format!("a queen runs with this home, and has not written {} within 5 s", path.display())))
}

/// Whether a process holds the lock file.
fn is_locked(path: &Path) -> bool {
    let Ok(file) = fs::File::open(path) else { return false };
    match file.try_lock_shared() {
        Ok(()) => false,
        Err(TryLockError::WouldBlock) => true,
        Err(TryLockError::Error(_)) => false,
    }
}

fn config(url: &str, ca_pem: &str, token: &Secret) -> Result<Config, Error> {
    let uri = url.parse::<http::Uri>().map_err(|e| Error::usage(format!("--queen: {url:?} is no URL: {e}")))?;
    let mut config = Config::new(uri);
    config.root_cert = Some(bootstrap::certificates(ca_pem).map_err(|e| Error::failed(e.to_string()))?);
    config.auth_info = serde_json::from_value(serde_json::json!({"token": token.reveal()}))
        .map_err(|e| Error::failed(format!("the token cannot be used: {e}")))?;
    Ok(config)
}

fn target(mut config: Config, source: &str, ca_pem: Option<String>, token: Option<Secret>) -> Result<Target, Error> {
    config.connect_timeout = Some(Duration::from_secs(10));
    let url = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let local = config.cluster_url.host().is_some_and(is_loopback);
    let namespace = config.default_namespace.clone();
    let client =
        kube::Client::try_from(config).map_err(|e| Error::failed(format!("cannot talk to {url}: {}", chain(&e))))?;
    let name = format!("the API server {url} ({source})");
    Ok(Target { client, namespace, name, url, local, gateway: None, ca_pem, token })
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|a| a.is_loopback())
}

/// A kubeconfig for kubectl: server, CA and token in one file.
pub fn kubeconfig_for(url: &str, ca_pem: &str, token: &Secret, namespace: &str) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "rbee", "cluster": {"certificate-authority-data": BASE64.encode(ca_pem), "server": url}}],
        "users": [{"name": "rbee", "user": {"token": token.reveal()}}],
        "contexts": [{"name": "rbee", "context": {"cluster": "rbee", "namespace": namespace, "user": "rbee"}}],
        "current-context": "rbee",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Secret::from("abc")), "Secret(…)");
    }

    #[test]
    fn loopback_is_local() {
        for (host, local) in
            [("localhost", true), ("127.0.0.1", true), ("[::1]", true), ("10.0.0.1", false), ("a.b", false)]
        {
            assert_eq!(is_loopback(host), local, "{host}");
        }
    }

    #[tokio::test]
    async fn a_home_without_a_held_lock_has_no_queen() {
        let home = tempfile::tempdir().unwrap();
        assert!(running_queen(home.path(), None).await.unwrap().is_none());
        let folder = home.path().join("queen");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("queen.json"), r#"{"apiUrl":"https://127.0.0.1:1","gatewayUrl":"http://127.0.0.1:2"}"#)
            .unwrap();
        fs::write(folder.join("queen.lock"), "").unwrap();
        assert!(queen_file(&folder).await.unwrap().is_none(), "the lock is not held: the file is a dead queen's");
        let held = fs::File::open(folder.join("queen.lock")).unwrap();
        held.lock().unwrap();
        let file = queen_file(&folder).await.unwrap().unwrap();
        assert_eq!(file.api_url.as_deref(), Some("https://127.0.0.1:1"));
    }

    #[test]
    fn a_kubeconfig_has_all_that_kubectl_needs() {
        let config = kubeconfig_for("https://127.0.0.1:8443", "PEM", &"t".into(), "default");
        assert_eq!(config["clusters"][0]["cluster"]["certificate-authority-data"], "UEVN");
        assert_eq!(config["users"][0]["user"]["token"], "t");
    }
}
