//! Products of every data type on every instruction set, against plain sums in f64.

use super::activations::Packing;
use super::dispatch::Kernels;
use super::panel::{BLOCK, GROUP};
use super::{Matrix, matmul};
use crate::{Cpu, Isa};
use half::{bf16, f16};
use rbee_model::gguf::DType;

const DTYPES: [DType; 13] = [
    DType::F32,
    DType::F16,
    DType::BF16,
    DType::Q8_0,
    DType::Q4_0,
    DType::Q4_1,
    DType::Q5_0,
    DType::Q5_1,
    DType::Q2_K,
    DType::Q3_K,
    DType::Q4_K,
    DType::Q5_K,
    DType::Q6_K,
];

struct Random(u64);

impl Random {
    fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    /// Between -1 and 1.
    fn number(&mut self) -> f32 {
        self.bits() as f32 / (1u32 << 30) as f32 - 1.0
    }

    fn numbers(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.number()).collect()
    }
}

/// Where the f16 factors of a block lie.
fn factors(dtype: DType) -> &'static [usize] {
    match dtype {
        DType::Q8_0 | DType::Q4_0 | DType::Q5_0 => &[0],
        DType::Q4_1 | DType::Q5_1 | DType::Q4_K | DType::Q5_K => &[0, 2],
        DType::Q2_K => &[80, 82],
        DType::Q3_K => &[108],
        DType::Q6_K => &[208],
        _ => &[],
    }
}

/// Random blocks: all bits random, except for the factors, which lie between `-size` and `size`.
fn random_matrix(random: &mut Random, dtype: DType, rows: usize, cols: usize, size: f32) -> Matrix {
    let bytes = match dtype {
        DType::F32 => random.numbers(rows * cols).iter().flat_map(|x| (x * size).to_le_bytes()).collect(),
        DType::F16 => random.numbers(rows * cols).iter().flat_map(|x| f16::from_f32(x * size).to_le_bytes()).collect(),
        DType::BF16 => {
            random.numbers(rows * cols).iter().flat_map(|x| bf16::from_f32(x * size).to_le_bytes()).collect()
        }
        _ => {
            let block = dtype.block_bytes() as usize;
            let mut bytes: Vec<u8> =
                (0..rows * cols / dtype.block_elements() as usize * block).map(|_| random.bits() as u8).collect();
            for block in bytes.chunks_exact_mut(block) {
                for &at in factors(dtype) {
                    let factor = f16::from_f32(random.number() * size);
                    block[at..at + 2].copy_from_slice(&factor.to_le_bytes());
                }
            }
            bytes
        }
    };
    Matrix::new(dtype, rows, cols, bytes.into()).unwrap()
}

/// `x` as the kernels see it: rounded to 8 bits for every 32 or 256 numbers, unless weights are floats.
fn as_seen(packing: Packing, x: &[f32]) -> Vec<f64> {
    let numbers = match packing {
        Packing::Floats => return x.iter().map(|&x| f64::from(x)).collect(),
        Packing::By32 => GROUP,
        Packing::By256 => BLOCK,
    };
    let round = |group: &[f32]| {
        let largest = group.iter().fold(0f32, |a, x| a.max(x.abs()));
        let inverse = if largest == 0.0 { 0.0 } else { 127.0 / largest };
        let quant = |x: &f32| f64::from((x * inverse).round_ties_even()) * f64::from(largest / 127.0);
        group.iter().map(quant).collect::<Vec<_>>()
    };
    x.chunks(numbers).flat_map(round).collect()
}

/// The product and, for each output, the sum of the absolute values of all terms: errors are relative to it.
fn reference(packing: Packing, w: &Matrix, x: &[f32]) -> Vec<(f64, f64)> {
    let mut row = vec![0.0; w.cols()];
    let mut out = Vec::new();
    for x in x.chunks_exact(w.cols()) {
        let x = as_seen(packing, x);
        for r in 0..w.rows() {
            w.row(r, &mut row);
            let terms = row.iter().zip(&x).map(|(&w, x)| f64::from(w) * x);
            out.push(terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs())));
        }
    }
    out
}

fn packing(isa: Isa, dtype: DType) -> Packing {
    Packing::of(Kernels::of(isa).kind(dtype))
}

fn product(cpu: &Cpu, w: &Matrix, x: &[f32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; x.len() / w.cols() * w.rows()];
    matmul(cpu, &[w], x, &mut out);
    out
}

