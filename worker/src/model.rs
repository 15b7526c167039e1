//! A model: opened, checked, and turned into an engine, a tokenizer and a chat template.

mod checkpoint;
mod gguf;
#[cfg(test)]
mod tests;

use crate::config::Config;
use crate::template::{ChatTemplate, TemplateError};
use rbee_engine::source::Source;
use rbee_engine::source::safetensors::CheckpointError;
use rbee_engine::{Chunk, Engine, Kind, LoadError, Options, Output, Progress};
use rbee_model::checkpoint::Problem;
use rbee_model::format::UnsupportedFormat;
use rbee_model::gguf::GgufError;
use rbee_tokenizer::{Tokenizer, TokenizerError};
use rbee_wire::ErrorCode;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

/// Longest context that is used without being asked for, in tokens.
const DEFAULT_CONTEXT: u64 = 8192;

/// Why a model is not served. The path is named in front.
#[derive(Debug, thiserror::Error)]
#[error("cannot load the model {}: {kind}", path.display())]
pub struct ModelError {
    pub path: PathBuf,
    #[source]
    pub kind: Box<ModelErrorKind>,
}

/// What is wrong with a model.
#[derive(Debug, thiserror::Error)]
pub enum ModelErrorKind {
    #[error("the GGUF file cannot be opened: {0}")]
    Open(io::Error),
    #[error("{0}")]
    Gguf(GgufError),
    #[error("{0}")]
    Unsupported(UnsupportedFormat),
    #[error("{0}")]
    Checkpoint(#[from] CheckpointError),
    #[error("{name}: {problem}")]
    File { name: &'static str, problem: String },
    #[error("tokenizer: {0}")]
    Tokenizer(TokenizerError),
    #[error("making the tokenizer failed in a way that was not foreseen ({0}); please report it with the model's name")]
    Panicked(String),
    #[error("{0}")]
    Engine(LoadError),
    #[error("the model is damaged: {0}")]
    Damaged(String),
}

impl ModelErrorKind {
    /// The code that goes with it.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Open(_) => ErrorCode::ModelNotFound,
            Self::Gguf(_) | Self::Damaged(_) | Self::Panicked(_) | Self::File { .. } => ErrorCode::InvalidModelFile,
            Self::Engine(error) => of_engine(error),
            Self::Unsupported(_) | Self::Tokenizer(TokenizerError::Model { .. } | TokenizerError::Pre { .. }) => {
                ErrorCode::UnsupportedFormat
            }
            Self::Tokenizer(_) => ErrorCode::InvalidModelFile,
            Self::Checkpoint(error) => match &error.problem {
                Problem::Open(_) | Problem::NoWeights => ErrorCode::ModelNotFound,
                problem if problem.is_unsupported() => ErrorCode::UnsupportedFormat,
                _ => ErrorCode::InvalidModelFile,
            },
        }
    }
}

/// What is missing or contradicts itself is wrong in every format; what is sound and not computed here is not supported; and
/// what this machine lacks is not the file's fault.
fn of_engine(error: &LoadError) -> ErrorCode {
    match error {
        LoadError::MissingTensor(_)
        | LoadError::Shape { .. }
        | LoadError::Read { .. }
        | LoadError::NotFinite(_)
        | LoadError::MissingSetting(_)
        | LoadError::Setting { .. } => ErrorCode::InvalidModelFile,
        LoadError::Architecture { .. } | LoadError::UnknownTensor(_) | LoadError::DType { .. } => {
            ErrorCode::UnsupportedFormat
        }
        LoadError::Cache { .. } => ErrorCode::InsufficientMemory,
        LoadError::Threads(_) | LoadError::Device(_) => ErrorCode::WorkerStartFailed,
    }
}

/// A model whose files were opened and checked; weights are mapped and not looked at.
struct Opened {
    source: Source,
    /// Tokens that the model was made for.
    context_length: u64,
    template: Option<String>,
    /// Makes the tokenizer, which takes a while.
    tokenizer: Box<dyn FnOnce() -> Result<Tokenizer, TokenizerError> + Send>,
}

/// What requests need of a model besides the engine.
pub struct Model {
    pub tokenizer: Arc<Tokenizer>,
    /// None if the file has no template; an unusable one is told when it is needed.
    pub template: Option<Result<ChatTemplate, TemplateError>>,
    /// Token ids below this one have both a text and weights.
    pub vocabulary: usize,
    /// Bytes of text that a token stands for at most. None: a token may stand for any number of them, as for a word that the
    /// vocabulary does not have.
    pub token_bytes: Option<usize>,
    /// Tokens of one sequence.
    pub context_length: usize,
    pub slots: usize,
    pub memory_bytes: u64,
}

