//! The body of a streamed answer: comments while it is waited for, the replica's events as they are, and an `error` event
//! where they break off.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{Stream, StreamExt};
use rbee_wire::{ApiError, ErrorCode, sse};
use tokio::time::{Instant, sleep_until};

use crate::load::Place;
use crate::proxy::{Served, chain};
use crate::upstream::{Answer, Pieces};

/// How often a comment is sent while there is nothing to say.
pub const COMMENT_EVERY: Duration = Duration::from_secs(5);

/// An answer that is being waited for.
pub type Pending = BoxFuture<'static, Result<Served, ApiError>>;

enum State {
    Waiting { pending: Pending, next_comment: Instant },
    Streaming { rest: Pieces, place: Place, end: EndWatch },
    Done,
}

/// The body of an answer that is there.
pub fn of_answer(
    first: Bytes,
    rest: Pieces,
    place: Place,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    let mut end = EndWatch::default();
    end.see(&first);
    futures::stream::once(async move { Ok(first) }).chain(body(State::Streaming { rest, place, end }))
}

/// The body of an answer that is still waited for: the head of the response goes out now, so errors become events.
pub fn of_pending(pending: Pending) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    body(State::Waiting { pending, next_comment: Instant::now() })
}

fn body(state: State) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    futures::stream::unfold((state, VecDeque::new()), |(mut state, mut ready)| async move {
        loop {
            if let Some(bytes) = ready.pop_front() {
                return Some((Ok(bytes), (state, ready)));
            }
            let (bytes, next) = step(state).await?;
            state = next;
            ready.extend(bytes);
        }
    })
}

/// The next piece of the body and what follows; None at the end.
async fn step(state: State) -> Option<(Option<Bytes>, State)> {
    match state {
        State::Waiting { mut pending, next_comment } => tokio::select! {
            biased;
            served = &mut pending => Some(begin(served)),
            () = sleep_until(next_comment) => {
                let next_comment = Instant::now() + COMMENT_EVERY;
                Some((Some(sse::comment("waiting").into()), State::Waiting { pending, next_comment }))
            }
        },
        State::Streaming { mut rest, place, mut end } => match rest.next().await {
            Some(Ok(bytes)) => {
                end.see(&bytes);
                Some((Some(bytes), State::Streaming { rest, place, end }))
            }
            Some(Err(_)) if end.ended => None,
            Some(Err(error)) => {
                tracing::warn!(replica = place.replica().id, error = %chain(&error), "a stream broke off");
                Some((Some(broken(&end)), State::Done))
            }
            None if end.ended => None,
            None => {
                tracing::warn!(replica = place.replica().id, "a stream ended without its end");
                Some((Some(broken(&end)), State::Done))
            }
        },
        State::Done => None,
    }
}

fn begin(served: Result<Served, ApiError>) -> (Option<Bytes>, State) {
    match served {
        Ok(Served { answer: Answer::Stream { first, rest }, place }) => {
            let mut end = EndWatch::default();
            end.see(&first);
            (Some(first), State::Streaming { rest, place, end })
        }
        Ok(Served { answer: Answer::Whole { status, body, .. }, .. }) => {
            (Some(error_event(&ApiError::from_body(status.as_u16(), &body))), State::Done)
        }
        Err(error) => (Some(error_event(&error)), State::Done),
    }
}

fn broken(end: &EndWatch) -> Bytes {
    let error = ApiError::new(
        ErrorCode::WorkerCrashed,
        "the replica stopped in the middle of the answer; what was sent is all there is",
    );
    // An event that was cut in the middle must not swallow this one.
    let gap = if end.between_events() { "" } else { "\n\n" };
    format!("{gap}{}", sse::named("error", &error.openai().to_string())).into()
}

fn error_event(error: &ApiError) -> Bytes {
    sse::named("error", &error.openai().to_string()).into()
}

/// Watches the bytes of a stream for its end, over any cut.
#[derive(Debug, Default)]
struct EndWatch {
    /// The last bytes, enough to recognize an end in.
    tail: Vec<u8>,
    /// Something stood before `tail`.
    cut: bool,
    ended: bool,
}

impl EndWatch {
    const MARKS: [&'static [u8]; 3] = [b"data: [DONE]", b"data:[DONE]", b"event: error"];
    const LONGEST_MARK: usize = 12;

    fn see(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.ended |= Self::MARKS.iter().any(|mark| {
            self.tail.windows(mark.len()).enumerate().any(|(at, window)| {
                // A mark at the beginning of what was kept was looked at before, with what stood in front of it.
                window == *mark && if at == 0 { !self.cut } else { matches!(self.tail[at - 1], b'\n' | b'\r') }
            })
        });
        // One byte more than a mark: the line's end before it.
        let keep = self.tail.len().saturating_sub(Self::LONGEST_MARK + 1);
        self.cut |= keep > 0;
        self.tail.drain(..keep);
    }

    fn between_events(&self) -> bool {
        self.tail.is_empty() || [&b"\n\n"[..], b"\r\r", b"\r\n\r\n"].iter().any(|end| self.tail.ends_with(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(pieces: &[&str]) -> (bool, bool) {
        let mut watch = EndWatch::default();
        pieces.iter().for_each(|p| watch.see(p.as_bytes()));
        (watch.ended, watch.between_events())
    }

    #[test]
    fn the_end_is_seen_over_any_cut_and_not_in_texts() {
        let whole = "data: {\"a\":1}\n\ndata: [DONE]\n\n";
        for cut in 0..whole.len() {
            assert_eq!(ended(&[&whole[..cut], &whole[cut..]]), (true, true), "{cut}");
        }
        assert_eq!(ended(&["data: {\"text\":\"data: [DONE]\"}\n\n"]), (false, true));
        assert_eq!(ended(&["x data: [DONE]", "\"", "}"]), (false, false));
        assert_eq!(ended(&["data: {\"text\":\"x\"}\n\n", "data: {\"te"]), (false, false));
        assert_eq!(ended(&["event: error\ndata: {}\n\n"]), (true, true));
    }
}
