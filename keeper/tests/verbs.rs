//! The verbs against the standalone API server in this process: what is typed, what is said, how it ends.

use std::time::Duration;

use clap::{CommandFactory, Parser};
use kube::Client;
use rbee_apiserver::{ApiServer, Config, Identity, Role};
use rbee_keeper::{
    Command, Context, Exit,
    streams::{Input, Out},
};
use tokio_util::sync::CancellationToken;

const MODEL: &str =
    "apiVersion: rbee.dev/v1alpha1\nkind: Model\nmetadata:\n  name: bee\nspec:\n  uri: builtin:tinybee\n";
const WORKER: &str = "apiVersion: rbee.dev/v1alpha1\nkind: Worker\nmetadata:\n  name: story\nspec:\n  modelRef:\n    name: bee\n  replicas: 1\n  backend: cpu\n";

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

/// A server with the kinds, in memory.
struct World {
    server: ApiServer,
    folder: tempfile::TempDir,
}

#[derive(Debug)]
struct Said {
    exit: Exit,
    out: String,
    err: String,
}

impl Said {
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.exit, Exit::Done, "{self:?}");
        self.out
    }

    #[track_caller]
    fn refused(self, words: &[&str]) -> Self {
        assert_eq!(self.exit, Exit::Failed, "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "{word:?} in {}", self.err);
        }
        self
    }
}

impl World {
    async fn new() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let config =
            Config { data_dir: None, crds: rbee_crds::all(), names: Default::default(), version: "0.0.0".into() };
        Self { server: ApiServer::open(config).await.unwrap(), folder: tempfile::tempdir().unwrap() }
    }

    fn client(&self) -> Client {
        Client::new(self.server.router_for(Identity::of_token("test", Role::Admin, None)), "default")
    }

    fn context(&self, stdin: &str, interrupt: CancellationToken) -> Context {
        Context {
            out: Out::memory(),
            err: Out::memory(),
            input: Input::Text(stdin.into()),
            client: Some(self.client()),
            ..Context::new(self.folder.path().into(), "0.1.0", interrupt, Line::command)
        }
    }

    async fn with_stdin(&self, line: &str, stdin: &str) -> Said {
        let context = self.context(stdin, CancellationToken::new());
        let (out, err) = (context.out.clone(), context.err.clone());
        let words = std::iter::once("keeper").chain(line.split_whitespace());
        let exit = Box::pin(rbee_keeper::run(Line::try_parse_from(words).unwrap().command, context)).await;
        Said { exit, out: out.contents(), err: err.contents() }
    }

    async fn run(&self, line: &str) -> Said {
        self.with_stdin(line, "").await
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// The quickstart's two objects.
    async fn filled() -> Self {
        let world = Self::new().await;
        world.with_stdin("apply -f -", &format!("{WORKER}---\n{MODEL}")).await.ok();
        world
    }
}

async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not within 10 s: {what}");
}

#[tokio::test]
async fn apply_says_created_unchanged_and_configured() {
    let world = World::new().await;
    let both = format!("{WORKER}---\n{MODEL}");
    let lines = |word: &str| format!("model.rbee.dev/bee {word}\nworker.rbee.dev/story {word}\n");
    let tried = world.with_stdin("apply -f - --dry-run=server", &both).await.ok();
    assert_eq!(tried, lines("created (server dry run)"));
    for word in ["created", "unchanged"] {
        assert_eq!(world.with_stdin("apply -f -", &both).await.ok(), lines(word), "Models come before Workers");
    }
    let changed = WORKER.replace("replicas: 1", "replicas: 2");
    assert_eq!(world.with_stdin("apply -f -", &changed).await.ok(), "worker.rbee.dev/story configured\n");
}

