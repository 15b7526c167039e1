//! The store on disk, over sled, with guards for what sled 0.34 leaves open.
//!
//! - Its `flush` is no fsync: after it the db file is synced through a second handle, which sees every error since it was
//!   opened, also one that sled's own thread came upon first.
//! - Values that make a page large are kept in files that it never syncs: values are cut into small chunks ([`record`]).
//! - One batch holds everything of a commit, so that a record is there with the new revision or not at all.
//! - When it does not open for good, or gives back less than it should, it is set aside and restored from the newest export.

mod record;
mod restore;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::export::{Exports, io_error, make_folder, sync_folder};
use super::{Batch, Loaded, Store, StoreError};
use record::{CHUNK, HEAD_KEY, Head, RECORD_PREFIX, chunk_key, decode, encode, parse_chunk_key};

/// sled's page cache, in bytes.
const CACHE_BYTES: u64 = 64 << 20;

/// How often sled's own thread writes what is left and cleans up, in milliseconds. Commits do not wait for it.
const BACKGROUND_MS: u64 = 1_000;

/// How long a lock is tried for. A process that forks holds copies of all its locks in the child until that executes its
/// program, so that a lock may be held for a moment after its owner let it go.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// Pause between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The store in one folder, for one process at a time.
pub struct SledStore {
    folder: PathBuf,
    exports: Exports,
    open: Option<Open>,
    /// Held as long as the store lives; beside the folder, because the folder may be set aside.
    _lock: File,
}

/// An open database.
struct Open {
    db: ::sled::Db,
    sync: File,
    /// Number of chunks of the records that have more than one.
    chunks: HashMap<u64, u16>,
}

impl SledStore {
    /// The store in `folder`, exported to the folder `exports`. Nothing is read yet.
    ///
    /// Errors: another process has it open; the folder cannot be made.
    pub fn open(folder: impl Into<PathBuf>, exports: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let folder = folder.into();
        let parent = folder.parent().unwrap_or(Path::new("/"));
        make_folder(parent)?;
        let lock_path = folder.with_extension("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(io_error("open the lock file", &lock_path))?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(LOCK_PAUSE),
                Err(TryLockError::WouldBlock) => return Err(StoreError::Locked { path: folder }),
                Err(TryLockError::Error(error)) => return Err(io_error("lock", &lock_path)(error)),
            }
        }
        let exports = Exports::new(exports.into(), folder.clone());
        Ok(Self { folder, exports, open: None, _lock: lock })
    }
}

impl Store for SledStore {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        let newest = self.exports.all()?.last().map_or(0, |(revision, _)| *revision);
        let (open, loaded) = match read(&self.folder, newest) {
            Ok(read) => read,
            Err(error) if is_damage(&error) => {
                let notice = restore::restore(&self.folder, &self.exports, &super::chain(&error))?;
                tracing::warn!("{notice}");
                let (open, loaded) = read(&self.folder, newest)?;
                (open, Loaded { notice: Some(notice), ..loaded })
            }
            Err(error) => return Err(error),
        };
        self.open = Some(open);
        Ok(loaded)
    }

    fn commit(&mut self, batch: Batch<'_>) -> Result<(), StoreError> {
        let damaged = || StoreError::Damaged { path: self.folder.clone(), reason: "it was not loaded".into() };
        self.open.as_mut().ok_or_else(damaged)?.commit(&self.folder, batch)
    }

    fn exports(&self) -> Option<Exports> {
        Some(self.exports.clone())
    }
}

impl Open {
    fn commit(&mut self, folder: &Path, batch: Batch<'_>) -> Result<(), StoreError> {
        let failed = |source| StoreError::Sled { path: folder.to_path_buf(), source };
        let Some(last) = batch.records.last() else { return Ok(()) };
        let head = Head { revision: last.revision, floor: batch.floor, objects: batch.objects };
        self.write(head, batch).map_err(failed)?;
        self.db.flush().map_err(failed)?;
        self.sync.sync_all().map_err(io_error("sync the store", folder))
    }

    /// Hands everything to sled as one batch; nothing is durable yet.
    fn write(&mut self, head: Head, batch: Batch<'_>) -> ::sled::Result<()> {
        let mut writes = ::sled::Batch::default();
        for record in batch.records {
            let bytes = encode(record);
            let mut count = 0;
            for chunk in bytes.chunks(CHUNK) {
                writes.insert(&chunk_key(record.revision, count), chunk);
                count += 1;
            }
            if count > 1 {
                self.chunks.insert(record.revision, count);
            }
        }
        for &revision in batch.forget {
            for chunk in 0..self.chunks.remove(&revision).unwrap_or(1) {
                writes.remove(&chunk_key(revision, chunk));
            }
        }
        writes.insert(HEAD_KEY, &head.encode());
        self.db.apply_batch(writes)
    }
}

