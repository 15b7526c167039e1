//! A request's way: a place, a replica, once more elsewhere if nothing went to the client yet, the answer.

use std::collections::HashSet;

use http::{HeaderMap, StatusCode, header};
use rbee_wire::{ApiError, ErrorCode};
use tokio::sync::mpsc;

use crate::dispatch::Dispatcher;
use crate::load::Place;
use crate::table::WorkerId;
use crate::upstream::{Answer, Call, Upstream, UpstreamError};

/// How often a request is sent to a replica at most.
const TRIES: usize = 2;

/// Sends requests to replicas.
#[derive(Clone)]
pub struct Proxy {
    dispatcher: Dispatcher,
    upstream: Upstream,
    wrong_keys: mpsc::Sender<WorkerId>,
}

/// An answer, and the place that is held until it is delivered.
pub struct Served {
    pub answer: Answer,
    pub place: Place,
}

/// How a try went.
enum Outcome {
    Answer(Answer),
    /// The replica answered that it cannot at the moment.
    Unavailable(ApiError),
    /// The replica does not accept the key that the API has for it.
    WrongKey,
    Failed(UpstreamError),
}

impl Proxy {
    pub fn new(dispatcher: Dispatcher, upstream: Upstream, wrong_keys: mpsc::Sender<WorkerId>) -> Self {
        Self { dispatcher, upstream, wrong_keys }
    }

    pub fn dispatcher(&self) -> &Dispatcher {
        &self.dispatcher
    }

    /// Gets an answer for `model`. Dropping the future gives everything up, at the replica too.
    ///
    /// # Errors
    /// No place, or two replicas failed. Errors that a replica answered are answers.
    pub async fn serve(&self, model: &str, call: &Call) -> Result<Served, ApiError> {
        let mut place = self.dispatcher.place(model).await?;
        let mut avoid = HashSet::new();
        for tried in 1.. {
            let outcome = self.attempt(&place, call).await;
            let replica = place.replica();
            let error = match outcome {
                Outcome::Answer(answer) => return Ok(Served { answer, place }),
                Outcome::Unavailable(error) => {
                    avoid.insert(replica.id.clone());
                    // A full queue is the truth where there is nobody else; a replica that starts or stops is waited for.
                    let wait = error.code != ErrorCode::AllSlotsBusy || self.dispatcher.has_other(model, &avoid);
                    if tried == TRIES || !wait {
                        return Err(error);
                    }
                    if error.code != ErrorCode::AllSlotsBusy {
                        avoid.clear();
                        self.dispatcher.loads().eject(replica);
                    }
                    error
                }
                Outcome::WrongKey => {
                    let _ = self.wrong_keys.try_send(replica.worker.clone());
                    self.dispatcher.loads().eject(replica);
                    let text = format!("a replica of model '{model}' does not accept the key of its Worker's Secret");
                    ApiError::new(ErrorCode::Internal, text).with_status(502)
                }
                Outcome::Failed(error) => {
                    tracing::warn!(replica = replica.id, error = %chain(&error), tried, "a replica failed before it answered");
                    self.dispatcher.loads().eject(replica);
                    ApiError::new(ErrorCode::WorkerCrashed, format!("{error}, {tried} times, for model '{model}'"))
                }
            };
            if tried == TRIES {
                return Err(error);
            }
            metrics::counter!("rbee_gateway_retries_total", "model" => model.to_owned()).increment(1);
            drop(place);
            place = self.dispatcher.place_again(model, &avoid).await?;
        }
        Err(ApiError::new(ErrorCode::Internal, "the request was not tried"))
    }

    async fn attempt(&self, place: &Place, call: &Call) -> Outcome {
        match self.upstream.send(place.replica(), call).await {
            Ok(Answer::Whole { status: StatusCode::UNAUTHORIZED, .. }) => Outcome::WrongKey,
            Ok(Answer::Whole { status: StatusCode::SERVICE_UNAVAILABLE, headers, body }) => {
                let mut error = ApiError::from_body(503, &body);
                error.retry_after = retry_after(&headers).or(Some(1));
                Outcome::Unavailable(error)
            }
            Ok(answer) => Outcome::Answer(answer),
            Err(error) => Outcome::Failed(error),
        }
    }
}

fn retry_after(headers: &HeaderMap) -> Option<u32> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()
}

/// An error with all that caused it.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
