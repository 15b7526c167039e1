//! The executable and tinybee: from one command to a story, and every way to interrupt it.

#[path = "../support/mod.rs"]
mod support;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::checkpoint::{checkpoint, sound};
use support::{Sandbox, expected, http, kill, missing, wait_until};

const PROMPT: &str = "write a short story";

#[test]
fn one_command_tells_a_story_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let told = sandbox.run(&["infer", "--prompt", PROMPT, "--max-tokens", "20", "--temperature", "0"]).ok();
    let sure = expected()[0]["sure_text"].as_str().expect("a text").to_owned();
    assert!(told.stdout.starts_with(&sure), "{told:#?}");
    assert!(told.stderr.lines().any(|l| l.contains("20 tokens") && l.contains("tok/s")), "{told:#?}");
    assert!(!told.stderr.contains('\u{1b}'), "colours in a pipe: {told:#?}");
    sandbox.nothing_left();
}

#[test]
fn a_file_works_like_the_model_that_is_built_in() {
    let sandbox = Sandbox::new();
    let bytes =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/libs/model/builtin/tinybee.gguf")).expect("the model");
    let path = sandbox.write("copy.gguf", bytes);
    let reference = format!("file://{}", path.display());
    let exact = expected().into_iter().find(|c| c["exact"] == true && c["mode"] == "chat").expect("an exact answer");
    let prompt = exact["prompt"].as_str().expect("a prompt");
    let told = sandbox
        .run(&["infer", "--model", &reference, "--prompt", prompt, "--max-tokens", "60", "--temperature", "0"])
        .ok();
    assert_eq!(told.stdout.trim_end(), exact["greedy_text"].as_str().expect("a text"));
    sandbox.nothing_left();
}

#[test]
fn a_checkpoints_folder_works_like_a_file() {
    let sandbox = Sandbox::new();
    let folder = checkpoint(&sandbox, "bee", &sound());
    let reference = format!("file://{}", folder.display());
    let infer = ["infer", "--model", &reference, "--prompt", PROMPT, "--max-tokens", "5", "--temperature", "0"];
    let told = sandbox.run(&infer).ok();
    assert_eq!(told.stdout.trim_end_matches('\n').chars().count(), 5, "{told:#?}");
    std::fs::remove_file(folder.join("tokenizer.json")).expect("it was there");
    sandbox.run(&infer).refused(1, &["InvalidModelFile", "tokenizer.json"]);
    sandbox.nothing_left();
}

#[test]
fn files_that_are_no_model_end_it_at_once() {
    let sandbox = Sandbox::new();
    let garbage = sandbox.write("garbage.gguf", [7_u8; 4096]);
    for (reference, code, says) in [
        (format!("file://{}", garbage.display()), 1, "GGUF"),
        ("file:///no/such/model.gguf".to_owned(), 1, "/no/such/model.gguf"),
        ("gopher://x/y.gguf".to_owned(), 2, "gopher://x/y.gguf"),
        ("builtin:no-such".to_owned(), 1, "builtin:no-such"),
    ] {
        let told = sandbox.run(&["infer", "--model", &reference, "--prompt", PROMPT]).refused(code, &[says]);
        assert_eq!(told.stdout, "");
    }
    sandbox.nothing_left();
}

#[test]
fn a_file_that_only_a_worker_finds_damaged_ends_it_with_that_reason() {
    let sandbox = Sandbox::new();
    let mut bytes =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/libs/model/builtin/tinybee.gguf")).expect("the model");
    let header = rbee_model::gguf::Header::from_bytes(&bytes).expect("a sound header");
    let norm = header.tensor("output_norm.weight").expect("it is there");
    let start = (header.data_offset() + norm.offset) as usize;
    // No numbers.
    bytes[start..start + 8].fill(0xff);
    let path = sandbox.write("damaged.gguf", bytes);
    let reference = format!("file://{}", path.display());
    sandbox.run(&["infer", "--model", &reference, "--prompt", PROMPT]).refused(1, &["InvalidModelFile", "finite"]);
    sandbox.nothing_left();
}

#[test]
fn an_interrupt_at_the_start_exits_130_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let mut infer = sandbox.start(&["infer", "--prompt", PROMPT, "--max-tokens", "200"]);
    wait_until("a first word on stderr", 20, || !infer.stderr().is_empty());
    infer.signal(Signal::INT);
    assert_eq!(infer.wait(10), 130, "{}", infer.stderr());
    sandbox.nothing_left();
}

#[test]
fn a_worker_that_is_killed_comes_back_by_itself() {
    let sandbox = Sandbox::new();
    let up = sandbox.up();
    sandbox.run(&["apply", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/quickstart")]).ok();
    sandbox.run(&["wait", "--for=condition=Ready", "worker/tinybee", "--timeout=60s"]).ok();
    let status = || -> Value {
        let found = sandbox.run(&["get", "assignments", "-o", "json"]);
        serde_json::from_str::<Value>(&found.stdout).map(|l| l["items"][0]["status"].clone()).unwrap_or_default()
    };
    let first = status()["pid"].as_i64().expect("a pid");
    kill(i32::try_from(first).expect("a pid"), Signal::KILL);
    wait_until("another process is Ready", 60, || {
        let now = status();
        now["state"] == "Ready" && now["pid"].as_i64().is_some_and(|pid| pid != first)
    });
    assert_eq!(status()["restarts"], 1);
    assert!(status()["lastFailure"]["message"].to_string().contains("SIGKILL"), "{}", status());
    let events = sandbox.run(&["get", "events"]).ok().stdout;
    assert!(events.contains("Warning") && events.contains("SIGKILL"), "{events}");
    drop(up);
}

#[test]
fn the_openai_client_of_python_works_against_the_gateway() {
    let Some(python) = std::env::var_os("RBEE_TEST_PYTHON") else {
        return missing("python with `openai` (RBEE_TEST_PYTHON)");
    };
    let sandbox = Sandbox::new();
    let up = sandbox.up();
    sandbox.run(&["apply", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/quickstart")]).ok();
    sandbox.run(&["wait", "--for=condition=Ready", "worker/tinybee", "--timeout=60s"]).ok();
    let script = sandbox.write("client.py", include_str!("openai_client.py"));
    let program = std::path::Path::new(&python).join("bin/python");
    let mut command = sandbox.foreign(&program, &[&script.display().to_string(), &up.gateway]);
    command.env("NO_PROXY", "*");
    let told = sandbox.finish(command, &["client.py"], "").ok();
    let told: Value = serde_json::from_str(&told.stdout).expect("JSON");
    let sure = expected()[0]["sure_text"].as_str().expect("a text").to_owned();
    for way in ["whole", "streamed"] {
        assert!(told[way].as_str().is_some_and(|t| t.starts_with(&sure)), "{way}: {told}");
    }
    assert_eq!(told["models"], json!(["tinybee"]));
    assert_eq!(told["unknown"], json!([404, "model_not_found"]));
    assert_eq!(told["refused"], json!([400, "max_tokens"]));
    assert_eq!(told["tools"], json!([400, "tools"]), "tinybee's template has none");
    assert_eq!((&told["several"], &told["completion"]), (&json!([0, 1]), &json!(true)), "tokens make the text: {told}");
    assert_eq!((&told["formed"], &told["vectors"]), (&json!(["kind", "legs"]), &json!([1.0, 1.0])), "{told}");
    let after = http("GET", &format!("{}/readyz", up.gateway), &[], None);
    assert_eq!(after.map(|(status, _)| status), Some(200));
}