#[tokio::test]
async fn what_scale_set_apply_sets_back() {
    let world = World::filled().await;
    assert_eq!(world.run("scale worker/story --replicas=3").await.ok(), "worker.rbee.dev/story scaled\n");
    let replicas = "get worker story -o jsonpath={.spec.replicas}";
    assert_eq!(world.run(replicas).await.ok(), "3");
    assert_eq!(world.with_stdin("apply -f -", WORKER).await.ok(), "worker.rbee.dev/story configured\n");
    assert_eq!(world.run(replicas).await.ok(), "1");
    world.run("scale worker/story --replicas=2 --current-replicas=7").await.refused(&["expected were 7"]);
    world.run("scale model/bee --replicas=2").await.refused(&["cannot be scaled"]);
    world.run("scale worker/none --replicas=2").await.refused(&["not found"]);
}

#[tokio::test]
async fn bad_manifests_are_told_with_file_line_and_field() {
    let world = World::new().await;
    for (name, text, words) in [
        ("type", WORKER.replace("replicas: 1", "replicas: \"three\""), &["bad.yaml:8: spec.replicas"][..]),
        ("unknown", format!("{WORKER}  replicaz: 2\n"), &["bad.yaml:10: spec.replicaz"]),
        ("missing", WORKER.replace("  modelRef:\n    name: bee\n", ""), &["bad.yaml:5: spec.modelRef"]),
        ("negative", WORKER.replace("replicas: 1", "replicas: -2"), &["bad.yaml:8: spec.replicas"]),
        ("uri", MODEL.replace("builtin:tinybee", "gopher://x"), &["bad.yaml:6: spec.uri"]),
        ("dots", MODEL.replace("builtin:tinybee", "file:///a/../b"), &["bad.yaml:6: spec.uri"]),
        ("both", format!("{WORKER}  autoscaling: {{maxReplicas: 2}}\n"), &["bad.yaml:5: spec", "autoscaling"]),
        ("kind", MODEL.replace("kind: Model", "kind: Hornet"), &["bad.yaml:2: kind", "Hornet"]),
        ("name", MODEL.replace("  name: bee\n", "  labels: {}\n"), &["bad.yaml:3: metadata.name"]),
        ("twice", format!("{MODEL}  uri: other\n"), &["bad.yaml:7:", "duplicate"]),
        ("broken", format!("{MODEL}  uri: [unclosed\n"), &["bad.yaml:"]),
    ] {
        let path = world.write(&format!("{name}/bad.yaml"), &text);
        let said = world.run(&format!("apply -f {path}")).await.refused(words);
        assert_eq!(said.out, "", "{name}");
    }
    for kind in ["models", "workers"] {
        assert_eq!(world.run(&format!("get {kind} -o name")).await.ok(), "", "{kind}: nothing was applied");
    }
}

#[tokio::test]
async fn good_objects_beside_bad_ones_are_applied_and_reported() {
    let world = World::new().await;
    world.write("mixed/1.yaml", MODEL);
    world.write("mixed/2.yaml", &WORKER.replace("replicas: 1", "replicas: -1"));
    let folder = world.folder.path().join("mixed").display().to_string();
    let said = world.run(&format!("apply -f {folder}")).await.refused(&["2.yaml:8: spec.replicas"]);
    assert_eq!(said.out, "model.rbee.dev/bee created\n");
    world.write("mixed/2.yaml", "a: b: c\n");
    let said = world.run(&format!("apply -f {folder}")).await.refused(&["2.yaml:1:", "nothing was done"]);
    assert_eq!(said.out, "", "a file that cannot be read refuses everything");
}

