//! The layout of a panel: 16 rows of weights, unpacked for the dot products of one kind.
//!
//! A panel of quants is a sequence of groups of 32 columns. A group has 8 vectors of 16 rows x 4 columns (bytes), then
//! its scales and, in some kinds, its minimums: vectors of 16 f32. A panel of [`Kind::Integers`] has blocks of 8 groups instead, whose scales
//! are integers; after the groups come their minimums, then what both are multiplied by. A panel of floats has a vector of 16 f32 per column.

use super::simd::LANES;
use rbee_model::gguf::DType;

/// Columns that have one scale in the activations.
pub(super) const GROUP: usize = 32;
/// Columns that have one scale in the activations of [`Kind::Integers`]; a multiple of every type's block.
pub(super) const BLOCK: usize = 256;
/// Groups of a block.
pub(super) const GROUPS: usize = BLOCK / GROUP;
/// Bytes of a vector of 16 lanes.
pub(super) const VECTOR: usize = LANES * 4;
/// Bytes of a group's quants.
pub(super) const QUANTS: usize = GROUP * LANES;

/// How the weights of a panel are expressed; `q` is the unsigned byte that lies there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `scale * (q - 8)`
    Nibbles,
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
    /// `d * scale * (q - zero) - dmin * min`, where scales and minimums are integers.
    Integers(Integers),
    /// The f32 themselves.
    Floats,
}

/// The integers of a type with blocks of 256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Integers {
    /// Scales of a group: one, or one for each half. A vector of pairs of equal i16 each.
    pub(super) scales: usize,
    /// Minimums of a group: as many as it has scales, or none. Those of two places that follow each other share a vector of pairs of i16.
    pub(super) mins: usize,
    /// Whether a quant's zero is 32, else it is 0. If so there are two parts.
    pub(super) zero_is_32: bool,
    /// Parts of a group whose products are summed in 16 bits, each: as many as it has scales, or two.
    pub(super) parts: usize,
}

impl Integers {
    const fn of(dtype: DType) -> Option<Self> {
        let (scales, mins, zero_is_32, parts) = match dtype {
            DType::Q2_K => (2, 2, false, 2),
            DType::Q3_K | DType::Q6_K => (2, 0, true, 2),
            DType::Q4_K => (1, 1, false, 1),
            // 16 columns of 5 bits would not fit into 16 bits.
            DType::Q5_K => (1, 1, false, 2),
            _ => return None,
        };
        assert!(parts == 2 || (scales == 1 && !zero_is_32));
        Some(Self { scales, mins, zero_is_32, parts })
    }

    /// Bytes of a group: its quants and scales.
    pub(super) const fn group_bytes(self) -> usize {
        QUANTS + self.scales * VECTOR
    }

    /// Vectors of a block's minimums.
    pub(super) const fn min_vectors(self) -> usize {
        self.mins * GROUPS / 2
    }

    /// Where what scales are multiplied by lies in a block, behind the minimums; then comes the same for them.
    pub(super) const fn factors_at(self) -> usize {
        GROUPS * self.group_bytes() + self.min_vectors() * VECTOR
    }

    /// Bytes of a block.
    pub(super) const fn block_bytes(self) -> usize {
        self.factors_at() + if self.mins > 0 { 2 * VECTOR } else { VECTOR }
    }
}

impl Kind {
    /// The kind of a type; `integers`: whether scales that are integers stay so, see [`super::simd::Simd::PAIRS`].
    pub(super) const fn of(dtype: DType, integers: bool) -> Self {
        if integers && let Some(integers) = Integers::of(dtype) {
            return Kind::Integers(integers);
        }
        match dtype {
            DType::Q4_0 => Kind::Nibbles,
            DType::Q5_0 => Kind::Scale,
            DType::Q4_1 | DType::Q5_1 | DType::Q4_K | DType::Q5_K => Kind::ScaleMin,
            DType::Q3_K | DType::Q6_K => Kind::HalfScales,
            DType::Q2_K => Kind::HalfScalesMins,
            DType::Q8_0 => Kind::Bytes,
            _ => Kind::Floats,
        }
    }

    /// Bytes of some columns, a multiple of 32, or of 256 for [`Kind::Integers`].
    pub(super) const fn bytes(self, columns: usize) -> usize {
        match self {
            Kind::Integers(integers) => columns / BLOCK * integers.block_bytes(),
            Kind::Floats => columns * VECTOR,
            _ => columns / GROUP * self.group_bytes(),
        }
    }

    /// Bytes of a group of 32 columns.
    pub(super) const fn group_bytes(self) -> usize {
        match self {
            Kind::Nibbles | Kind::Scale | Kind::Bytes => QUANTS + VECTOR,
            Kind::ScaleMin | Kind::HalfScales => QUANTS + 2 * VECTOR,
            Kind::HalfScalesMins => QUANTS + 4 * VECTOR,
            Kind::Integers(integers) => integers.group_bytes(),
            Kind::Floats => GROUP * VECTOR,
        }
    }
}
