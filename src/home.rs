//! Where things are on disk: `RBEE_HOME`, private to its owner.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The folder that holds everything rbee keeps on this machine.
#[derive(Clone, Debug)]
pub struct Home(PathBuf);

impl Home {
    /// `RBEE_HOME`, else `~/.rbee`. Nothing is made yet.
    pub fn from_environment() -> Result<Self> {
        if let Some(home) = std::env::var_os("RBEE_HOME").filter(|v| !v.is_empty()) {
            return Ok(Self(std::path::absolute(PathBuf::from(home))?));
        }
        let user = std::env::var_os("HOME")
            .filter(|v| !v.is_empty())
            .context("neither RBEE_HOME nor HOME is set: say where rbee may keep its data")?;
        Ok(Self(std::path::absolute(PathBuf::from(user))?.join(".rbee")))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn config_file(&self) -> PathBuf {
        self.0.join("config.yaml")
    }

    /// Store, keys and run state of the queen.
    pub fn queen(&self) -> PathBuf {
        self.0.join("queen")
    }

    /// Models, logs and run state of this machine's hive.
    pub fn hive(&self) -> PathBuf {
        self.0.join("hive")
    }
}

/// Makes a folder and those above it that are missing, each 0700.
pub fn private_dir(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the folder {}", path.display()))
}

/// Writes a file that only its owner may read, whole or not at all.
pub fn write_private(path: &Path, contents: &[u8]) -> Result<()> {
    let aside = path.with_extension("tmp");
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// An exclusive lock that ends with the process.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] fs::File);

/// Takes the lock file, or says who seems to hold it.
pub fn lock(path: &Path, what: &str) -> Result<Lock> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(fs::TryLockError::WouldBlock) => {
            anyhow::bail!(
                "{what} is running with this folder already ({} is locked): stop it, or give this one another --data-dir",
                path.display()
            )
        }
        Err(fs::TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}
