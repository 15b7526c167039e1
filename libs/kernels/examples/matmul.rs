//! Measures `matmul`: milliseconds, GB/s of weights and GOP/s for every data type, instruction set and number of rows.
//!
//! `cargo run --release -p rbee-kernels --example matmul -- [threads] [Isa] [dtype] [repetitions] [copies]`; a `-` stands for all.
//! The weights are rotated out of the caches, unless few copies are asked for; the best repetition counts. `read` is a plain pass over the same bytes.
//! With one thread, its own processor time is measured, so that a busy machine disturbs less.

use rbee_kernels::{Cpu, Isa, Matrix, matmul};
use rbee_model::gguf::DType;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const ROWS: usize = 5632;
const COLS: usize = 2048;
const COPIES: usize = 24;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |i: usize| arguments.get(i).map(String::as_str).filter(|a| *a != "-");
    let threads = argument(0).map_or(2, |a| a.parse().expect("a number of threads"));
    let repetitions = argument(3).map_or(5, |a| a.parse().expect("a number of repetitions"));
    let copies = argument(4).map_or(COPIES, |a| a.parse().expect("a number of copies"));
    println!("{ROWS} x {COLS}, {copies} copies, {threads} threads, best of {repetitions}");
    println!("{:14} {:6} {:>5} {:>9} {:>7} {:>7}", "isa", "dtype", "rows", "ms", "GB/s", "GOP/s");
    use DType::*;
    for dtype in [Q4_K, Q6_K, Q4_0, Q8_0, Q5_0, Q5_K, Q4_1, Q5_1, Q2_K, Q3_K, F16, BF16, F32] {
        if argument(2).is_some_and(|a| !a.eq_ignore_ascii_case(dtype.name())) {
            continue;
        }
        let copies = if dtype == F32 { copies.div_ceil(2) } else { copies };
        let weights: Vec<Matrix> = (0..copies).map(|i| matrix(dtype, i as u32)).collect();
        let bytes = ROWS * COLS / dtype.block_elements() as usize * dtype.block_bytes() as usize;
        for isa in Isa::available() {
            let name = format!("{isa:?}");
            if argument(1).map_or(isa == Isa::Portable, |a| !a.eq_ignore_ascii_case(&name)) {
                continue;
            }
            let cpu = Cpu::with_isa(threads, isa).expect("threads");
            let seconds = best(&cpu, repetitions, &weights, |w| read(&cpu, w));
            println!("{name:14} {dtype:6} {:>5} {:9.3} {:7.1}", "read", seconds * 1e3, bytes as f64 / seconds / 1e9);
            for m in [1, 2, 3, 4, 5, 6, 8, 64, 512] {
                let x: Vec<f32> = (0..m * COLS).map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0).collect();
                let mut out = vec![0.0; m * ROWS];
                let used = if m >= 64 { weights.len().min(3) } else { weights.len() };
                let seconds = best(&cpu, repetitions, &weights[..used], |w| matmul(&cpu, &[w], &x, &mut out));
                let operations = (2 * m * ROWS * COLS) as f64;
                let (gigabytes, operations) = (bytes as f64 / seconds / 1e9, operations / seconds / 1e9);
                println!("{name:14} {dtype:6} {m:>5} {:9.3} {gigabytes:7.1} {operations:7.0}", seconds * 1e3);
            }
        }
    }
}

/// Seconds for one matrix, of the best pass over all.
fn best(cpu: &Cpu, repetitions: usize, weights: &[Matrix], mut work: impl FnMut(&Matrix)) -> f64 {
    let start = Instant::now();
    let now = || if cpu.pool.threads() == 1 { processor_time() } else { start.elapsed() };
    let pass = |_| {
        let start = now();
        weights.iter().for_each(&mut work);
        (now() - start).as_secs_f64() / weights.len() as f64
    };
    (0..repetitions).map(pass).fold(f64::INFINITY, f64::min)
}

#[cfg(unix)]
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is written to.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Random bits; factors become small, so that nothing overflows, and floats are no subnormal numbers, which are slow.
fn matrix(dtype: DType, seed: u32) -> Matrix {
    let size = ROWS * COLS / dtype.block_elements() as usize * dtype.block_bytes() as usize;
    let mut state = u64::from(seed) * 2 + 1;
    let exponent = if matches!(dtype, DType::F32 | DType::BF16) { 0x30 } else { 0 };
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        [(state >> 40) as u8 & 0xbf, (state >> 48) as u8 & 0x2f | exponent]
    };
    let bytes: Vec<u8> = std::iter::repeat_with(next).take(size / 2).flatten().collect();
    Matrix::new(dtype, ROWS, COLS, bytes.into()).expect("the size of the matrix")
}

/// Reads every byte of the matrix once.
fn read(cpu: &Cpu, w: &Matrix) {
    let bytes = w.bytes();
    let part = bytes.len().div_ceil(64);
    let sum = AtomicU64::new(0);
    cpu.pool.run(64, &|i| {
        let bytes = &bytes[bytes.len().min(i * part)..bytes.len().min((i + 1) * part)];
        let mut sums = [0u64; 8];
        for line in bytes.as_chunks::<64>().0 {
            for (sum, word) in sums.iter_mut().zip(line.as_chunks::<8>().0) {
                *sum = sum.wrapping_add(u64::from_le_bytes(*word));
            }
        }
        sum.fetch_add(sums.iter().fold(0, |a, b| a.wrapping_add(*b)), Ordering::Relaxed);
    });
    black_box(sum.into_inner());
}
