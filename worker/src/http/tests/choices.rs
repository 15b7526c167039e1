//! Log probabilities and several choices, in the shapes of both OpenAI endpoints.

use super::{LONG, chat, error_code, gated};
use crate::testing::TestWorker;
use crate::testing::engine::{TestEngine, noise};
use serde_json::{Value, json};

async fn worker() -> TestWorker {
    TestWorker::start(TestEngine::new(3, 256, noise), None, LONG).await
}

fn completion(more: Value) -> Value {
    let mut body = json!({"model": "m", "prompt": "Once", "max_tokens": 12, "temperature": 0});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_completions_logprobs_are_lists_beside_its_text() {
    let worker = worker().await;
    for (count, stop) in [(0, json!([])), (5, json!([])), (5, json!(["e", "a"]))] {
        let body = completion(json!({"logprobs": count, "stop": stop, "max_tokens": 40}));
        let whole = worker.post("/v1/completions", body.clone()).await.json();
        let (choice, text) = (&whole["choices"][0], whole["choices"][0]["text"].as_str().unwrap());
        let logprobs = &choice["logprobs"];
        assert_eq!(keys(logprobs), ["text_offset", "token_logprobs", "tokens", "top_logprobs"]);
        let tokens = strings(&logprobs["tokens"]);
        assert_eq!(tokens.concat(), text, "{whole}");
        let mut offset = 0;
        for (at, token) in tokens.iter().enumerate() {
            assert_eq!(logprobs["text_offset"][at], offset);
            offset += token.chars().count();
            let top = logprobs["top_logprobs"][at].as_object().unwrap();
            assert!((1..=count + 1).contains(&top.len()), "{top:?}");
            let chosen = logprobs["token_logprobs"][at].as_f64().unwrap();
            assert!(chosen < 0.0 && top.values().all(|p| p.as_f64().unwrap() <= chosen), "greedy is the best: {top:?}");
        }
        let mut streamed = body.clone();
        streamed["stream"] = true.into();
        let chunks = worker.post("/v1/completions", streamed).await.completed();
        let all = |field: &str| -> Vec<Value> {
            let lists = chunks.iter().filter_map(|c| c["choices"][0]["logprobs"][field].as_array());
            lists.flatten().cloned().collect()
        };
        for field in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
            assert_eq!(json!(all(field)), logprobs[field], "{field}");
        }
    }
    let without = worker.post("/v1/completions", completion(json!({}))).await.json();
    assert_eq!(without["choices"][0]["logprobs"], Value::Null);
}

#[tokio::test]
async fn a_chats_logprobs_have_bytes_and_alternatives() {
    let worker = worker().await;
    let wanted = json!({"logprobs": true, "top_logprobs": 2, "max_tokens": 12, "temperature": 0});
    let whole = worker.post("/v1/chat/completions", chat(wanted.clone())).await.json();
    let (choice, logprobs) = (&whole["choices"][0], &whole["choices"][0]["logprobs"]);
    assert_eq!((keys(logprobs), &logprobs["refusal"]), (vec!["content", "refusal"], &Value::Null));
    let content = logprobs["content"].as_array().unwrap();
    assert_eq!(content.len(), 12);
    for token in content {
        assert_eq!(keys(token), ["bytes", "logprob", "token", "top_logprobs"]);
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!((top.len(), keys(&top[0])), (2, vec!["bytes", "logprob", "token"]));
        assert_eq!(top[0]["logprob"], token["logprob"]);
    }
    let joined: String = content.iter().map(|t| t["token"].as_str().unwrap()).collect();
    assert_eq!(choice["message"]["content"], joined);
    let mut streamed = wanted;
    streamed["stream"] = true.into();
    let chunks = worker.post("/v1/chat/completions", chat(streamed)).await.completed();
    let lists = chunks.iter().filter_map(|c| c["choices"][0]["logprobs"]["content"].as_array());
    assert_eq!(lists.flatten().collect::<Vec<_>>(), content.iter().collect::<Vec<_>>());
    let plain = worker.post("/v1/chat/completions", chat(json!({"max_tokens": 2, "logprobs": false}))).await.json();
    assert_eq!(plain["choices"][0]["logprobs"], Value::Null);
}

