//! Rules for names, labels and keys, in Kubernetes' words.

use std::sync::LazyLock;

use regex::Regex;

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const DNS1035: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const LABEL_KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_VALUE: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
const CONFIG_KEY: &str = "[-._a-zA-Z0-9]+";

macro_rules! whole {
    ($name:ident, $source:expr) => {
        static $name: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(&format!("^{}$", $source)).expect("a pattern of this source"));
    };
}

whole!(LABEL_RE, LABEL);
whole!(SUBDOMAIN_RE, SUBDOMAIN);
whole!(DNS1035_RE, DNS1035);
whole!(LABEL_KEY_RE, LABEL_KEY);
whole!(LABEL_VALUE_RE, LABEL_VALUE);
whole!(CONFIG_KEY_RE, CONFIG_KEY);

/// Kubernetes measures names in characters and parts of labels in bytes, in words; both are bytes.
fn too_long(text: &str, max: usize, unit: &str) -> Option<String> {
    (text.len() > max).then(|| format!("must be no more than {max} {unit}"))
}

fn regex_words(words: &str, pattern: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|e| format!("'{e}'")).collect();
    format!("{words} (e.g. {}, regex used for validation is '{pattern}')", examples.join(",  or "))
}

/// RFC 1123 subdomain, at most 253 bytes. Empty: fine.
pub fn dns1123_subdomain(name: &str) -> Vec<String> {
    subdomain(name, "characters")
}

fn subdomain(name: &str, unit: &str) -> Vec<String> {
    let mut wrong: Vec<String> = too_long(name, 253, unit).into_iter().collect();
    if !SUBDOMAIN_RE.is_match(name) {
        let words = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
        wrong.push(regex_words(words, SUBDOMAIN, &["example.com"]));
    }
    wrong
}

/// RFC 1123 label, at most 63 bytes.
pub fn dns1123_label(name: &str) -> Vec<String> {
    let mut wrong: Vec<String> = too_long(name, 63, "characters").into_iter().collect();
    if LABEL_RE.is_match(name) {
        return wrong;
    }
    if SUBDOMAIN_RE.is_match(name) {
        wrong.push("must not contain dots".into());
    } else {
        let words = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
        wrong.push(regex_words(words, LABEL, &["my-name", "123-abc"]));
    }
    wrong
}

/// RFC 1035 label, at most 63 bytes.
pub fn dns1035_label(name: &str) -> Vec<String> {
    let mut wrong: Vec<String> = too_long(name, 63, "characters").into_iter().collect();
    if !DNS1035_RE.is_match(name) {
        let words = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
        wrong.push(regex_words(words, DNS1035, &["my-name", "abc-123"]));
    }
    wrong
}

/// A label key: `name` or `prefix/name` (also finalizers and, in lower case, annotation keys).
pub fn qualified_name(key: &str) -> Vec<String> {
    let words = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
    let examples = ["MyName", "my.name", "123-abc"];
    let mut wrong = Vec::new();
    let parts: Vec<&str> = key.split('/').collect();
    let name = match parts.as_slice() {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_string());
            } else {
                wrong.extend(subdomain(prefix, "bytes").into_iter().map(|w| format!("prefix part {w}")));
            }
            name
        }
        _ => {
            let words = regex_words(words, LABEL_KEY, &examples);
            wrong.push(format!(
                "a valid label key {words} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ));
            return wrong;
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".into());
    } else if let Some(words) = too_long(name, 63, "bytes") {
        wrong.push(format!("name part {words}"));
    }
    if !LABEL_KEY_RE.is_match(name) {
        wrong.push(format!("name part {}", regex_words(words, LABEL_KEY, &examples)));
    }
    wrong
}

/// The value of a label; may be empty.
pub fn label_value(value: &str) -> Vec<String> {
    let mut wrong: Vec<String> = too_long(value, 63, "bytes").into_iter().collect();
    if !LABEL_VALUE_RE.is_match(value) {
        let words = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
        wrong.push(regex_words(words, LABEL_VALUE, &["MyValue", "my_value", "12345"]));
    }
    wrong
}

/// A key of a ConfigMap or Secret.
pub fn config_key(key: &str) -> Vec<String> {
    let mut wrong: Vec<String> = too_long(key, 253, "characters").into_iter().collect();
    if !CONFIG_KEY_RE.is_match(key) {
        let words = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        wrong.push(regex_words(words, CONFIG_KEY, &["key.name", "KEY_NAME", "key-name"]));
    }
    match key {
        "." => wrong.push("must not be '.'".into()),
        ".." => wrong.push("must not be '..'".into()),
        key if key.starts_with("..") => wrong.push("must not start with '..'".into()),
        _ => {}
    }
    wrong
}

/// A name that can be part of a path.
pub fn path_segment(name: &str, prefix: bool) -> Vec<String> {
    if !prefix && matches!(name, "." | "..") {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"].into_iter().filter(|c| name.contains(c)).map(|c| format!("may not contain '{c}'")).collect()
}
