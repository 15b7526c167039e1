//! Messages as tables: which number is which field, what it holds, and when JSON leaves it out.

/// What a field holds.
#[derive(Clone, Copy)]
pub enum Type {
    Text,
    Bytes,
    Int,
    Float,
    Bool,
    /// Seconds; JSON has no fractions of them.
    Time,
    /// Microseconds.
    MicroTime,
    /// A message around JSON in bytes.
    Json,
    Message(&'static [Field]),
    /// A map from texts.
    Map(&'static Type),
    /// A message of which JSON shows one field alone: the first in this order that is there. If none is: that bool, or null.
    First(&'static [Field], Option<bool>),
}

/// How often a field occurs, and when it is left out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Once. Whatever is on the wire was said.
    One,
    /// Once. Go's protobuf writes its zero value where its JSON writes nothing: a zero was not said.
    Nonzero,
    Many,
}

pub struct Field {
    pub number: u64,
    pub name: &'static str,
    pub kind: Type,
    pub count: Count,
}

pub const fn one(number: u64, name: &'static str, kind: Type) -> Field {
    Field { number, name, kind, count: Count::One }
}

pub const fn nonzero(number: u64, name: &'static str, kind: Type) -> Field {
    Field { number, name, kind, count: Count::Nonzero }
}

pub const fn many(number: u64, name: &'static str, kind: Type) -> Field {
    Field { number, name, kind, count: Count::Many }
}
