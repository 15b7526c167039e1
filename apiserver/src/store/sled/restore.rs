//! What happens when the store does not open: it is set aside, and made anew from the newest whole export.

use std::fs;
use std::path::{Path, PathBuf};

use super::Open;
use super::record::Head;
use crate::store::export::{Exports, io_error, sync_folder};
use crate::store::{Batch, StoreError};

/// Revisions skipped after an export was restored. Writes acknowledged after that export are lost with the store, but their
/// revisions must not be given out again; exports are made far more often than this.
const SKIPPED_REVISIONS: u64 = 1_000_000;

/// Records written to the new store at once.
const GROUP: usize = 256;

/// Restores the store in `folder`; returns what to tell people. The new store is made aside, so that a crash in the middle leaves
/// everything to be done again.
pub(super) fn restore(folder: &Path, exports: &Exports, reason: &str) -> Result<String, StoreError> {
    let Some((export_path, export)) = exports.newest()? else {
        let exports = exports.folder().to_path_buf();
        return Err(StoreError::Lost { path: folder.to_path_buf(), exports, reason: reason.to_string() });
    };
    let newest = exports.all()?.last().map_or(0, |(revision, _)| *revision).max(export.revision);
    let revision = newest + SKIPPED_REVISIONS;
    let aside = folder.with_extension("restoring");
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(io_error("remove", &aside))?;
    }
    let mut open: Open = super::open(&aside)?;
    let failed = |source| StoreError::Sled { path: aside.clone(), source };
    let head = Head { revision, floor: revision, objects: export.records.len() as u64 };
    for records in export.records.chunks(GROUP) {
        open.write(head, Batch { records, forget: &[], floor: revision, objects: head.objects }).map_err(failed)?;
    }
    if export.records.is_empty() {
        open.write(head, Batch { records: &[], forget: &[], floor: revision, objects: 0 }).map_err(failed)?;
    }
    open.db.flush().map_err(failed)?;
    open.sync.sync_all().map_err(io_error("sync", &aside))?;
    drop(open);
    let old = free_name(folder);
    fs::rename(folder, &old).map_err(io_error("set aside", folder))?;
    fs::rename(&aside, folder).map_err(io_error("put in place", folder))?;
    sync_folder(folder.parent().unwrap_or(Path::new("/")))?;
    Ok(format!(
        "the store did not open ({reason}); it was set aside as {} and restored from the export {} of revision {}. \
         What was written after that export is lost",
        old.display(),
        export_path.display(),
        export.revision
    ))
}

/// The first of `NAME.damaged-1`, `NAME.damaged-2` … that is free.
fn free_name(folder: &Path) -> PathBuf {
    let mut number = 1;
    loop {
        let path = folder.with_extension(format!("damaged-{number}"));
        if !path.exists() {
            return path;
        }
        number += 1;
    }
}
