//! The HTTP side: a request passes resolve, authenticate, authorize, decode, admit, write and encode, whatever its kind.

mod admit;
mod body;
pub mod change;
mod deletion;
mod encode;
mod json;
mod mechanism;
pub mod meta;
pub mod negotiate;
mod past;
pub mod path;
mod pipeline;
mod protobuf;
mod protobuf_status;
pub mod query;
mod read;
pub mod remove;
mod request;
mod reviews;
mod rules;
mod scale;
pub mod serve;
mod server;
mod site;
pub mod status;
mod views;
mod watch;
mod write;

pub use pipeline::{Caller, router};
pub use server::{Issued, Server, Settings};
