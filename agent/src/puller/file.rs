//! Models that are files or folders of the machine: looked at where they lie, never copied, and again when they change.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rbee_crds::{
    hive::{CacheState, CachedModel},
    model::Gguf,
};
use rbee_model::{format, gguf::Header};
use rbee_wire::ErrorCode;

use crate::{
    plan::FileState,
    puller::{Entry, checkpoint, digest::sha256, refused},
};

/// A file or folder as it was when it was looked at.
#[derive(Clone, Debug)]
pub struct Looked {
    path: PathBuf,
    /// Changes when the file does.
    mark: Option<Mark>,
    found: Result<(u64, Gguf), Refusal>,
    digest: Digest,
}

/// The sha256 of a file.
#[derive(Clone, Debug, PartialEq)]
enum Digest {
    /// Nobody asked yet.
    Unknown,
    Is(String),
    /// There is none, and why.
    Not(String),
}

/// By what a change of a file is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Why a path is no model.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub state: CacheState,
    pub code: ErrorCode,
    pub message: String,
}

impl Mark {
    fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|m| Self {
            device: m.dev(),
            inode: m.ino(),
            bytes: m.len(),
            modified: (m.mtime(), m.mtime_nsec()),
            changed: (m.ctime(), m.ctime_nsec()),
        })
    }

    /// Of a folder with all that lies in it.
    fn of_folder(path: &Path) -> Option<Self> {
        let inside = std::fs::read_dir(path).ok()?.flatten().filter_map(|entry| Self::of(&entry.path()));
        inside.fold(Self::of(path), |all, one| {
            all.map(|all| Self {
                bytes: all.bytes.wrapping_add(one.bytes),
                modified: all.modified.max(one.modified),
                changed: all.changed.max(one.changed),
                ..all
            })
        })
    }
}

/// Looks at a file or a checkpoint's folder. Headers are read only if it is not what was looked at before.
pub fn look(path: &Path, before: Option<Looked>) -> Looked {
    let is_checkpoint = checkpoint::is_checkpoint(path);
    let mark = if is_checkpoint { Mark::of_folder(checkpoint::folder_of(path).0) } else { Mark::of(path) };
    match before {
        Some(before) if mark.is_some() && before.mark == mark && before.path == path => before,
        _ => {
            let found = if is_checkpoint { checkpoint::check(path) } else { check(path) };
            Looked { path: path.to_owned(), mark, found, digest: Digest::Unknown }
        }
    }
}

impl Looked {
    /// Whether it has a sha256 that was not computed.
    pub fn lacks_digest(&self) -> bool {
        self.found.is_ok() && self.digest == Digest::Unknown
    }

    /// The same with its sha256, unless `go_on` says no. Takes as long as reading all of the file.
    pub fn with_digest(mut self, go_on: impl Fn() -> bool) -> Self {
        let shown = self.path.display();
        self.digest = match checkpoint::is_checkpoint(&self.path) {
            true => Digest::Not(format!("{shown}: a checkpoint has no sha256; leave spec.sha256 out")),
            false => match open(&self.path).and_then(|file| sha256(file, go_on)) {
                Ok(hash) => Digest::Is(hash),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => Digest::Unknown,
                Err(e) => Digest::Not(format!("{shown}: cannot be read: {e}")),
            },
        };
        self
    }

    /// Whether both are of the same file, unchanged.
    pub fn is_same(&self, other: &Self) -> bool {
        self.mark.is_some() && self.mark == other.mark && self.path == other.path
    }
}

fn check(path: &Path) -> Result<(u64, Gguf), Refusal> {
    let shown = path.display();
    let refuse = |state, code, message: String| Refusal { state, code, message: format!("{shown}: {message}") };
    let invalid = |code, message| refuse(CacheState::Invalid, code, message);
    format::check_file_name(&path.to_string_lossy())
        .map_err(|e| invalid(ErrorCode::UnsupportedFormat, e.to_string()))?;
    let file = open(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => {
            refuse(CacheState::Missing, ErrorCode::ModelNotFound, "there is no such file on this hive".into())
        }
        _ => invalid(ErrorCode::InvalidModelFile, format!("cannot be opened: {e}")),
    })?;
    let metadata = file.metadata().map_err(|e| invalid(ErrorCode::InvalidModelFile, format!("cannot be read: {e}")))?;
    if !metadata.is_file() {
        return Err(invalid(ErrorCode::InvalidModelFile, "is not a regular file".into()));
    }
    // A hive looks at many files and reads no text with them.
    let header = Header::read_without_tokenizer(file, metadata.len())
        .map_err(|e| invalid(ErrorCode::InvalidModelFile, e.to_string()))?;
    format::check(&header).map_err(|e| invalid(ErrorCode::UnsupportedFormat, e.to_string()))?;
    Ok((metadata.len(), Gguf::from(&header.summary())))
}

