//! Any bytes are a safetensors header or an error, and an index or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rbee_model::safetensors::{Header, Index};

fuzz_target!(|bytes: &[u8]| {
    for file_bytes in [bytes.len() as u64, 1 << 40] {
        let _ = Header::read(bytes, file_bytes);
    }
    let _ = Index::read(bytes);
});
