//! A model as a checkpoint's folder: `config.json`, safetensors, and the tokenizer's files beside them.

use super::{ModelErrorKind, Opened};
use rbee_engine::source::safetensors::Checkpoint;
use rbee_tokenizer::{MOST_JSON_BYTES, Tokenizer, TokenizerConfig};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Bytes of a file that says how a tokenizer is used, or of a template; known ones have a tenth of it.
const MOST_SMALL_BYTES: usize = 4 << 20;

const CONFIG: &str = "tokenizer_config.json";

/// Whether a path is a checkpoint's: a folder, or one of its files of weights.
pub(super) fn is_checkpoint(path: &Path) -> bool {
    path.is_dir() || path.file_name().is_some_and(|name| rbee_model::checkpoint::is_weights(&name.to_string_lossy()))
}

/// Opens and checks a checkpoint.
pub(super) fn open(path: &Path) -> Result<Opened, ModelErrorKind> {
    let checkpoint = Checkpoint::open(path)?;
    let source = checkpoint.source().map_err(ModelErrorKind::Engine)?;
    source.prefetch();
    let folder = &checkpoint.folder;
    let json = read(folder, "tokenizer.json", MOST_JSON_BYTES)?.ok_or_else(|| ModelErrorKind::File {
        name: "tokenizer.json",
        problem: "it is missing; the tokenizer is read from it alone".to_owned(),
    })?;
    let config = read(folder, CONFIG, MOST_SMALL_BYTES)?;
    let config = config.map(|text| TokenizerConfig::read(&text).map_err(|e| problem(CONFIG, e.to_string())));
    let mut config = config.transpose()?;
    let template = match read(folder, "chat_template.jinja", MOST_SMALL_BYTES)? {
        Some(text) => {
            let text = String::from_utf8(text).map_err(|_| problem("chat_template.jinja", "it is not UTF-8"))?;
            Some(text)
        }
        None => config.as_mut().and_then(TokenizerConfig::take_template),
    };
    Ok(Opened {
        source,
        context_length: checkpoint.config.context_length,
        template,
        tokenizer: Box::new(move || Tokenizer::from_tokenizer_json(&json, config.as_ref())),
    })
}

fn problem(name: &'static str, problem: impl Into<String>) -> ModelErrorKind {
    ModelErrorKind::File { name, problem: problem.into() }
}

/// A file of the folder, if it is there.
fn read(folder: &Path, name: &'static str, most: usize) -> Result<Option<Vec<u8>>, ModelErrorKind> {
    let path = folder.join(name);
    let failed = |error: io::Error| problem(name, error.to_string());
    // Before it is opened: that would wait for a pipe's writer.
    let metadata = match std::fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    if !metadata.is_file() {
        return Err(problem(name, "it is not a regular file"));
    }
    let mut bytes = Vec::with_capacity(metadata.len().min(most as u64) as usize);
    // One more than is allowed, so that a file that is too long is told from one that just fits.
    File::open(&path).and_then(|file| file.take(most as u64 + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() > most {
        return Err(problem(name, format!("it has more than {most} bytes, the most that are read")));
    }
    Ok(Some(bytes))
}
