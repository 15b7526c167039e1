//! `rbee wait`: until a condition holds, a field has a value, or the object is gone.

use std::{str::FromStr, time::Duration};

use futures::StreamExt;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::{
    context::Context,
    error::{Error, Exit},
    gone,
    names::{self, Named, SelectArgs},
    print::jsonpath::Template,
    server::Resource,
    session::{Found, Session},
    span::parse_span,
    target::{ConnectArgs, NamespaceArg},
};

#[derive(Clone, Debug, clap::Args)]
pub struct WaitArgs {
    /// TYPE/NAME… or TYPE NAME…; TYPE with -l or --all
    #[arg(required = true, value_name = "TYPE[/NAME]")]
    pub objects: Vec<String>,
    /// condition=NAME[=STATUS], jsonpath=PATH[=VALUE], delete or create
    #[arg(long = "for", value_name = "WHAT")]
    pub what: What,
    /// How long; 0: look once
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_span)]
    pub timeout: Duration,
    /// All objects of the type
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub select: SelectArgs,
    #[command(flatten)]
    pub namespace: NamespaceArg,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// What to wait for.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Condition { name: String, status: String },
    Field { path: Template, value: Option<String> },
    Delete,
    Create,
}

impl FromStr for What {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("condition=") {
            let (name, status) = rest.split_once('=').unwrap_or((rest, "True"));
            return match name.is_empty() || status.is_empty() {
                true => Err("condition= takes NAME or NAME=STATUS".into()),
                false => Ok(Self::Condition { name: name.to_owned(), status: status.to_owned() }),
            };
        }
        if let Some(rest) = text.strip_prefix("jsonpath=") {
            // The value stands behind the last brace: a filter inside the path may hold `=` too.
            let (path, value) = match rest.rsplit_once("}=") {
                Some((path, value)) => (format!("{path}}}"), Some(value.to_owned())),
                None if rest.ends_with('}') => (rest.to_owned(), None),
                None => match rest.split_once('=') {
                    Some((path, value)) => (path.to_owned(), Some(value.to_owned())),
                    None => (rest.to_owned(), None),
                },
            };
            let path = Template::path(&path).map_err(|e| e.to_string())?;
            return Ok(Self::Field { path, value });
        }
        match text {
            "delete" => Ok(Self::Delete),
            "create" => Ok(Self::Create),
            _ => Err("allowed are condition=NAME[=STATUS], jsonpath=PATH[=VALUE], delete and create".into()),
        }
    }
}

impl What {
    /// Whether an object is as wanted.
    pub fn holds(&self, object: &Value) -> bool {
        match self {
            Self::Condition { name, status } => has_condition(object, name, status),
            Self::Field { path, value } => match (path.find(object).first(), value) {
                (None, _) => false,
                (Some(_), None) => true,
                (Some(Value::String(found)), Some(wanted)) => found == wanted,
                (Some(found), Some(wanted)) => found.to_string() == *wanted,
            },
            Self::Delete => false,
            Self::Create => true,
        }
    }
}

/// A condition told of an older spec does not count.
fn has_condition(object: &Value, name: &str, status: &str) -> bool {
    let generation = object["metadata"]["generation"].as_i64();
    let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().filter(|c| c["type"].as_str().is_some_and(|t| t.eq_ignore_ascii_case(name))).any(|condition| {
        let observed =
            condition["observedGeneration"].as_i64().or_else(|| object["status"]["observedGeneration"].as_i64());
        let is_current = !matches!((observed, generation), (Some(o), Some(g)) if o < g);
        is_current && condition["status"].as_str().is_some_and(|s| s.eq_ignore_ascii_case(status))
    })
}

