//! OpenAPI v3 documents per group and version, built from data alone, as kube-apiserver publishes them.

mod model;
mod paths;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use crate::schema::builtin;

/// One resource of a group and version.
#[derive(Debug, Clone, Default)]
pub struct Resource {
    /// Kind, e.g. `Model`.
    pub kind: String,
    /// List kind, e.g. `ModelList`.
    pub list_kind: String,
    /// Plural name, e.g. `models`.
    pub plural: String,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// The CRD's `openAPIV3Schema`; not used for built-in kinds.
    pub schema: Option<Value>,
    /// Has a status subresource.
    pub status: bool,
    /// Has a scale subresource.
    pub scale: bool,
    /// Built in, not from a CRD.
    pub builtin: bool,
    /// The CRD's `selectableFields`, as `.spec.mode` or `spec.mode`.
    pub selectable_fields: Vec<String>,
}

/// The document at `/openapi/v3/apis/GROUP/VERSION` (`/openapi/v3/api/v1` for the core group, whose group is empty).
pub fn document(group: &str, version: &str, resources: &[Resource]) -> Value {
    let mut all_paths = Map::new();
    let mut schemas = Map::new();
    for resource in resources {
        let names = model::Names::of(group, version, resource);
        all_paths.extend(paths::of(group, version, resource, &names));
        if resource.builtin {
            for name in [&names.object, &names.list] {
                if let Some(definition) = builtin::definition(name) {
                    schemas.insert(name.clone(), definition.clone());
                }
            }
        } else {
            schemas.insert(names.list.clone(), model::list(group, version, resource, &names));
            schemas.insert(names.object.clone(), model::object(group, version, resource));
        }
    }
    add_referenced(&Value::Object(all_paths.clone()), &mut schemas);
    let custom = resources.iter().any(|r| !r.builtin);
    let info = match custom {
        true => json!({"title": "Kubernetes CRD Swagger", "version": "v0.1.0"}),
        false => json!({"title": "Kubernetes", "version": "unversioned"}),
    };
    json!({"openapi": "3.0.0", "info": info, "paths": all_paths, "components": {"schemas": schemas}})
}

/// Adds every definition that paths and schemas refer to.
fn add_referenced(paths: &Value, schemas: &mut Map<String, Value>) {
    let mut wanted = BTreeSet::new();
    references(paths, &mut wanted);
    schemas.values().for_each(|s| references(s, &mut wanted));
    let mut queue: Vec<String> = wanted.into_iter().collect();
    while let Some(name) = queue.pop() {
        if schemas.contains_key(&name) {
            continue;
        }
        let definition = builtin::definition(&name).cloned().unwrap_or_else(|| json!({"type": "object"}));
        let mut more = BTreeSet::new();
        references(&definition, &mut more);
        queue.extend(more);
        schemas.insert(name, definition);
    }
}

fn references(value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                match (key.as_str(), inner) {
                    ("$ref", Value::String(target)) => {
                        out.extend(target.strip_prefix("#/components/schemas/").map(str::to_string));
                    }
                    _ => references(inner, out),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|i| references(i, out)),
        _ => {}
    }
}

/// Upper-case hex SHA-512 of the serialized document, as in `serverRelativeURL`.
pub fn hash(document: &Value) -> String {
    hex::encode_upper(Sha512::digest(document.to_string().as_bytes()))
}

/// The index at `/openapi/v3`: `paths` from (path, hash), e.g. (`apis/rbee.dev/v1alpha1`, …).
pub fn index(documents: &[(String, String)]) -> Value {
    let paths: Map<String, Value> = documents
        .iter()
        .map(|(path, hash)| (path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")})))
        .collect();
    json!({"paths": paths})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn widget() -> Resource {
        Resource {
            kind: "Widget".into(),
            list_kind: "WidgetList".into(),
            plural: "widgets".into(),
            namespaced: true,
            schema: Some(crate::schema::testing::widget_json()),
            status: true,
            scale: true,
            builtin: false,
            selectable_fields: vec![".spec.mode".into(), ".spec.size".into()],
        }
    }

    #[test]
    fn a_definition_is_published_as_kubernetes_publishes_it() {
        let want: Value = serde_json::from_str(include_str!("testdata/widget.json")).expect("JSON");
        let got = document("parity.rbee.dev", "v1", &[widget()]);
        assert_eq!(got["info"], want["info"]);
        for (path, item) in want["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("a path item") {
                assert_eq!(&got["paths"][path][method], operation, "{path} {method}");
            }
        }
        assert_eq!(got["paths"].as_object().map(Map::len), want["paths"].as_object().map(Map::len));
        for (name, schema) in want["components"]["schemas"].as_object().expect("schemas") {
            for (key, value) in schema.as_object().expect("a schema") {
                assert_eq!(&got["components"]["schemas"][name][key], value, "{name} {key}");
            }
            assert_eq!(&got["components"]["schemas"][name], schema);
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let builtins = |kinds: &[(&str, &str)]| -> Vec<Resource> {
            kinds
                .iter()
                .map(|(kind, plural)| Resource {
                    kind: (*kind).into(),
                    list_kind: format!("{kind}List"),
                    plural: (*plural).into(),
                    namespaced: true,
                    builtin: true,
                    ..Resource::default()
                })
                .collect()
        };
        let documents = [
            document("parity.rbee.dev", "v1", &[widget()]),
            document("", "v1", &builtins(&[("Secret", "secrets"), ("Event", "events"), ("Namespace", "namespaces")])),
            document(
                "authorization.k8s.io",
                "v1",
                &builtins(&[("SelfSubjectAccessReview", "selfsubjectaccessreviews")]),
            ),
            document(
                "apiextensions.k8s.io",
                "v1",
                &builtins(&[("CustomResourceDefinition", "customresourcedefinitions")]),
            ),
        ];
        for document in documents {
            let mut wanted = BTreeSet::new();
            references(&document, &mut wanted);
            let schemas = document["components"]["schemas"].as_object().expect("schemas");
            let lost: Vec<&String> = wanted.iter().filter(|name| !schemas.contains_key(*name)).collect();
            assert!(lost.is_empty(), "{lost:?}");
            assert_eq!(hash(&document).len(), 128);
        }
    }

    #[test]
    fn the_index_names_documents_with_their_hash() {
        let got = index(&[("apis/rbee.dev/v1alpha1".into(), "AB".into())]);
        assert_eq!(
            got,
            json!({"paths": {"apis/rbee.dev/v1alpha1": {"serverRelativeURL": "/openapi/v3/apis/rbee.dev/v1alpha1?hash=AB"}}})
        );
    }
}
