//! By what a change of a model's files is noticed, without reading them.

use std::{
    fs::Metadata,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::MetadataExt,
    path::PathBuf,
};

/// Another one: one of the files has changed, came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u64);

impl Mark {
    /// None if the only file is not there.
    pub fn of(files: &[PathBuf]) -> Option<Self> {
        let found: Vec<_> = files.iter().map(|file| std::fs::metadata(file).ok()).collect();
        found.iter().any(Option::is_some).then(|| Self::from(&found[..]))
    }

    /// Of a file that is open.
    pub fn of_open(metadata: Metadata) -> Self {
        Self::from(&[Some(metadata)][..])
    }
}

impl From<&[Option<Metadata>]> for Mark {
    fn from(files: &[Option<Metadata>]) -> Self {
        let mut hasher = DefaultHasher::new();
        for file in files {
            let marks = file
                .as_ref()
                .map(|m| (m.dev(), m.ino(), m.len(), (m.mtime(), m.mtime_nsec()), (m.ctime(), m.ctime_nsec())));
            marks.hash(&mut hasher);
        }
        Self(hasher.finish())
    }
}
