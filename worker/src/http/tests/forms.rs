//! Answers of a wanted form, and forms that nobody could serve.

use super::{LONG, chat, error_code};
use crate::testing::engine::{TestEngine, noise};
use crate::testing::{TestWorker, tinybee_tokenizer};
use serde_json::{Value, json};

async fn worker() -> TestWorker {
    TestWorker::start(TestEngine::new(2, 1024, noise), None, LONG).await
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {"name": {"enum": ["bee", "ant"]}, "legs": {"type": "integer", "minimum": 4, "maximum": 8}},
        "required": ["name", "legs"],
        "additionalProperties": false,
    })
}

#[tokio::test]
async fn every_way_to_ask_for_a_form_is_served_on_every_endpoint() {
    let worker = worker().await;
    let named = json!({"type": "json_schema", "json_schema": {"name": "insect", "strict": true, "schema": schema()}});
    for more in [
        json!({"response_format": named}),
        json!({"response_format": {"type": "json_object", "schema": schema()}}),
        json!({"guided_json": schema()}),
        json!({"guided_json": schema().to_string()}),
        json!({"json_schema": schema()}),
    ] {
        let answer = worker.post("/v1/chat/completions", chat(more.clone())).await.json();
        let choice = &answer["choices"][0];
        let insect: Value = serde_json::from_str(choice["message"]["content"].as_str().unwrap()).unwrap();
        assert!(["bee", "ant"].contains(&insect["name"].as_str().unwrap()), "{insect}");
        assert!((4..=8).contains(&insect["legs"].as_i64().unwrap()) && choice["finish_reason"] == "stop", "{insect}");
    }
    for more in [
        json!({"guided_regex": "[ab]{3}-[0-9]{2}"}),
        json!({"response_format": {"type": "regex", "pattern": "[ab]{3}-[0-9]{2}"}}),
    ] {
        let mut body = json!({"model": "m", "prompt": "x"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let text = worker.post("/v1/completions", body.clone()).await.json()["choices"][0]["text"].clone();
        let text = text.as_str().unwrap();
        assert!(
            text.len() == 6 && text[..3].bytes().all(|b| b"ab".contains(&b)) && text[4..].parse::<u8>().is_ok(),
            "{text}"
        );
        body.as_object_mut().unwrap().remove("model");
        let events = worker.post("/v1/inference", body).await.completed();
        let text: String = events.iter().filter_map(|e| e["token"].as_str()).collect();
        assert!(text.len() == 6 && events.last().unwrap()["finish_reason"] == "stop", "{events:?}");
    }
}

#[tokio::test]
async fn choices_share_a_form() {
    let worker = worker().await;
    let answer = worker.post("/v1/chat/completions", chat(json!({"n": 3, "guided_json": schema()}))).await.json();
    for choice in answer["choices"].as_array().unwrap() {
        let text = choice["message"]["content"].as_str().unwrap();
        assert!(serde_json::from_str::<Value>(text).unwrap()["legs"].is_i64(), "{text}");
    }
}

#[tokio::test]
async fn forms_that_cannot_be_served_are_refused_and_the_worker_lives() {
    let worker = worker().await;
    let deep = (0..100).fold(json!({}), |inner, _| json!({"properties": {"a": inner}}));
    let large = json!({"type": "object", "properties": {"a": {"description": "x".repeat(5 << 20)}}});
    let json_schema = |schema: Value| json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}});
    let cases = [
        (json!({"guided_regex": "("}), "guided_regex"),
        (json!({"guided_regex": "a".repeat(9 << 10)}), "guided_regex"),
        (
            json_schema(
                json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
            ),
            "",
        ),
        (json_schema(json!({"$ref": "http://evil.test/schema.json"})), ""),
        (json_schema(json!({"type": "no-such-type"})), "response_format"),
        (json!({"json_schema": {"type": "no-such-type"}}), "json_schema"),
        (json_schema(large), "response_format.json_schema.schema"),
        (json_schema(deep), ""),
    ];
    let mut served = Vec::new();
    for (more, field) in cases {
        let answer = worker.post("/v1/chat/completions", chat(more.clone())).await;
        if answer.status != 400 {
            served.push(more.to_string().chars().take(100).collect::<String>());
            continue;
        }
        assert_eq!(error_code(&answer), "invalid_request", "{}", answer.text);
        assert!(field.is_empty() || answer.json()["error"]["param"] == field, "{}", answer.text);
        assert!(answer.text.len() < 2000);
    }
    assert!(served.is_empty(), "{served:#?}");
    // An automaton takes these as they are, in bounded time, or refuses them.
    for bomb in ["(x+x+)+y", "((((a{1,100}){1,100}){1,100}){1,100}){1,100}", "(a|b)*a(a|b){4000}", "(a?){5000}a{5000}"]
    {
        for form in [json!({"guided_regex": bomb}), json!({"guided_json": {"type": "string", "pattern": bomb}})] {
            let mut body = chat(json!({"max_tokens": 4}));
            body.as_object_mut().unwrap().extend(form.as_object().unwrap().clone());
            let answer = worker.post("/v1/chat/completions", body).await;
            assert!([200, 400].contains(&answer.status), "{form}: {answer:?}");
        }
    }
    let after = worker.post("/v1/chat/completions", chat(json!({"max_tokens": 1}))).await;
    assert_eq!(after.status, 200);
}