#[tokio::test]
async fn choices_of_a_request_have_their_own_seeds_and_one_prompt() {
    let worker = worker().await;
    let several = json!({"n": 3, "best_of": 3, "seed": 7, "temperature": 1, "logprobs": 0});
    let whole = worker.post("/v1/completions", completion(several)).await.json();
    let choices = whole["choices"].as_array().unwrap();
    assert_eq!(choices.iter().map(|c| c["index"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
    assert_ne!(choices[0]["text"], choices[1]["text"]);
    for (at, choice) in choices.iter().enumerate() {
        let alone = completion(json!({"seed": 7 + at, "temperature": 1}));
        let alone = worker.post("/v1/completions", alone).await.json();
        assert_eq!(choice["text"], alone["choices"][0]["text"], "choice {at}");
        assert_eq!((&choice["finish_reason"], &alone["usage"]["completion_tokens"]), (&json!("length"), &json!(12)));
        assert_eq!(whole["usage"]["prompt_tokens"], alone["usage"]["prompt_tokens"]);
    }
    assert_eq!(whole["usage"]["completion_tokens"], 36);
}

#[tokio::test]
async fn choices_are_streamed_side_by_side() {
    let worker = worker().await;
    let options =
        json!({"n": 3, "seed": 7, "max_tokens": 9, "stream": true, "stream_options": {"include_usage": true}});
    let mut chunks = worker.post("/v1/chat/completions", chat(options.clone())).await.completed();
    let usage = chunks.pop().unwrap();
    assert_eq!((&usage["choices"], &usage["usage"]["completion_tokens"]), (&json!([]), &json!(27)));
    let mut whole = options;
    whole.as_object_mut().unwrap().retain(|key, _| !key.starts_with("stream"));
    let whole = worker.post("/v1/chat/completions", chat(whole)).await.json();
    for index in 0..3 {
        let of: Vec<&Value> = chunks.iter().map(|c| &c["choices"][0]).filter(|c| c["index"] == index).collect();
        assert_eq!(of[0]["delta"], json!({"role": "assistant", "content": ""}));
        let text: String = of.iter().filter_map(|c| c["delta"]["content"].as_str()).collect();
        assert_eq!(whole["choices"][index]["message"]["content"], text);
        let ends: Vec<&Value> = of.iter().map(|c| &c["finish_reason"]).filter(|r| !r.is_null()).collect();
        assert_eq!((ends, &of[of.len() - 1]["delta"]), (vec![&json!("length")], &json!({})));
    }
}

#[tokio::test]
async fn several_prompts_are_answered_each_as_if_it_were_alone() {
    let worker = worker().await;
    let prompts = [json!("Once"), json!([5, 6, 7]), json!("Twice upon")];
    let asking = |prompt: Value, more: Value| {
        let mut body = completion(json!({"prompt": prompt, "n": 2, "seed": 7, "temperature": 1, "logprobs": 0}));
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let whole = worker.post("/v1/completions", asking(json!(prompts), json!({}))).await.json();
    let choices = whole["choices"].as_array().unwrap();
    assert_eq!(choices.iter().map(|c| c["index"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    let mut prompt_tokens = 0;
    for (prompt, answers) in prompts.iter().zip(choices.chunks(2)) {
        let alone = worker.post("/v1/completions", asking(prompt.clone(), json!({}))).await.json();
        for (answer, alone) in answers.iter().zip(alone["choices"].as_array().unwrap()) {
            assert_eq!((&answer["text"], &answer["logprobs"]), (&alone["text"], &alone["logprobs"]), "{prompt}");
        }
        prompt_tokens += alone["usage"]["prompt_tokens"].as_u64().unwrap();
    }
    assert_eq!(whole["usage"]["prompt_tokens"], prompt_tokens);
    assert_eq!(whole["usage"]["completion_tokens"], 6 * 12);
    let stream = json!({"stream": true, "stream_options": {"include_usage": true}});
    let mut chunks = worker.post("/v1/completions", asking(json!(prompts), stream)).await.completed();
    assert_eq!(chunks.pop().unwrap()["usage"]["prompt_tokens"], prompt_tokens);
    for choice in choices {
        let of = chunks.iter().map(|c| &c["choices"][0]).filter(|c| c["index"] == choice["index"]);
        assert_eq!(choice["text"], of.map(|c| c["text"].as_str().unwrap()).collect::<String>());
    }
}

#[tokio::test]
async fn one_bad_prompt_among_several_is_named() {
    let worker = worker().await;
    for (bad, why) in [(json!([99_999]), "not in the model's vocabulary"), (json!("x ".repeat(3000)), "context")] {
        let answer = worker.post("/v1/completions", completion(json!({"prompt": ["Once", bad]}))).await;
        assert!(answer.status == 400 && answer.text.contains("prompt[1]") && answer.text.contains(why), "{answer:?}");
    }
    assert_eq!(worker.app.stats.snapshot().running, 0);
}

#[tokio::test]
async fn a_canceled_request_takes_all_its_choices_along() {
    let (engine, gate) = gated();
    let worker = TestWorker::start(engine, None, LONG).await;
    let cancel = async {
        crate::testing::wait_until("it runs", || worker.app.stats.snapshot().running > 0).await;
        assert_eq!(worker.call("DELETE", "/v1/inference/mine", &[], None).await.status, 204);
        drop(gate);
    };
    let body = chat(json!({"n": 4})).to_string();
    let request = worker.call("POST", "/v1/chat/completions", &[("x-request-id", "mine")], Some(&body));
    let (answer, ()) = tokio::join!(request, cancel);
    assert_eq!((answer.status, error_code(&answer).as_str()), (499, "request_canceled"));
    crate::testing::wait_until("all are gone", || worker.app.stats.snapshot().canceled == 4).await;
    let many = worker.post("/v1/chat/completions", chat(json!({"n": 17}))).await;
    assert!(many.status == 400 && many.text.contains("n: must be an integer from 1 to 16"), "{many:?}");
}

#[tokio::test]
async fn biases_rule_the_choice_within_the_vocabulary() {
    let worker = worker().await;
    let forced = worker.post("/v1/completions", completion(json!({"logit_bias": {"300": 100}, "logprobs": 1}))).await;
    let tokens = &forced.json()["choices"][0]["logprobs"]["tokens"];
    assert!(strings(tokens).windows(2).all(|pair| pair[0] == pair[1]), "{tokens}");
    let outside = worker.post("/v1/completions", completion(json!({"logit_bias": {"1280": 1}}))).await;
    assert_eq!((outside.status, outside.json()["error"]["param"].as_str()), (400, Some("logit_bias")));
}
