//! Headers that somebody changed, byte by byte and at random: they are read or refused, without panic and without large allocations.
//! The programs in `fuzz/` ask the same of a fuzzer.

use std::fmt::Display;
use std::io::{Cursor, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};

use proptest::prelude::*;
use rbee_model::gguf::{self, GgufError};
use rbee_model::safetensors::{self, SafetensorsError};
use rbee_model::testing::{ModelSpec, Vocabulary};
use rbee_model::{builtin, format, memory};

/// Numbers that a length may be replaced by.
const EXTREMES: [u64; 8] = [0, 1, 0x7fff_ffff, 0xffff_ffff, 1 << 40, 1 << 62, 1 << 63, u64::MAX];

/// The bytes of a file up to its data, and the length of the whole file.
struct Seed {
    header: Vec<u8>,
    file_bytes: u64,
}

/// A header of every architecture and of every vocabulary, and tinybee's.
fn gguf_seeds() -> Vec<Seed> {
    let specs = format::architectures().map(|name| ModelSpec::of(name).expect("the writer knows it"));
    let small = specs.map(|spec| ModelSpec {
        turned: spec.turned.map(|_| 2),
        layers: 2,
        width: 16,
        head_length: 4,
        feed_forward: 32,
        context: 64,
        ..spec
    });
    let sentence_piece = ModelSpec { vocabulary: Vocabulary::SentencePiece, ..ModelSpec::default() };
    let files = small.chain([sentence_piece]).map(|spec| spec.file().bytes());
    let tinybee = builtin::get("tinybee").expect("tinybee is built in").bytes.to_vec();
    files
        .chain([tinybee])
        .map(|mut bytes| {
            let sound = gguf::Header::from_bytes(&bytes).expect("a sound header");
            let file_bytes = bytes.len() as u64;
            bytes.truncate(sound.data_offset() as usize);
            Seed { header: bytes, file_bytes }
        })
        .collect()
}

