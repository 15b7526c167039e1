//! `rbee version`: this executable's version and the server's.

use crate::{
    context::Context,
    error::{Error, Exit},
    target::{ConnectArgs, connect},
};

#[derive(Clone, Debug, clap::Args)]
pub struct VersionArgs {
    /// Only this executable's
    #[arg(long)]
    pub client: bool,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Prints them.
///
/// # Errors
/// No server, or one that does not answer; the client's version is printed all the same.
pub async fn run(args: &VersionArgs, context: &Context) -> Result<Exit, Error> {
    context.out.line(&format!("Client Version: v{}", context.version))?;
    if args.client {
        return Ok(Exit::Done);
    }
    let target = connect(&args.connect, context).await?;
    let version = target.server().read("/version").await?;
    let text = version["gitVersion"].as_str().unwrap_or("unknown");
    context.out.line(&format!("Server Version: {text}"))?;
    Ok(Exit::Done)
}
