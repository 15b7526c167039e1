//! The recorded answers and the models they belong to.

use std::collections::BTreeMap;

use bytes::Bytes;
use rbee_engine::Device;
use rbee_engine::Engine;
use rbee_engine::Options;
use rbee_engine::source::Source;
use rbee_model::builtin;
use rbee_model::gguf::Header;
use rbee_model::testing::{self, ModelSpec};
use serde::Deserialize;

#[derive(Deserialize)]
struct Recorded {
    models: BTreeMap<String, Answers>,
}

#[derive(Deserialize)]
struct Answers {
    cases: Vec<Case>,
}

/// One prompt and what llama.cpp made of it.
#[derive(Debug, Clone, Deserialize)]
pub struct Case {
    pub prompt: Vec<u32>,
    /// The tokens that follow greedily; of a decoder.
    #[serde(default)]
    pub tokens: Vec<u32>,
    /// For each of them the best tokens with their log probabilities, the best first.
    #[serde(default)]
    pub top: Vec<Vec<(u32, f32)>>,
    /// Pooled and of length 1; of an encoder.
    #[serde(default)]
    pub embedding: Vec<f32>,
}

/// A model with its recorded answers.
pub struct Golden {
    pub name: String,
    /// None for tinybee.
    pub spec: Option<ModelSpec>,
    pub bytes: Vec<u8>,
    pub cases: Vec<Case>,
}

/// All models that were recorded; every random model must have been.
pub fn recorded() -> Vec<Golden> {
    let text = include_str!("../../../tests/data/engine.expected.json");
    let mut answers = serde_json::from_str::<Recorded>(text).expect("the record is JSON").models;
    let mut take = |name: &str| answers.remove(name).unwrap_or_else(|| panic!("{name} is not recorded")).cases;
    let tinybee = Golden {
        name: "tinybee".into(),
        spec: None,
        bytes: builtin::get("tinybee").expect("tinybee is built in").bytes.to_vec(),
        cases: take("tinybee"),
    };
    let random = testing::models().into_iter().map(|model| Golden {
        cases: take(&model.name),
        bytes: model.spec.file().bytes(),
        spec: Some(model.spec),
        name: model.name,
    });
    let all: Vec<Golden> = random.chain([tinybee]).collect();
    assert!(answers.is_empty(), "recorded and not made: {:?}", answers.keys());
    all
}

/// An engine of a file in memory.
pub fn load(file: &[u8], device: Device, threads: usize, slots: usize) -> Box<dyn Engine> {
    let header = Header::from_bytes(file).expect("a sound header");
    let source = Source::gguf(&header, &Bytes::copy_from_slice(file)).expect("a sound file");
    let context_length = (header.summary().context_length as usize).min(256);
    let options = Options { slots, context_length, threads, device };
    rbee_engine::load(source, options, &mut |_| {}).expect("the model is supported")
}
