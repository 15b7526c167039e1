//! From a checked request to answers that are on their way: what the model is given, and places in the scheduler.

use super::prompt::{Input, Prepared, prepare};
use super::running::Running;
use super::{App, Phase, Served};
use crate::scheduler::Generation;
use crate::tools::Reader;
use rbee_wire::openai::Sampling;
use rbee_wire::{ApiError, ErrorCode};
use std::sync::Arc;
use std::time::Instant;

/// Puts a request into the scheduler, or says why not. The reader finds calls of functions in an answer that may have some.
pub async fn start(
    app: &App,
    id: String,
    input: Input,
    sampling: Sampling,
) -> Result<(Running, Option<Reader>), ApiError> {
    let since = Instant::now();
    let served = served(app)?;
    let request = app.requests.token();
    app.stats.request_at(jiff::Timestamp::now().as_millisecond().unsigned_abs());
    let preparation = served.scheduler.prepare(&id);
    let preparing = served.clone();
    let prepared = tokio::task::spawn_blocking(move || prepare(&preparing, input, sampling)).await;
    let lost = |_| ApiError::new(ErrorCode::Internal, "the prompt could not be read");
    let Prepared { prompts, sampling, grammar, reader, told } = prepared.map_err(lost)??;
    let seed: u64 = rand::random();
    let n = sampling.n;
    let generation = |(at, prompt): (i64, Vec<u32>)| Generation {
        id: id.clone(),
        prompt,
        // Choices of one prompt differ, and repeat themselves with the request's seed.
        sampling: Sampling { seed: sampling.seed.map(|s| s.wrapping_add(at % i64::from(n))), ..sampling.clone() },
        grammar: grammar.clone(),
        told,
        seed: seed.wrapping_add_signed(at),
    };
    let choices = prompts.into_iter().flat_map(|prompt| std::iter::repeat_n(prompt, n as usize));
    let tickets = served.scheduler.submit_all((0_i64..).zip(choices).map(generation).collect())?;
    // After the answers have entries of their own, so that no cancel falls in between.
    preparation.check()?;
    Ok((Running::new(tickets, n as usize, app.stats.clone(), app.stall, since, request), reader))
}

/// The loaded model, if it takes requests.
pub fn served(app: &App) -> Result<Arc<Served>, ApiError> {
    match &*app.phase.borrow() {
        Phase::Ready(served) => Ok(served.clone()),
        Phase::Loading => {
            Err(ApiError::new(ErrorCode::Loading, "the model is still loading; try again later").with_retry_after(1))
        }
        Phase::Draining(_) => {
            Err(ApiError::new(ErrorCode::Draining, "this worker is shutting down; ask another").with_retry_after(1))
        }
        Phase::Failed => Err(ApiError::new(ErrorCode::WorkerCrashed, "this worker failed and is ending")),
    }
}
