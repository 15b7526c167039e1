//! One of candle-transformers' models, built from a source's tensors.

use super::finite::is_finite;
use super::form::Form;
use crate::LoadError;
use crate::layers::weight::candle_dtype;
use crate::source::{Source, Stored};
use bytes::Bytes;
use candle_core::quantized::gguf_file::{Content, TensorInfo, Value, VersionedMagic};
use candle_core::{DType, Device, Result, Tensor};
use candle_transformers::models::{quantized_glm4 as glm4, quantized_phi as phi2};
use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A model with the sequence that it holds. Clones share the weights; only one that holds no sequence may be cloned.
#[derive(Clone)]
pub enum Model {
    Phi2(phi2::ModelWeights),
    Glm4(glm4::ModelWeights),
}

impl Model {
    /// Takes the tensors of a form.
    ///
    /// # Errors
    /// [`LoadError`] if one is missing, of another shape or not finite where it must be, or if Candle refuses it.
    pub fn load(
        form: &Form,
        source: &mut Source,
        context: usize,
        device: &Device,
    ) -> std::result::Result<Self, LoadError> {
        let mut joined = Joined::default();
        let mut tensor_infos = HashMap::new();
        for part in &form.tensors {
            if !part.required && !source.has(&part.name) {
                continue;
            }
            let stored = source.take(&part.name, &part.shape)?;
            check(&part.name, &stored)?;
            let Some(ggml_dtype) = candle_dtype(stored.dtype) else {
                let (name, dtype) = (part.name.clone(), stored.dtype);
                return Err(LoadError::DType { name, dtype, place: "by candle-transformers" });
            };
            let offset = joined.push(stored.bytes);
            let shape = part.shape.as_slice().into();
            tensor_infos.insert(part.name.clone(), TensorInfo { ggml_dtype, shape, offset });
        }
        let mut metadata: HashMap<String, Value> = form.metadata.iter().cloned().collect();
        metadata.insert(format!("{}.context_length", form.architecture), Value::U32(context as u32));
        let content = Content { magic: VersionedMagic::GgufV3, metadata, tensor_infos, tensor_data_offset: 0 };
        let built = guarded(|| match form.architecture {
            "phi2" => phi2::ModelWeights::from_gguf(content, &mut joined, device).map(Self::Phi2),
            _ => glm4::ModelWeights::from_gguf(content, &mut joined, device, DType::F32).map(Self::Glm4),
        });
        built.map_err(|message| LoadError::Read { name: form.architecture.to_owned(), message })
    }

    /// Logits after the last of `tokens`, which are at `position` of the sequence; 0 begins a new sequence.
    pub fn forward(&mut self, tokens: &[u32], position: usize, device: &Device) -> Result<Vec<f32>> {
        let tokens = Tensor::new(tokens, device)?.unsqueeze(0)?;
        let logits = match self {
            Self::Phi2(model) => model.forward(&tokens, position)?,
            Self::Glm4(model) => model.forward(&tokens, position)?,
        };
        logits.flatten_all()?.to_vec1()
    }
}

/// All numbers are finite, and vectors are floats.
fn check(name: &str, stored: &Stored) -> std::result::Result<(), LoadError> {
    if stored.shape.len() == 1 && stored.floats().is_none() {
        let place = "for a vector; supported: F32, F16, BF16";
        return Err(LoadError::DType { name: name.to_owned(), dtype: stored.dtype, place });
    }
    match is_finite(stored) {
        true => Ok(()),
        false => Err(LoadError::NotFinite(name.to_owned())),
    }
}

/// Runs foreign code that may panic instead of giving an error.
///
/// # Errors
/// The error's message, or the panic's.
pub fn guarded<T>(run: impl FnOnce() -> Result<T>) -> std::result::Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(format!("candle-transformers panicked: {}", text.unwrap_or_default()))
        }
    }
}

/// Pieces of memory read as if they were one file.
#[derive(Default)]
struct Joined {
    /// Each with where it begins.
    pieces: Vec<(u64, Bytes)>,
    length: u64,
    at: u64,
}

impl Joined {
    /// Adds a piece and says where it begins.
    fn push(&mut self, piece: Bytes) -> u64 {
        let begin = self.length;
        self.length += piece.len() as u64;
        self.pieces.push((begin, piece));
        begin
    }
}

impl Read for Joined {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let after = self.pieces.partition_point(|(begin, _)| *begin <= self.at);
        let Some((begin, piece)) = after.checked_sub(1).and_then(|index| self.pieces.get(index)) else { return Ok(0) };
        let rest = piece.get((self.at - begin) as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Joined {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}
