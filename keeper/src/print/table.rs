//! Server tables (`meta.k8s.io/v1 Table`) as text.

use serde_json::Value;

use super::tabs::escaped;

/// How a table is to look.
#[derive(Clone, Debug, Default)]
pub struct TableStyle {
    /// Columns of lower priority too.
    pub wide: bool,
    pub no_headers: bool,
    /// A first column NAMESPACE.
    pub namespaces: bool,
    /// Put before each name: `worker.rbee.dev/`.
    pub prefix: String,
    /// A last column LABELS.
    pub labels: bool,
}

/// A table that grows: later rows keep the widths of earlier ones, so that a watch stays in its columns.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Column>,
    style: TableStyle,
    widths: Vec<usize>,
    has_header: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Column {
    name: String,
    priority: i64,
}

/// Blanks after the widest cell of a column, and its least width.
const PADDING: usize = 3;
const LEAST: usize = 6;

impl Table {
    /// Reads `columnDefinitions`; None where the body has none.
    pub fn of(body: &Value, style: TableStyle) -> Option<Self> {
        let definitions = body["columnDefinitions"].as_array().filter(|d| !d.is_empty())?;
        let column = |d: &Value| Column {
            name: d["name"].as_str().unwrap_or_default().to_uppercase(),
            priority: d["priority"].as_i64().unwrap_or(0),
        };
        let columns = definitions.iter().map(column).collect();
        Some(Self { columns, has_header: style.no_headers, style, widths: Vec::new() })
    }

    /// Rows as text; the header stands before the first of them. No rows are no text.
    pub fn text(&mut self, rows: &[&Value]) -> String {
        if rows.is_empty() {
            return String::new();
        }
        let mut lines: Vec<Vec<String>> = Vec::with_capacity(rows.len() + 1);
        if !std::mem::replace(&mut self.has_header, true) {
            lines.push(self.header());
        }
        lines.extend(rows.iter().map(|row| self.row(row)));
        self.aligned(&lines)
    }

    fn shown(&self) -> impl Iterator<Item = (usize, &Column)> {
        self.columns.iter().enumerate().filter(|(_, c)| self.style.wide || c.priority == 0)
    }

    fn header(&self) -> Vec<String> {
        let mut cells: Vec<String> = self.shown().map(|(_, c)| c.name.clone()).collect();
        if self.style.namespaces {
            cells.insert(0, "NAMESPACE".into());
        }
        if self.style.labels {
            cells.push("LABELS".into());
        }
        cells
    }

    fn row(&self, row: &Value) -> Vec<String> {
        let metadata = &row["object"]["metadata"];
        let shown = self.shown().map(|(index, column)| {
            let text = cell(&row["cells"][index]);
            if column.name == "NAME" { format!("{}{text}", self.style.prefix) } else { text }
        });
        let mut cells: Vec<String> = shown.collect();
        if self.style.namespaces {
            cells.insert(0, metadata["namespace"].as_str().unwrap_or_default().to_owned());
        }
        if self.style.labels {
            cells.push(pairs(&metadata["labels"], ","));
        }
        cells
    }

    fn aligned(&mut self, lines: &[Vec<String>]) -> String {
        for cells in lines {
            self.widths.resize(self.widths.len().max(cells.len()), LEAST);
            for (width, cell) in self.widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.chars().count() + PADDING);
            }
        }
        let mut text = String::new();
        for cells in lines {
            let mut line = String::new();
            for (width, cell) in self.widths.iter().zip(cells) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Columns of one's own making as text, aligned like a server's.
pub fn simple(header: &[&str], rows: &[Vec<String>]) -> String {
    let columns = header.iter().map(|h| Column { name: (*h).to_owned(), priority: 0 }).collect();
    let style = TableStyle { no_headers: true, ..TableStyle::default() };
    let mut table = Table { columns, has_header: true, style, widths: Vec::new() };
    let mut lines = vec![header.iter().map(|h| (*h).to_owned()).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| row.iter().map(|c| escaped(c).replace(['\n', '\t'], " ")).collect()));
    table.aligned(&lines)
}

/// `k=v` pairs in order, `<none>` where there are none.
pub fn pairs(map: &Value, between: &str) -> String {
    let pairs: Vec<String> = map
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().map_or_else(|| v.to_string(), str::to_owned)))
        .collect();
    if pairs.is_empty() { "<none>".into() } else { pairs.join(between) }
}

/// One cell, up to its first line break.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.find(['\n', '\r', '\u{c}']) {
        Some(end) => format!("{}...", escaped(&text[..end])),
        None => escaped(&text).replace('\t', " "),
    }
}

/// A table of NAME and AGE for a server that made none.
pub fn plain(items: &[Value], now: jiff::Timestamp) -> Value {
    let row = |item: &Value| {
        let metadata = &item["metadata"];
        let age = super::age::since(metadata["creationTimestamp"].as_str(), now);
        serde_json::json!({"cells": [metadata["name"], age], "object": {"metadata": metadata}})
    };
    serde_json::json!({
        "kind": "Table",
        "columnDefinitions": [{"name": "Name", "priority": 0}, {"name": "Age", "priority": 0}],
        "rows": items.iter().map(row).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn body() -> Value {
        json!({"columnDefinitions": [{"name": "Name", "priority": 0}, {"name": "URI", "priority": 0}, {"name": "Reason", "priority": 1}],
        "rows": [
            {"cells": ["bee", "builtin:tinybee", "Available"], "object": {"metadata": {"name": "bee", "namespace": "default", "labels": {"a": "1"}}}},
            {"cells": ["wasp", null, "two\nlines"], "object": {"metadata": {"name": "wasp", "namespace": "other"}}},
        ]})
    }

    fn text(style: TableStyle) -> String {
        let body = body();
        let rows: Vec<&Value> = body["rows"].as_array().unwrap().iter().collect();
        Table::of(&body, style).unwrap().text(&rows)
    }

    #[test]
    fn narrow_hides_what_wide_shows() {
        assert_eq!(text(TableStyle::default()), "NAME   URI\nbee    builtin:tinybee\nwasp\n");
        let wide = text(TableStyle { wide: true, ..TableStyle::default() });
        assert!(wide.starts_with("NAME   URI               REASON\n") && wide.contains("two..."), "{wide}");
    }

    #[test]
    fn names_get_their_kind_and_rows_their_namespace() {
        let style =
            TableStyle { prefix: "model.rbee.dev/".into(), namespaces: true, labels: true, ..TableStyle::default() };
        let text = text(style);
        assert!(text.starts_with("NAMESPACE   NAME"), "{text}");
        assert!(text.contains("default     model.rbee.dev/bee") && text.contains("a=1") && text.contains("<none>"));
    }

    #[test]
    fn later_rows_stay_in_their_columns_without_a_second_header() {
        let body = body();
        let mut table = Table::of(&body, TableStyle::default()).unwrap();
        table.text(&[&body["rows"][0]]);
        assert_eq!(table.text(&[&json!({"cells": ["a", "x"]})]), "a      x\n");
        assert_eq!(table.text(&[]), "");
    }

    #[test]
    fn a_server_without_tables_gets_name_and_age() {
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        let body = plain(&[json!({"metadata": {"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z"}})], now);
        let rows: Vec<&Value> = body["rows"].as_array().unwrap().iter().collect();
        assert_eq!(Table::of(&body, TableStyle::default()).unwrap().text(&rows), "NAME   AGE\nx      60s\n");
    }

    #[test]
    fn own_columns_align_too() {
        assert_eq!(simple(&["A", "B"], &[vec!["long-one".into(), "1".into()]]), "A          B\nlong-one   1\n");
    }
}
