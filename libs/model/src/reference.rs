//! Model references: `hf:ORG/REPO[:FILE-OR-QUANT][@REVISION]`, `file:///ABSOLUTE/PATH`, `https://HOST/PATH`, `builtin:NAME`.
//!
//! The parser and [`URI_CEL`], the rule in the CRD, accept exactly the same strings; a property test compares them.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// The longest reference, in characters.
pub const MAX_URI_CHARS: usize = 1024;

/// What is allowed, for messages.
pub const URI_FORMS: &str =
    "hf:ORG/REPO[:FILE-OR-QUANT][@REVISION], file:///ABSOLUTE/PATH, https://HOST/PATH, builtin:NAME";

/// One segment of a file path: any printable character but `/`, `\`, `%`, `[`, `]`, in scripts written from left to right;
/// not `.` alone.
macro_rules! file_segment {
    () => {
        "[.]?[ -$&-,0-Z^-~À-ɏͰ-ԯ぀-ヿ㐀-鿿가-힣-][ -$&-.0-Z^-~À-ɏͰ-ԯ぀-ヿ㐀-鿿가-힣]*"
    };
}
macro_rules! hub_segment {
    () => {
        "[A-Za-z0-9_][A-Za-z0-9._-]{0,95}"
    };
}
macro_rules! web_segment {
    () => {
        "[.]?[A-Za-z0-9_~+=,@-][A-Za-z0-9._~+=,@-]*"
    };
}
macro_rules! host_label {
    () => {
        "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    };
}
macro_rules! port {
    () => {
        "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
    };
}
macro_rules! uri_pattern {
    () => {
        concat!(
            "^(hf:",
            hub_segment!(),
            "/",
            hub_segment!(),
            "(:",
            hub_segment!(),
            "(/",
            hub_segment!(),
            "){0,7})?(@",
            hub_segment!(),
            "(/",
            hub_segment!(),
            "){0,7})?|file://(/",
            file_segment!(),
            ")+|https://",
            host_label!(),
            "([.]",
            host_label!(),
            "){0,15}(:",
            port!(),
            ")?(/",
            web_segment!(),
            ")+([?][A-Za-z0-9._~=&+-]*)?|builtin:[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)$"
        )
    };
}

/// The grammar as a regular expression (RE2 and Rust's `regex` read it alike). It has no quote and no backslash, so it
/// stands in a CEL or YAML string as it is. `..` and the length are looked at apart: [`URI_CEL`], [`MAX_URI_CHARS`].
pub const URI_PATTERN: &str = uri_pattern!();

/// The whole grammar as a CEL rule over `self`; the field needs `maxLength:` [`MAX_URI_CHARS`] beside it.
pub const URI_CEL: &str = concat!("self.matches('", uri_pattern!(), "') && !self.contains('..')");

/// Where a model comes from. Parsed once; everything in it is safe to use in a path below a folder of ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ModelRef {
    /// A repository on a hub that speaks Hugging Face's API.
    Hub {
        org: String,
        repo: String,
        /// Which file of the repository.
        select: Option<HubSelect>,
        /// Branch, tag or commit.
        revision: Option<String>,
    },
    /// An absolute path on the hive's disk.
    File(String),
    /// A URL that starts with `https://`.
    Https(String),
    /// A model that is part of the executable.
    Builtin(String),
}

/// How a file of a hub's repository was named.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HubSelect {
    /// A file's path in the repository.
    File(String),
    /// A quantization such as `Q4_K_M`.
    Quant(String),
}

impl HubSelect {
    pub fn as_str(&self) -> &str {
        match self {
            Self::File(s) | Self::Quant(s) => s,
        }
    }
}

/// Why a string is no model reference. Its Display names the value and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("model reference {}: {problem}; allowed: {URI_FORMS}", shown(.value))]
pub struct ReferenceError {
    pub value: String,
    pub problem: Problem,
}

/// What is wrong with a model reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than {MAX_URI_CHARS} characters")]
    TooLong,
    #[error("it has no scheme that is known here")]
    Scheme,
    #[error("`..` is not allowed")]
    DotDot,
    #[error("a control character is not allowed")]
    Control,
    #[error("`{0}` is not allowed")]
    Character(char),
    #[error("the character U+{0:04X} is not allowed")]
    CodePoint(u32),
    #[error("after hf: comes ORG/REPO, each of 1 to 96 letters, digits, `.`, `_`, `-`, not beginning with `.` or `-`")]
    HubRepo,
    #[error("after the second `:` comes a file of the repository or a quantization")]
    HubFile,
    #[error("after `@` comes a branch, a tag or a commit")]
    HubRevision,
    #[error("file:// takes an absolute path, as in file:///models/m.gguf, with no empty or `.` segment")]
    FilePath,
    #[error("https:// takes a host, maybe a port, and a path, with neither user name nor fragment")]
    Url,
    #[error("after builtin: comes a name of lower-case letters, digits and `-`")]
    BuiltinName,
}

