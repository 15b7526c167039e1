//! The phases of one `infer` as Gherkin scenarios, run on the real executable.

#[path = "../support/mod.rs"]
mod support;

use cucumber::{World as _, given, then, when};
use serde_json::{Value, json};
use support::{Finished, Sandbox, Up, http, kill, wait_until};

#[derive(cucumber::World)]
#[world(init = Self::new)]
struct World {
    sandbox: Sandbox,
    up: Option<Up>,
    last: Option<Finished>,
    answers: Vec<String>,
    workers_before: Vec<i32>,
    replica: Option<i32>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("last", &self.last).finish_non_exhaustive()
    }
}

impl World {
    fn new() -> Self {
        Self {
            sandbox: Sandbox::new(),
            up: None,
            last: None,
            answers: Vec::new(),
            workers_before: Vec::new(),
            replica: None,
        }
    }

    fn object(&self, kind: &str, name: &str) -> Value {
        let found = self.sandbox.run(&["get", kind, name, "-o", "json"]);
        serde_json::from_str(&found.stdout).unwrap_or(Value::Null)
    }

    fn condition(&self, kind: &str, name: &str, type_: &str) -> Value {
        let object = self.object(kind, name);
        let all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|c| c["type"] == type_).unwrap_or(Value::Null)
    }

    fn apply(&mut self, document: &Value) {
        self.sandbox.feed(&["apply", "-f", "-"], &document.to_string()).ok();
    }

    fn worker_pids(&self) -> Vec<i32> {
        let own = self.up.as_ref().map(|u| u.running.pid());
        self.sandbox.processes().into_iter().map(|(pid, _)| pid).filter(|pid| Some(*pid) != own).collect()
    }

    fn last(&self) -> &Finished {
        self.last.as_ref().expect("a command was run")
    }

    fn model_with_sha256(&mut self, name: &str, sha256: &str) {
        let mut model = model(name, &format!("file://{}", self.sandbox.path("models/copy.gguf").display()));
        model["spec"]["sha256"] = sha256.into();
        self.apply(&model);
    }
}

fn quickstart() -> String {
    format!("{}/manifests/quickstart", env!("CARGO_MANIFEST_DIR"))
}

fn model(name: &str, uri: &str) -> Value {
    json!({"apiVersion": "rbee.dev/v1alpha1", "kind": "Model", "metadata": {"name": name}, "spec": {"uri": uri}})
}

#[given("a running rbee")]
fn a_running_rbee(w: &mut World) {
    w.up = Some(w.sandbox.up());
}

#[given("no queen")]
fn no_queen(w: &mut World) {
    assert!(w.sandbox.processes().is_empty());
}

#[given("the quickstart is applied and Ready")]
fn quickstart_ready(w: &mut World) {
    the_quickstart_is_applied(w);
    w.sandbox.run(&["wait", "--for=condition=Ready", "worker/tinybee", "--timeout=60s"]).ok();
    w.workers_before = w.worker_pids();
}

#[when("the quickstart is applied")]
fn the_quickstart_is_applied(w: &mut World) {
    w.sandbox.run(&["apply", "-f", &quickstart()]).ok();
}

#[given("the quickstart's Model is applied")]
fn the_quickstarts_model(w: &mut World) {
    w.apply(&model("tinybee", "builtin:tinybee"));
}

#[given(expr = "a copy of the model at {string}")]
fn a_copy_of_the_model(w: &mut World, name: String) {
    let source = format!("{}/libs/model/builtin/tinybee.gguf", env!("CARGO_MANIFEST_DIR"));
    w.sandbox.write(&name, std::fs::read(source).expect("the model that is built in"));
}

#[when(expr = "the Model {string} with that file is applied")]
fn a_model_with_that_file(w: &mut World, name: String) {
    let uri = format!("file://{}", w.sandbox.path("models/copy.gguf").display());
    w.apply(&model(&name, &uri));
}

