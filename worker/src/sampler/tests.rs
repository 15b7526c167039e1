//! What is chosen from given logits.

use super::*;
use proptest::prelude::*;

fn draw(sampling: &Sampling, logits: &[f32], times: usize) -> Vec<u32> {
    let mut sampler = Sampler::new(sampling, 1, &[]);
    (0..times).map(|_| sampler.sample(&mut logits.to_vec(), None).unwrap().token).collect()
}

fn greedy() -> Sampling {
    Sampling { temperature: 0.0, ..Sampling::default() }
}

/// Tokens that occur in many draws.
fn possible(sampling: Sampling, logits: &[f32]) -> Vec<u32> {
    let mut seen = draw(&sampling, logits, 3_000);
    seen.sort_unstable();
    seen.dedup();
    seen
}

fn logs(probabilities: &[f32]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln()).collect()
}

#[test]
fn greedy_takes_the_best_and_survives_nonsense() {
    assert_eq!(draw(&greedy(), &[0.0, 3.0, f32::NAN, 3.0, f32::INFINITY], 2), [1, 1]);
    for row in [[f32::NAN; 40], [f32::INFINITY; 40], [f32::NEG_INFINITY; 40]] {
        for sampling in [greedy(), Sampling::default(), Sampling { logprobs: Some(3), ..greedy() }] {
            let mut sampler = Sampler::new(&sampling, 1, &[]);
            assert_eq!(sampler.sample(&mut row.clone(), None), Err(NoFiniteLogit));
        }
    }
    let hot = Sampling { temperature: 2.0, top_k: 1, ..Sampling::default() };
    assert_eq!(draw(&hot, &[0.0, 0.1], 20), vec![1; 20]);
    let mut long = vec![0.0; 1000];
    long[777] = 1.0;
    assert_eq!(draw(&greedy(), &long, 1), [777]);
}

#[test]
fn a_seed_repeats_itself_and_others_differ() {
    let with = |seed| draw(&Sampling { seed: Some(seed), ..Sampling::default() }, &[0.0; 50], 20);
    assert_eq!(with(7), with(7));
    assert_ne!(with(7), with(8));
    assert_ne!(with(-1), with(1));
}

#[test]
fn draws_follow_the_probabilities() {
    let logits = logs(&[0.5, 0.3, 0.2]);
    let share = |sampling: &Sampling, id| {
        draw(sampling, &logits, 20_000).iter().filter(|&&t| t == id).count() as f64 / 20_000.0
    };
    let plain = Sampling::default();
    assert!((share(&plain, 0) - 0.5).abs() < 0.02 && (share(&plain, 2) - 0.2).abs() < 0.02);
    // At temperature 2 probabilities go with their square roots.
    let hot = Sampling { temperature: 2.0, ..Sampling::default() };
    let roots: f64 = [0.5f64, 0.3, 0.2].iter().map(|p| p.sqrt()).sum();
    assert!((share(&hot, 2) - 0.2f64.sqrt() / roots).abs() < 0.02);
}

#[test]
fn filters_keep_what_they_say() {
    let logits = logs(&[0.1, 0.5, 0.25, 0.15]);
    let base = Sampling::default();
    assert_eq!(possible(Sampling { top_p: 0.74, ..base.clone() }, &logits), [1, 2]);
    assert_eq!(possible(Sampling { top_p: 0.76, ..base.clone() }, &logits), [1, 2, 3]);
    assert_eq!(possible(Sampling { top_p: 0.0, ..base.clone() }, &logits), [1]);
    assert_eq!(possible(Sampling { top_k: 2, ..base.clone() }, &logits), [1, 2]);
    assert_eq!(possible(Sampling { min_p: 0.29, ..base.clone() }, &logits), [1, 2, 3]);
    assert_eq!(possible(Sampling { min_p: 0.6, ..base.clone() }, &logits), [1]);
    // The entropy is 1.208, the information of the tokens 2.30, 0.69, 1.39, 1.90: 0.25 is the most typical, then 0.5.
    assert_eq!(possible(Sampling { typical_p: 0.2, ..base.clone() }, &logits), [2]);
    assert_eq!(possible(Sampling { typical_p: 0.7, ..base.clone() }, &logits), [1, 2]);
    // Filters come before the temperature: a hot draw has the same choice.
    assert_eq!(possible(Sampling { top_p: 0.74, temperature: 2.0, ..base }, &logits), [1, 2]);
}

