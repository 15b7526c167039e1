//! The built-in kinds, as rows of a table.

use std::sync::Arc;

use super::kind::{Builtin, Resource, Review, SchemaRef, api_version, stored_name};
use super::storage_hash;
use crate::schema::builtin;
use crate::schema::metadata::NameRule;
use crate::table::Columns;

struct Row {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    namespaced: bool,
    status: bool,
    builtin: Builtin,
}

const fn row(group: &'static str, kind: &'static str, plural: &'static str, builtin: Builtin) -> Row {
    Row { group, kind, plural, short: &[], namespaced: true, status: false, builtin }
}

const ROWS: &[Row] = &[
    Row { short: &["cm"], ..row("", "ConfigMap", "configmaps", Builtin::ConfigMap) },
    Row { short: &["ev"], ..row("", "Event", "events", Builtin::Event) },
    Row { short: &["ns"], namespaced: false, status: true, ..row("", "Namespace", "namespaces", Builtin::Namespace) },
    row("", "Secret", "secrets", Builtin::Secret),
    Row { short: &["sa"], ..row("", "ServiceAccount", "serviceaccounts", Builtin::ServiceAccount) },
    Row { short: &["ev"], ..row("events.k8s.io", "Event", "events", Builtin::EventsV1) },
    row("coordination.k8s.io", "Lease", "leases", Builtin::Lease),
    Row {
        short: &["crd", "crds"],
        namespaced: false,
        status: true,
        ..row("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", Builtin::Definition)
    },
    review("authentication.k8s.io", "TokenReview", "tokenreviews", Review::Token),
    review("authentication.k8s.io", "SelfSubjectReview", "selfsubjectreviews", Review::SelfSubject),
    review("authorization.k8s.io", "SubjectAccessReview", "subjectaccessreviews", Review::Access),
    review("authorization.k8s.io", "SelfSubjectAccessReview", "selfsubjectaccessreviews", Review::SelfAccess),
    review("authorization.k8s.io", "SelfSubjectRulesReview", "selfsubjectrulesreviews", Review::SelfRules),
    Row {
        namespaced: true,
        ..review("authorization.k8s.io", "LocalSubjectAccessReview", "localsubjectaccessreviews", Review::LocalAccess)
    },
];

const fn review(group: &'static str, kind: &'static str, plural: &'static str, review: Review) -> Row {
    Row { namespaced: false, ..row(group, kind, plural, Builtin::Review(review)) }
}

/// Fields that a field selector may name beside `metadata.name` and `metadata.namespace`.
fn selectable(builtin: Builtin) -> &'static [&'static str] {
    match builtin {
        Builtin::Secret => &["type"],
        Builtin::Namespace => &["status.phase", "name"],
        Builtin::Event => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        Builtin::EventsV1 => &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
        _ => &[],
    }
}

/// All built-in resources.
pub fn resources() -> Vec<Resource> {
    ROWS.iter().map(resource).collect()
}

fn resource(row: &Row) -> Resource {
    // Events are stored once, in the core group's form.
    let group = if row.builtin == Builtin::EventsV1 { "" } else { row.group };
    let path = |field: &&str| {
        let path = match *field {
            "name" => "metadata.name",
            "source" => "source.component",
            field => field,
        };
        ((*field).to_string(), path.split('.').map(ToString::to_string).collect())
    };
    Resource {
        group: row.group.into(),
        version: "v1".into(),
        kind: row.kind.into(),
        list_kind: format!("{}List", row.kind),
        plural: row.plural.into(),
        singular: row.kind.to_lowercase(),
        short_names: row.short.iter().map(ToString::to_string).collect(),
        categories: if row.builtin == Builtin::Definition { vec!["api-extensions".into()] } else { Vec::new() },
        namespaced: row.namespaced,
        name_rule: if row.builtin == Builtin::Namespace { NameRule::Label } else { NameRule::Subdomain },
        stored_as: stored_name(group, row.plural),
        stored_api_version: api_version(group, "v1"),
        status: row.status,
        scale: None,
        selectable: selectable(row.builtin).iter().map(path).collect(),
        schema: builtin::schema(row.group, row.kind).map(SchemaRef::Builtin),
        raw_schema: None,
        columns: Columns::builtin(row.group, row.kind).map(Arc::new),
        builtin: Some(row.builtin),
        generation: row.builtin == Builtin::Definition,
        reread: false,
        deprecation: None,
        terminating: false,
        storage_hash: if matches!(row.builtin, Builtin::Review(_)) {
            String::new()
        } else {
            storage_hash(row.group, "v1", row.kind)
        },
    }
}
