//! One served resource of one version: everything that the handlers need to know about a kind, as data.

use std::sync::Arc;

use serde_json::Value;

use crate::http::status::Qualified;
use crate::schema::Structural;
use crate::schema::metadata::NameRule;
use crate::table::Columns;

/// Kinds whose behaviour is more than data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builtin {
    /// `v1` Namespace: its content goes with it.
    Namespace,
    /// `v1` Secret: `stringData`, immutable type.
    Secret,
    /// `v1` ConfigMap: `immutable`.
    ConfigMap,
    /// `v1` Event.
    Event,
    /// `events.k8s.io/v1` Event, a view of the same objects.
    EventsV1,
    /// `coordination.k8s.io/v1` Lease.
    Lease,
    /// `v1` ServiceAccount, with its `token` subresource.
    ServiceAccount,
    /// `apiextensions.k8s.io/v1` CustomResourceDefinition.
    Definition,
    /// Kinds that are asked, never stored.
    Review(Review),
}

/// Kinds that are asked, never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Review {
    /// Who is behind this token?
    Token,
    /// Who am I?
    SelfSubject,
    /// May that user do this?
    Access,
    /// May that user do this in this namespace?
    LocalAccess,
    /// May I do this?
    SelfAccess,
    /// What may I do?
    SelfRules,
}

/// The scale subresource's paths, as segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalePaths {
    /// `specReplicasPath`
    pub spec_replicas: Vec<String>,
    /// `statusReplicasPath`
    pub status_replicas: Vec<String>,
    /// `labelSelectorPath`
    pub selector: Option<Vec<String>>,
}

/// A compiled schema: a definition's own or a built-in kind's.
#[derive(Debug, Clone)]
pub enum SchemaRef {
    /// Compiled from a definition.
    Definition(Arc<Structural>),
    /// Of a built-in kind.
    Builtin(&'static Structural),
}

impl std::ops::Deref for SchemaRef {
    type Target = Structural;

    fn deref(&self) -> &Structural {
        match self {
            Self::Definition(schema) => schema,
            Self::Builtin(schema) => schema,
        }
    }
}

/// One served resource of one version.
#[derive(Debug)]
pub struct Resource {
    /// API group, empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Kind of a list.
    pub list_kind: String,
    /// Plural name, as in paths.
    pub plural: String,
    /// Singular name.
    pub singular: String,
    /// Short names.
    pub short_names: Vec<String>,
    /// Categories.
    pub categories: Vec<String>,
    /// Objects live in namespaces.
    pub namespaced: bool,
    /// What names may look like.
    pub name_rule: NameRule,
    /// `group/plural` (the plural alone in the core group) under which objects are stored.
    pub stored_as: Arc<str>,
    /// `apiVersion` of stored objects.
    pub stored_api_version: String,
    /// Has a status subresource.
    pub status: bool,
    /// Has a scale subresource.
    pub scale: Option<ScalePaths>,
    /// Fields that field selectors know beside name and namespace: name and path.
    pub selectable: Vec<(String, Vec<String>)>,
    /// Schema of the whole object.
    pub schema: Option<SchemaRef>,
    /// The schema as it was written, for OpenAPI.
    pub raw_schema: Option<Value>,
    /// Columns of Table answers; reviews have none.
    pub columns: Option<Arc<Columns>>,
    /// Built in and special; none for custom resources.
    pub builtin: Option<Builtin>,
    /// `metadata.generation` counts changes of the spec.
    pub generation: bool,
    /// Stored objects may be older than the schema: they are pruned and defaulted when read.
    pub reread: bool,
    /// Warning of a deprecated version.
    pub deprecation: Option<String>,
    /// Where the kind's definition is going away: no creates.
    pub terminating: bool,
    /// Hash that discovery shows.
    pub storage_hash: String,
}

impl Resource {
    /// `group/version`, or `v1`.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// Group and plural, as errors name it.
    pub fn qualified(&self) -> Qualified<'_> {
        Qualified { group: &self.group, name: &self.plural }
    }

    /// Group and kind, as `is invalid` errors name it.
    pub fn qualified_kind(&self) -> Qualified<'_> {
        Qualified { group: &self.group, name: &self.kind }
    }

    /// A custom resource.
    pub fn is_custom(&self) -> bool {
        self.builtin.is_none()
    }

    /// Asked, never stored.
    pub fn review(&self) -> Option<Review> {
        match self.builtin {
            Some(Builtin::Review(review)) => Some(review),
            _ => None,
        }
    }

    /// Verbs of the resource itself, as discovery lists them.
    pub fn verbs(&self) -> &'static [&'static str] {
        match self.builtin {
            Some(Builtin::Review(_)) => &["create"],
            Some(Builtin::Namespace) => &["create", "delete", "get", "list", "patch", "update", "watch"],
            None if self.terminating => &["delete", "deletecollection", "get", "list", "watch"],
            None => &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"],
            Some(_) => &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        }
    }

    /// Subresources: name, group, version and kind of what they answer, verbs.
    pub fn subresources(&self) -> Vec<Subresource> {
        let mut subresources = Vec::new();
        let own = |name: &'static str, verbs: &'static [&'static str]| Subresource {
            name,
            group: self.group.clone(),
            version: self.version.clone(),
            kind: self.kind.clone(),
            foreign: false,
            verbs,
        };
        if self.status {
            subresources.push(own("status", &["get", "patch", "update"]));
        }
        if self.scale.is_some() {
            subresources.push(Subresource {
                name: "scale",
                group: "autoscaling".into(),
                version: "v1".into(),
                kind: "Scale".into(),
                foreign: true,
                verbs: &["get", "patch", "update"],
            });
        }
        match self.builtin {
            Some(Builtin::Namespace) => subresources.push(own("finalize", &["update"])),
            Some(Builtin::ServiceAccount) => subresources.push(Subresource {
                name: "token",
                group: "authentication.k8s.io".into(),
                version: "v1".into(),
                kind: "TokenRequest".into(),
                foreign: true,
                verbs: &["create"],
            }),
            _ => {}
        }
        subresources
    }
}

/// A subresource, as discovery lists it.
#[derive(Debug, Clone)]
pub struct Subresource {
    /// Last segment of its path.
    pub name: &'static str,
    /// Group of what it answers.
    pub group: String,
    /// Version of what it answers.
    pub version: String,
    /// Kind of what it answers.
    pub kind: String,
    /// That is another kind than the resource's own.
    pub foreign: bool,
    /// Verbs.
    pub verbs: &'static [&'static str],
}

/// `group/version`, or the version alone in the core group.
pub fn api_version(group: &str, version: &str) -> String {
    match group {
        "" => version.to_string(),
        group => format!("{group}/{version}"),
    }
}

/// The name under which the database keeps a resource.
pub fn stored_name(group: &str, plural: &str) -> Arc<str> {
    match group {
        "" => plural.into(),
        group => format!("{group}/{plural}").into(),
    }
}

/// Splits an `apiVersion` into group and version.
pub fn split_api_version(text: &str) -> (&str, &str) {
    text.split_once('/').unwrap_or(("", text))
}
