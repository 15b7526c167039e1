//! Built-in models on disk: written aside, checked, synced and renamed, under a lock that processes share; so whoever sees
//! the file sees all of it.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rbee_crds::{
    hive::{CacheState, CachedModel},
    model::Gguf,
};
use rbee_model::builtin::{self, Builtin};
use rbee_wire::ErrorCode;
use rustix::fs::{FlockOperation, flock};

use crate::{
    plan::{Digest, FileState},
    puller::{Entry, digest::sha256, mark::Mark, refused},
};

/// Why a built-in model is not on disk.
#[derive(Debug, thiserror::Error)]
pub enum BuiltinError {
    #[error("{}", builtin::unknown(.0))]
    Unknown(String),
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} was not written as it should be; its disk may be broken", path.display())]
    Checksum { path: PathBuf },
}

impl BuiltinError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Unknown(_) => ErrorCode::ModelNotFound,
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => ErrorCode::InsufficientDisk,
            Self::Write { .. } => ErrorCode::DownloadFailed,
            Self::Checksum { .. } => ErrorCode::ChecksumMismatch,
        }
    }
}

/// Files that were found to be whole, as they were then.
pub type Whole = BTreeMap<PathBuf, Mark>;

/// The model's place on disk; it is written there if it is not there yet, or not as it should be.
pub fn entry(uri: &str, name: &str, folder: &Path, whole: &mut Whole) -> Entry {
    let wanted = builtin::get(name).ok_or_else(|| BuiltinError::Unknown(name.to_owned()));
    let written = wanted.and_then(|model| {
        let path = path_of(model, folder);
        let now = Mark::of(std::slice::from_ref(&path));
        if now.is_none() || whole.get(&path).copied() != now {
            let now = materialize(model, folder).map(|path| Mark::of(&[path]))?;
            whole.extend(now.map(|now| (path.clone(), now)));
        }
        Ok((model, path))
    });
    let (model, path) = match written {
        Ok(written) => written,
        Err(e) => return refused(uri, CacheState::Failed, e.code().camel(), e.to_string()),
    };
    let gguf = rbee_model::gguf::Header::from_bytes(model.bytes).ok().map(|h| Gguf::from(&h.summary()));
    let cached = CachedModel {
        uri: uri.to_owned(),
        revision: None,
        size_bytes: i64::try_from(model.bytes.len()).ok(),
        sha256: Some(model.sha256.to_owned()),
        state: CacheState::Available,
        message: None,
        gguf,
        download: None,
    };
    let (mark, sha256) = (whole.get(&path).copied(), Digest::Is(model.sha256.to_owned()));
    Entry { cached, state: FileState::Available { path, mark, sha256 } }
}

/// The hash is in the name: another version of the executable has another file.
fn path_of(model: &Builtin, folder: &Path) -> PathBuf {
    folder.join(format!("{}-{}.gguf", model.name, &model.sha256[..12]))
}

/// Writes a built-in model into `folder`, unless its whole file lies there.
///
/// # Errors
/// What could not be written, with its path.
pub fn materialize(model: &Builtin, folder: &Path) -> Result<PathBuf, BuiltinError> {
    let path = path_of(model, folder);
    if is_whole(&path, model) && matches_hash(&path, model) {
        return Ok(path);
    }
    let failed = |source| BuiltinError::Write { path: path.clone(), source };
    let lock_path = folder.join(format!("{}.lock", model.name));
    let lock = open_private(&lock_path).map_err(failed)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|e| failed(e.into()))?;
    if is_whole(&path, model) && matches_hash(&path, model) {
        return Ok(path);
    }
    let aside = folder.join(format!("{}.{}.part", model.name, std::process::id()));
    let written = write_aside(&aside, model.bytes);
    if written.is_err() || !matches_hash(&aside, model) {
        // What could not be written whole is no use to anybody; that it may be gone already is fine.
        let _ = fs::remove_file(&aside);
        written.map_err(failed)?;
        return Err(BuiltinError::Checksum { path });
    }
    fs::rename(&aside, &path).and_then(|()| File::open(folder)?.sync_all()).map_err(failed)?;
    Ok(path)
}

fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn write_aside(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Links are not followed.
fn is_whole(path: &Path, model: &Builtin) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.is_file() && m.len() == model.bytes.len() as u64)
}

fn matches_hash(path: &Path, model: &Builtin) -> bool {
    File::open(path).and_then(|file| sha256(file, || true)).is_ok_and(|hash| hash.as_deref() == Some(model.sha256))
}

/// Bytes of the files in the hive's own folder.
pub fn used_bytes(folder: &Path) -> i64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|e| e.metadata().ok());
    let bytes: u64 = files.filter(fs::Metadata::is_file).map(|m| m.size()).sum();
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tinybee() -> &'static Builtin {
        builtin::get("tinybee").unwrap()
    }

    #[test]
    fn is_written_once_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = materialize(tinybee(), dir.path()).unwrap();
        assert!(matches_hash(&path, tinybee()));
        let before = fs::metadata(&path).unwrap().ino();
        assert_eq!(materialize(tinybee(), dir.path()).unwrap(), path);
        assert_eq!(fs::metadata(&path).unwrap().ino(), before);
        assert!(used_bytes(dir.path()) >= tinybee().bytes.len() as i64);
    }

    #[test]
    fn a_cut_file_and_a_link_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = materialize(tinybee(), dir.path()).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(100).unwrap();
        assert_eq!(materialize(tinybee(), dir.path()).unwrap(), path);
        assert!(matches_hash(&path, tinybee()));
        let elsewhere = dir.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        materialize(tinybee(), dir.path()).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
    }

    #[test]
    fn a_file_with_a_flipped_bit_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = materialize(tinybee(), dir.path()).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[500_000] ^= 1;
        fs::write(&path, bytes).unwrap();
        let (mut whole, before) = (Whole::new(), fs::metadata(&path).unwrap().ino());
        let repaired = entry("builtin:tinybee", "tinybee", dir.path(), &mut whole);
        assert!(fs::read(&path).unwrap() == tinybee().bytes);
        assert_ne!(fs::metadata(&path).unwrap().ino(), before);
        assert_eq!(entry("builtin:tinybee", "tinybee", dir.path(), &mut whole), repaired);
        fs::write(&path, "damaged again").unwrap();
        let again = entry("builtin:tinybee", "tinybee", dir.path(), &mut whole);
        assert!(fs::read(&path).unwrap() == tinybee().bytes);
        assert_ne!(again, repaired, "another file: who gave up tries again");
    }

    #[test]
    fn many_at_once_leave_one_file_and_no_part() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| materialize(tinybee(), dir.path()).unwrap());
            }
        });
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(names.iter().filter(|n| n.to_str().unwrap().ends_with(".gguf")).count(), 1, "{names:?}");
        assert!(!names.iter().any(|n| n.to_str().unwrap().ends_with(".part")), "{names:?}");
    }

    #[test]
    fn what_cannot_be_written_says_where() {
        let missing = Path::new("/nonexistent/models");
        let whole = &mut Whole::new();
        let Entry { cached, state } = entry("builtin:tinybee", "tinybee", missing, whole);
        assert_eq!(cached.state, CacheState::Failed);
        assert!(cached.message.unwrap().contains("/nonexistent/models"));
        assert!(matches!(state, FileState::Refused { reason: "DownloadFailed", .. }));
        let unknown = entry("builtin:x", "x", missing, whole);
        assert!(matches!(unknown.state, FileState::Refused { reason: "ModelNotFound", .. }));
    }
}
