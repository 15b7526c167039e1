//! Every architecture, data type and variant against llama.cpp's numbers, and against itself.
//!
//! The models are random and made anew by rbee-model; llama.cpp's answers to them are recorded in `tests/data/engine.expected.json` by
//! the program `record` beside this file.

mod compare;
mod invariance;
mod models;

use compare::{Tolerance, compare};
use models::{Golden, load};
use rbee_engine::Device;
use rbee_model::testing::{ModelSpec, Scaling};

/// All recorded models whose computing is asked for, and what is wrong with each.
fn faults(device: Device, chosen: impl Fn(&str) -> bool) -> Vec<String> {
    let models: Vec<Golden> = models::recorded().into_iter().filter(|m| chosen(&m.name)).collect();
    assert!(!models.is_empty());
    models
        .iter()
        .filter_map(|model| {
            let mut engine = load(&model.bytes, device, 2, 1);
            let told = compare(engine.as_mut(), model, Tolerance::of(&model.name));
            println!("{}: {told}", model.name);
            (!told.faults.is_empty()).then(|| format!("{}: {told}", model.name))
        })
        .collect()
}

#[test]
fn every_model_computes_what_llama_cpp_computes() {
    let wrong = faults(Device::Cpu, |_| true);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn candle_s_own_operations_compute_the_same() {
    let wrong = faults(Device::CandleCpu, |name| [".F16", ".Q8_0", "llama.Q4_K"].iter().any(|end| name.ends_with(end)));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The recorded numbers must tell a model from one that differs in a single setting, or they prove nothing about it.
#[test]
fn a_setting_that_is_ignored_would_be_noticed() {
    let scaling = |spec: &mut ModelSpec, factor| spec.scaling = spec.scaling.map(|s| Scaling { factor, ..s });
    type Change<'a> = (&'a str, &'a str, &'a dyn Fn(&mut ModelSpec));
    let changes: &[Change<'_>] = &[
        ("gemma2.F16", "the sliding window", &|s| s.window = Some(512)),
        ("gemma2.F16", "the cap of attention", &|s| s.softcap = Some((2.0, 30.0))),
        ("gemma2.F16", "the cap of logits", &|s| s.softcap = Some((50.0, 10.0))),
        ("gemma3.F16", "the sliding window", &|s| s.window = Some(512)),
        ("gemma3.F16", "the base of layers that see everything", &|s| s.rope_base = 1e4),
        ("llama-linear.F16", "the factor", &|s| scaling(s, 2.0)),
        ("qwen2-yarn.F16", "the factor", &|s| scaling(s, 2.0)),
        ("qwen2-yarn.F16", "the original context", &|s| {
            s.scaling = s.scaling.map(|s| Scaling { original_context: 128, ..s })
        }),
        ("llama-llama3.F16", "the factors of frequencies", &|s| s.rope_factors = false),
        ("llama.F16", "the base", &|s| s.rope_base = 2e4),
        ("qwen2.F16", "the biases", &|s| s.bias = false),
        ("qwen3.F16", "the base", &|s| s.rope_base = 1e4),
        ("phi3.F16", "the base", &|s| s.rope_base = 2e4),
    ];
    let models = models::recorded();
    for (name, what, change) in changes {
        let model = models.iter().find(|m| m.name == *name).unwrap_or_else(|| panic!("no {name}"));
        let mut spec = model.spec.unwrap_or_default();
        change(&mut spec);
        let bytes = spec.file().bytes();
        let mut engine = load(&bytes, Device::Cpu, 1, 1);
        let told = compare(engine.as_mut(), model, Tolerance::of(name));
        println!("{name}, {what}: {told}");
        assert!(!told.faults.is_empty(), "{name} with a change of {what} passes: {told}");
    }
}
