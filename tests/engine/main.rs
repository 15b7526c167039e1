//! The worker's executable and hostile, damaged and changing models: what it refuses, what it survives, and that it does not grow.

#[path = "../support/mod.rs"]
mod support;

mod changing;
mod damaged;
mod growth;
mod hostile;
mod templates;
mod tokenizers;
mod worker;
