//! One suite of what an API server answers, for the embedded server over TLS and for a kube-apiserver.
//!
//! Each case writes a transcript of requests and answers, without what differs from run to run. `recorded/` holds what the
//! kube-apiserver of `tests/cluster` answers; both servers are compared with it, so the embedded one is held to Kubernetes' words also
//! where none can be started. `RBEE_RECORD=1` records the kube-apiserver's answers anew.

#[path = "../support/mod.rs"]
mod support;

mod cases;
mod executable;
mod protobuf;
mod redact;
mod script;
mod servers;
mod suite;