#[test]
fn a_large_nucleus_is_found_without_sorting_everything() {
    let logits: Vec<f32> = (0..5_000).map(|n| ((n * 7919) % 5_000) as f32 * 1e-3).collect();
    let sampling = Sampling { top_p: 0.9, ..Sampling::default() };
    let mut sorted = logits.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let total: f64 = sorted.iter().map(|&l| f64::from(l).exp()).sum();
    let mut mass = 0.0;
    let kept = sorted.iter().take_while(|&&l| {
        let before = mass;
        mass += f64::from(l).exp();
        before < 0.9 * total
    });
    let least = kept.copied().last().unwrap();
    let drawn = draw(&sampling, &logits, 5_000);
    assert!(drawn.iter().all(|&t| logits[t as usize] >= least));
    assert!(drawn.iter().any(|&t| logits[t as usize] < least + 0.5), "the rim of the nucleus is drawn too");
}

#[test]
fn penalties_and_bias_move_tokens() {
    let repeat = Sampling { repeat_penalty: 2.0, ..greedy() };
    let mut sampler = Sampler::new(&repeat, 1, &[0, 0]);
    assert_eq!(sampler.sample(&mut [1.0, 0.6, -1.0], None).unwrap().token, 1, "the prompt counts, once");
    let presence = Sampling { presence_penalty: 1.0, ..greedy() };
    assert_eq!(draw(&presence, &[1.0, 0.5], 3), [0, 1, 0]);
    let frequency = Sampling { frequency_penalty: 1.0, ..greedy() };
    assert_eq!(draw(&frequency, &[1.5, 0.0], 4), [0, 0, 1, 0]);
    let bias = Sampling { logit_bias: vec![(1, 100.0), (9, 5.0)], ..greedy() };
    assert_eq!(draw(&bias, &[1.0, 0.5], 1), [1]);
    let ban = Sampling { logit_bias: vec![(0, -100.0)], ..greedy() };
    assert_eq!(draw(&ban, &[1.0, 0.5], 1), [1]);
}

#[test]
fn a_mask_takes_away_what_it_does_not_name() {
    let logits: Vec<f32> = (0..100).map(|n| n as f32).collect();
    let mut sampler = Sampler::new(&greedy(), 1, &[]);
    let mut choose = |mask: &[u32]| sampler.sample(&mut logits.clone(), Some(mask)).map(|c| c.token);
    assert_eq!(choose(&[0b1010, 0, 0]), Ok(3));
    assert_eq!(choose(&[u32::MAX, 1]), Ok(32), "tokens behind the mask are not allowed");
    assert_eq!(choose(&[0, 0, 0, 0]), Err(NoFiniteLogit));
}

#[test]
fn logprobs_are_the_models_own() {
    let probabilities = [0.1f32, 0.6, 0.25, 0.05];
    let logits: Vec<f32> = logs(&probabilities).iter().map(|l| l + 3.0).collect();
    let bent = Sampling {
        logprobs: Some(2),
        logit_bias: vec![(3, 100.0)],
        presence_penalty: 2.0,
        temperature: 0.5,
        top_k: 1,
        ..Sampling::default()
    };
    let mut sampler = Sampler::new(&bent, 1, &[]);
    let chosen = sampler.sample(&mut logits.clone(), None).unwrap();
    let told = chosen.logprobs.unwrap();
    let near = |a: f32, p: f32| (a - p.ln()).abs() < 1e-6;
    assert!(chosen.token == 3 && near(told.chosen, 0.05), "{told:?}");
    assert_eq!(told.top.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 2]);
    assert!(near(told.top[0].1, 0.6) && near(told.top[1].1, 0.25));
    let none = Sampling { logprobs: Some(0), ..greedy() };
    let told = Sampler::new(&none, 1, &[]).sample(&mut logits.clone(), None).unwrap().logprobs.unwrap();
    assert!(told.top.is_empty() && near(told.chosen, 0.6));
}

proptest! {
    #[test]
    fn what_is_drawn_was_possible(
        logits in proptest::collection::vec(prop_oneof![8 => -20f32..20.0, 1 => Just(f32::NAN), 1 => Just(f32::NEG_INFINITY)], 1..200),
        (temperature, top_k, seed) in (0f32..2.0, 0u32..20, any::<i64>()),
        (top_p, typical_p, min_p) in (0f32..=1.0, 0f32..=1.0, 0f32..=1.0),
    ) {
        let sampling =
            Sampling { temperature, top_k, top_p, typical_p, min_p, seed: Some(seed), logprobs: Some(5), ..Sampling::default() };
        match Sampler::new(&sampling, 0, &[]).sample(&mut logits.clone(), None) {
            Ok(chosen) => {
                prop_assert!(logits[chosen.token as usize].is_finite());
                let told = chosen.logprobs.unwrap();
                prop_assert!(told.chosen <= 0.0 && told.top.iter().all(|t| t.1 >= told.top.last().unwrap().1));
                prop_assert!(told.top.is_sorted_by(|a, b| a.1 >= b.1));
            }
            Err(NoFiniteLogit) => prop_assert!(logits.iter().all(|l| !l.is_finite())),
        }
    }
}
