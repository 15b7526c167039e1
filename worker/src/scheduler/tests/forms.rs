//! Answers of a wanted form, and what is told of their tokens.

use super::*;
use crate::sampler::TokenLogprobs;
use crate::testing::engine::{TestEngine, VOCAB, noise};
use serde_json::{Value, json};

/// Everything that was told of an answer.
async fn told(ticket: &mut Ticket) -> (String, Vec<TokenLogprobs>, Option<End>) {
    let (mut text, mut told) = (String::new(), Vec::new());
    while let Some(event) = ticket.events.recv().await {
        match event {
            Event::Started => {}
            Event::Token { text: piece, logprobs, .. } => {
                text += &piece;
                told.extend(logprobs);
                let joined: String = told.iter().map(|t| t.text.as_str()).collect();
                assert!(text.starts_with(&joined), "no token is told before its text: {text:?} {joined:?}");
            }
            Event::End(end) => return (text, told, Some(end)),
        }
    }
    (text, told, None)
}

/// Says these tokens whatever the prompt of three tokens is.
fn saying(script: Vec<u32>) -> TestEngine {
    TestEngine::new(1, 500, move |tokens| {
        let mut logits = vec![0.0; VOCAB];
        logits[script.get(tokens.len() - 3).copied().unwrap_or(END) as usize] = 20.0;
        logits
    })
}

#[tokio::test]
async fn log_probabilities_go_with_the_text() {
    let tokenizer = tinybee_tokenizer();
    let with = |stop: Option<&str>, max_tokens| Sampling {
        logprobs: Some(2),
        stop: stop.map(str::to_owned).into_iter().collect(),
        max_tokens,
        ..Sampling::default()
    };
    let script = tokenizer.encode("naïve 🐝 bees END of it");
    let cases = [
        (with(None, None), "naïve 🐝 bees END of it"),
        (with(Some(" END"), None), "naïve 🐝 bees"),
        (with(Some("ve 🐝 b"), None), "naï"),
        (with(Some("never"), None), "naïve 🐝 bees END of it"),
    ];
    for (sampling, wanted) in cases {
        let (scheduler, _) = start(saying(script.clone()));
        let stopped = sampling.stop.first().is_some_and(|s| s != "never");
        let (text, told, end) = told(&mut scheduler.submit(generation("a", sampling)).unwrap()).await;
        assert_eq!(text, wanted);
        assert_eq!(told.iter().map(|t| t.text.as_str()).collect::<String>(), text);
        assert!(matches!(end, Some(End::Finished { .. })));
        // One token at 20, all others at 0.
        let likely = -(1279.0f64 * (-20.0f64).exp()).ln_1p() as f32;
        assert!(told.iter().all(|t| (t.token.logprob - likely).abs() < 1e-6 && t.top.len() == 2), "{told:?}");
        assert!(told.iter().all(|t| t.top[0].bytes == t.token.bytes));
        if !stopped {
            let bytes: Vec<u8> = told.iter().flat_map(|t| t.token.bytes.clone()).collect();
            assert_eq!(String::from_utf8(bytes).unwrap(), wanted);
            assert_eq!(told.len(), script.len() + 1, "the end token is told too");
        }
    }
    // Half a character at the end.
    let bee = tokenizer.encode("🐝");
    assert!(bee.len() > 1, "this test needs a vocabulary that cuts the bee");
    let (scheduler, _) = start(saying(bee));
    let (text, told, _) = told(&mut scheduler.submit(generation("a", with(None, Some(1)))).unwrap()).await;
    assert_eq!((text.as_str(), told.len(), told[0].text.as_str()), ("\u{FFFD}", 1, "\u{FFFD}"));
}

#[tokio::test]
async fn a_control_token_is_told_by_its_text_where_that_is_wished() {
    let script = vec![1, 50];
    let with = |told| Generation {
        told,
        ..generation("a", Sampling { logprobs: Some(0), max_tokens: Some(2), ..Sampling::default() })
    };
    for (told_token, wanted) in [(Some(1), "<|im_start|>"), (None, "")] {
        let (scheduler, _) = start(saying(script.clone()));
        let (text, told, _) = told(&mut scheduler.submit(with(told_token)).unwrap()).await;
        let other = std::str::from_utf8(tinybee_tokenizer().bytes(50)).unwrap().to_owned();
        assert_eq!(text, format!("{wanted}{other}"));
        assert_eq!(told.iter().map(|t| t.text.as_str()).collect::<Vec<_>>(), [wanted, &other]);
    }
}

