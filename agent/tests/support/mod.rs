//! What the tests of a whole hive share: an API server, a hive in this process, waits with a deadline.

pub mod worker;

use std::{
    fmt::Debug,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::NamespaceResourceScope,
    discovery::ApiResource,
};
use rbee_agent::{CallerClients, ClientSource, Config, Timing, WorkerCommand};
use rbee_apiserver::{ApiServer, Identity, Role, auth::tokens, pki::Names};
use rbee_crds::{Assignment, names};
use rbee_wire::token::Token;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Waits until `probe` yields something.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut probe: impl FnMut() -> F) -> T {
    let waiting = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap_or_else(|_| panic!("no {what} within 60 s"))
}

/// Whether a process lives; a zombie does not.
pub fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

pub fn kill(pid: u32, signal: i32) {
    // SAFETY: a signal to a process that this test started.
    assert_eq!(unsafe { libc::kill(i32::try_from(pid).unwrap(), signal) }, 0);
}

/// An API server with our kinds: the embedded one, or the one that `RBEE_TEST_KUBECONFIG` names.
pub struct Server {
    pub client: Client,
    pub embedded: Option<Embedded>,
}

/// The embedded server, in memory, listening on a free port.
pub struct Embedded {
    pub server: Arc<ApiServer>,
    pub url: String,
    stop: CancellationToken,
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Embedded {
    async fn start() -> Self {
        let names = Names { addresses: vec![], host_name: None };
        let config = rbee_apiserver::Config { data_dir: None, crds: rbee_crds::all(), names, version: "0.1.0".into() };
        let server = Arc::new(ApiServer::open(config).await.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let (serving, stopping) = (server.clone(), stop.clone());
        tokio::spawn(async move { serving.serve(listener, stopping).await });
        Self { server, url, stop }
    }

    /// A token that lets hives join.
    pub async fn hive_token(&self, client: &Client) -> Token {
        let token = Token::mint(self.server.ca_spki_hash(), "joining", [7; 32]).unwrap();
        let secret: Secret = serde_json::from_value(tokens::secret(&token, &Role::Hive, None, None)).unwrap();
        let api: Api<Secret> = Api::namespaced(client.clone(), names::SYSTEM_NAMESPACE);
        api.create(&PostParams::default(), &secret).await.unwrap();
        token
    }
}

impl Server {
    pub async fn start() -> Self {
        // Shown when a test fails; the first test of the process sets it up for all.
        let _ = tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::INFO).try_init();
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let Some(path) = std::env::var_os("RBEE_TEST_KUBECONFIG") else {
            let embedded = Embedded::start().await;
            let client = Client::new(embedded.server.router_for(Identity::system("test")), "default");
            return Self { client, embedded: Some(embedded) };
        };
        let file = kube::config::Kubeconfig::read_from(path).unwrap();
        let config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await.unwrap();
        let server = Self { client: Client::try_from(config).unwrap(), embedded: None };
        server.install().await;
        server
    }

    /// How a hive of this name acts in this process.
    fn client_of(&self, hive: &str) -> Client {
        match &self.embedded {
            Some(embedded) => Client::new(embedded.server.router_for(Identity::hive(hive)), "default"),
            None => self.client.clone(),
        }
    }

    /// How the hive acts for its callers.
    fn callers(&self) -> CallerClients {
        let Some(embedded) = &self.embedded else {
            let client = self.client.clone();
            return Arc::new(move |_: &str| Ok(client.clone()));
        };
        let mut config = kube::Config::new(embedded.url.parse().unwrap());
        let ca = CertificateDer::from_pem_slice(embedded.server.ca_pem().as_bytes()).unwrap();
        config.root_cert = Some(vec![ca.to_vec()]);
        rbee_agent::join::callers_of(&config).unwrap()
    }

    async fn install(&self) {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": names::SYSTEM_NAMESPACE}});
        let mut objects = rbee_crds::to_json();
        objects.push(namespace);
        for object in objects {
            let object: DynamicObject = serde_json::from_value(object).unwrap();
            let name = object.metadata.name.clone().unwrap();
            let resource = resource_of(&object);
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
            api.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(&object)).await.unwrap();
        }
        until("served kinds", || async { self.all::<rbee_crds::Hive>().list(&Default::default()).await.ok() }).await;
    }

