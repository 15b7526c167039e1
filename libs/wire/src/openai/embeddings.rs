//! `POST /v1/embeddings`: request and answer.

use super::{IGNORED, Prompt, model};
use crate::error::ApiError;
use crate::json::Fields;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most inputs in one request.
const MAX_INPUTS: usize = 2048;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodingFormat {
    Float,
    Base64,
}

/// A checked embeddings request.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingsRequest {
    pub model: String,
    pub input: Vec<Prompt>,
    pub encoding_format: EncodingFormat,
    pub dimensions: Option<u32>,
}

impl EmbeddingsRequest {
    /// Reads and checks a body; the error names the field at fault.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::from_body(body)?;
        let model = model(&mut fields)?;
        let input = fields.take("input").ok_or_else(|| fields.missing("input"))?;
        let input = Prompt::all("input", input, MAX_INPUTS)?;
        let encoding_format = match fields.string("encoding_format")?.as_deref() {
            None | Some("float") => EncodingFormat::Float,
            Some("base64") => EncodingFormat::Base64,
            Some(_) => return Err(ApiError::invalid("encoding_format", "must be float or base64")),
        };
        let dimensions = fields.integer("dimensions", 1..=1 << 20)?.map(|n| n as u32);
        fields.finish(IGNORED)?;
        Ok(Self { model, input, encoding_format, dimensions })
    }
}

/// One vector of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Embedding {
    pub object: String,
    pub index: u32,
    /// Numbers, or base64 of little-endian f32.
    pub embedding: Value,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EmbeddingList {
    pub object: String,
    pub data: Vec<Embedding>,
    pub model: String,
    pub usage: EmbeddingUsage,
}

/// Numbers of tokens of an embeddings request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmbeddingUsage {
    pub prompt_tokens: u32,
    pub total_tokens: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn inputs_are_read_and_wrong_ones_named() {
        let parse = |v: Value| EmbeddingsRequest::parse(json!({"model": "m", "input": v}).to_string().as_bytes());
        assert_eq!(parse(json!("x")).unwrap().input.len(), 1);
        assert_eq!(parse(json!([1, 2])).unwrap().input, [Prompt::Tokens(vec![1, 2])]);
        assert_eq!(parse(json!(["x", "y"])).unwrap().input.len(), 2);
        for wrong in [json!(5), json!([]), json!([""]), json!([[]]), json!([{}])] {
            assert!(parse(wrong).unwrap_err().message.starts_with("input"));
        }
    }
}
