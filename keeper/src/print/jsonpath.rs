//! kubectl's JSONPath templates: `{.status.conditions[?(@.type=="Ready")].status}`, `{range .items[*]}…{end}`, text between.

use std::{cmp::Ordering, str::FromStr};

use serde_json::Value;

/// A template that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Path(Vec<Step>),
    Range(Vec<Step>, Vec<Part>),
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// The whole document, from within a range too.
    Root,
    Field(String),
    All,
    Deep(String),
    /// From, to (not included), step; negative counts from the end.
    Slice(Option<i64>, Option<i64>, i64),
    Index(i64),
    Filter(Filter),
}

#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Operand,
    test: Option<(Comparison, Operand)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(Vec<Step>),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("jsonpath template: {problem} at character {at}")]
pub struct JsonPathError {
    problem: &'static str,
    /// From 1.
    at: usize,
}

impl FromStr for Template {
    type Err = JsonPathError;

    fn from_str(text: &str) -> Result<Self, JsonPathError> {
        let mut reader = Reader { chars: text.chars().collect(), at: 0 };
        let parts = reader.parts(false)?;
        Ok(Self(parts))
    }
}

impl Template {
    /// Reads a single path, with or without braces and the leading dot.
    ///
    /// # Errors
    /// [`JsonPathError`] where it is none.
    pub fn path(text: &str) -> Result<Self, JsonPathError> {
        let inner = text.trim().strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text.trim());
        let dotted = if inner.starts_with(['.', '[', '$', '@']) { inner.to_owned() } else { format!(".{inner}") };
        format!("{{{dotted}}}").parse()
    }

    /// The text that the template makes of a value; what a path does not find is left out.
    pub fn render(&self, value: &Value) -> String {
        let mut out = String::new();
        render(&self.0, value, value, &mut out);
        out
    }

    /// The values that the template's paths find.
    pub fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let paths = self.0.iter().filter_map(|part| if let Part::Path(steps) = part { Some(steps) } else { None });
        paths.flat_map(|steps| walk(steps, value, value)).collect()
    }
}

fn render(parts: &[Part], root: &Value, current: &Value, out: &mut String) {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Path(steps) => {
                let found: Vec<String> = walk(steps, root, current).into_iter().map(text_of).collect();
                out.push_str(&found.join(" "));
            }
            Part::Range(steps, inner) => {
                for item in walk(steps, root, current) {
                    match item {
                        Value::Array(items) if !ends_with_all(steps) => {
                            items.iter().for_each(|i| render(inner, root, i, out))
                        }
                        item => render(inner, root, item, out),
                    }
                }
            }
        }
    }
}

fn ends_with_all(steps: &[Step]) -> bool {
    matches!(steps.last(), Some(Step::All | Step::Slice(..) | Step::Filter(_)))
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => {
            let mut sorted = other.clone();
            sorted.sort_all_objects();
            sorted.to_string()
        }
    }
}

fn walk<'v>(steps: &[Step], root: &'v Value, current: &'v Value) -> Vec<&'v Value> {
    steps.iter().fold(vec![current], |found, step| found.into_iter().flat_map(|v| take(step, root, v)).collect())
}

fn take<'v>(step: &Step, root: &'v Value, value: &'v Value) -> Vec<&'v Value> {
    match step {
        Step::Root => vec![root],
        Step::Field(name) => value.get(name).into_iter().collect(),
        Step::Index(index) => {
            let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
            let at = if *index < 0 { items.len() as i64 + index } else { *index };
            usize::try_from(at).ok().and_then(|i| items.get(i)).into_iter().collect()
        }
        Step::All => match value {
            Value::Array(items) => items.iter().collect(),
            Value::Object(map) => map.values().collect(),
            _ => Vec::new(),
        },
        Step::Slice(from, to, by) => {
            let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
            let length = items.len() as i64;
            let place = |n: i64| if n < 0 { (length + n).max(0) } else { n.min(length) };
            let (from, to) = (place(from.unwrap_or(0)), place(to.unwrap_or(length)));
            (from..to).step_by(usize::try_from(*by).unwrap_or(1).max(1)).map(|i| &items[i as usize]).collect()
        }
        Step::Filter(filter) => {
            let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
            items.iter().filter(|item| passes(filter, root, item)).collect()
        }
        Step::Deep(name) => {
            let mut found = Vec::new();
            deep(name, value, &mut found);
            found
        }
    }
}

