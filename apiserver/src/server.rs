//! The server as one thing: opened from a configuration, used in process or over TLS.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::{Identity, Role};
use crate::db::{self, Change, Db, Expect, Key, WatchEnd};
use crate::gc;
use crate::http::status::ApiError;
use crate::http::{Caller, Server, Settings, remove, router, serve};
use crate::pki::{Authority, Names, PkiError};
use crate::registry::{Registry, definition};
use crate::store::{memory::MemoryStore, sled::SledStore};
use rbee_wire::token::Token;

const DEFINITIONS: &str = "apiextensions.k8s.io/customresourcedefinitions";

/// How to open a server.
pub struct Config {
    /// Where store, keys and the admin token lie; none keeps everything in memory.
    pub data_dir: Option<PathBuf>,
    /// Kinds that are served from the start.
    pub crds: Vec<CustomResourceDefinition>,
    /// Addresses and host name that the certificate is made for, beside loopback.
    pub names: Names,
    /// Version of the executable, as `/version` shows it.
    pub version: String,
}

/// Why a server cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data dir.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] db::OpenError),
    /// Keys and certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A definition of the configuration is wrong.
    #[error("the definition {name} cannot be served: {why}")]
    Definition {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// What a server needs could not be written.
    #[error("the store does not take what a server needs: {0}")]
    Write(String),
}

/// An open server. It ends with [`ApiServer::close`].
pub struct ApiServer {
    server: Arc<Server>,
    tls: Arc<rustls::ServerConfig>,
    authority: Authority,
    admin: Token,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl ApiServer {
    /// Opens the store, makes what is missing (keys, namespaces, admin token, definitions) and starts the collector.
    ///
    /// # Errors
    /// The data dir cannot be used, is in use by another process, or holds what cannot be read; a definition is wrong.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        let Config { data_dir, crds, names, version } = config;
        let db = match &data_dir {
            Some(dir) => {
                make_dir(dir)?;
                let store = SledStore::open(dir.join("store"), dir.join("export")).map_err(db::OpenError::from)?;
                Db::open(store).await?
            }
            None => Db::open(MemoryStore).await?,
        };
        let pki = data_dir.as_ref().map(|dir| dir.join("pki"));
        let authority = match &pki {
            Some(folder) => Authority::open(folder)?,
            None => Authority::generate()?,
        };
        let tls = authority.server_config(pki.as_deref(), &names)?;
        let definitions = crds.iter().map(to_value).collect::<Result<Vec<_>, _>>()?;
        install(&db, definitions).await?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (publish, registry) = watch::channel(Arc::new(load_registry(&db, &Registry::default())));
        tasks.spawn(follow_definitions(db.clone(), publish, stop.clone()));
        let server = Arc::new(Server::new(Settings {
            db,
            registry,
            version,
            ca_pem: authority.pem().to_string(),
            ca_sha256: authority.spki_sha256(),
        }));
        ensure_namespaces(&server).await?;
        let admin = ensure_admin(&server, data_dir.as_deref(), &authority).await?;
        tasks.spawn(gc::run(server.clone(), stop.clone()));
        let failing = server.clone();
        tasks.spawn({
            let stop = stop.clone();
            async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    reason = failing.db.failed() => {
                        tracing::error!(%reason, "the store failed; the server takes no writes any more");
                        failing.set_failed();
                    }
                }
            }
        });
        Ok(Self { server, tls, authority, admin, stop, tasks })
    }

    /// A router for callers in this process, who are always `identity`. `kube::Client::new(router, "default")` works.
    pub fn router_for(&self, identity: Identity) -> axum::Router {
        router(self.server.clone(), Caller::Always(identity), self.stop.clone())
    }

    /// Serves TLS on a listener until `shutdown`; watches end at once, other requests may finish.
    ///
    /// # Errors
    /// The listener's address cannot be read.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) -> std::io::Result<()> {
        self.server.set_address(serve::address(&listener)?.to_string());
        let router = router(self.server.clone(), Caller::Bearer, shutdown.clone());
        serve::serve(listener, self.tls.clone(), router, shutdown).await;
        Ok(())
    }

    /// The CA's certificate, PEM.
    pub fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// sha256 of the CA's public key (SPKI, DER): the first part of tokens.
    pub fn ca_spki_hash(&self) -> [u8; 32] {
        self.authority.spki_sha256()
    }

    /// The token of the administrator. A secret.
    pub fn admin_token(&self) -> &Token {
        &self.admin
    }

    /// What a person should know about how the store was opened, such as "restored from an export".
    pub fn notice(&self) -> Option<&str> {
        self.server.db.notice()
    }

    /// Resolves with the reason when the store failed: the process has to end and start again.
    pub async fn fatal(&self) -> Arc<str> {
        self.server.db.failed().await
    }

    /// Ends watches and the collector, writes the export, closes the store.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.server.db.close().await;
    }
}

