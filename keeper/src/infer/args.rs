//! What `rbee infer` was asked for, checked before anything is started.

use std::time::Duration;

use rbee_crds::{Backend, names};
use rbee_model::{ModelRef, builtin};
use rbee_wire::{
    openai::{ChatMessage, Sampling},
    worker::{InferenceInput, InferenceRequest},
};

use crate::{
    error::Error,
    span::parse_span,
    streams::Input,
    target::{ConnectArgs, NamespaceArg},
};

/// The model of an `infer` that names none.
pub const DEFAULT_MODEL: &str = "builtin:tinybee";
/// Tokens of an answer when nobody says; the model's context bounds it further.
pub const DEFAULT_MAX_TOKENS: u32 = 512;

/// Flags that say which model answers, and where.
#[derive(Clone, Debug, clap::Args)]
pub struct ModelArgs {
    /// Model reference (hf:…, file:///…, https://…, builtin:…), or the name of a Model
    #[arg(long, value_name = "REF|NAME")]
    pub model: Option<String>,
    /// A Worker that is there already, instead of a model
    #[arg(long, value_name = "NAME")]
    pub worker: Option<String>,
    /// Only on this hive, by its name or host name
    #[arg(long, value_name = "HIVE")]
    pub node: Option<String>,
    /// What computes; there is no fallback to another
    #[arg(long, value_name = "BACKEND", value_parser = parse_backend)]
    pub backend: Option<Backend>,
    /// Number of the device within the backend
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..1024))]
    pub device: Option<i32>,
    /// Seconds to wait for a replica that is Ready
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = parse_seconds)]
    pub timeout: Duration,
    /// Tries after one that finds all slots busy
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(0..=10))]
    pub retry: u32,
    /// Through the queen's gateway, as every OpenAI client goes
    #[arg(long)]
    pub via_gateway: bool,
}

/// Flags that say how tokens are chosen.
#[derive(Clone, Debug, clap::Args)]
pub struct SamplingArgs {
    /// Most tokens of an answer
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub max_tokens: Option<u32>,
    /// 0 always takes the likeliest token, up to 2
    #[arg(long, value_name = "T", default_value = "0.7", value_parser = |text: &str| parse_number(text, 0.0, 2.0))]
    pub temperature: f32,
    /// Only the likeliest tokens that make up this share, 0 to 1
    #[arg(long, value_name = "P", value_parser = |text: &str| parse_number(text, 0.0, 1.0))]
    pub top_p: Option<f32>,
    /// Only so many of the likeliest tokens; 0: all
    #[arg(long, value_name = "K")]
    pub top_k: Option<u32>,
    /// Makes the answer repeatable
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub seed: Option<i64>,
    /// End before this text; can be given up to four times
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct InferArgs {
    /// What to answer; - reads stdin
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub prompt: String,
    /// The prompt as it is, without the model's chat template
    #[arg(long)]
    pub raw: bool,
    /// text streams the answer; json prints it whole with its figures
    #[arg(short = 'o', long, value_enum, default_value = "text")]
    pub output: InferOutput,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub namespace: NamespaceArg,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// The form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum InferOutput {
    Text,
    Json,
}

/// What shall answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    Worker(String),
    /// A Model object by its name.
    Model(String),
    Reference(ModelRef),
}

/// Checks which model is asked for; to be called before anything is started.
///
/// # Errors
/// Wrong usage for a reference that cannot be read, a failed operation for a built-in model that does not exist; both
/// name the value.
pub fn validate(args: &ModelArgs) -> Result<Choice, Error> {
    if let Some(name) = &args.worker {
        return Ok(Choice::Worker(name.clone()));
    }
    let text = args.model.as_deref().unwrap_or(DEFAULT_MODEL);
    if !text.contains(':') {
        return match names::is_object_name(text) {
            true => Ok(Choice::Model(text.to_owned())),
            false => Err(Error::usage(format!("--model: {text:?} is neither a model reference nor a name"))),
        };
    }
    let reference: ModelRef = text
        .parse()
        .map_err(|e: rbee_model::reference::ReferenceError| Error::usage(format!("--model: {text:?}: {}", e)))?;
    if let ModelRef::Builtin(name) = &reference
        && builtin::get(name).is_none()
    {
        return Err(Error::failed(format!("--model {text}: {}", builtin::unknown(name))));
    }
    Ok(Choice::Reference(reference))
}

/// The prompt, from stdin where it is `-`.
///
/// # Errors
/// A prompt that is empty, too long or cannot be read.
pub fn prompt(args: &InferArgs, input: &Input) -> Result<String, Error> {
    let limit = rbee_wire::MAX_PROMPT_BYTES;
    let text = match args.prompt.as_str() {
        "-" => input.read_to_end(limit).map_err(|e| Error::failed(format!("--prompt -: cannot read stdin: {e}")))?,
        text => text.to_owned(),
    };
    match text.len() {
        0 => Err(Error::usage("--prompt: must not be empty")),
        length if length > limit => Err(Error::usage(format!("--prompt: {length} bytes, allowed are {limit}"))),
        _ => Ok(text),
    }
}

