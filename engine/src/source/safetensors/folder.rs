//! A checkpoint's folder on disk, with its weights mapped.

use super::super::map_file;
use crate::source::Source;
use crate::{LoadError, Pooling};
use bytes::Bytes;
use rbee_model::checkpoint::{self, Config, Problem, pooling};
use rbee_model::safetensors::Header;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A checkpoint whose configuration and headers were read and checked, and whose files are mapped.
pub struct Checkpoint {
    /// Where `config.json`, `tokenizer.json` and the like are.
    pub folder: PathBuf,
    pub config: Config,
    /// What `1_Pooling/config.json` says, if it is there.
    pub pooling: Option<Pooling>,
    files: Vec<(Header, Bytes)>,
}

/// Why a checkpoint cannot be opened. The file is named in front.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct CheckpointError {
    pub path: PathBuf,
    #[source]
    pub problem: Problem,
}

impl Checkpoint {
    /// Opens a checkpoint by its folder, or by one of the `.safetensors` files in it.
    ///
    /// # Errors
    /// [`CheckpointError`] names the file and what is wrong with it.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let metadata = std::fs::metadata(path);
        let is_folder = metadata.map_err(|e| CheckpointError { path: path.to_owned(), problem: e.into() })?.is_dir();
        let file_name = path.file_name().map(|name| name.to_string_lossy()).filter(|_| !is_folder);
        let folder = match path.parent() {
            _ if is_folder => path.to_owned(),
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let at = |checkpoint::CheckpointError { file, problem }| {
            let path = if file.is_empty() { folder.clone() } else { folder.join(file) };
            CheckpointError { path, problem }
        };
        let read = checkpoint::Checkpoint::read(&OnDisk(&folder), file_name.as_deref()).map_err(at)?;
        let files = read.weights.into_iter().map(|w| (w.header, w.kept)).collect();
        let pooling = read.pooling.map(|mode| match mode {
            pooling::Mode::Mean => Pooling::Mean,
            pooling::Mode::Cls => Pooling::Cls,
            pooling::Mode::Last => Pooling::Last,
        });
        Ok(Self { config: read.config, pooling, files, folder })
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|(header, _)| header.file_bytes()).sum()
    }

    /// The model's tensors and settings.
    ///
    /// # Errors
    /// As [`Source::safetensors`].
    pub fn source(&self) -> Result<Source, LoadError> {
        Source::safetensors(&self.config, &self.files, self.pooling)
    }
}

struct OnDisk<'a>(&'a Path);

impl checkpoint::Folder for OnDisk<'_> {
    type File = File;
    type Kept = Bytes;

    fn has(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }

    fn open(&self, name: &str) -> io::Result<(File, u64)> {
        let path = self.0.join(name);
        // Before it is opened: that would wait for a pipe's writer.
        let metadata = std::fs::metadata(&path)?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok((File::open(&path)?, metadata.len()))
    }

    fn keep(&self, file: File) -> io::Result<Bytes> {
        map_file(&file)
    }

    fn names(&self) -> impl Iterator<Item = String> {
        let entries = std::fs::read_dir(self.0).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
    }
}
