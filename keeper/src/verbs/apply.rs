//! `rbee apply`: manifests become objects, by server-side apply, object by object.

use kube::core::Status;
use serde_json::Value;

use crate::{
    context::Context,
    error::{Error, Exit},
    manifest::{FileArgs, Item, explain::refusal, order_for_apply, read_all},
    server::{Answer, Resource, discover::discover, path::Place},
    session::Session,
    target::{ConnectArgs, NamespaceArg},
};

/// The name under which people's fields are managed.
pub const MANAGER: &str = "rbee";
const APPLY_PATCH: &str = "application/apply-patch+yaml";

#[derive(Clone, Debug, clap::Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    pub files: FileArgs,
    /// Ask the server what it would do, and change nothing
    #[arg(long, value_enum, value_name = "WHERE", num_args = 0..=1, default_missing_value = "server", default_value = "none", hide_default_value = true)]
    pub dry_run: DryRun,
    /// Take over fields that controllers manage
    #[arg(long)]
    pub force_conflicts: bool,
    #[command(flatten)]
    pub namespace: NamespaceArg,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Whether a write is only tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DryRun {
    None,
    Server,
}

/// Applies all objects of all files.
///
/// # Errors
/// A manifest that cannot be read (nothing was applied then), or a server that does not answer.
pub async fn run(args: &ApplyArgs, context: &Context) -> Result<Exit, Error> {
    if args.files.filename.is_empty() {
        return Err(Error::usage("say what to apply: -f FILE, -f DIR or -f -"));
    }
    let mut items = read_all(&args.files, &context.input)?;
    order_for_apply(&mut items);
    let mut session = Session::open(&args.connect, &args.namespace, context).await?;
    session.target.announce(context);
    let mut exit = Exit::Done;
    for item in &items {
        let result = match resource_of(&mut session, item).await {
            Ok(resource) => apply(&session, args, item, &resource).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(line) => context.out.line(&line)?,
            Err(error @ (Error::Unreachable(_) | Error::Output(_))) => return Err(error),
            Err(error) => {
                context.err.note(&told(item, &error));
                exit = Exit::Failed;
            }
        }
    }
    Ok(exit)
}

/// An error about an object of a file: with file and line, and the field where the server named one.
pub(crate) fn told(item: &Item, error: &Error) -> String {
    match error {
        Error::Server(status) if matches!(status.code, 400 | 409 | 422 | 500) => {
            let lines = refusal(item, status);
            lines.iter().map(|line| format!("error: {line}")).collect::<Vec<_>>().join("\n")
        }
        Error::Server(status) => {
            format!("error: {}: {}: {}", item.place("kind"), item.title(), status.message)
        }
        other => other.to_string(),
    }
}

/// The kind of an object; one that the server does not know is asked for once more, it may have been defined just now.
pub(crate) async fn resource_of(session: &mut Session, item: &Item) -> Result<Resource, Error> {
    for attempt in 0..2 {
        if let Some(resource) = session.catalog.of_object(item.api_version(), item.kind()) {
            return Ok(resource.clone());
        }
        if attempt == 0 {
            session.catalog = discover(&session.server).await?;
        }
    }
    Err(Error::failed(format!(
        "{}: kind: no matches for kind {:?} in version {:?}: the server has no such kind",
        item.place("kind"),
        item.kind(),
        item.api_version()
    )))
}

/// The namespace of an object of a file.
pub(crate) fn namespace_of(session: &Session, given: &NamespaceArg, item: &Item) -> Result<String, Error> {
    match (item.namespace(), &given.namespace) {
        (Some(own), Some(given)) if own != given => Err(Error::failed(format!(
            "{}: metadata.namespace: {} is in namespace {own:?}, and --namespace says {given:?}",
            item.place("metadata.namespace"),
            item.title()
        ))),
        (Some(own), _) => Ok(own.to_owned()),
        (None, _) => Ok(session.namespace.clone()),
    }
}

