//! Field selectors: `spec.mode=fast,metadata.name!=a`, with backslash escapes.

use super::SelectorError;

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldTerm {
    /// Path as the client wrote it, e.g. `metadata.name`.
    pub field: String,
    /// The value compared with.
    pub value: String,
    /// `!=`.
    pub negated: bool,
}

/// All of these must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// The conditions, sorted by their text.
    pub terms: Vec<FieldTerm>,
}

impl FieldSelector {
    /// Reads a selector; the empty one matches everything.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parts = split_terms(text);
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|p| !p.is_empty()) {
            let (field, negated, rest) = split_term(part)
                .ok_or_else(|| SelectorError(format!("invalid selector: '{text}'; can't understand '{part}'")))?;
            let value = unescape(rest)?;
            if !(field.is_empty() && value.is_empty()) {
                terms.push(FieldTerm { field: field.to_string(), value, negated });
            }
        }
        Ok(Self { terms })
    }

    /// Of one object by name.
    pub fn name(name: &str) -> Self {
        Self { terms: vec![FieldTerm { field: "metadata.name".into(), value: name.into(), negated: false }] }
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that `field` must have, if the selector says so.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|t| t.field == field && !t.negated).map(|t| t.value.as_str())
    }

    /// Whether the object whose fields `value_of` answers is selected; a missing field is the empty string.
    pub fn matches<'a>(&self, value_of: impl Fn(&str) -> Option<std::borrow::Cow<'a, str>>) -> bool {
        self.terms.iter().all(|t| (value_of(&t.field).unwrap_or_default() == t.value) != t.negated)
    }
}

fn split_terms(text: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    for (i, _) in term.char_indices() {
        for operator in ["!=", "==", "="] {
            if let Some(rest) = term[i..].strip_prefix(operator) {
                return Some((&term[..i], operator == "!=", rest));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let (mut out, mut escaped) = (String::with_capacity(value.len()), false);
    for c in value.chars() {
        match (escaped, c) {
            (true, '\\' | ',' | '=') => {
                out.push(c);
                escaped = false;
            }
            (true, c) => {
                return Err(SelectorError(format!("invalid field selector: invalid escape sequence: \"\\{c}\"")));
            }
            (false, '\\') => escaped = true,
            (false, ',' | '=') => {
                return Err(SelectorError(format!("invalid field selector: unescaped character in value: {c}")));
            }
            (false, c) => out.push(c),
        }
    }
    if escaped {
        return Err(SelectorError("invalid field selector: invalid escape sequence: \\".into()));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(text: &str, field: &'static str, value: &'static str) -> bool {
        FieldSelector::parse(text).unwrap().matches(|f| (f == field).then_some(value.into()))
    }

    #[test]
    fn equal_and_not_equal() {
        assert!(select("spec.mode=fast", "spec.mode", "fast"));
        assert!(select("spec.mode==fast", "spec.mode", "fast"));
        assert!(!select("spec.mode!=fast", "spec.mode", "fast"));
        assert!(select("spec.none=", "spec.mode", "fast"), "a missing field is the empty string");
        assert!(select("", "spec.mode", "fast"));
    }

    #[test]
    fn escapes() {
        assert!(select(r"a=x\,y\=z\\", "a", r"x,y=z\"));
        assert!(FieldSelector::parse(r"a=\x").is_err());
        assert!(FieldSelector::parse("a=b=c").is_err());
    }

    #[test]
    fn words_of_refusal() {
        let error = FieldSelector::parse("a").unwrap_err();
        assert_eq!(error.to_string(), "invalid selector: 'a'; can't understand 'a'");
    }

    #[test]
    fn exact_names() {
        let selector = FieldSelector::parse("metadata.name=a,spec.mode!=slow").unwrap();
        assert_eq!(selector.exact("metadata.name"), Some("a"));
        assert_eq!(selector.exact("spec.mode"), None);
    }
}
