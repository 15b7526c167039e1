//! The models whose numbers are compared with llama.cpp's.

use super::{ModelSpec, Scaling, Vocabulary};
use crate::format::DTYPES;
use crate::gguf::DType;

/// A model and what it is called, for example `gemma2.Q8_0`.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    pub name: String,
    pub spec: ModelSpec,
}

/// Every architecture as F16 and in two quantizations, every variant of one once, and Llama in every data type.
pub fn models() -> Vec<Named> {
    const SOME: [DType; 3] = [DType::F16, DType::Q8_0, DType::Q4_K];
    let bases: [(&str, &[DType]); 7] = [
        ("llama", DTYPES),
        ("qwen2", &SOME),
        ("qwen3", &SOME),
        ("gemma2", &SOME),
        ("gemma3", &SOME),
        ("phi3", &SOME),
        ("bert", &SOME[..2]),
    ];
    let of = |architecture: &str| ModelSpec::of(architecture).unwrap_or_default();
    let architectures = bases.into_iter().flat_map(|(architecture, dtypes)| {
        dtypes.iter().map(move |&dtype| (architecture, ModelSpec { dtype, ..of(architecture) }))
    });
    let llama = ModelSpec { dtype: DType::F16, ..of("llama") };
    let linear = Scaling { kind: "linear", factor: 4.0, original_context: 128 };
    let yarn = Scaling { kind: "yarn", factor: 4.0, original_context: 32 };
    let variants = [
        ("llama-linear", ModelSpec { scaling: Some(linear), seed: 7, ..llama }),
        ("llama-llama3", ModelSpec { rope_factors: true, rope_base: 5e5, tied: true, seed: 8, ..llama }),
        ("qwen2-yarn", ModelSpec { scaling: Some(yarn), dtype: DType::F16, seed: 9, ..of("qwen2") }),
        ("llama-spm", ModelSpec { vocabulary: Vocabulary::SentencePiece, seed: 10, ..llama }),
    ];
    architectures.chain(variants).map(|(name, spec)| Named { name: format!("{name}.{}", spec.dtype), spec }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format;
    use crate::gguf::Header;
    use sha2::{Digest, Sha256};
    use std::collections::HashSet;

    #[test]
    fn the_models_are_those_whose_numbers_were_recorded() {
        let text = include_str!("../../../../tests/data/engine.expected.json");
        let recorded: serde_json::Value = serde_json::from_str(text).expect("the record is JSON");
        for model in models() {
            let hash = hex::encode(Sha256::digest(model.spec.file().bytes()));
            assert_eq!(recorded["models"][&model.name]["sha256"], hash, "{}: record its numbers anew", model.name);
        }
    }

    #[test]
    fn every_model_is_sound_and_of_every_architecture_and_data_type_that_is_served() {
        let models = models();
        let mut architectures = HashSet::new();
        let mut dtypes = HashSet::new();
        for model in &models {
            let header =
                Header::from_bytes(&model.spec.file().bytes()).unwrap_or_else(|e| panic!("{}: {e}", model.name));
            format::check(&header).unwrap_or_else(|e| panic!("{}: {e}", model.name));
            assert_eq!(header.summary().architecture, model.spec.architecture);
            architectures.insert(model.spec.architecture);
            dtypes.extend(header.tensors().iter().map(|t| t.dtype));
        }
        let names: HashSet<&str> = models.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names.len(), models.len());
        for known in format::ARCHITECTURES.iter().chain(format::ENCODERS) {
            assert!(architectures.contains(known), "no model of {known}");
        }
        for fallback in format::FALLBACKS {
            let file = ModelSpec::of(fallback).expect("the writer knows it").file();
            let header = Header::from_bytes(&file.bytes()).unwrap_or_else(|e| panic!("{fallback}: {e}"));
            format::check(&header).unwrap_or_else(|e| panic!("{fallback}: {e}"));
        }
        for dtype in DTYPES {
            assert!(dtypes.contains(dtype), "no tensor of {dtype}");
        }
    }
}