fn make_dir(dir: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|source| OpenError::Io {
        action: "make",
        path: dir.to_path_buf(),
        source,
    })
}

fn to_value(crd: &CustomResourceDefinition) -> Result<Value, OpenError> {
    let name = crd.metadata.name.clone().unwrap_or_default();
    let mut value = serde_json::to_value(crd).map_err(|e| OpenError::Definition { name, why: e.to_string() })?;
    crate::schema::normalise_numbers(&mut value);
    Ok(value)
}

fn now_text() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Stores the definitions of the configuration: new ones are created, changed ones replace the spec that is there.
async fn install(db: &Db, definitions: Vec<Value>) -> Result<(), OpenError> {
    for mut wanted in definitions {
        let name = wanted["metadata"]["name"].as_str().unwrap_or_default().to_string();
        definition::set_defaults(&mut wanted);
        let wrong = definition::validate(&wanted, None);
        if !wrong.is_empty() {
            let why = crate::schema::join_messages(&wrong);
            return Err(OpenError::Definition { name, why });
        }
        let key = Key::new(DEFINITIONS, "", name.as_str());
        let live = db.get(&key);
        let stored = db.list(DEFINITIONS, None);
        let others: Vec<&Value> = stored.items.iter().map(|o| o.value()).collect();
        let next = match &live {
            Some(live) if live.value()["spec"] == wanted["spec"] => continue,
            Some(live) => {
                let mut next = live.value().clone();
                next["spec"] = wanted["spec"].clone();
                let generation = next["metadata"]["generation"].as_i64().unwrap_or(1);
                next["metadata"]["generation"] = (generation + 1).into();
                next
            }
            None => {
                let metadata = &mut wanted["metadata"];
                metadata["uid"] = uuid::Uuid::new_v4().to_string().into();
                metadata["creationTimestamp"] = now_text().into();
                metadata["generation"] = 1.into();
                wanted
            }
        };
        let mut next = next;
        next["apiVersion"] = "apiextensions.k8s.io/v1".into();
        next["kind"] = "CustomResourceDefinition".into();
        definition::settle(&mut next, &others, &now_text());
        let expect = live.as_ref().map_or(Expect::Absent, |l| Expect::Revision(l.revision()));
        db.write(key, expect, Change::Put(next)).await.map_err(|e| OpenError::Write(e.to_string()))?;
    }
    Ok(())
}

fn load_registry(db: &Db, before: &Registry) -> Registry {
    let snapshot = db.list(DEFINITIONS, None);
    Registry::new(snapshot.items, snapshot.revision, before)
}

/// Publishes the kinds anew after each change of a definition.
async fn follow_definitions(db: Db, publish: watch::Sender<Arc<Registry>>, stop: CancellationToken) {
    loop {
        let from = publish.borrow().revision();
        let Ok(mut stream) = db.watch(DEFINITIONS, None, Some(from)) else {
            let before = publish.borrow().clone();
            publish.send_replace(Arc::new(load_registry(&db, &before)));
            continue;
        };
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = stream.next() => event,
            };
            match event {
                Ok(_) => {
                    while let Ok(Some(_)) = stream.try_next() {}
                    let before = publish.borrow().clone();
                    publish.send_replace(Arc::new(load_registry(&db, &before)));
                }
                Err(WatchEnd::Gone(_)) => break,
                Err(WatchEnd::Closed) => return,
            }
        }
    }
}

async fn ensure_namespaces(server: &Server) -> Result<(), OpenError> {
    for name in remove::PERMANENT {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let key = Key::new("namespaces", "", name);
        if server.db.get(&key).is_none() {
            let change = Change::Put(server.dressed(namespace));
            server.db.write(key, Expect::Any, change).await.map_err(|e| OpenError::Write(e.to_string()))?;
        }
    }
    Ok(())
}

/// The administrator's token: the one in `admin.token` while it is good, else a new one.
async fn ensure_admin(server: &Server, dir: Option<&Path>, authority: &Authority) -> Result<Token, OpenError> {
    let path = dir.map(|d| d.join("admin.token"));
    let io = |action: &'static str, path: &Path| {
        let path = path.to_path_buf();
        move |source| OpenError::Io { action, path, source }
    };
    if let Some(path) = path.as_deref() {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let token = Token::parse(text.trim()).ok().filter(|t| *t.ca_sha256() == authority.spki_sha256());
                if let Some(token) = token
                    && server.authenticate(token.reveal()).is_ok_and(|who| *who.role() == Role::Admin)
                {
                    return Ok(token);
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(io("read", path)(e)),
        }
    }
    let token =
        server.issue("admin", &Role::Admin, None, None).await.map_err(|e: ApiError| OpenError::Write(e.message))?;
    if let Some(path) = path.as_deref() {
        write_private(path, token.reveal()).map_err(io("write", path))?;
    }
    Ok(token)
}

/// Writes aside with mode 0600, syncs, renames.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let aside = path.with_extension("tmp");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    std::fs::rename(&aside, path)
}
