//! `rbee explain`: the fields of a kind, from the server's OpenAPI v3 documents.

use std::fmt::Write;

use serde_json::Value;

use crate::{
    context::Context,
    error::{Error, Exit},
    server::{Resource, path::root},
    session::Session,
    target::{ConnectArgs, NamespaceArg},
};

#[derive(Clone, Debug, clap::Args)]
pub struct ExplainArgs {
    /// TYPE, or a field of it as in worker.spec.modelRef
    #[arg(value_name = "TYPE[.FIELD]")]
    pub field: String,
    /// All fields below, without their descriptions
    #[arg(long)]
    pub recursive: bool,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Prints what a field is.
///
/// # Errors
/// A kind or field that is not there, a server without OpenAPI v3 or one that does not answer.
pub async fn run(args: &ExplainArgs, context: &Context) -> Result<Exit, Error> {
    let session = Session::open(&args.connect, &NamespaceArg::default(), context).await?;
    let (word, fields) = args.field.split_once('.').unwrap_or((&args.field, ""));
    let resource = session.resource(word)?.clone();
    let index = session.server.read("/openapi/v3").await?;
    let key = root(&resource.group, &resource.version);
    let url = index["paths"][key.trim_start_matches('/')]["serverRelativeURL"].as_str();
    let url = url.ok_or_else(|| Error::failed(format!("the server tells nothing about {}", resource.api_version())))?;
    let document = session.server.read(url).await?;
    context.out.text(&explain(&document, &resource, fields, args.recursive).map_err(Error::Failed)?)?;
    Ok(Exit::Done)
}

/// The explanation of a field of a kind.
///
/// # Errors
/// A sentence: the document does not have the kind, or the kind not the field.
pub fn explain(document: &Value, resource: &Resource, fields: &str, recursive: bool) -> Result<String, String> {
    let mut schema = kind_schema(document, resource)
        .ok_or_else(|| format!("the server's OpenAPI document does not have the kind {}", resource.kind))?;
    let names: Vec<&str> = fields.split('.').filter(|f| !f.is_empty()).collect();
    let mut required = false;
    for (depth, name) in names.iter().enumerate() {
        let parent = fields_of(document, schema);
        required = is_required(parent, name);
        schema = parent["properties"].get(*name).map(|s| resolved(document, s)).ok_or_else(|| {
            let at = [&[resource.plural.as_str()], &names[..depth]].concat().join(".");
            format!("field {name:?} does not exist in {at}")
        })?;
    }
    let mut text = String::new();
    if !resource.group.is_empty() {
        text.push_str(&format!("GROUP:      {}\n", resource.group));
    }
    text.push_str(&format!("KIND:       {}\nVERSION:    {}\n\n", resource.kind, resource.version));
    if let Some(name) = names.last() {
        let mark = if required { " -required-" } else { "" };
        text.push_str(&format!("FIELD: {name} <{}>{mark}\n\n", type_of(document, schema)));
    }
    text.push_str("DESCRIPTION:\n");
    text.push_str(&description(document, schema, "    "));
    let owner = fields_of(document, schema);
    if owner["properties"].is_object() {
        text.push_str("\nFIELDS:\n");
        write_fields(&mut text, document, owner, 1, recursive);
    }
    Ok(text)
}

fn kind_schema<'d>(document: &'d Value, resource: &Resource) -> Option<&'d Value> {
    let schemas = document["components"]["schemas"].as_object()?;
    schemas.values().find(|schema| {
        schema["x-kubernetes-group-version-kind"].as_array().is_some_and(|kinds| {
            kinds.iter().any(|k| {
                k["group"].as_str().unwrap_or_default() == resource.group
                    && k["version"] == resource.version
                    && k["kind"] == resource.kind
            })
        })
    })
}

/// The schema behind a `$ref` or a lone `allOf`.
fn resolved<'d>(document: &'d Value, schema: &'d Value) -> &'d Value {
    let reference = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str());
    match reference.and_then(|r| r.rsplit('/').next()) {
        Some(name) => document["components"]["schemas"].get(name).unwrap_or(schema),
        None => schema,
    }
}

/// The schema that has the fields: its own, an item's, a value's.
fn fields_of<'d>(document: &'d Value, schema: &'d Value) -> &'d Value {
    let mut schema = resolved(document, schema);
    for key in ["items", "additionalProperties"] {
        if schema["properties"].is_null() && schema[key].is_object() {
            schema = resolved(document, &schema[key]);
        }
    }
    schema
}

