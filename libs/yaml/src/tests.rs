//! Values, places and refusals.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn one(text: &str) -> Document {
    let mut documents = parse_documents(text, "f.yaml").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(documents.len(), 1, "{text}");
    documents.remove(0)
}

fn refused(text: &str) -> YamlError {
    let start = Instant::now();
    let error = parse_documents(text, "bad.yaml").expect_err("the text must be refused");
    assert!(start.elapsed() < Duration::from_secs(20), "refusing took {:?}", start.elapsed());
    assert!(error.to_string().starts_with(&format!("bad.yaml:{}:{}: ", error.line, error.column)));
    error
}

const MANIFEST: &str = "\
# a comment
apiVersion: rbee.dev/v1alpha1
kind: Worker
metadata:
  name: story
  labels: {a.b/c: d}
spec:
  modelRef:
    name: bee
  replicas: 2
  files:
  - path: one
    sizeBytes: 1
  - path: two
---
kind: Model
spec:
  uri: builtin:tinybee
";

#[test]
fn documents_with_the_lines_of_their_parts() {
    let documents = parse_documents(MANIFEST, "m.yaml").unwrap();
    let [worker, model] = documents.as_slice() else { panic!("{documents:?}") };
    assert_eq!(worker.value["spec"]["replicas"], json!(2));
    assert_eq!((worker.line, model.line), (2, 16));
    assert_eq!(worker.line_of(&["spec", "replicas"]), 10);
    assert_eq!(worker.line_of(&["spec"]), 7);
    assert_eq!(worker.line_of_field("spec.files[1].path"), 14);
    assert_eq!(worker.line_of_field("metadata.labels[a.b/c]"), 6);
    assert_eq!(worker.line_of_field("spec.modelRef.missing"), 8);
    assert_eq!(worker.line_of_field("nothing"), 2);
    assert_eq!(model.line_of(&["spec", "uri"]), 18);
}

#[test]
fn empty_documents_are_left_out() {
    for text in ["", "\n", "# only words\n", "---\n", "---\n---\n...\n", "null\n", "\u{feff}"] {
        assert_eq!(parse_documents(text, "f"), Ok(vec![]), "{text:?}");
    }
    assert_eq!(parse_documents("---\na: 1\n---\n# nothing\n---\nb: 2\n...\n", "f").unwrap().len(), 2);
}

#[test]
fn scalars_are_those_of_yaml_1_2() {
    let text = "a: true\nb: yes\nc: 'no'\nd: 0o17\ne: 0x1F\nf: 1.5\ng: 1e3\nh: null\ni: ~\nj:\nk: 5m\nl: 1_000\nm: 2020-01-01\nn: -3\no: on\np: 1.2.3\nq: 0\nr: '007'\n";
    let expected = json!({"a": true, "b": "yes", "c": "no", "d": 15, "e": 31, "f": 1.5, "g": 1000.0, "h": null, "i": null, "j": null,
        "k": "5m", "l": "1_000", "m": "2020-01-01", "n": -3, "o": "on", "p": "1.2.3", "q": 0, "r": "007"});
    assert_eq!(one(text).value, expected);
    assert_eq!(one("1: a\ntrue: b\n").value, json!({"1": "a", "true": "b"}));
}

#[test]
fn json_is_read_too() {
    let text =
        "{\n\t\"kind\": \"Model\",\n\t\"spec\": {\"uri\": \"a\\/b\\u00e9\", \"list\": [1, 2.5, null, true]}\n}\n";
    let document = one(text);
    assert_eq!(one("{\"a\": \"\\ud83d\\udc1d\"}").value, json!({"a": "\u{1f41d}"}));
    assert_eq!(document.value, json!({"kind": "Model", "spec": {"uri": "a/bé", "list": [1, 2.5, null, true]}}));
    assert_eq!(document.line_of(&["spec"]), 3);
}

#[test]
fn anchors_and_merge_keys() {
    let document = one("base: &b {x: 1, y: 2}\nother:\n  <<: *b\n  y: 3\nlist: [*b]\n");
    assert_eq!(document.value["other"], json!({"x": 1, "y": 3}));
    assert_eq!(document.value["list"], json!([{"x": 1, "y": 2}]));
}

#[test]
fn the_second_of_two_equal_keys_is_the_error() {
    let text = "kind: Model\nmetadata:\n  name: bad\n  namespace: default\nspec:\n  uri: builtin:tinybee\n  uri: builtin:other\n";
    let error = refused(text);
    assert_eq!((error.line, error.message.as_str()), (7, "duplicate key \"uri\""));
    assert_eq!(refused("a: 1\n\"a\": 2\n").line, 2);
    assert_eq!(refused("1: a\n\"1\": b\n").line, 2);
}

