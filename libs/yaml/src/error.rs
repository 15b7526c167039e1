//! Why a text is no YAML that is read here.

use serde_saphyr::{Error, MessageFormatter, UserMessageFormatter};

/// An error with its place; printed as compilers do: `FILE:LINE:COLUMN: MESSAGE`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct YamlError {
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
    pub message: String,
}

impl YamlError {
    pub(crate) fn from_parser(error: &Error, file: &str) -> Self {
        let error = error.without_snippet();
        let location = error.location();
        let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX).max(1);
        Self {
            file: file.to_owned(),
            line: location.map_or(1, |l| number(l.line())),
            column: location.map_or(1, |l| number(l.column())),
            message: message(error),
        }
    }
}

fn message(error: &Error) -> String {
    match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("duplicate key {key:?}"),
        Error::DuplicateMappingKey { key: None, .. } => "duplicate key".to_owned(),
        Error::AliasReplayLimitExceeded { max_total_replayed_events, .. } => {
            format!("aliases stand for more than the limit of {max_total_replayed_events} nodes")
        }
        Error::AliasError { error, .. } => message(error),
        Error::Budget { breach, .. } => format!("a limit is exceeded: {breach:?}"),
        other => UserMessageFormatter.format_message(other).into_owned(),
    }
}