#[when(expr = "the Model {string} with that file and its sha256 is applied")]
fn a_model_with_the_sha256(w: &mut World, name: String) {
    w.model_with_sha256(&name, rbee_model::builtin::get("tinybee").expect("it is built in").sha256);
}

#[when(expr = "the Model {string} with that file and another's sha256 is applied")]
fn a_model_with_another_sha256(w: &mut World, name: String) {
    w.model_with_sha256(&name, &"0".repeat(64));
}

#[when(expr = "the Model {string} with the file {string} is applied")]
fn a_model_with_a_file(w: &mut World, name: String, path: String) {
    w.apply(&model(&name, &format!("file://{path}")));
}

#[when(expr = "a Worker {string} with backend {string} is applied")]
fn a_worker_with_backend(w: &mut World, name: String, backend: String) {
    let spec = json!({"modelRef": {"name": "tinybee"}, "backend": backend});
    w.apply(&json!({"apiVersion": "rbee.dev/v1alpha1", "kind": "Worker", "metadata": {"name": name}, "spec": spec}));
}

#[when(expr = "somebody asks worker {string} for {int} tokens")]
fn ask_a_worker(w: &mut World, name: String, tokens: u32) {
    let tokens = tokens.to_string();
    w.last = Some(
        w.sandbox.run(&["infer", "--worker", &name, "--prompt", "write a short story", "--max-tokens", &tokens]).ok(),
    );
}

#[when(expr = "somebody asks worker {string} for {int} greedy tokens")]
fn ask_a_worker_greedily(w: &mut World, name: String, tokens: u32) {
    let tokens = tokens.to_string();
    let args =
        ["infer", "--worker", &name, "--prompt", "write a short story", "--temperature", "0", "--max-tokens", &tokens];
    let answer = w.sandbox.run(&args).ok();
    w.answers.push(answer.stdout.trim_end().to_owned());
}

#[when(expr = "somebody asks the gateway for {int} greedy tokens")]
fn ask_the_gateway(w: &mut World, tokens: u32) {
    let gateway = &w.up.as_ref().expect("rbee runs").gateway;
    let messages = json!([{"role": "user", "content": "write a short story"}]);
    let body = json!({"model": "tinybee", "messages": messages, "temperature": 0, "max_tokens": tokens}).to_string();
    let (status, text) = http("POST", &format!("{gateway}/v1/chat/completions"), &[], Some(&body)).expect("an answer");
    assert_eq!(status, 200, "{text}");
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    w.answers.push(answer["choices"][0]["message"]["content"].as_str().expect("a text").trim_end().to_owned());
}

#[when("somebody lists models")]
fn list_models(w: &mut World) {
    w.last = Some(w.sandbox.run(&["get", "models"]));
}

#[when(expr = "somebody runs infer from nothing for {int} tokens")]
fn infer_from_nothing(w: &mut World, tokens: u32) {
    let tokens = tokens.to_string();
    w.last = Some(w.sandbox.run(&["infer", "--prompt", "write a short story", "--max-tokens", &tokens]).ok());
}

#[then("the answer streams to stdout")]
fn answer_on_stdout(w: &mut World) {
    assert!(w.last().stdout.trim().len() > 20, "{:#?}", w.last());
}

#[then("no other worker process was started")]
fn no_other_worker(w: &mut World) {
    assert_eq!(w.worker_pids(), w.workers_before);
}

#[then(expr = "the summary names {int} tokens")]
fn the_summary(w: &mut World, tokens: u32) {
    let mark = format!("{tokens} tokens");
    assert!(w.last().stderr.lines().any(|l| l.contains(&mark) && l.contains("tok/s")), "{:#?}", w.last());
}

#[then(expr = "the command fails with exit code {int}")]
fn the_command_fails(w: &mut World, code: i32) {
    assert_eq!(w.last().code, Some(code), "{:#?}", w.last());
}

