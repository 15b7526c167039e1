//! A server's refusal of an object in terms of the file that it came from: `FILE:LINE: FIELD: MESSAGE`.

use kube::core::Status;

use super::object::Item;

/// One line per thing that is wrong.
pub fn refusal(item: &Item, status: &Status) -> Vec<String> {
    let causes = status.details.iter().flat_map(|d| &d.causes);
    let by_cause: Vec<String> = causes
        .filter(|c| !c.field.is_empty() && c.field != "<nil>")
        .map(|c| format!("{}: {}: {}", item.place(plain(&c.field)), plain(&c.field), c.message))
        .collect();
    if !by_cause.is_empty() {
        return by_cause;
    }
    let message = status.message.trim();
    let fields = fields_in(message);
    if fields.is_empty() {
        return vec![format!("{}: {}: {message}", item.place("kind"), item.title())];
    }
    let title = item.title();
    fields.iter().map(|field| format!("{}: {field}: {title}: {message}", item.place(field))).collect()
}

/// Paths begin with a dot in some messages.
fn plain(field: &str) -> &str {
    field.trim_start_matches('.')
}

/// The paths of fields that a message names: `unknown field "spec.x"`, `.spec.x: field not declared in schema`.
fn fields_in(message: &str) -> Vec<String> {
    let is_path = |word: &str| {
        let first = word.split(['.', '[']).next().unwrap_or_default();
        ["spec", "metadata", "status", "data", "kind", "apiVersion"].contains(&first)
            || (word.contains('.') && word.starts_with(|c: char| c.is_ascii_lowercase()) && !word.contains('/'))
    };
    let mut fields: Vec<String> = Vec::new();
    for quoted in message.split("field \"").skip(1) {
        let word = quoted.split('"').next().unwrap_or_default();
        fields.push(plain(word).to_owned());
    }
    if fields.is_empty() {
        for word in message.split_whitespace() {
            let Some(path) = word.strip_prefix('.').and_then(|w| w.strip_suffix(':')) else { continue };
            if is_path(path) {
                fields.push(path.to_owned());
            }
        }
    }
    fields.dedup();
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const WORKER: &str = "apiVersion: rbee.dev/v1alpha1\nkind: Worker\nmetadata:\n  name: bad\nspec:\n  modelRef:\n    name: bee\n  replicas: -2\n  replicaz: 2\n";

    fn item() -> Item {
        let document = rbee_yaml::parse_documents(WORKER, "bad.yaml").unwrap().remove(0);
        super::super::object::objects(document, &"bad.yaml".into()).unwrap().remove(0)
    }

    #[test]
    fn causes_get_the_line_of_their_field() {
        let status: Status = serde_json::from_value(json!({"kind": "Status", "code": 422, "reason": "Invalid", "message": "…", "details": {"causes": [
            {"field": "spec.replicas", "message": "Invalid value: -2: should be greater than or equal to 0", "reason": "FieldValueInvalid"},
            {"field": "spec.slots", "message": "Required value", "reason": "FieldValueRequired"},
        ]}})).unwrap();
        assert_eq!(
            refusal(&item(), &status),
            [
                "bad.yaml:8: spec.replicas: Invalid value: -2: should be greater than or equal to 0",
                "bad.yaml:5: spec.slots: Required value"
            ]
        );
    }

    #[test]
    fn unknown_fields_are_found_in_the_message() {
        for message in [
            "strict decoding error: unknown field \"spec.replicaz\"",
            "failed to create typed patch object (default/bad; rbee.dev/v1alpha1, Kind=Worker): .spec.replicaz: field not declared in schema",
        ] {
            let status = Status::failure(message, "BadRequest");
            let lines = refusal(&item(), &status);
            assert_eq!(lines.len(), 1);
            assert!(lines[0].starts_with("bad.yaml:9: spec.replicaz: Worker \"bad\": "), "{lines:?}");
        }
    }

    #[test]
    fn a_refusal_without_a_field_names_the_object() {
        let lines = refusal(&item(), &Status::failure("not allowed", "Forbidden"));
        assert_eq!(lines, ["bad.yaml:2: Worker \"bad\": not allowed"]);
    }
}
