//! Attention against a plain reference, and the same bits however rows are put together.

use std::ops::Range;

use super::*;
use crate::{
    KvShape,
    testing::{Random, assert_close},
};

const PLAIN: Attention =
    Attention { heads: 8, kv_heads: 2, key_length: 64, value_length: 64, scale: 0.125, softcap: None, window: None };

fn filled(attention: &Attention, context: usize, len: usize, random: &mut Random) -> KvCache {
    let Attention { kv_heads, key_length, value_length, .. } = *attention;
    let mut cache = KvCache::new(KvShape { layers: 2, kv_heads, key_length, value_length, context }).unwrap();
    for position in 0..len {
        cache.write(1, position, &random.floats(kv_heads * key_length), &random.floats(kv_heads * value_length));
    }
    cache.set_len(len);
    cache
}

/// Softmax of all scores at once, in f64.
fn reference(attention: &Attention, cache: &KvCache, position: usize, q: &[f32]) -> Vec<f64> {
    let Attention { heads, kv_heads, key_length, value_length, scale, softcap, window } = *attention;
    let first = window.map_or(0, |w| (position + 1).saturating_sub(w));
    let mut out = Vec::new();
    let (mut key, mut value) = (vec![0.0; key_length], vec![0.0; value_length]);
    for head in 0..heads {
        let q = &q[head * key_length..][..key_length];
        let (mut sum, mut values) = (0.0, vec![0.0; value_length]);
        for p in first..=position {
            cache.read(1, head / (heads / kv_heads), p, &mut key, &mut value);
            let score: f64 = q.iter().zip(&key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
            let score = score * f64::from(scale);
            let weight = softcap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh()).exp();
            sum += weight;
            values.iter_mut().zip(&value).for_each(|(to, v)| *to += weight * f64::from(*v));
        }
        out.extend(values.iter().map(|v| v / sum));
    }
    out
}

fn run(cpu: &Cpu, attention: &Attention, caches: &[&KvCache], rows: &[Row], q: &[f32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; rows.len() * attention.heads * attention.value_length];
    let stride = attention.heads * attention.key_length;
    super::attention(cpu, attention, caches, 1, rows, Strided { data: q, stride, offset: 0 }, &mut out);
    out
}

