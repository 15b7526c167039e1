//! A checkpoint's folder as a model: `config.json`, `tokenizer.json` and safetensors, looked at where they lie.

use std::{fs::File, io, path::Path};

use rbee_crds::{hive::CacheState, model::Gguf};
use rbee_model::checkpoint::{Checkpoint, CheckpointError, ConfigError, Folder, Problem, is_weights};
use rbee_wire::ErrorCode;

use super::file::{Refusal, open};

/// Without it no text becomes tokens.
const TOKENIZER: &str = "tokenizer.json";

/// Whether a path is a checkpoint's: a folder, or one of its files of weights.
pub(super) fn is_checkpoint(path: &Path) -> bool {
    path.is_dir() || path.file_name().is_some_and(|name| is_weights(&name.to_string_lossy()))
}

/// The folder of a checkpoint, and the file in it that was named.
pub(super) fn folder_of(path: &Path) -> (&Path, Option<&str>) {
    match path.parent() {
        Some(parent) if !path.is_dir() => (parent, path.file_name().and_then(|name| name.to_str())),
        _ => (path, None),
    }
}

/// The bytes of the weights and the model's shape.
pub(super) fn check(path: &Path) -> Result<(u64, Gguf), Refusal> {
    let (folder, named) = folder_of(path);
    let checkpoint = Checkpoint::read(&OnDisk(folder), named).map_err(|e| refusal(folder, &e))?;
    if !folder.join(TOKENIZER).is_file() {
        let message = format!("{}: {TOKENIZER} is missing; the tokenizer is read from it alone", folder.display());
        return Err(Refusal { state: CacheState::Invalid, code: ErrorCode::InvalidModelFile, message });
    }
    Ok((checkpoint.bytes(), Gguf::from(&checkpoint.summary())))
}

fn refusal(folder: &Path, error: &CheckpointError) -> Refusal {
    let (state, code) = match &error.problem {
        Problem::Open(e) if e.kind() == io::ErrorKind::NotFound && !folder.exists() => {
            (CacheState::Missing, ErrorCode::ModelNotFound)
        }
        Problem::Unsupported(_) | Problem::Config(ConfigError::Class { .. } | ConfigError::Unsupported { .. }) => {
            (CacheState::Invalid, ErrorCode::UnsupportedFormat)
        }
        _ => (CacheState::Invalid, ErrorCode::InvalidModelFile),
    };
    Refusal { state, code, message: format!("{}: {error}", folder.display()) }
}

struct OnDisk<'a>(&'a Path);

impl Folder for OnDisk<'_> {
    type File = File;

    fn open(&self, name: &str) -> io::Result<(File, u64)> {
        let file = open(&self.0.join(name))?;
        let metadata = file.metadata()?;
        match metadata.is_file() {
            true => Ok((file, metadata.len())),
            false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::puller::file::{entry, look};

    const CONFIG: &str = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 128,
        "max_position_embeddings": 512, "num_attention_heads": 4, "num_hidden_layers": 3, "vocab_size": 100}"#;

    fn write(folder: &Path, name: &str, bytes: &[u8]) {
        std::fs::write(folder.join(name), bytes).unwrap();
    }

    fn weights() -> Vec<u8> {
        let header = r#"{"a": {"dtype": "BF16", "shape": [4, 2], "data_offsets": [0, 16]}}"#;
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 16]].concat()
    }

    #[test]
    fn a_folder_is_a_model_once_all_its_files_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let said = |path: &Path| entry("file:///x", &look(path, None)).cached;
        let refused = |path: &Path| (said(path).state, said(path).message.unwrap());
        let (state, message) = refused(dir.path());
        assert!(state == CacheState::Invalid && message.contains("config.json"), "{message}");
        write(dir.path(), "config.json", CONFIG.as_bytes());
        write(dir.path(), "pytorch_model.bin", b"");
        assert!(refused(dir.path()).1.contains("pickle"));
        write(dir.path(), "model.safetensors", &weights());
        assert!(refused(dir.path()).1.contains("tokenizer.json is missing"));
        let before = look(dir.path(), None);
        write(dir.path(), "tokenizer.json", b"{}");
        let after = entry("file:///x", &look(dir.path(), Some(before))).cached;
        let gguf = after.gguf.unwrap();
        assert_eq!((after.state, after.size_bytes), (CacheState::Available, Some(weights().len() as i64)));
        assert_eq!((gguf.architecture.as_deref(), gguf.layer_count), (Some("llama"), Some(3)));
        assert_eq!(gguf.quantization.as_deref(), Some("BF16"));
        assert_eq!(said(&dir.path().join("model.safetensors")).state, CacheState::Available);
        assert_eq!(said(&dir.path().join("gone/model.safetensors")).state, CacheState::Missing);
        write(dir.path(), "config.json", CONFIG.replace("LlamaFor", "RwkvFor").as_bytes());
        assert!(refused(dir.path()).1.contains("RwkvForCausalLM"));
    }
}
