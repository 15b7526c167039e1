//! A checkpoint's folder as a model: `config.json`, `tokenizer.json` and safetensors, looked at where they lie.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use rbee_crds::{hive::CacheState, model::Gguf};
use rbee_model::checkpoint::{Checkpoint, CheckpointError, FILE_NAME, Folder, is_weights, pooling};
use rbee_model::safetensors::Index;
use rbee_wire::ErrorCode;

use super::file::{Refusal, open};

/// Without it no text becomes tokens.
const TOKENIZER: &str = "tokenizer.json";
/// Files of weights of one checkpoint, at most.
const MOST: usize = rbee_model::safetensors::limits::FILES;
/// What a worker reads of a checkpoint, besides the weights.
const FILES: [&str; 7] = [
    FILE_NAME,
    pooling::FILE_NAME,
    TOKENIZER,
    "tokenizer_config.json",
    "chat_template.jinja",
    Index::FILE_NAME,
    "model.safetensors",
];

/// The files that make a checkpoint what it is: a change of one of them is a change of the model.
pub(super) struct Files(pub Vec<PathBuf>);

impl Files {
    /// As far as they are known before the checkpoint is looked at.
    pub fn of(path: &Path) -> Self {
        let (folder, named) = folder_of(path);
        Self(FILES.into_iter().chain(named).map(|name| folder.join(name)).collect())
    }

    fn add(&mut self, file: PathBuf) {
        if !self.0.contains(&file) {
            self.0.push(file);
        }
    }
}

/// Whether a path is a checkpoint's: a folder, or one of its files of weights.
pub(super) fn is_checkpoint(path: &Path) -> bool {
    path.is_dir() || path.file_name().is_some_and(|name| is_weights(&name.to_string_lossy()))
}

/// The folder of a checkpoint, and the file in it that was named.
fn folder_of(path: &Path) -> (&Path, Option<&str>) {
    match path.parent() {
        Some(parent) if !path.is_dir() => (parent, path.file_name().and_then(|name| name.to_str())),
        _ => (path, None),
    }
}

/// The bytes of the weights and the model's shape. All files that this depends on are added to `files`.
pub(super) fn check(path: &Path, files: &mut Files) -> Result<(u64, Gguf), Refusal> {
    let (folder, named) = folder_of(path);
    let checkpoint = match Checkpoint::read(&OnDisk(folder), named) {
        Ok(checkpoint) => checkpoint,
        Err(e) => {
            files.add(folder.join(&e.file));
            // An index is told to be wrong where a file of its weights is: a change of any of them may mend it.
            let mut weights: Vec<String> = OnDisk(folder).names().filter(|name| is_weights(name)).take(MOST).collect();
            weights.sort();
            weights.into_iter().for_each(|name| files.add(folder.join(name)));
            return Err(refusal(folder, named, &e));
        }
    };
    checkpoint.weights.iter().for_each(|w| files.add(folder.join(&w.name)));
    if !folder.join(TOKENIZER).is_file() {
        let message = format!("{}: {TOKENIZER} is missing; the tokenizer is read from it alone", folder.display());
        return Err(Refusal { state: CacheState::Invalid, code: ErrorCode::InvalidModelFile, message });
    }
    Ok((checkpoint.bytes(), Gguf::from(&checkpoint.summary())))
}

fn refusal(folder: &Path, named: Option<&str>, error: &CheckpointError) -> Refusal {
    if let Some(path) = named.map(|name| folder.join(name)).filter(|path| !path.exists()) {
        let message = format!("{}: there is no such file on this hive", path.display());
        return Refusal { state: CacheState::Missing, code: ErrorCode::ModelNotFound, message };
    }
    let code = match error.problem.is_unsupported() {
        true => ErrorCode::UnsupportedFormat,
        false => ErrorCode::InvalidModelFile,
    };
    Refusal { state: CacheState::Invalid, code, message: format!("{}: {error}", folder.display()) }
}

struct OnDisk<'a>(&'a Path);

impl Folder for OnDisk<'_> {
    type File = File;
    type Kept = ();

    fn has(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }

    fn open(&self, name: &str) -> io::Result<(File, u64)> {
        let file = open(&self.0.join(name))?;
        let metadata = file.metadata()?;
        match metadata.is_file() {
            true => Ok((file, metadata.len())),
            false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
        }
    }

    fn keep(&self, _: File) -> io::Result<()> {
        Ok(())
    }

    fn names(&self) -> impl Iterator<Item = String> {
        let entries = std::fs::read_dir(self.0).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
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
        for gone in ["gone/model.safetensors", "typo.safetensors"] {
            let (state, message) = refused(&dir.path().join(gone));
            assert!(state == CacheState::Missing && message.contains(gone), "{message}");
        }
        write(dir.path(), "config.json", CONFIG.replace("LlamaFor", "RwkvFor").as_bytes());
        assert!(refused(dir.path()).1.contains("RwkvForCausalLM"));
    }

    #[test]
    fn what_changes_in_a_folder_counts_if_a_worker_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "config.json", CONFIG.as_bytes());
        write(dir.path(), "tokenizer.json", b"{}");
        let index = r#"{"weight_map": {"a": "1.safetensors"}}"#;
        write(dir.path(), "model.safetensors.index.json", index.as_bytes());
        let state = |looked: &crate::puller::file::Looked| entry("file:///x", looked).cached.state;
        // A file that only the index names: it is known from the first look on.
        let missing = look(dir.path(), None);
        let missing = look(dir.path(), Some(missing));
        assert_eq!(state(&missing), CacheState::Invalid);
        // One of another revision, then the right one.
        write(dir.path(), "1.safetensors", String::from_utf8(weights()).unwrap().replace("\"a\"", "\"b\"").as_bytes());
        let other = look(dir.path(), Some(missing));
        let other = look(dir.path(), Some(other));
        assert_eq!(state(&other), CacheState::Invalid);
        write(dir.path(), "1.safetensors", &weights());
        let there = look(dir.path(), Some(other));
        assert_eq!(state(&there), CacheState::Available);
        let settled = look(dir.path(), Some(there));
        let again = look(dir.path(), Some(settled.clone()));
        assert!(again.is_same(&settled));
        write(dir.path(), "notes.txt", b"nobody reads them");
        assert!(look(dir.path(), Some(again.clone())).is_same(&settled));
        std::fs::create_dir(dir.path().join("1_Pooling")).unwrap();
        write(dir.path(), "1_Pooling/config.json", b"{}");
        assert_eq!(state(&look(dir.path(), Some(again))), CacheState::Invalid);
    }
}
