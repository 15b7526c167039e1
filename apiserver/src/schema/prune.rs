//! Removes what a schema does not know, and nulls that mean "absent".

use serde_json::{Map, Value};

use super::structural::{Additional, Structural, join};

const META_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

impl Structural {
    /// Removes what the schema does not know and answers the paths of what was removed, sorted, as Kubernetes names
    /// them in `unknown field "spec.wrong"`. `apiVersion`, `kind` and `metadata` of the root stay as they are. Nulls
    /// that mean "absent" go too ([`Self::prune_nulls`]).
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        let mut unknown = Vec::new();
        match object {
            Value::Object(map) if self.preserve_unknown => skip_map(map, self, true, "", &mut unknown),
            Value::Object(map) => prune_map(map, Some(self), true, "", &mut unknown),
            _ => {}
        }
        unknown.sort();
        self.prune_nulls(object);
        unknown
    }

    /// Removes nulls from fields that are neither nullable nor have a default: a client that writes them means
    /// "absent".
    pub fn prune_nulls(&self, object: &mut Value) {
        prune_nulls(object, Some(self));
    }
}

/// Prunes a value that is no resource.
pub(super) fn prune_value(value: &mut Value, schema: &Structural) {
    prune(value, Some(schema), "", &mut Vec::new());
}

fn prune(value: &mut Value, schema: Option<&Structural>, path: &str, unknown: &mut Vec<String>) {
    match (value, schema) {
        (value, Some(schema)) if schema.preserve_unknown => skip(value, schema, path, unknown),
        (Value::Object(map), schema) => {
            let embedded = schema.is_some_and(|s| s.embedded_resource);
            prune_map(map, schema, embedded, path, unknown);
        }
        (Value::Array(items), schema) => {
            let inner = schema.and_then(|s| s.items.as_deref());
            for (i, item) in items.iter_mut().enumerate() {
                prune(item, inner, &format!("{path}[{i}]"), unknown);
            }
        }
        _ => {}
    }
}

fn prune_map(
    map: &mut Map<String, Value>,
    schema: Option<&Structural>,
    embedded: bool,
    path: &str,
    unknown: &mut Vec<String>,
) {
    map.retain(|key, value| {
        if embedded && META_FIELDS.contains(&key.as_str()) {
            return true;
        }
        let at = join(path, key);
        match schema.map(|s| (s.properties.get(key), &s.additional)) {
            Some((Some(property), _)) => prune(value, Some(property), &at, unknown),
            Some((None, Some(Additional::Schema(inner)))) => prune(value, Some(inner), &at, unknown),
            Some((None, Some(Additional::Any))) => prune(value, None, &at, unknown),
            _ => {
                unknown.push(at);
                return false;
            }
        }
        true
    });
}

/// Below `x-kubernetes-preserve-unknown-fields` only what is declared is looked into.
fn skip(value: &mut Value, schema: &Structural, path: &str, unknown: &mut Vec<String>) {
    match value {
        Value::Object(map) => skip_map(map, schema, schema.embedded_resource, path, unknown),
        Value::Array(items) => {
            if let Some(inner) = schema.items.as_deref() {
                for (i, item) in items.iter_mut().enumerate() {
                    skip(item, inner, &format!("{path}[{i}]"), unknown);
                }
            }
        }
        _ => {}
    }
}

fn skip_map(map: &mut Map<String, Value>, schema: &Structural, embedded: bool, path: &str, unknown: &mut Vec<String>) {
    for (key, value) in map.iter_mut() {
        if embedded && META_FIELDS.contains(&key.as_str()) {
            continue;
        }
        if let Some(inner) = schema.child(key) {
            prune(value, Some(inner), &join(path, key), unknown);
        }
    }
}

fn prune_nulls(value: &mut Value, schema: Option<&Structural>) {
    match value {
        Value::Object(map) => map.retain(|key, value| {
            let inner = schema.and_then(|s| s.child(key));
            if value.is_null() && inner.is_some_and(|s| !s.nullable && s.default.is_none()) {
                return false;
            }
            prune_nulls(value, inner);
            true
        }),
        Value::Array(items) => {
            let inner = schema.and_then(|s| s.items.as_deref());
            items.iter_mut().for_each(|item| prune_nulls(item, inner));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::widget;

    #[test]
    fn unknown_fields_go_and_are_named() {
        let schema = widget();
        let mut object = json!({"apiVersion": "v1", "kind": "W", "metadata": {"odd": 1}, "top": 1,
            "spec": {"mode": "fast", "wrong": 1, "place": {"cellar": 2, "room": "r"}, "extra": {"any": {"thing": 1}},
                "parts": [{"name": "p", "bad": 1}]}});
        let unknown = schema.prune(&mut object);
        assert_eq!(unknown, ["spec.parts[0].bad", "spec.place.cellar", "spec.wrong", "top"]);
        assert_eq!(object["spec"]["extra"], json!({"any": {"thing": 1}}));
        assert_eq!(object["metadata"], json!({"odd": 1}));
        assert_eq!(object["spec"]["place"], json!({"room": "r"}));
    }

    #[test]
    fn nulls_stay_where_they_mean_something() {
        let schema = widget();
        let mut object = json!({"spec": {"mode": null, "note": null, "level": null, "extra": {"deep": [{"a": null}]}}});
        schema.prune_nulls(&mut object);
        assert_eq!(object, json!({"spec": {"note": null, "level": null, "extra": {"deep": [{"a": null}]}}}));
    }
}