/// The worker's words for a prompt.
pub fn input(text: String, raw: bool) -> InferenceInput {
    if raw { InferenceInput::Prompt(text) } else { InferenceInput::Messages(vec![ChatMessage::user(text)]) }
}

impl SamplingArgs {
    /// The request for an input. `context` is the model's context in tokens, where known.
    pub fn request(&self, input: InferenceInput, context: Option<u32>) -> InferenceRequest {
        let base = Sampling::default();
        let bounded = DEFAULT_MAX_TOKENS.min(context.unwrap_or(u32::MAX)).max(1);
        let sampling = Sampling {
            max_tokens: Some(self.max_tokens.unwrap_or(bounded)),
            temperature: self.temperature,
            top_p: self.top_p.unwrap_or(base.top_p),
            top_k: self.top_k.unwrap_or(base.top_k),
            seed: self.seed,
            stop: self.stop.clone(),
            ..base
        };
        InferenceRequest { input, sampling }
    }
}

fn parse_backend(text: &str) -> Result<Backend, String> {
    let all = [Backend::Cpu, Backend::Cuda, Backend::Metal];
    all.into_iter().find(|b| b.to_string() == text).ok_or_else(|| "allowed are cpu, cuda, metal".into())
}

/// Seconds as a number, or a span with units.
fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(seconds) => Ok(Duration::from_secs(u64::from(seconds))),
        Err(_) => parse_span(text),
    }
}

fn parse_number(text: &str, least: f32, most: f32) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("a number from {least} to {most} is wanted")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: InferArgs,
    }

    fn args(words: &[&str]) -> Result<InferArgs, clap::Error> {
        Line::try_parse_from([&["infer"], words].concat()).map(|l| l.args)
    }

    #[test]
    fn the_seeds_command_line_is_read() {
        let args = args(&[
            "--node",
            "mac",
            "--model",
            "hf:TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF",
            "--prompt",
            "write a short story",
            "--max-tokens",
            "20",
            "--temperature",
            "0.7",
            "--backend",
            "cuda",
            "--device",
            "1",
            "--timeout",
            "300",
            "--retry",
            "3",
        ])
        .unwrap();
        assert!(matches!(validate(&args.model).unwrap(), Choice::Reference(ModelRef::Hub { .. })));
        assert_eq!((args.model.device, args.model.timeout), (Some(1), Duration::from_secs(300)));
        let request = args.sampling.request(input("x".into(), false), Some(256));
        assert_eq!(request.sampling.max_tokens, Some(20));
        let body = serde_json::to_vec(&request).unwrap();
        assert_eq!(InferenceRequest::parse(&body).unwrap(), request, "the worker takes it");
    }

    #[test]
    fn wrong_values_are_wrong_usage() {
        for words in [
            &["--prompt", "x", "--max-tokens", "many"][..],
            &["--prompt", "x", "--max-tokens", "0"],
            &["--prompt", "x", "--temperature", "-1"],
            &["--prompt", "x", "--top-p", "1.5"],
            &["--prompt", "x", "--backend", "tpu"],
            &[],
        ] {
            assert_eq!(args(words).unwrap_err().exit_code(), 2, "{words:?}");
        }
    }

    #[test]
    fn a_reference_is_checked_before_anything_starts() {
        for (model, code) in [
            ("ftp://example.org/m.gguf", 2),
            ("file:///tmp/../etc/m.gguf", 2),
            ("file://m.gguf", 2),
            ("builtin:no-such", 1),
            ("No Name", 2),
        ] {
            let error = validate(&args(&["--prompt", "x", "--model", model]).unwrap().model).unwrap_err();
            assert_eq!(error.exit().code(), code, "{model}");
            assert!(error.to_string().contains(model), "{error}");
        }
        assert_eq!(
            validate(&args(&["--prompt", "x", "--model", "bee"]).unwrap().model).unwrap(),
            Choice::Model("bee".into())
        );
        assert!(matches!(
            validate(&args(&["--prompt", "x"]).unwrap().model).unwrap(),
            Choice::Reference(ModelRef::Builtin(_))
        ));
    }

    #[test]
    fn the_default_is_bounded_by_the_context() {
        let sampling = args(&["--prompt", "x"]).unwrap().sampling;
        let tokens = |context| sampling.request(input("x".into(), true), context).sampling.max_tokens;
        assert_eq!([tokens(None), tokens(Some(256)), tokens(Some(4096))], [Some(512), Some(256), Some(512)]);
    }

    #[test]
    fn a_prompt_may_come_from_stdin_and_begin_with_a_dash() {
        let stdin = Input::Text("from stdin".into());
        assert_eq!(prompt(&args(&["--prompt", "-"]).unwrap(), &stdin).unwrap(), "from stdin");
        assert_eq!(prompt(&args(&["--prompt", "- a list"]).unwrap(), &stdin).unwrap(), "- a list");
        assert_eq!(prompt(&args(&["--prompt", ""]).unwrap(), &stdin).unwrap_err().exit().code(), 2);
    }
}