#[track_caller]
fn assert_near(out: &[f32], reference: &[(f64, f64)], what: &str) {
    assert_eq!(out.len(), reference.len(), "{what}");
    for (i, (&out, &(sum, size))) in out.iter().zip(reference).enumerate() {
        // An offset's share of the sum may be far larger than the terms are, hence not the f32's 1e-7.
        let error = (f64::from(out) - sum).abs() / size.max(1e-30);
        assert!(error < 3e-6, "{what}: output {i} is {out} instead of {sum}, error {error:.1e}");
    }
}

fn cpus(threads: usize) -> impl Iterator<Item = Cpu> {
    Isa::available().into_iter().map(move |isa| Cpu::with_isa(threads, isa).unwrap())
}

#[test]
fn every_type_on_every_instruction_set_gives_the_sums() {
    let mut random = Random(1);
    for dtype in DTYPES {
        for (rows, cols, size) in [(1, 256, 1.0), (37, 768, 0.1), (16, 2304, 1e-4), (33, 256, 60_000.0)] {
            let w = random_matrix(&mut random, dtype, rows, cols, size);
            for m in [1, 2, 3, 4, 5, 6, 7, 8, 17] {
                let x = random.numbers(m * cols);
                let references = Packing::ALL.map(|packing| reference(packing, &w, &x));
                for cpu in cpus(2) {
                    let what = format!("{dtype} {rows}x{cols} on {}, {m} rows", cpu.isa);
                    let reference = &references[packing(cpu.isa, dtype) as usize];
                    assert_near(&product(&cpu, &w, &x), reference, &what);
                }
            }
        }
    }
}

#[test]
fn columns_need_not_be_a_multiple_of_256() {
    let mut random = Random(2);
    for (dtype, cols) in [
        (DType::Q4_0, 32),
        (DType::Q8_0, 896),
        (DType::Q4_1, 288),
        (DType::Q5_0, 544),
        (DType::Q5_1, 96),
        (DType::F32, 1),
        (DType::F32, 515),
        (DType::F16, 7),
        (DType::F16, 1003),
        (DType::BF16, 35),
    ] {
        let w = random_matrix(&mut random, dtype, 19, cols, 1.0);
        for m in [1, 11, 17] {
            let x = random.numbers(m * cols);
            for cpu in cpus(1) {
                let reference = reference(packing(cpu.isa, dtype), &w, &x);
                assert_near(&product(&cpu, &w, &x), &reference, &format!("{dtype} {cols} on {}, {m} rows", cpu.isa));
            }
        }
    }
}

#[test]
fn the_largest_sums_of_small_integers_do_not_overflow() {
    for dtype in DTYPES {
        for byte in [0x00, 0xff, 0x80, 0x7f] {
            let block = dtype.block_bytes() as usize;
            let mut bytes = vec![byte; 16 * 512 / dtype.block_elements() as usize * block];
            for block in bytes.chunks_exact_mut(block) {
                for &at in factors(dtype) {
                    block[at..at + 2].copy_from_slice(&f16::ONE.to_le_bytes());
                }
                if dtype == DType::Q6_K && byte == 0 {
                    // Scales of -128, and quants of -32.
                    block[192..208].fill(0x80);
                }
            }
            let w = Matrix::new(dtype, 16, 512, bytes.into()).unwrap();
            if dtype.block_elements() == 1 && byte != 0 {
                continue;
            }
            let signs: [fn(usize) -> bool; 4] = [|_| true, |_| false, |i| i % 2 == 0, |i| i / 2 % 2 == 0];
            for (n, sign) in signs.into_iter().enumerate() {
                let x: [f32; 512] = std::array::from_fn(|i| if sign(i) { 1.0 } else { -1.0 });
                for cpu in cpus(1) {
                    let reference = reference(packing(cpu.isa, dtype), &w, &x);
                    let what = format!("{dtype} {byte:x} on {}, signs {n}", cpu.isa);
                    assert_near(&product(&cpu, &w, &x), &reference, &what);
                }
            }
        }
    }
}

