//! Worker: so many replicas of one model, and what is asked of the machines that run them.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{condition::Condition, duration::Duration, model::LabelSelector};

/// Condition type: every wanted replica has a place.
pub const SCHEDULED: &str = "Scheduled";
/// Condition type: as many replicas as wanted answer requests.
pub const READY: &str = "Ready";
/// Condition type: replicas are being started, replaced or stopped.
pub const PROGRESSING: &str = "Progressing";
/// Condition type: replicas fail again and again.
pub const DEGRADED: &str = "Degraded";

/// What is wanted of a Worker.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "rbee.dev",
    version = "v1alpha1",
    kind = "Worker",
    namespaced,
    shortname = "wkr",
    category = "rbee",
    doc = "Replicas of a Model that answer requests.",
    status = "WorkerStatus",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "MODEL", type_ = "string", json_path = ".spec.modelRef.name"),
    printcolumn(name = "DESIRED", type_ = "integer", json_path = ".status.desiredReplicas"),
    printcolumn(name = "READY", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "REASON", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "BACKEND", type_ = "string", json_path = ".spec.backend", priority = 1),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("!(has(self.replicas) && has(self.autoscaling))").message("replicas and autoscaling exclude each other: set one of them"),
    validation = Rule::new("!(has(self.hiveName) && has(self.hiveSelector))").message("hiveName and hiveSelector exclude each other: set one of them"),
    validation = Rule::new("!has(self.device) || has(self.backend)").message("device needs backend: a device number has a meaning only within a backend")
)]
#[serde(rename_all = "camelCase")]
pub struct WorkerSpec {
    /// The Model to serve, in the same namespace.
    pub model_ref: ModelRef,
    /// How many; one when neither this nor autoscaling is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub replicas: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// cpu when not given. There is no fallback from one backend to another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<Backend>,
    /// Number of the device within the backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1023))]
    pub device: Option<i32>,
    /// Labels that a hive must carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hive_selector: Option<LabelSelector>,
    /// The one hive to run on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub hive_name: Option<String>,
    /// Requests that one replica answers at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub slots: Option<i32>,
    /// Tokens of prompt and answer together; the model's own when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16_777_216))]
    pub context_length: Option<i32>,
    /// A replica without a request for so long is stopped; 0s: never. 5m when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout_strategy: Option<RolloutStrategy>,
    /// What becomes of replicas on a hive that is lost; Replace when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_hive_lost: Option<OnHiveLost>,
    /// How long a hive may be lost before its replicas are replaced; 5m when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hive_lost_timeout: Option<Duration>,
    /// No replicas run while this is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// Defaults of a Worker, in one place.
impl WorkerSpec {
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
    pub const HIVE_LOST_TIMEOUT: Duration = Duration::from_secs(300);
    pub const SLOTS: i32 = 4;

    /// How many replicas there shall be, before anything was scaled by load.
    pub fn wanted_replicas(&self) -> i32 {
        match (&self.autoscaling, self.suspend) {
            (_, Some(true)) => 0,
            (Some(a), _) => a.min_replicas.unwrap_or(1).max(0),
            (None, _) => self.replicas.unwrap_or(1).max(0),
        }
    }

    pub fn backend(&self) -> Backend {
        self.backend.unwrap_or(Backend::Cpu)
    }

    pub fn slots(&self) -> i32 {
        self.slots.unwrap_or(Self::SLOTS)
    }

    pub fn idle_timeout(&self) -> Duration {
        self.idle_timeout.unwrap_or(Self::IDLE_TIMEOUT)
    }

    pub fn hive_lost_timeout(&self) -> Duration {
        self.hive_lost_timeout.unwrap_or(Self::HIVE_LOST_TIMEOUT)
    }
}

/// A Model by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelRef {
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Replicas by load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("!has(self.minReplicas) || self.minReplicas <= self.maxReplicas").message("minReplicas is over maxReplicas"))]
#[serde(rename_all = "camelCase")]
pub struct Autoscaling {
    /// 0 lets the last replica go when nobody asks; 1 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub min_replicas: Option<i32>,
    #[schemars(range(min = 1, max = 10_000))]
    pub max_replicas: i32,
    /// Requests in flight and waiting per replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub target_requests: Option<i32>,
    /// How long the load must be lower before replicas go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_down_delay: Option<Duration>,
}

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    Cpu,
    Cuda,
    Metal,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Metal => "metal",
        })
    }
}

/// Limits of one replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resources {
    /// Memory as a Kubernetes quantity (`6Gi`), in place of the estimate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"))]
    pub memory: Option<String>,
}

/// How replicas of an older spec give way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStrategy {
    /// Replicas above the wanted number meanwhile; 1 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub max_surge: Option<i32>,
    /// Replicas below the wanted number meanwhile; 0 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub max_unavailable: Option<i32>,
}

/// What becomes of replicas on a lost hive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnHiveLost {
    /// They are placed elsewhere after `hiveLostTimeout`.
    Replace,
    /// They wait for the hive.
    Wait,
}

/// What is known of a Worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Replicas that shall be there, whoever asked for them: the spec, its default, autoscaling, suspend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i32>,
    /// Replicas that exist, of any spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// Replicas of the newest spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_replicas: Option<i32>,
    /// Label selector of its Assignments, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
    /// Load as each gateway sees it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::gateways")]
    pub gateways: Vec<GatewayLoad>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performance: Option<Performance>,
}

/// Requests for one Worker at one gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayLoad {
    pub name: String,
    #[serde(default)]
    pub in_flight: i32,
    #[serde(default)]
    pub waiting: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::time")]
    pub last_request_time: Option<Time>,
}

/// The last time that a replica failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// A word of `reason`.
    pub reason: String,
    pub message: String,
    /// Of the process; 128 + n when signal n ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::time")]
    pub time: Option<Time>,
}

/// Measured by the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Performance {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_first_token_ms: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_seconds: Option<f64>,
}
