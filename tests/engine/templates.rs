//! Chat templates that loop, grow, recurse or reach out: the request is refused with 400, and the worker goes on.

use rbee_model::gguf::Value;
use rbee_model::testing::ModelSpec;
use serde_json::json;

use crate::support::Sandbox;
use crate::worker::{Worker, memory};

/// Templates and what they try.
fn hostile() -> Vec<(&'static str, String)> {
    let nested = |value: &str, then: &str| {
        format!(
            "{{% set ns = namespace(s=[]) %}}{{% for a in range(90000) %}}{{% set ns.s = {value} %}}{{% endfor %}}{then}"
        )
    };
    let print = |expression: &str| format!("{{{{ {expression} }}}}");
    let again = |expression: &str| {
        format!(
            "{{% set t = 'x' * 999999 %}}{{% set u = t ~ '' %}}{{% for a in range(99999) %}}{{% set x = {expression} %}}{{% endfor %}}"
        )
    };
    let doubled = |then: &str| {
        format!(
            "{{% set ns = namespace(s=[1, 1]) %}}{{% for a in range(40) %}}{{% set ns.s = [ns.s, ns.s] %}}{{% endfor %}}{then}"
        )
    };
    vec![
        ("loops in loops", "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}".into()),
        (
            "a text that doubles",
            "{% set ns = namespace(s='xxxxxxxx') %}{% for a in range(40) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}".into(),
        ),
        (
            "a list that doubles",
            "{% set ns = namespace(s=[1]) %}{% for a in range(40) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s | length }}".into(),
        ),
        ("a text that is repeated", print("'x' * 99999999 * 99")),
        ("a text replaced by texts", print("('x' * 99999).replace('x', 'y' * 99999) | length")),
        ("a text that is split", print("('x,' * 9999999).split(',') | length")),
        ("letters that are joined", print("('x' * 99999) | list | join('y' * 9999) | length")),
        ("lines that are indented", print("('x\\n' * 99999) | indent(9999) | length")),
        ("texts that are compared", again("t == u")),
        ("texts that are searched", again("t.count('y')")),
        ("a list that holds itself twice, printed", doubled("{{ ns.s }}")),
        ("a list that holds itself twice, as JSON", doubled("{{ ns.s | tojson }}")),
        ("a list that holds itself twice, compared", doubled("{{ ns.s == [ns.s[0], ns.s[1] + []] }}")),
        ("a sum without end", print(&format!("1{}", "+1".repeat(300_000)))),
        ("a sum of the longest source", print(&format!("x.y{}", "+1".repeat(60_000)))),
        ("minus without end", print(&format!("{}1", "-".repeat(100_000)))),
        ("not without end", print(&format!("{}1", "not ".repeat(30_000)))),
        ("brackets without end", print(&"(".repeat(100_000))),
        ("filters without end", print(&format!("1{}|nothing", "|string".repeat(15_000)))),
        ("attributes without end", print(&format!("messages{}", ".a".repeat(60_000)))),
        ("texts without end", print(&format!("'a'{} + 1", "~'b'".repeat(30_000)))),
        ("branches without end", format!("{{% if 0 %}}{}{{% endif %}}{{{{ x.y }}}}", "{% elif 0 %}".repeat(10_000))),
        ("blocks without end", "{% if 1 %}".repeat(10_000)),
        ("lists in lists, dropped", nested("[ns.s]", "")),
        ("lists in lists, printed", nested("[ns.s]", "{{ ns.s }}")),
        ("lists in lists, as JSON", nested("[ns.s]", "{{ ns.s | tojson }}")),
        ("lists in lists, compared", nested("[ns.s]", "{{ ns.s == [ns.s[0]] }}")),
        ("dictionaries in dictionaries", nested("{'a': ns.s}", "{{ ns.s }}")),
        ("a namespace in itself, as JSON", "{% set ns = namespace() %}{% set ns.s = ns %}{{ ns | tojson }}".into()),
        ("a macro that calls itself", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".into()),
        ("a template that includes itself", "{% include 'chat_template' %}".into()),
        ("classes of Python", "{{ ''.__class__.__mro__[1].__subclasses__() }}".into()),
        ("an unknown filter", "{{ messages | no_such_filter }}".into()),
        ("an exception", "{{ raise_exception('roles must alternate') }}".into()),
        ("no template", "{% for %}".into()),
    ]
}

#[test]
fn hostile_templates_end_their_request_only() {
    let sandbox = Sandbox::new();
    for (what, template) in hostile() {
        let file = ModelSpec::default().file().with("tokenizer.chat_template", Value::String(template));
        let path = sandbox.write("hostile.gguf", file.bytes());
        let worker = Worker::ready(&sandbox, &path, &[]);
        let before = memory(worker.running.pid(), "VmHWM");
        let chat = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4});
        let (status, body) = worker.post("/v1/chat/completions", &chat).expect("an answer");
        assert_eq!((status, &body["error"]["code"]), (400, &json!("template_error")), "{what}: {body}");
        let more = memory(worker.running.pid(), "VmHWM") - before;
        // A rendering pays for 16 MiB at most, and a text that grows is copied into one twice as long.
        assert!(more < 48 << 20, "{what}: {more} bytes more");
        worker.text("hi", 4);
    }
}

#[test]
fn a_namespace_that_contains_itself_is_printed_and_the_worker_goes_on() {
    let sandbox = Sandbox::new();
    let template = "{% set ns = namespace() %}{% set ns.s = ns %}{{ ns }}{{ ns.s.s }}";
    let file = ModelSpec::default().file().with("tokenizer.chat_template", Value::String(template.to_owned()));
    let worker = Worker::ready(&sandbox, &sandbox.write("itself.gguf", file.bytes()), &[]);
    let chat = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4});
    let (status, body) = worker.post("/v1/chat/completions", &chat).expect("an answer");
    assert_eq!(status, 200, "{body}");
    worker.text("hi", 4);
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
