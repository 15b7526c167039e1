//! A model as a checkpoint's folder: `config.json`, safetensors, and the tokenizer's files beside them.

use super::{ModelErrorKind, Opened};
use rbee_engine::source::safetensors::Checkpoint;
use rbee_tokenizer::Tokenizer;
use serde_json::Value;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Longest file about a tokenizer that is read, in bytes.
const LIMIT_BYTES: u64 = 1 << 28;

/// Whether a path is a checkpoint's: a folder, or one of its files of weights.
pub(super) fn is_checkpoint(path: &Path) -> bool {
    path.is_dir() || path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("safetensors"))
}

/// Opens and checks a checkpoint.
pub(super) fn open(path: &Path) -> Result<Opened, ModelErrorKind> {
    let checkpoint = Checkpoint::open(path)?;
    let source = checkpoint.source().map_err(ModelErrorKind::Engine)?;
    source.prefetch();
    let folder = &checkpoint.folder;
    let json = read(folder, "tokenizer.json")?.ok_or_else(|| ModelErrorKind::File {
        name: "tokenizer.json",
        problem: "it is missing; the tokenizer is read from it alone".to_owned(),
    })?;
    let config = read(folder, "tokenizer_config.json")?.map(|text| parse(&text)).transpose()?;
    let template = match read(folder, "chat_template.jinja")? {
        Some(text) => {
            let text = String::from_utf8(text).map_err(|_| problem("chat_template.jinja", "it is not UTF-8"))?;
            Some(text)
        }
        None => config.as_ref().and_then(template),
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
fn read(folder: &Path, name: &'static str) -> Result<Option<Vec<u8>>, ModelErrorKind> {
    let path = folder.join(name);
    let failed = |error: io::Error| problem(name, error.to_string());
    let metadata = match std::fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    if !metadata.is_file() || metadata.len() > LIMIT_BYTES {
        return Err(problem(name, format!("it is no regular file of at most {LIMIT_BYTES} bytes")));
    }
    let mut bytes = Vec::new();
    File::open(&path).and_then(|file| file.take(LIMIT_BYTES).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(Some(bytes))
}

fn parse(text: &[u8]) -> Result<Value, ModelErrorKind> {
    serde_json::from_slice(text).map_err(|e| problem("tokenizer_config.json", e.to_string()))
}

/// The template of a `tokenizer_config.json`: a text, or several of which one is the default.
fn template(config: &Value) -> Option<String> {
    let text = match config.get("chat_template")? {
        Value::Array(several) => {
            let default = several.iter().find(|t| t.get("name").and_then(Value::as_str) == Some("default"));
            default.or(several.first())?.get("template")?
        }
        one => one,
    };
    text.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_template_is_a_text_or_the_default_of_several() {
        let found = |value: Value| template(&json!({ "chat_template": value }));
        assert_eq!(found(json!("{{ x }}")), Some("{{ x }}".to_owned()));
        let several = json!([{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]);
        assert_eq!(found(several), Some("b".to_owned()));
        assert_eq!(found(json!([{"name": "rag", "template": "c"}])), Some("c".to_owned()));
        assert_eq!(found(json!([])), None);
        assert_eq!(template(&json!({})), None);
    }
}