/// Opens, checks and loads the model of a configuration. Blocks.
pub fn load(config: &Config, progress: &mut dyn FnMut(Progress)) -> Result<(Box<dyn Engine>, Model), ModelError> {
    load_opened(config, progress).map_err(|kind| ModelError { path: config.model.clone(), kind: Box::new(kind) })
}

/// One step, so that the first request does not pay for what is made at first use; a model that gives no numbers is refused.
fn warm_up(engine: &mut dyn Engine) -> Result<(), ModelErrorKind> {
    let tokens = [0; 2];
    let count = tokens.len().min(engine.context_length());
    let output = match engine.kind() {
        Kind::Causal => Output::Logits,
        Kind::Encoder => Output::Hidden,
    };
    let chunk = Chunk { slot: 0, position: 0, tokens: &tokens[..count], output };
    let rows = engine.step(&[chunk]).map_err(|e| ModelErrorKind::Damaged(e.to_string()))?;
    engine.truncate(0, 0);
    if rows.iter().flatten().any(|number| number.is_finite()) {
        return Ok(());
    }
    Err(ModelErrorKind::Damaged("its weights give no finite number".into()))
}

/// The tokenizer of a thread that has ended, one way or another.
fn made(joined: thread::Result<Result<Tokenizer, TokenizerError>>) -> Result<Tokenizer, ModelErrorKind> {
    let panic = match joined {
        Ok(made) => return made.map_err(ModelErrorKind::Tokenizer),
        Err(panic) => panic,
    };
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    Err(ModelErrorKind::Panicked(text.unwrap_or_else(|| "no message".to_owned())))
}

fn token_bytes(tokenizer: &Tokenizer, kind: Kind) -> Option<usize> {
    // Encoders read words, in normal form and without the white space between them.
    let ids = (kind == Kind::Causal).then(|| 0..tokenizer.vocab_size() as u32)?;
    let special = ids.filter_map(|id| tokenizer.special_text(id)).map(str::len).max();
    special.max(Some(tokenizer.longest_token()))
}

/// Refuses a tokenizer whose own tokens have no weights: those that every text gets, and those that end an answer. That others
/// have none is usual: a request that uses them is refused.
fn check_vocabulary(tokenizer: &Tokenizer, rows: usize) -> Result<(), ModelErrorKind> {
    let beyond = |&id: &u32| id as usize >= rows;
    let always: Vec<u32> = tokenizer.encode("").into_iter().chain(tokenizer.eos()).collect();
    let ends = tokenizer.end_tokens();
    let endless = ends.first().filter(|_| ends.iter().all(beyond));
    match always.iter().find(|id| beyond(id)).or(endless) {
        Some(id) => Err(ModelErrorKind::Damaged(format!(
            "its tokenizer begins or ends texts with token {id}, but its weights are of {rows} tokens only"
        ))),
        None => Ok(()),
    }
}

fn load_opened(
    config: &Config,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Box<dyn Engine>, Model), ModelErrorKind> {
    let path = &config.model;
    let opened = if checkpoint::is_checkpoint(path) { checkpoint::open(path)? } else { gguf::open(path)? };
    let Opened { source, context_length: trained, template, tokenizer } = opened;
    let context_length = match config.context_length {
        Some(wanted) if u64::from(wanted) > trained => {
            tracing::warn!(wanted, trained, "the context is limited to what the model was trained with");
            trained
        }
        Some(wanted) => u64::from(wanted),
        None => trained.min(DEFAULT_CONTEXT),
    } as usize;
    let options =
        Options { slots: config.slots, context_length, threads: config.threads, device: config.compute_device };
    let (engine, tokenizer) = thread::scope(|scope| {
        let tokenizer = scope.spawn(tokenizer);
        let engine = rbee_engine::load(source, options, progress).map_err(ModelErrorKind::Engine);
        (engine, made(tokenizer.join()))
    });
    let (mut engine, tokenizer) = (engine?, tokenizer?);
    check_vocabulary(&tokenizer, engine.vocab_size())?;
    warm_up(engine.as_mut())?;
    let model = Model {
        vocabulary: tokenizer.vocab_size().min(engine.vocab_size()),
        token_bytes: token_bytes(&tokenizer, engine.kind()),
        tokenizer: Arc::new(tokenizer),
        template: template.map(|text| ChatTemplate::new(&text)),
        context_length: engine.context_length(),
        slots: config.slots,
        memory_bytes: engine.memory_bytes(),
    };
    Ok((engine, model))
}