async fn apply(session: &Session, args: &ApplyArgs, item: &Item, resource: &Resource) -> Result<String, Error> {
    let namespace = namespace_of(session, &args.namespace, item)?;
    let namespace = resource.namespaced.then_some(namespace.as_str());
    let before = match session.server.get(resource, namespace, item.name()).await {
        Ok(object) => Some(object),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error),
    };
    let dry = args.dry_run == DryRun::Server;
    let answer =
        apply_object(session, resource, namespace, &item.value, Apply { dry, force: args.force_conflicts }).await?;
    for warning in &answer.warnings {
        session.context.err.note(&format!("Warning: {}: {warning}", item.place("kind")));
    }
    let word = match &before {
        None => "created",
        Some(before) if is_same(before, &answer.body) => "unchanged",
        Some(_) => "configured",
    };
    let note = if dry { " (server dry run)" } else { "" };
    Ok(format!("{}/{} {word}{note}", resource.qualified(), item.name()))
}

/// How an object is applied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Apply {
    pub(crate) dry: bool,
    pub(crate) force: bool,
}

/// Server-side apply. Fields that people's other commands set (`scale`, `edit`, kubectl) are taken over, the last word
/// counts; those of controllers are a conflict unless forced.
pub(crate) async fn apply_object(
    session: &Session,
    resource: &Resource,
    namespace: Option<&str>,
    object: &Value,
    how: Apply,
) -> Result<Answer, Error> {
    let place = Place { namespace, name: object["metadata"]["name"].as_str(), subresource: None };
    let mut body = object.clone();
    if let Some(metadata) = body["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        metadata.remove("resourceVersion");
    }
    let send = async |force: bool| {
        let force = if force { "true" } else { "false" };
        let mut pairs = vec![("fieldManager", MANAGER), ("force", force), ("fieldValidation", "Strict")];
        if how.dry {
            pairs.push(("dryRun", "All"));
        }
        session.server.patch(resource, place, &pairs, APPLY_PATCH, &body).await
    };
    match send(how.force).await {
        Err(Error::Server(status)) if status.code == 409 && is_with_people(&status) => send(true).await,
        answer => answer,
    }
}

/// Whether every field in conflict was set by a command that people type.
fn is_with_people(status: &Status) -> bool {
    let causes = status.details.as_ref().map(|d| d.causes.as_slice()).unwrap_or_default();
    let by_person = |message: &str| {
        let manager = message.split('"').nth(1).unwrap_or_default();
        manager == MANAGER || manager == "before-first-apply" || manager.starts_with("kubectl")
    };
    !causes.is_empty() && causes.iter().all(|c| by_person(&c.message))
}

/// Whether applying changed nothing that people would see.
fn is_same(before: &Value, after: &Value) -> bool {
    let bare = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            for key in ["managedFields", "resourceVersion", "generation"] {
                metadata.remove(key);
            }
        }
        if let Some(object) = object.as_object_mut() {
            object.remove("status");
        }
        object
    };
    bare(before) == bare(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn conflict(managers: &[&str]) -> Status {
        let cause = |m: &&str| json!({"reason": "FieldManagerConflict", "field": ".spec.replicas", "message": format!("conflict with \"{m}\" using rbee.dev/v1alpha1")});
        let causes: Vec<Value> = managers.iter().map(cause).collect();
        serde_json::from_value(
            json!({"code": 409, "reason": "Conflict", "message": "…", "details": {"causes": causes}}),
        )
        .unwrap()
    }

    #[test]
    fn people_give_way_to_themselves_and_controllers_do_not() {
        assert!(is_with_people(&conflict(&["kubectl-client-side-apply", "rbee"])));
        assert!(!is_with_people(&conflict(&["rbee", "rbee-queen"])));
        assert!(!is_with_people(&conflict(&[])));
    }

    #[test]
    fn status_and_bookkeeping_are_no_change() {
        let before = json!({"metadata": {"name": "x", "resourceVersion": "1", "managedFields": []}, "spec": {"a": 1}, "status": {"b": 1}});
        let after = json!({"metadata": {"name": "x", "resourceVersion": "2"}, "spec": {"a": 1}, "status": {"b": 2}});
        assert!(is_same(&before, &after));
        assert!(!is_same(&before, &json!({"metadata": {"name": "x"}, "spec": {"a": 2}})));
    }
}
