//! ObjectMeta as Go's type holds it: which fields there are, of which types, and which are left out when empty.

use serde_json::{Map, Value};

use super::error::go_quote;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Integer,
    Bool,
    Time,
    TextMap,
    TextList,
    Owners,
    Managed,
    Fields,
}

impl Kind {
    fn go(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Integer => "int64",
            Self::Bool => "bool",
            Self::Time => "v1.Time",
            Self::TextMap => "map[string]string",
            Self::TextList => "[]string",
            Self::Owners => "[]v1.OwnerReference",
            Self::Managed => "[]v1.ManagedFieldsEntry",
            Self::Fields => "v1.FieldsV1",
        }
    }
}

const META: [(&str, Kind); 15] = [
    ("name", Kind::Text),
    ("generateName", Kind::Text),
    ("namespace", Kind::Text),
    ("selfLink", Kind::Text),
    ("uid", Kind::Text),
    ("resourceVersion", Kind::Text),
    ("generation", Kind::Integer),
    ("creationTimestamp", Kind::Time),
    ("deletionTimestamp", Kind::Time),
    ("deletionGracePeriodSeconds", Kind::Integer),
    ("labels", Kind::TextMap),
    ("annotations", Kind::TextMap),
    ("ownerReferences", Kind::Owners),
    ("finalizers", Kind::TextList),
    ("managedFields", Kind::Managed),
];

const OWNER: [(&str, Kind); 6] = [
    ("apiVersion", Kind::Text),
    ("kind", Kind::Text),
    ("name", Kind::Text),
    ("uid", Kind::Text),
    ("controller", Kind::Bool),
    ("blockOwnerDeletion", Kind::Bool),
];

const MANAGED: [(&str, Kind); 7] = [
    ("manager", Kind::Text),
    ("operation", Kind::Text),
    ("apiVersion", Kind::Text),
    ("time", Kind::Time),
    ("fieldsType", Kind::Text),
    ("fieldsV1", Kind::Fields),
    ("subresource", Kind::Text),
];

/// Brings `metadata` into the form in which ObjectMeta is stored: what ObjectMeta does not have is removed and named
/// (`metadata.odd`), empty fields are left out. The error is Go's for a value of the wrong type (400 BadRequest).
pub fn decode(metadata: &mut Value) -> Result<Vec<String>, String> {
    let mut unknown = Vec::new();
    match metadata {
        Value::Null => *metadata = Value::Object(Map::new()),
        Value::Object(map) => fields(map, &META, "ObjectMeta.", "metadata", &mut unknown)?,
        other => return Err(format!("json: cannot unmarshal {} into Go value of type v1.ObjectMeta", word(other))),
    }
    unknown.sort();
    Ok(unknown)
}

fn word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn fields(
    map: &mut Map<String, Value>,
    known: &[(&str, Kind)],
    go: &str,
    path: &str,
    unknown: &mut Vec<String>,
) -> Result<(), String> {
    let mut wrong = None;
    let required: &[&str] = if go.contains("ownerReferences") { &["apiVersion", "kind", "name", "uid"] } else { &[] };
    map.retain(|key, value| {
        let Some((_, kind)) = known.iter().find(|(name, _)| name == key) else {
            unknown.push(format!("{path}.{key}"));
            return false;
        };
        match field(value, *kind, &format!("{go}{key}"), &format!("{path}.{key}"), unknown) {
            Ok(kept) => kept || required.contains(&key.as_str()),
            Err(words) => {
                wrong.get_or_insert(words);
                true
            }
        }
    });
    for key in required {
        let slot = map.entry(*key).or_insert_with(|| Value::from(""));
        if slot.is_null() {
            *slot = Value::from("");
        }
    }
    wrong.map_or(Ok(()), Err)
}

/// Checks one field; false when it is empty and is left out.
fn field(value: &mut Value, kind: Kind, go: &str, path: &str, unknown: &mut Vec<String>) -> Result<bool, String> {
    let refuse = |value: &Value, kind: &str| {
        Err(format!("json: cannot unmarshal {} into Go struct field {go} of type {kind}", word(value)))
    };
    match (kind, &mut *value) {
        (_, Value::Null) => Ok(false),
        (Kind::Text, Value::String(text)) => Ok(!text.is_empty()),
        (Kind::Integer, Value::Number(n)) if n.is_i64() => Ok(path.ends_with("Seconds") || n.as_i64() != Some(0)),
        (Kind::Bool, Value::Bool(_)) => Ok(true),
        (Kind::Time, Value::String(text)) => match text.parse::<jiff::Timestamp>() {
            Ok(time) => {
                *text = time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
                Ok(true)
            }
            Err(_) => Err(format!(
                "parsing time {} as \"2006-01-02T15:04:05Z07:00\": cannot parse {} as \"2006\"",
                go_quote(text),
                go_quote(text)
            )),
        },
        (Kind::TextMap, Value::Object(map)) => {
            for value in map.values_mut() {
                match value {
                    Value::String(_) => {}
                    Value::Null => *value = Value::from(""),
                    other => return refuse(other, "string"),
                }
            }
            Ok(!map.is_empty())
        }
        (Kind::TextList, Value::Array(list)) => match list.iter().find(|v| !v.is_string()) {
            Some(other) => refuse(other, "string"),
            None => Ok(!list.is_empty()),
        },
        (Kind::Owners | Kind::Managed, Value::Array(list)) => {
            let (known, name): (&[(&str, Kind)], _) =
                if kind == Kind::Owners { (&OWNER, "v1.OwnerReference") } else { (&MANAGED, "v1.ManagedFieldsEntry") };
            for (i, entry) in list.iter_mut().enumerate() {
                match entry {
                    Value::Object(map) => fields(map, known, &format!("{go}."), &format!("{path}[{i}]"), unknown)?,
                    other => return refuse(other, name),
                }
            }
            Ok(!list.is_empty())
        }
        (Kind::Fields, Value::Object(_)) => Ok(true),
        (kind, other) => refuse(other, kind.go()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_is_decoded_like_object_meta() {
        let mut meta = json!({"name": "a", "odd": 1, "labels": {}, "generation": 0, "creationTimestamp": "2001-02-03T06:05:06+02:00",
            "ownerReferences": [{"kind": "K", "more": 1}], "finalizers": null});
        assert_eq!(decode(&mut meta).expect("decodes"), ["metadata.odd", "metadata.ownerReferences[0].more"]);
        let want = json!({"name": "a", "creationTimestamp": "2001-02-03T04:05:06Z",
            "ownerReferences": [{"apiVersion": "", "kind": "K", "name": "", "uid": ""}]});
        assert_eq!(meta, want);
        let wrong = decode(&mut json!({"labels": {"a": 1}})).expect_err("a number is no label");
        assert_eq!(wrong, "json: cannot unmarshal number into Go struct field ObjectMeta.labels of type string");
    }
}