fn prompt(cache: usize, positions: Range<usize>) -> Vec<Row> {
    positions.map(|position| Row { cache, position }).collect()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn every_shape_equals_the_reference_on_every_isa() {
    let mut random = Random::new(1);
    let lengths = [(32, 32), (64, 64), (80, 80), (96, 96), (128, 128), (256, 256), (24, 40), (7, 5)];
    let groups = [1, 4, 7, 8, 16, 3];
    let shapes = lengths.into_iter().flat_map(|l| groups.map(|g| (l, g)));
    for (i, ((key_length, value_length), group)) in shapes.enumerate() {
        let attention = Attention {
            heads: 2 * group,
            key_length,
            value_length,
            scale: 1.0 / (key_length as f32).sqrt(),
            softcap: (i % 3 == 1).then_some(1.5),
            window: (i % 2 == 1).then_some([1, 17, 100, 300][i / 2 % 4]),
            ..PLAIN
        };
        let caches = [filled(&attention, 400, 320, &mut random), filled(&attention, 100, 50, &mut random)];
        let rows = [prompt(1, 40..50), prompt(0, 250..270), prompt(1, 3..4), prompt(0, 319..320)].concat();
        let q = random.floats(rows.len() * attention.heads * key_length);
        let expected: Vec<f64> = rows
            .iter()
            .zip(q.chunks_exact(attention.heads * key_length))
            .flat_map(|(row, q)| reference(&attention, &caches[row.cache], row.position, q))
            .collect();
        for isa in Isa::available() {
            let cpu = Cpu::with_isa(2, isa).unwrap();
            let out = run(&cpu, &attention, &[&caches[0], &caches[1]], &rows, &q);
            assert_close(&out, &expected, 2e-6, &format!("{attention:?} {isa}"));
        }
    }
}

#[test]
fn a_row_has_the_same_bits_alone_in_a_prompt_in_a_batch_and_with_any_threads() {
    let mut random = Random::new(2);
    for (kv_heads, group, window) in [(2, 4, None), (1, 1, None), (2, 7, Some(270)), (1, 8, Some(40)), (3, 1, None)] {
        let attention = Attention { heads: kv_heads * group, kv_heads, window, softcap: Some(20.0), ..PLAIN };
        let caches = [filled(&attention, 700, 600, &mut random), filled(&attention, 700, 600, &mut random)];
        let caches = [&caches[0], &caches[1]];
        let rows = [prompt(0, 500..600), prompt(1, 0..30), prompt(1, 255..258)].concat();
        let width = attention.heads * attention.key_length;
        let q = random.floats(rows.len() * width);
        for isa in Isa::available() {
            let one = Cpu::with_isa(1, isa).unwrap();
            let expected = bits(&run(&one, &attention, &caches, &rows, &q));
            for threads in [2, 3, 9] {
                let cpu = Cpu::with_isa(threads, isa).unwrap();
                assert_eq!(bits(&run(&cpu, &attention, &caches, &rows, &q)), expected, "{threads} threads, {isa}");
                for chunk in [1, 7, 40] {
                    let parts = rows.chunks(chunk).zip(q.chunks(chunk * width));
                    let out: Vec<f32> = parts.flat_map(|(rows, q)| run(&cpu, &attention, &caches, rows, q)).collect();
                    assert_eq!(bits(&out), expected, "{chunk} rows at a time, {threads} threads, {isa}");
                }
            }
        }
    }
}

#[test]
fn what_lies_behind_a_row_or_before_its_window_does_not_reach_it() {
    let mut random = Random::new(3);
    let nan = [f32::NAN; 128];
    for window in [None, Some(50)] {
        let attention = Attention { window, ..PLAIN };
        let clean = filled(&attention, 512, 400, &mut random);
        let spoilt_at = |positions: &[Range<usize>]| {
            let mut cache = filled(&attention, 512, 400, &mut Random::new(3));
            cache.copy_prefix(&clean, 400);
            positions.iter().cloned().flatten().for_each(|position| cache.write(1, position, &nan, &nan));
            cache
        };
        let unseen = spoilt_at(&[300..512, 0..window.map_or(0, |window| 291 - window)]);
        let last = spoilt_at(&[299..300, 400..512]);
        let rows = prompt(0, 290..300);
        let q = random.floats(rows.len() * 512);
        for isa in Isa::available() {
            let cpu = Cpu::with_isa(2, isa).unwrap();
            let expected = run(&cpu, &attention, &[&clean], &rows, &q);
            assert_eq!(bits(&run(&cpu, &attention, &[&unseen], &rows, &q)), bits(&expected), "{isa}");
            let out = run(&cpu, &attention, &[&last], &rows, &q);
            let (before, own) = out.split_at(9 * 512);
            assert_eq!(bits(before), bits(&expected[..9 * 512]), "{isa}");
            assert!(own.iter().all(|x| x.is_nan()), "{isa}");
        }
    }
}

#[test]
fn infinite_and_huge_scores_do_not_hang_and_large_ones_do_not_overflow() {
    let mut random = Random::new(4);
    let mut cache = filled(&PLAIN, 300, 300, &mut random);
    let (mut key, mut value) = (vec![0.0; 128], vec![0.0; 128]);
    key.fill(30_000.0);
    value.fill(3.0);
    cache.write(1, 77, &key, &value);
    let q = vec![1000.0; 512];
    for isa in Isa::available() {
        let cpu = Cpu::with_isa(2, isa).unwrap();
        // One score is far above all others, so its value is the answer.
        let out = run(&cpu, &PLAIN, &[&cache], &prompt(0, 299..300), &q);
        assert!(out.iter().all(|x| (x - 3.0).abs() < 1e-5), "{isa}: {out:?}");
        let out = run(&cpu, &PLAIN, &[&cache], &prompt(0, 299..300), &[f32::INFINITY; 512]);
        assert!(out.iter().all(|x| x.is_nan()), "{isa}");
    }
}

#[test]
fn queries_may_lie_inside_of_wider_rows() {
    let mut random = Random::new(5);
    let cache = filled(&PLAIN, 64, 64, &mut random);
    let rows = prompt(0, 60..64);
    let wide = random.floats(4 * 768 + 5);
    let narrow: Vec<f32> = (0..4).flat_map(|i| wide[i * 768 + 5..][..512].to_vec()).collect();
    let cpu = Cpu::new(1).unwrap();
    let mut out = vec![0.0; 4 * 512];
    super::attention(&cpu, &PLAIN, &[&cache], 1, &rows, Strided { data: &wide, stride: 768, offset: 5 }, &mut out);
    assert_eq!(out, run(&cpu, &PLAIN, &[&cache], &rows, &narrow));
}
