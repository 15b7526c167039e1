//! From a checked request to events: prompt tokens, a place in the scheduler, events with a watch on progress.

use super::{App, Phase, Served};
use crate::model::Model;
use crate::scheduler::{End, Event, Generation, Stats, Ticket};
use rbee_wire::openai::{ChatMessage, FinishReason, Prompt, Role, Sampling, Usage};
use rbee_wire::worker::InferenceInput;
use rbee_wire::{ApiError, ErrorCode};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::task::task_tracker::TaskTrackerToken;

/// What is to be continued.
pub enum Input {
    Chat(Vec<ChatMessage>),
    Completion(Prompt),
    Inference(InferenceInput),
}

/// How an answer ended well.
#[derive(Debug, Clone, Copy)]
pub struct Finish {
    pub reason: FinishReason,
    pub usage: Usage,
}

/// What the next event of an answer is.
pub enum Next {
    Token(String),
    Finish(Finish),
}

/// An answer that is being generated. Dropping it cancels the request.
pub struct Running {
    ticket: Ticket,
    stats: Arc<Stats>,
    stall: Duration,
    started: bool,
    pub since: Instant,
    pub first_token: Option<Instant>,
    _request: TaskTrackerToken,
}

/// Puts a request into the scheduler, or says why not.
pub async fn start(app: &App, id: String, input: Input, sampling: Sampling) -> Result<Running, ApiError> {
    let since = Instant::now();
    let served = served(app)?;
    let request = app.requests.token();
    app.stats.request_at(jiff::Timestamp::now().as_millisecond().unsigned_abs());
    let tokenizing = served.clone();
    let prompt = tokio::task::spawn_blocking(move || prompt_tokens(&tokenizing.model, input)).await;
    let lost = |_| ApiError::new(ErrorCode::Internal, "the prompt could not be read");
    let prompt = prompt.map_err(lost)??;
    let ticket = served.scheduler.submit(Generation { id, prompt, sampling, seed: rand::random() })?;
    let (stats, stall) = (app.stats.clone(), app.stall);
    Ok(Running { ticket, stats, stall, started: false, since, first_token: None, _request: request })
}

fn served(app: &App) -> Result<Arc<Served>, ApiError> {
    match &*app.phase.borrow() {
        Phase::Ready(served) => Ok(served.clone()),
        Phase::Loading => {
            Err(ApiError::new(ErrorCode::Loading, "the model is still loading; try again later").with_retry_after(1))
        }
        Phase::Draining(_) => {
            Err(ApiError::new(ErrorCode::Draining, "this worker is shutting down; ask another").with_retry_after(1))
        }
        Phase::Failed => Err(ApiError::new(ErrorCode::WorkerCrashed, "this worker failed and is ending")),
    }
}

/// Tokens of the prompt. Takes long for long texts: not for the async threads.
fn prompt_tokens(model: &Model, input: Input) -> Result<Vec<u32>, ApiError> {
    let (field, ids) = match input {
        Input::Completion(Prompt::Tokens(ids)) => {
            if let Some(bad) = ids.iter().find(|&&id| id as usize >= model.tokenizer.vocab_size()) {
                return Err(ApiError::invalid("prompt", format!("token {bad} is not in the vocabulary")));
            }
            ("prompt", ids)
        }
        Input::Completion(Prompt::Text(text)) | Input::Inference(InferenceInput::Prompt(text)) => {
            ("prompt", raw(model, &text)?)
        }
        Input::Inference(InferenceInput::Messages(messages)) => match (&model.template, &messages[..]) {
            (None, [ChatMessage { role: Role::User, content, .. }]) => ("messages", raw(model, content)?),
            _ => ("messages", chat(model, &messages)?),
        },
        Input::Chat(messages) => ("messages", chat(model, &messages)?),
    };
    if ids.is_empty() {
        return Err(ApiError::invalid(field, "the prompt has no tokens"));
    }
    if ids.len() >= model.context_length {
        return Err(ApiError::context_length_exceeded(field, ids.len(), model.context_length));
    }
    Ok(ids)
}

fn raw(model: &Model, text: &str) -> Result<Vec<u32>, ApiError> {
    fits("prompt", model, text)?;
    Ok(model.tokenizer.encode(text))
}

fn chat(model: &Model, messages: &[ChatMessage]) -> Result<Vec<u32>, ApiError> {
    let failed = |text: String| ApiError::new(ErrorCode::TemplateError, text);
    let template = match &model.template {
        Some(Ok(template)) => template,
        Some(Err(error)) => return Err(failed(error.to_string())),
        None => return Err(failed("the model has no chat template; send a prompt to /v1/completions instead".into())),
    };
    // A text that is too long in itself is not worth rendering.
    messages.iter().try_for_each(|m| fits("messages", model, &m.content))?;
    let text = template.render(messages, &model.tokenizer, &jiff::Zoned::now()).map_err(|e| failed(e.to_string()))?;
    fits("messages", model, &text)?;
    Ok(model.tokenizer.encode_rendered(&text))
}

/// Refuses a text that cannot fit, whatever its tokens are.
fn fits(field: &str, model: &Model, text: &str) -> Result<(), ApiError> {
    let least = text.len() / model.tokenizer.longest_token();
    if least >= model.context_length {
        return Err(ApiError::context_length_exceeded(field, least, model.context_length));
    }
    Ok(())
}

impl Running {
    /// Waits for the next token or the end. After an error nothing follows.
    pub async fn next(&mut self) -> Result<Next, ApiError> {
        loop {
            let before = self.progress();
            match tokio::time::timeout(self.stall, self.ticket.events.recv()).await {
                Ok(event) => {
                    if let Some(next) = self.read(event)? {
                        return Ok(next);
                    }
                }
                // A long prompt is no stall, and neither is waiting for a slot of an engine that works for others.
                Err(_) if self.progress() != before => {}
                Err(_) => {
                    self.ticket.cancel();
                    let text = format!("no token was computed for {} s", self.stall.as_secs());
                    return Err(ApiError::new(ErrorCode::InferenceStalled, text));
                }
            }
        }
    }

    /// Grows while the engine works on this request, or on any as long as this one waits.
    fn progress(&self) -> u64 {
        if self.started { self.ticket.progress() } else { self.stats.tokens() }
    }

    /// The next event, if it is there already.
    pub fn ready(&mut self) -> Result<Option<Next>, ApiError> {
        match self.ticket.events.try_recv() {
            Ok(event) => self.read(Some(event)),
            Err(_) => Ok(None),
        }
    }

    fn read(&mut self, event: Option<Event>) -> Result<Option<Next>, ApiError> {
        match event {
            Some(Event::Started) => {
                self.started = true;
                Ok(None)
            }
            Some(Event::Token { text, logprobs: _ }) => {
                self.first_token.get_or_insert_with(Instant::now);
                Ok(Some(Next::Token(text)))
            }
            Some(Event::End(End::Finished { reason, prompt_tokens, completion_tokens })) => {
                Ok(Some(Next::Finish(Finish { reason, usage: Usage::new(prompt_tokens, completion_tokens) })))
            }
            Some(Event::End(End::Failed(error))) => Err(error),
            None => Err(ApiError::new(ErrorCode::WorkerCrashed, "the engine ended in the middle of the answer")),
        }
    }
}
