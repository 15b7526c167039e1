//! The hive's folder: what lies where, with which mode, and the lock that keeps a second hive out.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

/// Longest path of a Unix socket that every platform takes, bytes.
const MAX_SOCKET_PATH: usize = 100;

/// A data folder that this hive holds the lock of.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    _lock: File,
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    #[error("another hive{} uses {}: stop it, or give this one its own --data-dir", holder(.pid), root.display())]
    Locked { root: PathBuf, pid: String },
    #[error("{action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

fn holder(pid: &str) -> String {
    if pid.is_empty() { String::new() } else { format!(" (pid {pid})") }
}

fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PathError {
    let path = path.to_owned();
    move |source| PathError::Io { action, path, source }
}

impl DataDir {
    /// Makes the folders and takes the lock.
    pub fn open(root: &Path) -> Result<Self, PathError> {
        private_dir(root)?;
        let root = fs::canonicalize(root).map_err(at("cannot resolve", root))?;
        for folder in ["models", "logs", "run"] {
            private_dir(&root.join(folder))?;
        }
        let path = root.join("hive.lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(at("cannot open", &path))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            // Only for the message; the lock itself has already said no.
            let _ = lock.read_to_string(&mut pid);
            return Err(PathError::Locked { root, pid: pid.trim().to_owned() });
        }
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(at("cannot write", &path))?;
        Ok(Self { root, _lock: lock })
    }

    pub fn models(&self) -> PathBuf {
        self.root.join("models")
    }

    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub fn state(&self) -> PathBuf {
        self.root.join("state.json")
    }

    pub fn identity(&self) -> PathBuf {
        self.root.join("identity.json")
    }

    /// What tells this hive from another one of its name: made once, the same at every start.
    pub fn id(&self) -> Result<String, PathError> {
        let path = self.root.join("id");
        let kept = fs::read_to_string(&path).unwrap_or_default();
        if kept.len() == 32 && kept.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(kept);
        }
        let id = uuid::Uuid::new_v4().simple().to_string();
        write_private(&path, id.as_bytes()).map_err(at("cannot write", &path))?;
        Ok(id)
    }

    /// Where the token of the identity lies for the API client, which reads it again now and then.
    pub fn identity_token(&self) -> PathBuf {
        self.root.join("run/identity.token")
    }

    /// The socket's path: `remembered` from an earlier start (running workers know only that one), else `run/hive.sock`,
    /// else, where that is too long for a socket, one in a short private folder.
    pub fn socket(&self, remembered: Option<&Path>) -> Result<PathBuf, PathError> {
        let usual = self.root.join("run/hive.sock");
        if fits(&usual) {
            return Ok(usual);
        }
        if let Some(path) = remembered.filter(|p| fits(p) && p.parent().is_some_and(is_private)) {
            return Ok(path.to_owned());
        }
        let folder = Path::new("/tmp").join(format!("rbee-{}", uuid::Uuid::new_v4().simple()));
        private_dir(&folder)?;
        Ok(folder.join("hive.sock"))
    }
}

fn fits(path: &Path) -> bool {
    path.as_os_str().len() <= MAX_SOCKET_PATH
}

/// A folder of ours that nobody else may enter.
fn is_private(folder: &Path) -> bool {
    fs::symlink_metadata(folder)
        .is_ok_and(|m| m.is_dir() && m.uid() == rustix::process::geteuid().as_raw() && m.mode() & 0o077 == 0)
}

/// Makes a folder that only this user may enter, and all above it.
pub fn private_dir(path: &Path) -> Result<(), PathError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at("cannot make the folder", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(at("cannot set the mode of", path))
}

/// Writes a file of mode 0600 so that a reader sees the old one or the whole new one.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".tmp");
    let aside = PathBuf::from(aside);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(&aside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_hive_is_told_who_holds_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        let refused = DataDir::open(dir.path()).unwrap_err().to_string();
        assert!(
            refused.contains(&format!("pid {}", std::process::id())) && refused.contains("--data-dir"),
            "{refused}"
        );
        drop(first);
        DataDir::open(dir.path()).unwrap();
        assert_eq!(fs::metadata(dir.path().join("logs")).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_folder_has_one_id() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let id = |dir: &tempfile::TempDir| DataDir::open(dir.path()).unwrap().id().unwrap();
        let first = id(&dirs[0]);
        assert_eq!((id(&dirs[0]), id(&dirs[1]) == first), (first.clone(), false));
        fs::write(dirs[0].path().join("id"), "damaged").unwrap();
        assert_eq!(id(&dirs[0]).len(), 32);
    }

    #[test]
    fn a_long_folder_gets_a_short_socket_that_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(120));
        let data = DataDir::open(&deep).unwrap();
        let socket = data.socket(None).unwrap();
        assert!(fits(&socket) && is_private(socket.parent().unwrap()), "{}", socket.display());
        assert_eq!(data.socket(Some(&socket)).unwrap(), socket);
        fs::remove_dir_all(socket.parent().unwrap()).unwrap();
        let other = data.socket(Some(&socket)).unwrap();
        assert_ne!(other, socket);
        fs::remove_dir(other.parent().unwrap()).unwrap();
    }

    #[test]
    fn private_files_are_private_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