/// A value as it is safe to print: escaped, at most 120 characters.
fn shown(value: &str) -> String {
    let mut text: String = value.chars().take(120).collect::<String>().escape_default().to_string();
    if value.chars().nth(120).is_some() {
        text.push_str("...");
    }
    format!("\"{text}\"")
}

impl FromStr for ModelRef {
    type Err = ReferenceError;

    fn from_str(value: &str) -> Result<Self, ReferenceError> {
        parse(value).map_err(|problem| ReferenceError { value: value.to_owned(), problem })
    }
}

fn parse(value: &str) -> Result<ModelRef, Problem> {
    if value.is_empty() {
        return Err(Problem::Empty);
    }
    if value.chars().nth(MAX_URI_CHARS).is_some() {
        return Err(Problem::TooLong);
    }
    if let Some(bad) = value.chars().find(|&c| !is_path_char(c) && c != '/') {
        return Err(match bad {
            c if c.is_control() => Problem::Control,
            c if c.is_ascii() => Problem::Character(c),
            c => Problem::CodePoint(u32::from(c)),
        });
    }
    if value.contains("..") {
        return Err(Problem::DotDot);
    }
    if let Some(rest) = value.strip_prefix("hf:") {
        parse_hub(rest)
    } else if let Some(path) = value.strip_prefix("file://") {
        let segments = path.strip_prefix('/').ok_or(Problem::FilePath)?;
        segments.split('/').all(is_file_segment).then(|| ModelRef::File(path.to_owned())).ok_or(Problem::FilePath)
    } else if let Some(rest) = value.strip_prefix("https://") {
        is_web_location(rest).then(|| ModelRef::Https(value.to_owned())).ok_or(Problem::Url)
    } else if let Some(name) = value.strip_prefix("builtin:") {
        is_label(name, |c| c.is_ascii_lowercase() || c.is_ascii_digit())
            .then(|| ModelRef::Builtin(name.to_owned()))
            .ok_or(Problem::BuiltinName)
    } else {
        Err(Problem::Scheme)
    }
}

fn parse_hub(rest: &str) -> Result<ModelRef, Problem> {
    let (rest, revision) = match rest.split_once('@') {
        Some((rest, revision)) => (rest, Some(revision)),
        None => (rest, None),
    };
    let (repo, file) = match rest.split_once(':') {
        Some((repo, file)) => (repo, Some(file)),
        None => (rest, None),
    };
    let (org, repo) = repo.split_once('/').ok_or(Problem::HubRepo)?;
    if !is_hub_segment(org) || !is_hub_segment(repo) {
        return Err(Problem::HubRepo);
    }
    if file.is_some_and(|f| !is_hub_path(f)) {
        return Err(Problem::HubFile);
    }
    if revision.is_some_and(|r| !is_hub_path(r)) {
        return Err(Problem::HubRevision);
    }
    let select = file.map(|f| {
        let is_file = f.contains('/') || f.to_ascii_lowercase().ends_with(".gguf") || f.ends_with(".safetensors");
        if is_file { HubSelect::File(f.to_owned()) } else { HubSelect::Quant(f.to_owned()) }
    });
    Ok(ModelRef::Hub { org: org.to_owned(), repo: repo.to_owned(), select, revision: revision.map(str::to_owned) })
}

/// What may stand in a segment of a path. Letters of scripts written from left to right; no look-alikes of `.` and `/`.
fn is_path_char(c: char) -> bool {
    matches!(c, ' '..='$' | '&'..='.' | '0'..='Z' | '^'..='~')
        || matches!(c, 'À'..='ɏ' | 'Ͱ'..='ԯ' | '\u{3040}'..='ヿ' | '㐀'..='\u{9fff}' | '가'..='힣')
}

fn is_file_segment(segment: &str) -> bool {
    let rest = segment.strip_prefix('.').unwrap_or(segment);
    !rest.is_empty() && !rest.starts_with('.') && rest.chars().all(is_path_char)
}

fn is_hub_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

fn is_hub_segment(segment: &str) -> bool {
    segment.len() <= 96
        && segment.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && segment.chars().all(is_hub_char)
}

fn is_hub_path(path: &str) -> bool {
    path.split('/').count() <= 8 && path.split('/').all(is_hub_segment)
}

