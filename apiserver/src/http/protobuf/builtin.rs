//! The built-in kinds that Go clients send in protobuf: kubectl for creates and reviews, others for all they write.

use super::field::Type::{Bool, Bytes, First, Int, Json, Map, Message, MicroTime, Text, Time};
use super::field::{Field, many, nonzero, one};

pub const META: &[Field] = &[
    nonzero(1, "name", Text),
    nonzero(2, "generateName", Text),
    nonzero(3, "namespace", Text),
    nonzero(4, "selfLink", Text),
    nonzero(5, "uid", Text),
    nonzero(6, "resourceVersion", Text),
    nonzero(7, "generation", Int),
    one(8, "creationTimestamp", Time),
    one(9, "deletionTimestamp", Time),
    one(10, "deletionGracePeriodSeconds", Int),
    one(11, "labels", Map(&Text)),
    one(12, "annotations", Map(&Text)),
    many(
        13,
        "ownerReferences",
        Message(&[
            one(1, "kind", Text),
            one(3, "name", Text),
            one(4, "uid", Text),
            one(5, "apiVersion", Text),
            one(6, "controller", Bool),
            one(7, "blockOwnerDeletion", Bool),
        ]),
    ),
    many(14, "finalizers", Text),
    many(
        17,
        "managedFields",
        Message(&[
            nonzero(1, "manager", Text),
            nonzero(2, "operation", Text),
            nonzero(3, "apiVersion", Text),
            one(4, "time", Time),
            nonzero(6, "fieldsType", Text),
            one(7, "fieldsV1", Json),
            nonzero(8, "subresource", Text),
        ]),
    ),
];

const REFERENCE: &[Field] = &[
    nonzero(1, "kind", Text),
    nonzero(2, "namespace", Text),
    nonzero(3, "name", Text),
    nonzero(4, "uid", Text),
    nonzero(5, "apiVersion", Text),
    nonzero(6, "resourceVersion", Text),
    nonzero(7, "fieldPath", Text),
];
const SOURCE: &[Field] = &[nonzero(1, "component", Text), nonzero(2, "host", Text)];
const SERIES: &[Field] = &[one(1, "count", Int), one(2, "lastObservedTime", MicroTime)];
const ATTRIBUTES: &[Field] = &[
    nonzero(1, "namespace", Text),
    nonzero(2, "verb", Text),
    nonzero(3, "group", Text),
    nonzero(4, "version", Text),
    nonzero(5, "resource", Text),
    nonzero(6, "subresource", Text),
    nonzero(7, "name", Text),
    one(8, "fieldSelector", Message(SELECTOR)),
    one(9, "labelSelector", Message(SELECTOR)),
];
const SELECTOR: &[Field] = &[
    nonzero(1, "rawSelector", Text),
    many(2, "requirements", Message(&[one(1, "key", Text), one(2, "operator", Text), many(3, "values", Text)])),
];
const PATH: &[Field] = &[nonzero(1, "path", Text), nonzero(2, "verb", Text)];
/// The texts of one key of `extra`.
const TEXTS: &[Field] = &[many(1, "items", Text)];
const ACCESS: &[Field] = &[
    one(1, "resourceAttributes", Message(ATTRIBUTES)),
    one(2, "nonResourceAttributes", Message(PATH)),
    nonzero(3, "user", Text),
    many(4, "groups", Text),
    one(5, "extra", Map(&First(TEXTS, None))),
    nonzero(6, "uid", Text),
];

