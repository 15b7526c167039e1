//! Connections: accepted with bounds on headers and time, ended gently.

use super::{App, hangup};
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

/// A client has so long for its headers, and an idle connection stays so long.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// A client that reads nothing for so long is cut off.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// After `stop` connections get so long to send what they have.
const FLUSH_TIME: Duration = Duration::from_secs(2);
/// Bytes of request line and headers.
const MAX_HEAD: usize = 64 << 10;
/// Connections at once; further ones wait in the listener's queue.
const MAX_CONNECTIONS: usize = 4096;

/// Serves until `stop`.
pub async fn serve(listener: TcpListener, app: Arc<App>, stop: CancellationToken) {
    let service = TowerToHyperService::new(super::router(app));
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_buf_size(MAX_HEAD);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (read, write) = stream.into_split();
        let (read, gone) = (Arc::new(read), CancellationToken::new());
        let io = TokioIo::new(Patient { read: read.clone(), write, waiting: None });
        let answer = {
            let (service, gone) = (service.clone(), gone.clone());
            hyper::service::service_fn(move |request| hangup::answer(service.call(request), gone.clone()))
        };
        let connection = graceful.watch(http.serve_connection(io, answer));
        tokio::spawn(async move {
            let watch = async {
                hangup::closed(&read).await;
                gone.cancel();
                std::future::pending::<()>().await
            };
            tokio::select! {
                // What goes wrong on a connection concerns its client, who sees it.
                _ = connection => {}
                () = watch => {}
            }
            drop(place);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(FLUSH_TIME, graceful.shutdown()).await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<tokio::sync::Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    Ok((listener.accept().await?.0, place))
}

/// A stream whose writes fail when the other side takes nothing for too long.
struct Patient {
    read: Arc<OwnedReadHalf>,
    write: OwnedWriteHalf,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn bound<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.waiting = None;
            return result;
        }
        let sleep = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_TIME)));
        match sleep.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream: &TcpStream = self.read.as_ref().as_ref();
        loop {
            ready!(stream.poll_read_ready(context))?;
            match stream.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other.map(|_| ())),
            }
        }
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.write).poll_write(context, bytes);
        self.bound(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.write).poll_write_vectored(context, parts);
        self.bound(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.write.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.write).poll_flush(context);
        self.bound(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(context)
    }
}
