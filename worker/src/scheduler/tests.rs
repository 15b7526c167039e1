//! The scheduler with an engine that says what it is told, and with the real one.

mod forms;
mod sharing;

use super::*;
use crate::testing::{reference, tinybee_bytes, tinybee_header, tinybee_tokenizer, wait_until};
use bytes::Bytes;
use rbee_engine::fake::FakeEngine;
use rbee_engine::source::Source;
use rbee_engine::{Chunk, Device, EngineError, Options, load};
use rbee_wire::openai::FinishReason;
use std::sync::mpsc::sync_channel;

const END: u32 = 2;

fn start(engine: impl Engine + 'static) -> (Scheduler, Arc<Stats>) {
    start_boxed(Box::new(engine))
}

fn start_boxed(engine: Box<dyn Engine>) -> (Scheduler, Arc<Stats>) {
    let stats = Arc::new(Stats::default());
    let scheduler = Scheduler::start(engine, tinybee_tokenizer(), stats.clone(), || {}).unwrap();
    (scheduler, stats)
}

fn fake(slots: usize, script: &[u32]) -> FakeEngine {
    FakeEngine::new(slots, 1024, 1280, script.to_vec(), END)
}

fn generation(id: &str, sampling: Sampling) -> Generation {
    Generation {
        id: id.into(),
        prompt: vec![5, 6, 7],
        sampling: Sampling { temperature: 0.0, ..sampling },
        grammar: None,
        told: None,
        seed: 1,
    }
}

fn plain(id: &str) -> Generation {
    generation(id, Sampling::default())
}

/// Texts of all tokens, and the end.
async fn collect(ticket: &mut Ticket) -> (Vec<String>, Option<End>) {
    let mut texts = Vec::new();
    while let Some(event) = ticket.events.recv().await {
        match event {
            Event::Started => {}
            Event::Token { text, .. } => texts.push(text),
            Event::End(end) => return (texts, Some(end)),
        }
    }
    (texts, None)
}

/// How an answer to `plain`'s prompt ended, and how many of its tokens it had.
fn finished(reason: FinishReason, completion_tokens: u32) -> Option<(FinishReason, u32, u32)> {
    Some((reason, 3, completion_tokens))
}

/// An end without the number of cached tokens, which depends on what else was computed.
fn ended(end: Option<End>) -> Option<(FinishReason, u32, u32)> {
    match end {
        Some(End::Finished { reason, prompt_tokens, completion_tokens, .. }) => {
            Some((reason, prompt_tokens, completion_tokens))
        }
        Some(End::Failed(_)) | None => None,
    }
}

#[tokio::test]
async fn an_answer_ends_at_its_end_token_its_budget_or_a_stop_string() {
    let case = &reference()[1];
    let (scheduler, stats) = start(fake(1, &case.greedy_ids));
    let tokens = case.greedy_ids.len() as u32;
    let (texts, end) = collect(&mut scheduler.submit(plain("a")).unwrap()).await;
    assert_eq!((texts.concat(), ended(end)), (case.greedy_text.clone(), finished(FinishReason::Stop, tokens)));
    let five = generation("b", Sampling { max_tokens: Some(5), ..Sampling::default() });
    let (texts, end) = collect(&mut scheduler.submit(five).unwrap()).await;
    assert_eq!((texts.len(), ended(end)), (5, finished(FinishReason::Length, 5)));
    let stop = generation("c", Sampling { stop: vec!["small lang".into()], ..Sampling::default() });
    let (texts, end) = collect(&mut scheduler.submit(stop).unwrap()).await;
    assert_eq!(texts.concat(), "I am tinybee, a very ");
    assert!(matches!(end, Some(End::Finished { reason: FinishReason::Stop, .. })), "{end:?}");
    assert_eq!(stats.snapshot().finished, 3);
    assert_eq!((stats.snapshot().prompt_tokens, stats.snapshot().prompt_tokens_reused), (5, 4));
}

#[tokio::test]
async fn the_context_bounds_an_answer() {
    let (scheduler, _) = start(FakeEngine::new(1, 10, 1280, vec![50; 100], END));
    let (texts, end) = collect(&mut scheduler.submit(plain("a")).unwrap()).await;
    assert_eq!((texts.len(), ended(end)), (7, finished(FinishReason::Length, 7)));
}

#[tokio::test]
async fn a_canceled_request_frees_its_slot_at_the_next_token() {
    let (gate, steps) = sync_channel(0);
    let (scheduler, stats) = start(fake(1, &[50; 500]).gated(steps));
    let mut first = scheduler.submit(plain("first")).unwrap();
    let mut second = scheduler.submit(plain("second")).unwrap();
    gate.send(()).unwrap();
    assert_eq!(first.events.recv().await, Some(Event::Started));
    assert!(matches!(first.events.recv().await, Some(Event::Token { .. })));
    scheduler.cancel("first");
    scheduler.cancel("nobody");
    gate.send(()).unwrap();
    let (texts, end) = collect(&mut first).await;
    assert!(texts.len() <= 1, "at most the token that was computed already: {texts:?}");
    assert!(matches!(&end, Some(End::Failed(e)) if e.code == ErrorCode::RequestCanceled), "{end:?}");
    gate.send(()).unwrap();
    assert_eq!(second.events.recv().await, Some(Event::Started));
    drop(second);
    drop(gate);
    wait_until("both are gone", || stats.snapshot().canceled == 2 && stats.snapshot().running == 0).await;
}

