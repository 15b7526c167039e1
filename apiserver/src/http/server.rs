//! What every handler shares: database, kinds, clock, tokens.

use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tokio::sync::watch;

use super::request::Call;
use super::status::{ApiError, ApiResult};
use crate::auth::{AuthError, Identity, Role, authenticate, tokens};
use crate::db::{Change, Db, Expect, Key, Object};
use crate::registry::{Builtin, Registry, Resource};
use rbee_wire::token::Token;

/// Years that a hive's own token lasts when the request names no time.
const HIVE_TOKEN_DAYS: i64 = 3650;

/// How a server is put together.
pub struct Settings {
    /// The database.
    pub db: Db,
    /// The kinds, kept up to date by the registry's task.
    pub registry: watch::Receiver<Arc<Registry>>,
    /// Version of the executable.
    pub version: String,
    /// The CA's certificate, PEM.
    pub ca_pem: String,
    /// sha256 of the CA's public key, which tokens carry.
    pub ca_sha256: [u8; 32],
}

/// Everything that handlers need.
pub struct Server {
    /// The database.
    pub db: Db,
    registry: watch::Receiver<Arc<Registry>>,
    version: String,
    ca_pem: String,
    ca_sha256: [u8; 32],
    address: OnceLock<String>,
    failed: OnceLock<()>,
}

/// A token that was made.
pub struct Issued {
    /// The token; shown once.
    pub token: String,
    /// When it ends.
    pub expires: jiff::Timestamp,
}

impl Server {
    /// A server over these parts.
    pub fn new(settings: Settings) -> Self {
        let Settings { db, registry, version, ca_pem, ca_sha256 } = settings;
        Self { db, registry, version, ca_pem, ca_sha256, address: OnceLock::new(), failed: OnceLock::new() }
    }

    /// The kinds at this moment.
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.borrow().clone()
    }

    /// Follows the kinds.
    pub(crate) fn registry_watch(&self) -> watch::Receiver<Arc<Registry>> {
        let mut receiver = self.registry.clone();
        receiver.mark_unchanged();
        receiver
    }

    pub(super) fn registry_receiver(&self) -> watch::Receiver<Arc<Registry>> {
        self.registry.clone()
    }

    /// After a definition was written: waits until its kinds are served.
    pub(super) async fn settled(&self, resource: &Resource, revision: u64) {
        if resource.builtin == Some(Builtin::Definition) {
            let mut registry = self.registry.clone();
            let _ = registry.wait_for(|r| r.revision() >= revision).await;
        }
    }

    /// The time.
    pub fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }

    /// The time as Kubernetes writes it: RFC 3339 in whole seconds.
    pub fn now_text(&self) -> String {
        self.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    pub(super) fn uid(&self) -> String {
        uuid::Uuid::new_v4().to_string()
    }

    /// The five letters that end a generated name.
    pub(super) fn suffix(&self) -> String {
        use rand::seq::IndexedRandom as _;
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let mut rng = rand::rng();
        (0..5).filter_map(|_| LETTERS.choose(&mut rng)).map(|b| char::from(*b)).collect()
    }

    pub(super) fn random_below(&self, end: u64) -> u64 {
        rand::random_range(0..end)
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// `HOST:PORT` of the listener, once there is one.
    pub(super) fn address(&self) -> String {
        self.address.get().cloned().unwrap_or_else(|| "localhost".into())
    }

    pub(crate) fn set_address(&self, address: String) {
        let _ = self.address.set(address);
    }

    pub(super) fn failed(&self) -> bool {
        self.failed.get().is_some()
    }

    pub(crate) fn set_failed(&self) {
        let _ = self.failed.set(());
    }

    /// The namespace that a call is limited to.
    pub(super) fn scope<'a>(&self, call: &'a Call) -> Option<&'a str> {
        let namespace = call.namespace();
        (!namespace.is_empty()).then_some(namespace)
    }

    /// The object that a call names, or 404.
    pub(super) fn find(&self, call: &Call) -> ApiResult<Arc<Object>> {
        let key = Key::new(call.resource.stored_as.clone(), call.namespace(), call.path.name.as_str());
        self.db.get(&key).ok_or_else(|| ApiError::not_found(call.resource.qualified(), &call.path.name))
    }

    /// Who holds a bearer token.
    pub fn authenticate(&self, bearer: &str) -> Result<Identity, AuthError> {
        let secret = |name: &str| {
            let key = Key::new("secrets", tokens::NAMESPACE, name);
            self.db.get(&key).map(|object| object.value().clone())
        };
        authenticate(bearer, self.now(), secret)
    }

    /// Makes a token and stores what lets it in. `subject` is the Hive that it is bound to.
    pub async fn issue(
        &self,
        id: &str,
        role: &Role,
        subject: Option<&str>,
        expires: Option<jiff::Timestamp>,
    ) -> ApiResult<Token> {
        let token = Token::mint(self.ca_sha256, id, rand::random()).map_err(ApiError::internal)?;
        let secret = self.dressed(tokens::secret(&token, role, subject, expires));
        let key = Key::new("secrets", tokens::NAMESPACE, tokens::secret_name(id));
        match self.db.write(key, Expect::Any, Change::Put(secret)).await {
            Ok(_) => Ok(token),
            Err(e) => Err(ApiError::unavailable(e.to_string())),
        }
    }

    /// Gives an object made by the server itself what a create gives.
    pub(crate) fn dressed(&self, mut object: Value) -> Value {
        let metadata = super::meta::of_mut(&mut object);
        metadata.insert("uid".into(), self.uid().into());
        metadata.insert("creationTimestamp".into(), self.now_text().into());
        object
    }

    pub(super) async fn issue_hive_token(&self, hive: &str, seconds: Option<i64>) -> ApiResult<Issued> {
        let lasts = jiff::SignedDuration::from_secs(seconds.unwrap_or(HIVE_TOKEN_DAYS * 86_400));
        let expires =
            self.now().checked_add(lasts).map_err(|_| ApiError::bad_request("expirationSeconds is too large"))?;
        let random = self.uid();
        let hash = &hex::encode(<sha2::Sha256 as sha2::Digest>::digest(hive))[..8];
        let id = format!("hive-{hash}-{}", &random[..8]);
        let token = self.issue(&id, &Role::Hive, Some(hive), Some(expires)).await?;
        Ok(Issued { token: token.reveal().to_string(), expires })
    }
}