#[tokio::test]
async fn without_the_wish_nothing_is_told() {
    let (scheduler, _) = start(saying(vec![50; 5]));
    let (text, told, _) = told(&mut scheduler.submit(plain("a")).unwrap()).await;
    assert!(!text.is_empty() && told.is_empty());
}

fn person() -> Value {
    json!({
        "$defs": {"mood": {"enum": ["calm", "busy"]}},
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "moods": {"type": "array", "items": {"$ref": "#/$defs/mood"}, "minItems": 1, "maxItems": 3},
        },
        "required": ["name", "age", "moods"],
        "additionalProperties": false,
    })
}

fn formed(scheduler: &Scheduler, id: &str, constraint: &Constraint, sampling: Sampling) -> Ticket {
    let grammar = scheduler.grammar(constraint).unwrap();
    let generation = Generation { grammar: Some(grammar), sampling, ..plain(id) };
    scheduler.submit(generation).unwrap()
}

fn check_person(text: &str) {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text:?}"));
    let moods = value["moods"].as_array().unwrap();
    assert!(value["name"].as_str().unwrap().chars().count() <= 12, "{text}");
    assert!(value["age"].as_u64().unwrap() <= 150, "{text}");
    assert!((1..=3).contains(&moods.len()) && moods.iter().all(|m| m == "calm" || m == "busy"), "{text}");
    assert_eq!(value.as_object().unwrap().len(), 3);
}

#[tokio::test]
async fn a_model_that_says_anything_keeps_to_the_schema() {
    let (scheduler, _) = start(TestEngine::new(4, 2000, noise));
    let constraint = Constraint::JsonSchema(person());
    let sampling = |seed| Sampling { seed: Some(seed), ..Sampling::default() };
    let mut tickets: Vec<Ticket> =
        (0..8).map(|n| formed(&scheduler, &n.to_string(), &constraint, sampling(n))).collect();
    for ticket in &mut tickets {
        let (text, _, end) = told(ticket).await;
        assert!(matches!(end, Some(End::Finished { reason: FinishReason::Stop, .. })), "{end:?} {text}");
        check_person(&text);
    }
}

#[tokio::test]
async fn the_built_in_model_keeps_to_a_schema_and_a_regex() {
    let options = Options { slots: 2, context_length: 256, threads: 1, device: Device::Cpu };
    let source = Source::gguf(&tinybee_header(), &Bytes::from_static(tinybee_bytes())).unwrap();
    let (scheduler, _) = start_boxed(load(source, options, &mut |_| {}).unwrap());
    let prompt = reference()[1].prompt_ids.clone();
    let ask = async |constraint: Constraint| {
        let grammar = Some(scheduler.grammar(&constraint).unwrap());
        let sampling = Sampling { temperature: 0.0, max_tokens: Some(150), ..Sampling::default() };
        let request = Generation { id: "a".into(), prompt: prompt.clone(), sampling, grammar, told: None, seed: 1 };
        told(&mut scheduler.submit(request).unwrap()).await
    };
    let (text, _, end) = ask(Constraint::JsonSchema(person())).await;
    assert!(matches!(end, Some(End::Finished { reason: FinishReason::Stop, .. })), "{end:?} {text}");
    check_person(&text);
    let (text, _, _) = ask(Constraint::Regex("(bee|wasp)s? [0-9]{3}".into())).await;
    assert!(
        ["bee", "wasp"].iter().any(|b| text.starts_with(b)) && text.ends_with(|c: char| c.is_ascii_digit()),
        "{text}"
    );
}

#[tokio::test]
async fn an_end_comes_only_where_the_form_allows_it() {
    // A model that wants to end at once, and after that says "a".
    let ends = |tokens: &[u32]| {
        let mut logits = noise(tokens);
        logits[END as usize] = 1000.0;
        logits
    };
    let (scheduler, _) = start(TestEngine::new(1, 500, ends));
    let greedy = || Sampling { temperature: 0.0, ..Sampling::default() };
    let (text, _, end) = told(&mut formed(&scheduler, "a", &Constraint::Regex("x{5}y*".into()), greedy())).await;
    assert_eq!(text, "xxxxx");
    assert!(matches!(end, Some(End::Finished { reason: FinishReason::Stop, .. })), "{end:?}");
    let short = Sampling { max_tokens: Some(2), ..greedy() };
    let (_, _, end) = told(&mut formed(&scheduler, "b", &Constraint::Json, short)).await;
    assert!(matches!(end, Some(End::Finished { reason: FinishReason::Length, completion_tokens: 2, .. })), "{end:?}");
}
