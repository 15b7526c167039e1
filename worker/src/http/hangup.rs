//! Clients that went away. hyper notices that only where it reads, and it reads nothing more while a request is being answered
//! and bytes of a next one lie there; so the socket is watched beside it.

use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::tcp::OwnedReadHalf;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// What the end of the other side's data wakes: on Linux those who wait for urgent data too, unlike mere data, which may lie there for long.
#[cfg(target_os = "linux")]
const END: Interest = Interest::PRIORITY;
#[cfg(not(target_os = "linux"))]
const END: Interest = Interest::READABLE;

/// How often it is looked again where something else than the end came.
const AGAIN: Duration = Duration::from_millis(50);

/// Waits until the other side has closed the connection, whatever is left to be read of it.
pub async fn closed(stream: &Arc<OwnedReadHalf>) {
    while let Ok(ready) = stream.ready(END).await {
        if ready.is_read_closed() {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The answer to a request whose client may go away: then its making ends, and so does its body.
pub async fn answer(
    making: impl Future<Output = Result<Response, Infallible>>,
    gone: CancellationToken,
) -> io::Result<Response<Body>> {
    let Ok(response) = tokio::select! {
        biased;
        response = making => response,
        () = gone.cancelled() => return Err(io::ErrorKind::ConnectionAborted.into()),
    };
    Ok(response.map(|body| Body::new(Watched { body, gone: Box::pin(gone.cancelled_owned()) })))
}

/// A body that ends when nobody is there to read it.
struct Watched {
    body: Body,
    gone: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending if self.gone.as_mut().poll(context).is_ready() => {
                // What it was made of goes at once.
                self.body = Body::empty();
                Poll::Ready(Some(Err(axum::Error::new(io::Error::from(io::ErrorKind::ConnectionAborted)))))
            }
            other => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
