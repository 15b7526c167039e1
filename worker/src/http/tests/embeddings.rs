//! Embeddings of models that generate and of encoders.

use super::{LONG, chat, error_code};
use crate::testing::engine::{TestEngine, noise};
use crate::testing::{TestWorker, tinybee_tokenizer};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rbee_engine::Pooling;
use rbee_engine::fake::FakeEngine;
use serde_json::{Value, json};

fn engine() -> TestEngine {
    TestEngine::new(2, 64, noise)
}

async fn embed(worker: &TestWorker, more: Value) -> crate::testing::Answer {
    let mut body = json!({"model": "any", "input": "hello"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    worker.post("/v1/embeddings", body).await
}

fn vector(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[tokio::test]
async fn inputs_of_all_kinds_become_vectors() {
    for engine in [engine(), engine().encoder(Pooling::Mean)] {
        let worker = TestWorker::start(engine, None, LONG).await;
        let ids = tinybee_tokenizer().encode("hello bee");
        let texts = embed(&worker, json!({"input": ["hello bee", "a"]})).await.json();
        assert_eq!((&texts["object"], &texts["model"]), (&json!("list"), &json!("any")));
        let rows = texts["data"].as_array().unwrap();
        assert_eq!((rows.len(), &rows[0]["object"], &rows[1]["index"]), (2, &json!("embedding"), &json!(1)));
        let one = vector(&rows[0]["embedding"]);
        // The engine's hidden states are (token, 1), and embeddings are their mean, scaled to length 1.
        let mean = ids.iter().map(|&id| f64::from(id)).sum::<f64>() / ids.len() as f64;
        assert!((one[0] / one[1] - mean).abs() < mean * 1e-5, "{one:?} {mean}");
        assert!((one.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-6);
        let count = ids.len() + tinybee_tokenizer().encode("a").len();
        assert_eq!(texts["usage"], json!({"prompt_tokens": count, "total_tokens": count}));
        for input in [json!(ids), json!([ids]), json!("hello bee"), json!(["hello bee"])] {
            let answer = embed(&worker, json!({"input": input})).await.json();
            assert_eq!(answer["data"], json!([rows[0]]), "{input}");
        }
        let encoded = embed(&worker, json!({"input": ids, "encoding_format": "base64"})).await.json();
        let bytes = BASE64_STANDARD.decode(encoded["data"][0]["embedding"].as_str().unwrap()).unwrap();
        let floats: Vec<f32> = bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(json!(floats), rows[0]["embedding"]);
        let short = embed(&worker, json!({"dimensions": 1})).await.json();
        assert_eq!(short["data"][0]["embedding"], json!([1.0]));
    }
}

#[tokio::test]
async fn wrong_inputs_are_named() {
    let worker = TestWorker::start(engine(), None, LONG).await;
    let cases = [
        (json!({"input": [5, 5000]}), "input", "invalid_request"),
        (json!({"input": ["a", [1, 1280]]}), "input[1]", "invalid_request"),
        (json!({"input": ""}), "input", "invalid_request"),
        (json!({"input": null}), "input", "missing_required_parameter"),
        (json!({"input": vec!["a"; 2049]}), "input", "invalid_request"),
        (json!({"input": vec![7; 65]}), "input", "context_length_exceeded"),
        (json!({"input": ["a", "the bee and the flower ".repeat(99)]}), "input[1]", "context_length_exceeded"),
        (json!({"dimensions": 3}), "dimensions", "invalid_request"),
        (json!({"dimensions": 0}), "dimensions", "invalid_request"),
        (json!({"encoding_format": "hex"}), "encoding_format", "invalid_request"),
        (json!({"more": 1}), "more", "unknown_parameter"),
    ];
    for (more, field, code) in cases {
        let answer = embed(&worker, more).await;
        assert_eq!((answer.status, error_code(&answer).as_str()), (400, code), "{}", answer.text);
        assert_eq!(answer.json()["error"]["param"], field, "{}", answer.text);
    }
}

#[tokio::test]
async fn an_encoder_gives_no_text_and_says_so() {
    let worker = TestWorker::start(engine().encoder(Pooling::Cls), None, LONG).await;
    for (path, body) in
        [("/v1/chat/completions", chat(json!({}))), ("/v1/completions", json!({"model": "m", "prompt": "x"}))]
    {
        let answer = worker.post(path, body).await;
        assert_eq!((answer.status, error_code(&answer).as_str()), (400, "unsupported_endpoint"));
        assert!(answer.text.contains("/v1/embeddings"));
    }
    assert_eq!(error_code(&worker.post("/v1/inference", json!({"prompt": "x"})).await), "INVALID_REQUEST");
    let shown = worker.call("GET", "/v1/models", &[], None).await.json();
    assert_eq!(shown["data"][0]["capabilities"], json!(["embeddings"]));
    let causal = TestWorker::start(engine(), None, LONG).await;
    let shown = causal.call("GET", "/v1/models/bee", &[], None).await.json();
    assert_eq!(shown["capabilities"], json!(["chat", "completions", "embeddings"]));
}

#[tokio::test]
async fn a_model_without_hidden_states_is_not_asked_for_embeddings() {
    let engine = engine().without_hidden();
    let asked = engine.asked();
    let worker = TestWorker::start(engine, None, LONG).await;
    let answer = embed(&worker, json!({})).await;
    assert_eq!((answer.status, error_code(&answer).as_str()), (400, "unsupported_endpoint"), "{}", answer.text);
    assert!(asked.lock().unwrap().steps.is_empty());
    let shown = worker.call("GET", "/v1/models/bee", &[], None).await.json();
    assert_eq!(shown["capabilities"], json!(["chat", "completions"]));
    assert_eq!(worker.post("/v1/completions", json!({"model": "m", "prompt": "x", "max_tokens": 1})).await.status, 200);
}

#[tokio::test]
async fn a_token_without_weights_is_refused_in_every_kind_of_prompt() {
    // The tokenizer has 1280 tokens; "the bee" needs some from 300 on.
    let worker = TestWorker::start(FakeEngine::new(2, 256, 300, vec![50; 3], 2), None, LONG).await;
    let told = |prompt: Value| json!({"model": "m", "prompt": prompt});
    let cases = [
        ("/v1/completions", told(json!([5, 300])), "prompt"),
        ("/v1/completions", told(json!("the bee")), "prompt"),
        ("/v1/completions", json!({"model": "m", "prompt": [5], "logit_bias": {"300": 1}}), "logit_bias"),
        ("/v1/chat/completions", chat(json!({"messages": [{"role": "user", "content": "the bee"}]})), "messages"),
        ("/v1/embeddings", json!({"model": "m", "input": "the bee"}), "input"),
        ("/v1/embeddings", json!({"model": "m", "input": [[5], [300]]}), "input[1]"),
    ];
    for (path, body, field) in cases {
        let answer = worker.post(path, body).await;
        assert_eq!((answer.status, error_code(&answer).as_str()), (400, "invalid_request"), "{}", answer.text);
        assert_eq!(answer.json()["error"]["param"], field, "{}", answer.text);
    }
    let inference = worker.post("/v1/inference", json!({"prompt": "the bee"})).await;
    assert_eq!((inference.status, error_code(&inference).as_str()), (400, "INVALID_REQUEST"), "{}", inference.text);
    assert_eq!(worker.post("/v1/completions", told(json!([5, 299]))).await.status, 200);
    assert_eq!(worker.app.stats.snapshot().failed, 0);
}

#[tokio::test]
async fn a_text_is_not_refused_for_a_number_of_tokens_that_nobody_counted() {
    // As WordPiece makes one token of a word that it does not know, its bytes say nothing.
    let encoder = TestWorker::start(engine().encoder(Pooling::Mean), None, LONG).await;
    let longest = tinybee_tokenizer().longest_token();
    let text = "x".repeat(longest * 64);
    let counted = tinybee_tokenizer().encode(&text).len();
    let refused = embed(&encoder, json!({"input": text})).await;
    assert!(refused.status == 400 && refused.text.contains(&format!("has {counted};")), "{}", refused.text);
    let causal = TestWorker::start(engine(), None, LONG).await;
    let refused = embed(&causal, json!({"input": text})).await;
    assert!(refused.status == 400 && refused.text.contains("has at least 64;"), "{}", refused.text);
}
