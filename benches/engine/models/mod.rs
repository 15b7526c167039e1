//! The models that are measured: real shapes with random weights, written once into Cargo's target folder.

mod shape;
mod vocabulary;

use anyhow::{Context, Result};
use shape::{SHAPES, Shape};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Writes the models whose name contains one of these texts (all, if there are none), unless they are there, and gives their files.
pub fn generated(wanted: &[String]) -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("engine-models");
    fs::create_dir_all(&folder)?;
    let chosen = SHAPES.iter().filter(|s| wanted.is_empty() || wanted.iter().any(|w| s.name.contains(w.as_str())));
    chosen.map(|shape| write(&folder, shape)).collect()
}

fn write(folder: &Path, shape: &Shape) -> Result<PathBuf> {
    let path = folder.join(format!("{}.gguf", shape.name));
    if !path.exists() {
        eprintln!("writing {}", path.display());
        let part = path.with_extension("part");
        fs::write(&part, shape.file().bytes()).with_context(|| part.display().to_string())?;
        fs::rename(&part, &path)?;
    }
    Ok(path)
}

/// Reads a file once, so that it lies in the page cache.
pub fn read_through(path: &Path) -> Result<()> {
    let mut file = File::open(path).with_context(|| path.display().to_string())?;
    let mut buffer = vec![0; 1 << 22];
    while file.read(&mut buffer)? > 0 {}
    Ok(())
}
