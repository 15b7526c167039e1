//! The keeper's verbs, and `infer` with a control plane of its own when nothing runs.

use std::process::ExitCode;

use anyhow::Result;
use rbee_keeper::{
    Command, Context, Error, Exit,
    infer::{Choice, InferArgs, validate},
    target,
};

use super::local::Local;
use crate::{bare_command_line, home::Home, signals};

/// Runs one command; its exit code is the contract's.
pub async fn run(command: Command, home: &Home) -> Result<ExitCode> {
    let context =
        Context::new(home.path().to_owned(), env!("CARGO_PKG_VERSION"), signals::shutdown()?, bare_command_line);
    let alone = match &command {
        Command::Infer(args) => match needs_own_plane(args, &context).await {
            Ok(alone) => alone,
            Err(error) => return Ok(rbee_keeper::report(Err(error), &context).into()),
        },
        _ => false,
    };
    let exit =
        if alone { infer_alone(command, context, home).await? } else { rbee_keeper::run(command, context).await };
    Ok(exit.into())
}

/// Whether no queen runs, none is named, and the model can be had without one.
async fn needs_own_plane(args: &InferArgs, context: &Context) -> Result<bool, Error> {
    let choice = validate(&args.model)?;
    match target::connect(&args.connect, context).await {
        Err(Error::NoServer(_)) if matches!(choice, Choice::Reference(_)) => Ok(true),
        Err(error) => Err(error),
        Ok(_) => Ok(false),
    }
}

async fn infer_alone(command: Command, context: Context, home: &Home) -> Result<Exit> {
    context.err.note("no queen is running: starting one for this answer");
    let interrupt = context.interrupt.clone();
    let local = tokio::select! {
        local = Local::start(home) => local?,
        () = interrupt.cancelled() => return Ok(Exit::Interrupted),
    };
    let context = Context { client: Some(local.client()), ..context };
    let exit = rbee_keeper::run(command, context).await;
    local.stop().await?;
    Ok(exit)
}
