//! `rbee delete`: objects by name, by selector or by manifest; waits until they are gone.

use std::time::Duration;

use serde_json::json;

use crate::{
    context::Context,
    error::{Error, Exit},
    gone,
    manifest::{FileArgs, order_for_apply, read_all},
    names::{self, Named, SelectArgs},
    server::Resource,
    session::Session,
    span::parse_span,
    target::{ConnectArgs, NamespaceArg},
    verbs::apply::{namespace_of, resource_of, told},
};

#[derive(Clone, Debug, clap::Args)]
pub struct DeleteArgs {
    /// TYPE NAME… or TYPE/NAME…; TYPE with -l or --all
    #[arg(value_name = "TYPE[/NAME]")]
    pub objects: Vec<String>,
    #[command(flatten)]
    pub files: FileArgs,
    /// All objects of the type
    #[arg(long)]
    pub all: bool,
    /// Wait until the objects are gone
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value = "true", action = clap::ArgAction::Set)]
    pub wait: bool,
    /// How long to wait; 0: as long as it takes
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_span)]
    pub timeout: Duration,
    /// Do not mind an object that is not there
    #[arg(long)]
    pub ignore_not_found: bool,
    /// What becomes of the objects that it owns
    #[arg(long, value_enum, default_value = "background", value_name = "HOW")]
    pub cascade: Cascade,
    #[command(flatten)]
    pub select: SelectArgs,
    #[command(flatten)]
    pub namespace: NamespaceArg,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// What becomes of owned objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Cascade {
    Background,
    Foreground,
    Orphan,
}

/// One object to delete.
struct Doomed {
    resource: Resource,
    namespace: Option<String>,
    name: String,
    uid: Option<String>,
}

/// Deletes the objects and waits for their end.
///
/// # Errors
/// Wrong usage, a manifest that cannot be read, a server that does not answer.
pub async fn run(args: &DeleteArgs, context: &Context) -> Result<Exit, Error> {
    let by_file = !args.files.filename.is_empty();
    if by_file && !args.objects.is_empty() {
        return Err(Error::usage("name the objects either by -f or by TYPE and NAME, not both"));
    }
    if by_file { delete_files(args, context).await } else { delete_named(args, context).await }
}

async fn delete_files(args: &DeleteArgs, context: &Context) -> Result<Exit, Error> {
    let mut items = read_all(&args.files, &context.input)?;
    order_for_apply(&mut items);
    items.reverse();
    let mut session = Session::open(&args.connect, &args.namespace, context).await?;
    session.target.announce(context);
    let mut doomed = Vec::new();
    let mut exit = Exit::Done;
    for item in &items {
        let found = match resource_of(&mut session, item).await {
            Ok(resource) => namespace_of(&session, &args.namespace, item).map(|namespace| (resource, namespace)),
            Err(error) => Err(error),
        };
        match found {
            Ok((resource, namespace)) => {
                let namespace = resource.namespaced.then_some(namespace);
                doomed.push(Doomed { resource, namespace, name: item.name().to_owned(), uid: None });
            }
            Err(error) => {
                context.err.note(&told(item, &error));
                exit = Exit::Failed;
            }
        }
    }
    let deleted = delete(&session, args, doomed).await?;
    Ok(if exit == Exit::Done { deleted } else { exit })
}

async fn delete_named(args: &DeleteArgs, context: &Context) -> Result<Exit, Error> {
    let named = names::parse(&args.objects).map_err(Error::Usage)?;
    let chosen = args.all || !args.select.is_empty();
    match &named {
        Named::Kinds(_) if !chosen => {
            return Err(Error::usage("say which objects: names, -l SELECTOR, --field-selector or --all"));
        }
        Named::Objects(_) if chosen => return Err(Error::usage("names and --all or a selector exclude each other")),
        _ => {}
    }
    let session = Session::open(&args.connect, &args.namespace, context).await?;
    session.target.announce(context);
    let doomed = match &named {
        Named::Kinds(_) => {
            let (found, _) = session.find(&named, &args.select).await?;
            if found.is_empty() {
                context.err.note("No resources found");
            }
            let doomed = |f: crate::session::Found| Doomed {
                namespace: f.namespace().map(str::to_owned),
                name: f.name().to_owned(),
                uid: None,
                resource: f.resource,
            };
            found.into_iter().map(doomed).collect()
        }
        Named::Objects(objects) => objects
            .iter()
            .map(|(kind, name)| {
                let resource = session.resource(kind)?.clone();
                let namespace = session.namespace_for(&resource).map(str::to_owned);
                Ok(Doomed { resource, namespace, name: name.clone(), uid: None })
            })
            .collect::<Result<Vec<_>, Error>>()?,
    };
    delete(&session, args, doomed).await
}

/// Asks for every deletion first, then waits for all of them.
async fn delete(session: &Session, args: &DeleteArgs, doomed: Vec<Doomed>) -> Result<Exit, Error> {
    let mut exit = Exit::Done;
    let mut going = Vec::new();
    let policy = match args.cascade {
        Cascade::Background => "Background",
        Cascade::Foreground => "Foreground",
        Cascade::Orphan => "Orphan",
    };
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy});
    for mut one in doomed {
        match session.server.delete(&one.resource, one.namespace.as_deref(), &one.name, &options).await {
            Ok(answer) => {
                session.context.out.line(&format!("{} {:?} deleted", one.resource.qualified(), one.name))?;
                let body = &answer.body;
                let uid = body["metadata"]["uid"].as_str().or_else(|| body["details"]["uid"].as_str());
                one.uid = uid.map(str::to_owned);
                going.push(one);
            }
            Err(error) if error.is_not_found() && args.ignore_not_found => {}
            Err(error @ Error::Server(_)) => {
                session.context.err.note(&error.to_string());
                exit = Exit::Failed;
            }
            Err(error) => return Err(error),
        }
    }
    if args.wait {
        let limit = (!args.timeout.is_zero()).then_some(args.timeout);
        for one in &going {
            let namespace = one.namespace.as_deref();
            if !gone::wait(&session.server, &one.resource, namespace, &one.name, one.uid.as_deref(), limit).await? {
                let plural = &one.resource.plural;
                session
                    .context
                    .err
                    .note(&format!("error: timed out waiting for the condition on {plural}/{}", one.name));
                exit = Exit::Failed;
            }
        }
    }
    Ok(exit)
}
