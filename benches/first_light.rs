//! What a newcomer waits for: start to first token, tokens per second, and acknowledged (durable) creates per second of the API
//! server, beside a kube-apiserver with etcd when one can be started.
//!
//! `cargo bench --bench first_light` prints median, minimum and maximum; creates are measured in turns, and the ratio is taken pair by
//! pair. Nothing here passes or fails by a clock.

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use futures::{StreamExt, stream};
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use rbee_crds::{Model, ModelSpec};
use support::Sandbox;

const STORIES: usize = 7;
const ROUNDS: usize = 3;
const CREATES: usize = 500;

fn main() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().expect("the first provider");
    println!("processor: {}", processor());
    stories();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(creates());
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        text.lines()
            .find(|l| l.starts_with(name))
            .and_then(|l| l.split_once(':'))
            .map(|(_, v)| v.trim().to_owned())
            .unwrap_or_default()
    };
    let class = ["amx_int8", "avx512_vnni", "avx512f", "avx_vnni", "avx2"]
        .into_iter()
        .find(|f| field("flags").split(' ').any(|g| g == *f))
        .unwrap_or("none of AVX2, AVX-512, AMX");
    format!("{} ({class}), {} cores", field("model name"), std::thread::available_parallelism().map_or(0, usize::from))
}

fn stories() {
    let sandbox = Sandbox::new();
    let (mut first, mut rate) = (Vec::new(), Vec::new());
    for _ in 0..STORIES {
        let begun = Instant::now();
        let mut child = sandbox
            .command(&["infer", "--prompt", "write a short story", "--max-tokens", "120", "--temperature", "0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the executable starts");
        let mut byte = [0];
        child.stdout.as_mut().expect("a pipe").read_exact(&mut byte).expect("a first token");
        first.push(begun.elapsed().as_secs_f64());
        let told = child.wait_with_output().expect("its end");
        let stderr = String::from_utf8_lossy(&told.stderr).into_owned();
        rate.extend(
            stderr.split_once(" tok/s").and_then(|(before, _)| before.rsplit(['(', ' ']).next()?.parse::<f64>().ok()),
        );
    }
    print_row("start to first token, everything included", "s", &mut first);
    print_row("tinybee, one stream", "tok/s", &mut rate);
}

async fn creates() {
    let sandbox = Sandbox::new();
    let _up = sandbox.up();
    let config = sandbox.write("kubeconfig", sandbox.run(&["kubeconfig"]).ok().stdout);
    let own = client(&config).await;
    let peer = Peer::start(sandbox.path("peer"));
    let reference = match &peer {
        Some(peer) => {
            let crds = sandbox.run(&["crds"]).ok().stdout;
            sandbox.feed(&["apply", "--kubeconfig", &peer.kubeconfig, "-f", "-"], &crds).ok();
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            Some(client(Path::new(&peer.kubeconfig)).await)
        }
        None => None,
    };
    for writers in [1, 64] {
        let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let tag = format!("w{writers}-r{round}");
            let a = create(&own, &tag, writers).await;
            ours.push(a);
            if let Some(reference) = &reference {
                let b = create(reference, &tag, writers).await;
                theirs.push(b);
                ratios.push(a / b);
            }
        }
        print_row(&format!("durable creates, {writers} writers, rbee"), "/s", &mut ours);
        print_row(&format!("durable creates, {writers} writers, kube-apiserver and etcd"), "/s", &mut theirs);
        print_row(&format!("durable creates, {writers} writers, ratio"), "x", &mut ratios);
    }
}

async fn create(client: &Client, tag: &str, writers: usize) -> f64 {
    let models: Api<Model> = Api::namespaced(client.clone(), "default");
    let spec: ModelSpec =
        serde_json::from_value(serde_json::json!({"uri": "https://bench.invalid/model.gguf"})).expect("a spec");
    let begun = Instant::now();
    stream::iter(0..CREATES)
        .for_each_concurrent(writers, |number| {
            let (models, spec) = (models.clone(), spec.clone());
            let name = format!("bench-{tag}-{number}");
            async move {
                models.create(&PostParams::default(), &Model::new(&name, spec)).await.expect("a create");
            }
        })
        .await;
    CREATES as f64 / begun.elapsed().as_secs_f64()
}

async fn client(kubeconfig: &Path) -> Client {
    let read = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    Client::try_from(Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.expect("its cluster"))
        .expect("a client")
}

/// etcd and kube-apiserver, stopped when dropped.
struct Peer {
    folder: PathBuf,
    kubeconfig: String,
}

impl Peer {
    fn start(folder: PathBuf) -> Option<Self> {
        let output = Command::new(script("up")).arg(&folder).output().ok()?;
        if !output.status.success() {
            println!("no kube-apiserver can be started here: creates are told without a peer");
            return None;
        }
        let kubeconfig = String::from_utf8_lossy(&output.stdout).lines().last()?.to_owned();
        Some(Self { folder, kubeconfig })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = Command::new(script("down")).arg(&self.folder).status();
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster").join(name)
}

fn print_row(what: &str, unit: &str, values: &mut [f64]) {
    values.sort_by(f64::total_cmp);
    if let (Some(least), Some(most)) = (values.first(), values.last()) {
        println!(
            "{what}: median {:.2} {unit} [{least:.2} – {most:.2}], {} runs",
            values[values.len() / 2],
            values.len()
        );
    }
}
