//! Whole lives of workers: the built-in model, broken files, taken ports.

use super::*;
use crate::config::Secret;
use crate::testing::{call, reference, tinybee_bytes};
use rbee_wire::ErrorCode;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Instant;

fn config(model: &Path) -> Config {
    Config {
        model: model.to_owned(),
        model_ref: "bee".into(),
        worker_id: "w".into(),
        listen: "127.0.0.1:0".parse().unwrap(),
        slots: 2,
        context_length: None,
        threads: 1,
        backend: "cpu".into(),
        device: 0,
        compute_device: rbee_engine::Device::Cpu,
        api_key: Some(Secret::new("k".into())),
        hive: HiveLink { callback_url: None, socket: None, nonce: None },
    }
}

fn tinybee() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tinybee.gguf");
    std::fs::write(&path, tinybee_bytes()).unwrap();
    (dir, path)
}

#[tokio::test]
async fn it_loads_answers_and_ends_when_asked() {
    let (_dir, path) = tinybee();
    let (listener, addr) = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let running = tokio::spawn(run_on(listener, addr, config(&path), CancellationToken::new()));
    let end = Instant::now() + Duration::from_secs(20);
    while call("GET", &format!("http://{addr}/v1/ready"), &[], None).await.status != 200 {
        assert!(Instant::now() < end, "ready within 20 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let case = &reference()[1];
    let messages = json!([{"role": "user", "content": case.prompt}]);
    let body = json!({"model": "bee", "messages": messages, "temperature": 0}).to_string();
    let key = [("authorization", "Bearer k")];
    let answer = call("POST", &format!("http://{addr}/v1/chat/completions"), &key, Some(&body)).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], case.greedy_text.as_str());
    assert_eq!(answer["usage"]["prompt_tokens"], case.prompt_ids.len());
    assert_eq!(call("POST", &format!("http://{addr}/v1/shutdown"), &key, None).await.status, 202);
    tokio::time::timeout(Duration::from_secs(20), running).await.expect("it ends").unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(addr).await.is_err(), "its port is free");
}

#[tokio::test]
async fn broken_files_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let good = tinybee_bytes();
    let lying: Vec<u8> = [&good[..8], &(1u64 << 62).to_le_bytes().repeat(2), &good[24..]].concat();
    let files: [(&str, &[u8], ErrorCode); 6] = [
        ("empty.gguf", b"", ErrorCode::InvalidModelFile),
        ("cut-header.gguf", &good[..5000], ErrorCode::InvalidModelFile),
        ("cut-tensors.gguf", &good[..1_000_000], ErrorCode::InvalidModelFile),
        ("garbage.gguf", &[7; 50_000], ErrorCode::InvalidModelFile),
        ("lying.gguf", &lying, ErrorCode::InvalidModelFile),
        ("pickle.bin", good, ErrorCode::UnsupportedFormat),
    ];
    for (name, bytes, code) in files {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = run(config(&path), CancellationToken::new()).await.unwrap_err();
        let text = error.to_string();
        let RunError::Model(error) = error else { panic!("{text}") };
        assert_eq!(error.kind.code(), code, "{text}");
        assert!(text.contains(name) && text.contains("GGUF"), "{text}");
    }
    for (path, part) in [(dir.path().join("missing.gguf"), "GGUF"), (dir.path().to_owned(), "config.json")] {
        let error = run(config(&path), CancellationToken::new()).await.unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()) && error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_taken_port_is_followed_by_the_next() {
    let (_first, taken) = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (_second, next) = bind(taken).await.unwrap();
    assert!(next.port() > taken.port());
    assert!(matches!(bind("192.0.2.1:1".parse().unwrap()).await, Err(RunError::Bind { .. })));
}

#[tokio::test]
async fn an_end_while_loading_is_a_good_end() {
    let (_dir, path) = tinybee();
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    run(config(&path), shutdown).await.unwrap();
}

#[tokio::test]
async fn weights_that_give_no_numbers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.gguf");
    let header = crate::testing::tinybee_header();
    for name in ["output_norm.weight", "token_embd.weight"] {
        let mut bytes = tinybee_bytes().to_vec();
        let tensor = header.tensor(name).unwrap();
        let start = (header.data_offset() + tensor.offset) as usize;
        bytes[start..start + tensor.bytes as usize].fill(0xFF);
        std::fs::write(&path, bytes).unwrap();
        let running = run(config(&path), CancellationToken::new());
        let ended = tokio::time::timeout(Duration::from_secs(20), running).await.expect(name);
        let RunError::Model(error) = ended.unwrap_err() else { panic!("{name}") };
        assert_eq!(error.kind.code(), ErrorCode::InvalidModelFile);
        assert!(error.to_string().contains("damaged"), "{error}");
    }
}
