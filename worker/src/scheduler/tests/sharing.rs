//! What requests share: beginnings of prompts, steps, and the engine's time.

use super::*;
use crate::testing::engine::{Asked, TestEngine, VOCAB, noise};
use rbee_engine::{Output, Pooling};
use std::sync::Mutex;
use std::sync::mpsc::SyncSender;

/// Logits that say token 50 for ever.
fn fifty(_: &[u32]) -> Vec<f32> {
    let mut logits = vec![0.0; VOCAB];
    logits[50] = 9.0;
    logits
}

fn asking(id: &str, prompt: Vec<u32>, max_tokens: u32) -> Generation {
    Generation { prompt, ..generation(id, Sampling { max_tokens: Some(max_tokens), ..Sampling::default() }) }
}

fn look(asked: &Arc<Mutex<Asked>>) -> Asked {
    asked.lock().unwrap().clone()
}

fn cached(end: Option<End>) -> u32 {
    match end {
        Some(End::Finished { cached_tokens, .. }) => cached_tokens,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_prompt_that_begins_alike_is_computed_from_where_it_differs() {
    let engine = TestEngine::new(2, 1000, fifty);
    let asked = engine.asked();
    let (scheduler, stats) = start(engine);
    let prompt: Vec<u32> = (100..200).collect();
    let ask = async |prompt: Vec<u32>| cached(collect(&mut scheduler.submit(asking("a", prompt, 3)).unwrap()).await.1);
    assert_eq!(ask(prompt.clone()).await, 0);
    assert_eq!(look(&asked).computed(), 102);
    assert_eq!(ask(prompt.clone()).await, 99, "the last token is computed for its logits");
    // The next turn of a talk: the prompt, the answer, and what was asked then.
    let turn: Vec<u32> = prompt.iter().copied().chain([50, 50, 7, 8]).collect();
    assert_eq!(ask(turn).await, 102);
    assert_eq!(ask((0..90).collect()).await, 0);
    assert_eq!(stats.snapshot().prompt_tokens_reused, 99 + 102);
    assert_eq!(look(&asked).copies, []);
}

/// An answer of 40 tokens to a prompt of 30, whose first one has come, and one of 2 to that prompt and 3 tokens more.
async fn a_second_that_begins_alike(scheduler: &Scheduler, gate: SyncSender<()>) -> (Ticket, Ticket) {
    let prompt: Vec<u32> = (100..130).collect();
    let mut first = scheduler.submit(asking("a", prompt.clone(), 40)).unwrap();
    gate.send(()).unwrap();
    assert_eq!(first.events.recv().await, Some(Event::Started));
    assert!(matches!(first.events.recv().await, Some(Event::Token { .. })));
    let second = scheduler.submit(asking("b", prompt.into_iter().chain([7, 8, 9]).collect(), 2)).unwrap();
    drop(gate);
    (first, second)
}

#[tokio::test]
async fn the_beginning_is_copied_from_a_running_answer() {
    let (gate, steps) = sync_channel(0);
    let engine = TestEngine::new(2, 1000, fifty).gated(steps);
    let asked = engine.asked();
    let (scheduler, _) = start(engine);
    let (mut first, mut second) = a_second_that_begins_alike(&scheduler, gate).await;
    assert_eq!(cached(collect(&mut second).await.1), 30);
    assert_eq!(collect(&mut first).await.0.len(), 39);
    let asked = look(&asked);
    assert_eq!(asked.copies.len(), 1);
    assert_eq!((asked.copies[0].2, asked.computed()), (30, 30 + 39 + 3 + 1));
}

#[tokio::test]
async fn a_copy_that_failed_is_not_believed() {
    let (gate, steps) = sync_channel(0);
    let engine = TestEngine::new(2, 1000, fifty).without_copies().gated(steps);
    let asked = engine.asked();
    let (scheduler, stats) = start(engine);
    let (mut first, mut second) = a_second_that_begins_alike(&scheduler, gate).await;
    let (texts, end) = collect(&mut second).await;
    assert_eq!((texts.len(), cached(end)), (2, 0));
    assert_eq!(collect(&mut first).await.0.len(), 39);
    let asked = look(&asked);
    assert_eq!((asked.copies.len(), asked.computed()), (1, 30 + 39 + 33 + 1), "it is tried once");
    assert_eq!(stats.snapshot().prompt_tokens_reused, 0);
}

#[tokio::test]
async fn a_prompt_that_comes_eight_times_at_once_is_computed_once() {
    let (gate, steps) = sync_channel::<()>(0);
    let engine = TestEngine::new(8, 2000, fifty).gated(steps);
    let asked = engine.asked();
    let (scheduler, stats) = start(engine);
    let system: Vec<u32> = (100..900).collect();
    let prompt = |n: u32| system.iter().copied().chain([n]).collect();
    let mut tickets: Vec<Ticket> =
        (0..8).map(|n| scheduler.submit(asking(&n.to_string(), prompt(n), 1)).unwrap()).collect();
    drop(gate);
    let mut sum = 0;
    for ticket in &mut tickets {
        let (texts, end) = collect(ticket).await;
        assert_eq!(texts.len(), 1);
        sum += cached(end);
    }
    assert_eq!(sum, 7 * 800);
    assert_eq!(look(&asked).computed(), 800 + 8);
    assert_eq!(stats.snapshot().prompt_tokens_reused, 7 * 800);
}

#[tokio::test]
async fn when_the_one_that_computes_is_canceled_another_goes_on_where_it_stood() {
    let (gate, steps) = sync_channel::<()>(0);
    let engine = TestEngine::new(3, 4000, fifty).gated(steps);
    let asked = engine.asked();
    let (scheduler, stats) = start(engine);
    let prompt: Vec<u32> = (0..1200).map(|n| n % 1000 + 100).collect();
    let first = scheduler.submit(asking("a", prompt.clone(), 1)).unwrap();
    let mut others: Vec<Ticket> =
        ["b", "c"].iter().map(|id| scheduler.submit(asking(id, prompt.clone(), 1)).unwrap()).collect();
    gate.send(()).unwrap();
    gate.send(()).unwrap();
    drop(first);
    drop(gate);
    for ticket in &mut others {
        assert_eq!(collect(ticket).await.0.len(), 1);
    }
    assert_eq!(stats.snapshot().canceled, 1);
    // At most one step was computed for the one that is gone only.
    assert!(look(&asked).computed() <= 1201, "{}", look(&asked).computed());
}

#[tokio::test]
async fn a_long_prompt_does_not_hold_up_a_short_one_or_a_stream() {
    let (gate, steps) = sync_channel(0);
    let engine = TestEngine::new(3, 8000, fifty).gated(steps);
    let asked = engine.asked();
    let (scheduler, _) = start(engine);
    let mut stream = scheduler.submit(asking("stream", vec![9, 8, 7], 4000)).unwrap();
    gate.send(()).unwrap();
    assert_eq!(stream.events.recv().await, Some(Event::Started));
    stream.events.recv().await.unwrap();
    let long = scheduler.submit(asking("long", (0..6000).map(|n| n % 1000).collect(), 1)).unwrap();
    let mut short = scheduler.submit(asking("short", vec![3, 4, 5, 6], 1)).unwrap();
    for _ in 0..3 {
        gate.send(()).unwrap();
    }
    assert_eq!(collect(&mut short).await.0.len(), 1);
    let steps = look(&asked).steps;
    let stream_slot = steps[0][0].0;
    assert!(steps.iter().all(|step| step.iter().any(|c| c.0 == stream_slot)), "the stream is in every step: {steps:?}");
    let last = steps.last().unwrap();
    assert!(last.len() >= 2 && last.iter().all(|c| c.2 < 6000), "the long prompt enters in pieces: {last:?}");
    drop((long, stream, gate));
}

#[tokio::test]
async fn short_prompts_enter_in_one_step() {
    let (gate, steps) = sync_channel::<()>(0);
    let engine = TestEngine::new(9, 100, fifty).gated(steps);
    let asked = engine.asked();
    let (scheduler, _) = start(engine);
    // While the first computes, the others gather.
    let mut tickets = vec![scheduler.submit(asking("first", vec![1, 2], 1)).unwrap()];
    wait_until("the first runs", || tickets[0].events.len() == 1).await;
    tickets
        .extend((0..8).map(|n| scheduler.submit(asking(&n.to_string(), vec![10 + n, 2, 3, 4, 5, 6, 7], 1)).unwrap()));
    drop(gate);
    for ticket in &mut tickets {
        collect(ticket).await;
    }
    let steps = look(&asked).steps;
    assert_eq!(steps.iter().map(Vec::len).collect::<Vec<_>>(), [1, 8]);
}

#[tokio::test]
async fn a_seed_gives_the_same_text_alone_and_in_a_batch() {
    let request = |n: u32| Generation {
        prompt: vec![n, 40 + n],
        sampling: Sampling { seed: Some(i64::from(n) + 5), max_tokens: Some(60), top_p: 0.95, ..Sampling::default() },
        ..plain(&n.to_string())
    };
    let (alone, _) = start(TestEngine::new(1, 500, noise));
    let (together, _) = start(TestEngine::new(8, 500, noise));
    let mut tickets: Vec<Ticket> = (0..8).map(|n| together.submit(request(n)).unwrap()).collect();
    let mut texts = Vec::new();
    for (n, ticket) in (0..).zip(&mut tickets) {
        let text = collect(ticket).await.0.concat();
        assert_eq!(text, collect(&mut alone.submit(request(n)).unwrap()).await.0.concat());
        texts.push(text);
    }
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 8, "different seeds, different texts");
}

#[tokio::test]
async fn a_model_that_gives_no_numbers_ends_the_request_and_its_slot_is_forgotten() {
    let bad = |tokens: &[u32]| if tokens.contains(&666) { vec![f32::NAN; VOCAB] } else { fifty(tokens) };
    let engine = TestEngine::new(2, 500, bad);
    let asked = engine.asked();
    let (scheduler, stats) = start(engine);
    let prompt: Vec<u32> = (0..40).chain([666]).collect();
    let mut good = scheduler.submit(asking("good", vec![1, 2, 3], 200)).unwrap();
    for _ in 0..2 {
        let (_, end) = collect(&mut scheduler.submit(asking("bad", prompt.clone(), 5)).unwrap()).await;
        assert!(matches!(&end, Some(End::Failed(e)) if e.message.contains("finite")), "{end:?}");
    }
    assert_eq!(collect(&mut good).await.0.len(), 200);
    assert_eq!((stats.snapshot().failed, stats.snapshot().prompt_tokens_reused), (2, 0));
    assert_eq!(look(&asked).copies, []);
}

#[tokio::test]
async fn embeddings_are_computed_beside_answers() {
    let engine = TestEngine::new(3, 4000, fifty);
    let (scheduler, stats) = start(engine);
    let mut answer = scheduler.submit(asking("a", vec![1, 2, 3], 300)).unwrap();
    let tokens: Vec<u32> = (0..2000).map(|n| n % 1000).collect();
    let mean = tokens.iter().map(|&t| f64::from(t)).sum::<f64>() / 2000.0;
    let norm = (mean * mean + 1.0).sqrt();
    let got = scheduler.embed("e".into(), tokens).await.unwrap();
    assert!((f64::from(got[0]) - mean / norm).abs() < 1e-6 && (f64::from(got[1]) - 1.0 / norm).abs() < 1e-6, "{got:?}");
    assert_eq!(collect(&mut answer).await.0.len(), 300);
    assert_eq!(stats.snapshot().finished, 2);
    assert_eq!(scheduler.embed("e".into(), vec![0; 5000]).await.unwrap_err().status, 400);
    assert_eq!(scheduler.embed("e".into(), vec![]).await.unwrap_err().status, 400);
    drop(answer);
    assert!(scheduler.registry.is_empty());
}

#[tokio::test]
async fn an_encoder_gets_whole_texts_and_gives_no_answers() {
    let engine = TestEngine::new(2, 600, fifty).encoder(Pooling::Cls);
    let asked = engine.asked();
    let (scheduler, _) = start(engine);
    let (a, b) = tokio::join!(scheduler.embed("a".into(), vec![3; 600]), scheduler.embed("b".into(), vec![0, 5, 5]));
    assert!((a.unwrap()[0] - 3.0 / 10f32.sqrt()).abs() < 1e-6);
    assert_eq!(b.unwrap(), [0.0, 1.0]);
    let chunks: Vec<_> = look(&asked).steps.concat();
    assert!(chunks.iter().all(|c| c.1 == 0 && c.3 == Output::Hidden) && chunks.len() == 2, "{chunks:?}");
    let Err(refused) = scheduler.submit(plain("c")) else { panic!("an encoder took a prompt") };
    assert!(refused.message.contains("embeddings"), "{refused}");
}

#[tokio::test]
async fn the_answers_of_one_request_enter_together_or_not_at_all() {
    let (gate, steps) = sync_channel::<()>(0);
    let (scheduler, _) = start(TestEngine::new(2, 500, fifty).gated(steps));
    let many = |n: usize| (0..n).map(|at| asking(&at.to_string(), vec![1, 2, 3], 2)).collect::<Vec<_>>();
    let most = scheduler.submit_all(many(QUEUE)).unwrap();
    let Err(refused) = scheduler.submit_all(many(3)) else { panic!("three found places for two") };
    assert_eq!(refused.code, ErrorCode::AllSlotsBusy);
    let mut two = scheduler.submit_all(many(2)).unwrap();
    drop((most, gate));
    for ticket in &mut two {
        assert_eq!(collect(ticket).await.0.len(), 2);
    }
}

#[tokio::test]
async fn ten_thousand_requests_leave_nothing_behind() {
    let engine = TestEngine::new(4, 64, fifty);
    let asked = engine.asked();
    let (scheduler, stats) = start(engine);
    for round in 0..100u32 {
        let mut tickets: Vec<Ticket> = (0..100)
            .map(|n| scheduler.submit(asking(&n.to_string(), vec![round, n % 7, n, 4, 5], 1 + n % 5)).unwrap())
            .collect();
        tickets.drain(..20);
        for ticket in &mut tickets {
            collect(ticket).await;
        }
        asked.lock().unwrap().steps.clear();
    }
    let places = || scheduler.places.available_permits() == QUEUE + 4;
    wait_until("all places are free", || places() && stats.snapshot().running == 0).await;
    assert!(scheduler.registry.is_empty());
    let snapshot = stats.snapshot();
    assert_eq!(snapshot.finished + snapshot.canceled, 10_000);
    assert_eq!((snapshot.waiting, snapshot.running, snapshot.failed), (0, 0, 0));
}
