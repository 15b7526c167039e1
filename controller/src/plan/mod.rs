//! Decisions: one file per kind, each a pure function from what is observed to what shall be written.

pub mod assignment;
pub mod check;
pub mod fleet;
pub mod hive;
pub mod lease;
pub mod model;
pub mod place;
pub mod worker;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;

/// An object as a write names it, with what must still be so when the write arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub namespace: Option<String>,
    pub name: String,
    pub uid: String,
    /// The version that the decision was made from.
    pub resource_version: Option<String>,
}

impl Target {
    /// The object as it was observed.
    pub fn of<K: Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self {
            namespace: meta.namespace.clone(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            resource_version: meta.resource_version.clone(),
        }
    }

    /// `namespace/name`, or the name where there is no namespace.
    pub fn key(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        }
    }
}

/// How an Event is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Normal,
    Warning,
}

/// An Event about the object that the plan is for.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    pub severity: Severity,
    pub reason: String,
    /// What the queen did, a CamelCase verb.
    pub action: &'static str,
    pub message: String,
    /// The other object that it is about.
    pub related: Option<ObjectReference>,
}

impl Note {
    pub fn normal(reason: impl Into<String>, action: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Normal, reason: reason.into(), action, message: message.into(), related: None }
    }

    pub fn warning(reason: impl Into<String>, action: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::normal(reason, action, message) }
    }

    pub fn about(mut self, related: ObjectReference) -> Self {
        self.related = Some(related);
        self
    }
}

/// `at` plus `by`, or the end of time.
pub(crate) fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| at.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

/// How long from `now` until `at`; nothing when that is over.
pub(crate) fn until(now: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// A moment just after `wait`, up to half a second later by `seed`, so that what falls due together does not wake together.
pub(crate) fn just_after(wait: Duration, seed: u64) -> Duration {
    wait + Duration::from_millis(10 + seed % 490)
}
