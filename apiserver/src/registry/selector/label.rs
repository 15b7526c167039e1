//! Label selectors, equality- and set-based: `app=x,tier in (a,b),!old,n>3`.

use serde_json::{Map, Value};

use super::SelectorError;
use crate::schema::names;

/// All of these must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Greater(i64),
    Less(i64),
}

impl LabelSelector {
    /// Reads a selector; the empty one matches everything.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut requirements = Parser { tokens: scan(text), position: 0 }.parse()?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements })
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether labels (`metadata.labels`) are selected.
    pub fn matches(&self, labels: Option<&Map<String, Value>>) -> bool {
        self.requirements.iter().all(|r| {
            let value = labels.and_then(|l| l.get(&r.key)).and_then(Value::as_str);
            match &r.test {
                Test::In(set) => value.is_some_and(|v| set.iter().any(|s| s == v)),
                Test::NotIn(set) => value.is_none_or(|v| set.iter().all(|s| s != v)),
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
                Test::Greater(n) => value.and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v > *n),
                Test::Less(n) => value.and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v < *n),
            }
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Close,
    Comma,
    Not,
    DoubleEquals,
    End,
    Equals,
    Error,
    Greater,
    Identifier,
    In,
    Less,
    NotEquals,
    NotIn,
    Open,
}

fn keyword(text: &str) -> Option<Token> {
    Some(match text {
        ")" => Token::Close,
        "," => Token::Comma,
        "!" => Token::Not,
        "==" => Token::DoubleEquals,
        "=" => Token::Equals,
        ">" => Token::Greater,
        "in" => Token::In,
        "<" => Token::Less,
        "!=" => Token::NotEquals,
        "notin" => Token::NotIn,
        "(" => Token::Open,
        _ => return None,
    })
}

fn special(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn scan(text: &str) -> Vec<(Token, String)> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches([' ', '\t', '\r', '\n']);
    while let Some(first) = rest.chars().next() {
        let length = if special(first) {
            let run = rest.find(|c| !special(c)).unwrap_or(rest.len()).min(2);
            (1..=run).rev().find(|n| keyword(&rest[..*n]).is_some()).unwrap_or(run)
        } else {
            rest.find(|c| special(c) || matches!(c, ' ' | '\t' | '\r' | '\n')).unwrap_or(rest.len())
        };
        let (word, after) = rest.split_at(length);
        let token = keyword(word).unwrap_or(if special(first) { Token::Error } else { Token::Identifier });
        tokens.push((token, word.to_string()));
        rest = after.trim_start_matches([' ', '\t', '\r', '\n']);
    }
    tokens.push((Token::End, String::new()));
    tokens
}

struct Parser {
    tokens: Vec<(Token, String)>,
    position: usize,
}

fn fail<T>(text: String) -> Result<T, SelectorError> {
    Err(SelectorError(text))
}

impl Parser {
    /// The next token; in the place of a value `in` and `notin` are identifiers.
    fn peek(&self, as_value: bool) -> (Token, &str) {
        let (token, text) = &self.tokens[self.position.min(self.tokens.len() - 1)];
        match token {
            Token::In | Token::NotIn if as_value => (Token::Identifier, text),
            token => (*token, text),
        }
    }

    fn next(&mut self, as_value: bool) -> (Token, String) {
        let (token, text) = self.peek(as_value);
        let item = (token, text.to_string());
        self.position += 1;
        item
    }

