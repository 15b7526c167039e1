//! Small files of every kind, and files that cannot be or ask for too much.

use super::*;
use serde_json::json;

fn added(id: u32, content: &str, special: bool) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": special})
}

/// A SentencePiece vocabulary with byte fallback for é, in the form of Llama 2.
fn sentence(scheme: &str) -> Value {
    let vocab = json!({"<unk>": 0, "<s>": 1, "</s>": 2, "<0xC3>": 3, "<0xA9>": 4, "\u{2581}": 5, "a": 6, "b": 7,
        "\u{2581}a": 8, "ab": 9, "<": 10, "s": 11, ">": 12, "/": 13, "<0x00>": 14});
    json!({
        "version": "1.0", "truncation": {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": null,
        "added_tokens": [added(0, "<unk>", true), added(1, "<s>", true), added(2, "</s>", true)],
        "normalizer": null,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme, "split": false},
        "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocab, "merges": [["\u{2581}", "a"], ["a", "b"]]}
    })
}

fn read(value: &Value, config: Option<&Value>) -> Result<Tokenizer, TokenizerError> {
    let config = config.map(|config| TokenizerConfig::read(config.to_string().as_bytes()).unwrap());
    Tokenizer::from_tokenizer_json(value.to_string().as_bytes(), config.as_ref())
}

/// What is said of a file that is refused.
#[track_caller]
fn refused(value: &Value) -> String {
    read(value, None).map(|_| ()).expect_err("it is refused").to_string()
}

/// The file with one of its parts.
fn with(part: &str, value: Value) -> Value {
    let mut json = sentence("never");
    json[part] = value;
    json
}

fn replace_by(content: &str) -> Value {
    json!({"type": "Replace", "pattern": {"String": "a"}, "content": content})
}

#[test]
fn a_sentence_vocabulary_gives_ids_bytes_and_ends() {
    let config = json!({"bos_token": {"content": "<s>"}, "eos_token": "</s>"});
    let t = read(&sentence("always"), Some(&config)).unwrap();
    assert_eq!(t.encode("aé b"), [1, 8, 3, 4, 5, 7]);
    assert_eq!(t.encode("</s>"), [1, 5, 10, 13, 11, 12], "text of a user stays text");
    assert_eq!(t.encode_part("a"), [8]);
    assert_eq!(t.encode_rendered("<s>a</s>b"), [1, 8, 2, 5, 7]);
    assert_eq!(t.encode_rendered("a"), [1, 8]);
    let shielded = format!("<s>{}", t.shield("</s>"));
    assert_eq!(t.encode_rendered(&shielded), [1, 5, 10, 13, 11, 12]);
    assert_eq!((t.bytes(8), t.bytes(3), t.bytes(2), t.bytes(99)), (&b" a"[..], &b"\xc3"[..], &b""[..], &b""[..]));
    assert_eq!((t.bos_text(), t.eos_text(), t.end_tokens(), t.vocab_size()), ("<s>", "</s>", &[2][..], 15));
    assert!(t.is_special(1) && !t.is_special(6) && t.is_end(2));
}

#[test]
fn a_blank_goes_in_front_of_the_first_text_only() {
    let t = read(&sentence("first"), None).unwrap();
    assert_eq!(t.encode("a"), [1, 8]);
    assert_eq!(t.encode_rendered("<s>a"), [1, 6]);
    assert_eq!(t.encode_rendered("a<s>a"), [1, 8, 1, 6]);
    assert_eq!(t.encode_rendered(" a"), [1, 8]);
}

#[test]
fn the_configuration_decides_what_is_added() {
    let config = |bos: bool, eos: bool| json!({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": bos, "add_eos_token": eos});
    assert_eq!(read(&sentence("never"), Some(&config(false, false))).unwrap().encode("a"), [6]);
    assert_eq!(read(&sentence("never"), Some(&config(true, true))).unwrap().encode("a"), [1, 6, 2]);
}

#[test]
fn byte_level_vocabularies_give_bytes() {
    let mut json = sentence("never");
    json["pre_tokenizer"] =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true});
    json["decoder"] = json["pre_tokenizer"].clone();
    json["post_processor"] = Value::Null;
    json["model"]["byte_fallback"] = Value::Bool(false);
    json["model"]["vocab"] = json!({"<unk>": 0, "<s>": 1, "</s>": 2, "Ġ": 3, "a": 4, "Ġa": 5, "Ã": 6, "©": 7});
    json["model"]["merges"] = json!([["Ġ", "a"]]);
    json["added_tokens"].as_array_mut().unwrap().push(added(8, "<tool>", false));
    let t = read(&json, None).unwrap();
    assert_eq!(t.encode("a a<tool>é"), [4, 5, 8, 6, 7]);
    assert_eq!((t.bytes(5), t.bytes(6), t.bytes(8)), (&b" a"[..], &b"\xc3"[..], &b"<tool>"[..]));
    assert!(!t.is_special(8));
    json["model"]["vocab"]["x"] = json!(10);
    json["added_tokens"] = json!([]);
    let t = read(&json, None).unwrap();
    assert_eq!((t.vocab_size(), t.bytes(9), t.bytes(10)), (11, &b""[..], &b"x"[..]));
    assert!(t.is_special(9), "an id without a token is no text");
}

