//! The TLS listener: HTTP/1.1 over rustls, with a limit on how long a request's head may take.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// How long a TLS handshake or the head of a request may take.
const HEAD: Duration = Duration::from_secs(10);
/// How long a connection may be idle between requests; longer than clients keep one.
const IDLE: Duration = Duration::from_secs(180);
/// How long requests under way may go on when the server stops.
const DRAIN: Duration = Duration::from_secs(10);
/// Bytes of a request's head at most.
const HEAD_BYTES: usize = 64 * 1024;
/// Connections at once.
const CONNECTIONS: usize = 10_000;

/// Serves until `stop`, then lets requests under way finish.
pub async fn serve(listener: TcpListener, tls: Arc<ServerConfig>, router: Router, stop: CancellationToken) {
    let mut tls = ServerConfig::clone(&tls);
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let connections = TaskTracker::new();
    let room = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: give connections time to end.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(permit) = room.clone().try_acquire_owned() else {
            tracing::warn!(%peer, limit = CONNECTIONS, "too many connections: one was closed");
            continue;
        };
        let (acceptor, router, stop) = (acceptor.clone(), router.clone(), stop.clone());
        connections.spawn(async move {
            if let Err(error) = connection(stream, acceptor, router, stop).await {
                tracing::debug!(%peer, %error, "a connection ended");
            }
            drop(permit);
        });
    }
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::warn!("requests were still under way when the server stopped");
    }
}

/// The address that clients on this machine reach a listener at.
pub fn address(listener: &TcpListener) -> io::Result<SocketAddr> {
    listener.local_addr()
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    router: Router,
    stop: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let handshake = async {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first[0] != 0x16 {
            refuse_plain(stream).await?;
            return Err(io::Error::other("no TLS was spoken"));
        }
        acceptor.accept(stream).await
    };
    let stream = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        stream = tokio::time::timeout(HEAD, handshake) => stream??,
    };
    let busy = Arc::new(AtomicBool::new(false));
    let io =
        TokioIo::new(Patient { inner: stream, busy: busy.clone(), timer: Some(Box::pin(tokio::time::sleep(HEAD))) });
    let answered = busy.clone();
    let service = router
        .map_request(move |request: http::Request<hyper::body::Incoming>| {
            busy.store(true, Ordering::Relaxed);
            request
        })
        .map_response(move |response: axum::response::Response| {
            answered.store(false, Ordering::Relaxed);
            response
        });
    let service = TowerToHyperService::new(service);
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(IDLE).max_buf_size(HEAD_BYTES).keep_alive(true);
    let mut served = std::pin::pin!(builder.serve_connection(io, service));
    tokio::select! {
        result = served.as_mut() => return Ok(result?),
        () = stop.cancelled() => {}
    }
    served.as_mut().graceful_shutdown();
    Ok(served.await?)
}

/// Somebody speaks plain HTTP on the TLS port: 400, in words.
async fn refuse_plain(mut stream: TcpStream) -> io::Result<()> {
    let mut head = [0; 1024];
    let _ = stream.read(&mut head).await?;
    let answer = "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// A stream on which the head of a request takes [`HEAD`] at most, from its first byte on. hyper's own limit counts idle
/// time too and would close connections that clients are about to use.
struct Patient<S> {
    inner: S,
    /// Set when a request was handed to the service, cleared when it has its answer.
    busy: Arc<AtomicBool>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let busy = self.busy.load(Ordering::Relaxed);
        if busy {
            self.timer = None;
        }
        let before = buf.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.inner).poll_read(cx, buf) {
            if !busy && self.timer.is_none() && buf.filled().len() > before {
                self.timer = Some(Box::pin(tokio::time::sleep_until(Instant::now() + HEAD)));
            }
            return Poll::Ready(read);
        }
        if let Some(timer) = &mut self.timer {
            ready!(timer.as_mut().poll(cx));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the head of a request took too long")));
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.timer = None;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
