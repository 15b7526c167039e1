//! Manifests that are wrong: file, line and field are named, and nothing is applied.

use crate::support::Sandbox;

const WORKER: &str =
    "apiVersion: rbee.dev/v1alpha1\nkind: Worker\nmetadata:\n  name: bad\nspec:\n  modelRef:\n    name: bee\n";

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let sandbox = Sandbox::new();
    let _up = sandbox.up();
    for (what, text, says) in [
        ("wrong type", format!("{WORKER}  replicas: \"three\"\n"), "bad.yaml:8: spec.replicas"),
        ("unknown field", format!("{WORKER}  replicaz: 2\n"), "bad.yaml:8"),
        ("out of range", format!("{WORKER}  replicas: -2\n"), "bad.yaml:8: spec.replicas"),
        ("two rules", format!("{WORKER}  replicas: 1\n  autoscaling: {{maxReplicas: 2}}\n"), "autoscaling"),
        ("missing field", WORKER.replace("  modelRef:\n    name: bee\n", "  replicas: 1\n"), "modelRef"),
        ("duplicate key", format!("{WORKER}  replicas: 1\n  replicas: 2\n"), "bad.yaml:9"),
        ("no YAML", format!("{WORKER}  slots: [unclosed\n"), "bad.yaml"),
        ("unknown kind", WORKER.replace("kind: Worker", "kind: Hornet"), "Hornet"),
    ] {
        let path = sandbox.write("bad.yaml", &text);
        let told = sandbox.run(&["apply", "-f", &path.display().to_string()]).refused(1, &["bad.yaml", says]);
        assert_eq!(told.stdout, "", "{what}");
        sandbox.run(&["get", "worker", "bad"]).refused(1, &["not found"]);
    }
}

#[test]
fn the_examples_apply() {
    let sandbox = Sandbox::new();
    let _up = sandbox.up();
    for folder in ["quickstart", "examples"] {
        let path = format!("{}/manifests/{folder}", env!("CARGO_MANIFEST_DIR"));
        sandbox.run(&["apply", "-f", &path]).ok();
        sandbox.run(&["delete", "-f", &path]).ok();
    }
}
