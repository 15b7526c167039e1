//! The one place where YAML is read: budgets, duplicate keys, spans.