/// Opens the folder and reads everything. sled may panic on what it finds: that is damage too.
fn read(folder: &Path, newest_export: u64) -> Result<(Open, Loaded), StoreError> {
    let attempt = AssertUnwindSafe(|| open(folder).and_then(|open| load(folder, open)));
    let (open, loaded) = catch_unwind(attempt).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(damage(folder, text.unwrap_or("sled panicked").to_string()))
    })?;
    if loaded.revision < newest_export {
        let reason = format!("it ends at revision {}, but revision {newest_export} was exported", loaded.revision);
        return Err(damage(folder, reason));
    }
    Ok((open, loaded))
}

fn open(folder: &Path) -> Result<Open, StoreError> {
    make_folder(folder)?;
    let failed = |source| StoreError::Sled { path: folder.to_path_buf(), source };
    let config = ::sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).flush_every_ms(Some(BACKGROUND_MS));
    let deadline = Instant::now() + LOCK_PATIENCE;
    let db = loop {
        match config.open() {
            Err(error) if is_locked(&error) && Instant::now() < deadline => sleep(LOCK_PAUSE),
            Err(error) if is_locked(&error) => return Err(StoreError::Locked { path: folder.to_path_buf() }),
            opened => break opened.map_err(failed)?,
        }
    };
    let path = folder.join("db");
    let sync = File::options().write(true).open(&path).map_err(io_error("open", &path))?;
    for entry in fs::read_dir(folder).map_err(io_error("read the folder", folder))?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let mode = fs::Permissions::from_mode(0o600);
            fs::set_permissions(entry.path(), mode).map_err(io_error("set the permissions of", &entry.path()))?;
        }
    }
    sync_folder(folder)?;
    sync_folder(folder.parent().unwrap_or(Path::new("/")))?;
    Ok(Open { db, sync, chunks: HashMap::new() })
}

fn load(folder: &Path, mut open: Open) -> Result<(Open, Loaded), StoreError> {
    let failed = |source| StoreError::Sled { path: folder.to_path_buf(), source };
    let wrong = |reason: String| damage(folder, reason);
    let Some(head) = open.db.get(HEAD_KEY).map_err(failed)? else {
        return if open.db.is_empty() {
            Ok((open, Loaded::default()))
        } else {
            Err(wrong("it does not say its revision".into()))
        };
    };
    let head = Head::decode(&head).ok_or_else(|| wrong("what it says of itself cannot be read".into()))?;
    let mut records = Vec::new();
    let mut current: Option<(u64, u16, Vec<u8>)> = None;
    for pair in open.db.scan_prefix(RECORD_PREFIX) {
        let (key, value) = pair.map_err(failed)?;
        let (revision, chunk) = parse_chunk_key(&key).ok_or_else(|| wrong("a key cannot be read".into()))?;
        match &mut current {
            Some((at, count, bytes)) if *at == revision && *count == chunk => {
                *count += 1;
                bytes.extend_from_slice(&value);
                open.chunks.insert(revision, *count);
            }
            _ if chunk != 0 => return Err(wrong(format!("revision {revision}: a part is missing"))),
            _ => {
                if let Some((at, _, bytes)) = current.replace((revision, 1, value.to_vec())) {
                    records.push(decode(at, &bytes).map_err(wrong)?);
                }
            }
        }
    }
    if let Some((at, _, bytes)) = current {
        records.push(decode(at, &bytes).map_err(wrong)?);
    }
    let loaded = Loaded { revision: head.revision, floor: head.floor, records, notice: None };
    check(&loaded, head.objects).map_err(wrong)?;
    Ok((open, loaded))
}

/// Says whether everything that was committed is there.
fn check(loaded: &Loaded, objects: u64) -> Result<(), String> {
    let mut newest = HashMap::new();
    let mut expected = loaded.floor + 1;
    for record in &loaded.records {
        if record.revision > loaded.floor {
            if record.revision != expected {
                return Err(format!("revision {expected} is missing"));
            }
            expected += 1;
        }
        match record.json {
            Some(_) => newest.insert(&record.key, record.revision),
            None => newest.remove(&record.key),
        };
    }
    if expected != loaded.revision + 1 {
        return Err(format!("revisions {expected} to {} are missing", loaded.revision));
    }
    if newest.len() as u64 != objects {
        return Err(format!("{} objects are there of {objects}", newest.len()));
    }
    Ok(())
}

fn damage(folder: &Path, reason: String) -> StoreError {
    StoreError::Damaged { path: folder.to_path_buf(), reason }
}

/// Whether the content is the trouble, so that opening it again cannot help. A full disk or a missing permission is not.
fn is_damage(error: &StoreError) -> bool {
    use std::io::ErrorKind;
    match error {
        StoreError::Damaged { .. } => true,
        StoreError::Sled { source: ::sled::Error::Io(error), .. } => {
            let kinds = [ErrorKind::UnexpectedEof, ErrorKind::InvalidData, ErrorKind::InvalidInput, ErrorKind::Other];
            kinds.contains(&error.kind())
        }
        StoreError::Sled { .. } => true,
        _ => false,
    }
}

/// Whether sled found the db file locked; it has no kind of error of its own for that.
fn is_locked(error: &::sled::Error) -> bool {
    matches!(error, ::sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}
