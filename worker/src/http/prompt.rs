//! What the model is given for a request: tokens of the prompt, the form of the answer. Takes long for long texts: not for the
//! async threads.

use super::Served;
use crate::constraint::Grammar;
use crate::model::Model;
use crate::scheduler::Scheduler;
use crate::template::ChatTemplate;
use crate::tools::{Format, Reader, Support};
use rbee_engine::Kind;
use rbee_tokenizer::Tokenizer;
use rbee_wire::openai::{ChatMessage, Constraint, Prompt, Role, Sampling, Tool, Tools};
use rbee_wire::worker::InferenceInput;
use rbee_wire::{ApiError, ErrorCode};
use std::time::{Duration, Instant};

/// Time for the schemas of all functions of a request together.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is to be continued.
pub enum Input {
    Chat(Vec<ChatMessage>, Tools),
    /// Each is continued for itself.
    Completion(Vec<Prompt>),
    Inference(InferenceInput),
}

/// A request as the scheduler takes it.
pub struct Prepared {
    /// None is empty, and all are shorter than the context.
    pub prompts: Vec<Vec<u32>>,
    pub sampling: Sampling,
    pub grammar: Option<Grammar>,
    /// Finds the calls in the answer.
    pub reader: Option<Reader>,
    /// The control token that opens a call.
    pub told: Option<u32>,
}

/// Makes the prompt and compiles the form of the answer. Blocks, for about a second at most.
pub fn prepare(served: &Served, input: Input, mut sampling: Sampling) -> Result<Prepared, ApiError> {
    let Served { model, scheduler } = served;
    if scheduler.kind() == Kind::Encoder {
        let text = "this model gives embeddings only and no text; send its input to /v1/embeddings";
        return Err(ApiError::new(ErrorCode::InvalidRequest, text).with_openai_code("unsupported_endpoint"));
    }
    known("logit_bias", model, sampling.logit_bias.iter().map(|&(id, _)| id))?;
    let tools = match &input {
        Input::Chat(_, tools) => {
            let calls = Calls::new(model, tools)?;
            check_parameters(scheduler, &tools.forced())?;
            calls
        }
        _ => Calls::default(),
    };
    let prompts = tokens(model, input, &tools)?;
    let (field, constraint) = match (&tools.form, &sampling.constraint) {
        (Some(form), _) => ("tools", Some(form)),
        (None, Some(constraint)) => (sampling.constraint_field, Some(constraint)),
        (None, None) => ("", None),
    };
    let grammar = constraint.map(|c| scheduler.grammar(c).map_err(|e| e.to_api(field))).transpose()?;
    sampling.constraint_field = field;
    Ok(Prepared { prompts, sampling, grammar, reader: tools.reader, told: tools.told })
}

/// Refuses functions that cannot be called, such as one whose arguments refer to themselves without end: within the form of
/// a call that would show only when the model got there.
fn check_parameters(scheduler: &Scheduler, forced: &[&Tool]) -> Result<(), ApiError> {
    let began = Instant::now();
    for tool in forced {
        if began.elapsed() > PATIENCE {
            return Err(ApiError::invalid("tools", "take too long to compile; give fewer or simpler ones"));
        }
        let parameters = Constraint::JsonSchema(tool.parameters.clone());
        scheduler.grammar(&parameters).map_err(|e| e.to_api(&format!("tools.{}.parameters", tool.name)))?;
    }
    Ok(())
}

/// What functions mean for a request.
#[derive(Default)]
struct Calls {
    /// Ends the prompt.
    opening: &'static str,
    form: Option<Constraint>,
    reader: Option<Reader>,
    told: Option<u32>,
}

impl Calls {
    fn new(model: &Model, tools: &Tools) -> Result<Self, ApiError> {
        if !tools.in_use() {
            return Ok(Self::default());
        }
        let format = format(template(model)?)?;
        let forced = tools.forced();
        let names = tools.list.iter().map(|t| t.name.clone()).collect();
        let told = control_token(&model.tokenizer, format.opening());
        let reader = Reader::new(format, names, tools.parallel, !forced.is_empty());
        let reader = Some(reader.with_hidden_opening(told.is_some()));
        if forced.is_empty() {
            return Ok(Self { reader, told, ..Self::default() });
        }
        let form = Some(Constraint::JsonSchema(format.form(&forced, tools.parallel)));
        Ok(Self { opening: format.forced_opening(), form, reader, told })
    }
}