#[test]
fn broken_files_are_errors() {
    let good = sentence("always").to_string();
    for cut in (0..good.len()).step_by(97) {
        assert!(Tokenizer::from_tokenizer_json(&good.as_bytes()[..cut], None).is_err(), "{cut}");
    }
    let mut far = sentence("always");
    far["added_tokens"].as_array_mut().unwrap().push(added(u32::MAX, "<far>", true));
    far["model"]["vocab"]["<far>"] = json!(u32::MAX);
    let mut merges = sentence("always");
    merges["model"]["merges"] = json!([["no", "such"]]);
    let mut empty = sentence("always");
    empty["model"]["vocab"] = json!({});
    empty["model"]["merges"] = json!([]);
    empty["added_tokens"] = json!([]);
    let mut unknown = sentence("always");
    unknown["model"]["unk_token"] = json!("no such");
    unknown["model"]["byte_fallback"] = json!(false);
    let mut renumbered = sentence("always");
    renumbered["added_tokens"].as_array_mut().unwrap().push(added(30, "<x>", false));
    let all = [("far", far), ("merges", merges), ("empty", empty), ("unknown", unknown), ("renumbered", renumbered)];
    for (name, json) in all {
        let error = read(&json, None).err();
        assert!(matches!(error, Some(TokenizerError::Json(_))), "{name}: {error:?}");
    }
}

#[test]
fn steps_that_multiply_a_text_are_refused_before_they_run() {
    let steps = |step: &Value, count: usize| json!({"type": "Sequence", "normalizers": vec![step; count]});
    let sixteen = replace_by(&"a".repeat(16));
    assert!(refused(&with("normalizer", steps(&sixteen, 8))).contains("4096 times longer"));
    assert!(refused(&with("normalizer", replace_by(&"a".repeat(1 << 20)))).contains("content has 1048576 bytes"));
    assert!(refused(&with("normalizer", replace_by(&"a".repeat(1000)))).contains("1000 times longer"));
    let every = json!({"type": "Replace", "pattern": {"Regex": "x*"}, "content": "a".repeat(300)});
    assert!(refused(&with("normalizer", every)).contains("301 times longer"));
    let prepend = |count: usize| json!({"type": "Prepend", "prepend": "a".repeat(count)});
    assert!(refused(&with("normalizer", prepend(10 << 20))).contains("at most 2097152 are read"));
    assert!(refused(&with("normalizer", prepend(2000))).contains("prepend has 2000 bytes"));
    let both = json!({"type": "Sequence", "normalizers": [prepend(1000), sixteen, sixteen]});
    assert!(refused(&with("normalizer", both)).contains("256000 bytes more"));
    assert!(refused(&with("normalizer", steps(&json!({"type": "Strip"}), 33))).contains("more than 32 steps"));
    let deep = (0..5).fold(json!({"type": "NFC"}), |step, _| json!({"type": "Sequence", "normalizers": [step]}));
    assert!(refused(&with("normalizer", deep)).contains("more than 4 deep"));
    // Each part is within the bounds, both together are not.
    let mut json = with("normalizer", steps(&sixteen, 2));
    json["pre_tokenizer"] =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true});
    assert!(refused(&json).contains("512 times longer"));
}

#[test]
fn only_steps_that_are_known_are_taken() {
    for (part, known) in [
        ("normalizer", "NFKC"),
        ("pre_tokenizer", "Metaspace"),
        ("post_processor", "TemplateProcessing"),
        ("decoder", "Fuse"),
    ] {
        let said = refused(&with(part, json!({"type": "Miracle", "prepend": "x"})));
        assert!(said.contains("\"Miracle\" is not supported; supported: Sequence") && said.contains(known), "{said}");
        assert!(refused(&with(part, json!({"prepend": "x"}))).contains("has no type"));
    }
    // The library would take this for a Prepend.
    let disguised = json!({"type": "BertNormalizer", "prepend": "a".repeat(1 << 20)});
    assert!(refused(&with("normalizer", disguised)).contains("normalizer"));
    assert!(
        refused(&with("model", json!({"type": "Miracle", "vocab": {"a": 0}}))).contains("supported: BPE, WordPiece")
    );
    assert!(refused(&with("pre_tokenizer", json!({"type": "FixedLength", "length": 0}))).contains("length 0"));
}

