//! The functions of every instruction set, compiled for it.

use super::activations::{Packing, pack_by_32, pack_by_256, pack_floats};
use super::fused::{self, Fused};
use super::integers;
use super::kernel::{self, Dot};
use super::panel::Kind;
use super::simd::Simd;
use super::unpack::{self, Unpack};
use crate::Isa;
use rbee_model::gguf::DType;

/// What a product is made of. All need the instructions that they were chosen for.
pub(super) struct Kernels {
    /// Rows of activations in a block, at most.
    pub(super) rows: usize,
    /// Panels that are multiplied at once, at most.
    pub(super) panels: usize,
    /// Bytes of that many panels, about.
    pub(super) panel_bytes: usize,
    /// As in [`Simd`].
    pairs: bool,
    pub(super) pack: unsafe fn(Packing, &[f32], usize, &mut [u32]),
    pub(super) unpack: unsafe fn(Unpack),
    /// Of a type, one panel or `panels` of them, with a block of a number of rows.
    pub(super) dot: unsafe fn(DType, usize, usize, Dot),
    /// As in [`Simd`].
    fused_rows: usize,
    /// A tile of quants with a block of a number of rows.
    pub(super) fused: unsafe fn(Fused, usize),
}

impl Kernels {
    /// Rows of activations up to which [`Self::fused`] is the faster way for a type.
    pub(super) fn fused_rows(&self, dtype: DType) -> usize {
        if fused::DTYPES.contains(&dtype) { self.fused_rows } else { 0 }
    }

    /// How a type's panels are.
    pub(super) fn kind(&self, dtype: DType) -> Kind {
        Kind::of(dtype, self.pairs)
    }

    /// Those of an instruction set; the portable ones when this is another processor's.
    pub(super) fn of(isa: Isa) -> &'static Self {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &avx2::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => &avx_vnni::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => &avx512::KERNELS,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => &neon::KERNELS,
            _ => &portable::KERNELS,
        }
    }
}

