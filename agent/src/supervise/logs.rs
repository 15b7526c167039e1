//! Log files of workers: one per Assignment, appended to by the process itself, moved aside when it grows.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rbee_crds::names;

use crate::supervise::state::Key;

/// A log of this size is moved aside, bytes. One older one is kept.
const MAX_BYTES: u64 = 16 << 20;
/// Logs that are kept; beyond that the oldest go.
const MAX_FILES: usize = 500;
/// As much of a log's end is looked at for its last lines, bytes.
const LOOK_BACK: u64 = 8 << 10;

/// `NAME.log` for namespace `default`, else `NAMESPACE_NAME.log`: names of objects have no underscore.
pub fn path(folder: &Path, key: &Key) -> PathBuf {
    if key.namespace == names::DEFAULT_NAMESPACE {
        folder.join(format!("{}.log", key.name))
    } else {
        folder.join(format!("{}_{}.log", key.namespace, key.name))
    }
}

/// Opens a log for appending, with mode 0600; the second value is where this process's part begins.
pub fn open(path: &Path) -> io::Result<(File, u64)> {
    if fs::metadata(path).is_ok_and(|m| m.len() >= MAX_BYTES) {
        fs::rename(path, aside(path))?;
    }
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let begin = file.metadata()?.len();
    Ok((file, begin))
}

/// Moves what a running process wrote aside, if that is much. The process appends, so it goes on at the new beginning;
/// what it writes in this very moment may be lost.
fn rotate(path: &Path) -> io::Result<bool> {
    if fs::metadata(path)?.len() < MAX_BYTES {
        return Ok(false);
    }
    fs::copy(path, aside(path))?;
    OpenOptions::new().write(true).open(path)?.set_len(0)?;
    Ok(true)
}

/// Looks after a folder of logs: moves large ones aside, removes the oldest of too many.
pub fn tidy(folder: &Path) -> io::Result<()> {
    let mut files = vec![];
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // A file may go while this looks at it.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_file() {
            files.push((metadata.modified()?, entry.path()));
        }
    }
    for (_, path) in files.iter().filter(|(_, p)| p.extension().is_some_and(|e| e == "log")) {
        rotate(path)?;
    }
    files.sort();
    let too_many = files.len().saturating_sub(MAX_FILES);
    files.into_iter().take(too_many).try_for_each(|(_, path)| fs::remove_file(path))
}

fn aside(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

/// The end of the part that begins at `begin`.
pub fn end(path: &Path, begin: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    // A log that was moved aside meanwhile begins anew.
    let begin = if begin > length { 0 } else { begin };
    file.seek(SeekFrom::Start(begin.max(length.saturating_sub(LOOK_BACK))))?;
    let mut bytes = vec![];
    file.take(LOOK_BACK).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::failure;
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn only_the_last_processs_lines_are_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let (mut file, begin) = open(&path).unwrap();
        writeln!(file, "of the first").unwrap();
        assert_eq!((begin, file.metadata().unwrap().mode() & 0o777), (0, 0o600));
        let (mut file, begin) = open(&path).unwrap();
        writeln!(file, "of the second").unwrap();
        assert_eq!(failure::tail(&end(&path, begin).unwrap()), "of the second");
        assert_eq!(failure::tail(&end(&path, 0).unwrap()), "of the first | of the second");
    }

    #[test]
    fn the_oldest_of_too_many_go() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..MAX_FILES + 3 {
            let file = File::create(dir.path().join(format!("{n}.log"))).unwrap();
            let age = std::time::Duration::from_secs(10_000 - n as u64);
            file.set_modified(std::time::SystemTime::now() - age).unwrap();
        }
        tidy(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), MAX_FILES);
        assert!(!dir.path().join("2.log").exists() && dir.path().join("3.log").exists());
    }

    #[test]
    fn a_large_log_is_moved_aside_while_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let (mut file, _) = open(&path).unwrap();
        assert!(!rotate(&path).unwrap());
        file.set_len(MAX_BYTES).unwrap();
        assert!(rotate(&path).unwrap());
        writeln!(file, "goes on").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "goes on\n");
        assert_eq!(fs::metadata(dir.path().join("a.log.1")).unwrap().len(), MAX_BYTES);
        assert_eq!(failure::tail(&end(&path, MAX_BYTES).unwrap()), "goes on");
    }
}