#[test]
fn a_server_reads_keys_that_come_twice() {
    let text = "a: 1\nb:\n  c: 1\n  c:\n    d: 2\na: [3]\nbase: &x {e: 1}\nmerged:\n  <<: *x\n  e: 2\n";
    let document = parse_documents_yaml11(text, "f").unwrap().remove(0);
    assert_eq!(document.value, json!({"a": [3], "b": {"c": {"d": 2}}, "base": {"e": 1}, "merged": {"e": 2}}));
    let repeated: Vec<(&str, u32)> = document.repeated.iter().map(|r| (r.key.as_str(), r.line)).collect();
    assert_eq!(repeated, [("c", 5), ("a", 6)]);
}

#[test]
fn broken_yaml_says_where() {
    let error = refused("a: 1\nb:\n  c: [unclosed\n");
    assert!((3..=4).contains(&error.line), "{error}");
    for text in ["a: b: c\n", "a:\n\tb: 1\n", "a: *nowhere\n", "a: !!nonsense 1\n", "'x", "? [a]\n: 1\n", "a: .nan\n"] {
        assert!(parse_documents(text, "f").is_err(), "{text:?}");
    }
}

#[test]
fn integers_with_a_leading_zero_are_refused_with_their_line() {
    let error = refused("a: 1\nmode: 0777\n");
    assert_eq!((error.line, error.column), (2, 7));
    assert!(error.message.contains("leading zero"), "{error}");
    for text in ["a: -007\n", "[1, 00]\n", "a: +01\n", "{\"a\": 01}\n", "x: &z 08\n"] {
        refused(text);
    }
    assert_eq!(one("a: 0.5\nb: 0\nc: \"00\"\nd: -0\n").value["c"], json!("00"));
}

#[test]
fn integers_of_64_bits_are_kept_exactly() {
    assert_eq!(one("a: 18446744073709551615\n").value["a"], json!(u64::MAX));
    assert_eq!(one("a: -9223372036854775808\n").value["a"], json!(i64::MIN));
}

#[test]
fn alias_bombs_are_refused_quickly() {
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (previous, next) in "abcdefgh".chars().zip("bcdefghi".chars()) {
        let uses = vec![format!("*{previous}"); 9].join(",");
        bomb.push_str(&format!("{next}: &{next} [{uses}]\n"));
    }
    let error = refused(&bomb);
    assert!(error.message.contains("alias") || error.message.contains("limit"), "{error}");
    refused("a: &a [*a]\n");
}

#[test]
fn texts_beyond_the_limits_are_refused_quickly() {
    let deep = refused(&"[".repeat(10_000));
    assert!(deep.message.to_lowercase().contains("nest") || deep.message.contains("limit"), "{deep}");
    refused(&"{\"a\":".repeat(10_000));
    refused(&(0..10_000).map(|n| format!("{}a:\n", " ".repeat(n % 1000))).collect::<String>());
    refused(&"- ".repeat(10_000));
    assert!(refused(&"---\na: 1\n".repeat(2000)).message.contains("documents"));
    assert!(refused(&"---\n".repeat(1_000_000)).message.contains("documents"));
    let large = refused(&format!("a: 1\n---\nb: {}\n", "x".repeat(limits::DOCUMENT_BYTES)));
    assert_eq!(large.line, 2);
    refused(&"x".repeat(4 << 20));
    refused(&"a\n".repeat(20 << 20));
}

#[test]
fn documents_up_to_the_limit_are_read() {
    let text = format!("a: {}\n", "x".repeat(limits::DOCUMENT_BYTES - 10));
    assert_eq!(one(&text).value["a"].as_str().map(str::len), Some(limits::DOCUMENT_BYTES - 10));
    let many: String = (0..900).map(|n| format!("---\na: {n}\n")).collect();
    let documents = parse_documents(&many, "f").unwrap();
    assert_eq!((documents.len(), documents[899].line), (900, 1800));
}