macro_rules! kernels {
    ($name:ident, $simd:ty, [$($m:literal)*], [$($f:literal)*] $(, $features:literal)?) => {
        mod $name {
            use super::*;

            pub(super) static KERNELS: Kernels = Kernels {
                rows: <$simd>::ROWS,
                panels: <$simd>::PANELS,
                panel_bytes: <$simd>::PANEL_BYTES,
                pairs: <$simd>::PAIRS,
                pack,
                unpack,
                dot,
                fused_rows: <$simd>::FUSED_ROWS,
                fused,
            };

            $(#[target_feature(enable = $features)])?
            unsafe fn pack(packing: Packing, x: &[f32], cols: usize, out: &mut [u32]) {
                match packing {
                    Packing::By32 => pack_by_32::<{ <$simd>::PAIRS }>(x, cols, out),
                    Packing::By256 => pack_by_256(x, cols, out),
                    Packing::Floats => pack_floats(x, cols, out),
                }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn unpack(task: Unpack) {
                // SAFETY: the caller's.
                unsafe { unpack::unpack::<$simd>(task) }
            }

            unsafe fn dot(dtype: DType, panels: usize, m: usize, dot: Dot) {
                // SAFETY: the caller's.
                unsafe {
                    match (m, panels) {
                        $(($m, 1) => dot_of::<1, $m>(dtype, dot),
                        ($m, _) => dot_of::<{ <$simd>::PANELS }, $m>(dtype, dot),)*
                        _ => unreachable!("a block has 1 to {} rows", <$simd>::ROWS),
                    }
                }
            }

            unsafe fn dot_of<const T: usize, const M: usize>(dtype: DType, dot: Dot) {
                // SAFETY: the caller's.
                unsafe {
                    match KERNELS.kind(dtype) {
                        Kind::Nibbles => quants::<T, M, 0>(dot),
                        Kind::Scale => quants::<T, M, 1>(dot),
                        Kind::ScaleMin => quants::<T, M, 2>(dot),
                        Kind::HalfScales => quants::<T, M, 3>(dot),
                        Kind::HalfScalesMins => quants::<T, M, 4>(dot),
                        Kind::Bytes => quants::<T, M, 5>(dot),
                        Kind::Integers(_) => integers_of::<M>(dtype, dot),
                        Kind::Floats => floats::<T, M>(dot),
                    }
                }
            }

            unsafe fn integers_of<const M: usize>(dtype: DType, dot: Dot) {
                // SAFETY: the caller's.
                unsafe {
                    match dtype {
                        DType::Q2_K => integers_as::<M, 0>(dot),
                        DType::Q3_K => integers_as::<M, 1>(dot),
                        DType::Q4_K => integers_as::<M, 2>(dot),
                        DType::Q5_K => integers_as::<M, 3>(dot),
                        DType::Q6_K => integers_as::<M, 4>(dot),
                        other => unreachable!("{other} has no integers for scales"),
                    }
                }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn integers_as<const M: usize, const DTYPE: usize>(dot: Dot) {
                const { assert!(!<$simd>::PAIRS || <$simd>::PANELS == 1, "one panel at a time") };
                if !<$simd>::PAIRS {
                    unreachable!("{} has f32 for scales", integers::DTYPES[DTYPE]);
                }
                // SAFETY: the caller's.
                unsafe { integers::integers::<$simd, M, DTYPE>(dot) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn quants<const T: usize, const M: usize, const KIND: usize>(dot: Dot) {
                // SAFETY: the caller's.
                unsafe { kernel::quants::<$simd, T, M, KIND>(dot) }
            }

            unsafe fn fused(task: Fused, m: usize) {
                // SAFETY: the caller's.
                unsafe {
                    match m {
                        $($f => fused_of::<$f>(task),)*
                        _ => unreachable!("{m} rows are multiplied by panels"),
                    }
                }
            }

            unsafe fn fused_of<const M: usize>(task: Fused) {
                // SAFETY: the caller's.
                unsafe {
                    match task.dtype {
                        DType::Q4_0 => fused_as::<M, 0>(task),
                        DType::Q4_1 => fused_as::<M, 1>(task),
                        DType::Q5_0 => fused_as::<M, 2>(task),
                        DType::Q5_1 => fused_as::<M, 3>(task),
                        DType::Q8_0 => fused_as::<M, 4>(task),
                        other => unreachable!("{other} is multiplied by panels"),
                    }
                }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn fused_as<const M: usize, const DTYPE: usize>(task: Fused) {
                debug_assert_eq!(task.dtype, fused::DTYPES[DTYPE]);
                // SAFETY: the caller's.
                unsafe { fused::fused::<$simd, M, DTYPE>(task) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn floats<const T: usize, const M: usize>(dot: Dot) {
                // SAFETY: the caller's.
                unsafe { kernel::floats::<$simd, T, M>(dot) }
            }
        }
    };
}

kernels!(portable, crate::matmul::portable::Portable, [1 2 3 4], [1]);
#[cfg(target_arch = "x86_64")]
kernels!(avx2, crate::matmul::avx2::Avx2<crate::matmul::avx2::Words>, [1 2 3 4], [1], "avx2,fma,f16c");
#[cfg(target_arch = "x86_64")]
kernels!(
    avx_vnni,
    crate::matmul::avx2::Avx2<crate::matmul::avx2::Vnni>,
    [1 2 3 4 5 6],
    [1],
    "avx2,fma,f16c,avxvnni"
);
#[cfg(target_arch = "x86_64")]
kernels!(
    avx512,
    crate::matmul::avx512::Avx512,
    [1 2 3 4 5 6],
    [1 2 3 4 5 6 7 8],
    "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"
);
#[cfg(target_arch = "aarch64")]
kernels!(neon, crate::matmul::neon::Neon, [1 2 3 4], [1], "neon,dotprod");
