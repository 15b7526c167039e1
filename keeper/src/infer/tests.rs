//! The stream against a real socket: whole, cut, refused, silent, interrupted.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_util::sync::CancellationToken;

use super::{
    events::Words,
    stream::{Endpoint, Finished, StreamError, stream},
};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

/// A worker that answers every request with `answer` and closes, or holds the connection open when `hold` is set.
/// Returns its address and the request lines that it got.
async fn worker(answer: String, hold: bool) -> (String, Arc<Mutex<Vec<String>>>) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (answer, log) = (answer.clone(), log.clone());
            tokio::spawn(async move {
                let mut bytes = vec![0; 65536];
                let length = socket.read(&mut bytes).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                let line = text.lines().next().unwrap_or_default().to_owned();
                let is_delete = line.starts_with("DELETE");
                log.lock().unwrap().push(line);
                if is_delete {
                    let _ = socket.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
                    return;
                }
                let _ = socket.write_all(answer.as_bytes()).await;
                if hold {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    (base, seen)
}

fn endpoint(base: String) -> Endpoint {
    Endpoint { base, path: "/v1/inference", key: Some("k".into()), words: Words::Worker, hive: Some("h".into()) }
}

async fn ask(base: String, interrupt: &CancellationToken) -> (Result<Finished, StreamError>, String) {
    let http = crate::http::client(None).unwrap();
    let mut text = String::new();
    let mut sink = |piece: &str| {
        text.push_str(piece);
        if text.contains("stop here") {
            interrupt.cancel();
        }
        Ok(())
    };
    let body = serde_json::json!({"prompt": "x"});
    let result = stream(&http, &endpoint(base), &body, interrupt, &mut sink).await;
    (result, text)
}

#[tokio::test]
async fn a_whole_stream_has_its_figures() {
    let answer = format!(
        "{HEAD}data: {{\"token\":\"a\",\"index\":0}}\n\ndata: {{\"token\":\" b\",\"index\":1}}\n\ndata: {{\"done\":true,\"total_tokens\":2,\"duration_ms\":40}}\n\ndata: [DONE]\n\n"
    );
    let (base, seen) = worker(answer, false).await;
    let (result, text) = ask(base, &CancellationToken::new()).await;
    assert_eq!(result.unwrap(), Finished { tokens: 2, elapsed: std::time::Duration::from_millis(40) });
    assert_eq!(text, "a b");
    assert_eq!(seen.lock().unwrap().as_slice(), ["POST /v1/inference HTTP/1.1"]);
}

#[tokio::test]
async fn a_stream_without_its_end_is_broken() {
    let (base, _) = worker(format!("{HEAD}data: {{\"token\":\"a\",\"index\":0}}\n\n"), false).await;
    let (result, text) = ask(base, &CancellationToken::new()).await;
    assert!(matches!(result, Err(StreamError::Broken { code: "WORKER_CRASHED", tokens: 1, .. })), "{result:?}");
    assert_eq!(text, "a");
}

#[tokio::test]
async fn a_refusal_keeps_its_code() {
    let body = r#"{"error":{"code":"ALL_SLOTS_BUSY","message":"all slots are busy","details":{}}}"#;
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let (base, _) = worker(answer, false).await;
    let (result, _) = ask(base, &CancellationToken::new()).await;
    assert!(matches!(result, Err(StreamError::Refused(e)) if e.code == rbee_wire::ErrorCode::AllSlotsBusy));
}

#[tokio::test]
async fn an_interrupt_cancels_at_the_worker() {
    let (base, seen) = worker(format!("{HEAD}data: {{\"token\":\"stop here\",\"index\":0}}\n\n"), true).await;
    let (result, _) = ask(base, &CancellationToken::new()).await;
    assert!(matches!(result, Err(StreamError::Interrupted)), "{result:?}");
    let seen = seen.lock().unwrap();
    assert!(seen.len() == 2 && seen[1].starts_with("DELETE /v1/inference/"), "{seen:?}");
}

#[tokio::test]
async fn nobody_there_is_tried_three_times() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (result, _) = ask(base.clone(), &CancellationToken::new()).await;
    let text = result.unwrap_err().to_string();
    for word in ["CONNECTION_TIMEOUT", base.as_str(), "3 tries", "hive h"] {
        assert!(text.contains(word), "{word:?} in {text}");
    }
}