#[test]
fn printed_as_kubectl_does() {
    let value = json!({
        "apiVersion": "rbee.dev/v1alpha1",
        "kind": "Worker",
        "metadata": {"name": "story", "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"a": "true", "b": "3"}},
        "spec": {"replicas": 2, "uri": "builtin:tinybee", "tolerations": [], "hiveSelector": {}, "note": "one\ntwo\n",
            "files": [{"path": "m.gguf", "sizeBytes": 5}, {"list": [[1, 2], ["x"]]}], "empty": "", "star": "*", "v": "0.1.0"},
    });
    let expected = "\
apiVersion: rbee.dev/v1alpha1
kind: Worker
metadata:
  creationTimestamp: \"2026-01-02T03:04:05Z\"
  labels:
    a: \"true\"
    b: \"3\"
  name: story
spec:
  empty: \"\"
  files:
  - path: m.gguf
    sizeBytes: 5
  - list:
    - - 1
      - 2
    - - x
  hiveSelector: {}
  note: |
    one
    two
  replicas: 2
  star: \"*\"
  tolerations: []
  uri: builtin:tinybee
  v: 0.1.0
";
    assert_eq!(to_string(&value), expected);
    assert_eq!(one(expected).value, value);
    assert_eq!(to_string(&json!({"b": {"d": 1, "c": 2}, "a": 0})), "a: 0\nb:\n  c: 2\n  d: 1\n");
    assert_eq!(to_string_multiple([&json!({"a": 1}), &json!([1])]), "a: 1\n---\n- 1\n");
}

fn any_json() -> impl Strategy<Value = Value> {
    let awkward = prop::sample::select(vec![
        "",
        " ",
        "yes",
        "no",
        "on",
        "y",
        "null",
        "~",
        "0777",
        "1e3",
        "0x1f",
        ".5",
        "1:30",
        "2020-01-01",
        "- a",
        "a: b",
        "a #b",
        "#",
        "&a",
        "*a",
        "!x",
        "|",
        ">",
        "%",
        "@",
        "`",
        "'",
        "\"",
        "\\",
        "{}",
        "[]",
        "---",
        "...",
        "<<",
        "=",
        "a\nb",
        "\n",
        "a\n\n",
        " a\nb",
        "a\n b\n",
        "tab\there",
        "\u{85}",
        "\u{feff}",
        "é",
        "日本",
        "+1",
        "-1",
        "1_000",
        "0b1",
        "12e03",
        "a:",
        "?",
        "? a",
        ",",
        "a,b",
        "deadbeefdeadbeef",
        "1234567890123456e789",
        "1.2.3",
        "0.1.0",
        "\u{1f41d}",
        "\u{7f}",
    ])
    .prop_map(str::to_owned);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e15f64..1e15).prop_map(Value::from),
        awkward.clone().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[ -~\n]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, move |inner| {
        let key = prop_oneof!["[a-zA-Z0-9./-]{1,8}", awkward.clone(), ".{0,6}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..5)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

#[test]
fn yaml_1_1_has_more_words_for_true_and_false() {
    let text = "{a: no, b: 'no', c: On, d: y, e: \"yes\", f: true}";
    let read = |read: fn(&str, &str) -> Result<Vec<Document>, YamlError>| read(text, "f").unwrap().remove(0).value;
    let wanted = serde_json::json!({"a": false, "b": "no", "c": true, "d": true, "e": "yes", "f": true});
    assert_eq!(read(parse_documents_yaml11), wanted);
    let wanted = serde_json::json!({"a": "no", "b": "no", "c": "On", "d": "y", "e": "yes", "f": true});
    assert_eq!(read(parse_documents), wanted);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn what_is_printed_is_read_back(value in any_json()) {
        let text = to_string(&value);
        let read = parse_documents(&text, "f").map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        match value {
            Value::Null => prop_assert!(read.is_empty()),
            value => prop_assert_eq!(read.into_iter().map(|d| d.value).collect::<Vec<_>>(), vec![value], "{}", text),
        }
    }

    #[test]
    fn json_is_read_as_json(value in any_json().prop_filter("a document", |v| !v.is_null())) {
        // JSON lets DEL and its like stand as they are, YAML wants them escaped.
        let escape = |c: char| if c.is_ascii_control() || ('\u{7f}'..'\u{a0}').contains(&c) || matches!(c, '\u{feff}' | '\u{fffe}'..='\u{ffff}') {
            format!("\\u{:04x}", u32::from(c))
        } else {
            c.to_string()
        };
        let text: String = value.to_string().chars().map(escape).collect();
        let read = parse_documents(&text, "f").map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        prop_assert_eq!(read.into_iter().map(|d| d.value).collect::<Vec<_>>(), vec![value], "{}", text);
    }

    #[test]
    fn no_text_panics(text in "[ a-c:\\-\\[\\]{}&*!|>'\"%#?,0-2\n\t]{0,60}") {
        let _ = parse_documents(&text, "f");
    }
}
