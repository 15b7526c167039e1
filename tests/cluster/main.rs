//! The same queen and hive against a kube-apiserver that nobody here wrote: CRDs, the quickstart, a streamed token.

#[path = "../support/mod.rs"]
mod support;

use serde_json::{Value, json};
use support::{Sandbox, cluster::Cluster, http, wait_until};

#[test]
fn queen_and_hive_serve_on_a_real_kube_apiserver() {
    let sandbox = Sandbox::new();
    let Some(cluster) = Cluster::start(sandbox.path("cluster")) else { return };
    let config = cluster.kubeconfig.as_str();
    let on_cluster = |args: &[&str]| sandbox.run(&[args, &["--kubeconfig", config]].concat());

    let crds = sandbox.run(&["crds"]).ok().stdout;
    sandbox.feed(&["apply", "--kubeconfig", config, "-f", "-"], &crds).ok();
    let queen = sandbox.start(&["queen", "--kubeconfig", config, "--gateway-listen", "127.0.0.1:0"]);
    let hive = sandbox.start(&["hive", "--kubeconfig", config, "--hive-listen", "127.0.0.1:0", "--name", "node-1"]);
    let gateway = queen.url("gateway");
    hive.url("hive");

    let quickstart = format!("{}/manifests/quickstart", env!("CARGO_MANIFEST_DIR"));
    on_cluster(&["apply", "-f", &quickstart]).ok();
    on_cluster(&["wait", "--for=condition=Ready", "worker/tinybee", "--timeout=60s"]).ok();

    let reference = &support::expected()[0];
    let sure = reference["sure_text"].as_str().expect("a text");
    let told = on_cluster(&[
        "infer",
        "--worker",
        "tinybee",
        "--prompt",
        "write a short story",
        "--temperature",
        "0",
        "--max-tokens",
        "20",
    ])
    .ok();
    assert!(told.stdout.starts_with(sure), "{told:#?}");

    let body = json!({"model": "tinybee", "messages": [{"role": "user", "content": "write a short story"}], "temperature": 0, "max_tokens": 20, "stream": true});
    let url = format!("{gateway}/v1/chat/completions");
    let mut streamed = String::new();
    wait_until("the gateway routes to the replica", 30, || {
        http("POST", &url, &[], Some(&body.to_string())).is_some_and(|(status, text)| {
            streamed = text;
            status == 200
        })
    });
    assert!(streamed.trim_end().ends_with("data: [DONE]"), "{streamed}");
    let words: String = streamed
        .lines()
        .filter_map(|l| serde_json::from_str::<Value>(l.strip_prefix("data: ")?).ok())
        .filter_map(|c| c["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    assert!(words.starts_with(sure), "{words}");

    on_cluster(&["delete", "-f", &quickstart]).ok();
    let own = [queen.pid(), hive.pid()];
    wait_until("the worker's process is gone", 40, || sandbox.processes().iter().all(|(pid, _)| own.contains(pid)));
}
