//! Writes the random models whose numbers are compared with llama.cpp's, and tinybee: `models FOLDER`.

use std::path::PathBuf;

use rbee_model::{builtin, testing};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: models FOLDER")?);
    std::fs::create_dir_all(&folder)?;
    for model in testing::models() {
        std::fs::write(folder.join(format!("{}.gguf", model.name)), model.spec.file().bytes())?;
    }
    let tinybee = builtin::get("tinybee").ok_or("tinybee is built in")?;
    std::fs::write(folder.join("tinybee.gguf"), tinybee.bytes)?;
    Ok(())
}
