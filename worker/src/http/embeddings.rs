//! `POST /v1/embeddings`.

use super::frame::RequestId;
use super::generate::served;
use super::prompt::{given, known};
use super::refusal::{Refusal, Shape};
use super::{App, Served, body};
use axum::extract::{Request, State};
use axum::{Extension, Json};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::{StreamExt, TryStreamExt, stream};
use rbee_wire::openai::{Embedding, EmbeddingList, EmbeddingUsage, EmbeddingsRequest, EncodingFormat, Prompt};
use rbee_wire::{ApiError, ErrorCode};
use serde_json::Value;
use std::sync::Arc;

pub async fn create(
    State(app): State<Arc<App>>,
    Extension(RequestId(id)): Extension<RequestId>,
    request: Request,
) -> Result<Json<EmbeddingList>, Refusal> {
    answer(&app, id, request).await.map(Json).map_err(|e| Shape::OpenAi.refuse(e))
}

async fn answer(app: &App, id: String, request: Request) -> Result<EmbeddingList, ApiError> {
    let EmbeddingsRequest { model, input, encoding_format, dimensions } =
        body::parsed(request, EmbeddingsRequest::parse).await?;
    let served = served(app)?;
    if !served.scheduler.gives_hidden() {
        let text = "this model gives text only and no embeddings; use another model, or ask /v1/completions";
        return Err(ApiError::new(ErrorCode::InvalidRequest, text).with_openai_code("unsupported_endpoint"));
    }
    let _request = app.requests.token();
    app.stats.request_at(jiff::Timestamp::now().as_millisecond().unsigned_abs());
    let preparation = served.scheduler.prepare(&id);
    let reading = served.clone();
    let tokens = tokio::task::spawn_blocking(move || tokens(&reading, input)).await;
    let tokens = tokens.map_err(|_| ApiError::new(ErrorCode::Internal, "the input could not be read"))??;
    let prompt_tokens = tokens.iter().map(|ids| ids.len() as u32).fold(0, u32::saturating_add);
    // As many at a time as there are slots: a request of many inputs leaves the queue to others.
    let vectors: Vec<Vec<f32>> = stream::iter(tokens)
        .map(|ids| async {
            preparation.check()?;
            served.scheduler.embed(id.clone(), ids).await
        })
        .buffered(app.slots.max(1) as usize)
        .try_collect()
        .await?;
    let data = vectors.into_iter().zip(0..).map(|(vector, index)| {
        let vector = match dimensions {
            Some(length) => shorten(vector, length as usize)?,
            None => vector,
        };
        Ok(Embedding { object: "embedding".into(), index, embedding: encode(&vector, encoding_format) })
    });
    let data = data.collect::<Result<_, ApiError>>()?;
    let usage = EmbeddingUsage { prompt_tokens, total_tokens: prompt_tokens };
    Ok(EmbeddingList { object: "list".into(), data, model, usage })
}

/// Tokens of every input, each at least one and at most the context.
fn tokens(served: &Served, input: Vec<Prompt>) -> Result<Vec<Vec<u32>>, ApiError> {
    let model = &served.model;
    let count = input.len();
    let read = |(at, input)| {
        let field = Prompt::path("input", at, count);
        let ids = given(&field, model, input)?;
        known(&field, model, ids.iter().copied())?;
        if ids.is_empty() {
            return Err(ApiError::invalid(field, "has no tokens"));
        }
        if ids.len() > model.context_length {
            return Err(ApiError::context_length_exceeded(&field, ids.len(), model.context_length));
        }
        Ok(ids)
    };
    input.into_iter().enumerate().map(read).collect()
}

/// The first numbers of a vector, scaled to length 1 again.
fn shorten(mut vector: Vec<f32>, length: usize) -> Result<Vec<f32>, ApiError> {
    if length > vector.len() {
        let text = format!("must be at most {}, the length of this model's embeddings", vector.len());
        return Err(ApiError::invalid("dimensions", text));
    }
    if length < vector.len() {
        vector.truncate(length);
        let norm = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
        if norm > 0.0 {
            vector.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
        }
    }
    Ok(vector)
}

fn encode(vector: &[f32], format: EncodingFormat) -> Value {
    match format {
        EncodingFormat::Float => vector.iter().copied().collect(),
        EncodingFormat::Base64 => {
            let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
            BASE64_STANDARD.encode(bytes).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_dimensions_have_length_one_again() {
        assert_eq!(shorten(vec![3.0, 4.0, 12.0], 2).unwrap(), [0.6, 0.8]);
        assert_eq!(shorten(vec![3.0, 4.0], 2).unwrap(), [3.0, 4.0]);
        assert_eq!(shorten(vec![0.0, 0.0, 1.0], 2).unwrap(), [0.0, 0.0]);
        assert!(shorten(vec![1.0], 2).unwrap_err().message.starts_with("dimensions: must be at most 1"));
    }

    #[test]
    fn vectors_are_numbers_or_base64_of_little_endian_floats() {
        assert_eq!(encode(&[1.0, -0.5], EncodingFormat::Float), serde_json::json!([1.0, -0.5]));
        assert_eq!(encode(&[1.0, -0.5], EncodingFormat::Base64), "AACAPwAAAL8=");
    }
}
