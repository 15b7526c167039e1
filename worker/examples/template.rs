//! Renders a chat template for a chat request, to see what a model would read.
//!
//!     cargo run --release -p rbee-worker --example template -- TEMPLATE.jinja < request.json

use rbee_tokenizer::Tokenizer;
use rbee_wire::openai::ChatRequest;
use rbee_worker::template::ChatTemplate;
use std::error::Error;
use std::io::Read;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: template TEMPLATE.jinja < request.json")?;
    let template = ChatTemplate::new(&std::fs::read_to_string(path)?)?;
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body)?;
    let request = ChatRequest::parse(&body).map_err(|error| error.message)?;
    let header = rbee_model::gguf::Header::from_bytes(rbee_model::builtin::get("tinybee").ok_or("no tinybee")?.bytes)?;
    let tokenizer = Tokenizer::from_header(&header)?;
    let text = template.render(&request.messages, &request.tools.list, &tokenizer, &jiff::Zoned::now())?;
    print!("{text}");
    Ok(())
}
