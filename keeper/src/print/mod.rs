//! Objects as text: tables, descriptions, YAML, JSON, jsonpath. Everything here is pure.

pub mod age;
pub mod describe;
pub mod format;
pub mod jsonpath;
pub mod table;
pub mod tabs;
