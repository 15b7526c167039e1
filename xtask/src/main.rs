//! `cargo xtask gen|layers|tidy`: what git must hold and what the tree must obey. Each exits 1 and names the place when it fails.

mod generate;
mod layers;
mod tidy;

use std::{path::Path, process::ExitCode};

const USAGE: &str = "usage: cargo xtask <command>
  gen [--check]  write manifests/crds/*.yaml from the kinds; with --check only compare
  layers         which package may use which (the table in xtask/src/layers.rs)
  tidy           module headers, orphan files, environment reads, pure files, file lengths";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace");
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["gen"] => generate::write(root),
        ["gen", "--check"] => generate::check(root),
        ["layers"] => layers::check(root),
        ["tidy"] => tidy::check(root),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
