//! From tokens to a tree: expressions, from what binds least to what binds most.

use super::Failure;
use super::ast::{Arguments, Choice, Comparison, Expr, MAX_ARGUMENTS, Operator, Step};
use super::lexer::Token;
use super::parser::Parser;
use super::value::Value;

/// Words that end an operand.
const NO_OPERAND: &[&str] = &["and", "or", "not", "is", "in", "if", "else", "recursive"];

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Result<Expr, Failure> {
        self.nested(|parser| {
            let then = parser.any()?;
            if !parser.eat_name("if") {
                return Ok(then);
            }
            let condition = parser.any()?;
            let otherwise = if parser.eat_name("else") { Some(parser.expression()?) } else { None };
            Ok(Expr::Choice(Box::new(Choice { condition, then, otherwise })))
        })
    }

    /// Operands with `or` between them.
    pub(super) fn any(&mut self) -> Result<Expr, Failure> {
        let mut parts = vec![self.all()?];
        while self.eat_name("or") {
            parts.push(self.all()?);
        }
        Ok(one_or(parts, Expr::Any))
    }

    fn all(&mut self) -> Result<Expr, Failure> {
        let mut parts = vec![self.not()?];
        while self.eat_name("and") {
            parts.push(self.not()?);
        }
        Ok(one_or(parts, Expr::All))
    }

    fn not(&mut self) -> Result<Expr, Failure> {
        match self.eat_name("not") {
            true => Ok(Expr::Not(Box::new(self.nested(Self::not)?))),
            false => self.comparison(),
        }
    }

    fn comparison(&mut self) -> Result<Expr, Failure> {
        let first = self.sum()?;
        let mut others = Vec::new();
        while let Some(comparison) = self.comparison_sign() {
            others.push((comparison, self.sum()?));
        }
        Ok(if others.is_empty() { first } else { Expr::Compare(Box::new(first), others) })
    }

    fn comparison_sign(&mut self) -> Option<Comparison> {
        let (comparison, tokens) = match (self.peek(), self.peek_at(1)) {
            (Token::Sign("=="), _) => (Comparison::Equal, 1),
            (Token::Sign("!="), _) => (Comparison::NotEqual, 1),
            (Token::Sign("<"), _) => (Comparison::Less, 1),
            (Token::Sign("<="), _) => (Comparison::LessOrEqual, 1),
            (Token::Sign(">"), _) => (Comparison::Greater, 1),
            (Token::Sign(">="), _) => (Comparison::GreaterOrEqual, 1),
            (Token::Name("in"), _) => (Comparison::In, 1),
            (Token::Name("not"), Token::Name("in")) => (Comparison::NotIn, 2),
            _ => return None,
        };
        (0..tokens).for_each(|_| drop(self.next()));
        Some(comparison)
    }

    fn sum(&mut self) -> Result<Expr, Failure> {
        self.math(Self::concatenation, &[("+", Operator::Add), ("-", Operator::Subtract)])
    }

    fn concatenation(&mut self) -> Result<Expr, Failure> {
        self.math(Self::product, &[("~", Operator::Concatenate)])
    }

    fn product(&mut self) -> Result<Expr, Failure> {
        let signs = [
            ("*", Operator::Multiply),
            ("/", Operator::Divide),
            ("//", Operator::FloorDivide),
            ("%", Operator::Remainder),
        ];
        self.math(Self::power, &signs)
    }

    fn power(&mut self) -> Result<Expr, Failure> {
        self.math(Self::filtered, &[("**", Operator::Power)])
    }

    fn math(
        &mut self,
        operand: fn(&mut Self) -> Result<Expr, Failure>,
        signs: &[(&str, Operator)],
    ) -> Result<Expr, Failure> {
        let first = operand(self)?;
        let mut others = Vec::new();
        while let Some((_, operator)) = signs.iter().find(|(sign, _)| self.eat_sign(sign)) {
            others.push((*operator, operand(self)?));
        }
        Ok(if others.is_empty() { first } else { Expr::Math(Box::new(first), others) })
    }

    /// An operand with its filters and tests, which apply to what a minus made.
    fn filtered(&mut self) -> Result<Expr, Failure> {
        let operand = self.operand()?;
        let mut steps = Vec::new();
        loop {
            if self.eat_sign("|") {
                steps.push(self.filter()?);
            } else if self.eat_name("is") {
                let negated = self.eat_name("not");
                let name = self.dotted_name()?;
                let arguments = self.test_arguments()?;
                steps.push(Step::Test { name, negated, arguments });
            } else {
                return Ok(path(operand, steps));
            }
        }
    }

    pub(super) fn filter(&mut self) -> Result<Step, Failure> {
        let name = self.dotted_name()?;
        let arguments = if self.eat_sign("(") { self.arguments()? } else { Arguments::default() };
        Ok(Step::Filter(name, arguments))
    }

    fn dotted_name(&mut self) -> Result<Box<str>, Failure> {
        let mut name = self.name()?.to_owned();
        while self.eat_sign(".") {
            name = name + "." + self.name()?;
        }
        Ok(name.into())
    }

    /// In brackets, or one operand without them.
    fn test_arguments(&mut self) -> Result<Arguments, Failure> {
        if self.eat_sign("(") {
            return self.arguments();
        }
        let follows = match self.peek() {
            Token::Name(name) => !NO_OPERAND.contains(name),
            Token::Text(_) | Token::Int(_) | Token::Float(_) => true,
            Token::Sign(sign) => ["[", "{", "-"].contains(sign),
            _ => false,
        };
        let positional = if follows { vec![self.operand()?] } else { Vec::new() };
        Ok(Arguments { positional, named: Vec::new() })
    }

    fn operand(&mut self) -> Result<Expr, Failure> {
        if self.eat_sign("-") {
            return Ok(Expr::Negate(Box::new(self.nested(Self::operand)?)));
        }
        if self.eat_sign("+") {
            return self.nested(Self::operand);
        }
        let primary = self.primary()?;
        let mut steps = Vec::new();
        loop {
            if self.eat_sign(".") {
                steps.push(match *self.peek() {
                    Token::Int(index) => {
                        self.next();
                        Step::Item(Expr::Constant(Value::Int(index)))
                    }
                    _ => Step::Attribute(self.name()?.into()),
                });
            } else if self.eat_sign("[") {
                steps.push(self.subscript()?);
            } else if self.eat_sign("(") {
                let arguments = self.arguments()?;
                match steps.pop() {
                    Some(Step::Attribute(name)) => steps.push(Step::Method(name, arguments)),
                    last => steps.extend(last.into_iter().chain([Step::Call(arguments)])),
                }
            } else {
                return Ok(path(primary, steps));
            }
        }
    }

    fn subscript(&mut self) -> Result<Step, Failure> {
        let mut parts = [None, None, None];
        let mut part = 0;
        while !self.is_sign("]") {
            if self.eat_sign(":") && part < 2 {
                part += 1;
            } else if parts[part].is_none() {
                parts[part] = Some(self.expression()?);
            } else {
                return Err(self.unexpected("`]`"));
            }
        }
        self.expect_sign("]")?;
        match (part, parts) {
            (0, [Some(index), ..]) => Ok(Step::Item(index)),
            (0, _) => Err(Failure::new("an index is missing")),
            (_, parts) => Ok(Step::Slice(Box::new(parts))),
        }
    }

    /// Arguments and the closing bracket; the opening one is read.
    fn arguments(&mut self) -> Result<Arguments, Failure> {
        let mut arguments = Arguments::default();
        while !self.eat_sign(")") {
            if !(arguments.positional.is_empty() && arguments.named.is_empty()) {
                self.expect_sign(",")?;
                if self.eat_sign(")") {
                    break;
                }
            }
            if arguments.positional.len() + arguments.named.len() == MAX_ARGUMENTS {
                return Err(Failure::new(format!("a call has more than {MAX_ARGUMENTS} arguments")));
            }
            match (self.peek(), self.peek_at(1)) {
                (Token::Name(_), Token::Sign("=")) => {
                    let name = self.name()?;
                    self.expect_sign("=")?;
                    arguments.named.push((name.into(), self.expression()?));
                }
                _ if arguments.named.is_empty() => arguments.positional.push(self.expression()?),
                _ => return Err(self.unexpected("a named argument")),
            }
        }
        Ok(arguments)
    }

    fn primary(&mut self) -> Result<Expr, Failure> {
        match self.peek() {
            Token::Name(name) if NO_OPERAND.contains(name) => return Err(self.unexpected("a value")),
            Token::Name(_) | Token::Text(_) | Token::Int(_) | Token::Float(_) | Token::Sign("(" | "[" | "{") => (),
            _ => return Err(self.unexpected("a value")),
        }
        Ok(match self.next() {
            Token::Name("true" | "True") => Expr::Constant(Value::Bool(true)),
            Token::Name("false" | "False") => Expr::Constant(Value::Bool(false)),
            Token::Name("none" | "None") => Expr::Constant(Value::None),
            Token::Name(name) => Expr::Name(name.into()),
            Token::Int(number) => Expr::Constant(Value::Int(number)),
            Token::Float(number) => Expr::Constant(Value::Float(number)),
            Token::Text(mut text) => {
                // Texts side by side are one.
                while matches!(self.peek(), Token::Text(_)) {
                    if let Token::Text(more) = self.next() {
                        text.push_str(&more);
                    }
                }
                Expr::Constant(Value::from(text))
            }
            Token::Sign("[") => Expr::List(self.values("]")?.0),
            Token::Sign("{") => {
                let mut entries = Vec::new();
                while !self.eat_sign("}") {
                    if !entries.is_empty() {
                        self.expect_sign(",")?;
                        if self.eat_sign("}") {
                            break;
                        }
                    }
                    let key = self.expression()?;
                    self.expect_sign(":")?;
                    entries.push((key, self.expression()?));
                }
                Expr::Dict(entries)
            }
            _ => match self.values(")")? {
                (mut single, false) if single.len() == 1 => single.remove(0),
                (values, _) => Expr::List(values),
            },
        })
    }

    /// Values with commas between them up to a closing sign, and whether there was any comma.
    fn values(&mut self, close: &str) -> Result<(Vec<Expr>, bool), Failure> {
        let mut values = Vec::new();
        let mut comma = false;
        while !self.eat_sign(close) {
            if !values.is_empty() {
                self.expect_sign(",")?;
                comma = true;
                if self.eat_sign(close) {
                    break;
                }
            }
            values.push(self.expression()?);
        }
        Ok((values, comma))
    }
}

/// A value with steps, flat: steps on steps are more steps.
fn path(value: Expr, more: Vec<Step>) -> Expr {
    match value {
        value if more.is_empty() => value,
        Expr::Path(inner, mut steps) => {
            steps.extend(more);
            Expr::Path(inner, steps)
        }
        value => Expr::Path(Box::new(value), more),
    }
}

fn one_or(mut parts: Vec<Expr>, several: fn(Vec<Expr>) -> Expr) -> Expr {
    if parts.len() == 1 { parts.remove(0) } else { several(parts) }
}