#[test]
fn expressions_have_a_size() {
    let split = |expression: &str| json!({"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": false});
    assert!(refused(&with("pre_tokenizer", split(&"a".repeat(5000)))).contains("more than 4096 bytes"));
    for joint in [r"(?=\w{150})", r"(?<=a)", r"(?>\w)", r"(a)\1", r"\w++", r"\w{2}+"] {
        let said = refused(&with("pre_tokenizer", split(&format!("{}x", joint.repeat(13)))));
        assert!(said.contains("more than 12 look-arounds"), "{joint}: {said}");
    }
    assert!(refused(&with("pre_tokenizer", split("("))).contains("pre_tokenizer"));
    let gpt = r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    assert!(read(&with("pre_tokenizer", split(gpt)), None).is_ok());
}

#[test]
fn what_goes_around_a_text_is_little_and_exists() {
    let template = |ids: Vec<u32>, pieces: Value| {
        json!({"type": "TemplateProcessing", "single": pieces, "pair": [],
        "special_tokens": {"<s>": {"id": "<s>", "ids": ids, "tokens": ["<s>"]}}})
    };
    let (special, text) =
        (json!({"SpecialToken": {"id": "<s>", "type_id": 0}}), json!({"Sequence": {"id": "A", "type_id": 0}}));
    let one = json!([special, text]);
    assert!(refused(&with("post_processor", template(vec![1; 5000], one.clone()))).contains("special_tokens"));
    assert!(
        refused(&with("post_processor", template(vec![1; 200_000], one.clone()))).contains("at most 65536 are read")
    );
    assert!(
        refused(&with("post_processor", template(vec![1], json!(vec![&special; 40])))).contains("more than 16 tokens")
    );
    assert!(
        refused(&with("post_processor", template(vec![99], one.clone())))
            .contains("the token 99, which does not exist")
    );
    assert!(refused(&with("post_processor", template(vec![1], json!([text, text])))).contains("single"));
    let twice = json!({"type": "Sequence", "processors": [
        {"type": "BertProcessing", "cls": ["<s>", 1], "sep": ["</s>", 2]}, {"type": "ByteLevel"}, template(vec![0, 1], one)]});
    let tokenizer = read(&with("post_processor", twice), None).unwrap();
    assert_eq!(tokenizer.encode("a"), [0, 1, 1, 6, 2], "what comes later goes around what is there");
}

#[test]
fn a_model_that_asks_for_too_much_is_refused_before_it_is_built() {
    let model = |key: &str, value: Value| {
        let mut json = sentence("never");
        json["model"][key] = value;
        refused(&json)
    };
    assert!(model("end_of_word_suffix", json!("a".repeat(33))).contains("a prefix or suffix of words has 33 bytes"));
    assert!(model("continuing_subword_prefix", json!("a".repeat(1 << 20))).contains("at most 32"));
    assert!(model("max_input_chars_per_word", json!(1 << 30)).contains("at most 1024"));
    assert!(model("merges", json!(vec!["a b"; (1 << 20) + 1])).contains("1048577 tokens or merges"));
    let words: Vec<Value> = (0..300).map(|n| json!([format!("{n:08000}"), 0.0])).collect();
    assert!(refused(&with("model", json!({"type": "Unigram", "unk_id": 0, "vocab": words}))).contains("2400000 bytes"));
    let mut long = sentence("never");
    long["added_tokens"].as_array_mut().unwrap().push(added(15, &"x".repeat(5 << 20), true));
    assert!(refused(&long).contains("token 15 has 5242880 bytes; at most 1024"));
    let mut many = sentence("never");
    for n in 0..1100 {
        many["added_tokens"].as_array_mut().unwrap().push(added(15 + n, &format!("{n:01000}"), n % 2 == 0));
    }
    assert!(refused(&many).contains("more than 1048576 bytes"));
    let mut grown = with("normalizer", replace_by(&"a".repeat(200)));
    for n in 0..20 {
        let mut token = added(15 + n, &format!("{n:0300}"), false);
        token["normalized"] = json!(true);
        grown["added_tokens"].as_array_mut().unwrap().push(token);
    }
    assert!(refused(&grown).contains("of the added tokens"));
}

#[test]
fn the_same_text_has_the_same_tokens_whatever_dropout_says() {
    let mut json = sentence("always");
    let text = "ab ab abab aab bab ".repeat(20);
    let expected = read(&json, None).unwrap().encode(&text);
    for dropout in [0.5, 1.0] {
        json["model"]["dropout"] = json!(dropout);
        let tokenizer = read(&json, None).unwrap();
        for _ in 0..5 {
            assert_eq!(tokenizer.encode(&text), expected);
        }
    }
}

#[test]
fn a_text_too_long_for_the_library_is_cut_in_front_of_words() {
    // Three bytes for a blank, so that somewhat more than a megabyte goes at once.
    let mut json = sentence("never");
    json["normalizer"] = json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"});
    let tokenizer = read(&json, None).unwrap();
    let text = " ab a  b".repeat(300_000);
    let ids = tokenizer.encode_part(&text);
    let one: Vec<u32> = tokenizer.encode_part(&" ab a  b".repeat(1000));
    assert!(ids == one.repeat(300));
}
