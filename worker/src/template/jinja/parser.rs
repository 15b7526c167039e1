//! From tokens to a tree: statements. Expressions are in `expression`.

use super::Failure;
use super::ast::{Body, Expr, For, Kind, MAX_ARGUMENTS, Macro, Statement, Step, Target, Tree};
use super::lexer::{Token, lex};
use super::meter::MAX_NESTING;

/// Names that are values of the language.
const RESERVED: &[&str] = &["true", "True", "false", "False", "none", "None", "loop"];

/// Reads a template.
pub fn parse(source: &str) -> Result<Tree, Failure> {
    let mut parser = Parser { tokens: lex(source)?, at: 0, nesting: 0, in_loop: false, macros: Vec::new() };
    let parsed = parser.body(&[]).map(|(body, _)| body);
    let line = parser.line();
    let body = parsed.map_err(|failure| failure.at(line))?;
    Ok(Tree { body, macros: parser.macros })
}

pub(super) struct Parser<'s> {
    /// The last one is the end.
    tokens: Vec<(Token<'s>, usize)>,
    at: usize,
    nesting: usize,
    /// Whether `break` means something here.
    in_loop: bool,
    macros: Vec<Macro>,
}

impl<'s> Parser<'s> {
    pub(super) fn peek(&self) -> &Token<'s> {
        self.peek_at(0)
    }

    pub(super) fn peek_at(&self, ahead: usize) -> &Token<'s> {
        self.tokens.get(self.at + ahead).map_or(&Token::End, |(token, _)| token)
    }

    /// The current token, which will not be asked for again.
    pub(super) fn next(&mut self) -> Token<'s> {
        match self.tokens.get_mut(self.at) {
            Some((token, _)) if *token != Token::End => {
                self.at += 1;
                std::mem::replace(token, Token::Sign(""))
            }
            _ => Token::End,
        }
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(0, |(_, line)| *line)
    }

    pub(super) fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(found) if *found == sign)
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Token::Name(found) if *found == name)
    }

    pub(super) fn eat_sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(sign);
        self.at += usize::from(found);
        found
    }

    pub(super) fn eat_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect_sign(&mut self, sign: &str) -> Result<(), Failure> {
        if self.eat_sign(sign) { Ok(()) } else { Err(self.unexpected(&format!("`{sign}`"))) }
    }

    fn expect(&mut self, token: &Token<'_>) -> Result<(), Failure> {
        if self.peek() != token {
            return Err(self.unexpected(&describe(token)));
        }
        self.next();
        Ok(())
    }

    pub(super) fn name(&mut self) -> Result<&'s str, Failure> {
        match *self.peek() {
            Token::Name(name) => {
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.unexpected("a name")),
        }
    }

    pub(super) fn unexpected(&self, wanted: &str) -> Failure {
        Failure::new(format!("{} where {wanted} should be", describe(self.peek())))
    }

    /// What `inner` reads lies one level deeper.
    pub(super) fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, Failure>) -> Result<T, Failure> {
        if self.nesting == MAX_NESTING {
            return Err(Failure::new(format!("it is nested deeper than {MAX_NESTING} levels")));
        }
        self.nesting += 1;
        let read = inner(self);
        self.nesting -= 1;
        read
    }

    /// Statements up to a tag with one of these words, which is read with its name; without words up to the template's end.
    fn body(&mut self, ends: &[&str]) -> Result<(Body, &'s str), Failure> {
        self.nested(|parser| parser.statements(ends))
    }

    fn statements(&mut self, ends: &[&str]) -> Result<(Body, &'s str), Failure> {
        let mut body = Body::new();
        loop {
            let line = self.line();
            let kind = match self.next() {
                Token::Data(text) => Kind::Text(text.into()),
                Token::PrintOpen => {
                    let value = self.expression()?;
                    self.expect(&Token::PrintClose)?;
                    Kind::Print(value)
                }
                Token::TagOpen => {
                    let word = self.name()?;
                    if ends.contains(&word) {
                        return Ok((body, word));
                    }
                    self.statement(word)?
                }
                Token::End if ends.is_empty() => return Ok((body, "")),
                _ => return Err(Failure::new(format!("the template ends where {} should be", ends.join(" or ")))),
            };
            body.push(Statement { line, kind });
        }
    }

    fn end_of_tag(&mut self) -> Result<(), Failure> {
        self.expect(&Token::TagClose)
    }

    /// The rest of a tag and a body up to this word's tag.
    fn block(&mut self, end: &str) -> Result<Body, Failure> {
        self.end_of_tag()?;
        let (body, _) = self.body(&[end])?;
        self.end_of_tag()?;
        Ok(body)
    }

    fn statement(&mut self, word: &str) -> Result<Kind, Failure> {
        let simple = match word {
            "if" => return self.branches(),
            "for" => return self.for_loop(),
            "set" => return self.set(),
            "macro" => return self.macro_definition(),
            "with" => {
                let mut values = Vec::new();
                while *self.peek() != Token::TagClose {
                    if !values.is_empty() {
                        self.expect_sign(",")?;
                    }
                    let target = Target::Name(self.assignable()?.into());
                    self.expect_sign("=")?;
                    values.push((target, self.expression()?));
                }
                return Ok(Kind::With(values, self.block("endwith")?));
            }
            "filter" => {
                let filters = self.filters()?;
                return Ok(Kind::Filter(filters, self.block("endfilter")?));
            }
            // Marks what a training learns from.
            "generation" => return Ok(Kind::Plain(self.block("endgeneration")?)),
            "do" => Kind::Do(self.expression()?),
            "break" if self.in_loop => Kind::Break,
            "continue" if self.in_loop => Kind::Continue,
            _ => return Err(Failure::new(format!("the tag {word} is not known here"))),
        };
        self.end_of_tag()?;
        Ok(simple)
    }

    fn branches(&mut self) -> Result<Kind, Failure> {
        let mut branches = Vec::new();
        let mut otherwise = Body::new();
        loop {
            let condition = self.expression()?;
            self.end_of_tag()?;
            let (body, mut end) = self.body(&["elif", "else", "endif"])?;
            branches.push((condition, body));
            if end == "else" {
                self.end_of_tag()?;
                (otherwise, end) = self.body(&["endif"])?;
            }
            if end == "endif" {
                self.end_of_tag()?;
                return Ok(Kind::If(branches, otherwise));
            }
        }
    }

    fn for_loop(&mut self) -> Result<Kind, Failure> {
        let target = self.target(false)?;
        if !self.eat_name("in") {
            return Err(self.unexpected("`in`"));
        }
        // Not a whole expression: `if` begins the loop's condition.
        let items = self.nested(Self::any)?;
        let condition = if self.eat_name("if") { Some(self.expression()?) } else { None };
        self.end_of_tag()?;
        let outside = std::mem::replace(&mut self.in_loop, true);
        let (body, end) = self.body(&["else", "endfor"])?;
        self.in_loop = outside;
        let otherwise = if end == "else" { self.block("endfor")? } else { Body::new() };
        if end == "endfor" {
            self.end_of_tag()?;
        }
        Ok(Kind::For(Box::new(For { target, items, condition, body, otherwise })))
    }

    fn set(&mut self) -> Result<Kind, Failure> {
        let target = self.target(true)?;
        if self.eat_sign("=") {
            let first = self.expression()?;
            let mut values = vec![first];
            while self.eat_sign(",") && *self.peek() != Token::TagClose {
                values.push(self.expression()?);
            }
            self.end_of_tag()?;
            let value = if values.len() > 1 { Expr::List(values) } else { values.remove(0) };
            return Ok(Kind::Set(target, value));
        }
        let filters = if self.eat_sign("|") { self.filters()? } else { Vec::new() };
        Ok(Kind::Capture(target, filters, self.block("endset")?))
    }

    fn macro_definition(&mut self) -> Result<Kind, Failure> {
        let name = self.assignable()?;
        self.expect_sign("(")?;
        let mut parameters = Vec::new();
        while !self.eat_sign(")") {
            if !parameters.is_empty() {
                self.expect_sign(",")?;
            }
            if parameters.len() == MAX_ARGUMENTS {
                return Err(Failure::new(format!("a macro has more than {MAX_ARGUMENTS} parameters")));
            }
            let parameter = self.assignable()?;
            let default = if self.eat_sign("=") { Some(self.expression()?) } else { None };
            parameters.push((parameter.into(), default));
        }
        let outside = std::mem::replace(&mut self.in_loop, false);
        let body = self.block("endmacro")?;
        self.in_loop = outside;
        self.macros.push(Macro { name: name.into(), parameters, body });
        Ok(Kind::Macro(self.macros.len() - 1))
    }

    /// Filters without the value that they are applied to.
    fn filters(&mut self) -> Result<Vec<Step>, Failure> {
        let mut filters = vec![self.filter()?];
        while self.eat_sign("|") {
            filters.push(self.filter()?);
        }
        Ok(filters)
    }

    fn assignable(&mut self) -> Result<&'s str, Failure> {
        let name = self.name()?;
        match RESERVED.contains(&name) {
            true => Err(Failure::new(format!("{name} cannot be assigned to"))),
            false => Ok(name),
        }
    }

    /// Names with commas between them; attributes of namespaces too, where `dotted`.
    fn target(&mut self, dotted: bool) -> Result<Target, Failure> {
        let mut targets = Vec::new();
        loop {
            targets.push(if self.eat_sign("(") {
                let inner = self.nested(|parser| parser.target(dotted))?;
                self.expect_sign(")")?;
                inner
            } else {
                let name = self.assignable()?.into();
                match dotted && self.eat_sign(".") {
                    true => Target::Attribute(name, self.name()?.into()),
                    false => Target::Name(name),
                }
            });
            if !self.eat_sign(",") {
                break;
            }
        }
        Ok(if targets.len() == 1 { targets.remove(0) } else { Target::Each(targets) })
    }
}

/// A token in words for messages.
fn describe(token: &Token<'_>) -> String {
    match token {
        Token::Data(_) => "text outside of tags".into(),
        Token::PrintOpen => "`{{`".into(),
        Token::PrintClose => "`}}`".into(),
        Token::TagOpen => "`{%`".into(),
        Token::TagClose => "`%}`".into(),
        Token::Name(name) => format!("`{name}`"),
        Token::Text(_) => "a text".into(),
        Token::Int(_) | Token::Float(_) => "a number".into(),
        Token::Sign(sign) => format!("`{sign}`"),
        Token::End => "the template's end".into(),
    }
}
