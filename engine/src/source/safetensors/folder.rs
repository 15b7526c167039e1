//! A checkpoint's folder: which files are read, and what they say before any weight is.

use super::super::map_file;
use crate::source::Source;
use crate::{LoadError, Pooling};
use bytes::Bytes;
use rbee_model::checkpoint::{self, Config, ConfigError, pooling};
use rbee_model::format::{UnsupportedFormat, check_file_name};
use rbee_model::safetensors::{Header, Index, SafetensorsError, limits};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

const SINGLE: &str = "model.safetensors";

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
    pub problem: CheckpointProblem,
}

/// What is wrong with a file of a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointProblem {
    #[error("it cannot be opened: {0}")]
    Open(#[from] io::Error),
    #[error("it has {found} bytes; at most {limit} are read")]
    TooLong { found: u64, limit: u64 },
    #[error("it has no {SINGLE} and no {}", Index::FILE_NAME)]
    NoWeights,
    #[error(transparent)]
    Unsupported(#[from] UnsupportedFormat),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Safetensors(#[from] SafetensorsError),
}

impl Checkpoint {
    /// Opens a checkpoint by its folder, or by one of the `.safetensors` files in it.
    ///
    /// # Errors
    /// [`CheckpointError`] names the file and what is wrong with it.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let is_folder = at(path, std::fs::metadata(path).map_err(Into::into))?.is_dir();
        let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned()).filter(|_| !is_folder);
        let folder = match path.parent() {
            _ if is_folder => path.to_owned(),
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let config_path = folder.join(checkpoint::FILE_NAME);
        let config = at(&config_path, read(&config_path, checkpoint::LIMIT_BYTES))?;
        let config = at(&config_path, Config::parse(&config).map_err(Into::into))?;
        let pooling_path = folder.join(pooling::FILE_NAME);
        let pooling = match pooling_path.exists() {
            false => None,
            true => Some(at(&pooling_path, read_pooling(&pooling_path))?),
        };
        let files = weights(&folder, file_name)?;
        Ok(Self { folder, config, pooling, files })
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

fn at<T>(path: &Path, result: Result<T, CheckpointProblem>) -> Result<T, CheckpointError> {
    result.map_err(|problem| CheckpointError { path: path.to_owned(), problem })
}

/// Opens what is a regular file; a pipe in its place would wait forever.
fn open(path: &Path) -> Result<(File, u64), CheckpointProblem> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file").into());
    }
    Ok((File::open(path)?, metadata.len()))
}

/// Opens a file of at most that many bytes.
fn open_short(path: &Path, limit: u64) -> Result<File, CheckpointProblem> {
    let (file, found) = open(path)?;
    if found > limit { Err(CheckpointProblem::TooLong { found, limit }) } else { Ok(file) }
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, CheckpointProblem> {
    let file = open_short(path, limit)?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_pooling(path: &Path) -> Result<Pooling, CheckpointProblem> {
    let pooling = pooling::parse(&read(path, checkpoint::LIMIT_BYTES)?)?;
    Ok(match pooling {
        pooling::Mode::Mean => Pooling::Mean,
        pooling::Mode::Cls => Pooling::Cls,
        pooling::Mode::Last => Pooling::Last,
    })
}

/// All files of the weights: those of the index if the checkpoint has one, else the one that was named or the usual one.
fn weights(folder: &Path, named: Option<String>) -> Result<Vec<(Header, Bytes)>, CheckpointError> {
    if let Some(name) = &named {
        at(&folder.join(name), check_file_name(name).map_err(Into::into))?;
    }
    let index_path = folder.join(Index::FILE_NAME);
    let single = named.clone().unwrap_or_else(|| SINGLE.to_owned());
    let index = match index_path.exists() && (named.is_some() || !folder.join(SINGLE).exists()) {
        false => None,
        true => {
            let file = at(&index_path, open_short(&index_path, limits::INDEX_BYTES))?;
            let index = at(&index_path, Index::read(file).map_err(Into::into))?;
            // A file beside those of the index is a model of its own.
            Some(index).filter(|index| named.is_none() || index.files().contains(&single))
        }
    };
    let names: Vec<String> = match &index {
        Some(index) => index.files().to_vec(),
        None if folder.join(&single).exists() => vec![single],
        None => return Err(no_weights(folder)),
    };
    let mut files = Vec::with_capacity(names.len());
    for name in &names {
        let path = folder.join(name);
        let (header, bytes) = at(&path, map(&path))?;
        // Before the next is read, so that all files together hold no more tensors than the index.
        if let Some(index) = &index {
            at(&index_path, index.check(name, &header).map_err(Into::into))?;
        }
        files.push((header, bytes));
    }
    if let Some(index) = &index {
        let headers: Vec<&Header> = files.iter().map(|(header, _)| header).collect();
        at(&index_path, index.check_all(&headers).map_err(Into::into))?;
    }
    Ok(files)
}

fn map(path: &Path) -> Result<(Header, Bytes), CheckpointProblem> {
    let (file, bytes) = open(path)?;
    let header = Header::read(&file, bytes)?;
    Ok((header, map_file(&file)?))
}

/// The refusal of a folder without safetensors, which says so if there are pickles instead.
fn no_weights(folder: &Path) -> CheckpointError {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let pickle = names.filter_map(|name| check_file_name(&name.to_string_lossy()).err()).next();
    let problem = pickle.map_or(CheckpointProblem::NoWeights, CheckpointProblem::Unsupported);
    CheckpointError { path: folder.to_owned(), problem }
}
