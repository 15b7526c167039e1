//! `rbee infer`: from a prompt to tokens, against a queen that runs or one that was started for it.

pub mod args;
pub mod chat;
mod declare;
mod events;
mod preflight;
mod progress;
mod replace;
mod stream;
mod watch;

use std::{io::Write, time::Duration};

use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::{Api, Client, api::ListParams};
use rbee_crds::{
    Assignment,
    names::{LABEL_WORKER, WORKER_KEY_FIELD, openai_id, worker_key_secret},
};
use rbee_wire::{
    ErrorCode,
    worker::{InferenceInput, InferenceRequest},
};
use serde_json::{Value, json};

pub use args::{Choice, InferArgs, InferOutput, ModelArgs, SamplingArgs, validate};
use declare::Answerer;
use events::Words;
use progress::{Progress, Wish, least_busy};
use stream::{Endpoint, Finished, StreamError};

use crate::{
    context::Context,
    error::{Error, Exit},
    target::{Secret, Target},
};

/// What an `infer` works on: an API server, and what stands beside it.
#[derive(Clone)]
pub struct Access {
    pub client: Client,
    pub namespace: String,
    /// URL of the gateway, where known.
    pub gateway: Option<String>,
    /// CA of the data plane in PEM, where it has TLS.
    pub ca_pem: Option<String>,
}

impl From<&Target> for Access {
    fn from(target: &Target) -> Self {
        Self {
            client: target.client.clone(),
            namespace: target.namespace.clone(),
            gateway: target.gateway.clone(),
            ca_pem: target.ca_pem.clone(),
        }
    }
}

/// Answers a prompt. Ctrl+C (the context's interrupt) cancels the request at the worker and gives [`Exit::Interrupted`].
///
/// # Errors
/// Whatever keeps the answer from being whole; the message says what, where and what to do.
pub async fn infer(args: &InferArgs, access: &Access, context: &Context) -> Result<Exit, Error> {
    let choice = validate(&args.model)?;
    let text = args::prompt(args, &context.input)?;
    if args.model.worker.is_some() && args.model.model.is_some() {
        context.err.note("--model is not looked at: --worker says what answers");
    }
    let located = tokio::select! {
        located = locate(&choice, &args.model, access, context) => located?,
        () = context.interrupt.cancelled() => return Ok(Exit::Interrupted),
    };
    let request = args.sampling.request(args::input(text, args.raw), located.context_length);
    let mut answer = Answer::new(args.output == InferOutput::Text);
    match ask(&located, &args.model, access, &request, &mut answer, context).await {
        Ok(finished) => {
            finish(args.output, &answer, &finished, &located, context)?;
            Ok(Exit::Done)
        }
        Err(error) => {
            answer.end_line(context)?;
            broken(error, &answer, &request, &located, context)
        }
    }
}

/// A replica that answers, and what is known of its model.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    replica: Assignment,
    wish: Wish,
    namespace: String,
    context_length: Option<u32>,
}

/// Finds a Ready replica, declaring what is missing.
pub(crate) async fn locate(
    choice: &Choice,
    args: &ModelArgs,
    access: &Access,
    context: &Context,
) -> Result<Located, Error> {
    let (client, namespace) = (&access.client, access.namespace.as_str());
    let hive = match &args.node {
        Some(node) => Some(declare::hive_named(client, node).await?),
        None => None,
    };
    let wish = Wish { hive };
    let replica = match declare::answerer(client, namespace, choice, args, &wish).await? {
        Answerer::Ready(replica) => {
            let spec = &replica.spec;
            context.err.note(&format!("model {}: {} is loaded", spec.model.name, spec.model.uri));
            context.err.note(&format!("worker {}: ready on hive {}", spec.worker_name, spec.hive_name));
            *replica
        }
        Answerer::Coming(source) => {
            context.err.note(&format!("model {}: looking it up", source.model));
            let mut progress = Progress::overlooking(source.refused.clone());
            let watching = watch::ready_replica(client, namespace, &source, &wish, &mut progress, context);
            match tokio::time::timeout(args.timeout, watching).await {
                Ok(Ok(replica)) => replica,
                Ok(Err(error)) => {
                    declare::undo(client, namespace, &source).await;
                    return Err(error);
                }
                Err(_) => {
                    let seconds = args.timeout.as_secs();
                    let why = match progress.waiting_on.as_str() {
                        "" => String::new(),
                        line => format!("; it waits here: {line}"),
                    };
                    return Err(Error::failed(format!(
                        "LOADING_TIMEOUT: no replica of worker {} was ready within {seconds} s{why}",
                        source.worker
                    )));
                }
            }
        }
    };
    preflight::check(client, &replica.spec.hive_name, context.version).await?;
    let context_length = context_length(client, namespace, &replica).await;
    Ok(Located { replica, wish, namespace: namespace.to_owned(), context_length })
}

