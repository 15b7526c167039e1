//! The way of one part to the API server: it holds virtual time while a request is under way, and it can break at a chosen write.
//!
//! The server's writer is a thread, which tokio does not see: with every task waiting for it, paused time would jump to the
//! next timer, and deadlines of requests would run out in the middle of a commit. Tokio's clock stands while a blocking task
//! runs, so each request carries one.

use std::{
    convert::Infallible,
    future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
        mpsc,
    },
};

use axum::Router;
use http::{Method, Request};
use kube::{Client, client::Body};
use tokio::sync::Notify;
use tower::ServiceExt;

/// Holds virtual time until it is dropped.
struct Held(#[allow(dead_code, reason = "its drop is what ends the wait")] mpsc::Sender<()>);

fn hold_time() -> Held {
    let (sender, receiver) = mpsc::channel();
    tokio::task::spawn_blocking(move || {
        // An error: the sender is gone, which is the sign.
        let _ = receiver.recv();
    });
    Held(sender)
}

/// A process that is killed at a write: nothing that it asks afterwards arrives, and nothing is answered.
#[derive(Clone)]
pub struct Fuse(Arc<Inner>);

struct Inner {
    /// Writes until it blows.
    left: AtomicI64,
    /// Whether the write at which it blows arrives.
    arrives: bool,
    blown: AtomicBool,
    blew: Notify,
}

impl Fuse {
    /// Never blows by itself.
    pub fn strong() -> Self {
        Self::at_write(i64::MAX, true)
    }

    /// Blows at the `nth` write, counted from 1; `arrives` says whether that one is carried out.
    pub fn at_write(nth: i64, arrives: bool) -> Self {
        let (blown, blew) = (AtomicBool::new(false), Notify::new());
        Self(Arc::new(Inner { left: AtomicI64::new(nth), arrives, blown, blew }))
    }

    /// Blows at once.
    pub fn blow(&self) {
        self.0.blown.store(true, Ordering::SeqCst);
        self.0.blew.notify_one();
    }

    pub fn is_blown(&self) -> bool {
        self.0.blown.load(Ordering::SeqCst)
    }

    /// Resolves when it has blown.
    pub async fn blew(&self) {
        while !self.is_blown() {
            self.0.blew.notified().await;
        }
    }

    /// Whether this request is the last one.
    fn burns(&self, method: &Method) -> bool {
        method != Method::GET && self.0.left.fetch_sub(1, Ordering::SeqCst) == 1
    }
}

/// A client over the router that stops with its fuse.
pub fn client(router: Router, fuse: Fuse) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let (router, fuse) = (router.clone(), fuse.clone());
        async move {
            let last = !fuse.is_blown() && fuse.burns(request.method());
            if last && !fuse.0.arrives {
                fuse.blow();
            }
            if fuse.is_blown() {
                return future::pending().await;
            }
            let held = hold_time();
            let answer = router.oneshot(request).await;
            if last {
                fuse.blow();
            }
            drop(held);
            if fuse.is_blown() {
                return future::pending().await;
            }
            Ok::<_, Infallible>(answer.unwrap_or_else(|never| match never {}))
        }
    });
    Client::new(service, rbee_crds::names::DEFAULT_NAMESPACE)
}