fn is_required(schema: &Value, name: &str) -> bool {
    schema["required"].as_array().is_some_and(|names| names.iter().any(|n| n == name))
}

fn type_of(document: &Value, schema: &Value) -> String {
    let schema = resolved(document, schema);
    let kind = schema["type"].as_str().unwrap_or("Object");
    match kind {
        "array" => format!("[]{}", type_of(document, &schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("map[string]{}", type_of(document, &schema["additionalProperties"]))
        }
        "object" => "Object".into(),
        kind => kind.into(),
    }
}

fn description(document: &Value, schema: &Value, indent: &str) -> String {
    let own = schema["description"].as_str();
    let text = own.or_else(|| resolved(document, schema)["description"].as_str()).unwrap_or("<empty>");
    text.lines().flat_map(|line| wrapped(line, 80 - indent.len())).fold(String::new(), |mut all, line| {
        let _ = writeln!(all, "{indent}{line}");
        all
    })
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut();
        match last {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn write_fields(text: &mut String, document: &Value, owner: &Value, depth: usize, recursive: bool) {
    // A schema may contain itself.
    if depth > 20 {
        return;
    }
    let indent = "  ".repeat(depth);
    for (name, schema) in owner["properties"].as_object().into_iter().flatten() {
        let mark = if is_required(owner, name) { " -required-" } else { "" };
        text.push_str(&format!("{indent}{name}\t<{}>{mark}\n", type_of(document, schema)));
        if recursive {
            let inner = fields_of(document, schema);
            if inner["properties"].is_object() && name != "metadata" {
                write_fields(text, document, inner, depth + 1, true);
            }
        } else {
            if let Some(values) = resolved(document, schema)["enum"].as_array() {
                let values: Vec<String> =
                    values.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect();
                text.push_str(&format!("{indent}enum: {}\n", values.join(", ")));
            }
            text.push_str(&description(document, schema, "    "));
            text.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document() -> Value {
        json!({"components": {"schemas": {
            "dev.rbee.Worker": {"description": "Replicas.", "type": "object",
                "x-kubernetes-group-version-kind": [{"group": "rbee.dev", "version": "v1alpha1", "kind": "Worker"}],
                "properties": {
                    "metadata": {"allOf": [{"$ref": "#/components/schemas/meta"}]},
                    "spec": {"type": "object", "description": "What is wanted.", "required": ["modelRef"], "properties": {
                        "modelRef": {"type": "object", "description": "The Model.", "properties": {"name": {"type": "string"}}},
                        "backend": {"type": "string", "enum": ["cpu", "cuda"]},
                        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                        "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "integer"}}}},
                    }}}},
            "meta": {"type": "object", "description": "Standard metadata.", "properties": {"name": {"type": "string"}}},
        }}})
    }

    fn shown(fields: &str, recursive: bool) -> Result<String, String> {
        let resource = Resource::for_tests("rbee.dev", "v1alpha1", "workers", "Worker", true);
        explain(&document(), &resource, fields, recursive)
    }

    #[test]
    fn a_field_is_explained_in_kubectls_words() {
        let text = shown("spec", false).unwrap();
        assert!(
            text.starts_with(
                "GROUP:      rbee.dev\nKIND:       Worker\nVERSION:    v1alpha1\n\nFIELD: spec <Object>\n"
            ),
            "{text}"
        );
        for line in [
            "  modelRef\t<Object> -required-",
            "  labels\t<map[string]string>",
            "  list\t<[]Object>",
            "  enum: cpu, cuda",
        ] {
            assert!(text.lines().any(|l| l == line), "{line:?} in {text}");
        }
        assert!(shown("spec.list", false).unwrap().contains("  a\t<integer>"));
        assert!(shown("metadata", false).unwrap().contains("Standard metadata."));
    }

    #[test]
    fn recursion_shows_the_tree() {
        assert!(shown("", true).unwrap().contains("    modelRef\t<Object> -required-\n      name\t<string>\n"));
    }

    #[test]
    fn a_field_that_is_not_there_is_named() {
        assert_eq!(shown("spec.nope", false).unwrap_err(), "field \"nope\" does not exist in workers.spec");
    }
}
