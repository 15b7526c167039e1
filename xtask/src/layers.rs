//! Which package may use which: the architecture as a table, checked against `cargo metadata`.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// package, what it may use of ours, what it must never see.
const TABLE: &[(&str, &[&str], &[&str])] = &[
    ("rbee-crds", &["model"], &["tokio", "axum", "kube-client", "kube-runtime"]),
    ("rbee-wire", &[], &["kube", "tokio", "axum"]),
    ("rbee-model", &[], &["tokio", "candle-core", "kube"]),
    ("rbee-placement", &["crds", "model"], &["tokio", "kube", "kube-client"]),
    ("rbee-yaml", &[], &["kube", "tokio"]),
    ("rbee-apiserver", &["wire", "yaml"], &["candle-core"]),
    ("rbee-controller", &["crds", "model", "placement"], &["sled", "candle-core", "axum"]),
    ("rbee-gateway", &["crds", "wire"], &["sled", "candle-core"]),
    ("rbee-agent", &["crds", "model", "wire"], &["sled", "candle-core"]),
    ("rbee-kernels", &["model"], &["tokio", "candle-core", "kube"]),
    ("rbee-tokenizer", &["model"], &["tokio", "candle-core", "kube"]),
    ("rbee-engine", &["kernels", "model"], &["tokio", "axum", "kube"]),
    ("rbee-worker", &["engine", "model", "tokenizer", "wire"], &["candle-core", "kube", "k8s-openapi"]),
    ("rbee-keeper", &["crds", "model", "placement", "wire", "yaml"], &["sled", "candle-core", "axum"]),
];

/// Fails when a manifest asks for what the table does not allow.
pub fn check(root: &Path) -> Result<()> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;

    let mut wrong = Vec::new();
    for (package, ours, never) in TABLE {
        let Some(found) = packages.iter().find(|p| p["name"] == *package) else {
            wrong.push(format!("{package} is in the table and not in the workspace"));
            continue;
        };
        for used in dependencies(found) {
            let own = used.strip_prefix("rbee-").filter(|name| *name != "features");
            if own.is_some_and(|name| !ours.contains(&name)) {
                wrong.push(format!("{package} may not use {used} (allowed: {})", ours.join(", ")));
            }
            if never.contains(&used) {
                wrong.push(format!("{package} must never see {used}"));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("\n")) }
}

/// Names of the packages that it links, build and test dependencies left out.
fn dependencies(package: &Value) -> Vec<&str> {
    let all = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter(|d| d["kind"].is_null()).filter_map(|d| d["name"].as_str()).collect()
}
