//! `rbee edit`: an object in an editor; what was changed is sent as a patch.

use std::{fs, io::Write, path::Path, process::Stdio};

use serde_json::{Map, Value};

use crate::{
    context::Context,
    error::{Error, Exit},
    names::{self, Named, SelectArgs},
    print::format::without_managed_fields,
    server::path::Place,
    session::{Found, Session},
    target::{ConnectArgs, NamespaceArg},
    verbs::apply::MANAGER,
};

const HEAD: &str =
    "# Change what you like and save. Lines that begin with '#' are not read; an empty file changes nothing.\n#\n";

#[derive(Clone, Debug, clap::Args)]
pub struct EditArgs {
    /// TYPE/NAME or TYPE NAME
    #[arg(required = true, value_name = "TYPE/NAME")]
    pub objects: Vec<String>,
    /// The editor, with its arguments
    #[arg(long, value_name = "COMMAND", env = "EDITOR", default_value = "vi")]
    pub editor: String,
    #[command(flatten)]
    pub namespace: NamespaceArg,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Opens the editor and sends what was changed.
///
/// # Errors
/// Wrong usage, an editor that fails, a change that the server refuses (the edited text is kept).
pub async fn run(args: &EditArgs, context: &Context) -> Result<Exit, Error> {
    let named = names::parse(&args.objects).map_err(Error::Usage)?;
    if matches!(named, Named::Kinds(_)) {
        return Err(Error::usage("say which object, as in worker/story"));
    }
    let session = Session::open(&args.connect, &args.namespace, context).await?;
    session.target.announce(context);
    let (found, mut missing) = session.find(&named, &SelectArgs::default()).await?;
    if let Some(error) = missing.pop() {
        return Err(error);
    }
    for one in &found {
        edit(&session, args, one).await?;
    }
    Ok(Exit::Done)
}

async fn edit(session: &Session, args: &EditArgs, found: &Found) -> Result<(), Error> {
    let before = without_managed_fields(found.object.clone());
    let mut file = tempfile::Builder::new().prefix("rbee-edit-").suffix(".yaml").tempfile()?;
    file.write_all(format!("{HEAD}{}", rbee_yaml::to_string(&before)).as_bytes())?;
    file.flush()?;
    run_editor(&args.editor, file.path()).await?;
    let text = fs::read_to_string(file.path())?;
    let name = found.title();
    let documents = rbee_yaml::parse_documents(&text, &name);
    let changed = match documents {
        Ok(mut documents) if documents.len() == 1 => documents.remove(0).value,
        Ok(documents) if documents.is_empty() => before.clone(),
        Ok(_) => return Err(kept(file, "expected one object".into())),
        Err(error) => return Err(kept(file, error.to_string())),
    };
    let Some(patch) = merge_patch(&before, &changed) else {
        session.context.err.note(&format!("Edit cancelled, no changes made to {name}."));
        return Ok(());
    };
    let place =
        Place { namespace: session.namespace_for(&found.resource), name: Some(found.name()), subresource: None };
    let mut body = patch;
    body["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
    let pairs = [("fieldManager", MANAGER), ("fieldValidation", "Strict")];
    match session.server.patch(&found.resource, place, &pairs, "application/merge-patch+json", &body).await {
        Ok(_) => Ok(session.context.out.line(&format!("{name} edited"))?),
        Err(error) => {
            let text = error.to_string();
            Err(kept(file, text.strip_prefix("error: ").unwrap_or(&text).to_owned()))
        }
    }
}

/// The error, with the place where the edited text was kept.
fn kept(file: tempfile::NamedTempFile, problem: String) -> Error {
    match file.keep() {
        Ok((_, path)) => Error::failed(format!("{problem}\nYour text was kept in {}", path.display())),
        Err(_) => Error::failed(problem),
    }
}

async fn run_editor(command: &str, path: &Path) -> Result<(), Error> {
    let mut words = command.split_whitespace();
    let program = words.next().ok_or_else(|| Error::usage("--editor is empty"))?;
    let status =
        tokio::process::Command::new(program).args(words).arg(path).stdin(Stdio::inherit()).status().await.map_err(
            |e| Error::failed(format!("cannot start the editor {program:?}: {e}; name one with --editor or EDITOR")),
        )?;
    if status.success() { Ok(()) } else { Err(Error::failed(format!("the editor {program:?} ended with {status}"))) }
}

/// The JSON merge patch that makes `after` of `before`; None where they are the same.
pub fn merge_patch(before: &Value, after: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return (before != after).then(|| after.clone());
    };
    let mut patch = Map::new();
    for key in old.keys().filter(|k| !new.contains_key(*k)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        let change = match old.get(key) {
            None => Some(value.clone()),
            Some(old) => merge_patch(old, value),
        };
        if let Some(change) = change {
            patch.insert(key.clone(), change);
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_patch_holds_only_what_changed() {
        let before = json!({"spec": {"replicas": 1, "slots": 2, "list": [1]}, "kind": "Worker"});
        let after = json!({"spec": {"replicas": 3, "list": [1, 2], "backend": "cpu"}, "kind": "Worker"});
        assert_eq!(
            merge_patch(&before, &after),
            Some(json!({"spec": {"replicas": 3, "slots": null, "list": [1, 2], "backend": "cpu"}}))
        );
        assert_eq!(merge_patch(&before, &before), None);
    }
}
