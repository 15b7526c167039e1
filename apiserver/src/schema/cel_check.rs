//! A small check of rules when a CRD is made: fields that `self` and `oldSelf` do not have.

use kube::core::cel::cel::Program;
use kube::core::cel::cel::common::ast::{EntryExpr, Expr, IdedExpr};

use super::cel_value::escape;
use super::structural::{Additional, Structural, Type};

/// The first field selected from `self` that the schema does not declare.
pub(super) fn undefined_field(program: &Program, node: &Structural) -> Option<String> {
    visit(program.expression(), node)
}

/// What an expression is known to be.
enum Known<'a> {
    Node(&'a Structural),
    Root(&'a Structural),
    Nothing,
}

fn known<'a>(expression: &IdedExpr, node: &'a Structural) -> Result<Known<'a>, String> {
    match &expression.expr {
        Expr::Ident(name) if name == "self" => Ok(Known::Root(node)),
        Expr::Select(select) => match known(&select.operand, node)? {
            Known::Nothing => Ok(Known::Nothing),
            Known::Root(_) if matches!(select.field.as_str(), "metadata" | "apiVersion" | "kind") => Ok(Known::Nothing),
            Known::Root(parent) | Known::Node(parent) => field(parent, &select.field),
        },
        _ => Ok(Known::Nothing),
    }
}

fn field<'a>(parent: &'a Structural, name: &str) -> Result<Known<'a>, String> {
    if let Some((_, property)) = parent.properties.iter().find(|(key, _)| escape(key) == name) {
        return Ok(Known::Node(property));
    }
    match &parent.additional {
        Some(Additional::Schema(inner)) => Ok(Known::Node(inner)),
        None if parent.kind == Some(Type::Object) && !parent.embedded_resource => Err(name.to_string()),
        _ => Ok(Known::Nothing),
    }
}

fn visit(expression: &IdedExpr, node: &Structural) -> Option<String> {
    let below = |e: &IdedExpr| visit(e, node);
    match &expression.expr {
        Expr::Select(select) => match known(expression, node) {
            Err(field) => Some(field),
            Ok(_) => below(&select.operand),
        },
        Expr::Call(call) => call.target.as_deref().and_then(below).or_else(|| call.args.iter().find_map(below)),
        Expr::List(list) => list.elements.iter().find_map(below),
        Expr::Map(map) => map.entries.iter().find_map(|e| match &e.expr {
            EntryExpr::MapEntry(entry) => below(&entry.key).or_else(|| below(&entry.value)),
            EntryExpr::StructField(field) => below(&field.value),
        }),
        Expr::Comprehension(c) if c.iter_var != "self" => {
            [&c.iter_range, &c.accu_init, &c.loop_cond, &c.loop_step, &c.result].into_iter().find_map(below)
        }
        _ => None,
    }
}