#[tokio::test]
async fn get_in_every_form() {
    let world = World::filled().await;
    let table = world.run("get models").await.ok();
    let lines: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..2], ["NAME", "URI"], "{table}");
    assert_eq!(lines[1][..2], ["bee", "builtin:tinybee"]);
    let wide = world.run("get mdl -o wide").await.ok();
    assert!(wide.lines().next().unwrap().split_whitespace().count() > lines[0].len(), "{wide}");
    assert!(!world.run("get models --no-headers").await.ok().contains("NAME"));

    let both = world.run("get models,workers,assignments").await.ok();
    assert!(both.contains("model.rbee.dev/bee") && both.contains("\n\nNAME") && both.contains("worker.rbee.dev/story"));
    assert_eq!(world.run("get models,workers -o name").await.ok(), "model.rbee.dev/bee\nworker.rbee.dev/story\n");
    assert_eq!(
        world.run("get model/bee worker/story -o name").await.ok(),
        "model.rbee.dev/bee\nworker.rbee.dev/story\n"
    );

    let list: serde_json::Value = serde_json::from_str(&world.run("get models,workers -o json").await.ok()).unwrap();
    assert_eq!((list["kind"].as_str(), list["items"].as_array().map(Vec::len)), (Some("List"), Some(2)));
    let one: serde_json::Value = serde_json::from_str(&world.run("get wkr story -o json").await.ok()).unwrap();
    assert_eq!((one["kind"].as_str(), one["metadata"]["managedFields"].is_null()), (Some("Worker"), true));
    assert!(world.run("get worker story -o yaml").await.ok().contains("\n  modelRef:\n    name: bee\n"));
    assert_eq!(world.run("get models -o jsonpath={.items[*].metadata.name}").await.ok(), "bee");

    world.run("get model none").await.refused(&["Error from server (NotFound)", "none"]);
    assert_eq!(world.run("get model none --ignore-not-found").await.ok(), "");
    world.run("get hornets").await.refused(&["resource type \"hornets\""]);
    let nothing = world.run("get hives").await;
    assert_eq!((nothing.exit, nothing.err.as_str()), (Exit::Done, "No resources found\n"));
    let nothing = world.run("get models -n other").await;
    assert_eq!(nothing.err, "No resources found in other namespace.\n");
}

#[tokio::test]
async fn selectors_and_namespaces_choose() {
    let world = World::filled().await;
    world.run("label model bee taste=honey").await.ok();
    assert_eq!(world.run("get models -l taste=honey -o name").await.ok(), "model.rbee.dev/bee\n");
    assert_eq!(world.run("get models -l taste=salt -o name").await.ok(), "");
    assert_eq!(world.run("get models --field-selector metadata.name=bee -o name").await.ok(), "model.rbee.dev/bee\n");
    world.run("label model bee taste=salt").await.refused(&["--overwrite"]);
    let all = world.run("get models -A --show-labels").await.ok();
    assert!(all.starts_with("NAMESPACE") && all.contains("taste=honey"), "{all}");
    world.run("label model bee taste-").await.ok();
    assert_eq!(world.run("get models -l taste -o name").await.ok(), "");
}

#[tokio::test]
async fn a_watch_prints_what_changes_and_ends_with_130() {
    let world = World::filled().await;
    let interrupt = CancellationToken::new();
    let context = world.context("", interrupt.clone());
    let out = context.out.clone();
    let command = Line::try_parse_from(["keeper", "get", "models,workers", "-w"]).unwrap().command;
    let watching = tokio::spawn(Box::pin(rbee_keeper::run(command, context)));
    wait_until("the tables", || out.contents().contains("worker.rbee.dev/story")).await;
    let count = |word: &str| out.contents().matches(word).count();
    let before = count("worker.rbee.dev/story");
    world.run("label worker story a=1").await.ok();
    wait_until("a row for the change", || count("worker.rbee.dev/story") > before).await;
    world.with_stdin("apply -f -", &MODEL.replace("name: bee", "name: wasp")).await.ok();
    wait_until("a row for the new object", || count("model.rbee.dev/wasp") == 1).await;
    interrupt.cancel();
    assert_eq!(watching.await.unwrap(), Exit::Interrupted);
}

#[tokio::test]
async fn a_watch_in_json_begins_with_what_is_there() {
    let world = World::filled().await;
    let interrupt = CancellationToken::new();
    let context = world.context("", interrupt.clone());
    let out = context.out.clone();
    let command = Line::try_parse_from(["keeper", "get", "models", "-w", "-o", "name"]).unwrap().command;
    let watching = tokio::spawn(Box::pin(rbee_keeper::run(command, context)));
    wait_until("the object", || out.contents() == "model.rbee.dev/bee\n").await;
    world.run("label model bee a=1").await.ok();
    wait_until("its change", || out.contents() == "model.rbee.dev/bee\nmodel.rbee.dev/bee\n").await;
    interrupt.cancel();
    assert_eq!(watching.await.unwrap(), Exit::Interrupted);
}

