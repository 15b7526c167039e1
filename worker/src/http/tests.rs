//! The endpoints over real connections, with an engine that says what it is told.

mod choices;
mod embeddings;
mod forms;
mod tools;

use super::prompt::Input;
use super::{Phase, generate};
use crate::testing::{Answer, Case, TestWorker, reference, wait_until};
use rbee_engine::fake::FakeEngine;
use rbee_wire::ErrorCode;
use rbee_wire::openai::{Prompt, Sampling};
use serde_json::{Value, json};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LONG: Duration = Duration::from_secs(60);

fn short() -> Case {
    reference().swap_remove(1)
}

fn engine() -> FakeEngine {
    FakeEngine::new(2, 256, 1280, short().greedy_ids, 2)
}

async fn worker() -> TestWorker {
    TestWorker::start(engine(), None, LONG).await
}

fn gated() -> (FakeEngine, SyncSender<()>) {
    let (gate, steps) = sync_channel(0);
    (engine().gated(steps), gate)
}

fn chat(more: Value) -> Value {
    let mut body = json!({"model": "any", "messages": [{"role": "user", "content": "hello"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn error_code(answer: &Answer) -> String {
    answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_chat_is_answered_whole_and_as_a_stream() {
    let worker = worker().await;
    let whole = worker.post("/v1/chat/completions", chat(json!({}))).await;
    let body = whole.json();
    assert_eq!(
        (whole.status, body["object"].as_str(), body["model"].as_str()),
        (200, Some("chat.completion"), Some("any"))
    );
    let message = json!({"role": "assistant", "content": short().greedy_text, "refusal": null});
    assert_eq!(body["choices"][0]["message"], message);
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert_eq!(body["usage"]["completion_tokens"], short().greedy_ids.len());
    let options = json!({"stream": true, "stream_options": {"include_usage": true}});
    let chunks = worker.post("/v1/chat/completions", chat(options)).await.completed();
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let text: String = chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, short().greedy_text);
    let (usage, end) = (&chunks[chunks.len() - 1], &chunks[chunks.len() - 2]);
    assert_eq!((&usage["choices"], &usage["usage"]["total_tokens"]), (&json!([]), &body["usage"]["total_tokens"]));
    let cached = &usage["usage"]["prompt_tokens_details"]["cached_tokens"];
    assert!(cached.as_u64() < body["usage"]["prompt_tokens"].as_u64(), "{usage}");
    assert_eq!(end["choices"][0]["finish_reason"], "stop");
    assert!(chunks.iter().all(|c| c["id"] == chunks[0]["id"] && c["object"] == "chat.completion.chunk"));
    assert!(chunks[..chunks.len() - 1].iter().all(|c| c.get("usage") == Some(&Value::Null)), "as OpenAI has it");
    let plain = worker.post("/v1/chat/completions", chat(json!({"stream": true}))).await.completed();
    assert!(plain.iter().all(|c| c.get("usage").is_none()));
}

#[tokio::test]
async fn completions_take_text_and_tokens() {
    let worker = worker().await;
    for prompt in [json!("Once"), json!([469, 14])] {
        let body = json!({"model": "m", "prompt": prompt, "max_tokens": 3});
        let answer = worker.post("/v1/completions", body).await.json();
        assert_eq!(
            (answer["object"].as_str(), answer["choices"][0]["finish_reason"].as_str()),
            (Some("text_completion"), Some("length"))
        );
    }
    let bad = worker.post("/v1/completions", json!({"model": "m", "prompt": [5000]})).await;
    assert_eq!((bad.status, bad.json()["error"]["param"].as_str()), (400, Some("prompt")));
    let stream = worker.post("/v1/completions", json!({"model": "m", "prompt": "x", "stream": true})).await.completed();
    assert_eq!(stream.iter().filter_map(|c| c["choices"][0]["text"].as_str()).collect::<String>(), short().greedy_text);
}

#[tokio::test]
async fn an_inference_counts_its_tokens() {
    let worker = worker().await;
    for input in [
        json!({"prompt": "x", "max_tokens": 12}),
        json!({"messages": [{"role": "user", "content": "x"}], "max_tokens": 12}),
    ] {
        let answer =
            worker.call("POST", "/v1/inference", &[("x-request-id", "mine-1")], Some(&input.to_string())).await;
        assert_eq!(answer.headers["x-request-id"], "mine-1");
        let mut events = answer.completed();
        let done = events.pop().unwrap();
        assert_eq!(
            events.iter().map(|e| e["index"].as_u64().unwrap()).collect::<Vec<_>>(),
            (0..12).collect::<Vec<_>>()
        );
        assert_eq!(
            (&done["done"], &done["total_tokens"], &done["finish_reason"]),
            (&json!(true), &json!(12), &json!("length"))
        );
        assert!(done["duration_ms"].is_u64());
    }
}

#[tokio::test]
async fn everything_but_health_wants_the_key() {
    let worker = TestWorker::start(engine(), Some("s3cret"), LONG).await;
    for (method, path) in [
        ("POST", "/v1/inference"),
        ("DELETE", "/v1/inference/x"),
        ("POST", "/v1/chat/completions"),
        ("GET", "/v1/models"),
        ("GET", "/metrics"),
        ("GET", "/v1/loading/progress"),
        ("POST", "/v1/shutdown"),
        ("GET", "/no-such"),
    ] {
        for headers in [&[][..], &[("authorization", "Bearer s3cre")]] {
            let answer = worker.call(method, path, headers, None).await;
            assert_eq!(answer.status, 401, "{method} {path}");
            assert!(error_code(&answer).eq_ignore_ascii_case("INVALID_API_KEY") && !answer.text.contains("s3cret"));
            assert!(answer.headers.contains_key("x-request-id"));
        }
    }
    let openai = worker.call("GET", "/v1/models", &[], None).await.json();
    assert_eq!(openai["error"]["type"], "invalid_request_error");
    for path in ["/health", "/v1/ready"] {
        assert_eq!(worker.call("GET", path, &[], None).await.status, 200);
    }
    let key = [("authorization", "Bearer s3cret")];
    assert_eq!(worker.call("GET", "/v1/models", &key, None).await.json()["data"][0]["id"], "bee");
    assert!(!worker.app.drain.is_cancelled());
}

#[tokio::test]
async fn models_and_unknown_paths_answer_in_their_apis_words() {
    let worker = worker().await;
    assert_eq!(worker.call("GET", "/v1/models/bee", &[], None).await.json()["object"], "model");
    let unknown = worker.call("GET", "/v1/models/other/model", &[], None).await;
    assert_eq!((unknown.status, error_code(&unknown).as_str()), (404, "model_not_found"));
    let nowhere = worker.call("GET", "/nowhere", &[], None).await;
    assert_eq!((nowhere.status, error_code(&nowhere).as_str()), (404, "NOT_FOUND"));
    assert_eq!(worker.call("GET", "/v1/inference", &[], None).await.status, 405);
    assert_eq!(worker.call("DELETE", "/v1/inference/long-gone", &[], None).await.status, 204);
    let host = worker.call("GET", "/v1/models", &[("host", "evil.test")], None).await;
    assert_eq!((host.status, error_code(&host).as_str()), (403, "forbidden"));
}

#[tokio::test]
async fn bad_requests_name_what_is_wrong() {
    let worker = worker().await;
    for (field, value) in [
        ("max_tokens", json!(0)),
        ("temperature", json!(-0.5)),
        ("top_p", json!(1.5)),
        ("stop", json!(vec!["x"; 10_000])),
    ] {
        for (path, body) in [
            ("/v1/inference", json!({"prompt": "x", field: value})),
            ("/v1/chat/completions", chat(json!({field: value}))),
        ] {
            let answer = worker.post(path, body).await;
            assert_eq!(answer.status, 400, "{path} {field}");
            assert!(answer.json()["error"]["message"].as_str().unwrap().contains(field));
        }
    }
    let text = worker.call("POST", "/v1/inference", &[("content-type", "text/plain")], Some("{}")).await;
    assert_eq!(text.status, 415);
    let large = worker.call("POST", "/v1/completions", &[], Some(&"x".repeat(9 << 20))).await;
    assert_eq!(large.status, 413);
}

#[tokio::test]
async fn a_prompt_beyond_the_context_is_refused() {
    let worker = worker().await;
    for words in [400, 100_000] {
        let long = "the bee and the flower ".repeat(words);
        let raw = worker.post("/v1/inference", json!({"prompt": long})).await;
        assert_eq!((raw.status, error_code(&raw).as_str()), (400, "INVALID_REQUEST"));
        assert!(raw.json()["error"]["message"].as_str().unwrap().contains("context"));
        let chat =
            worker.post("/v1/chat/completions", chat(json!({"messages": [{"role": "user", "content": long}]}))).await;
        assert_eq!((chat.status, error_code(&chat).as_str()), (400, "context_length_exceeded"));
    }
}

#[tokio::test]
async fn an_error_in_a_stream_is_an_event_and_no_done_follows() {
    let worker = TestWorker::start(engine().failing_after(3), None, LONG).await;
    let answer = worker.post("/v1/chat/completions", chat(json!({"stream": true}))).await;
    let last = answer.events().pop().unwrap();
    assert_eq!(last.event.as_deref(), Some("error"));
    assert!(last.data.contains("internal") && !answer.text.contains("[DONE]"), "{answer:?}");
    let whole = worker.post("/v1/chat/completions", chat(json!({}))).await;
    assert_eq!(whole.status, 500);
}

#[tokio::test]
async fn a_request_that_stands_still_is_ended() {
    let (engine, gate) = gated();
    let worker = TestWorker::start(engine, None, Duration::from_millis(50)).await;
    let whole = worker.post("/v1/chat/completions", chat(json!({}))).await;
    assert_eq!((whole.status, error_code(&whole).as_str()), (504, "inference_stalled"));
    let stream = worker.post("/v1/inference", json!({"prompt": "x"})).await;
    assert!(stream.text.contains("INFERENCE_STALLED") && !stream.text.contains("[DONE]"));
    drop(gate);
    wait_until("the slots are free", || worker.app.stats.snapshot().canceled == 2).await;
}

#[tokio::test]
async fn a_delete_ends_a_stream_with_an_error() {
    let (engine, gate) = gated();
    let worker = TestWorker::start(engine, None, LONG).await;
    let cancel = async {
        wait_until("it runs", || worker.app.stats.snapshot().running == 1).await;
        let gone = worker.call("DELETE", "/v1/inference/mine", &[], None).await;
        drop(gate);
        gone.status
    };
    let request = worker.call("POST", "/v1/inference", &[("x-request-id", "mine")], Some(r#"{"prompt":"x"}"#));
    let (answer, status) = tokio::join!(request, cancel);
    assert_eq!(status, 204);
    assert!(answer.text.contains("REQUEST_CANCELED") && !answer.text.contains("[DONE]"), "{answer:?}");
}

#[tokio::test]
async fn a_path_that_cannot_be_decoded_is_answered_like_any_other() {
    let worker = worker().await;
    assert_eq!(worker.call("DELETE", "/v1/inference/%ff%fe", &[], None).await.status, 204);
    let model = worker.call("GET", "/v1/models/%ff", &[], None).await;
    assert_eq!((model.status, error_code(&model).as_str()), (404, "model_not_found"));
}

#[tokio::test]
async fn the_times_of_an_inference_are_those_of_its_tokens() {
    // All tokens are there before the first is read: the reader's clock would see none of the time they took.
    let (engine, gate) = gated();
    let worker = TestWorker::start(engine, None, LONG).await;
    let (sampling, input) = (Sampling { max_tokens: Some(3), ..Sampling::default() }, vec![Prompt::Tokens(vec![5])]);
    let (mut running, _) =
        generate::start(&worker.app, "a".into(), Input::Completion(input), sampling).await.map_err(|e| e.code).unwrap();
    let begun = std::time::Instant::now();
    drop(gate);
    wait_until("it is complete", || worker.app.stats.snapshot().finished == 1).await;
    let complete = std::time::Instant::now();
    while !matches!(running.next().await.unwrap(), super::running::Next::Done(_)) {}
    let (first, last) = running.generated.unwrap();
    assert!(begun <= first && first < last && last <= complete);
}

#[test]
fn a_cancel_while_a_request_is_prepared_is_not_lost() {
    // Prompts are prepared on one thread, which is busy until the cancel has come.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let worker = worker().await;
        for (canceled, fails) in [("other", false), ("mine", true), ("other", false)] {
            let (free, busy) = sync_channel::<()>(0);
            let blocked = tokio::task::spawn_blocking(move || busy.recv());
            let input = Input::Completion(vec![Prompt::Text("x".into())]);
            let mut start = Box::pin(generate::start(&worker.app, "mine".into(), input, Sampling::default()));
            assert!(futures::poll!(&mut start).is_pending());
            assert_eq!(worker.call("DELETE", &format!("/v1/inference/{canceled}"), &[], None).await.status, 204);
            drop(free);
            assert!(blocked.await.unwrap().is_err());
            let error = start.await.err().map(|e| e.code);
            assert_eq!(error, fails.then_some(ErrorCode::RequestCanceled), "{canceled}");
        }
    });
}

#[tokio::test]
async fn a_hang_up_frees_the_slot_in_a_stream_and_before_it() {
    // hyper does not read on, and so sees no end, where bytes of a next request lie there.
    for (stream, steps, more) in [(true, 2, ""), (false, 0, ""), (true, 0, "G"), (true, 2, "G"), (false, 0, "GET /")] {
        let (engine, gate) = gated();
        let worker = TestWorker::start(engine, None, LONG).await;
        let body = chat(json!({"stream": stream})).to_string();
        let mut socket = TcpStream::connect(worker.url.trim_start_matches("http://")).await.unwrap();
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
        let request = format!("{head}content-length: {}\r\n\r\n{body}{more}", body.len());
        socket.write_all(request.as_bytes()).await.unwrap();
        wait_until("it runs", || worker.app.stats.snapshot().running == 1).await;
        for _ in 0..steps {
            gate.send(()).unwrap();
        }
        if stream && steps > 0 {
            let mut seen = String::new();
            while !seen.contains("data:") {
                let mut buffer = [0; 4096];
                let count = socket.read(&mut buffer).await.unwrap();
                seen += &String::from_utf8_lossy(&buffer[..count]);
            }
        }
        drop(socket);
        wait_until("the server saw it", || worker.app.requests.is_empty()).await;
        drop(gate);
        wait_until("the slot is free", || worker.app.stats.snapshot().canceled == 1).await;
        assert_eq!(worker.app.stats.snapshot().finished, 0);
    }
}

#[tokio::test]
async fn draining_refuses_new_requests_and_ends_running_ones() {
    let (engine, gate) = gated();
    let worker = TestWorker::start(engine, None, LONG).await;
    let drain = async {
        wait_until("it runs", || worker.app.stats.snapshot().running == 1).await;
        let asked = worker.call("POST", "/v1/admin/shutdown", &[], None).await;
        assert_eq!(asked.status, 202);
        assert!(worker.app.drain.is_cancelled());
        let refuse = async {
            let draining = || matches!(&*worker.app.phase.borrow(), Phase::Draining(_));
            wait_until("it drains", draining).await;
            let late = worker.post("/v1/chat/completions", chat(json!({}))).await;
            assert_eq!((late.status, error_code(&late).as_str()), (503, "draining"));
            assert!(late.headers.contains_key("retry-after"));
            assert_eq!(worker.call("GET", "/health", &[], None).await.json()["state"], "draining");
            assert_eq!(worker.call("GET", "/v1/ready", &[], None).await.status, 503);
            drop(gate);
        };
        tokio::join!(crate::run::drain(&worker.app, &worker.phase, worker.served.clone(), LONG), refuse);
    };
    let (answer, ()) = tokio::join!(worker.post("/v1/inference", json!({"prompt": "x"})), drain);
    assert_eq!(answer.completed().last().unwrap()["total_tokens"], short().greedy_ids.len());
}

#[tokio::test]
async fn health_and_metrics_say_what_goes_on() {
    let worker = worker().await;
    let before = worker.call("GET", "/health", &[], None).await.json();
    assert_eq!(
        (&before["state"], &before["slots_free"], &before["last_request_unix_ms"]),
        (&json!("ready"), &json!(2), &Value::Null)
    );
    worker.post("/v1/chat/completions", chat(json!({}))).await;
    let after = worker.call("GET", "/health", &[], None).await.json();
    assert!(after["tokens_total"].as_u64() > before["tokens_total"].as_u64() && after["last_request_unix_ms"].is_u64());
    let metrics = worker.call("GET", "/metrics", &[], None).await.text;
    assert!(metrics.contains("rbee_worker_requests_total{model=\"bee\",outcome=\"finished\"} 1\n"), "{metrics}");
    let progress = worker.call("GET", "/v1/loading/progress", &[], None).await.completed();
    assert_eq!((progress.len(), &progress[0]["stage"], &progress[0]["layers_total"]), (1, &json!("ready"), &json!(4)));
}

#[tokio::test]
async fn unfinished_headers_are_cut_off_and_large_ones_refused() {
    let worker = worker().await;
    let mut slow = TcpStream::connect(worker.url.trim_start_matches("http://")).await.unwrap();
    slow.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n").await.unwrap();
    let large = "x".repeat(200_000);
    let answer = worker.call("GET", "/health", &[("x-large", &large)], None).await;
    assert_eq!(answer.status, 431);
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), slow.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the slow connection was closed");
}
