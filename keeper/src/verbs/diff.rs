//! `rbee diff`: what `apply` would change. Exit 0: nothing, 1: something, 2 and more: it could not be found out.

use serde_json::Value;
use similar::TextDiff;

use crate::{
    context::Context,
    error::{Error, Exit},
    manifest::{FileArgs, order_for_apply, read_all},
    print::format::without_managed_fields,
    session::Session,
    target::{ConnectArgs, NamespaceArg},
    verbs::apply::{Apply, apply_object, namespace_of, resource_of, told},
};

/// The exit code of a diff that could not be made.
const TROUBLE: Exit = Exit::Code(2);

#[derive(Clone, Debug, clap::Args)]
pub struct DiffArgs {
    #[command(flatten)]
    pub files: FileArgs,
    #[command(flatten)]
    pub namespace: NamespaceArg,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Prints a unified diff per object that would change.
///
/// # Errors
/// None: a failure is told and becomes an exit code above 1.
pub async fn run(args: &DiffArgs, context: &Context) -> Result<Exit, Error> {
    match diff(args, context).await {
        Ok(exit) => Ok(exit),
        Err(error @ Error::Output(_)) => Err(error),
        Err(error) => {
            context.err.note(&error.to_string());
            Ok(TROUBLE)
        }
    }
}

async fn diff(args: &DiffArgs, context: &Context) -> Result<Exit, Error> {
    if args.files.filename.is_empty() {
        return Err(Error::usage("say what to compare: -f FILE, -f DIR or -f -"));
    }
    let mut items = read_all(&args.files, &context.input)?;
    order_for_apply(&mut items);
    let mut session = Session::open(&args.connect, &args.namespace, context).await?;
    let mut exit = Exit::Done;
    for item in &items {
        let step = async {
            let resource = resource_of(&mut session, item).await?;
            let namespace = namespace_of(&session, &args.namespace, item)?;
            let namespace = resource.namespaced.then_some(namespace.as_str());
            let live = match session.server.get(&resource, namespace, item.name()).await {
                Ok(object) => Some(object),
                Err(error) if error.is_not_found() => None,
                Err(error) => return Err(error),
            };
            let how = Apply { dry: true, force: false };
            let merged = apply_object(&session, &resource, namespace, &item.value, how).await?.body;
            Ok((format!("{}/{}", resource.qualified(), item.name()), live, merged))
        };
        match step.await {
            Ok((title, live, merged)) => {
                let text = unified(&title, live.as_ref(), &merged);
                if !text.is_empty() {
                    context.out.text(&text)?;
                    exit = if exit == Exit::Done { Exit::Failed } else { exit };
                }
            }
            Err(error) => {
                context.err.note(&told(item, &error));
                exit = TROUBLE;
            }
        }
    }
    Ok(exit)
}

/// The changes that people would see, as a unified diff; empty where there are none.
fn unified(title: &str, live: Option<&Value>, merged: &Value) -> String {
    let text = |object: &Value| rbee_yaml::to_string(&visible(object));
    let (before, after) = (live.map(text).unwrap_or_default(), text(merged));
    let diff = TextDiff::from_lines(&before, &after);
    let mut unified = diff.unified_diff();
    unified.context_radius(3).header(&format!("live/{title}"), &format!("applied/{title}")).to_string()
}

fn visible(object: &Value) -> Value {
    let mut object = without_managed_fields(object.clone());
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for key in ["resourceVersion", "generation", "uid", "creationTimestamp"] {
            metadata.remove(key);
        }
    }
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_people_wrote_differs() {
        let live =
            json!({"metadata": {"name": "w", "resourceVersion": "1"}, "spec": {"replicas": 1}, "status": {"a": 1}});
        let merged = json!({"metadata": {"name": "w", "resourceVersion": "2"}, "spec": {"replicas": 3}});
        let text = unified("worker.rbee.dev/w", Some(&live), &merged);
        assert!(text.contains("-  replicas: 1\n+  replicas: 3\n") && text.starts_with("--- live/worker"), "{text}");
        assert!(!text.contains("status") && !text.contains("resourceVersion"));
        assert_eq!(unified("x", Some(&live), &live), "");
        assert!(unified("x", None, &merged).contains("+  name: w"));
    }
}
