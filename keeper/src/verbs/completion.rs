//! `rbee completion`: a script that completes the command line in a shell.

use clap_complete::{Shell, generate};

use crate::{
    context::Context,
    error::{Error, Exit},
};

#[derive(Clone, Debug, clap::Args)]
pub struct CompletionArgs {
    /// Which shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// A stdout that takes nothing.
pub fn run(args: &CompletionArgs, context: &Context) -> Result<Exit, Error> {
    let mut command = (context.cli)();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    generate(args.shell, &mut command, name, &mut script);
    context.out.text(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