fn deep<'v>(name: &str, value: &'v Value, found: &mut Vec<&'v Value>) {
    if let Some(here) = value.get(name) {
        found.push(here);
    }
    match value {
        Value::Object(map) => map.values().for_each(|v| deep(name, v, found)),
        Value::Array(items) => items.iter().for_each(|v| deep(name, v, found)),
        _ => {}
    }
}

fn passes(filter: &Filter, root: &Value, item: &Value) -> bool {
    let values = |operand: &Operand| -> Vec<Value> {
        match operand {
            Operand::Path(steps) => walk(steps, root, item).into_iter().cloned().collect(),
            Operand::Literal(value) => vec![value.clone()],
        }
    };
    let left = values(&filter.left);
    match &filter.test {
        None => !left.is_empty(),
        Some((comparison, right)) => {
            let right = values(right);
            matches!((left.first(), right.first()), (Some(l), Some(r)) if compares(l, *comparison, r))
        }
    }
}

fn compares(left: &Value, comparison: Comparison, right: &Value) -> bool {
    let order = match (left, right) {
        (Value::String(l), Value::String(r)) => Some(l.cmp(r)),
        (Value::Number(l), Value::Number(r)) => l.as_f64().zip(r.as_f64()).and_then(|(l, r)| l.partial_cmp(&r)),
        (l, r) => (l == r).then_some(Ordering::Equal),
    };
    match comparison {
        Comparison::Equal => order == Some(Ordering::Equal),
        Comparison::Unequal => order != Some(Ordering::Equal),
        Comparison::Less => order == Some(Ordering::Less),
        Comparison::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Comparison::Greater => order == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }
}

struct Reader {
    chars: Vec<char>,
    at: usize,
}

impl Reader {
    fn error(&self, problem: &'static str) -> JsonPathError {
        JsonPathError { problem, at: self.at + 1 }
    }

