//! Chat templates that loop, grow, recurse or reach out: the request is refused with 400, and the worker goes on.

use rbee_model::gguf::Value;
use rbee_model::testing::ModelSpec;
use serde_json::json;

use crate::support::Sandbox;
use crate::worker::{Worker, memory};

/// Templates and what they try.
const HOSTILE: &[(&str, &str)] = &[
    ("loops in loops", "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}"),
    (
        "a text that doubles",
        "{% set ns = namespace(s='xxxxxxxx') %}{% for a in range(40) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}",
    ),
    ("a text that is repeated", "{{ 'x' * 99999999 * 99 }}"),
    ("a macro that calls itself", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
    ("a template that includes itself", "{% include 'chat_template' %}"),
    ("classes of Python", "{{ ''.__class__.__mro__[1].__subclasses__() }}"),
    ("an unknown filter", "{{ messages | no_such_filter }}"),
    ("an exception", "{{ raise_exception('roles must alternate') }}"),
    ("no template", "{% for %}"),
];

#[test]
fn hostile_templates_end_their_request_only() {
    let sandbox = Sandbox::new();
    for (what, template) in HOSTILE {
        let file = ModelSpec::default().file().with("tokenizer.chat_template", Value::String((*template).to_owned()));
        let path = sandbox.write("hostile.gguf", file.bytes());
        let worker = Worker::ready(&sandbox, &path, &[]);
        let before = memory(worker.running.pid(), "VmHWM");
        let chat = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4});
        let (status, body) = worker.post("/v1/chat/completions", &chat).expect("an answer");
        assert_eq!((status, &body["error"]["code"]), (400, &json!("template_error")), "{what}: {body}");
        let more = memory(worker.running.pid(), "VmHWM") - before;
        // 64 bytes for each step that a template may take, and the same again while a text is copied.
        assert!(more < 128 << 20, "{what}: {more} bytes more");
        worker.text("hi", 4);
    }
}

#[test]
fn a_request_brings_no_template_of_its_own() {
    let sandbox = Sandbox::new();
    let template = "{% for m in messages %}{{ m.content }}{% endfor %}{{ tokenize }}";
    let file = ModelSpec::default().file().with("tokenizer.chat_template", Value::String(template.to_owned()));
    let worker = Worker::ready(&sandbox, &sandbox.write("plain.gguf", file.bytes()), &[]);
    let plain =
        json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4, "temperature": 0});
    let (status, expected) = worker.post("/v1/chat/completions", &plain).expect("an answer");
    assert_eq!(status, 200, "{expected}");
    for (field, value) in [
        ("chat_template", json!("{{ 'x' * 100 }}")),
        ("chat_template_kwargs", json!({"tokenize": true, "messages": []})),
    ] {
        let mut request = plain.clone();
        request[field] = value;
        let (status, body) = worker.post("/v1/chat/completions", &request).expect("an answer");
        // Refused by name, or ignored: the prompt has as many tokens, the answer is the same.
        match status {
            200 => assert_eq!(
                (&body["choices"], &body["usage"]["prompt_tokens"]),
                (&expected["choices"], &expected["usage"]["prompt_tokens"]),
                "{field}"
            ),
            _ => assert!(status == 400 && body["error"]["param"] == field, "{field}: {status} {body}"),
        }
    }
}