/// Tokens per request of a replica; unknown is no reason to stop.
async fn context_length(client: &Client, namespace: &str, replica: &Assignment) -> Option<u32> {
    if let Some(given) = replica.spec.context_length {
        return u32::try_from(given).ok();
    }
    let models: Api<rbee_crds::Model> = Api::namespaced(client.clone(), namespace);
    let model = models.get_opt(&replica.spec.model.name).await.ok().flatten()?;
    model.status?.gguf?.context_length.and_then(|n| u32::try_from(n).ok())
}

/// The text so far, and whether it is on stdout already.
pub(crate) struct Answer {
    pub(crate) text: String,
    streams: bool,
}

impl Answer {
    pub(crate) fn new(streams: bool) -> Self {
        Self { text: String::new(), streams }
    }

    fn take(&mut self, piece: &str, context: &Context) -> std::io::Result<()> {
        self.text.push_str(piece);
        if self.streams { context.out.text(piece) } else { Ok(()) }
    }

    /// Ends the last line on stdout, where there is text without one.
    fn end_line(&self, context: &Context) -> std::io::Result<()> {
        let open = self.streams && !self.text.is_empty() && !self.text.ends_with('\n');
        if open { context.out.text("\n") } else { Ok(()) }
    }
}

/// Sends the request, again where all slots are busy or a replica went before its first token; one that is not there any
/// more is waited for once, until another one is Ready in its place.
pub(crate) async fn ask(
    located: &Located,
    args: &ModelArgs,
    access: &Access,
    request: &InferenceRequest,
    answer: &mut Answer,
    context: &Context,
) -> Result<Finished, StreamError> {
    let http = crate::http::client(access.ca_pem.as_deref()).map_err(|cause| StreamError::Broken {
        code: "INTERNAL",
        cause,
        tokens: 0,
    })?;
    let mut replica = located.replica.clone();
    let (mut busy, mut replaced, mut rekeyed, mut succeeded) = (0, false, false, false);
    loop {
        let (endpoint, body) = if args.via_gateway {
            gateway(access, &located.namespace, &replica, request)?
        } else {
            (worker(access, &located.namespace, &replica).await?, json!(request))
        };
        let mut sink = |piece: &str| answer.take(piece, context);
        let error = match stream::stream(&http, &endpoint, &body, &context.interrupt, &mut sink).await {
            Ok(finished) => return Ok(finished),
            Err(error) => error,
        };
        let pause = match &error {
            StreamError::Refused(e) if is_busy(e.code) && busy < args.retry => {
                let pause = Duration::from_secs(1 << busy.min(6));
                busy += 1;
                context.err.note(&format!("{}: trying again in {} s", e.message, pause.as_secs()));
                pause
            }
            // The key may have been made anew since the replica was found.
            StreamError::Refused(e) if e.code == ErrorCode::InvalidApiKey && !rekeyed => {
                rekeyed = true;
                Duration::from_millis(500)
            }
            StreamError::Broken { tokens: 0, .. } if !replaced => {
                replaced = true;
                Duration::from_secs(1)
            }
            gone if is_gone(gone) && !succeeded && !args.via_gateway => {
                succeeded = true;
                let successor = tokio::select! {
                    successor = replace::successor(access, located, &replica, args.timeout, context) => successor,
                    () = context.interrupt.cancelled() => return Err(StreamError::Interrupted),
                };
                let Some(successor) = successor else { return Err(error) };
                replica = successor;
                continue;
            }
            _ => return Err(error),
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = context.interrupt.cancelled() => return Err(StreamError::Interrupted),
        }
        if let Some(other) = best_replica(access, located).await {
            replica = other;
        }
    }
}

/// Whether nothing came because the replica's process is not there.
fn is_gone(error: &StreamError) -> bool {
    matches!(error, StreamError::Connect { .. } | StreamError::Broken { code: "WORKER_CRASHED", tokens: 0, .. })
}

fn is_busy(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::AllSlotsBusy | ErrorCode::Draining | ErrorCode::Loading | ErrorCode::Unavailable)
}

/// The least busy replica of the same Worker now.
async fn best_replica(access: &Access, located: &Located) -> Option<Assignment> {
    let replicas: Api<Assignment> = Api::namespaced(access.client.clone(), &located.namespace);
    let selector = format!("{LABEL_WORKER}={}", located.replica.spec.worker_name);
    let list = replicas.list(&ListParams::default().labels(&selector)).await.ok()?;
    least_busy(list.items.iter(), &located.wish).cloned()
}

