//! What is kept of a header, and what of it is printed.

use super::*;

#[test]
fn a_header_without_its_tokenizer_says_the_same_of_the_model() {
    let tinybee = crate::builtin::get("tinybee").unwrap().bytes;
    let whole = Header::from_bytes(tinybee).unwrap();
    let short = Header::read_without_tokenizer(tinybee, tinybee.len() as u64).unwrap();
    assert_eq!((short.summary(), short.tensors()), (whole.summary(), whole.tensors()));
    assert_eq!(short.strings("tokenizer.ggml.tokens"), None);
    assert_eq!(short.get("tokenizer.ggml.tokens").unwrap().array(), Some((ValueType::String, 1280)));
    assert!(short.str("tokenizer.chat_template").is_none() && short.str("general.name").is_some());
    let two = Value::Array(Array::String(["a", "b"].into_iter().collect()));
    for (key, value) in [
        ("tokenizer.ggml.tokens", two.clone()),
        ("tokenizer.ggml.tokens", Value::Array(Array::U8(vec![0; 257]))),
        ("tokenizer.ggml.token_type", two),
        ("tokenizer.ggml.scores", Value::U8(1)),
        ("tokenizer.ggml.eos_token_id", Value::U32(257)),
    ] {
        let bytes = llama().with(key, value).bytes();
        let said = Header::read_without_tokenizer(&bytes[..], bytes.len() as u64).unwrap_err();
        assert_eq!(said, refused_bytes(&bytes), "{key}");
    }
}

#[test]
fn what_nobody_reads_is_kept_up_to_a_limit_and_what_comes_later_is_known_by_its_length() {
    let large = |letters: usize| Value::String("ü".repeat(letters / 2));
    let header = |file: &GgufFile| Header::from_bytes(&file.bytes()).unwrap();
    let half = limits::OTHER_BYTES as usize / 2;
    let words: StringArray = (0..half / 64).map(|_| "x".repeat(64)).collect();
    let file =
        llama().with("x.1", large(half)).with("x.2", Value::Array(Array::String(words))).with("x.3", large(half));
    let file = file.with("x.4", Value::Array(Array::U64(vec![7; half]))).with("x.5", Value::U8(5));
    let kept = header(&file);
    assert_eq!(kept.get("x.1"), Some(&large(half)));
    assert_eq!(kept.get("x.2").unwrap().array(), Some((ValueType::String, half as u64 / 64)));
    assert_eq!(kept.get("x.3").unwrap().to_string(), format!("a string of {half} bytes"));
    assert_eq!((kept.get("x.4").unwrap().as_array(), kept.u64("x.5")), (None, Some(5)));
    // A letter that is cut by the end of a step is sound, and one that is not whole is refused.
    let whole = format!("a{}", "ü".repeat(half));
    assert!(header(&file.clone().with("x.6", Value::String(whole.clone()))).get("x.6").is_some());
    let file = file.with("x.6", Value::String(whole));
    let mut bytes = file.bytes();
    let second_half = bytes[..file.data_offset()].iter().rposition(|&b| b == 0xbc).unwrap();
    bytes[second_half] = b'a';
    assert!(matches!(refused_bytes(&bytes), GgufError::Utf8 { .. }));
    // What is read by name is kept whatever comes before, and refused where it is no text that could be meant.
    let name = Value::String("late".into());
    let late = llama().without("general.name").with("x.1", large(2 * half)).with("general.name", name.clone());
    assert_eq!(header(&late).get("general.name"), Some(&name));
    assert!(matches!(refused(&late.with("general.name", large(2 * half + 2))), GgufError::TooMany { .. }));
    // A setting that was not kept is no setting that is not there.
    let late = llama().without("llama.block_count").with("x.1", large(2 * half)).with("llama.block_count", large(half));
    assert!(matches!(refused(&late), GgufError::WrongType { .. }));
}

#[test]
fn what_a_file_says_is_printed_without_its_control_characters() {
    let key = "a\u{1b}[31m\nb";
    let told = [
        refused(&llama().with_again(key, Value::U8(1)).with_again(key, Value::U8(1))),
        refused(
            &llama()
                .with("general.architecture", Value::String(key.into()))
                .without("llama.block_count")
                .with(&format!("{key}.block_count"), Value::U8(0)),
        ),
        refused(&llama().tensor(key, DType::F32, &[8], vec![0; 3])),
        refused_bytes(&[&counted(0, 1, &key_and_type(key, 99))[..], &[0; 64]].concat()),
        refused_bytes(&[&counted(0, 1, &key_and_type(key, ValueType::Bool.code()))[..], &[7; 64]].concat()),
        refused_bytes(&[&counted(0, 1, &key_and_type(key, ValueType::String.code()))[..], &[7; 64]].concat()),
        refused_bytes(&counted(0, 1, &[&key_and_type(key, ValueType::Array.code())[..], &[0; 4], &[9; 64]].concat())),
        refused_bytes(&counted(
            0,
            1,
            &[&key_and_type(key, ValueType::String.code())[..], &8u64.to_le_bytes(), &[0xff; 64]].concat(),
        )),
        refused_bytes(&counted(0, 1, &[key_and_type(key, ValueType::U32.code()), vec![0; 2]].concat())),
    ];
    for error in told {
        let text = error.to_string();
        assert!(!text.contains(|c: char| c.is_control()) && text.len() < 400, "{text:?}");
    }
    let long = refused_bytes(&counted(0, 1, &[key_and_type(&"k".repeat(1000), 99), vec![0; 64]].concat())).to_string();
    assert!(long.len() < 300, "{long}");
}

fn key_and_type(key: &str, code: u32) -> Vec<u8> {
    [&(key.len() as u64).to_le_bytes()[..], key.as_bytes(), &code.to_le_bytes()].concat()
}
