//! Conditions as Kubernetes writes them, and the one way to set them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

impl From<bool> for ConditionStatus {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// One aspect of an object's state, with the reason for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Its name, unique in the list: Ready, Scheduled, Resolved …
    #[serde(rename = "type")]
    pub type_: String,
    pub status: ConditionStatus,
    /// The generation of the spec that this was observed for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When `status` last changed.
    #[schemars(schema_with = "crate::schema::time")]
    pub last_transition_time: Time,
    /// A CamelCase word for programs (see `reason`).
    pub reason: String,
    /// A sentence for people.
    #[serde(default)]
    pub message: String,
}

/// A condition as a planner wants it; [`set`] adds the times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub type_: &'static str,
    pub status: ConditionStatus,
    pub reason: String,
    pub message: String,
}

impl Wanted {
    /// A condition of type `type_` with this status, reason and message.
    pub fn new(
        type_: &'static str,
        status: impl Into<ConditionStatus>,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { type_, status: status.into(), reason: reason.into(), message: message.into() }
    }
}

/// The condition of that type, if the list has it.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

/// Whether the condition of that type is there and True.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|c| c.status == ConditionStatus::True)
}

/// `wanted` with times: a condition whose status did not change keeps its transition time, so that setting the same
/// conditions again changes nothing.
pub fn set(current: &[Condition], wanted: &[Wanted], generation: Option<i64>, now: &Time) -> Vec<Condition> {
    wanted
        .iter()
        .map(|w| Condition {
            type_: w.type_.into(),
            status: w.status,
            observed_generation: generation,
            last_transition_time: find(current, w.type_)
                .filter(|c| c.status == w.status)
                .map_or_else(|| now.clone(), |c| c.last_transition_time.clone()),
            reason: w.reason.clone(),
            message: w.message.clone(),
        })
        .collect()
}