#[tokio::test]
async fn describe_tells_of_any_kind() {
    let world = World::filled().await;
    let text = world.run("describe worker/story").await.ok();
    for line in
        ["Name:         story", "Namespace:    default", "Kind:         Worker", "  Model Ref:", "Events:      <none>"]
    {
        assert!(text.lines().any(|l| l == line), "{line:?} in {text}");
    }
    assert!(world.run("describe namespace default").await.ok().contains("Kind:         Namespace"));
    world.run("describe worker none").await.refused(&["not found"]);
}

#[tokio::test]
async fn delete_waits_and_says_what_it_deleted() {
    let world = World::filled().await;
    let said = world.with_stdin("delete -f -", &format!("{MODEL}---\n{WORKER}")).await.ok();
    assert_eq!(said, "worker.rbee.dev \"story\" deleted\nmodel.rbee.dev \"bee\" deleted\n");
    assert_eq!(world.run("get models,workers -o name").await.ok(), "");
    world.with_stdin("delete -f -", MODEL).await.refused(&["NotFound"]);
    assert_eq!(world.with_stdin("delete --ignore-not-found -f -", MODEL).await.ok(), "");
    assert_eq!(world.run("delete models").await.exit, Exit::Usage);
}

#[tokio::test]
async fn delete_waits_for_finalizers_unless_told_not_to() {
    let world = World::new().await;
    let held = MODEL.replace("  name: bee\n", "  name: bee\n  finalizers: [test.rbee.dev/hold]\n");
    world.with_stdin("apply -f -", &held).await.ok();
    assert_eq!(world.run("delete model bee --wait=false").await.ok(), "model.rbee.dev \"bee\" deleted\n");
    world.run("delete model bee --timeout=300ms").await.refused(&["timed out waiting for the condition on models/bee"]);
    let api: kube::Api<rbee_crds::Model> = kube::Api::default_namespaced(world.client());
    let patch = kube::api::Patch::Merge(serde_json::json!({"metadata": {"finalizers": null}}));
    let free = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        api.patch("bee", &Default::default(), &patch).await.unwrap();
    };
    let (said, ()) = tokio::join!(world.run("wait --for=delete model/bee --timeout=20s"), free);
    assert_eq!(said.ok(), "model.rbee.dev/bee condition met\n");
}