fn safetensors_seed() -> Seed {
    let tensors = (0..20)
        .map(|i| {
            format!(
                r#""model.layers.{i}.w":{{"dtype":"BF16","shape":[4,8],"data_offsets":[{},{}]}}"#,
                i * 64,
                i * 64 + 64
            )
        })
        .collect::<Vec<_>>();
    let json = format!(r#"{{"__metadata__":{{"format":"pt"}},{}}}"#, tensors.join(","));
    let header = [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat();
    let file_bytes = header.len() as u64 + 20 * 64;
    Seed { header, file_bytes }
}

/// Reads a header; whatever is sound can be summarized, checked and estimated.
fn read_gguf(header: &[u8], file_bytes: u64) -> Result<(), GgufError> {
    let without = gguf::Header::read_without_tokenizer(header, file_bytes);
    let header = gguf::Header::read(header, file_bytes);
    assert_eq!(header.as_ref().err().map(ToString::to_string), without.as_ref().err().map(ToString::to_string));
    let (header, without) = (header?, without?);
    let summary = header.summary();
    assert_eq!(without.summary(), summary);
    let _ = format::check(&header);
    memory::estimate(&summary, 4, summary.context_length);
    Ok(())
}

fn read_safetensors(header: &[u8], file_bytes: u64) -> Result<(), SafetensorsError> {
    safetensors::Header::read(header, file_bytes).map(|_| ())
}

/// What went wrong is said in words that name the format.
fn names_the_format<E: Display>(result: Result<(), E>, format: &str) -> Result<(), String> {
    match result {
        Err(error) if !error.to_string().to_lowercase().contains(format) => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// A number of this process' status, in bytes.
fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kb| kb * 1024)
}

/// One test at a time, so that none sees what another takes.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs something and asserts that it took at most that many MiB.
#[track_caller]
fn within(mib: u64, what: impl FnOnce()) {
    // The highest mark begins anew at what is held at this moment.
    std::fs::write("/proc/self/clear_refs", "5").expect("the mark can be set back");
    let before = memory("VmRSS");
    what();
    let more = memory("VmHWM").saturating_sub(before);
    assert!(more < mib << 20, "{more} bytes more");
}

/// As much as any header may take that is refused, or that says nothing that anybody reads.
const LITTLE: u64 = 16;

#[test]
fn a_header_that_is_cut_anywhere_is_refused() {
    let _alone = alone();
    within(LITTLE, || {
        for Seed { header, file_bytes } in gguf_seeds() {
            assert_eq!(read_gguf(&header, file_bytes), Ok(()));
            for length in 0..header.len() {
                // Of the whole file, or with a reader that ends.
                let error = read_gguf(&header[..length], length as u64).expect_err("it is cut");
                assert!(error.to_string().contains("GGUF"), "{length}: {error}");
                // What is missing may be the padding only.
                let _ = read_gguf(&header[..length], file_bytes);
            }
        }
        let Seed { header, file_bytes } = safetensors_seed();
        assert_eq!(read_safetensors(&header, file_bytes), Ok(()));
        for length in 0..header.len() {
            assert!(read_safetensors(&header[..length], length as u64).is_err(), "{length}");
            assert!(read_safetensors(&header[..length], file_bytes).is_err(), "{length}");
        }
    });
}

#[test]
fn every_number_can_be_extreme() {
    let _alone = alone();
    within(LITTLE, || {
        for Seed { header, file_bytes } in gguf_seeds() {
            for at in 0..header.len() - 8 {
                let old: [u8; 8] = header[at..at + 8].try_into().expect("8 bytes");
                // Counts and lengths are below the length of the file; text is not.
                if u64::from_le_bytes(old) > file_bytes {
                    continue;
                }
                let mut changed = header.clone();
                for extreme in EXTREMES {
                    changed[at..at + 8].copy_from_slice(&extreme.to_le_bytes());
                    let said = names_the_format(read_gguf(&changed, file_bytes), "gguf");
                    assert_eq!(said, Ok(()), "{extreme} at {at}");
                }
            }
        }
        let Seed { mut header, file_bytes } = safetensors_seed();
        for extreme in EXTREMES {
            header[..8].copy_from_slice(&extreme.to_le_bytes());
            assert!(read_safetensors(&header, file_bytes).is_err(), "{extreme}");
        }
    });
}

/// Bytes of a header, then one byte many times.
type Part = (Vec<u8>, u8, u64);

/// A header with keys under an architecture that nobody serves, which then goes on with zeros as a sparse file does.
fn read_sparse(keys: &[Part], without_tokenizer: bool) -> Result<gguf::Header, GgufError> {
    let counts = [0u64.to_le_bytes(), (keys.len() as u64 + 1).to_le_bytes()].concat();
    let start = [b"GGUF\x03\0\0\0".to_vec(), counts, architecture()].concat();
    let start: Box<dyn Read> = Box::new(Cursor::new(start));
    let all = keys.iter().fold(start, |reader, (bytes, byte, count)| {
        Box::new(reader.chain(&bytes[..]).chain(std::io::repeat(*byte).take(*count)))
    });
    let reader = all.chain(std::io::repeat(0));
    match without_tokenizer {
        true => gguf::Header::read_without_tokenizer(reader, 1 << 28),
        false => gguf::Header::read(reader, 1 << 28),
    }
}

fn text(s: &str) -> Vec<u8> {
    [&(s.len() as u64).to_le_bytes()[..], s.as_bytes()].concat()
}

fn architecture() -> Vec<u8> {
    [text("general.architecture"), STRING.to_le_bytes().to_vec(), text("odd")].concat()
}

/// Codes of value types.
const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// A key and the beginning of an array of that many elements.
fn array_key(key: &str, element: u32, count: u64) -> Vec<u8> {
    [text(key), ARRAY.to_le_bytes().to_vec(), element.to_le_bytes().to_vec(), count.to_le_bytes().to_vec()].concat()
}

#[test]
fn arrays_and_strings_of_megabytes_that_nobody_reads_are_not_kept() {
    let _alone = alone();
    let most = gguf::limits::ELEMENTS;
    let arrays = [(10, most - 100), (STRING, most - 100), (0, most), (BOOL, most), (6, most), (ARRAY, most / 2)];
    for without_tokenizer in [false, true] {
        for key in ["x", "tokenizer.x", "odd.x", "general.x"] {
            for (element, count) in arrays {
                within(LITTLE, || {
                    let read = read_sparse(&[(array_key(key, element, count), 0, 0)], without_tokenizer);
                    let found = read.unwrap_or_else(|e| panic!("{key}: {e}")).get(key).and_then(|v| v.array());
                    assert_eq!(found.map(|(_, len)| len), Some(count), "{key}");
                });
            }
            let long = gguf::limits::STRING_BYTES - 1000;
            let texts = ["0", "1", "2", "3"].map(|i| {
                let start = [text(&format!("{key}{i}")), STRING.to_le_bytes().to_vec(), long.to_le_bytes().to_vec()];
                (start.concat(), b'x', long)
            });
            within(LITTLE, || {
                let header = read_sparse(&texts, without_tokenizer);
                assert!(header.is_ok_and(|h| h.str(&format!("{key}0")).is_none()), "{key}");
            });
        }
    }
}

#[test]
fn a_vocabulary_is_refused_before_it_takes_more_than_the_largest_that_are_known() {
    let _alone = alone();
    let most = gguf::limits::ELEMENTS;
    let lists = ["tokens", "scores", "token_type", "merges"].map(|name| format!("tokenizer.ggml.{name}"));
    for key in &lists {
        for (element, count) in [(10, most - 100), (STRING, most - 100), (6, most), (0, most), (10, 1 << 21)] {
            for without_tokenizer in [false, true] {
                within(LITTLE, || {
                    let error = read_sparse(&[(array_key(key, element, count), 0, 0)], without_tokenizer);
                    let error = error.expect_err(key);
                    assert!(matches!(error, GgufError::TooMany { what: "elements of a vocabulary", .. }), "{error}");
                });
            }
        }
    }
    // Four lists that only together are too much.
    let lists = lists.map(|key| (array_key(&key, 10, 1 << 20), 0, 8 << 20));
    within(LITTLE, || assert!(read_sparse(&lists, true).is_err()));
    within(LITTLE + (gguf::limits::VOCABULARY_BYTES >> 20), || assert!(read_sparse(&lists, false).is_err()));
}

#[test]
fn headers_and_indexes_of_checkpoints_are_read_or_refused_in_little_memory() {
    let _alone = alone();
    let most = safetensors::limits::HEADER_BYTES;
    let read = |start: &str, filler: u8, length: u64| {
        let reader = Cursor::new(length.to_le_bytes()).chain(start.as_bytes());
        let reader = reader.chain(std::io::repeat(filler).take(length - start.len() as u64));
        safetensors::Header::read(reader, 1 << 40)
    };
    within(LITTLE, || assert!(read("{", b' ', 90_000_000).is_err_and(|e| e.to_string().contains("at most"))));
    // Blanks, one long text in each place of a text, and one long list.
    for start in [
        "{",
        "{\"",
        "{\"a\":{\"",
        "{\"a\":{\"dtype\":\"",
        "{\"__metadata__\":{\"",
        "{\"__metadata__\":{\"a\":\"",
        "{\"a\":{\"shape\":[0",
    ] {
        for filler in [b' ', b'x', b'[', b'0'] {
            within(LITTLE, || assert!(read(start, filler, most).is_err(), "{start}"));
        }
    }
    // As many tensors with names as long as fit.
    let (count, name_bytes) = (safetensors::limits::TENSORS, 180);
    let entry =
        |i: usize| format!(r#""{i:0name_bytes$}":{{"dtype":"U8","shape":[1,1],"data_offsets":[{i},{}]}}"#, i + 1);
    let header = format!("{{{}}}", (0..count).map(entry).collect::<Vec<_>>().join(","));
    let length = header.len() as u64;
    within(LITTLE, || {
        let reader = Cursor::new(length.to_le_bytes()).chain(header.as_bytes());
        let read = safetensors::Header::read(reader, 8 + length + count as u64).map(|h| h.tensors().len());
        assert_eq!(read, Ok(count));
    });
    let index = |name_bytes: usize| {
        let entry = |i: usize| format!(r#""{i:0name_bytes$}":"{}.safetensors""#, i % 1000);
        format!(r#"{{"weight_map":{{{}}}}}"#, (0..count).map(entry).collect::<Vec<_>>().join(","))
    };
    for (name_bytes, sound) in [(200, true), (1500, false)] {
        let text = index(name_bytes);
        within(LITTLE, || assert_eq!(safetensors::Index::read(text.as_bytes()).is_ok(), sound));
    }
}

#[test]
fn as_many_keys_and_tensors_as_can_be_take_little_memory() {
    let _alone = alone();
    for length in [64, 1024] {
        let key = |i: u64| [text(&format!("{i:0length$}")), 0u32.to_le_bytes().to_vec(), vec![1]].concat();
        let keys: Vec<Part> = (1..gguf::limits::KEY_VALUES).map(|i| (key(i), 0, 0)).collect();
        within(LITTLE, || assert_eq!(read_sparse(&keys, false).is_ok(), length == 64));
    }
    let tensor = |i: u64| {
        let dims = [4u32.to_le_bytes().to_vec(), [1u64.to_le_bytes(); 4].concat(), vec![0; 4]].concat();
        [text(&format!("{i:064}")), dims, (32 * i).to_le_bytes().to_vec()].concat()
    };
    let count = gguf::limits::TENSORS;
    let counts = [count.to_le_bytes(), 1u64.to_le_bytes()].concat();
    let tensors = (0..count).flat_map(tensor).collect();
    let header = [b"GGUF\x03\0\0\0".to_vec(), counts, architecture(), tensors].concat();
    within(LITTLE, || {
        let read = gguf::Header::read(&header[..], 1 << 28).map(|h| h.tensors().len() as u64);
        assert_eq!(read, Ok(count));
    });
}

/// A change that a fuzzer makes.
#[derive(Debug, Clone)]
enum Mutation {
    Byte(usize, u8),
    Flip(usize, u8),
    Number(usize, u64),
    Cut(usize),
    Remove(usize, usize),
    Repeat(usize, usize),
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len().max(1);
        if bytes.is_empty() {
            return;
        }
        match *self {
            Self::Byte(at, value) => bytes[at % length] = value,
            Self::Flip(at, bit) => bytes[at % length] ^= 1 << (bit % 8),
            Self::Number(at, value) => {
                let at = at % length;
                bytes[at..].iter_mut().zip(value.to_le_bytes()).for_each(|(old, new)| *old = new);
            }
            Self::Cut(at) => bytes.truncate(at % length),
            Self::Remove(at, count) => {
                let at = at % length;
                bytes.drain(at..(at + count % 64).min(length));
            }
            Self::Repeat(at, count) => {
                let at = at % length;
                let piece = bytes[at..(at + count % 64).min(length)].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<usize>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, value)| Mutation::Byte(at, value)),
        (at(), any::<u8>()).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        (at(), prop_oneof![prop::sample::select(EXTREMES.to_vec()), any::<u64>(), 0..1u64 << 20])
            .prop_map(|(at, value)| Mutation::Number(at, value)),
        at().prop_map(Mutation::Cut),
        (at(), at()).prop_map(|(at, count)| Mutation::Remove(at, count)),
        (at(), at()).prop_map(|(at, count)| Mutation::Repeat(at, count)),
    ]
}

#[test]
fn random_changes_are_read_or_refused() {
    let _alone = alone();
    let (gguf, safetensors) = (gguf_seeds(), safetensors_seed());
    let count = gguf.len();
    let config = ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() };
    within(LITTLE, || {
        let changes = prop::collection::vec(mutation(), 1..8);
        proptest!(config, |(changes in changes, seed in 0..=count, stated in prop::option::of(prop::sample::select(EXTREMES.to_vec())))| {
            let is_gguf = seed < count;
            let Seed { header, file_bytes } = if is_gguf { &gguf[seed] } else { &safetensors };
            let mut header = header.clone();
            changes.iter().for_each(|change| change.apply(&mut header));
            let file_bytes = stated.unwrap_or(*file_bytes);
            let said = match is_gguf {
                true => names_the_format(read_gguf(&header, file_bytes), "gguf"),
                false => names_the_format(read_safetensors(&header, file_bytes), "safetensors"),
            };
            prop_assert_eq!(said, Ok(()));
        });
    });
}