fn is_label(label: &str, alphanumeric: impl Fn(char) -> bool) -> bool {
    (1..=63).contains(&label.len())
        && label.chars().all(|c| alphanumeric(c) || c == '-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_web_location(rest: &str) -> bool {
    let (location, query) = match rest.split_once('?') {
        Some((location, query)) => (location, query),
        None => (rest, ""),
    };
    let Some((authority, path)) = location.split_once('/') else { return false };
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let web_char = |c: char| c.is_ascii_alphanumeric() || "._~+=,@-".contains(c);
    let segment = |s: &str| {
        let rest = s.strip_prefix('.').unwrap_or(s);
        !rest.is_empty() && !rest.starts_with('.') && rest.chars().all(web_char)
    };
    host.split('.').count() <= 16
        && host.split('.').all(|label| is_label(label, |c| c.is_ascii_alphanumeric()))
        && port.is_none_or(|p| p.chars().all(|c| c.is_ascii_digit()) && !p.starts_with('0') && p.parse::<u16>().is_ok())
        && path.split('/').all(segment)
        && query.chars().all(|c| c.is_ascii_alphanumeric() || "._~=&+-".contains(c))
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub { org, repo, select, revision } => {
                write!(f, "hf:{org}/{repo}")?;
                if let Some(select) = select {
                    write!(f, ":{}", select.as_str())?;
                }
                match revision {
                    Some(revision) => write!(f, "@{revision}"),
                    None => Ok(()),
                }
            }
            Self::File(path) => write!(f, "file://{path}"),
            Self::Https(url) => f.write_str(url),
            Self::Builtin(name) => write!(f, "builtin:{name}"),
        }
    }
}

impl ModelRef {
    /// A name for the Model object made from this reference: slug, `-`, 8 hex digits of the reference's sha256.
    /// It is a DNS-1123 label.
    pub fn object_name(&self) -> String {
        let digest = hex::encode(Sha256::digest(self.to_string()));
        format!("{}-{}", self.slug(), &digest[..8])
    }

    /// The readable part of [`Self::object_name`]: lower-case letters, digits and single `-`, 1 to 54 characters.
    pub fn slug(&self) -> String {
        let base = match self {
            Self::Hub { repo, .. } => repo.as_str(),
            Self::File(path) => last_segment(path),
            Self::Https(url) => last_segment(url.split('?').next().unwrap_or(url)),
            Self::Builtin(name) => name.as_str(),
        };
        let base = base.strip_suffix(".gguf").unwrap_or(base);
        let mut slug = String::new();
        for c in base.chars() {
            match c.to_ascii_lowercase() {
                c if c.is_ascii_alphanumeric() => slug.push(c),
                _ if slug.is_empty() || slug.ends_with('-') => {}
                _ => slug.push('-'),
            }
            if slug.len() == 54 {
                break;
            }
        }
        let slug = slug.trim_end_matches('-');
        if slug.is_empty() { "model".to_owned() } else { slug.to_owned() }
    }

    /// The path, if this is a file on the hive's disk.
    pub fn file_path(&self) -> Option<&str> {
        match self {
            Self::File(path) => Some(path),
            _ => None,
        }
    }
}