#[test]
fn a_row_gives_the_same_bits_alone_and_among_others_and_on_any_number_of_threads() {
    let mut random = Random(3);
    for dtype in DTYPES {
        let (rows, cols, m) = (83, 2816, 17);
        let w = random_matrix(&mut random, dtype, rows, cols, 1.0);
        let x = random.numbers(m * cols);
        for isa in Isa::available() {
            let [one, three] = [1, 3].map(|threads| Cpu::with_isa(threads, isa).unwrap());
            let together = product(&one, &w, &x);
            assert!(same_bits(&together, &product(&three, &w, &x)), "{dtype} on {isa}: threads");
            for i in 0..m {
                let alone = product(&three, &w, &x[i * cols..][..cols]);
                assert!(same_bits(&alone, &together[i * rows..][..rows]), "{dtype} on {isa}: row {i}");
            }
            for few in 2..=9 {
                let among_few = product(&three, &w, &x[..few * cols]);
                assert!(same_bits(&among_few, &together[..few * rows]), "{dtype} on {isa}: {few} rows");
            }
        }
    }
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

#[test]
fn matrices_of_one_call_lie_beside_each_other_and_give_what_they_give_alone() {
    let mut random = Random(4);
    // More columns than are unpacked at once.
    let cols = 1536;
    let types = [
        (DType::Q4_K, 40),
        (DType::Q6_K, 7),
        (DType::F16, 21),
        (DType::Q8_0, 16),
        (DType::Q4_0, 33),
        (DType::Q2_K, 16),
    ];
    let rows: usize = types.iter().map(|(_, rows)| rows).sum();
    let all: Vec<Matrix> = types.map(|(dtype, rows)| random_matrix(&mut random, dtype, rows, cols, 1.0)).into();
    let cases = Isa::available().into_iter().flat_map(|isa| [1, 2, 4, 7, 8, 9].map(|m| (isa, m)));
    for (isa, m) in cases {
        let cpu = Cpu::with_isa(2, isa).unwrap();
        let x = random.numbers(m * cols);
        let mut out = vec![0.0; m * rows];
        matmul(&cpu, &all.iter().collect::<Vec<_>>(), &x, &mut out);
        let mut column = 0;
        for w in &all {
            let alone = product(&cpu, w, &x);
            for i in 0..m {
                let among = &out[i * rows + column..][..w.rows()];
                assert!(same_bits(among, &alone[i * w.rows()..][..w.rows()]), "{w:?} on {}, {m} rows", cpu.isa);
            }
            column += w.rows();
        }
    }
}

/// Of activations as they are: numbers around 0, few of them large. What one row of 4,096 columns loses to rounding is the noise of a sum of
/// that many terms, none of which loses more than half a quant.
#[test]
fn rounding_of_activations_costs_less_than_a_hundredth() {
    let mut random = Random(6);
    for dtype in DTYPES {
        let w = random_matrix(&mut random, dtype, 64, 4096, 0.1);
        let x: Vec<f32> = (0..4096).map(|_| random.number() * random.number() * random.number()).collect();
        let exact: Vec<f64> = reference(Packing::Floats, &w, &x).iter().map(|(sum, _)| *sum).collect();
        let size = exact.iter().map(|y| y * y).sum::<f64>();
        for cpu in cpus(1) {
            let out = product(&cpu, &w, &x);
            let error = out.iter().zip(&exact).map(|(y, exact)| (f64::from(*y) - exact).powi(2)).sum::<f64>();
            assert!((error / size).sqrt() < 0.01, "{dtype} on {}: {:.4}", cpu.isa, (error / size).sqrt());
        }
    }
}

#[test]
fn what_is_no_number_stays_in_its_row() {
    let mut random = Random(5);
    for dtype in DTYPES {
        let w = random_matrix(&mut random, dtype, 20, 256, 1.0);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = random.numbers(3 * 256);
            x[256 + 77] = bad;
            for cpu in cpus(1) {
                let out = product(&cpu, &w, &x);
                let what = format!("{dtype} {bad} on {}", cpu.isa);
                assert!(out[..20].iter().chain(&out[40..]).all(|y| y.is_finite()), "{what}");
                assert!(out[20..40].iter().all(|y| !y.is_finite()), "{what}: {:?}", &out[20..40]);
            }
        }
        for cpu in cpus(1) {
            assert!(product(&cpu, &w, &[0.0; 256]).iter().all(|&y| y == 0.0), "{dtype} on {}", cpu.isa);
            assert!(product(&cpu, &w, &[1e-38; 256]).iter().all(|y| y.is_finite()), "{dtype} on {}", cpu.isa);
        }
    }
}

#[test]
fn no_rows_of_either_give_nothing() {
    let cpu = Cpu::new(2).unwrap();
    let empty = Matrix::new(DType::Q8_0, 0, 32, bytes::Bytes::new()).unwrap();
    matmul(&cpu, &[&empty], &[0.0; 32], &mut []);
    matmul(&cpu, &[&empty], &[], &mut []);
    matmul(&cpu, &[], &[], &mut []);
}
