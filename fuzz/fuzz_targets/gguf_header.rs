//! Any bytes are a GGUF header or an error; what is sound can be summarized, checked and estimated.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rbee_model::gguf::Header;
use rbee_model::{format, memory};

fuzz_target!(|bytes: &[u8]| {
    // As a whole file, and as the beginning of a large one.
    for file_bytes in [bytes.len() as u64, 1 << 40] {
        let header = Header::read(bytes, file_bytes);
        let without = Header::read_without_tokenizer(bytes, file_bytes);
        assert_eq!(header.as_ref().err(), without.as_ref().err());
        if let (Ok(header), Ok(without)) = (header, without) {
            assert_eq!(header.summary(), without.summary());
            let summary = header.summary();
            let _ = format::check(&header);
            memory::estimate(&summary, 4, summary.context_length);
        }
    }
});
