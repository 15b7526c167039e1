//! Models that are files or folders of the machine: looked at where they lie, never copied, and again when they change.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rbee_crds::{
    hive::{CacheState, CachedModel},
    model::Gguf,
};
use rbee_model::{format, gguf::Header};
use rbee_wire::ErrorCode;

use crate::{
    plan::{Digest, FileState},
    puller::{
        Entry,
        checkpoint::{self, Files},
        digest::sha256,
        mark::Mark,
        refused,
    },
};

/// A file whose sha256 could not be read is read again after so long.
const READ_AGAIN: Duration = Duration::from_secs(30);

/// A file or a checkpoint as it was when it was looked at.
#[derive(Clone, Debug)]
pub struct Looked {
    path: PathBuf,
    /// What it consists of, as far as it is known.
    files: Vec<PathBuf>,
    /// None: it is to be looked at again.
    mark: Option<Mark>,
    found: Result<(u64, Gguf), Refusal>,
    digest: Digest,
    /// Why the digest is not known, and since when.
    unreadable: Option<(String, Instant)>,
}

/// Why a path is no model.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub state: CacheState,
    pub code: ErrorCode,
    pub message: String,
}

/// Looks at a file or a checkpoint. Headers are read only if it is not what was looked at before.
pub fn look(path: &Path, before: Option<Looked>) -> Looked {
    let before = before.filter(|before| before.path == path);
    let is_checkpoint = checkpoint::is_checkpoint(path);
    let known = match &before {
        Some(before) => before.files.clone(),
        None if is_checkpoint => Files::of(path).0,
        None => vec![path.to_owned()],
    };
    // Before anything is read: what changes from here on is noticed the next time.
    let mark = Mark::of(&known);
    if let Some(before) = before
        && mark.is_some()
        && before.mark == mark
    {
        return before;
    }
    let (found, files) = if is_checkpoint {
        let mut files = Files::of(path);
        (checkpoint::check(path, &mut files), files.0)
    } else {
        (check(path), vec![path.to_owned()])
    };
    // Of files that were found only now there is no mark.
    let mark = mark.filter(|_| files == known);
    Looked { path: path.to_owned(), files, mark, found, digest: Digest::Unknown, unreadable: None }
}

impl Looked {
    /// Whether it has a sha256 that is to be computed.
    pub fn lacks_digest(&self) -> bool {
        let again = self.unreadable.as_ref().is_none_or(|(_, since)| since.elapsed() > READ_AGAIN);
        self.found.is_ok() && self.mark.is_some() && self.digest == Digest::Unknown && again
    }

    /// The same with its sha256, unless `go_on` says no or it has changed. Takes as long as reading all of the file.
    pub fn with_digest(mut self, go_on: impl Fn() -> bool) -> Self {
        let shown = self.path.display();
        if checkpoint::is_checkpoint(&self.path) {
            self.digest = Digest::Not(format!("{shown}: a checkpoint has no sha256; leave spec.sha256 out"));
            return self;
        }
        let hash = || {
            let file = open(&self.path)?;
            let metadata = file.metadata()?;
            let bytes = metadata.len();
            match Some(Mark::of_open(metadata)) == self.mark {
                true => sha256(file.take(bytes), go_on),
                false => Err(io::Error::other("it changes while it is read")),
            }
        };
        self.unreadable = None;
        match hash() {
            Ok(Some(hash)) => self.digest = Digest::Is(hash),
            Ok(None) => {}
            Err(e) => self.unreadable = Some((format!("{shown}: cannot be read: {e}"), Instant::now())),
        }
        self
    }

    /// The same where nobody asks for the sha256: what kept it from being computed is no fault then.
    pub fn without_digest_asked(mut self) -> Self {
        self.unreadable = None;
        if matches!(self.digest, Digest::Not(_)) {
            self.digest = Digest::Unknown;
        }
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
    if let Some((why, _)) = &looked.unreadable {
        return refused(uri, CacheState::Failed, ErrorCode::InvalidModelFile.camel(), why.clone());
    }
    let (sha256, message) = match &looked.digest {
        Digest::Unknown => (None, None),
        Digest::Is(hash) => (Some(hash.clone()), None),
        Digest::Not(why) => (None, Some(why.clone())),
    };
    let cached = CachedModel {
        uri: uri.to_owned(),
        revision: None,
        size_bytes: i64::try_from(bytes).ok(),
        sha256,
        state: CacheState::Available,
        message,
        gguf: Some(gguf),
        download: None,
    };
    let (path, mark, sha256) = (looked.path.clone(), looked.mark, looked.digest.clone());
    Entry { cached, state: FileState::Available { path, mark, sha256 } }
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