/// Opens without waiting, so that a pipe in a model's place blocks nobody.
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

/// What is told of a file.
pub fn entry(uri: &str, looked: &Looked) -> Entry {
    let (bytes, gguf) = match &looked.found {
        Ok(found) => found.clone(),
        Err(r) => return refused(uri, r.state, r.code.camel(), r.message.clone()),
    };
    let (sha256, message) = match &looked.digest {
        Digest::Unknown => (None, None),
        Digest::Is(hash) => (Some(hash.clone()), None),
        Digest::Not(why) => (None, Some(why.clone())),
    };
    let cached = CachedModel {
        uri: uri.to_owned(),
        revision: None,
        size_bytes: i64::try_from(bytes).ok(),
        sha256: sha256.clone(),
        state: CacheState::Available,
        message,
        gguf: Some(gguf),
        download: None,
    };
    Entry { cached, state: FileState::Available { path: looked.path.clone(), mark: looked.mark, sha256 } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(path: &Path) -> CachedModel {
        entry("file:///x", &look(path, None)).cached
    }

    #[test]
    fn a_model_tells_its_shape() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tinybee.gguf");
        std::fs::write(&path, rbee_model::builtin::get("tinybee").unwrap().bytes).unwrap();
        let found = said(&path);
        let gguf = found.gguf.unwrap();
        assert_eq!(found.state, CacheState::Available);
        assert_eq!(
            (gguf.architecture.as_deref(), gguf.context_length, gguf.layer_count),
            (Some("llama"), Some(256), Some(4))
        );
    }

    #[test]
    fn what_is_no_model_says_so_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let garbage = dir.path().join("no-model.gguf");
        std::fs::write(&garbage, "not a model at all\n".repeat(100)).unwrap();
        let found = said(&garbage);
        let message = found.message.unwrap();
        assert!(
            found.state == CacheState::Invalid && message.contains("GGUF") && message.contains("no-model.gguf"),
            "{message}"
        );
        let missing = said(Path::new("/no/such/tinybee.gguf"));
        assert!(missing.state == CacheState::Missing && missing.message.unwrap().contains("/no/such/tinybee.gguf"));
        assert_eq!(said(dir.path()).state, CacheState::Invalid);
        assert_eq!(said(&dir.path().join("model.pkl")).state, CacheState::Invalid);
    }

    #[test]
    fn a_pipe_in_a_models_place_blocks_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe.gguf");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        assert!(said(&pipe).message.unwrap().contains("not a regular file"));
    }

    #[test]
    fn a_file_is_read_again_only_when_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        std::fs::write(&path, "garbage").unwrap();
        let first = look(&path, None);
        let mut same = look(&path, Some(first.clone()));
        assert_eq!(first.mark, same.mark);
        // A result that a new reading would not give shows that none was made.
        same.found = Ok((1, Gguf::default()));
        assert!(look(&path, Some(same.clone())).found.is_ok());
        std::fs::write(&path, "other garbage").unwrap();
        assert!(look(&path, Some(same)).found.is_err());
    }

    #[test]
    fn a_files_sha256_lasts_until_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (path, tinybee) = (dir.path().join("m.gguf"), rbee_model::builtin::get("tinybee").unwrap());
        std::fs::write(&path, tinybee.bytes).unwrap();
        let first = look(&path, None);
        assert!(first.lacks_digest() && entry("file:///x", &first).cached.sha256.is_none());
        assert!(first.clone().with_digest(|| false).lacks_digest(), "it was told to stop");
        let known = first.clone().with_digest(|| true);
        assert!(known.is_same(&first));
        let again = look(&path, Some(known));
        assert_eq!(entry("file:///x", &again).cached.sha256.as_deref(), Some(tinybee.sha256));
        let mut bytes = tinybee.bytes.to_vec();
        bytes[500_000] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let changed = look(&path, Some(again.clone()));
        assert!(changed.lacks_digest() && !changed.is_same(&again));
        assert_ne!(entry("file:///x", &changed.with_digest(|| true)).cached.sha256.as_deref(), Some(tinybee.sha256));
    }
}
