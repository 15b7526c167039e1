//! Rules about source files that no compiler checks.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

/// Lines of one source file, tests beside the code included.
const LONGEST_FILE: usize = 700;

/// Folders and files whose code gets the clock, randomness and the outside as arguments.
const PURE: &[&str] = &[
    "agent/src/plan",
    "apiserver/src/apply",
    "apiserver/src/openapi",
    "apiserver/src/patch",
    "apiserver/src/schema",
    "apiserver/src/table",
    "controller/src/plan",
    "crds/src",
    "gateway/src/route",
    "engine/src/arch",
    "libs/kernels/src/matmul",
    "libs/model/src",
    "libs/placement/src",
    "libs/tokenizer/src",
    "libs/wire/src",
    "libs/yaml/src",
    "worker/src/sampler",
];
const IMPURE_WORDS: &[&str] = &[
    "async fn",
    "tokio::",
    "SystemTime::now",
    "Instant::now",
    "Timestamp::now",
    "std::fs",
    "std::env",
    "rand::rng",
    "thread_rng",
];
/// Where the environment may be read: the executable's edge.
const ENVIRONMENT: &[&str] = &["src/", "tests/", "benches/", "xtask/"];
const UNFINISHED: &[&str] =
    &["todo!(", "unimplemented!(", concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Fails with a line per broken rule.
pub fn check(root: &Path) -> Result<()> {
    let mut files = Vec::new();
    collect(root, &mut files)?;
    let mut wrong = Vec::new();
    for file in &files {
        let name = file.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
        let text = fs::read_to_string(file)?;
        look(&name, &text, &mut wrong);
        if is_orphan(root, file) {
            wrong.push(format!("{name}: no `mod` names this file"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("\n")) }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            collect(&path, files)?;
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn look(name: &str, text: &str, wrong: &mut Vec<String>) {
    if !text.starts_with("//!") {
        wrong.push(format!("{name}: the first line is no module header (`//! what this file is for`)"));
    }
    let length = text.lines().count();
    if length > LONGEST_FILE {
        wrong.push(format!("{name}: {length} lines (at most {LONGEST_FILE}): split it by noun"));
    }
    let code = text.split("#[cfg(test)]").next().unwrap_or(text);
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(word) = UNFINISHED.iter().find(|w| line.contains(**w)).filter(|_| !name.starts_with("xtask/")) {
            wrong.push(format!("{name}:{number}: unfinished: {word}"));
        }
    }
    for (number, line) in (1..).zip(code.lines()).filter(|(_, l)| !l.trim_start().starts_with("//")) {
        if line.contains("env::var")
            && !name.ends_with("/tests.rs")
            && !ENVIRONMENT.iter().any(|e| name.starts_with(e))
            && !name.contains("/tests/")
            && !name.contains("/examples/")
        {
            wrong.push(format!("{name}:{number}: the environment is read outside the executable's edge"));
        }
        if PURE.iter().any(|p| name.starts_with(p))
            && !name.ends_with("/tests.rs")
            && let Some(word) = IMPURE_WORDS.iter().find(|w| line.contains(**w))
        {
            wrong.push(format!("{name}:{number}: `{word}` in a pure file"));
        }
    }
}

/// Whether no sibling or parent module names this file; roots of crates, tests and examples are named by Cargo.
fn is_orphan(root: &Path, file: &Path) -> bool {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let folder = file.parent().unwrap_or(root);
    let folder_name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_root = ["lib", "main", "build"].contains(&stem.as_str())
        || ["tests", "examples", "benches", "bin", "fuzz_targets"].contains(&folder_name.as_str());
    if is_root {
        return false;
    }
    let (module, home) = if stem == "mod" { (folder_name, folder.parent().unwrap_or(root)) } else { (stem, folder) };
    let mut namers = vec![home.join("mod.rs"), home.join("lib.rs"), home.join("main.rs"), home.with_extension("rs")];
    namers.extend(
        fs::read_dir(home)
            .into_iter()
            .flatten()
            .filter_map(|e| e.ok().map(|e| e.path()))
            .filter(|p| p.extension().is_some_and(|x| x == "rs")),
    );
    let line = format!("mod {module};");
    let named =
        namers.iter().filter(|n| n.as_path() != file).any(|n| fs::read_to_string(n).is_ok_and(|t| t.contains(&line)));
    // Test binaries share modules of another folder by `#[path = "../FOLDER/mod.rs"]`.
    let shared = format!("{module}/mod.rs\"]");
    let is_shared = || {
        let folders = fs::read_dir(home).into_iter().flatten().flatten().map(|e| e.path().join("main.rs"));
        folders.into_iter().any(|main| fs::read_to_string(main).is_ok_and(|t| t.contains(&shared)))
    };
    !named && !is_shared()
}
