//! `rbee scale`: the number of replicas, through the scale subresource.

use serde_json::json;

use crate::{
    context::Context,
    error::{Error, Exit},
    names::{self, Named, SelectArgs},
    server::path::Place,
    session::Session,
    target::{ConnectArgs, NamespaceArg},
    verbs::apply::MANAGER,
};

#[derive(Clone, Debug, clap::Args)]
pub struct ScaleArgs {
    /// TYPE/NAME… or TYPE NAME…
    #[arg(required = true, value_name = "TYPE/NAME")]
    pub objects: Vec<String>,
    /// How many replicas there shall be
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub replicas: i32,
    /// Only if there are so many now
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub current_replicas: Option<i32>,
    #[command(flatten)]
    pub namespace: NamespaceArg,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Scales every object.
///
/// # Errors
/// Wrong usage, a kind that cannot be scaled, a server that does not answer.
pub async fn run(args: &ScaleArgs, context: &Context) -> Result<Exit, Error> {
    let named = names::parse(&args.objects).map_err(Error::Usage)?;
    if matches!(named, Named::Kinds(_)) {
        return Err(Error::usage("say which objects, as in worker/story"));
    }
    let session = Session::open(&args.connect, &args.namespace, context).await?;
    session.target.announce(context);
    let (found, missing) = session.find(&named, &SelectArgs::default()).await?;
    let mut exit = Exit::Done;
    for error in &missing {
        context.err.note(&error.to_string());
        exit = Exit::Failed;
    }
    for one in found {
        if !one.resource.subresources.iter().any(|s| s == "scale") {
            return Err(Error::failed(format!("{} cannot be scaled: it has no replicas", one.title())));
        }
        let place = Place {
            namespace: session.namespace_for(&one.resource),
            name: Some(one.name()),
            subresource: Some("scale"),
        };
        let now = one.object["spec"]["replicas"].as_i64().unwrap_or(1);
        if let Some(expected) = args.current_replicas.filter(|n| i64::from(*n) != now) {
            context.err.note(&format!("error: {} has {now} replicas, expected were {expected}", one.title()));
            exit = Exit::Failed;
            continue;
        }
        let body = json!({"spec": {"replicas": args.replicas}});
        let pairs = [("fieldManager", MANAGER)];
        match session.server.patch(&one.resource, place, &pairs, "application/merge-patch+json", &body).await {
            Ok(_) => context.out.line(&format!("{} scaled", one.title()))?,
            Err(error @ Error::Server(_)) => {
                context.err.note(&error.to_string());
                exit = Exit::Failed;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(exit)
}
