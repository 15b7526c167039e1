//! A model in one GGUF file.

use super::{ModelErrorKind, Opened};
use rbee_engine::source::{Source, map_file};
use rbee_model::format;
use rbee_model::gguf::{GgufError, Header, Value};
use rbee_tokenizer::Tokenizer;
use std::fs::File;
use std::io;
use std::path::Path;

/// Opens and checks a file.
pub(super) fn open(path: &Path) -> Result<Opened, ModelErrorKind> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    format::check_file_name(&name).map_err(ModelErrorKind::Unsupported)?;
    // Before it is opened: that would wait for a pipe's writer.
    let metadata = std::fs::metadata(path).map_err(ModelErrorKind::Open)?;
    if !metadata.is_file() {
        return Err(ModelErrorKind::Open(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")));
    }
    let file = File::open(path).map_err(ModelErrorKind::Open)?;
    let metadata = file.metadata().map_err(ModelErrorKind::Open)?;
    let header = Header::read(&file, metadata.len()).map_err(ModelErrorKind::Gguf)?;
    format::check(&header).map_err(ModelErrorKind::Unsupported)?;
    let bytes = map_file(&file).map_err(ModelErrorKind::Open)?;
    let template = template(&header)?;
    let source = Source::gguf(&header, &bytes).map_err(ModelErrorKind::Engine)?;
    source.prefetch();
    Ok(Opened {
        source,
        context_length: header.summary().context_length,
        template,
        tokenizer: Box::new(move || Tokenizer::from_header(&header)),
    })
}

/// The chat template, if there is one. A value of another type is no reason to talk to the model without its template.
fn template(header: &Header) -> Result<Option<String>, ModelErrorKind> {
    const KEY: &str = "tokenizer.chat_template";
    match header.get(KEY) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => {
            let (key, found) = (KEY.to_owned(), other.value_type());
            Err(ModelErrorKind::Gguf(GgufError::WrongType { key, found, expected: "a string" }))
        }
    }
}
