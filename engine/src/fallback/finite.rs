//! Whether a tensor's numbers are finite. candle-transformers rounds what it multiplies to 8 bits, and there a number that is none
//! becomes a 0: a damaged model would answer, and wrongly.

use crate::source::Stored;
use half::{bf16, f16};
use rbee_model::gguf::DType;

/// Where in a block of a data type the numbers are that all others of it are multiplied with or shifted by. None for what Candle
/// does not compute with.
fn scales(dtype: DType) -> Option<&'static [usize]> {
    Some(match dtype {
        DType::F32 | DType::F16 | DType::BF16 | DType::Q8_0 | DType::Q4_0 | DType::Q5_0 => &[0],
        DType::Q4_1 | DType::Q5_1 | DType::Q4_K | DType::Q5_K => &[0, 2],
        DType::Q2_K => &[80, 82],
        DType::Q3_K => &[108],
        DType::Q6_K => &[208],
        _ => return None,
    })
}

/// Whether every number of a tensor is finite, as far as its data type is known.
pub fn is_finite(stored: &Stored) -> bool {
    let Some(places) = scales(stored.dtype) else { return true };
    let float = |bytes: &[u8]| match (stored.dtype, bytes) {
        (DType::F32, &[a, b, c, d, ..]) => f32::from_le_bytes([a, b, c, d]).is_finite(),
        (DType::BF16, &[a, b, ..]) => bf16::from_le_bytes([a, b]).is_finite(),
        (_, &[a, b, ..]) => f16::from_le_bytes([a, b]).is_finite(),
        _ => false,
    };
    let mut blocks = stored.bytes.chunks_exact(stored.dtype.block_bytes() as usize);
    blocks.all(|block| places.iter().all(|&place| float(&block[place..])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use rbee_model::format::DTYPES;
    use rbee_model::testing::quantize;

    #[test]
    fn one_scale_that_is_no_number_is_found_in_every_data_type() {
        for &dtype in DTYPES {
            let values: Vec<f32> = (0..512).map(|i| (i as f32 * 0.37).sin()).collect();
            let bytes = quantize(dtype, &values);
            let stored = |bytes: Vec<u8>| Stored { dtype, shape: vec![2, 256], bytes: Bytes::from(bytes) };
            assert!(is_finite(&stored(bytes.clone())), "{dtype}");
            let block = dtype.block_bytes() as usize;
            for &place in scales(dtype).expect("it is computed with") {
                for bits in [[0xff, 0xff], [0x80, 0x7f]] {
                    let mut damaged = bytes.clone();
                    // The upper half of a float is where it says that it is none.
                    let at = damaged.len() - block + place + if dtype == DType::F32 { 2 } else { 0 };
                    damaged[at..at + 2].copy_from_slice(&bits);
                    assert!(!is_finite(&stored(damaged)), "{dtype} at {place}");
                }
            }
        }
    }
}
