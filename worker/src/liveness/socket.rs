//! A stream to the hive's unix socket that is held as long as both live.

use rbee_wire::worker::Hello;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::Instant;

/// Pause between two tries to connect.
const RETRY: Duration = Duration::from_secs(1);

/// Holds the stream and comes back when there was no hive behind the socket for `patience`. Cancel safe.
pub async fn hold(path: &Path, hello: &Hello, patience: Duration) {
    let mut last_seen = Instant::now();
    loop {
        match connect(path, hello).await {
            Ok(mut stream) => {
                tracing::debug!("connected to the hive");
                // The hive writes nothing: whatever ends this read ends the connection.
                let mut buffer = [0; 64];
                while matches!(stream.read(&mut buffer).await, Ok(n) if n > 0) {}
                last_seen = Instant::now();
                tracing::warn!("the connection to the hive ended");
            }
            Err(error) => tracing::debug!(%error, path = %path.display(), "the hive does not answer"),
        }
        if last_seen.elapsed() >= patience {
            tracing::warn!(seconds = patience.as_secs(), "no hive; draining");
            return;
        }
        tokio::time::sleep(RETRY.min(patience.saturating_sub(last_seen.elapsed()))).await;
    }
}

async fn connect(path: &Path, hello: &Hello) -> std::io::Result<UnixStream> {
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(hello.line().as_bytes()).await?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncBufReadExt, BufReader};
    use tokio::net::UnixListener;

    #[tokio::test]
    async fn it_says_hello_again_and_gives_up_without_a_hive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hive.sock");
        let hello = Hello { nonce: "n".into(), worker_id: "w".into(), pid: 7, url: "http://127.0.0.1:1".into() };
        let listener = UnixListener::bind(&path).unwrap();
        let (held_path, held_hello) = (path.clone(), hello.clone());
        let holding = tokio::spawn(async move { hold(&held_path, &held_hello, Duration::from_millis(1500)).await });
        for _ in 0..2 {
            let (stream, _) = listener.accept().await.unwrap();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).await.unwrap();
            assert_eq!(Hello::parse(&line), Some(hello.clone()));
        }
        assert!(!holding.is_finished());
        drop(listener);
        tokio::time::timeout(Duration::from_secs(20), holding).await.expect("it gives up").unwrap();
    }
}
