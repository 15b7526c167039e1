//! `run/hive.sock`: workers hold a stream to it, and say in its first line who they are.

use std::{io, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use rbee_wire::worker::Hello;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::{UnixListener, UnixStream},
};
use tokio_util::sync::CancellationToken;

use crate::supervise::Handle;

/// How long a worker may take for its first line.
const HELLO_LIMIT: Duration = Duration::from_secs(10);
/// Streams at a time; a hive has far fewer workers.
const MAX_STREAMS: usize = 4096;

/// Binds the socket in place of an earlier hive's. The hive's lock is held, so nobody listens there.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Hears workers until the hive ends. When this returns every stream breaks: that is how workers notice.
pub async fn serve(listener: UnixListener, supervisor: Handle, shutdown: CancellationToken) {
    let mut streams = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(_) = streams.join_next() => {}
            accepted = listener.accept(), if streams.len() < MAX_STREAMS => match accepted {
                Ok((stream, _)) => drop(streams.spawn(hear(stream, supervisor.clone()))),
                Err(e) => {
                    tracing::warn!("cannot accept a worker's stream: {e}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn hear(stream: UnixStream, supervisor: Handle) {
    let peer = stream.peer_cred().ok().and_then(|c| c.pid());
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    let mut limited = (&mut reader).take(Hello::MAX_LINE as u64 + 1);
    let read = tokio::time::timeout(HELLO_LIMIT, limited.read_line(&mut line)).await;
    let Some(hello) = read.is_ok_and(|r| r.is_ok()).then(|| Hello::parse(&line)).flatten() else {
        tracing::warn!(peer, "a stream on the hive's socket began with no hello");
        return;
    };
    // What it says of itself must be what the kernel says, where the kernel says it: the pid may get a signal.
    if peer.is_some_and(|pid| u32::try_from(pid) != Ok(hello.pid)) {
        tracing::warn!(peer, claimed = hello.pid, "a stream on the hive's socket claims to be another process");
        return;
    }
    if !supervisor.hello(hello).await {
        return;
    }
    // Nothing more is said in either direction; the stream is open as long as both live.
    let mut rest = [0_u8; 64];
    while let Ok(1..) = reader.read(&mut rest).await {}
}