const META_ONLY: &[Field] = &[one(1, "metadata", Message(META))];
const CONDITION: &[Field] = &[
    one(1, "type", Text),
    one(2, "status", Text),
    one(4, "lastTransitionTime", Time),
    nonzero(5, "reason", Text),
    nonzero(6, "message", Text),
];
const NAMESPACE: &[Field] = &[
    one(1, "metadata", Message(META)),
    one(2, "spec", Message(&[many(1, "finalizers", Text)])),
    one(3, "status", Message(&[nonzero(1, "phase", Text), many(2, "conditions", Message(CONDITION))])),
];
const SECRET: &[Field] = &[
    one(1, "metadata", Message(META)),
    one(2, "data", Map(&Bytes)),
    nonzero(3, "type", Text),
    one(4, "stringData", Map(&Text)),
    one(5, "immutable", Bool),
];
const CONFIG_MAP: &[Field] = &[
    one(1, "metadata", Message(META)),
    one(2, "data", Map(&Text)),
    one(3, "binaryData", Map(&Bytes)),
    one(4, "immutable", Bool),
];
const SERVICE_ACCOUNT: &[Field] = &[
    one(1, "metadata", Message(META)),
    many(2, "secrets", Message(REFERENCE)),
    many(3, "imagePullSecrets", Message(&[nonzero(1, "name", Text)])),
    one(4, "automountServiceAccountToken", Bool),
];
const EVENT: &[Field] = &[
    one(1, "metadata", Message(META)),
    one(2, "involvedObject", Message(REFERENCE)),
    nonzero(3, "reason", Text),
    nonzero(4, "message", Text),
    one(5, "source", Message(SOURCE)),
    one(6, "firstTimestamp", Time),
    one(7, "lastTimestamp", Time),
    nonzero(8, "count", Int),
    nonzero(9, "type", Text),
    one(10, "eventTime", MicroTime),
    one(11, "series", Message(SERIES)),
    nonzero(12, "action", Text),
    one(13, "related", Message(REFERENCE)),
    one(14, "reportingComponent", Text),
    one(15, "reportingInstance", Text),
];
const EVENT_V1: &[Field] = &[
    one(1, "metadata", Message(META)),
    one(2, "eventTime", MicroTime),
    one(3, "series", Message(SERIES)),
    nonzero(4, "reportingController", Text),
    nonzero(5, "reportingInstance", Text),
    nonzero(6, "action", Text),
    nonzero(7, "reason", Text),
    one(8, "regarding", Message(REFERENCE)),
    one(9, "related", Message(REFERENCE)),
    nonzero(10, "note", Text),
    nonzero(11, "type", Text),
    one(12, "deprecatedSource", Message(SOURCE)),
    one(13, "deprecatedFirstTimestamp", Time),
    one(14, "deprecatedLastTimestamp", Time),
    nonzero(15, "deprecatedCount", Int),
];
const LEASE: &[Field] = &[
    one(1, "metadata", Message(META)),
    one(
        2,
        "spec",
        Message(&[
            one(1, "holderIdentity", Text),
            one(2, "leaseDurationSeconds", Int),
            one(3, "acquireTime", MicroTime),
            one(4, "renewTime", MicroTime),
            one(5, "leaseTransitions", Int),
            one(6, "strategy", Text),
            one(7, "preferredHolder", Text),
        ]),
    ),
];
const TOKEN_REVIEW: &[Field] = &[
    one(1, "metadata", Message(META)),
    one(2, "spec", Message(&[nonzero(1, "token", Text), many(2, "audiences", Text)])),
];
const TOKEN_REQUEST: &[Field] = &[
    one(1, "metadata", Message(META)),
    one(
        2,
        "spec",
        Message(&[
            many(1, "audiences", Text),
            one(
                3,
                "boundObjectRef",
                Message(&[
                    nonzero(1, "kind", Text),
                    nonzero(2, "apiVersion", Text),
                    nonzero(3, "name", Text),
                    nonzero(4, "uid", Text),
                ]),
            ),
            one(4, "expirationSeconds", Int),
        ]),
    ),
];
const ACCESS_REVIEW: &[Field] = &[one(1, "metadata", Message(META)), one(2, "spec", Message(ACCESS))];
const RULES_REVIEW: &[Field] =
    &[one(1, "metadata", Message(META)), one(2, "spec", Message(&[nonzero(1, "namespace", Text)]))];
const DELETE_OPTIONS: &[Field] = &[
    one(1, "gracePeriodSeconds", Int),
    one(2, "preconditions", Message(&[one(1, "uid", Text), one(2, "resourceVersion", Text)])),
    one(3, "orphanDependents", Bool),
    one(4, "propagationPolicy", Text),
    many(5, "dryRun", Text),
    one(6, "ignoreStoreReadErrorWithClusterBreakingPotential", Bool),
];
const SCALE: &[Field] = &[
    one(1, "metadata", Message(META)),
    // Zero is what somebody scales to, though Go's JSON leaves it out.
    one(2, "spec", Message(&[one(1, "replicas", Int)])),
    one(3, "status", Message(&[one(1, "replicas", Int), nonzero(2, "selector", Text)])),
];

/// The table of a kind.
pub fn message(api_version: &str, kind: &str) -> Option<&'static [Field]> {
    Some(match (api_version, kind) {
        ("v1", "Namespace") => NAMESPACE,
        ("v1", "Secret") => SECRET,
        ("v1", "ConfigMap") => CONFIG_MAP,
        ("v1", "ServiceAccount") => SERVICE_ACCOUNT,
        ("v1", "Event") => EVENT,
        ("events.k8s.io/v1", "Event") => EVENT_V1,
        ("coordination.k8s.io/v1", "Lease") => LEASE,
        ("authentication.k8s.io/v1", "TokenReview") => TOKEN_REVIEW,
        ("authentication.k8s.io/v1", "TokenRequest") => TOKEN_REQUEST,
        ("authentication.k8s.io/v1", "SelfSubjectReview") => META_ONLY,
        ("authorization.k8s.io/v1", "SelfSubjectRulesReview") => RULES_REVIEW,
        ("authorization.k8s.io/v1", "SubjectAccessReview" | "SelfSubjectAccessReview" | "LocalSubjectAccessReview") => {
            ACCESS_REVIEW
        }
        (_, "DeleteOptions") => DELETE_OPTIONS,
        ("autoscaling/v1", "Scale") => SCALE,
        _ => return None,
    })
}
