//! The verbs of the command line and how each is run.

use crate::{
    context::Context,
    error::{Error, Exit},
    infer::{Access, InferArgs, chat, infer},
    target::connect,
    verbs::{
        api_resources, apply, completion, crds, delete, describe, diff, edit, events, explain, get, hives, kubeconfig,
        label, models, placement, scale, token, version, wait, workers,
    },
};

/// What the keeper does; to be flattened into the executable's own command line.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Answer a prompt; starts what is needed when nothing runs
    Infer(Box<InferArgs>),
    /// Talk with a model, line by line
    Chat(Box<chat::ChatArgs>),
    /// Make objects as manifests say
    Apply(apply::ApplyArgs),
    /// Show objects
    Get(get::GetArgs),
    /// Show all that is known of objects, with their events
    Describe(describe::DescribeArgs),
    /// Delete objects and wait until they are gone
    Delete(delete::DeleteArgs),
    /// Wait for a condition
    Wait(wait::WaitArgs),
    /// Set the number of replicas
    Scale(scale::ScaleArgs),
    /// Change an object in an editor
    Edit(edit::EditArgs),
    /// Set and remove labels
    Label(label::LabelArgs),
    /// Show what `apply` would change
    Diff(diff::DiffArgs),
    /// Show what happened
    Events(events::EventsArgs),
    /// Explain the fields of a kind
    Explain(explain::ExplainArgs),
    /// Say where a Worker's next replica would go, and why nowhere else
    ExplainPlacement(placement::PlacementArgs),
    /// The Models
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// The running replicas
    #[command(subcommand)]
    Workers(workers::WorkersCommand),
    /// The machines
    #[command(subcommand)]
    Hives(hives::HivesCommand),
    /// Make a token for a hive or a person
    Token(token::TokenArgs),
    /// Print a kubeconfig for kubectl
    Kubeconfig(kubeconfig::KubeconfigArgs),
    /// Print the definitions of the kinds for a Kubernetes cluster
    Crds,
    /// List the kinds that the server has
    ApiResources(api_resources::ApiResourcesArgs),
    /// Show the versions of this executable and of the server
    Version(version::VersionArgs),
    /// Print a completion script for a shell
    Completion(completion::CompletionArgs),
}

/// Runs a verb, tells its error on stderr, and says how it ended. Ctrl+C ends any verb with [`Exit::Interrupted`].
pub async fn run(command: Command, context: Context) -> Exit {
    let interrupt = context.interrupt.clone();
    // These two cancel their request at the worker first.
    let result = if matches!(command, Command::Infer(_) | Command::Chat(_)) {
        Box::pin(dispatch(command, &context)).await
    } else {
        tokio::select! {
            result = Box::pin(dispatch(command, &context)) => result,
            () = interrupt.cancelled() => Ok(Exit::Interrupted),
        }
    };
    report(result, &context)
}

/// Tells an error and gives its exit code.
pub fn report(result: Result<Exit, Error>, context: &Context) -> Exit {
    match result {
        Ok(exit) => exit,
        Err(error) => {
            if !error.is_broken_pipe() {
                context.err.note(&error.to_string());
            }
            error.exit()
        }
    }
}

async fn dispatch(command: Command, context: &Context) -> Result<Exit, Error> {
    match command {
        Command::Infer(args) => {
            let access = access(&args.connect, args.namespace.namespace.as_deref(), context).await?;
            infer(&args, &access, context).await
        }
        Command::Chat(args) => {
            let access = access(&args.connect, args.namespace.namespace.as_deref(), context).await?;
            chat::chat(&args, &access, context).await
        }
        Command::Apply(args) => apply::run(&args, context).await,
        Command::Get(args) => get::run(&args, context).await,
        Command::Describe(args) => describe::run(&args, context).await,
        Command::Delete(args) => delete::run(&args, context).await,
        Command::Wait(args) => wait::run(&args, context).await,
        Command::Scale(args) => scale::run(&args, context).await,
        Command::Edit(args) => edit::run(&args, context).await,
        Command::Label(args) => label::run(&args, context).await,
        Command::Diff(args) => diff::run(&args, context).await,
        Command::Events(args) => events::run(&args, context).await,
        Command::Explain(args) => explain::run(&args, context).await,
        Command::ExplainPlacement(args) => placement::run(&args, context).await,
        Command::Models(command) => models::run(&command, context).await,
        Command::Workers(command) => workers::run(&command, context).await,
        Command::Hives(command) => hives::run(&command, context).await,
        Command::Token(args) => token::run(&args, context).await,
        Command::Kubeconfig(args) => kubeconfig::run(&args, context).await,
        Command::Crds => crds::run(context),
        Command::ApiResources(args) => api_resources::run(&args, context).await,
        Command::Version(args) => version::run(&args, context).await,
        Command::Completion(args) => completion::run(&args, context),
    }
}

async fn access(
    args: &crate::target::ConnectArgs,
    namespace: Option<&str>,
    context: &Context,
) -> Result<Access, Error> {
    let target = connect(args, context).await?;
    target.announce(context);
    let mut access = Access::from(&target);
    if let Some(namespace) = namespace {
        access.namespace = namespace.to_owned();
    }
    Ok(access)
}