fn last_segment(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn problem(value: &str) -> Problem {
        value.parse::<ModelRef>().expect_err(value).problem
    }

    #[test]
    fn references_of_every_kind_are_read_and_printed_alike() {
        for text in [
            "hf:TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF",
            "hf:org/repo:Q4_K_M",
            "hf:org/repo:sub/model.gguf@refs/pr/3",
            "hf:org/repo@1a2b3c",
            "file:///models/m.gguf",
            "file:///home/josé/.cache/my model (1).gguf",
            "https://example.org:8443/a/b.gguf?download=true",
            "builtin:tinybee",
        ] {
            assert_eq!(text.parse::<ModelRef>().expect(text).to_string(), text);
        }
        let Ok(ModelRef::Hub { select, revision, .. }) = "hf:o/r:sub/m.gguf@main".parse() else { panic!("hub") };
        assert_eq!((select, revision), (Some(HubSelect::File("sub/m.gguf".into())), Some("main".into())));
        let Ok(ModelRef::Hub { select, .. }) = "hf:o/r:Q8_0".parse() else { panic!("hub") };
        assert_eq!(select, Some(HubSelect::Quant("Q8_0".into())));
    }

    #[test]
    fn hostile_references_are_refused_with_their_reason() {
        for (text, expected) in [
            ("", Problem::Empty),
            ("../x", Problem::DotDot),
            ("/etc/passwd", Problem::Scheme),
            ("ftp://example.org/m.gguf", Problem::Scheme),
            ("gopher://x/m.gguf", Problem::Scheme),
            ("hf:a/b/../../c", Problem::DotDot),
            ("file:///tmp/../etc/m.gguf", Problem::DotDot),
            ("file:///tmp/..%2f", Problem::Character('%')),
            ("file://m.gguf", Problem::FilePath),
            ("file:///a//b", Problem::FilePath),
            ("file:///a/./b", Problem::FilePath),
            ("file:///a/", Problem::FilePath),
            ("file:m.gguf", Problem::Scheme),
            ("file:///a\\b", Problem::Character('\\')),
            ("file:///a\0b", Problem::Control),
            ("file:///a\nb", Problem::Control),
            ("file:///a/\u{ff0e}\u{ff0e}/b", Problem::CodePoint(0xff0e)),
            ("file:///a\u{202e}b", Problem::CodePoint(0x202e)),
            ("hf:a", Problem::HubRepo),
            ("hf:-a/b", Problem::HubRepo),
            ("hf:a/.b", Problem::HubRepo),
            ("hf:a/b:", Problem::HubFile),
            ("hf:a/b@", Problem::HubRevision),
            ("hf:a/b@refs/../../x", Problem::DotDot),
            ("https://user@host/m", Problem::Url),
            ("https://host", Problem::Url),
            ("https://host:0/m", Problem::Url),
            ("https://host:65536/m", Problem::Url),
            ("https://ok\\@evil/m", Problem::Character('\\')),
            ("builtin:", Problem::BuiltinName),
            ("builtin:Tiny", Problem::BuiltinName),
        ] {
            assert_eq!(problem(text), expected, "{text:?}");
        }
        assert_eq!(problem(&format!("hf:a/{}", "b".repeat(10_000))), Problem::TooLong);
        assert_eq!(problem(&format!("hf:a/{}", "b".repeat(97))), Problem::HubRepo);
    }

    #[test]
    fn a_refusal_names_the_value_escaped_and_cut_and_what_is_allowed() {
        let text = "x\u{1b}[31m".parse::<ModelRef>().unwrap_err().to_string();
        assert!(text.contains("\"x\\u{1b}[31m\"") && text.contains("builtin:NAME"), "{text}");
        let text = "y".repeat(5000).parse::<ModelRef>().unwrap_err().to_string();
        assert!(text.len() < 400, "{text}");
    }

    #[test]
    fn object_names_are_labels_that_differ_where_the_reference_does() {
        let name = |text: &str| text.parse::<ModelRef>().expect(text).object_name();
        assert!(name("builtin:tinybee").starts_with("tinybee-"));
        assert!(name("hf:TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF:Q4_0").starts_with("tinyllama-1-1b-chat-v1-0-gguf-"));
        assert_ne!(name("file:///a/m.gguf"), name("file:///b/m.gguf"));
        assert!(name("file:///___.gguf").starts_with("model-"));
    }

    #[test]
    fn the_pattern_needs_no_escaping_in_cel_or_yaml() {
        assert!(!URI_PATTERN.contains(['\'', '"', '\\', '\n']));
        assert!(URI_CEL.contains(URI_PATTERN));
    }

    /// Pieces that make strings near the grammar's edge.
    fn near_references() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("hf:".to_owned()),
            Just("file://".to_owned()),
            Just("https://".to_owned()),
            Just("builtin:".to_owned()),
            prop::sample::select(vec![
                "/", ".", "..", ":", "@", "?", "-", "_", "%", "\\", "~", " ", "\n", "[", "é", "．", "/", "a", "/b",
                ":80", "名", "か"
            ])
            .prop_map(str::to_owned),
            "[a-zA-Z0-9._-]{0,8}",
            any::<char>().prop_map(String::from),
        ];
        prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn parser_and_rule_agree(text in near_references()) {
            static PATTERN: std::sync::LazyLock<regex::Regex> = std::sync::LazyLock::new(|| regex::Regex::new(URI_PATTERN).unwrap());
            let rule = PATTERN.is_match(&text) && !text.contains("..") && text.chars().count() <= MAX_URI_CHARS;
            let parsed = text.parse::<ModelRef>();
            prop_assert_eq!(parsed.is_ok(), rule, "{:?}: {:?}", text, parsed);
            if let Ok(reference) = parsed {
                prop_assert_eq!(reference.to_string(), text);
                let name = reference.object_name();
                prop_assert!(is_label(&name, |c| c.is_ascii_lowercase() || c.is_ascii_digit()), "{}", name);
            }
        }
    }
}