    pub fn all<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    pub fn namespaced<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), "default")
    }

    pub fn in_system<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), names::SYSTEM_NAMESPACE)
    }

    pub async fn create(&self, object: Value) {
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let resource = resource_of(&object);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), "default", &resource);
        api.create(&PostParams::default(), &object).await.unwrap();
    }

    pub async fn worker_key(&self, worker: &str, key: &str) {
        let name = names::worker_key_secret(worker);
        let body =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"key": key}});
        let api: Api<Secret> = self.namespaced();
        api.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(body)).await.unwrap();
    }

    pub async fn delete<K>(&self, name: &str)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let _ = self.namespaced::<K>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Deletes an Assignment whatever holds it.
    pub async fn delete_finally(&self, name: &str) {
        let api: Api<Assignment> = self.namespaced();
        let free = json!({"metadata": {"finalizers": null}});
        let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(free)).await;
        if patched.is_ok() {
            // It is gone already if it was being deleted.
            let _ = api.delete(name, &DeleteParams::default()).await;
        }
    }

    /// A token that may everything, where tokens can be had.
    pub fn admin_token(&self) -> Option<String> {
        self.embedded.as_ref().map(|e| e.server.admin_token().reveal().to_owned())
    }
}

fn resource_of(object: &DynamicObject) -> ApiResource {
    let types = object.types.as_ref().unwrap();
    let (group, version) = types.api_version.split_once('/').unwrap_or(("", &types.api_version));
    ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(group, version, &types.kind))
}

/// A hive in this process.
pub struct Hiving {
    address: String,
    shutdown: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Hiving {
    /// A hive whose workers are this executable.
    pub async fn start(server: &Server, name: &str, data_dir: &Path) -> Self {
        Self::with_worker(server, name, data_dir, std::env::current_exe().unwrap()).await
    }

    pub async fn with_worker(server: &Server, name: &str, data_dir: &Path, exe: PathBuf) -> Self {
        let client = ClientSource::Given { client: server.client_of(name), callers: server.callers() };
        Self::with(name, data_dir, exe, client).await
    }

    pub async fn with(name: &str, data_dir: &Path, exe: PathBuf, client: ClientSource) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let args = ["--exact", "fake_worker", "--ignored", "--nocapture", "--"];
        let config = Config {
            name: name.to_owned(),
            data_dir: data_dir.to_owned(),
            models_dir: None,
            labels: [("color".to_owned(), "green".to_owned())].into(),
            client,
            listener,
            worker: WorkerCommand { exe, args: args.map(Into::into).to_vec() },
            environment: vec![],
            stop_workers: true,
            first_worker_port: 18_001,
            timing: Timing {
                model_check: Duration::from_millis(300),
                heartbeat: Duration::from_secs(1),
                ..Timing::default()
            },
        };
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(rbee_agent::run(config, shutdown.clone()));
        Self { address, shutdown, running }
    }

    pub fn url(&self) -> String {
        self.address.clone()
    }

    /// Ends it in good order.
    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(50), self.running).await.unwrap().unwrap().unwrap();
    }

    /// Waits for an end that nobody asked for, and why.
    pub async fn failure(self) -> String {
        let ended = tokio::time::timeout(Duration::from_secs(30), self.running).await.unwrap().unwrap();
        format!("{:#}", ended.unwrap_err())
    }

    /// Ends it as SIGKILL would: nothing is said to anybody.
    pub async fn vanish(self) {
        self.running.abort();
        assert!(self.running.await.unwrap_err().is_cancelled());
    }
}
