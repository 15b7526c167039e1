//! The embedded server as people meet it: `rbee queen`, `rbee kubeconfig`, kubectl, tokens.

use std::path::Path;

use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use rbee_crds::{Model, Worker};
use serde_json::json;

use crate::{
    servers::client,
    support::{Finished, Running, Sandbox, missing},
};

/// A queen with the path of her kubeconfig.
struct Queen {
    sandbox: Sandbox,
    running: Running,
    url: String,
    kubeconfig: String,
}

impl Queen {
    fn start() -> Self {
        let sandbox = Sandbox::new();
        let running = sandbox.start(&["queen", "--api-listen", "127.0.0.1:0", "--gateway-listen", "127.0.0.1:0"]);
        let url = running.url("api server");
        running.url("gateway");
        let text = sandbox.run(&["kubeconfig"]).ok().stdout;
        let kubeconfig = sandbox.write("rbee.kubeconfig", text).display().to_string();
        Self { sandbox, running, url, kubeconfig }
    }

    /// kubectl as a user would call it; none where it is not installed.
    fn kubectl(&self, args: &[&str], stdin: &str) -> Option<Finished> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = std::env::split_paths(&path).map(|p| p.join("kubectl")).find(|p| p.is_file());
        let Some(program) = program else {
            missing("kubectl");
            return None;
        };
        let args = [&["--kubeconfig", &self.kubeconfig], args].concat();
        Some(self.sandbox.finish(self.sandbox.foreign(&program, &args), &args, stdin))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kube_clients_work_with_the_kubeconfig_that_is_printed() {
    let mut queen = Queen::start();
    let client = client(Path::new(&queen.kubeconfig)).await;
    let version = client.apiserver_version().await.expect("a version");
    assert_eq!(version.major, "1");
    let models: Api<Model> = Api::default_namespaced(client.clone());
    let bee: Model = serde_json::from_value(json!({"apiVersion": "rbee.dev/v1alpha1", "kind": "Model", "metadata": {"name": "bee"}, "spec": {"uri": "builtin:tinybee"}})).expect("a Model");
    let made = models.create(&PostParams::default(), &bee).await.expect("a creation");
    let again = models.create(&PostParams::default(), &bee).await.expect_err("a refusal");
    assert!(matches!(&again, kube::Error::Api(s) if s.is_already_exists()), "{again}");
    let workers: Api<Worker> = Api::default_namespaced(client.clone());
    let story = json!({"apiVersion": "rbee.dev/v1alpha1", "kind": "Worker", "metadata": {"name": "story"}, "spec": {"modelRef": {"name": "bee"}}});
    workers.patch("story", &PatchParams::apply("test"), &Patch::Apply(story)).await.expect("an apply");
    assert_eq!(workers.list(&ListParams::default()).await.expect("a list").items.len(), 1);

    // What was acknowledged survives kill -9.
    queen.running.signal(rustix::process::Signal::KILL);
    queen.running.wait(10);
    let listen = queen.url.trim_start_matches("https://").to_owned();
    let second = queen.sandbox.start(&["queen", "--api-listen", &listen, "--gateway-listen", "127.0.0.1:0"]);
    second.url("gateway");
    let kept = models.get("bee").await.expect("the model is still there");
    assert_eq!(kept.uid(), made.uid());
    assert!(workers.get("story").await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_token_gets_no_further_than_the_door() {
    let queen = Queen::start();
    let ca = std::fs::read(queen.sandbox.home().join("queen/pki/ca.crt")).expect("the CA");
    let ca = reqwest::Certificate::from_pem(&ca).expect("a certificate");
    let http = reqwest::Client::builder().tls_certs_only([ca]).no_proxy().build().expect("a client");
    let models = format!("{}/apis/rbee.dev/v1alpha1/models", queen.url);
    let ask = async |url: &str, token: Option<&str>| {
        let request = http.get(url);
        let request = token.iter().fold(request, |r, t| r.bearer_auth(t));
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    };
    for token in [None, Some(""), Some("nonsense"), Some("rbt1.AAAA.x.AAAA")] {
        let (code, text) = ask(&models, token).await;
        assert_eq!(code, 401, "{token:?}");
        let status: serde_json::Value = serde_json::from_str(&text).expect("a Status");
        assert_eq!((&status["kind"], &status["reason"]), (&json!("Status"), &json!("Unauthorized")));
    }
    for open in ["readyz", "livez", "healthz", "version", "cacerts"] {
        assert_eq!(ask(&format!("{}/{open}", queen.url), None).await.0, 200, "{open}");
    }
    // A viewer reads, but no Secrets, and writes nothing.
    let viewer = queen.sandbox.run(&["token", "--role", "viewer"]).ok().stdout;
    let viewer = viewer.trim();
    assert_eq!(ask(&models, Some(viewer)).await.0, 200);
    let secrets = format!("{}/api/v1/namespaces/rbee-system/secrets", queen.url);
    let (code, text) = ask(&secrets, Some(viewer)).await;
    assert_eq!(code, 403, "{text}");
    assert!(text.contains("cannot list resource \\\"secrets\\\""), "{text}");
    let refused = http.delete(&models).bearer_auth(viewer).send().await.expect("an answer");
    assert_eq!(refused.status().as_u16(), 403);
    // Plain HTTP is told so.
    let plain = queen.url.replace("https://", "http://");
    let (code, text) = crate::support::http("GET", &plain, &[], None).expect("an answer");
    assert_eq!((code, text.as_str()), (400, "Client sent an HTTP request to an HTTPS server.\n"));
}

#[test]
fn kubectl_does_what_it_does_elsewhere() {
    let queen = Queen::start();
    let model = "apiVersion: rbee.dev/v1alpha1\nkind: Model\nmetadata:\n  name: bee\nspec:\n  uri: builtin:tinybee\n";
    let Some(applied) = queen.kubectl(&["apply", "-f", "-"], model) else { return };
    assert_eq!(applied.ok().stdout, "model.rbee.dev/bee created\n");
    let kubectl = |args: &[&str]| queen.kubectl(args, "").expect("kubectl is there");
    let again = queen.kubectl(&["apply", "-f", "-"], model).expect("kubectl is there").ok();
    assert_eq!(again.stdout, "model.rbee.dev/bee unchanged\n");
    let applied = queen
        .kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], model)
        .expect("kubectl is there")
        .ok();
    assert_eq!(applied.stdout, "model.rbee.dev/bee serverside-applied\n");
    kubectl(&["wait", "--for=condition=Ready", "model/bee", "--timeout=30s"]).ok();

    let table = kubectl(&["get", "mdl"]).ok().stdout;
    let lines: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "URI", "READY", "SIZE", "AGE"], "{table}");
    assert_eq!(lines[1][..3], ["bee", "builtin:tinybee", "True"], "{table}");
    let wide = kubectl(&["get", "models", "-o", "wide"]).ok().stdout;
    assert!(wide.starts_with("NAME ") && wide.contains("REVISION") && wide.contains("Available"), "{wide}");
    let json = kubectl(&["get", "model", "bee", "-o", "jsonpath={.spec.uri}"]).ok().stdout;
    assert_eq!(json, "builtin:tinybee");

    let story =
        "apiVersion: rbee.dev/v1alpha1\nkind: Worker\nmetadata:\n  name: story\nspec:\n  modelRef:\n    name: bee\n";
    queen.kubectl(&["create", "-f", "-"], story).expect("kubectl is there").ok();
    assert_eq!(kubectl(&["scale", "worker/story", "--replicas=2"]).ok().stdout, "worker.rbee.dev/story scaled\n");
    assert_eq!(kubectl(&["get", "worker", "story", "-o", "jsonpath={.spec.replicas}"]).ok().stdout, "2");
    kubectl(&["label", "worker", "story", "team=bees"]).ok();
    assert_eq!(kubectl(&["get", "wkr", "-l", "team=bees", "-o", "name"]).ok().stdout, "worker.rbee.dev/story\n");
    kubectl(&["annotate", "worker", "story", "note=x"]).ok();
    kubectl(&["patch", "worker", "story", "--type=merge", "-p", r#"{"spec":{"slots":2}}"#]).ok();
    let refused = kubectl(&["patch", "worker", "story", "--type=merge", "-p", r#"{"spec":{"slots":0}}"#]);
    refused.refused(1, &["spec.slots", "should be greater than or equal to 1"]);
    let described = kubectl(&["describe", "worker", "story"]).ok().stdout;
    assert!(described.contains("FailedScheduling") && described.contains("NoHives"), "{described}");
    let explained = kubectl(&["explain", "worker.spec.slots"]).ok().stdout;
    assert!(explained.contains("Requests that one replica answers at a time"), "{explained}");
    let resources = kubectl(&["api-resources", "--api-group=rbee.dev", "--no-headers"]).ok().stdout;
    assert_eq!(resources.lines().count(), 4, "{resources}");
    let misspelt = story.replace("modelRef", "modelReference");
    let refused = queen.kubectl(&["apply", "-f", "-"], &misspelt).expect("kubectl is there");
    refused.refused(1, &["unknown field \"spec.modelReference\""]);
    let diff =
        queen.kubectl(&["diff", "-f", "-"], &story.replace("name: bee", "name: wasp")).expect("kubectl is there");
    assert!(diff.code == Some(1) && diff.stdout.contains("+    name: wasp"), "{diff:#?}");
    let events = kubectl(&["get", "events", "--field-selector=involvedObject.name=story"]).ok().stdout;
    assert!(events.contains("worker/story"), "{events}");
    kubectl(&["delete", "worker,model", "--all", "--timeout=30s"]).ok();
    assert_eq!(kubectl(&["get", "workers,models"]).ok().stderr, "No resources found in default namespace.\n");
}
