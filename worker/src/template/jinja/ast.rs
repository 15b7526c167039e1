//! A template that was read. Chains of operators, attributes, filters and branches are flat lists, so that only what the source
//! nests is nested here.

use super::value::Value;

/// Most arguments of a call, most parameters of a macro: looked for by name one after another.
pub const MAX_ARGUMENTS: usize = 255;

/// A whole template.
pub struct Tree {
    pub body: Body,
    pub macros: Vec<Macro>,
}

pub type Body = Vec<Statement>;

pub struct Statement {
    pub line: usize,
    pub kind: Kind,
}

pub enum Kind {
    Text(Box<str>),
    Print(Expr),
    /// Branches with their conditions, and what is done if none holds.
    If(Vec<(Expr, Body)>, Body),
    For(Box<For>),
    Set(Target, Expr),
    /// A body's text, through filters, as a value.
    Capture(Target, Vec<Step>, Body),
    With(Vec<(Target, Expr)>, Body),
    /// A macro by its place among the template's macros.
    Macro(usize),
    Filter(Vec<Step>, Body),
    /// A body that means nothing more.
    Plain(Body),
    Do(Expr),
    Break,
    Continue,
}

pub struct For {
    pub target: Target,
    pub items: Expr,
    pub condition: Option<Expr>,
    pub body: Body,
    pub otherwise: Body,
}

pub struct Macro {
    pub name: Box<str>,
    pub parameters: Vec<(Box<str>, Option<Expr>)>,
    pub body: Body,
}

/// What is assigned to.
pub enum Target {
    Name(Box<str>),
    /// An attribute of a namespace.
    Attribute(Box<str>, Box<str>),
    Each(Vec<Target>),
}

pub enum Expr {
    Constant(Value),
    Name(Box<str>),
    List(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    Math(Box<Expr>, Vec<(Operator, Expr)>),
    Choice(Box<Choice>),
    /// A value and what is done with it, step by step.
    Path(Box<Expr>, Vec<Step>),
}

pub struct Choice {
    pub condition: Expr,
    pub then: Expr,
    pub otherwise: Option<Expr>,
}

pub enum Step {
    Attribute(Box<str>),
    Item(Expr),
    /// Start, stop, step.
    Slice(Box<[Option<Expr>; 3]>),
    Call(Arguments),
    Method(Box<str>, Arguments),
    Filter(Box<str>, Arguments),
    Test {
        name: Box<str>,
        negated: bool,
        arguments: Arguments,
    },
}

#[derive(Default)]
pub struct Arguments {
    pub positional: Vec<Expr>,
    pub named: Vec<(Box<str>, Expr)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Add,
    Subtract,
    Concatenate,
    Multiply,
    Divide,
    FloorDivide,
    Remainder,
    Power,
}