#[tokio::test]
async fn a_full_queue_refuses_and_takes_again_later() {
    let (gate, steps) = sync_channel::<()>(0);
    let (scheduler, stats) = start(fake(2, &[50]).gated(steps));
    let mut tickets: Vec<Ticket> = (0..QUEUE + 2).map(|n| scheduler.submit(plain(&n.to_string())).unwrap()).collect();
    let Err(refused) = scheduler.submit(plain("late")) else { panic!("a full queue took a request") };
    assert_eq!((refused.code, refused.status, refused.retry_after), (ErrorCode::AllSlotsBusy, 503, Some(RETRY_AFTER)));
    assert_eq!(stats.snapshot().rejected, 1);
    drop(gate);
    for ticket in &mut tickets {
        assert!(matches!(collect(ticket).await.1, Some(End::Finished { .. })));
    }
    assert_eq!(stats.snapshot().finished, QUEUE as u64 + 2);
    wait_until("a place is free", || scheduler.submit(plain("again")).is_ok()).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_pauses_only_its_own_slot() {
    let (scheduler, _) = start(fake(2, &[50; 600]));
    let mut slow = scheduler.submit(plain("slow")).unwrap();
    let (texts, end) = collect(&mut scheduler.submit(plain("quick")).unwrap()).await;
    assert_eq!((texts.len(), ended(end)), (600, finished(FinishReason::Stop, 600)));
    let (texts, end) = collect(&mut slow).await;
    assert_eq!((texts.len(), ended(end)), (600, finished(FinishReason::Stop, 600)), "nothing is lost");
}

#[tokio::test]
async fn a_failed_step_ends_its_requests_and_frees_their_slots() {
    let (scheduler, stats) = start(fake(1, &[50; 9]).failing_after(2));
    for _ in 0..3 {
        let (_, end) = collect(&mut scheduler.submit(plain("a")).unwrap()).await;
        assert!(matches!(&end, Some(End::Failed(e)) if e.code == ErrorCode::Internal), "{end:?}");
    }
    assert_eq!(stats.snapshot().failed, 3);
}

#[tokio::test]
async fn a_sequence_that_the_engine_refuses_does_not_end_the_others() {
    let (gate, steps) = sync_channel(0);
    let (scheduler, stats) = start(fake(3, &[50; 40]).gated(steps));
    let bad = |id: &str| Generation { prompt: vec![5, 6, 1280], ..plain(id) };
    let mut good = scheduler.submit(plain("good")).unwrap();
    gate.send(()).unwrap();
    assert_eq!(good.events.recv().await, Some(Event::Started));
    let mut others = [scheduler.submit(bad("a")).unwrap(), scheduler.submit(bad("b")).unwrap()];
    drop(gate);
    for other in &mut others {
        let (_, end) = collect(other).await;
        assert!(
            matches!(&end, Some(End::Failed(e)) if e.code == ErrorCode::Internal && e.message.contains("1280")),
            "{end:?}"
        );
    }
    let (texts, end) = collect(&mut good).await;
    assert_eq!((texts.len(), ended(end)), (40, finished(FinishReason::Stop, 40)));
    assert_eq!((stats.snapshot().failed, stats.snapshot().finished), (2, 1));
}

struct Panics;

impl Engine for Panics {
    fn slots(&self) -> usize {
        1
    }

    fn context_length(&self) -> usize {
        99
    }

    fn vocab_size(&self) -> usize {
        1280
    }

    fn embedding_length(&self) -> usize {
        1
    }

    fn memory_bytes(&self) -> u64 {
        0
    }

    fn step(&mut self, _: &[Chunk<'_>]) -> Result<Vec<Vec<f32>>, EngineError> {
        panic!("on purpose");
    }

    fn truncate(&mut self, _: usize, _: usize) {}

    fn copy(&mut self, _: usize, _: usize, _: usize) -> bool {
        true
    }
}

#[tokio::test]
async fn a_panic_of_the_engine_is_told_and_ends_the_requests() {
    let (told, hears) = tokio::sync::oneshot::channel();
    let dead = move || told.send(()).unwrap();
    let scheduler = Scheduler::start(Box::new(Panics), tinybee_tokenizer(), Arc::default(), dead).unwrap();
    let (_, end) = collect(&mut scheduler.submit(plain("a")).unwrap()).await;
    assert_eq!(end, None);
    hears.await.unwrap();
    wait_until("no more requests are taken", || scheduler.submit(plain("b")).is_err()).await;
}

#[tokio::test]
async fn several_at_once_get_what_each_gets_alone() {
    let engine = |slots| {
        let options = Options { slots, context_length: 256, threads: 1, device: Device::Cpu };
        let source = Source::gguf(&tinybee_header(), &Bytes::from_static(tinybee_bytes())).unwrap();
        load(source, options, &mut |_| {}).unwrap()
    };
    let cases = reference();
    let request = |n: usize| {
        let sampling = Sampling { max_tokens: Some(120), ..Sampling::default() };
        Generation { prompt: cases[n].prompt_ids.clone(), ..generation(&n.to_string(), sampling) }
    };
    let (alone, _) = start_boxed(engine(1));
    let (together, _) = start_boxed(engine(4));
    let mut tickets: Vec<Ticket> = (0..cases.len()).map(|n| together.submit(request(n)).unwrap()).collect();
    for (n, ticket) in tickets.iter_mut().enumerate() {
        let (texts, end) = collect(ticket).await;
        let (expected, expected_end) = collect(&mut alone.submit(request(n)).unwrap()).await;
        assert_eq!((texts.concat(), ended(end)), (expected.concat(), ended(expected_end)), "{}", cases[n].prompt);
        if cases[n].exact {
            assert_eq!(texts.concat(), cases[n].greedy_text);
        }
    }
}
