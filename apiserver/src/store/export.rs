//! Logical exports: the whole content as YAML documents with a checksum, from which a store that does not open is restored.
//!
//! A file is a stream of YAML documents, one object each, so that a person can read it and apply parts of it by hand. Comment
//! lines carry what the objects themselves do not say: the revision, each object's key, and the sha256 of all lines before
//! the last.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{Record, StoreError};
use crate::db::Key;

/// Exports kept; older ones are removed.
const KEPT: usize = 3;

const HEADER: &str = "# rbee export 1";
const REVISION: &str = "# revision ";
const KEY: &str = "# key ";
const CHECKSUM: &str = "# sha256 ";

/// The exports of one store.
#[derive(Debug, Clone)]
pub struct Exports {
    folder: PathBuf,
    of: PathBuf,
}

/// What an export holds.
#[derive(Debug)]
pub struct Export {
    /// The revision of the content.
    pub revision: u64,
    /// The objects, as records without history.
    pub records: Vec<Record>,
}

impl Exports {
    /// Exports in `folder` of the store in the folder `of`.
    pub fn new(folder: PathBuf, of: PathBuf) -> Self {
        Self { folder, of }
    }

    /// The folder of the store that is exported.
    pub fn of(&self) -> &Path {
        &self.of
    }

    /// The folder that holds the exports.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes one: aside, synced, renamed, then removes old ones. Returns its path.
    pub fn write<'a>(
        &self,
        revision: u64,
        objects: impl Iterator<Item = (&'a Key, &'a Bytes)>,
    ) -> Result<PathBuf, StoreError> {
        make_folder(&self.folder)?;
        let path = self.folder.join(format!("{revision:020}.yaml"));
        let aside = self.folder.join("export.part");
        let write = |file: File| -> io::Result<()> {
            let mut out = Hashing { out: BufWriter::new(file), hash: Sha256::new() };
            writeln!(out, "{HEADER}\n{REVISION}{revision}")?;
            for (key, json) in objects {
                let key = serde_json::to_string(&[key.resource(), key.namespace(), key.name()])?;
                writeln!(out, "{KEY}{key}\n---")?;
                out.write_all(json)?;
                out.write_all(b"\n")?;
            }
            let sum = hex::encode(out.hash.finalize());
            writeln!(out.out, "{CHECKSUM}{sum}")?;
            out.out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
        };
        let opened = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside);
        opened.and_then(write).map_err(io_error("write the export", &aside))?;
        fs::rename(&aside, &path).map_err(io_error("rename the export to", &path))?;
        sync_folder(&self.folder)?;
        for (_, old) in self.all()?.into_iter().rev().skip(KEPT) {
            fs::remove_file(&old).map_err(io_error("remove the old export", &old))?;
        }
        Ok(path)
    }

    /// All exports, the oldest first.
    pub fn all(&self) -> Result<Vec<(u64, PathBuf)>, StoreError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_error("read the folder", &self.folder)(error)),
        };
        let mut all = Vec::new();
        for entry in entries {
            let path = entry.map_err(io_error("read the folder", &self.folder))?.path();
            let revision = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".yaml")?.parse().ok());
            all.extend(revision.map(|revision: u64| (revision, path)));
        }
        all.sort_unstable();
        Ok(all)
    }

    /// The newest that is whole, with its path.
    pub fn newest(&self) -> Result<Option<(PathBuf, Export)>, StoreError> {
        for (_, path) in self.all()?.into_iter().rev() {
            let content = fs::read(&path).map_err(io_error("read the export", &path))?;
            match parse(&content) {
                Ok(export) => return Ok(Some((path, export))),
                Err(reason) => tracing::warn!(path = %path.display(), reason, "an export is damaged and passed over"),
            }
        }
        Ok(None)
    }
}

struct Hashing<W> {
    out: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads an export, or says what is wrong with it.
pub fn parse(content: &[u8]) -> Result<Export, String> {
    let body_end =
        content.strip_suffix(b"\n").and_then(|c| c.iter().rposition(|&b| b == b'\n')).ok_or("it is empty")? + 1;
    let (body, last) = content.split_at(body_end);
    let sum = hex::encode(Sha256::digest(body));
    if last != format!("{CHECKSUM}{sum}\n").as_bytes() {
        return Err("the checksum at its end does not fit".into());
    }
    let body = std::str::from_utf8(body).map_err(|_| "it is not UTF-8")?;
    let mut lines = body.lines();
    if lines.next() != Some(HEADER) {
        return Err(format!("it does not begin with `{HEADER}`"));
    }
    let revision =
        lines.next().and_then(|line| line.strip_prefix(REVISION)?.parse().ok()).ok_or("it has no revision")?;
    let mut records = Vec::new();
    while let Some(line) = lines.next() {
        let key = line.strip_prefix(KEY).and_then(|key| serde_json::from_str::<[String; 3]>(key).ok());
        let [resource, namespace, name] = key.ok_or("a key is missing")?;
        let json =
            lines.next().filter(|line| *line == "---").and_then(|_| lines.next()).ok_or("an object is missing")?;
        let key = Key::new(resource, namespace, name);
        let revision = resource_version(json).ok_or_else(|| format!("{key} has no resourceVersion"))?;
        records.push(Record { revision, key, previous: None, json: Some(Bytes::copy_from_slice(json.as_bytes())) });
    }
    records.sort_unstable_by_key(|record| record.revision);
    Ok(Export { revision, records })
}

fn resource_version(json: &str) -> Option<u64> {
    let value: serde_json::Value = serde_json::from_str(json).ok()?;
    value["metadata"]["resourceVersion"].as_str()?.parse().ok()
}

/// Makes a folder for the owner alone, with its parents.
pub(super) fn make_folder(path: &Path) -> Result<(), StoreError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_error("create the folder", path))
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(io_error("sync the folder", path))
}

pub(super) fn io_error<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io { action, path: path.to_path_buf(), source }
}
