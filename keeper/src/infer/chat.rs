//! `rbee chat`: a conversation, line by line.

use rbee_wire::{
    openai::{ChatMessage, Role},
    worker::InferenceInput,
};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{Access, Answer, ModelArgs, SamplingArgs, ask, locate, stream::StreamError, validate};
use crate::{
    context::Context,
    error::{Error, Exit},
    target::{ConnectArgs, NamespaceArg},
};

#[derive(Clone, Debug, clap::Args)]
pub struct ChatArgs {
    /// What the model is to be
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub namespace: NamespaceArg,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Reads lines from stdin and answers each, with all that was said before; ends at the end of stdin or with `/bye`.
///
/// # Errors
/// A model that cannot be had. An answer that fails ends the turn, not the conversation.
pub async fn chat(args: &ChatArgs, access: &Access, context: &Context) -> Result<Exit, Error> {
    let choice = validate(&args.model)?;
    let located = tokio::select! {
        located = locate(&choice, &args.model, access, context) => located?,
        () = context.interrupt.cancelled() => return Ok(Exit::Interrupted),
    };
    let mut messages: Vec<ChatMessage> = Vec::new();
    if let Some(text) = &args.system {
        messages.push(ChatMessage::new(Role::System, text));
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        if context.input.is_terminal() {
            let _ = context.err.text("> ");
        }
        let line = tokio::select! {
            line = lines.next_line() => line?,
            () = context.interrupt.cancelled() => return Ok(Exit::Interrupted),
        };
        let Some(line) = line else { return Ok(Exit::Done) };
        match line.trim() {
            "" => continue,
            "/bye" => return Ok(Exit::Done),
            text => messages.push(ChatMessage::user(text)),
        }
        let request = args.sampling.request(InferenceInput::Messages(messages.clone()), located.context_length);
        let mut answer = Answer::new(true);
        let result = ask(&located, &args.model, access, &request, &mut answer, context).await;
        answer.end_line(context)?;
        match result {
            Ok(_) => messages.push(ChatMessage::new(Role::Assistant, answer.text)),
            Err(StreamError::Interrupted) => return Ok(Exit::Interrupted),
            Err(StreamError::Output(error)) => return Err(error.into()),
            Err(error) => {
                context.err.note(&format!("error: {error}"));
                messages.pop();
            }
        }
    }
}
