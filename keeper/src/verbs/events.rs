//! `rbee events`: what happened, oldest first.

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    context::Context,
    error::{Error, Exit},
    names::{self, Named, SelectArgs},
    print::{
        describe::{event_age, event_time},
        table::simple,
    },
    session::{Session, items_of},
    target::{ConnectArgs, NamespaceArg},
};

#[derive(Clone, Debug, clap::Args)]
pub struct EventsArgs {
    /// Only about this object: TYPE/NAME
    #[arg(long = "for", value_name = "TYPE/NAME")]
    pub about: Option<String>,
    /// Only of these types, as in Warning,Normal
    #[arg(long, value_name = "TYPES", value_delimiter = ',')]
    pub types: Vec<String>,
    /// Events of all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    #[command(flatten)]
    pub namespace: NamespaceArg,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Prints the events.
///
/// # Errors
/// Wrong usage, a server that refuses or does not answer.
pub async fn run(args: &EventsArgs, context: &Context) -> Result<Exit, Error> {
    let session = Session::open(&args.connect, &args.namespace, context).await?;
    let resource = session.resource("events")?.clone();
    let namespace = (!args.all_namespaces).then_some(session.namespace.as_str());
    let uid = match &args.about {
        None => None,
        Some(word) => {
            let named = names::parse(std::slice::from_ref(word)).map_err(Error::Usage)?;
            if matches!(named, Named::Kinds(_)) {
                return Err(Error::usage("--for takes TYPE/NAME"));
            }
            let (found, mut missing) = session.find(&named, &SelectArgs::default()).await?;
            if let Some(error) = missing.pop() {
                return Err(error);
            }
            found.first().and_then(|f| f.object["metadata"]["uid"].as_str().map(str::to_owned))
        }
    };
    let list = session.server.list(&resource, namespace, &[], false).await?;
    let events = chosen(items_of(&list), uid.as_deref(), &args.types);
    if events.is_empty() {
        context.err.note(&match namespace {
            Some(namespace) => format!("No events found in {namespace} namespace."),
            None => "No events found.".into(),
        });
        return Ok(Exit::Done);
    }
    let now = Timestamp::now();
    let rows: Vec<Vec<String>> = events.iter().map(|e| row(e, now, args.all_namespaces)).collect();
    let mut header = vec!["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"];
    if args.all_namespaces {
        header.insert(0, "NAMESPACE");
    }
    context.out.text(&simple(&header, &rows))?;
    Ok(Exit::Done)
}

fn chosen(events: Vec<Value>, uid: Option<&str>, types: &[String]) -> Vec<Value> {
    let wanted = |event: &Value| {
        let about = uid.is_none_or(|uid| event["involvedObject"]["uid"] == uid);
        let kind = event["type"].as_str().unwrap_or_default();
        about && (types.is_empty() || types.iter().any(|t| t.eq_ignore_ascii_case(kind)))
    };
    let mut events: Vec<Value> = events.into_iter().filter(wanted).collect();
    events.sort_by(|a, b| event_time(a).cmp(&event_time(b)));
    events
}

fn row(event: &Value, now: Timestamp, with_namespace: bool) -> Vec<String> {
    let text = |v: &Value| v.as_str().unwrap_or_default().trim().to_owned();
    let object = &event["involvedObject"];
    let mut row = vec![
        event_age(event, now),
        text(&event["type"]),
        text(&event["reason"]),
        format!("{}/{}", text(&object["kind"]).to_lowercase(), text(&object["name"])),
        text(&event["message"]),
    ];
    if with_namespace {
        row.insert(0, text(&event["metadata"]["namespace"]));
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_are_chosen_and_ordered() {
        let event = |uid: &str, kind: &str, time: &str| json!({"involvedObject": {"uid": uid, "kind": "Worker", "name": "w"}, "type": kind, "reason": "R", "lastTimestamp": time});
        let all = vec![
            event("u", "Warning", "2026-01-01T00:00:09Z"),
            event("u", "Normal", "2026-01-01T00:00:01Z"),
            event("other", "Warning", "2026-01-01T00:00:00Z"),
        ];
        assert_eq!(
            chosen(all.clone(), Some("u"), &[]).iter().map(|e| e["type"].as_str().unwrap()).collect::<Vec<_>>(),
            ["Normal", "Warning"]
        );
        let warnings = chosen(all, None, &["warning".into()]);
        assert_eq!(warnings.len(), 2);
        let row = row(&warnings[0], "2026-01-01T00:01:00Z".parse().unwrap(), false);
        assert_eq!(row, ["60s", "Warning", "R", "worker/w", ""]);
    }
}
