//! Files that are made from the code and checked in, so that `kubectl apply -f` needs no build.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail};

fn wanted() -> BTreeMap<String, String> {
    rbee_crds::to_json()
        .into_iter()
        .map(|crd| {
            let name = crd["metadata"]["name"].as_str().unwrap_or("unnamed").to_owned();
            (format!("{name}.yaml"), rbee_yaml::to_string(&crd))
        })
        .collect()
}

/// Writes every generated file.
pub fn write(root: &Path) -> Result<()> {
    let folder = root.join("manifests/crds");
    fs::create_dir_all(&folder)?;
    for (name, text) in wanted() {
        fs::write(folder.join(&name), text).with_context(|| format!("cannot write manifests/crds/{name}"))?;
    }
    Ok(())
}

/// Fails when a generated file differs from what the code makes, or stands there without a maker.
pub fn check(root: &Path) -> Result<()> {
    let folder = root.join("manifests/crds");
    let wanted = wanted();
    let mut wrong = Vec::new();
    for (name, text) in &wanted {
        if fs::read_to_string(folder.join(name)).ok().as_ref() != Some(text) {
            wrong.push(format!("manifests/crds/{name} differs from the code"));
        }
    }
    for entry in fs::read_dir(&folder).context("manifests/crds is missing")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !wanted.contains_key(&name) {
            wrong.push(format!("manifests/crds/{name} is made by nothing"));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        bail!("{}\nrun `cargo xtask gen` and commit what it wrote", wrong.join("\n"))
    }
}
