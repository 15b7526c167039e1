//! Model files that change while a worker has them mapped.

use std::fs::{self, OpenOptions};

use rbee_model::builtin;
use rbee_model::testing::ModelSpec;
use serde_json::{Value, json};

use crate::support::{Sandbox, http, wait_until};
use crate::worker::Worker;

fn tinybee() -> &'static [u8] {
    builtin::get("tinybee").expect("tinybee is built in").bytes
}

#[test]
fn a_file_that_is_replaced_or_deleted_is_served_as_it_was() {
    let sandbox = Sandbox::new();
    let path = sandbox.write("bee.gguf", tinybee());
    let worker = Worker::ready(&sandbox, &path, &[]);
    let before = worker.text("write a short story", 12);
    let other = sandbox.write("other.gguf", ModelSpec::default().file().bytes());
    fs::rename(other, &path).expect("a file that can be replaced");
    assert_eq!(worker.text("write a short story", 12), before);
    fs::remove_file(&path).expect("a file that can be deleted");
    assert_eq!(worker.text("write a short story", 12), before);
}

#[test]
fn a_file_that_is_cut_costs_the_worker_at_most_and_its_hive_starts_it_again() {
    let sandbox = Sandbox::new();
    let path = sandbox.write("bee.gguf", tinybee());
    let up = sandbox.up();
    let manifest = format!(
        "apiVersion: rbee.dev/v1alpha1\nkind: Model\nmetadata: {{name: bee}}\nspec: {{uri: 'file://{}'}}\n---\n\
         apiVersion: rbee.dev/v1alpha1\nkind: Worker\nmetadata: {{name: bee}}\nspec: {{modelRef: {{name: bee}}, replicas: 1, slots: 1}}\n",
        path.display()
    );
    let manifest = sandbox.write("bee.yaml", manifest).display().to_string();
    sandbox.run(&["apply", "-f", &manifest]).ok();
    sandbox.run(&["wait", "--for=condition=Ready", "worker/bee", "--timeout=60s"]).ok();
    let ask = || {
        let body = json!({"model": "bee", "prompt": "write a short story", "max_tokens": 12, "temperature": 0});
        http("POST", &format!("{}/v1/completions", up.gateway), &[], Some(&body.to_string()))
    };
    let text =
        |body: &str| serde_json::from_str::<Value>(body).map(|v| v["choices"][0]["text"].clone()).unwrap_or_default();
    let (status, body) = ask().expect("an answer");
    assert_eq!(status, 200, "{body}");
    let before = text(&body);

    // The worker dies by SIGBUS or goes on; nothing else may end, and no wrong text comes out.
    OpenOptions::new().write(true).truncate(true).open(&path).expect("a file that can be cut");
    if let Some((200, body)) = ask() {
        assert_eq!(text(&body), before);
    }
    let hive = http("GET", &format!("{}/v1/health", up.hive), &[], None);
    assert_eq!(hive.map(|(status, _)| status), Some(200));

    fs::write(&path, tinybee()).expect("a file that can be written");
    wait_until("the model is served again", 90, || {
        ask().is_some_and(|(status, body)| status == 200 && text(&body) == before)
    });
    drop(up);
}
