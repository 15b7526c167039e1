//! Joining a queen over the network: the CA by the token's word, then an identity of this hive's own by the token.

use std::{path::PathBuf, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use k8s_openapi::api::{authentication::v1::TokenRequest, core::v1::ServiceAccount};
use kube::{Api, Client, Config as KubeConfig, api::PostParams};
use rbee_crds::{Hive, names};
use rbee_wire::token::Token;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    bearer_auth,
    ca::{self, CaError},
    identity::{self, Identity},
};
use crate::{
    causes::{innermost, words},
    paths::DataDir,
};

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Asked for; the server may give another span.
const IDENTITY_SECONDS: i64 = 365 * 24 * 3600;

/// Why a queen cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error("{url} is no address of a queen: give it as https://HOST:PORT")]
    Url { url: String },
    #[error(
        "no token and no identity of hive {hive} at {url}: make a token with `rbee token` and give it with --token"
    )]
    NoToken { url: String, hive: String },
    #[error("{url} is not believed: {source}")]
    Ca { url: String, source: CaError },
    #[error("{url} refuses the token for hive {hive} ({message}): make another one with `rbee token`")]
    Refused { url: String, hive: String, message: String },
    #[error("the queen at {url} has version {theirs}, this hive {ours}: upgrade the older one")]
    Version { url: String, ours: String, theirs: String },
    #[error("cannot keep the identity")]
    Keep(#[source] std::io::Error),
    #[error("stopped while waiting for {url}: {message}")]
    Stopped { url: String, message: String },
    #[error("{url} does not answer: {message}")]
    Unreachable { url: String, message: String },
}

impl JoinError {
    /// Whether another try may succeed by itself.
    fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// A hive that has joined.
pub struct Joined {
    pub config: KubeConfig,
    pub renewal: Option<Renewal>,
}

/// Keeps the identity fresh.
pub struct Renewal {
    identity: Identity,
    path: PathBuf,
    token_path: PathBuf,
}

/// Takes up the kept identity, or gets one with the token; tries until the queen answers or `shutdown`.
pub async fn join(
    queen_url: &str,
    token: Option<Token>,
    hive: &str,
    data: &DataDir,
    shutdown: &CancellationToken,
) -> Result<Joined, JoinError> {
    let url = queen_url.trim_end_matches('/');
    if !url.starts_with("https://") {
        return Err(JoinError::Url { url: url.to_owned() });
    }
    let mut wait = Duration::from_millis(250);
    loop {
        let error = match attempt(url, token.as_ref(), hive, data).await {
            Ok(joined) => return Ok(joined),
            Err(e) if e.is_passing() => e,
            Err(e) => return Err(e),
        };
        tracing::warn!("{error}; trying again");
        tokio::select! {
            () = shutdown.cancelled() => {
                return Err(JoinError::Stopped { url: url.to_owned(), message: error.to_string() });
            }
            () = tokio::time::sleep(wait.mul_f64(0.5 + rand::random::<f64>())) => {}
        }
        wait = (wait * 2).min(Duration::from_secs(10));
    }
}

async fn attempt(url: &str, token: Option<&Token>, hive: &str, data: &DataDir) -> Result<Joined, JoinError> {
    let (path, token_path) = (data.identity(), data.identity_token());
    let kept = identity::read(&path).filter(|i| i.hive == hive && i.queen_url == url && i.is_valid(Timestamp::now()));
    let kept = match kept {
        Some(kept) => still_good(kept).await,
        None => None,
    };
    let identity = match (kept, token) {
        (Some(identity), _) => identity,
        (None, None) => return Err(JoinError::NoToken { url: url.to_owned(), hive: hive.to_owned() }),
        (None, Some(token)) => trade(url, token, hive).await?,
    };
    identity::write(&path, &token_path, &identity).map_err(JoinError::Keep)?;
    let mut config = config(&identity)?;
    match check_version(&config, url).await {
        // A hive that is known goes on with its workers while the queen is away.
        Err(e) if e.is_passing() => tracing::warn!("{e}; going on with the identity that is known"),
        other => other?,
    }
    config.auth_info = serde_json::from_value(json!({"tokenFile": token_path}))
        .map_err(|e| JoinError::Keep(std::io::Error::other(e)))?;
    let renewal = identity.expires.is_some().then_some(Renewal { identity, path, token_path });
    Ok(Joined { config, renewal })
}

/// The kept identity, unless the queen refuses it. A queen that does not answer refuses nothing.
async fn still_good(kept: Identity) -> Option<Identity> {
    match is_accepted(&kept).await {
        Ok(false) => {
            tracing::info!("the queen does not know this hive's identity any more; joining anew");
            None
        }
        Ok(true) | Err(_) => Some(kept),
    }
}

/// The CA that the token names, then an identity bound to this hive's name.
async fn trade(url: &str, token: &Token, hive: &str) -> Result<Identity, JoinError> {
    let ca = fetch_ca(url, token).await?;
    let ca = ca.iter().map(|der| STANDARD.encode(der)).collect();
    let (queen_url, hive) = (url.to_owned(), hive.to_owned());
    let bootstrap = token.reveal().to_owned();
    let mut identity = Identity { hive, queen_url, ca, token: bootstrap, issued: Timestamp::now(), expires: None };
    renew(&mut identity).await?;
    Ok(identity)
}

/// Asks for the CA over a connection that nothing is known of yet, and sends nothing over it that is worth keeping.
async fn fetch_ca(url: &str, token: &Token) -> Result<Vec<Vec<u8>>, JoinError> {
    let unreachable = |e: reqwest::Error| JoinError::Unreachable { url: url.to_owned(), message: innermost(&e) };
    let client = reqwest::Client::builder()
        .danger_accept_invalid_certs(true)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(LIMIT)
        .build()
        .map_err(unreachable)?;
    let answer = client.get(format!("{url}/cacerts")).send().await.map_err(unreachable)?;
    let answer = answer.error_for_status().map_err(unreachable)?;
    let pem = answer.bytes().await.map_err(unreachable)?;
    ca::pinned(&pem, token.ca_sha256()).map_err(|source| JoinError::Ca { url: url.to_owned(), source })
}

/// Trades the identity's token for a fresh one.
async fn renew(identity: &mut Identity) -> Result<(), JoinError> {
    let url = identity.queen_url.clone();
    let client = Client::try_from(config(identity)?).map_err(|e| failed(&url, &identity.hive, e))?;
    let api: Api<ServiceAccount> = Api::namespaced(client, names::SYSTEM_NAMESPACE);
    let request: TokenRequest = serde_json::from_value(json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "metadata": {},
        "spec": {"audiences": [], "expirationSeconds": IDENTITY_SECONDS},
    }))
    .map_err(|e| JoinError::Keep(std::io::Error::other(e)))?;
    let name = format!("hive-{}", identity.hive);
    let issued = Timestamp::now();
    let answer =
        limited(api.create_token_request(&name, &PostParams::default(), &request), &url, &identity.hive).await?;
    let (token, expires) = answer.status.map_or((None, None), |s| (s.token, s.expiration_timestamp));
    let Some(token) = token.filter(|t| !t.is_empty()) else {
        return Err(JoinError::Unreachable { url, message: "its answer to the TokenRequest holds no token".into() });
    };
    (identity.token, identity.issued, identity.expires) = (token, issued, expires.map(|e| e.0));
    Ok(())
}

