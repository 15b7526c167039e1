//! Writes the random models whose numbers are compared with llama.cpp's, and tinybee: `models FOLDER`, or only their headers and those
//! of candle-transformers' architectures, as seeds for a fuzzer: `models FOLDER --headers`.

use std::path::PathBuf;

use rbee_model::format::FALLBACKS;
use rbee_model::gguf::Header;
use rbee_model::{builtin, testing};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let folder = PathBuf::from(args.next().ok_or("usage: models FOLDER [--headers]")?);
    let headers = args.next().is_some_and(|arg| arg == "--headers");
    std::fs::create_dir_all(&folder)?;
    let tinybee = builtin::get("tinybee").ok_or("tinybee is built in")?;
    let random = testing::models().into_iter().map(|model| (model.name, model.spec.file().bytes()));
    let seeds = if headers { FALLBACKS } else { &[] };
    let seeds =
        seeds.iter().filter_map(|name| Some(((*name).to_owned(), testing::ModelSpec::of(name)?.file().bytes())));
    for (name, mut bytes) in random.chain(seeds).chain([("tinybee".to_owned(), tinybee.bytes.to_vec())]) {
        if headers {
            bytes.truncate(Header::from_bytes(&bytes)?.data_offset() as usize);
        }
        std::fs::write(folder.join(format!("{name}.gguf")), bytes)?;
    }
    Ok(())
}
