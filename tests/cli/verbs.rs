//! Verbs against a running queen, and kubectl beside them.

use serde_json::Value;

use crate::support::{Sandbox, missing, wait_until};

const QUICKSTART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/quickstart");

fn json(sandbox: &Sandbox, args: &[&str]) -> Value {
    let told = sandbox.run(&[args, &["-o", "json"]].concat()).ok();
    serde_json::from_str(&told.stdout).expect("JSON")
}

#[test]
fn from_apply_to_delete() {
    let sandbox = Sandbox::new();
    let up = sandbox.up();
    let applied = sandbox.run(&["apply", "-f", QUICKSTART]).ok();
    assert_eq!(applied.stdout, "model.rbee.dev/tinybee created\nworker.rbee.dev/tinybee created\n");
    let again = sandbox.run(&["apply", "-f", QUICKSTART]).ok();
    assert_eq!(again.stdout, "model.rbee.dev/tinybee unchanged\nworker.rbee.dev/tinybee unchanged\n");
    let waited = sandbox.run(&["wait", "--for=condition=Ready", "worker/tinybee", "--timeout=60s"]).ok();
    assert_eq!(waited.stdout, "worker.rbee.dev/tinybee condition met\n");

    let described = sandbox.run(&["describe", "worker/tinybee"]).ok().stdout;
    for word in ["Name:", "tinybee", "Conditions:", "Ready", "Events:"] {
        assert!(described.contains(word), "no {word} in {described}");
    }
    sandbox.run(&["scale", "worker/tinybee", "--replicas=2"]).ok();
    wait_until("two replicas are Ready", 60, || {
        json(&sandbox, &["get", "worker", "tinybee"])["status"]["readyReplicas"] == 2
    });
    sandbox.run(&["scale", "worker/tinybee", "--replicas=0"]).ok();
    let own = up.running.pid();
    wait_until("no worker process is left", 40, || sandbox.processes().iter().all(|(pid, _)| *pid == own));

    let deleted = sandbox.run(&["delete", "-f", QUICKSTART]).ok();
    assert!(deleted.stdout.contains("worker.rbee.dev \"tinybee\" deleted"), "{deleted:#?}");
    sandbox.run(&["get", "worker", "tinybee"]).refused(1, &["not found"]);
}

#[test]
fn waiting_for_what_is_not_there_fails_at_once() {
    let sandbox = Sandbox::new();
    let _up = sandbox.up();
    sandbox.run(&["wait", "--for=condition=Ready", "worker/none", "--timeout=600s"]).refused(1, &["not found"]);
    sandbox.run(&["infer", "--worker", "none", "--prompt", "x"]).refused(1, &["none"]);
}

#[test]
fn kubectl_reads_and_writes_with_the_printed_kubeconfig() {
    let sandbox = Sandbox::new();
    let Some(kubectl) = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|d| d.join("kubectl"))
        .find(|p| p.is_file())
    else {
        return missing("kubectl");
    };
    let _up = sandbox.up();
    let config = sandbox.write("kubeconfig", sandbox.run(&["kubeconfig"]).ok().stdout).display().to_string();
    let run = |args: &[&str]| {
        let args = [&["--kubeconfig", config.as_str()], args].concat();
        sandbox.finish(sandbox.foreign(&kubectl, &args), &args, "").ok().stdout
    };
    assert_eq!(run(&["apply", "-f", QUICKSTART]), "model.rbee.dev/tinybee created\nworker.rbee.dev/tinybee created\n");
    run(&["wait", "--for=condition=Ready", "worker/tinybee", "--timeout=60s"]);
    assert!(run(&["get", "models"]).starts_with("NAME"));
    assert!(run(&["describe", "worker", "tinybee"]).contains("Events:"));
    assert!(run(&["explain", "worker.spec"]).contains("modelRef"));
    run(&["scale", "worker/tinybee", "--replicas=2"]);
    assert!(run(&["apply", "--server-side", "--force-conflicts", "-f", QUICKSTART]).contains("serverside-applied"));
    assert!(run(&["delete", "-f", QUICKSTART]).contains("deleted"));
}
