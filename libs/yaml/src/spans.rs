//! Which part of a document stands on which line.

use std::collections::BTreeMap;

/// The line of a node and of everything in it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Spans {
    line: u32,
    children: BTreeMap<String, Spans>,
}

impl Spans {
    pub(crate) fn at(line: u32) -> Self {
        Self { line, children: BTreeMap::new() }
    }

    pub(crate) fn set_line(&mut self, line: u32) {
        self.line = line;
    }

    pub(crate) fn insert(&mut self, key: String, child: Spans) {
        self.children.insert(key, child);
    }

    /// The line of the deepest node on the way; none if not even the first step exists.
    pub(crate) fn line_of<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Option<u32> {
        let mut at = self;
        let mut line = None;
        for step in path {
            let Some(child) = at.children.get(step) else { break };
            at = child;
            line = Some(at.line);
        }
        line
    }
}

/// Splits `spec.files[0].path` into its steps; what stands in brackets is one step, dots and all.
pub(crate) fn split_field(field: &str) -> Vec<String> {
    let mut steps = Vec::new();
    let mut rest = field.trim_start_matches('.');
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (step, after) = inner.split_once(']').unwrap_or((inner, ""));
            steps.push(step.trim_matches(['"', '\'']).to_owned());
            rest = after.trim_start_matches('.');
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            steps.push(rest[..end].to_owned());
            rest = rest[end..].trim_start_matches('.');
        }
    }
    steps
}
