//! Structural schemas of custom resources: compile once, then prune, default and validate objects in Kubernetes' words.
//!
//! A request's object is decoded with [`metadata::decode`], then [`Structural::prune`] and [`Structural::default`], then
//! (after the write's own rules) [`Structural::validate_after`].

pub mod builtin;
mod cel;
mod cel_check;
mod cel_value;
mod check;
mod correlate;
mod defaulting;
mod embedded;
pub mod error;
mod formats;
#[cfg(test)]
mod golden;
mod lists;
pub mod metadata;
pub mod names;
mod numbers;
mod object_meta;
mod pattern;
mod prune;
pub mod structural;
#[cfg(test)]
pub(crate) mod testing;
mod validate;

pub use error::{BadValue, ErrorKind, FieldError, cause_list, join_messages};
pub use numbers::normalise as normalise_numbers;
pub use structural::Structural;
