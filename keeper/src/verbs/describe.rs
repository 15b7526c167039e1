//! `rbee describe`: all that is known of an object, and what happened to it.

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    context::Context,
    error::{Error, Exit},
    names::{self, SelectArgs},
    print::describe::{describe, event_time},
    session::{Found, Session, items_of},
    target::{ConnectArgs, NamespaceArg},
};

#[derive(Clone, Debug, clap::Args)]
pub struct DescribeArgs {
    /// TYPE, TYPE NAME… or TYPE/NAME…
    #[arg(required = true, value_name = "TYPE[/NAME]")]
    pub objects: Vec<String>,
    #[command(flatten)]
    pub select: SelectArgs,
    #[command(flatten)]
    pub namespace: NamespaceArg,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Prints the descriptions.
///
/// # Errors
/// A server that refuses or does not answer.
pub async fn run(args: &DescribeArgs, context: &Context) -> Result<Exit, Error> {
    let named = names::parse(&args.objects).map_err(Error::Usage)?;
    let session = Session::open(&args.connect, &args.namespace, context).await?;
    let (found, missing) = session.find(&named, &args.select).await?;
    for error in &missing {
        context.err.note(&error.to_string());
    }
    let mut texts = Vec::new();
    for one in &found {
        let events = events_of(&session, one).await;
        texts.push(describe(&one.object, &events, Timestamp::now()));
    }
    context.out.text(&texts.join("\n\n"))?;
    if found.is_empty() && missing.is_empty() {
        context.err.note(&format!("No resources found in {} namespace.", session.namespace));
    }
    Ok(if missing.is_empty() { Exit::Done } else { Exit::Failed })
}

/// Events about an object, oldest first. That they cannot be read hides no object.
pub(crate) async fn events_of(session: &Session, found: &Found) -> Vec<Value> {
    let Some(events) = session.catalog.of_object("v1", "Event") else { return Vec::new() };
    let uid = found.object["metadata"]["uid"].as_str().unwrap_or_default();
    let selector = format!("involvedObject.uid={uid}");
    let selected = session.server.list(events, found.namespace(), &[("fieldSelector", &selector)], false).await;
    let list = match selected {
        Ok(list) => list,
        Err(_) => match session.server.list(events, found.namespace(), &[], false).await {
            Ok(list) => list,
            Err(error) => {
                session.context.err.note(&format!("events cannot be read: {error}"));
                return Vec::new();
            }
        },
    };
    let mut about: Vec<Value> =
        items_of(&list).into_iter().filter(|e| e["involvedObject"]["uid"].as_str() == Some(uid)).collect();
    about.sort_by(|a, b| event_time(a).cmp(&event_time(b)));
    about
}
