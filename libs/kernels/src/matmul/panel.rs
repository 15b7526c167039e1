//! The layout of a panel: 16 rows of weights, unpacked for the dot products of one kind.
//!
//! A panel of quants is a sequence of groups of 32 columns. A group has 8 vectors of 16 rows x 4 columns (bytes), then
//! its scales and, in some kinds, its minimums: vectors of 16 f32. A panel of floats has a vector of 16 f32 per column.

use super::simd::LANES;
use rbee_model::gguf::DType;

/// Columns that have one scale in the activations.
pub(super) const GROUP: usize = 32;
/// Bytes of a vector of 16 lanes.
pub(super) const VECTOR: usize = LANES * 4;
/// Bytes of a group's quants.
pub(super) const QUANTS: usize = GROUP * LANES;

/// How the weights of a panel are expressed; `q` is the unsigned byte that lies there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `scale * (q - 16)`
    Scale,
    /// `scale * (q - 16) - min`
    ScaleMin,
    /// `scale * (q - 32)`, a scale for each half of the group.
    HalfScales,
    /// `scale * (q - 32) - min`, both for each half of the group.
    HalfScalesMins,
    /// `scale * q`, where q is a signed byte, flipped as the instructions want it.
    Bytes,
    /// The f32 themselves.
    Floats,
}

impl Kind {
    pub(super) const fn of(dtype: DType) -> Self {
        match dtype {
            DType::Q4_0 | DType::Q5_0 => Kind::Scale,
            DType::Q4_1 | DType::Q5_1 | DType::Q4_K | DType::Q5_K => Kind::ScaleMin,
            DType::Q3_K | DType::Q6_K => Kind::HalfScales,
            DType::Q2_K => Kind::HalfScalesMins,
            DType::Q8_0 => Kind::Bytes,
            _ => Kind::Floats,
        }
    }

    /// Bytes of a group of 32 columns.
    pub(super) const fn group_bytes(self) -> usize {
        match self {
            Kind::Scale | Kind::Bytes => QUANTS + VECTOR,
            Kind::ScaleMin | Kind::HalfScales => QUANTS + 2 * VECTOR,
            Kind::HalfScalesMins => QUANTS + 4 * VECTOR,
            Kind::Floats => GROUP * VECTOR,
        }
    }
}
