//! The two servers, each ready for the suite.

use std::{net::Ipv4Addr, path::Path, sync::Arc};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use rbee_apiserver::ApiServer;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::{Sandbox, cluster::Cluster, wait_until};

/// A server with rbee's kinds and nobody who acts on them.
pub struct Server {
    pub client: Client,
    _running: Running,
    _sandbox: Sandbox,
}

enum Running {
    Embedded { _server: Arc<ApiServer>, stop: CancellationToken },
    Cluster { _cluster: Cluster },
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Self::Embedded { stop, .. } = self {
            stop.cancel();
        }
    }
}

/// A client as a kubeconfig says.
pub async fn client(kubeconfig: &Path) -> Client {
    crypto();
    let read = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.expect("a context");
    Client::try_from(config).expect("a client")
}

/// One crypto provider for the process, as the executable installs it.
fn crypto() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

impl Server {
    /// The embedded one over sled and TLS, without the queen's controllers, which would write between the cases' lines.
    pub async fn embedded() -> Self {
        crypto();
        let sandbox = Sandbox::new();
        let config = rbee_apiserver::Config {
            data_dir: Some(sandbox.path("queen")),
            crds: rbee_crds::all(),
            names: rbee_apiserver::pki::Names::default(),
            version: env!("CARGO_PKG_VERSION").into(),
        };
        let server = Arc::new(ApiServer::open(config).await.expect("a server"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let url = format!("https://{}", listener.local_addr().expect("an address"));
        let ca = sandbox.write("ca.crt", server.ca_pem());
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": ca}}],
            "users": [{"name": "admin", "user": {"token": server.admin_token().reveal()}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin", "namespace": "default"}}],
        });
        let kubeconfig = sandbox.write("admin.kubeconfig", kubeconfig.to_string());
        let stop = CancellationToken::new();
        tokio::spawn({
            let (server, stop) = (server.clone(), stop.clone());
            async move { server.serve(listener, stop).await }
        });
        let client = client(&kubeconfig).await;
        let running = Running::Embedded { _server: server, stop };
        Self { client, _running: running, _sandbox: sandbox }
    }

    /// A kube-apiserver with the kinds applied; none where it cannot be started.
    pub async fn kubernetes() -> Option<Self> {
        let sandbox = Sandbox::new();
        let cluster = Cluster::start(sandbox.path("cluster"))?;
        let crds = sandbox.run(&["crds"]).ok().stdout;
        let kubeconfig = cluster.kubeconfig.clone();
        sandbox.feed(&["apply", "--kubeconfig", &kubeconfig, "-f", "-"], &crds).ok();
        for kind in ["models", "workers", "assignments", "hives"] {
            let list = ["get", kind, "-A", "--kubeconfig", &kubeconfig];
            wait_until("the kinds are served", 30, || sandbox.run(&list).code == Some(0));
        }
        let client = client(Path::new(&kubeconfig)).await;
        Some(Self { client, _running: Running::Cluster { _cluster: cluster }, _sandbox: sandbox })
    }
}