#[tokio::test]
async fn what_would_be_fetched_or_injected_is_refused() {
    let worker = worker().await;
    for url in ["http://127.0.0.1:9/x.png", "file:///etc/passwd", "data:image/png;base64,AAAA"] {
        let parts = json!([{"type": "image_url", "image_url": {"url": url}}]);
        let answer =
            worker.post("/v1/chat/completions", chat(json!({"messages": [{"role": "user", "content": parts}]}))).await;
        assert_eq!((answer.status, error_code(&answer).as_str()), (400, "unsupported_content"));
    }
    for (path, field) in [
        ("/v1/completions", "prompt_embeds"),
        ("/v1/completions", "suffix"),
        ("/v1/completions", "echo"),
        ("/v1/chat/completions", "chat_template"),
        ("/v1/chat/completions", "chat_template_kwargs"),
    ] {
        let mut body = if path == "/v1/completions" { json!({"model": "m", "prompt": "x"}) } else { chat(json!({})) };
        body[field] = if field == "echo" { true.into() } else { json!({"tokenize": true}) };
        let answer = worker.post(path, body).await;
        assert_eq!((answer.status, answer.json()["error"]["param"].as_str()), (400, Some(field)));
        assert_eq!(error_code(&answer), "unsupported_parameter");
    }
}

#[tokio::test]
async fn a_form_that_is_too_large_in_the_middle_of_an_answer_is_the_requests_fault() {
    // Letters without an order.
    let letters: Vec<u32> = ('a'..='z').map(|c| tinybee_tokenizer().encode_part(&c.to_string())[0]).collect();
    let engine = TestEngine::new(2, 1024, move |tokens| {
        let mut logits = noise(tokens);
        let drawn = logits.iter().take(16).map(|x| (x * 99.0) as usize).sum::<usize>();
        logits[letters[drawn % letters.len()] as usize] = 99.0;
        logits
    });
    let worker = TestWorker::start(engine, None, LONG).await;
    // Which of them began where must be remembered for as long as any of them: states without end.
    let late: Vec<String> = ('a'..='z').zip(90..).map(|(c, n)| format!("{c}.{{{n}}}")).collect();
    let form = json!({"guided_regex": format!(".*({}).*", late.join("|")), "max_tokens": 900});
    let whole = worker.post("/v1/chat/completions", chat(form.clone())).await;
    assert_eq!((whole.status, error_code(&whole).as_str()), (400, "invalid_request"), "{}", whole.text);
    assert_eq!(whole.json()["error"]["param"], "guided_regex", "{}", whole.text);
    let mut streamed = chat(form);
    streamed["stream"] = true.into();
    let events = worker.post("/v1/chat/completions", streamed).await.events();
    let last = events.last().unwrap();
    let error: Value = serde_json::from_str(&last.data).unwrap();
    assert_eq!((last.event.as_deref(), &error["error"]["code"]), (Some("error"), &json!("invalid_request")));
}
