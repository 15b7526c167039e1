//! A small check of rules when a CRD is made: names that nothing has, fields that `self` does not have.

use kube::core::cel::cel::Program;
use kube::core::cel::cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue};

use super::cel_value::escape;
use super::structural::{Additional, Structural, Type};

/// What is wrong with a program, with its place in the source, as cel-go prints it.
pub(super) fn problem(program: &Program, source: &str, node: &Structural) -> Option<String> {
    let mut check = Check { node, bound: vec!["self".into(), "oldSelf".into()] };
    let (words, name) = check.visit(program.expression())?;
    let at = source.find(&name).map_or(0, |byte| source[..byte].chars().count());
    let line = source.lines().next().unwrap_or_default();
    Some(format!("ERROR: <input>:1:{}: {words}\n | {line}\n | {}^", at + 1, ".".repeat(at)))
}

/// What an expression is known to be.
enum Known<'a> {
    Node(&'a Structural),
    Root(&'a Structural),
    Nothing,
}

struct Check<'a> {
    node: &'a Structural,
    bound: Vec<String>,
}

/// The words, and the text in the source that they are about.
type Problem = (String, String);

impl<'a> Check<'a> {
    fn known(&self, expression: &IdedExpr) -> Result<Known<'a>, Problem> {
        match &expression.expr {
            Expr::Ident(name) if name == "self" => Ok(Known::Root(self.node)),
            Expr::Select(select) => match self.known(&select.operand)? {
                Known::Nothing => Ok(Known::Nothing),
                Known::Root(_) if matches!(select.field.as_str(), "metadata" | "apiVersion" | "kind") => {
                    Ok(Known::Nothing)
                }
                Known::Root(parent) | Known::Node(parent) => field(parent, &select.field),
            },
            _ => Ok(Known::Nothing),
        }
    }

    fn visit(&mut self, expression: &IdedExpr) -> Option<Problem> {
        match &expression.expr {
            Expr::Ident(name) => self.identifier(name),
            Expr::Select(select) => match self.known(expression) {
                Err(problem) => Some(problem),
                Ok(_) => self.operand(&select.operand),
            },
            Expr::Call(call) => {
                let target = call.target.as_deref().and_then(|t| self.operand(t));
                target.or_else(|| call.args.iter().find_map(|a| self.visit(a)))
            }
            Expr::List(list) => list.elements.iter().find_map(|e| self.visit(e)),
            Expr::Map(map) => map.entries.iter().find_map(|e| match &e.expr {
                EntryExpr::MapEntry(entry) => self.visit(&entry.key).or_else(|| self.visit(&entry.value)),
                EntryExpr::StructField(field) => self.visit(&field.value),
            }),
            Expr::Comprehension(c) => {
                if let Some(problem) = self.visit(&c.iter_range) {
                    return Some(problem);
                }
                let outer = self.bound.len();
                self.bound.extend([c.iter_var.clone(), c.accu_var.clone()]);
                self.bound.extend(c.iter_var2.clone());
                let parts = [&c.accu_init, &c.loop_cond, &c.loop_step, &c.result];
                let problem = if c.iter_var == "self" { None } else { parts.into_iter().find_map(|p| self.visit(p)) };
                self.bound.truncate(outer);
                problem
            }
            Expr::Literal(LiteralValue::Null) | Expr::Literal(_) | Expr::Struct(_) | Expr::Unspecified => None,
        }
    }

    /// What stands before a dot may be the name of a library (`math`, `ip`), too.
    fn operand(&mut self, expression: &IdedExpr) -> Option<Problem> {
        match &expression.expr {
            Expr::Ident(_) => None,
            _ => self.visit(expression),
        }
    }

    fn identifier(&self, name: &str) -> Option<Problem> {
        const TYPES: [&str; 12] = [
            "bool",
            "bytes",
            "double",
            "duration",
            "dyn",
            "int",
            "list",
            "map",
            "null_type",
            "string",
            "timestamp",
            "uint",
        ];
        let known = self.bound.iter().any(|b| b == name) || TYPES.contains(&name) || name.starts_with('@');
        (!known).then(|| (format!("undeclared reference to '{name}' (in container '')"), name.to_string()))
    }
}

fn field<'a>(parent: &'a Structural, name: &str) -> Result<Known<'a>, Problem> {
    if let Some((_, property)) = parent.properties.iter().find(|(key, _)| escape(key) == name) {
        return Ok(Known::Node(property));
    }
    match &parent.additional {
        Some(Additional::Schema(inner)) => Ok(Known::Node(inner)),
        None if parent.kind == Some(Type::Object) && !parent.embedded_resource => {
            Err((format!("undefined field '{name}'"), format!(".{name}")))
        }
        _ => Ok(Known::Nothing),
    }
}