    fn rest(&self) -> &[char] {
        self.chars.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn eat(&mut self, wanted: &str) -> bool {
        let matches = wanted.chars().enumerate().all(|(i, c)| self.chars.get(self.at + i) == Some(&c));
        if matches {
            self.at += wanted.chars().count();
        }
        matches
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    /// Text and braces, to the end or, in a range, to its `{end}`.
    fn parts(&mut self, in_range: bool) -> Result<Vec<Part>, JsonPathError> {
        let mut parts = Vec::new();
        while let Some(c) = self.peek() {
            if c != '{' {
                let text: String = self.rest().iter().take_while(|c| **c != '{').collect();
                self.at += text.chars().count();
                parts.push(Part::Text(text));
                continue;
            }
            self.at += 1;
            self.blanks();
            if self.eat("end") {
                self.close()?;
                return if in_range { Ok(parts) } else { Err(self.error("`{end}` without `{range}`")) };
            }
            parts.push(self.braces()?);
        }
        if in_range { Err(self.error("`{range}` without `{end}`")) } else { Ok(parts) }
    }

    fn close(&mut self) -> Result<(), JsonPathError> {
        self.blanks();
        if self.eat("}") { Ok(()) } else { Err(self.error("expected `}`")) }
    }

    fn braces(&mut self) -> Result<Part, JsonPathError> {
        if self.eat("range") {
            self.blanks();
            let steps = self.steps("}")?;
            self.close()?;
            return Ok(Part::Range(steps, self.parts(true)?));
        }
        let part = match self.peek() {
            Some('"' | '\'') => Part::Text(self.quoted()?),
            _ => Part::Path(self.steps("}")?),
        };
        self.close()?;
        Ok(part)
    }

    /// Steps up to one of the characters in `until` or a blank.
    fn steps(&mut self, until: &str) -> Result<Vec<Step>, JsonPathError> {
        let mut steps = Vec::new();
        loop {
            match self.peek() {
                None => break,
                Some(c) if until.contains(c) || c.is_whitespace() || "=!<>".contains(c) => break,
                Some('$') => {
                    self.at += 1;
                    steps.push(Step::Root);
                }
                Some('@') => self.at += 1,
                Some('.') => {
                    self.at += 1;
                    let deep = self.eat(".");
                    match self.peek() {
                        Some('*') => {
                            self.at += 1;
                            steps.push(Step::All);
                        }
                        Some('[') if !deep => {}
                        _ => match self.name() {
                            // `{.}` is the document itself.
                            name if name.is_empty() && !deep => {}
                            name if name.is_empty() => return Err(self.error("expected a field after `..`")),
                            name if deep => steps.push(Step::Deep(name)),
                            name => steps.push(Step::Field(name)),
                        },
                    }
                }
                Some('[') => {
                    self.at += 1;
                    steps.push(self.bracket()?);
                }
                Some(_) => match self.name() {
                    name if name.is_empty() => return Err(self.error("unexpected character")),
                    name => steps.push(Step::Field(name)),
                },
            }
        }
        Ok(steps)
    }

    /// A field's name; a backslash takes the next character as it is.
    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek() {
            match c {
                '\\' => {
                    self.at += 1;
                    name.extend(self.peek());
                }
                c if c.is_alphanumeric() || "_-/".contains(c) => name.push(c),
                _ => break,
            }
            self.at += 1;
        }
        name
    }

    fn bracket(&mut self) -> Result<Step, JsonPathError> {
        let step = match self.peek() {
            Some('*') => {
                self.at += 1;
                Step::All
            }
            Some('"' | '\'') => Step::Field(self.quoted()?),
            Some('?') => {
                self.at += 1;
                if !self.eat("(") {
                    return Err(self.error("expected `(` after `?`"));
                }
                let filter = self.filter()?;
                if !self.eat(")") {
                    return Err(self.error("expected `)`"));
                }
                Step::Filter(filter)
            }
            _ => self.numbers()?,
        };
        if self.eat("]") { Ok(step) } else { Err(self.error("expected `]`")) }
    }

    fn numbers(&mut self) -> Result<Step, JsonPathError> {
        let mut numbers = [None; 3];
        let mut place = 0;
        loop {
            let digits: String = self.rest().iter().take_while(|c| c.is_ascii_digit() || **c == '-').collect();
            self.at += digits.len();
            if !digits.is_empty() {
                numbers[place] = Some(digits.parse().map_err(|_| self.error("expected a number"))?);
            }
            if place == 2 || !self.eat(":") {
                break;
            }
            place += 1;
        }
        match (place, numbers) {
            (0, [Some(index), ..]) => Ok(Step::Index(index)),
            (0, _) => Err(self.error("expected a number, `*`, a quoted name or `?(`")),
            (_, [from, to, by]) => Ok(Step::Slice(from, to, by.unwrap_or(1))),
        }
    }

    fn filter(&mut self) -> Result<Filter, JsonPathError> {
        self.blanks();
        let left = self.operand()?;
        self.blanks();
        let comparison = [
            ("==", Comparison::Equal),
            ("!=", Comparison::Unequal),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ]
        .into_iter()
        .find(|(text, _)| self.eat(text));
        let Some((_, comparison)) = comparison else { return Ok(Filter { left, test: None }) };
        self.blanks();
        let right = self.operand()?;
        self.blanks();
        Ok(Filter { left, test: Some((comparison, right)) })
    }

    fn operand(&mut self) -> Result<Operand, JsonPathError> {
        match self.peek() {
            Some('"' | '\'') => Ok(Operand::Literal(Value::String(self.quoted()?))),
            Some('@' | '$' | '.') => Ok(Operand::Path(self.steps(")")?)),
            _ => {
                let word: String =
                    self.rest().iter().take_while(|c| c.is_alphanumeric() || "+-.".contains(**c)).collect();
                self.at += word.chars().count();
                serde_json::from_str(&word).map(Operand::Literal).map_err(|_| self.error("expected a value"))
            }
        }
    }

    fn quoted(&mut self) -> Result<String, JsonPathError> {
        let quote = self.peek();
        self.at += 1;
        let mut text = String::new();
        while let Some(c) = self.peek() {
            self.at += 1;
            match c {
                c if Some(c) == quote => return Ok(text),
                '\\' => {
                    let next = self.peek();
                    self.at += 1;
                    text.extend(match next {
                        Some('n') => Some('\n'),
                        Some('t') => Some('\t'),
                        Some('r') => Some('\r'),
                        other => other,
                    });
                }
                c => text.push(c),
            }
        }
        Err(self.error("a quote that is not closed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(template: &str) -> String {
        let value = json!({
            "metadata": {"name": "x", "labels": {"a.b/c": "dotted"}},
            "items": [{"n": 1, "name": "one"}, {"n": 2, "name": "two"}, {"n": 3, "name": "three"}],
            "status": {"conditions": [{"type": "Scheduled", "status": "False"}, {"type": "Ready", "status": "True"}]},
        });
        template.parse::<Template>().unwrap().render(&value)
    }

    #[test]
    fn templates_give_what_kubectl_gives() {
        for (template, text) in [
            ("{.metadata.name}", "x"),
            ("{metadata.name}", "x"),
            ("{$.metadata.name}", "x"),
            ("name: {.metadata.name}{\"\\n\"}", "name: x\n"),
            ("{.status.conditions[?(@.type==\"Ready\")].status}", "True"),
            ("{.status.conditions[?(@.type == 'Ready')].status}", "True"),
            ("{.items[*].name}", "one two three"),
            ("{.items[0].name}", "one"),
            ("{.items[-1:].name}", "three"),
            ("{.items[0:2].n}", "1 2"),
            ("{.items[?(@.n>1)].name}", "two three"),
            ("{range .items[*]}{.name}={.n}{\"\\n\"}{end}", "one=1\ntwo=2\nthree=3\n"),
            ("{.metadata.labels.a\\.b/c}", "dotted"),
            ("{.metadata.labels['a.b/c']}", "dotted"),
            (
                "{..status}",
                "{\"conditions\":[{\"status\":\"False\",\"type\":\"Scheduled\"},{\"status\":\"True\",\"type\":\"Ready\"}]} False True",
            ),
            ("{.no.such}", ""),
        ] {
            assert_eq!(shown(template), text, "{template}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused_with_its_place() {
        for template in ["{.a", "{.a[}", "{.a[?(@.b==)]}", "{range .a[*]}x", "{end}", "{.a[\"b]}"] {
            let error = template.parse::<Template>().unwrap_err().to_string();
            assert!(error.contains("character"), "{template}: {error}");
        }
    }

    #[test]
    fn a_path_may_do_without_braces() {
        let value = json!({"status": {"phase": "Ready"}});
        for text in [".status.phase", "status.phase", "{.status.phase}"] {
            assert_eq!(Template::path(text).unwrap().find(&value), [&json!("Ready")]);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[{}\\[\\].?()@a-c0-9:'\"=<>* \\\\-]{0,24}") {
            if let Ok(template) = text.parse::<Template>() {
                template.render(&json!({"a": [{"b": 1}, {"b": "c"}], "b": {"c": [1, 2]}}));
            }
        }
    }
}
