//! A model file: opened, checked, and turned into an engine, a tokenizer and a chat template.

use crate::config::Config;
use crate::template::{ChatTemplate, TemplateError};
use rbee_engine::source::{Source, map_file, prefetch};
use rbee_engine::{Chunk, Device, Engine, LoadError, Options, Output, Progress};
use rbee_model::format::{self, UnsupportedFormat};
use rbee_model::gguf::{GgufError, Header};
use rbee_tokenizer::{Tokenizer, TokenizerError};
use rbee_wire::ErrorCode;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest context that is used without being asked for, in tokens.
const DEFAULT_CONTEXT: u64 = 8192;

/// Why a model file is not served. The file is named in front.
#[derive(Debug, thiserror::Error)]
#[error("cannot load the model {}: {kind}", path.display())]
pub struct ModelError {
    pub path: PathBuf,
    #[source]
    pub kind: ModelErrorKind,
}

/// What is wrong with a model file.
#[derive(Debug, thiserror::Error)]
pub enum ModelErrorKind {
    #[error("the GGUF file cannot be opened: {0}")]
    Open(std::io::Error),
    #[error("{0}")]
    Gguf(GgufError),
    #[error("{0}")]
    Unsupported(UnsupportedFormat),
    #[error("GGUF tokenizer: {0}")]
    Tokenizer(TokenizerError),
    #[error("{0}")]
    Engine(LoadError),
    #[error("the GGUF file is damaged: {0}")]
    Damaged(String),
}

impl ModelErrorKind {
    /// The code that goes with it.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Open(_) => ErrorCode::ModelNotFound,
            Self::Gguf(_) | Self::Damaged(_) => ErrorCode::InvalidModelFile,
            Self::Engine(error) if error.is_damage() => ErrorCode::InvalidModelFile,
            Self::Unsupported(_) | Self::Tokenizer(_) | Self::Engine(_) => ErrorCode::UnsupportedFormat,
        }
    }
}

/// What requests need of a model besides the engine.
pub struct Model {
    pub tokenizer: Arc<Tokenizer>,
    /// None if the file has no template; an unusable one is told when it is needed.
    pub template: Option<Result<ChatTemplate, TemplateError>>,
    /// Tokens of one sequence.
    pub context_length: usize,
    pub slots: usize,
    pub memory_bytes: u64,
}

/// Opens, checks and loads the model of a configuration. Blocks.
pub fn load(config: &Config, progress: &mut dyn FnMut(Progress)) -> Result<(Box<dyn Engine>, Model), ModelError> {
    load_file(&config.model, config, progress).map_err(|kind| ModelError { path: config.model.clone(), kind })
}

/// One step, so that the first request does not pay for what is made at first use; a model that gives no numbers is refused.
fn warm_up(engine: &mut dyn Engine) -> Result<(), ModelErrorKind> {
    let tokens = [0; 2];
    let count = tokens.len().min(engine.context_length());
    let chunk = Chunk { slot: 0, position: 0, tokens: &tokens[..count], output: Output::Logits };
    let rows = engine.step(&[chunk]).map_err(|e| ModelErrorKind::Damaged(e.to_string()))?;
    engine.truncate(0, 0);
    if rows.iter().flatten().any(|logit| logit.is_finite()) {
        return Ok(());
    }
    Err(ModelErrorKind::Damaged("its weights give no finite number".into()))
}

fn load_file(
    path: &Path,
    config: &Config,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Box<dyn Engine>, Model), ModelErrorKind> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    format::check_file_name(&name).map_err(ModelErrorKind::Unsupported)?;
    let file = File::open(path).map_err(ModelErrorKind::Open)?;
    let metadata = file.metadata().map_err(ModelErrorKind::Open)?;
    if !metadata.is_file() {
        let error = std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is not a regular file");
        return Err(ModelErrorKind::Open(error));
    }
    let header = Header::read(&file, metadata.len()).map_err(ModelErrorKind::Gguf)?;
    format::check(&header).map_err(ModelErrorKind::Unsupported)?;
    let bytes = map_file(&file).map_err(ModelErrorKind::Open)?;
    prefetch(bytes.clone());
    let trained = header.summary().context_length;
    let context_length = match config.context_length {
        Some(wanted) if u64::from(wanted) > trained => {
            tracing::warn!(wanted, trained, "the context is limited to what the model was trained with");
            trained
        }
        Some(wanted) => u64::from(wanted),
        None => trained.min(DEFAULT_CONTEXT),
    } as usize;
    let source = Source::gguf(&header, &bytes).map_err(ModelErrorKind::Engine)?;
    let options = Options { slots: config.slots, context_length, threads: config.threads, device: Device::Cpu };
    let (engine, tokenizer) = std::thread::scope(|scope| {
        let tokenizer = scope.spawn(|| Tokenizer::from_header(&header));
        let engine = rbee_engine::load(source, options, progress).map_err(ModelErrorKind::Engine);
        let tokenizer = tokenizer.join().unwrap_or(Err(TokenizerError::Missing("tokenizer.ggml.tokens")));
        (engine, tokenizer.map_err(ModelErrorKind::Tokenizer))
    });
    let (mut engine, tokenizer) = (engine?, tokenizer?);
    warm_up(engine.as_mut())?;
    let template = header.str("tokenizer.chat_template").map(ChatTemplate::new);
    let model = Model {
        tokenizer: Arc::new(tokenizer),
        template,
        context_length,
        slots: config.slots,
        memory_bytes: engine.memory_bytes(),
    };
    Ok((engine, model))
}
