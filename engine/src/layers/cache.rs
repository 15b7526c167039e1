//! Keys and values of all slots, f16, one block of memory per slot that is reserved at the start and never grows.

use crate::LoadError;
use crate::backend::Backend;
use crate::spec::Spec;
use candle_core::{DType, Tensor};
use rbee_kernels::{KvCache, KvShape};

/// The caches of all slots.
pub enum Caches {
    Kernels(Vec<KvCache>),
    Candle(Vec<TensorCache>),
}

/// One slot's cache on a device of Candle.
pub struct TensorCache {
    /// Per layer keys `[kv_heads, context, key_length]` and values `[kv_heads, context, value_length]`.
    pub layers: Vec<(Tensor, Tensor)>,
    length: usize,
}

impl Caches {
    /// Empty caches of `context` tokens each.
    ///
    /// # Errors
    /// [`LoadError::Cache`] if the memory cannot be reserved.
    pub fn new(backend: &Backend, spec: &Spec, slots: usize, context: usize) -> Result<Self, LoadError> {
        let refuse = |error: String| LoadError::Cache { bytes: Self::bytes(spec, slots, context), error };
        Ok(match backend {
            Backend::Kernels(_) => {
                let shape = KvShape {
                    layers: spec.layers.len(),
                    kv_heads: spec.kv_heads,
                    key_length: spec.key_length,
                    value_length: spec.value_length,
                    context,
                };
                let slots = (0..slots).map(|_| KvCache::new(shape)).collect::<Result<_, _>>();
                Self::Kernels(slots.map_err(|e| refuse(e.to_string()))?)
            }
            Backend::Candle(device) => {
                let zeros = |length: usize| Tensor::zeros((spec.kv_heads, context, length), DType::F16, device);
                let layer = || Ok((zeros(spec.key_length)?, zeros(spec.value_length)?));
                let slot = || {
                    let layers = (0..spec.layers.len()).map(|_| layer()).collect::<candle_core::Result<_>>()?;
                    Ok(TensorCache { layers, length: 0 })
                };
                let slots = (0..slots).map(|_| slot()).collect::<candle_core::Result<_>>();
                Self::Candle(slots.map_err(|e| refuse(e.to_string()))?)
            }
        })
    }

    /// Bytes of full caches.
    pub fn bytes(spec: &Spec, slots: usize, context: usize) -> u64 {
        let per_token = spec.layers.len() * spec.kv_heads * (spec.key_length + spec.value_length) * 2;
        (slots as u64).saturating_mul(context as u64).saturating_mul(per_token as u64)
    }

    /// Number of slots.
    pub fn slots(&self) -> usize {
        match self {
            Self::Kernels(slots) => slots.len(),
            Self::Candle(slots) => slots.len(),
        }
    }

    /// Tokens that a slot holds.
    pub fn length(&self, slot: usize) -> usize {
        match self {
            Self::Kernels(slots) => slots[slot].len(),
            Self::Candle(slots) => slots[slot].length,
        }
    }

    /// Makes a slot hold `length` tokens: fewer than it does, or so many as were written.
    pub fn set_length(&mut self, slot: usize, length: usize) {
        match self {
            Self::Kernels(slots) => slots[slot].set_len(length),
            Self::Candle(slots) => slots[slot].length = length,
        }
    }

    /// Makes slot `to` hold the first `length` tokens of slot `from`, or as many as that holds.
    ///
    /// # Errors
    /// The device's.
    pub fn copy(&mut self, from: usize, to: usize, length: usize) -> candle_core::Result<()> {
        let length = length.min(self.length(from));
        match self {
            Self::Kernels(slots) => {
                if let Ok([from, to]) = slots.get_disjoint_mut([from, to]) {
                    to.copy_prefix(from, length);
                }
            }
            Self::Candle(slots) => {
                if let Ok([from, to]) = slots.get_disjoint_mut([from, to]) {
                    to.copy_prefix(from, length)?;
                }
            }
        }
        Ok(())
    }
}

impl TensorCache {
    fn copy_prefix(&mut self, from: &Self, length: usize) -> candle_core::Result<()> {
        if length > 0 {
            for ((keys, values), (from_keys, from_values)) in self.layers.iter().zip(&from.layers) {
                keys.slice_set(&from_keys.narrow(1, 0, length)?.contiguous()?, 1, 0)?;
                values.slice_set(&from_values.narrow(1, 0, length)?.contiguous()?, 1, 0)?;
            }
        }
        self.length = length;
        Ok(())
    }
}