/// Waits for every object.
///
/// # Errors
/// An object that is not there, or a server that does not answer.
pub async fn run(args: &WaitArgs, context: &Context) -> Result<Exit, Error> {
    let named = names::parse(&args.objects).map_err(Error::Usage)?;
    if matches!(named, Named::Kinds(_)) && !args.all && args.select.is_empty() {
        return Err(Error::usage("say which objects: names, -l SELECTOR, --field-selector or --all"));
    }
    let session = Session::open(&args.connect, &args.namespace, context).await?;
    let end = Instant::now() + args.timeout;
    let (found, missing) = session.find(&named, &args.select).await?;
    let mut exit = Exit::Done;
    let mut wanted: Vec<(Resource, String, Option<Value>)> =
        found.into_iter().map(|f: Found| (f.resource.clone(), f.name().to_owned(), Some(f.object))).collect();
    if matches!(args.what, What::Create | What::Delete) {
        if let Named::Objects(objects) = &named {
            for (kind, name) in objects {
                let resource = session.resource(kind)?.clone();
                if !wanted.iter().any(|(r, n, _)| *r == resource && n == name) {
                    wanted.push((resource, name.clone(), None));
                }
            }
        }
    } else {
        for error in &missing {
            context.err.note(&error.to_string());
            exit = Exit::Failed;
        }
    }
    if wanted.is_empty() && missing.is_empty() && args.what != What::Delete {
        return Err(Error::failed("no matching resources found"));
    }
    for (resource, name, object) in wanted {
        if wait_for_one(&session, args, &resource, &name, object, end).await? {
            context.out.line(&format!("{}/{name} condition met", resource.qualified()))?;
        } else {
            context.err.note(&format!("error: timed out waiting for the condition on {}/{name}", resource.plural));
            exit = Exit::Failed;
        }
    }
    Ok(exit)
}

async fn wait_for_one(
    session: &Session,
    args: &WaitArgs,
    resource: &Resource,
    name: &str,
    object: Option<Value>,
    end: Instant,
) -> Result<bool, Error> {
    let namespace = session.namespace_for(resource);
    if args.what == What::Delete {
        let Some(object) = object else { return Ok(true) };
        let uid = object["metadata"]["uid"].as_str();
        let left = end.saturating_duration_since(Instant::now());
        return gone::wait(&session.server, resource, namespace, name, uid, Some(left)).await;
    }
    if object.as_ref().is_some_and(|o| args.what.holds(o)) {
        return Ok(true);
    }
    match timeout_at(end, until(session, args, resource, name)).await {
        Ok(result) => result.map(|()| true),
        Err(_) => Ok(false),
    }
}

/// Ends when the object is as wanted.
async fn until(session: &Session, args: &WaitArgs, resource: &Resource, name: &str) -> Result<(), Error> {
    let namespace = session.namespace_for(resource);
    let selector = format!("metadata.name={name}");
    let pairs = [("fieldSelector", selector.as_str())];
    loop {
        let list = match session.server.list(resource, namespace, &pairs, false).await {
            Ok(list) => list,
            Err(Error::Unreachable(_)) => {
                tokio::time::sleep(Duration::from_millis(500)).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        match list["items"].as_array().and_then(|items| items.first()) {
            Some(object) if args.what.holds(object) => return Ok(()),
            None if args.what != What::Create => {
                return Err(Error::failed(format!("{}/{name} was deleted meanwhile", resource.qualified())));
            }
            _ => {}
        }
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let Ok(mut events) = session.server.watch_once(resource, namespace, &pairs, version, "application/json").await
        else {
            tokio::time::sleep(Duration::from_millis(300)).await;
            continue;
        };
        while let Some(Ok(event)) = events.next().await {
            match event.kind.as_str() {
                "DELETED" => break,
                "BOOKMARK" => {}
                _ if args.what.holds(&event.object) => return Ok(()),
                _ => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn worker(observed: i64, status: &str) -> Value {
        json!({"metadata": {"generation": 2}, "status": {"observedGeneration": observed, "readyReplicas": 3,
            "conditions": [{"type": "Ready", "status": status}]}})
    }

    #[test]
    fn a_condition_holds_for_the_present_spec_only() {
        let ready: What = "condition=Ready".parse().unwrap();
        assert!(ready.holds(&worker(2, "True")));
        assert!(!ready.holds(&worker(1, "True")), "the spec has changed since");
        assert!(!ready.holds(&worker(2, "False")));
        assert!("condition=ready=false".parse::<What>().unwrap().holds(&worker(2, "False")));
        assert!(!"condition=NoSuch".parse::<What>().unwrap().holds(&worker(2, "True")));
    }

    #[test]
    fn fields_are_compared_as_text() {
        for (text, holds) in [
            ("jsonpath={.status.readyReplicas}=3", true),
            ("jsonpath=.status.readyReplicas=4", false),
            ("jsonpath={.status.readyReplicas}", true),
            ("jsonpath={.status.none}", false),
            ("jsonpath={.status.conditions[?(@.type==\"Ready\")].status}=True", true),
        ] {
            assert_eq!(text.parse::<What>().unwrap().holds(&worker(2, "True")), holds, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_waited_for_is_refused() {
        for text in ["", "ready", "condition=", "condition==True", "jsonpath={.a"] {
            assert!(text.parse::<What>().is_err(), "{text:?}");
        }
    }
}