/// Whether the queen lets the identity in.
async fn is_accepted(identity: &Identity) -> Result<bool, JoinError> {
    let url = &identity.queen_url;
    let client = Client::try_from(config(identity)?).map_err(|e| failed(url, &identity.hive, e))?;
    let api: Api<Hive> = Api::all(client);
    match limited(api.get_opt(&identity.hive), url, &identity.hive).await {
        Ok(_) => Ok(true),
        Err(JoinError::Refused { .. }) => Ok(false),
        Err(e) if is_tls(&e) => Ok(false),
        Err(e) => Err(e),
    }
}

/// The server has another certificate than this identity's CA vouches for.
fn is_tls(error: &JoinError) -> bool {
    matches!(error, JoinError::Unreachable { message, .. } if message.contains("certificate"))
}

async fn check_version(config: &KubeConfig, url: &str) -> Result<(), JoinError> {
    let client = Client::try_from(config.clone()).map_err(|e| failed(url, "", e))?;
    let info = limited(client.apiserver_version(), url, "").await?;
    let ours = env!("CARGO_PKG_VERSION");
    // A real Kubernetes server has no version of ours; then the queen compares.
    let Some(theirs) = info.git_version.split_once("rbee").map(|(_, v)| v.trim_matches(|c: char| !c.is_ascii_digit()))
    else {
        return Ok(());
    };
    let line = |v: &str| v.split('.').take(2).map(str::to_owned).collect::<Vec<_>>();
    if line(ours) == line(theirs) {
        return Ok(());
    }
    Err(JoinError::Version { url: url.to_owned(), ours: ours.to_owned(), theirs: theirs.to_owned() })
}

async fn limited<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
    url: &str,
    hive: &str,
) -> Result<T, JoinError> {
    match tokio::time::timeout(LIMIT, request).await {
        Ok(answer) => answer.map_err(|e| failed(url, hive, e)),
        Err(_) => Err(JoinError::Unreachable { url: url.to_owned(), message: "timed out".into() }),
    }
}

fn failed(url: &str, hive: &str, error: kube::Error) -> JoinError {
    match &error {
        kube::Error::Api(status) if matches!(status.code, 401 | 403) => {
            JoinError::Refused { url: url.to_owned(), hive: hive.to_owned(), message: status.message.clone() }
        }
        _ => JoinError::Unreachable { url: url.to_owned(), message: words(&error) },
    }
}

/// A client configuration that believes this identity's CA and no other.
fn config(identity: &Identity) -> Result<KubeConfig, JoinError> {
    let url = identity.queen_url.parse().map_err(|_| JoinError::Url { url: identity.queen_url.clone() })?;
    let mut config = KubeConfig::new(url);
    config.root_cert = Some(identity.ca.iter().filter_map(|der| STANDARD.decode(der).ok()).collect());
    config.connect_timeout = Some(LIMIT);
    config.auth_info = bearer_auth(&identity.token).map_err(|e| JoinError::Keep(std::io::Error::other(e)))?;
    Ok(config)
}

impl Renewal {
    /// Renews the identity in time, until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        while let Some(at) = self.identity.renew_at() {
            // Never more often than every ten seconds, however short an identity lives.
            let wait = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(wait.max(Duration::from_secs(10))) => {}
            }
            let mut fresh = self.identity.clone();
            let renewed = renew(&mut fresh).await;
            let kept =
                renewed.and_then(|()| identity::write(&self.path, &self.token_path, &fresh).map_err(JoinError::Keep));
            match kept {
                Ok(()) => self.identity = fresh,
                Err(e) => tracing::warn!("the hive's identity could not be renewed, trying again: {e}"),
            }
        }
    }
}
