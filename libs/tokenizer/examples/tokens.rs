//! Prints the token ids of a text: `tokens FILE.gguf [--raw] < TEXT`, in the form of `llama-tokenize --ids`.
//!
//! Without `--raw` control tokens in the text are read, as in a rendered template.

use rbee_model::gguf::Header;
use rbee_tokenizer::Tokenizer;
use std::io::Read;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let path = arguments.first().ok_or("usage: tokens FILE.gguf [--raw] < TEXT")?;
    let raw = arguments.iter().any(|a| a == "--raw");
    let file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    let header = Header::read(std::io::BufReader::new(file), length)?;
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let since = Instant::now();
    let tokenizer = Tokenizer::from_header(&header)?;
    let loaded = since.elapsed();
    let since = Instant::now();
    let ids = if raw { tokenizer.encode(&text) } else { tokenizer.encode_rendered(&text) };
    eprintln!("loaded in {loaded:.1?}, {} bytes to {} tokens in {:.1?}", text.len(), ids.len(), since.elapsed());
    println!("{ids:?}");
    Ok(())
}