/// The token with this text, if it is one that adds nothing to an answer.
fn control_token(tokenizer: &Tokenizer, text: &str) -> Option<u32> {
    let ids = tokenizer.encode_rendered(text);
    let last = ids.last().copied()?;
    (tokenizer.special_text(last) == Some(text) && tokenizer.bytes(last).is_empty()).then_some(last)
}

fn format(template: &ChatTemplate) -> Result<Format, ApiError> {
    let why = match template.support() {
        Support::Known(format) => return Ok(format),
        Support::None => "this model's chat template has no tools; use another model, or leave tools out",
        Support::Unknown => "the form in which this model calls functions is not known; use another model",
    };
    Err(ApiError::invalid("tools", why).with_openai_code("unsupported_parameter"))
}

fn tokens(model: &Model, input: Input, calls: &Calls) -> Result<Vec<Vec<u32>>, ApiError> {
    let (field, ids) = match input {
        Input::Completion(prompts) => {
            let count = prompts.len();
            let read = |(at, prompt)| {
                let field = Prompt::path("prompt", at, count);
                usable(&field, model, given(&field, model, prompt)?)
            };
            return prompts.into_iter().enumerate().map(read).collect();
        }
        Input::Inference(InferenceInput::Prompt(text)) => ("prompt", raw("prompt", model, &text)?),
        Input::Inference(InferenceInput::Messages(messages)) => match (&model.template, &messages[..]) {
            (None, [ChatMessage { role: Role::User, content, .. }]) => ("messages", raw("messages", model, content)?),
            _ => ("messages", chat(model, &messages, &Tools::default(), calls)?),
        },
        Input::Chat(messages, tools) => ("messages", chat(model, &messages, &tools, calls)?),
    };
    Ok(vec![usable(field, model, ids)?])
}

/// Tokens of a text as it is, or those that were given.
pub fn given(field: &str, model: &Model, prompt: Prompt) -> Result<Vec<u32>, ApiError> {
    match prompt {
        Prompt::Tokens(ids) => Ok(ids),
        Prompt::Text(text) => raw(field, model, &text),
    }
}

/// Refuses tokens that the model cannot continue.
fn usable(field: &str, model: &Model, ids: Vec<u32>) -> Result<Vec<u32>, ApiError> {
    known(field, model, ids.iter().copied())?;
    if ids.is_empty() {
        return Err(ApiError::invalid(field, "the prompt has no tokens"));
    }
    if ids.len() >= model.context_length {
        return Err(ApiError::context_length_exceeded(field, ids.len(), model.context_length));
    }
    Ok(ids)
}

/// Refuses tokens that the model cannot read, whether the request gave them as ids or in a text.
pub fn known(field: &str, model: &Model, mut ids: impl Iterator<Item = u32>) -> Result<(), ApiError> {
    match ids.find(|&id| id as usize >= model.vocabulary) {
        Some(bad) => Err(ApiError::invalid(field, format!("token {bad} is not in the model's vocabulary"))),
        None => Ok(()),
    }
}

/// Tokens of a text as it is.
fn raw(field: &str, model: &Model, text: &str) -> Result<Vec<u32>, ApiError> {
    fits(field, model, text)?;
    Ok(model.tokenizer.encode(text))
}

fn template(model: &Model) -> Result<&ChatTemplate, ApiError> {
    let failed = |text: String| Err(ApiError::new(ErrorCode::TemplateError, text));
    match &model.template {
        Some(Ok(template)) => Ok(template),
        Some(Err(error)) => failed(error.to_string()),
        None => failed("the model has no chat template; send a prompt to /v1/completions instead".into()),
    }
}

fn chat(model: &Model, messages: &[ChatMessage], tools: &Tools, calls: &Calls) -> Result<Vec<u32>, ApiError> {
    let template = template(model)?;
    // A text that is too long in itself is not worth rendering.
    messages.iter().try_for_each(|m| fits("messages", model, &m.content))?;
    let tools = if tools.in_use() { &tools.list[..] } else { &[] };
    let text = template
        .render(messages, tools, &model.tokenizer, &jiff::Zoned::now())
        .map_err(|e| ApiError::new(ErrorCode::TemplateError, e.to_string()))?;
    fits("messages", model, &text)?;
    Ok(model.tokenizer.encode_rendered(&(text + calls.opening)))
}

/// Refuses a text that cannot fit, whatever its tokens are.
fn fits(field: &str, model: &Model, text: &str) -> Result<(), ApiError> {
    let Some(most) = model.token_bytes else { return Ok(()) };
    let least = text.len() / most.max(1);
    if least >= model.context_length {
        return Err(ApiError::context_length_exceeded_by_far(field, least, model.context_length));
    }
    Ok(())
}
