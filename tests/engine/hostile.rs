//! Files that are no models, or models that cannot be: the worker says which file and why, and exits 1, having taken little memory.

use std::path::Path;

use rbee_model::gguf::{Array, DType, Header, Value, ValueType};
use rbee_model::testing::{GgufFile, ModelSpec};
use rbee_model::{builtin, format};

use crate::support::checkpoint::CONFIG;
use crate::support::{Sandbox, wait_until};
use crate::worker::{memory, start};

/// The most that a worker takes before it refuses a file: 16 MiB, and what it has without a model.
const IDLE: u64 = 32 << 20;

/// Starts a worker with a file and expects it to end with 1, naming the file and each text.
#[track_caller]
pub fn refused(sandbox: &Sandbox, path: &Path, texts: &[&str]) {
    let mut running = start(sandbox, path, &[]);
    let mut peak = 0;
    let mut status = None;
    wait_until("the worker ends", 20, || {
        peak = peak.max(memory(running.pid(), "VmHWM"));
        status = running.child.try_wait().expect("its status");
        status.is_some()
    });
    let stderr = running.stderr();
    assert_eq!(status.and_then(|s| s.code()), Some(1), "{}: {stderr}", path.display());
    for text in [&[path.to_str().expect("a path")], texts].concat() {
        assert!(stderr.contains(text), "no {text:?} in {stderr:?}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(peak < IDLE, "{}: {peak} bytes", path.display());
}

#[track_caller]
fn all_refused(files: impl IntoIterator<Item = (String, Vec<u8>, &'static str)>) {
    let sandbox = Sandbox::new();
    for (name, bytes, text) in files {
        let path = sandbox.write(&format!("{}.gguf", name.replace(' ', "-")), bytes);
        refused(&sandbox, &path, &["GGUF", text]);
    }
}

fn model() -> GgufFile {
    ModelSpec::default().file()
}

/// A header of that many tensors and keys, then `rest` and some zeros.
fn counted(tensors: u64, keys: u64, rest: &[u8]) -> Vec<u8> {
    let counts = [tensors.to_le_bytes(), keys.to_le_bytes()].concat();
    [b"GGUF\x03\0\0\0", &counts[..], rest, &[0; 64]].concat()
}

/// One key `k` of that type, then the bytes of its value.
fn one_value(kind: ValueType, rest: &[&[u8]]) -> Vec<u8> {
    let key = [&1u64.to_le_bytes()[..], b"k", &kind.code().to_le_bytes()].concat();
    counted(0, 1, &[&key[..], &rest.concat()].concat())
}

#[test]
fn counts_and_lengths_beyond_the_file() {
    let array = |kind: ValueType, n: u64| [&kind.code().to_le_bytes()[..], &n.to_le_bytes()].concat();
    let nested = array(ValueType::Array, 1).repeat(10_000);
    let not_utf8 = [&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat();
    all_refused(
        [
            ("tensors 2^64-1", counted(u64::MAX, 0, &[]), "18446744073709551615 tensors"),
            ("keys 2^30", counted(0, 1 << 30, &[]), "1073741824 keys"),
            ("string 2^62", one_value(ValueType::String, &[&(1u64 << 62).to_le_bytes()]), "4611686018427387904"),
            ("string beyond the end", one_value(ValueType::String, &[&(1u64 << 20).to_le_bytes()]), "do not fit"),
            ("key that is not text", counted(0, 1, &not_utf8), "not UTF-8"),
            ("array 2^40", one_value(ValueType::Array, &[&array(ValueType::U32, 1 << 40)]), "1099511627776 elements"),
            ("bytes 2^29", one_value(ValueType::Array, &[&array(ValueType::U8, 1 << 29)]), "536870912 elements"),
            ("arrays in arrays", one_value(ValueType::Array, &[&nested]), "nested"),
        ]
        .map(|(name, bytes, text)| (name.to_owned(), bytes, text)),
    );
}

#[test]
fn files_that_are_cut() {
    let whole = builtin::get("tinybee").expect("tinybee is built in").bytes;
    let data = Header::from_bytes(whole).expect("a sound header").data_offset() as usize;
    let cuts = [0, 3, 8, 20, 100, data / 2, data - 1, data + 1, whole.len() / 2, whole.len() - 1];
    all_refused(cuts.map(|length| (format!("cut at {length}"), whole[..length].to_vec(), "")));
}

#[test]
fn tensors_that_cannot_be() {
    let odd = |dims: &[u64], offset| model().raw_tensor("odd", 0, dims, offset, vec![0; 32]).bytes();
    let version = |n: u32| model().version(n).bytes();
    let magic = |magic: &[u8]| [magic, &model().bytes()[4..]].concat();
    all_refused(
        [
            ("offset beyond the end", odd(&[8], Some(1 << 40)), "odd"),
            ("end beyond 2^64", odd(&[8], Some(u64::MAX - 31)), "odd"),
            ("overlap", odd(&[8], Some(32)), "overlap"),
            ("2^40 times 2^40", odd(&[1 << 40, 1 << 40], None), "more elements"),
            ("a dimension of 0", odd(&[8, 0], None), "a dimension is 0"),
            ("no dimension", odd(&[], None), "0 dimensions"),
            ("five dimensions", odd(&[1; 5], None), "5 dimensions"),
            (
                "unknown data type",
                model().raw_tensor("odd", 4, &[32], None, vec![0; 32]).bytes(),
                "unknown data type 4",
            ),
            ("alignment 0", model().with("general.alignment", Value::U32(0)).bytes(), "general.alignment"),
            ("alignment 3", model().with("general.alignment", Value::U32(3)).bytes(), "general.alignment"),
            ("alignment 2^31", model().with("general.alignment", Value::U32(1 << 31)).bytes(), "general.alignment"),
            ("alignment -32", model().with("general.alignment", Value::I32(-32)).bytes(), "general.alignment"),
            ("version 0", version(0), "version 0"),
            ("version 99", version(99), "version 99"),
            ("big-endian", version(3u32.swap_bytes()), "big-endian"),
            ("another magic", magic(b"GGML"), "not a GGUF file"),
        ]
        .map(|(name, bytes, text)| (name.to_owned(), bytes, text)),
    );
}

#[test]
fn settings_that_contradict_the_tensors() {
    let tokens = Value::Array(Array::String(["a", "b"].into_iter().collect()));
    all_refused(
        [
            ("llama.attention.head_count", Value::U32(0)),
            ("llama.attention.head_count_kv", Value::U32(3)),
            ("llama.block_count", Value::U32(u32::MAX)),
            ("llama.block_count", Value::U32(3)),
            ("llama.embedding_length", Value::U32(32)),
            ("llama.context_length", Value::U32(u32::MAX)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(f32::NAN)),
            ("llama.rope.freq_base", Value::F32(0.0)),
            ("llama.rope.freq_base", Value::F32(f32::NAN)),
            ("llama.rope.scaling.factor", Value::F32(0.0)),
            ("llama.rope.dimension_count", Value::U32(64)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e38)),
            ("llama.rope.freq_base_swa", Value::F32(1.0)),
            ("llama.rope.scaling.factor", Value::F32(1e-38)),
            ("llama.rope.scale_linear", Value::F32(1e-38)),
            ("llama.vocab_size", Value::U32(5)),
            ("tokenizer.ggml.eos_token_id", Value::U32(257)),
            ("tokenizer.ggml.tokens", tokens),
            ("general.architecture", Value::String(String::new())),
        ]
        .map(|(key, value)| (format!("{key} {value}"), model().with(key, value).bytes(), "")),
    );
    for architecture in format::FALLBACKS {
        let key = |suffix: &str| format!("{architecture}.{suffix}");
        let file = || ModelSpec::of(architecture).expect("the writer knows it").file();
        all_refused(
            [("vocab_size", 5), ("attention.head_count", 2), ("block_count", 4), ("feed_forward_length", 16)].map(
                |(suffix, n)| {
                    (format!("{architecture} {suffix} {n}"), file().with(&key(suffix), Value::U32(n)).bytes(), "")
                },
            ),
        );
    }
    let sandbox = Sandbox::new();
    let missing = sandbox.write("missing.gguf", model().without_tensor("blk.1.attn_k.weight").bytes());
    refused(&sandbox, &missing, &["blk.1.attn_k.weight"]);
}

#[test]
fn settings_that_are_not_computed_are_named() {
    let sandbox = Sandbox::new();
    for (architecture, suffix, value) in [
        ("llama", "attention.causal", Value::Bool(false)),
        ("llama", "attention.clamp_kqv", Value::F32(8.0)),
        ("llama", "logit_scale", Value::F32(16.0)),
        ("llama", "expert_count", Value::U32(8)),
        ("qwen2", "attention.causal", Value::Bool(false)),
        ("qwen3", "pooling_type", Value::U32(4)),
        ("qwen3", "pooling_type", Value::U32(77)),
        ("llama", "rope.scaling.type", Value::String("longrope".into())),
        ("phi3", "rope.scaling.type", Value::String("longrope".into())),
        ("phi3", "attn_logit_softcapping", Value::F32(50.0)),
        ("phi3", "final_logit_softcapping", Value::F32(30.0)),
        ("gemma3", "attn_logit_softcapping", Value::F32(50.0)),
        ("phi2", "rope.scaling.factor", Value::F32(8.0)),
        ("glm4", "attention.sliding_window", Value::U32(64)),
        ("bert", "attention.causal", Value::Bool(true)),
        ("bert", "pooling_type", Value::U32(4)),
    ] {
        let key = format!("{architecture}.{suffix}");
        let file = ModelSpec::of(architecture).expect("the writer knows it").file().with(&key, value.clone());
        let path = sandbox.write(&format!("{key}-{value}.gguf").replace('"', ""), file.bytes());
        let named = if suffix == "expert_count" { "a mixture of 8 experts" } else { &key };
        refused(&sandbox, &path, &[named]);
    }
}

#[test]
fn files_that_promise_megabytes_of_what_nobody_reads() {
    let sandbox = Sandbox::new();
    let sparse = |name: &str, rest: &[u8]| {
        let path = sandbox.write(name, counted(0, 1, rest));
        let file = std::fs::OpenOptions::new().write(true).open(&path).expect("a file that can be written");
        file.set_len(256 << 20).expect("a file that can grow");
        path
    };
    let key = |name: &str, element: ValueType, count: u64| {
        let start = [&(name.len() as u64).to_le_bytes()[..], name.as_bytes(), &ValueType::Array.code().to_le_bytes()];
        [&start.concat()[..], &element.code().to_le_bytes(), &count.to_le_bytes()].concat()
    };
    for (element, count) in
        [(ValueType::U64, (1 << 24) - 100), (ValueType::String, (1 << 24) - 100), (ValueType::U8, 1 << 24)]
    {
        let path = sparse(&format!("{element}.gguf"), &key("x", element, count));
        refused(&sandbox, &path, &["general.architecture is missing"]);
        let path = sparse(&format!("{element}-tokens.gguf"), &key("tokenizer.ggml.tokens", element, count));
        refused(&sandbox, &path, &["GGUF"]);
    }
    let odd = [&6u64.to_le_bytes()[..], b"\x1b[31m\n", &99u32.to_le_bytes()].concat();
    refused(
        &sandbox,
        &sandbox.write("odd.gguf", counted(0, 1, &odd)),
        &["GGUF metadata \\u{1b}[31m\\n has the unknown"],
    );
}

#[test]
fn what_is_sound_and_not_served_is_told_with_what_is() {
    let sandbox = Sandbox::new();
    let other = GgufFile::new().with("general.architecture", Value::String("rwkv7".into()));
    let other = sandbox.write("rwkv.gguf", other.bytes());
    refused(&sandbox, &other, &["rwkv7", "llama", "qwen3", "gemma3", "phi3"]);
    let odd = sandbox.write("odd.gguf", model().tensor("odd", DType::IQ4_XS, &[256], vec![0; 136]).bytes());
    refused(&sandbox, &odd, &["IQ4_XS", "Q4_K"]);
}

#[test]
fn files_that_are_never_opened() {
    let sandbox = Sandbox::new();
    for name in ["weights.pt", "pytorch_model.bin", "model.PKL"] {
        let pickle = sandbox.write(name, b"\x80\x04cposix\nsystem\n(S'touch owned'\ntR.");
        refused(&sandbox, &pickle, &["pickle", "GGUF"]);
    }
    assert!(!sandbox.path("owned").exists());
    let pipe = sandbox.path("pipe.gguf");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
    refused(&sandbox, &pipe, &["regular file"]);
    refused(&sandbox, &sandbox.path("none.gguf"), &["No such file"]);
}

#[test]
fn checkpoints_that_cannot_be() {
    let file =
        |length: u64, header: &str, data: usize| [&length.to_le_bytes(), header.as_bytes(), &vec![0; data]].concat();
    let sound = |header: &str, data| file(header.len() as u64, header, data);
    let two = |a: [u32; 2], b: [u32; 2]| {
        let entry = |[from, to]: [u32; 2]| {
            format!(r#"{{"dtype":"F32","shape":[{}],"data_offsets":[{from},{to}]}}"#, (to - from) / 4)
        };
        format!(r#"{{"a":{},"b":{}}}"#, entry(a), entry(b))
    };
    let twice = two([0, 8], [8, 16]).replace("\"b\"", "\"a\"");
    let sandbox = Sandbox::new();
    for (name, bytes) in [
        ("header beyond the end", file(1 << 20, "{}", 0)),
        ("header of 2^64-1", file(u64::MAX, "{}", 0)),
        ("header of 200 MB", file(200_000_000, "{}", 0)),
        ("header of 90 MB of blanks", sound(&format!("{{{}", " ".repeat(90_000_000)), 0)),
        ("header of 8 MB of blanks", sound(&format!("{{{}", " ".repeat(8_000_000)), 0)),
        ("hole", sound(&two([0, 8], [12, 16]), 16)),
        ("overlap", sound(&two([0, 8], [4, 12]), 12)),
        ("one name twice", sound(&twice, 16)),
        ("data beyond the end", sound(&two([0, 8], [8, 16]), 8)),
        ("no JSON", sound("{\"a\":", 0)),
        ("empty", Vec::new()),
    ] {
        let folder = name.replace(' ', "-");
        sandbox.write(&format!("{folder}/config.json"), CONFIG);
        sandbox.write(&format!("{folder}/model.safetensors"), bytes);
        refused(&sandbox, &sandbox.path(&folder), &["safetensors"]);
    }
    let numbers = |count: usize| format!(r#"{{"a":[0{}]}}"#, ",0".repeat(count));
    for (name, config) in [("config of 16 MB", numbers(8 << 20)), ("config of a million numbers", numbers(500_000))] {
        let folder = name.replace(' ', "-");
        sandbox.write(&format!("{folder}/config.json"), config);
        sandbox.write(&format!("{folder}/model.safetensors"), sound("{}", 0));
        refused(&sandbox, &sandbox.path(&folder), &[]);
    }
    let name = |i: usize| format!("\"{i:01500}\":\"model.safetensors\"");
    for count in [60_000, 4_000] {
        let index = format!("{{\"weight_map\":{{{}}}}}", (0..count).map(name).collect::<Vec<_>>().join(","));
        sandbox.write("index/config.json", CONFIG);
        sandbox.write("index/model.safetensors.index.json", index);
        refused(&sandbox, &sandbox.path("index"), &["index.json"]);
    }
}
