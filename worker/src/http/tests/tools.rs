//! Functions: told to the model by its template, called in its family's words, handed on in OpenAI's.

use super::{LONG, chat, error_code};
use crate::testing::engine::{TestEngine, noise};
use crate::testing::{Answer, TestWorker, tinybee_tokenizer};
use rbee_engine::fake::FakeEngine;
use serde_json::{Value, json};

const HERMES: &str =
    "{{ tools | tojson }}{% for m in messages %}{{ m.content }}{% endfor %}{# <tool_call> arguments #}";
const LLAMA: &str = "{{ tools }}{% for m in messages %}{{ m.content }}{% endfor %}{# <|python_tag|> #}";
const MISTRAL: &str = "{{ tools }}{% for m in messages %}{{ m.content }}{% endfor %}{# [TOOL_CALLS] #}";

fn tools() -> Value {
    let parameters = json!({
        "type": "object",
        "properties": {"city": {"enum": ["Oslo", "Bern"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["city", "days"],
        "additionalProperties": false,
    });
    json!([
        {"type": "function", "function": {"name": "weather", "description": "of a city", "parameters": parameters}},
        {"type": "function", "function": {"name": "time"}},
    ])
}

/// A worker whose model says this text.
async fn saying(text: &str, template: &str) -> TestWorker {
    let script = tinybee_tokenizer().encode(text);
    TestWorker::with_template(FakeEngine::new(2, 2048, 1280, script, 2), Some(template), None, LONG).await
}

async fn ask(worker: &TestWorker, more: Value) -> Answer {
    let mut body = chat(json!({"tools": tools()}));
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    worker.post("/v1/chat/completions", body).await
}

fn said() -> [(&'static str, &'static str, &'static str); 3] {
    let call = "{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\", \"days\": 2}}";
    let hermes = "I look.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\", \"days\": 2}}\n</tool_call>\n\
                  <tool_call>\n{\"name\": \"time\", \"arguments\": {}}\n</tool_call>";
    let llama = "{\"name\": \"weather\", \"parameters\": {\"city\": \"Oslo\", \"days\": 2}}; {\"name\": \"time\", \"parameters\": {}}";
    let mistral = "[{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\", \"days\": 2}}, {\"name\": \"time\", \"arguments\": {}}]";
    assert!(hermes.contains(call));
    [(HERMES, hermes, "I look."), (LLAMA, llama, ""), (MISTRAL, mistral, "")]
}

#[tokio::test]
async fn calls_are_told_in_openais_shape() {
    for (template, text, content) in said() {
        let worker = saying(text, template).await;
        let answer = ask(&worker, json!({})).await.json();
        let (choice, message) = (&answer["choices"][0], &answer["choices"][0]["message"]);
        assert_eq!(choice["finish_reason"], "tool_calls", "{answer}");
        let wanted = if content.is_empty() { Value::Null } else { content.into() };
        assert_eq!((&message["role"], &message["content"]), (&json!("assistant"), &wanted));
        let calls = message["tool_calls"].as_array().unwrap();
        let functions: Vec<&Value> = calls.iter().map(|c| &c["function"]).collect();
        assert_eq!(functions[0], &json!({"name": "weather", "arguments": "{\"city\": \"Oslo\", \"days\": 2}"}));
        assert_eq!(functions[1], &json!({"name": "time", "arguments": "{}"}));
        let ids: Vec<&str> = calls.iter().map(|c| c["id"].as_str().unwrap()).collect();
        assert!(ids[0] != ids[1] && calls.iter().all(|c| c["type"] == "function"));
        assert_eq!(ids[0].len() == 9, template == MISTRAL, "{ids:?}");
        let one = ask(&worker, json!({"parallel_tool_calls": false})).await.json();
        assert_eq!(one["choices"][0]["message"]["tool_calls"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn calls_are_streamed_as_they_are_written() {
    for (template, text, content) in said() {
        let worker = saying(text, template).await;
        let chunks = ask(&worker, json!({"stream": true})).await.completed();
        let deltas: Vec<&Value> = chunks.iter().map(|c| &c["choices"][0]["delta"]).collect();
        assert_eq!(deltas[0], &json!({"role": "assistant", "content": ""}));
        assert_eq!(deltas.iter().filter_map(|d| d["content"].as_str()).collect::<String>(), content);
        let pieces: Vec<&Value> = deltas.iter().filter_map(|d| d["tool_calls"].get(0)).collect();
        for (index, name, arguments) in [(0, "weather", "{\"city\": \"Oslo\", \"days\": 2}"), (1, "time", "{}")] {
            let of: Vec<&&Value> = pieces.iter().filter(|p| p["index"] == index).collect();
            assert_eq!(
                (&of[0]["type"], &of[0]["function"]),
                (&json!("function"), &json!({"name": name, "arguments": ""}))
            );
            assert!(
                of[0]["id"].is_string()
                    && of[1..].iter().all(|p| p.get("id").is_none() && p["function"].get("name").is_none())
            );
            let text: String = of.iter().filter_map(|p| p["function"]["arguments"].as_str()).collect();
            assert_eq!(text, arguments);
            assert!(index == 1 || of.len() > 3, "in pieces: {of:?}");
        }
        assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
    }
}

#[tokio::test]
async fn text_without_calls_and_calls_that_are_cut_off_end_as_they_do() {
    let worker = saying("No call. <tool_", HERMES).await;
    let answer = ask(&worker, json!({})).await.json();
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(
        answer["choices"][0]["message"],
        json!({"role": "assistant", "content": "No call. <tool_", "refusal": null})
    );
    let (template, text, _) = said()[1];
    let worker = saying(text, template).await;
    let cut = ask(&worker, json!({"max_tokens": tinybee_tokenizer().encode("{\"name\": \"weather\", \"par").len()}))
        .await
        .json();
    let choice = &cut["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["tool_calls"][0]["function"]["name"]),
        (&json!("length"), &json!("weather"))
    );
    let off = ask(&worker, json!({"tool_choice": "none"})).await.json();
    assert_eq!(
        (&off["choices"][0]["message"]["content"], &off["choices"][0]["finish_reason"]),
        (&json!(text), &json!("stop"))
    );
}

#[tokio::test]
async fn a_forced_call_fits_its_function_in_every_family() {
    for template in [HERMES, LLAMA, MISTRAL] {
        let worker = TestWorker::with_template(TestEngine::new(2, 2048, noise), Some(template), None, LONG).await;
        let named = json!({"type": "function", "function": {"name": "weather"}});
        for choice in [named, json!("required")] {
            let more = json!({"tool_choice": choice, "parallel_tool_calls": false, "seed": 5});
            let answer = ask(&worker, more).await.json();
            let (reason, message) = (&answer["choices"][0]["finish_reason"], &answer["choices"][0]["message"]);
            assert_eq!((reason, &message["content"]), (&json!("tool_calls"), &Value::Null), "{template}: {answer}");
            let function = &message["tool_calls"][0]["function"];
            let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
            if function["name"] == "weather" {
                assert!(["Oslo", "Bern"].contains(&arguments["city"].as_str().unwrap()) && arguments["days"].is_i64());
            } else {
                assert!(function["name"] == "time" && choice == "required");
                assert_eq!(arguments, json!({}), "a function without parameters has no arguments");
            }
        }
    }
}

#[tokio::test]
async fn a_model_that_knows_no_functions_says_so() {
    let plain = saying("x", "{% for m in messages %}{{ m.content }}{% endfor %}").await;
    let answer = ask(&plain, json!({})).await;
    assert_eq!((answer.status, answer.json()["error"]["param"].as_str()), (400, Some("tools")));
    assert!(error_code(&answer) == "unsupported_parameter" && answer.text.contains("template has no tools"));
    assert_eq!(ask(&plain, json!({"tool_choice": "none"})).await.status, 200);
    let strange = ask(&saying("x", "{{ tools }}").await, json!({})).await;
    assert!(strange.status == 400 && strange.text.contains("is not known"), "{strange:?}");
    let hermes = saying("x", HERMES).await;
    let function = |parameters: Value| {
        let function = json!({"type": "function", "function": {"name": "f", "parameters": parameters}});
        json!({"tools": [function], "tool_choice": "required"})
    };
    let endless = json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}});
    for (more, field) in [
        (json!({"tool_choice": {"type": "function", "function": {"name": "other"}}}), "tool_choice.function.name"),
        (json!({"response_format": {"type": "json_object"}}), "tools"),
        (function(json!({"type": "nonsense"})), "tools.f.parameters"),
        (function(endless), "tools.f.parameters"),
    ] {
        let answer = ask(&hermes, more).await;
        assert_eq!((answer.status, answer.json()["error"]["param"].as_str()), (400, Some(field)), "{}", answer.text);
    }
    let shown = hermes.call("GET", "/v1/models", &[], None).await.json();
    assert_eq!(shown["data"][0]["capabilities"], json!(["chat", "completions", "embeddings", "tools"]));
}