#[then(expr = "stderr says {string}")]
fn stderr_says(w: &mut World, text: String) {
    assert!(w.last().stderr.contains(&text), "{:#?}", w.last());
}

#[then("stderr tells about the model, the worker and the loading")]
fn stderr_tells_phases(w: &mut World) {
    let told = w.last().stderr.to_lowercase();
    for word in ["model", "worker", "load"] {
        assert!(told.contains(word), "no {word:?} in {:#?}", w.last());
    }
}

#[then("nothing is left running")]
fn nothing_left(w: &mut World) {
    w.sandbox.nothing_left();
}

#[then(expr = "the Model {string} becomes Ready")]
fn the_model_becomes_ready(w: &mut World, name: String) {
    wait_until("the Model is Ready", 30, || w.condition("model", &name, "Ready")["status"] == "True");
}

#[then(expr = "the Model {string} has architecture {string} and {int} layers")]
fn the_model_has(w: &mut World, name: String, architecture: String, layers: i64) {
    let gguf = &w.object("model", &name)["status"]["gguf"];
    assert_eq!((&gguf["architecture"], &gguf["layerCount"]), (&json!(architecture), &json!(layers)), "{gguf}");
}

#[then(expr = "the Model {string} is not Ready and says {string}")]
fn the_model_says(w: &mut World, name: String, text: String) {
    wait_until("the reason is told", 30, || {
        w.object("model", &name)["status"]["conditions"].to_string().contains(&text)
    });
    assert_ne!(w.condition("model", &name, "Ready")["status"], "True");
}

#[then(expr = "the Worker {string} is not Scheduled and says {string}")]
fn the_worker_says(w: &mut World, name: String, text: String) {
    wait_until("Scheduled is False", 20, || w.condition("worker", &name, "Scheduled")["status"] == "False");
    let condition = w.condition("worker", &name, "Scheduled").to_string();
    assert!(condition.contains(&text), "{condition}");
}

#[then("no worker process runs")]
fn no_worker_process(w: &mut World) {
    assert!(w.worker_pids().is_empty(), "{:?}", w.sandbox.processes());
}

#[then(expr = "the Assignment of worker {string} becomes Ready with a url and a pid")]
fn the_assignment_becomes_ready(w: &mut World, name: String) {
    let selector = format!("rbee.dev/worker={name}");
    let mut status = Value::Null;
    wait_until("an Assignment is Ready", 60, || {
        let found = w.sandbox.run(&["get", "assignments", "-l", &selector, "-o", "json"]);
        let list: Value = serde_json::from_str(&found.stdout).unwrap_or(Value::Null);
        status = list["items"][0]["status"].clone();
        status["state"] == "Ready"
    });
    assert!(status["url"].as_str().is_some_and(|u| u.starts_with("http://127.0.0.1:")), "{status}");
    w.replica = status["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    assert!(w.replica.is_some(), "{status}");
}

#[then("that process is alive")]
fn that_process_is_alive(w: &mut World) {
    let pid = w.replica.expect("a pid");
    assert!(w.worker_pids().contains(&pid), "{:?}", w.sandbox.processes());
    kill(pid, rustix::process::Signal::CONT);
}

#[then("both answers are the reference text")]
fn both_answers_are_the_reference(w: &mut World) {
    let reference = &support::expected()[0];
    let sure = reference["sure_text"].as_str().expect("a text");
    assert_eq!(w.answers.len(), 2);
    assert_eq!(w.answers[0], w.answers[1]);
    assert!(w.answers[0].starts_with(sure), "{:?} does not begin with {sure:?}", w.answers[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn first_light() {
    let features = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/features");
    let told = World::cucumber().max_concurrent_scenarios(1).fail_on_skipped().with_default_cli().run(features).await;
    let failed = cucumber::writer::Stats::<World>::execution_has_failed(&told);
    assert!(!failed, "scenarios failed; they are told above");
}
