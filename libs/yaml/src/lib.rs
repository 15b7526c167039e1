//! The one place where YAML is read: budgets, duplicate keys, spans. JSON is read by the same code, being YAML.
//!
//! Scalars follow YAML 1.2: `true` and `false` are booleans, `yes` and `on` are strings. Integers with a leading zero are
//! refused, because one reader in two takes them for octal.

mod error;
mod node;
mod print;
mod spans;

pub use error::YamlError;
pub use print::{to_string, to_string_multiple};

use serde_json::Value;
use serde_saphyr::{Budget, DuplicateKeyPolicy, Options, Spanned};

use node::{Node, Reading};
use spans::Spans;

/// What a text may hold at most.
pub mod limits {
    /// Bytes of one document.
    pub const DOCUMENT_BYTES: usize = 1 << 20;
    /// Bytes of all documents of a text.
    pub const TEXT_BYTES: usize = 16 << 20;
    /// Documents of a text.
    pub const DOCUMENTS: usize = 1000;
    /// Mappings and sequences in each other.
    pub const DEPTH: usize = 100;
    /// Uses of anchors.
    pub const ALIASES: usize = 1000;
    /// Nodes that uses of anchors stand for.
    pub const ALIASED_NODES: usize = 100_000;
    /// Nodes of a text.
    pub const NODES: usize = 500_000;
}

/// One document and where its parts stand.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    pub value: Value,
    /// The line of its first node, from 1.
    pub line: u32,
    /// Keys that came twice, where that is no error; the last value counts.
    pub repeated: Vec<Repeated>,
    spans: Spans,
}

/// A key that its mapping already had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeated {
    pub key: String,
    /// The line of its value, from 1.
    pub line: u32,
}

impl Document {
    /// The line (from 1) of the key at that path, items by their number (`["spec", "files", "0", "path"]`). Where the path
    /// ends before it is done, the line of what is there last: so a missing field is reported where it belongs.
    pub fn line_of<S: AsRef<str>>(&self, path: &[S]) -> u32 {
        self.spans.line_of(path.iter().map(AsRef::as_ref)).unwrap_or(self.line)
    }

    /// As [`Document::line_of`], for a path as Kubernetes writes it: `spec.files[0].path`, `metadata.labels[a.b/c]`.
    pub fn line_of_field(&self, field: &str) -> u32 {
        self.line_of(&spans::split_field(field))
    }
}

/// Reads all documents of a text; empty ones are left out. `file` is what errors call it.
///
/// # Errors
/// [`YamlError`] with file, line and column: no YAML, a duplicate key, a limit exceeded, a number that others read otherwise.
pub fn parse_documents(text: &str, file: &str) -> Result<Vec<Document>, YamlError> {
    read(text, file, options(), None)
}

/// As [`parse_documents`], but as kube-apiserver reads the body of a request: unquoted `yes`, `no`, `on`, `off`, `y` and `n`
/// are booleans (YAML 1.1), and keys that come twice are no error but [`Document::repeated`].
///
/// # Errors
/// As [`parse_documents`].
pub fn parse_documents_yaml11(text: &str, file: &str) -> Result<Vec<Document>, YamlError> {
    let mut options = options();
    options.strict_booleans = false;
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    read(text, file, options, Some(Vec::new()))
}

/// `repeated` is empty where keys may come twice, none where that is an error.
fn read(text: &str, file: &str, options: Options, repeated: Option<Vec<Repeated>>) -> Result<Vec<Document>, YamlError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    check_sizes(text, file)?;
    let nodes: Vec<Spanned<Node>> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|e| YamlError::from_parser(&e, file))?;
    let document = |node| document(node, Reading { text, file, repeated: repeated.clone() });
    nodes.into_iter().filter(|n| !matches!(n.value, Node::Null)).map(document).collect()
}

fn document(node: Spanned<Node>, mut reading: Reading<'_>) -> Result<Document, YamlError> {
    let line = line(&node);
    let (value, spans) = reading.convert(node)?;
    Ok(Document { value, line, repeated: reading.repeated.unwrap_or_default(), spans })
}

fn line<T>(node: &Spanned<T>) -> u32 {
    u32::try_from(node.referenced.line()).unwrap_or(u32::MAX)
}

/// Sizes are looked at before anything is read. `---` at the start of a line separates documents wherever it stands.
fn check_sizes(text: &str, file: &str) -> Result<(), YamlError> {
    let too_large = |line: u32, message: String| Err(YamlError { file: file.to_owned(), line, column: 1, message });
    if text.len() > limits::TEXT_BYTES {
        return too_large(1, format!("{} bytes of YAML; at most {} are read", text.len(), limits::TEXT_BYTES));
    }
    let (mut start_line, mut bytes, mut documents) = (1, 0, 0);
    for (line, content) in (1u32..).zip(text.split_inclusive('\n')) {
        let marker =
            content.strip_prefix("---").is_some_and(|rest| rest.chars().next().is_none_or(char::is_whitespace));
        if marker {
            (start_line, bytes, documents) = (line, 0, documents + 1);
        }
        bytes += content.len();
        if bytes > limits::DOCUMENT_BYTES {
            return too_large(start_line, format!("the document is larger than {} bytes", limits::DOCUMENT_BYTES));
        }
        if documents > limits::DOCUMENTS {
            return too_large(line, format!("more than {} documents", limits::DOCUMENTS));
        }
    }
    Ok(())
}

fn options() -> Options {
    let mut budget = Budget::default();
    budget.max_depth = limits::DEPTH;
    budget.flow_nesting_limit = limits::DEPTH;
    budget.max_documents = 2 * limits::DOCUMENTS;
    budget.max_nodes = limits::NODES;
    budget.max_events = 4 * limits::NODES;
    budget.max_aliases = limits::ALIASES;
    budget.max_anchors = limits::ALIASES;
    budget.max_merge_keys = limits::ALIASES;
    budget.max_recorded_anchor_events = limits::NODES;
    budget.max_recorded_anchor_bytes = limits::TEXT_BYTES;
    let mut options = Options::default();
    options.budget = Some(budget);
    options.alias_limits.max_total_replayed_events = limits::ALIASED_NODES;
    options.alias_limits.max_replay_stack_depth = 16;
    options.emit_comments = false;
    options.strict_booleans = true;
    options.underscored_numbers_as_strings = true;
    options.reject_unsupported_tags = true;
    options.with_snippet = false;
    options
}

#[cfg(test)]
mod tests;
