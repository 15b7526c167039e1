//! Serves an API server and writes a kubeconfig: `serve KUBECONFIG [DATA_DIR] [CRDS.yaml]`. Ends with SIGINT.

use std::path::PathBuf;

use base64::Engine as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use rbee_apiserver::{ApiServer, Config};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let kubeconfig = PathBuf::from(arguments.next().ok_or("serve KUBECONFIG [DATA_DIR] [CRDS.yaml]")?);
    let data_dir = arguments.next().filter(|d| !d.is_empty()).map(PathBuf::from);
    let crds = match arguments.next() {
        Some(path) => definitions(&std::fs::read_to_string(path)?)?,
        None => Vec::new(),
    };
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let version = env!("CARGO_PKG_VERSION").to_string();
    let server = ApiServer::open(Config { data_dir, crds, names: Default::default(), version }).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let ca = base64::engine::general_purpose::STANDARD.encode(server.ca_pem());
    let token = server.admin_token().reveal();
    let text = format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: rbee\n  cluster: {{server: \"https://{address}\", certificate-authority-data: {ca}}}\nusers:\n- name: admin\n  user: {{token: {token}}}\ncontexts:\n- name: rbee\n  context: {{cluster: rbee, user: admin}}\ncurrent-context: rbee\n"
    );
    std::fs::write(&kubeconfig, text)?;
    eprintln!("listening on https://{address}");
    let shutdown = CancellationToken::new();
    let ending = shutdown.clone();
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        ending.cancel();
    });
    server.serve(listener, shutdown).await?;
    server.close().await;
    Ok(())
}

fn definitions(text: &str) -> Result<Vec<CustomResourceDefinition>, Box<dyn std::error::Error>> {
    let documents = rbee_yaml::parse_documents(text, "definitions")?;
    Ok(documents.into_iter().map(|d| serde_json::from_value(d.value)).collect::<Result<_, _>>()?)
}