    fn parse(&mut self) -> Result<Vec<Requirement>, SelectorError> {
        let mut requirements = Vec::new();
        loop {
            match self.peek(true) {
                (Token::Identifier | Token::Not, _) => {
                    let parsed = self.requirement();
                    requirements.push(parsed.map_err(|e| SelectorError(format!("unable to parse requirement: {e}")))?);
                    match self.next(true) {
                        (Token::End, _) => return Ok(requirements),
                        (Token::Comma, _) => match self.peek(true) {
                            (Token::Identifier | Token::Not, _) => {}
                            (_, text) => return fail(format!("found '{text}', expected: identifier after ','")),
                        },
                        (_, text) => return fail(format!("found '{text}', expected: ',' or 'end of string'")),
                    }
                }
                (Token::End, _) => return Ok(requirements),
                (_, text) => return fail(format!("found '{text}', expected: !, identifier, or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let (mut token, mut key) = self.next(true);
        let absent = token == Token::Not;
        if absent {
            (token, key) = self.next(true);
        }
        if token != Token::Identifier {
            return fail(format!("found '{key}', expected: identifier"));
        }
        check_key(&key)?;
        if matches!(self.peek(true).0, Token::End | Token::Comma) {
            return Ok(Requirement { key, test: if absent { Test::Absent } else { Test::Exists } });
        }
        if absent {
            return Ok(Requirement { key, test: Test::Absent });
        }
        let test = match self.next(false) {
            (Token::In, _) => Test::In(self.values(&key)?),
            (Token::NotIn, _) => Test::NotIn(self.values(&key)?),
            (Token::Equals | Token::DoubleEquals, _) => Test::In(vec![self.value(&key)?]),
            (Token::NotEquals, _) => Test::NotIn(vec![self.value(&key)?]),
            (Token::Greater, _) => Test::Greater(self.number(&key)?),
            (Token::Less, _) => Test::Less(self.number(&key)?),
            (_, text) => {
                return fail(format!("found '{text}', expected: in, notin, =, ==, !=, gt, lt"));
            }
        };
        Ok(Requirement { key, test })
    }

    fn value(&mut self, key: &str) -> Result<String, SelectorError> {
        if matches!(self.peek(true).0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.next(true) {
            (Token::Identifier, text) => {
                check_value(key, 0, &text)?;
                Ok(text)
            }
            (_, text) => fail(format!("found '{text}', expected: identifier")),
        }
    }

    fn number(&mut self, key: &str) -> Result<i64, SelectorError> {
        let text = self.value(key)?;
        text.parse().map_err(|_| {
            let why = "for 'Gt', 'Lt' operators, the value must be an integer";
            SelectorError(format!("values[0]: Invalid value: {text:?}: {why}"))
        })
    }

    fn values(&mut self, key: &str) -> Result<Vec<String>, SelectorError> {
        match self.next(true) {
            (Token::Open, _) => {}
            (_, text) => return fail(format!("found '{text}' expected: '('")),
        }
        let mut values = std::collections::BTreeSet::new();
        match self.peek(true) {
            (Token::Close, _) => {
                values.insert(String::new());
            }
            (Token::Identifier | Token::Comma, _) => loop {
                match self.next(true) {
                    (Token::Identifier, text) => {
                        values.insert(text);
                        match self.peek(true) {
                            (Token::Comma, _) => {}
                            (Token::Close, _) => break,
                            (_, text) => return fail(format!("found '{text}', expected: ',' or ')'")),
                        }
                    }
                    (Token::Comma, _) => {
                        if values.is_empty() || matches!(self.peek(true).0, Token::Comma | Token::Close) {
                            values.insert(String::new());
                        }
                        if self.peek(true).0 == Token::Close {
                            break;
                        }
                    }
                    (_, text) => return fail(format!("found '{text}', expected: ',', or identifier")),
                }
            },
            (_, text) => return fail(format!("found '{text}', expected: ',', ')' or identifier")),
        }
        self.next(true);
        let values: Vec<String> = values.into_iter().collect();
        for (i, value) in values.iter().enumerate() {
            check_value(key, i, value)?;
        }
        Ok(values)
    }
}

fn check_key(key: &str) -> Result<(), SelectorError> {
    let problems = names::qualified_name(key);
    if problems.is_empty() {
        return Ok(());
    }
    fail(format!("<nil>: Invalid value: {key:?}: {}", problems.join("; ")))
}

fn check_value(key: &str, index: usize, value: &str) -> Result<(), SelectorError> {
    let problems = names::label_value(value);
    if problems.is_empty() {
        return Ok(());
    }
    fail(format!("values[{index}][{key}]: Invalid value: {value:?}: {}", problems.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn select(text: &str) -> bool {
        let labels = json!({"app": "x", "tier": "front", "n": "5"});
        LabelSelector::parse(text).unwrap().matches(labels.as_object())
    }

    #[test]
    fn every_operator() {
        for yes in [
            "",
            "app",
            "app=x",
            "app==x",
            "app = x",
            "app!=y",
            "none!=y",
            "!none",
            "app in (x,y)",
            "app in (y, x),tier",
            "app notin (z)",
            "none notin (z)",
            "n>4",
            "n<6",
            "app,tier=front,!none",
            "in!=3",
        ] {
            assert!(select(yes), "{yes}");
        }
        for no in [
            "none",
            "app=y",
            "app!=x",
            "!app",
            "app in (y)",
            "app notin (x)",
            "n>5",
            "n<5",
            "app>1",
            "none=",
            "app in ()",
        ] {
            assert!(!select(no), "{no}");
        }
    }

    #[test]
    fn words_of_refusal() {
        for (text, words) in [
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("==", "found '==', expected: !, identifier, or 'end of string'"),
            ("a,", "found '', expected: identifier after ','"),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap_err().to_string(), words, "{text}");
        }
        assert!(LabelSelector::parse("-x=y").unwrap_err().to_string().contains("name part must consist of"));
        assert!(LabelSelector::parse("x=-y").is_err());
    }
}
