//! Model: weights that can be had, and where they are.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{condition::Condition, hive::Download};

/// Condition type: the reference was looked up and names one file set.
pub const RESOLVED: &str = "Resolved";
/// Condition type: a hive has it, or can have it at once.
pub const READY: &str = "Ready";

/// What is wanted of a Model.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "rbee.dev",
    version = "v1alpha1",
    kind = "Model",
    namespaced,
    shortname = "mdl",
    category = "rbee",
    doc = "A language model that Workers can serve.",
    status = "ModelStatus",
    derive = "PartialEq",
    printcolumn(name = "URI", type_ = "string", json_path = ".spec.uri"),
    printcolumn(name = "READY", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "SIZE", type_ = "integer", json_path = ".status.sizeBytes", description = "bytes"),
    printcolumn(name = "REVISION", type_ = "string", json_path = ".status.resolvedRevision", priority = 1),
    printcolumn(
        name = "REASON",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    ),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ModelSpec {
    /// Where the weights come from: hf:ORG/REPO[:FILE-OR-QUANT][@REVISION], file:///ABSOLUTE/PATH of a GGUF file or of a folder
    /// with config.json, tokenizer.json and safetensors, https://…, builtin:NAME.
    #[schemars(schema_with = "crate::schema::model_uri")]
    pub uri: String,
    /// Branch, tag or commit, where the uri names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub revision: Option<String>,
    /// The file inside a repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub filename: Option<String>,
    /// The expected sha256 of the file, 64 hex digits; a file that has another is not loaded. A folder of safetensors and one of its files
    /// have none. Workers' replicas are replaced when it is given or changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: Option<String>,
    /// The Secret that holds the hub's access token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretKeyRef>,
    /// A chat template in place of the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub chat_template: Option<String>,
    /// Hives that fetch the model before a Worker asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefetch: Option<Prefetch>,
}

/// One key of a Secret in the same namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SecretKeyRef {
    pub name: String,
    pub key: String,
}

/// Which hives fetch ahead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Prefetch {
    pub hive_selector: LabelSelector,
}

/// Labels that a hive must carry, all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
}

/// What is known of a Model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The commit that the reference was resolved to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_revision: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ModelFile>,
    /// Sum of the files, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
    /// What the file's header says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gguf: Option<Gguf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<Copies>,
    /// At most ten hives, those with something to tell first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub hives: Vec<ModelHive>,
}

/// One file of a Model.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelFile {
    pub path: String,
    pub size_bytes: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// The header of a GGUF file, in its own terms; enough to estimate memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gguf {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Name of the file type, as in Q4_K_M.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<String>,
    /// Tokens that the model was trained for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_length: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_count: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter_count: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_length: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_count: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_count_kv: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_length: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_length: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feed_forward_length: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocab_size: Option<i64>,
    /// Size of the whole file, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<i64>,
    /// Sum of the tensors' data, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensor_bytes: Option<i64>,
}

/// What the header does not state is left out.
impl From<&rbee_model::gguf::Summary> for Gguf {
    fn from(summary: &rbee_model::gguf::Summary) -> Self {
        let text = |s: &String| (!s.is_empty()).then(|| s.clone());
        let number = |n: u64| (n > 0).then(|| i64::try_from(n).unwrap_or(i64::MAX));
        Gguf {
            architecture: text(&summary.architecture),
            quantization: text(&summary.quantization),
            context_length: number(summary.context_length),
            layer_count: number(summary.layer_count),
            parameter_count: number(summary.parameter_count),
            embedding_length: number(summary.embedding_length),
            head_count: number(summary.head_count),
            head_count_kv: number(summary.head_count_kv),
            key_length: number(summary.key_length),
            value_length: number(summary.value_length),
            feed_forward_length: number(summary.feed_forward_length),
            vocab_size: number(summary.vocab_size),
            file_bytes: number(summary.file_bytes),
            tensor_bytes: number(summary.tensor_bytes),
        }
    }
}

/// How many hives have it, fetch it, failed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Copies {
    #[serde(default)]
    pub available: i32,
    #[serde(default)]
    pub downloading: i32,
    #[serde(default)]
    pub failed: i32,
    #[serde(default)]
    pub total: i32,
}

/// What one hive does with a Model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelHive {
    pub name: String,
    pub state: crate::hive::CacheState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download: Option<Download>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_of_the_built_in_model_is_told() {
        let tinybee = rbee_model::builtin::get("tinybee").expect("it is built in");
        let summary = rbee_model::gguf::Header::from_bytes(tinybee.bytes).expect("a good file").summary();
        let gguf = Gguf::from(&summary);
        assert_eq!(
            (gguf.architecture.as_deref(), gguf.context_length, gguf.layer_count),
            (Some("llama"), Some(256), Some(4))
        );
    }
}