/// Straight to the worker, with the key of its Secret.
async fn worker(access: &Access, namespace: &str, replica: &Assignment) -> Result<Endpoint, StreamError> {
    let url = replica.status.as_ref().and_then(|s| s.url.clone()).unwrap_or_default();
    let name = worker_key_secret(&replica.spec.worker_name);
    let secrets: Api<KubeSecret> = Api::namespaced(access.client.clone(), namespace);
    let secret = secrets.get_opt(&name).await.map_err(|e| StreamError::Broken {
        code: "INVALID_API_KEY",
        cause: format!("the key of the worker cannot be read from secret {name}: {}", Error::from(e)),
        tokens: 0,
    })?;
    let key = secret
        .and_then(|s| s.data)
        .and_then(|mut data| data.remove(WORKER_KEY_FIELD))
        .and_then(|bytes| String::from_utf8(bytes.0).ok())
        .map(Secret::from);
    let hive = Some(replica.spec.hive_name.clone());
    Ok(Endpoint { base: url, path: "/v1/inference", key, words: Words::Worker, hive })
}

/// Through the gateway, in OpenAI's words.
fn gateway(
    access: &Access,
    namespace: &str,
    replica: &Assignment,
    request: &InferenceRequest,
) -> Result<(Endpoint, Value), StreamError> {
    let base = access.gateway.clone().ok_or_else(|| StreamError::Broken {
        code: "INVALID_REQUEST",
        cause: "the gateway's address is not known here: leave --via-gateway out, or run this where the queen runs"
            .into(),
        tokens: 0,
    })?;
    let path = match &request.input {
        InferenceInput::Prompt(_) => "/v1/completions",
        InferenceInput::Messages(_) => "/v1/chat/completions",
    };
    let mut body = json!(request);
    body["model"] = openai_id(namespace, &replica.spec.model.name).into();
    body["stream"] = true.into();
    body["stream_options"] = json!({"include_usage": true});
    Ok((Endpoint { base, path, key: None, words: Words::OpenAi, hive: None }, body))
}

fn finish(
    output: InferOutput,
    answer: &Answer,
    finished: &Finished,
    located: &Located,
    context: &Context,
) -> Result<(), Error> {
    answer.end_line(context)?;
    if output == InferOutput::Json {
        let spec = &located.replica.spec;
        let body = json!({
            "model": spec.model.name,
            "worker": spec.worker_name,
            "hive": spec.hive_name,
            "text": answer.text,
            "tokens": finished.tokens,
            "seconds": finished.elapsed.as_secs_f64(),
        });
        context.out.text(&crate::print::format::json_text(&body))?;
    }
    context.err.note(&events::summary(finished.tokens, finished.elapsed));
    Ok(())
}

/// What becomes of an answer that is not whole.
fn broken(
    error: StreamError,
    answer: &Answer,
    request: &InferenceRequest,
    located: &Located,
    context: &Context,
) -> Result<Exit, Error> {
    let worker = &located.replica.spec.worker_name;
    let (tokens, message) = match error {
        StreamError::Interrupted => return Ok(Exit::Interrupted),
        StreamError::Output(error) => return Err(error.into()),
        StreamError::Refused(error) if is_busy(error.code) => {
            return Err(Error::failed(format!(
                "{}: {}; try again later, or `rbee scale worker/{worker} --replicas=N`",
                error.code, error.message
            )));
        }
        StreamError::Refused(error) if error.code == ErrorCode::InvalidApiKey => {
            let url = located.replica.status.as_ref().and_then(|s| s.url.clone()).unwrap_or_default();
            let secret = worker_key_secret(worker);
            return Err(Error::failed(format!(
                "{}: the worker at {url} does not take the key of secret {secret}: {}",
                error.code, error.message
            )));
        }
        StreamError::Broken { tokens, .. } | StreamError::Stalled { tokens } => (tokens, error.to_string()),
        StreamError::Refused(_) | StreamError::Connect { .. } => return Err(Error::failed(error.to_string())),
    };
    let wanted = request.sampling.max_tokens.map(|n| format!(" of {n}")).unwrap_or_default();
    let kept = match answer.text.is_empty() {
        true => String::new(),
        false => match keep(&answer.text) {
            Ok(path) => format!("; {tokens}{wanted} tokens were kept in {path}"),
            Err(error) => format!("; {tokens}{wanted} tokens came, and keeping them failed: {error}"),
        },
    };
    context.err.note(&format!("error: {message} (worker {worker}){kept}"));
    Ok(Exit::Failed)
}

/// Puts the text into a file of its own that only its owner may read.
fn keep(text: &str) -> std::io::Result<String> {
    let mut file = tempfile::Builder::new().prefix("rbee-partial-").suffix(".txt").tempfile()?;
    file.write_all(text.as_bytes())?;
    let (_, path) = file.keep().map_err(|e| e.error)?;
    Ok(path.display().to_string())
}

#[cfg(test)]
mod tests;