#[tokio::test]
async fn wait_ends_when_the_condition_holds_or_its_time_is_over() {
    let world = World::filled().await;
    let late = world.run("wait --for=condition=Ready worker/story --timeout=200ms").await;
    late.refused(&["error: timed out waiting for the condition on workers/story"]);
    world.run("wait --for=condition=Ready worker/none --timeout=600s").await.refused(&["not found"]);
    let api: kube::Api<rbee_crds::Worker> = kube::Api::default_namespaced(world.client());
    let condition = serde_json::json!({"type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let patch = kube::api::Patch::Merge(serde_json::json!({"status": {"readyReplicas": 1, "conditions": [condition]}}));
    let become_ready = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        api.patch_status("story", &Default::default(), &patch).await.unwrap();
    };
    let (said, ()) = tokio::join!(world.run("wait --for=condition=Ready worker/story --timeout=20s"), become_ready);
    assert_eq!(said.ok(), "worker.rbee.dev/story condition met\n");
    world.run("wait --for=jsonpath={.status.readyReplicas}=1 worker/story").await.ok();
}

#[tokio::test]
async fn diff_has_three_ends() {
    let world = World::filled().await;
    let same = world.with_stdin("diff -f -", WORKER).await;
    assert_eq!((same.exit, same.out.as_str()), (Exit::Done, ""));
    let other = world.with_stdin("diff -f -", &WORKER.replace("replicas: 1", "replicas: 5")).await;
    assert_eq!(other.exit.code(), 1);
    assert!(other.out.contains("-  replicas: 1\n+  replicas: 5\n"), "{}", other.out);
    let wrong = world.with_stdin("diff -f -", "a: b: c").await;
    assert!(wrong.exit.code() > 1 && wrong.err.contains("stdin:1"), "{wrong:?}");
}

#[tokio::test]
async fn explain_and_api_resources_come_from_the_server() {
    let world = World::new().await;
    let text = world.run("explain worker.spec").await.ok();
    assert!(text.contains("GROUP:      rbee.dev\nKIND:       Worker\n"), "{text}");
    assert!(text.lines().any(|l| l == "  modelRef\t<Object> -required-"), "{text}");
    world.run("explain worker.spec.nope").await.refused(&["\"nope\" does not exist"]);
    assert!(world.run("explain wkr.spec --recursive").await.ok().contains("matchLabels\t<map[string]string>"));
    let kinds = world.run("api-resources --api-group=rbee.dev").await.ok();
    assert!(kinds.contains("wkr") && kinds.lines().count() == 5, "{kinds}");
    assert!(world.run("version").await.ok().contains("Server Version: v"));
}

#[tokio::test]
async fn edit_sends_what_the_editor_changed() {
    let world = World::filled().await;
    let editor = world.write("editor.sh", "#!/bin/sh\nsed -i 's/replicas: 1/replicas: 4/' \"$1\"\n");
    let said = world.run("edit worker/story --editor true").await;
    assert_eq!(said.exit, Exit::Done, "an editor that changes nothing: {said:?}");
    assert!(said.err.contains("no changes made"), "{said:?}");
    let context = world.context("", CancellationToken::new());
    let out = context.out.clone();
    let editor = format!("sh {editor}");
    let command = Line::try_parse_from(["keeper", "edit", "worker/story", "--editor", &editor]).unwrap().command;
    assert_eq!(Box::pin(rbee_keeper::run(command, context)).await, Exit::Done);
    assert_eq!(out.contents(), "worker.rbee.dev/story edited\n");
    assert_eq!(world.run("get worker story -o jsonpath={.spec.replicas}").await.ok(), "4");
}

#[tokio::test]
async fn events_are_listed_and_belong_to_their_object() {
    let world = World::filled().await;
    let uid = world.run("get worker story -o jsonpath={.metadata.uid}").await.ok();
    let event = serde_json::json!({
        "metadata": {"name": "e1", "namespace": "default"},
        "involvedObject": {"kind": "Worker", "name": "story", "namespace": "default", "uid": uid},
        "type": "Warning", "reason": "WorkerCrashed", "message": "ended by signal 9", "count": 1,
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z", "source": {"component": "test"},
    });
    let events: kube::Api<k8s_openapi::api::core::v1::Event> = kube::Api::default_namespaced(world.client());
    events.create(&Default::default(), &serde_json::from_value(event).unwrap()).await.unwrap();
    let text = world.run("events --for worker/story").await.ok();
    assert!(
        text.starts_with("LAST SEEN") && text.contains("worker/story") && text.contains("ended by signal 9"),
        "{text}"
    );
    assert!(world.run("describe worker story").await.ok().contains("WorkerCrashed"));
    assert_eq!(world.run("events --for model/bee").await.ok(), "");
}

#[tokio::test]
async fn the_objects_in_manifests_are_good() {
    let world = World::new().await;
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests");
    let quickstart = world.run(&format!("apply -f {root}/quickstart")).await.ok();
    assert_eq!(quickstart, "model.rbee.dev/tinybee created\nworker.rbee.dev/tinybee created\n");
    world.run(&format!("apply -f {root}/examples")).await.ok();
}

#[tokio::test]
async fn commands_that_need_an_object_name_it_when_it_is_not_there() {
    let world = World::new().await;
    let infer = |more: &str| format!("infer --prompt x {more}");
    world.run(&infer("--worker no-such")).await.refused(&["no-such"]);
    world.run(&infer("--model no-such")).await.refused(&["no-such"]);
    let late = world.run(&infer("--timeout 0 --model builtin:tinybee")).await.refused(&["LOADING_TIMEOUT"]);
    assert_eq!(late.out, "");
    let labelled = "get models,workers -l rbee.dev/created-by=infer -o name";
    assert_eq!(world.run(labelled).await.ok().lines().count(), 2, "what it declared stays for the next");
}
